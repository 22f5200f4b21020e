//! Who the members are: their names, where their peers and where clients reach them.
//! Never part of the key space: no revision moves, and no client can write it. Never decides who is
//! a member: the configuration does, and this is what the members add to that.
//!
//! It goes through the log and stands in snapshots, so every member can tell it of every other. A
//! member is added and removed with the change of the configuration itself, in one entry. Whoever
//! was removed is remembered: an id never comes back. All of it together is small because each part
//! of it has a bound.
//!
//! # Source
//! etcd's members: the URLs of peers come with a change, the attributes from each member when it
//! starts.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::request::{Attributes, KvError, Member};
use crate::wire::{Reader, put_slice, put_uint};

/// How many members are kept.
pub const MEMBERS_MAX: usize = 64;

/// How many removed members are remembered; beyond that the oldest is forgotten.
pub const REMOVED_MAX: usize = 1 << 10;

/// The longest name of a member.
pub const NAME_BYTES_MAX: usize = 1 << 10;

/// The most URLs of a member, of peers and of clients each.
pub const URLS_MAX: usize = 16;

/// The longest URL of a member.
pub const URL_BYTES_MAX: usize = 1 << 10;

/// All members, and those that are none any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    members: BTreeMap<u64, Member>,
    /// In the order in which they went.
    removed: Vec<u64>,
}

impl Roster {
    /// A roster of these; of several with one id the last counts.
    pub fn new(members: impl IntoIterator<Item = Member>, removed: Vec<u64>) -> Self {
        let members = members.into_iter().map(|member| (member.id, member));
        Self {
            members: members.collect(),
            removed,
        }
    }

    /// The members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The member of this id.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Who was removed, in that order.
    pub fn removed(&self) -> &[u64] {
        &self.removed
    }

    /// Whether `id` was removed.
    pub fn has_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Whether a member but `id` is reached by its peers at one of these URLs.
    pub fn is_taken(&self, id: u64, peer_urls: &[String]) -> bool {
        let others = self.members().filter(|member| member.id != id);
        let mut taken = others.flat_map(|member| &member.peer_urls);
        taken.any(|url| peer_urls.contains(url))
    }
}

/// The roster as it changes. Whoever looks on compares pointers: it is another one after each
/// change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Arc<Roster>);

impl Members {
    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.0
    }

    /// What a member says of itself takes the place of what it said before.
    pub(crate) fn publish(&mut self, attributes: &Attributes) -> Result<(), KvError> {
        let known = self.place(attributes.member)?;
        known.name.clone_from(&attributes.name);
        known.client_urls.clone_from(&attributes.client_urls);
        Ok(())
    }

    /// The first members, as their command lines name them; what is known better stays. Whoever
    /// else is known is of another cluster, whose data these go on with. Once any of them has its
    /// place, that was long ago, and nothing changes: others may have been removed since, so long ago
    /// that nobody remembers.
    pub(crate) fn found(&mut self, founders: &[Member]) -> Result<(), KvError> {
        let has_place = |founder: &Member| {
            let known = self.0.member(founder.id);
            known.is_some_and(|known| !known.peer_urls.is_empty())
        };
        let stay = |founder: &&Member| !self.0.has_removed(founder.id);
        let founders: Vec<&Member> = founders.iter().filter(stay).collect();
        if founders.is_empty() || founders.iter().any(|founder| has_place(founder)) {
            return Ok(());
        }
        let members = &mut Arc::make_mut(&mut self.0).members;
        members.retain(|&id, _| founders.iter().any(|founder| founder.id == id));
        for founder in founders {
            let known = self.place(founder.id)?;
            if known.peer_urls.is_empty() {
                known.peer_urls.clone_from(&founder.peer_urls);
            }
            if known.name.is_empty() {
                known.name.clone_from(&founder.name);
            }
        }
        Ok(())
    }

    /// A member is added, or reached elsewhere from now on.
    pub(crate) fn add(&mut self, id: u64, peer_urls: &[String]) -> Result<(), KvError> {
        self.place(id)?.peer_urls = peer_urls.to_vec();
        Ok(())
    }

    /// The same for a member that is there.
    pub(crate) fn update(&mut self, id: u64, peer_urls: &[String]) -> Result<(), KvError> {
        if self.0.member(id).is_none() {
            return Err(KvError::MemberNotFound);
        }
        if self.0.is_taken(id, peer_urls) {
            return Err(KvError::PeerUrlsExist);
        }
        self.add(id, peer_urls)
    }

    /// A member is removed for ever.
    pub(crate) fn remove(&mut self, id: u64) {
        let roster = Arc::make_mut(&mut self.0);
        roster.members.remove(&id);
        if !roster.has_removed(id) {
            if roster.removed.len() >= REMOVED_MAX {
                roster.removed.remove(0);
            }
            roster.removed.push(id);
        }
    }

    /// What is known of `id`; it is made a place for if it is new.
    fn place(&mut self, id: u64) -> Result<&mut Member, KvError> {
        if self.0.has_removed(id) {
            return Err(KvError::MemberNotFound);
        }
        let is_known = self.0.members.contains_key(&id);
        if !is_known && self.0.members.len() >= MEMBERS_MAX {
            return Err(KvError::TooManyMembers);
        }
        let members = &mut Arc::make_mut(&mut self.0).members;
        Ok(members.entry(id).or_insert_with(|| Member {
            id,
            ..Member::default()
        }))
    }

    /// The members, by id.
    pub(crate) fn to_vec(&self) -> Vec<Member> {
        self.0.members().cloned().collect()
    }

    /// How many members and how many removed ones are known.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [self.0.members.len() as u64, self.0.removed.len() as u64]
    }

    /// Takes in the next of a snapshot's members; they come in order.
    pub(crate) fn restore(&mut self, member: Member) -> Result<(), &'static str> {
        let last = self.0.members.last_key_value();
        if last.is_some_and(|(last, _)| *last >= member.id) {
            return Err("members out of order");
        }
        check_member(&member)
            .and_then(|()| self.place(member.id))
            .map(|place| *place = member)
            .map_err(|_| "more of a member than is kept")
    }

    /// Takes in the next of a snapshot's removed members.
    pub(crate) fn restore_removed(&mut self, id: u64) -> Result<(), &'static str> {
        if self.0.removed.len() >= REMOVED_MAX || self.0.has_removed(id) {
            return Err("more removed members than are kept");
        }
        self.remove(id);
        Ok(())
    }
}

/// Whether attributes are within their bounds.
pub(crate) fn check(attributes: &Attributes) -> Result<(), KvError> {
    check_name(&attributes.name)?;
    check_urls(&attributes.client_urls)
}

/// Whether what is said of a member is within its bounds.
pub(crate) fn check_member(member: &Member) -> Result<(), KvError> {
    check_name(&member.name)?;
    check_urls(&member.client_urls)?;
    check_urls(&member.peer_urls)
}

fn check_name(name: &str) -> Result<(), KvError> {
    let fits = name.len() <= NAME_BYTES_MAX;
    fits.then_some(()).ok_or(KvError::AttributesTooLarge)
}

/// Whether URLs are within their bounds.
pub(crate) fn check_urls(urls: &[String]) -> Result<(), KvError> {
    let fits = urls.len() <= URLS_MAX && urls.iter().all(|url| url.len() <= URL_BYTES_MAX);
    fits.then_some(()).ok_or(KvError::AttributesTooLarge)
}

/// Appends attributes: the member, its name, how many URLs, the URLs.
pub(crate) fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put_uint(out, attributes.member);
    put_slice(out, attributes.name.as_bytes());
    put_urls(out, &attributes.client_urls);
}

/// Appends a member: its id, its name, URLs for clients, URLs for peers.
pub(crate) fn put_member(out: &mut Vec<u8>, member: &Member) {
    put_uint(out, member.id);
    put_slice(out, member.name.as_bytes());
    put_urls(out, &member.client_urls);
    put_urls(out, &member.peer_urls);
}

/// Appends how many URLs there are, and the URLs.
pub(crate) fn put_urls(out: &mut Vec<u8>, urls: &[String]) {
    put_uint(out, urls.len() as u64);
    for url in urls {
        put_slice(out, url.as_bytes());
    }
}

/// Reads what [`put_attributes`] wrote; `None` where the bytes are something else.
pub(crate) fn read_attributes(reader: &mut Reader<'_>) -> Option<Attributes> {
    Some(Attributes {
        member: reader.uint()?,
        name: read_text(reader)?,
        client_urls: read_urls(reader)?,
    })
}

/// Reads what [`put_member`] wrote.
pub(crate) fn read_member(reader: &mut Reader<'_>) -> Option<Member> {
    Some(Member {
        id: reader.uint()?,
        name: read_text(reader)?,
        client_urls: read_urls(reader)?,
        peer_urls: read_urls(reader)?,
    })
}

/// Reads what [`put_urls`] wrote.
pub(crate) fn read_urls(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    // The count is not believed before the URLs are there: no capacity is reserved for it.
    let mut urls = Vec::new();
    for _ in 0..reader.uint()? {
        urls.push(read_text(reader)?);
    }
    Some(urls)
}

fn read_text(reader: &mut Reader<'_>) -> Option<String> {
    let text = core::str::from_utf8(reader.slice()?).ok()?;
    Some(text.to_string())
}
