//! What the members say of themselves: their names and where clients reach them.
//! Never part of the key space: no revision moves, and no client can write it.
//!
//! It goes through the log and stands in snapshots, so every member can tell it of every other.
//! Whoever proposes is believed: who is a member is decided elsewhere, and this is only what the
//! members add to that. All of it together is small because each part of it has a bound.
//!
//! # Source
//! etcd's member attributes, which each member publishes when it starts.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::request::{Attributes, KvError};
use crate::wire::{Reader, put_slice, put_uint};

/// Of how many members attributes are kept.
pub const MEMBERS_MAX: usize = 64;

/// The longest name of a member.
pub const NAME_BYTES_MAX: usize = 1 << 10;

/// The most client URLs of a member.
pub const CLIENT_URLS_MAX: usize = 16;

/// The longest client URL.
pub const CLIENT_URL_BYTES_MAX: usize = 1 << 10;

/// The attributes of all members that published theirs, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(BTreeMap<u64, Attributes>);

impl Members {
    /// Puts a member's attributes in place of those it published before.
    pub(crate) fn publish(&mut self, attributes: &Attributes) -> Result<(), KvError> {
        let is_known = self.0.contains_key(&attributes.member);
        if !is_known && self.0.len() >= MEMBERS_MAX {
            return Err(KvError::TooManyMembers);
        }
        self.0.insert(attributes.member, attributes.clone());
        assert!(self.0.len() <= MEMBERS_MAX, "more members than are kept");
        Ok(())
    }

    /// All of them, by id.
    pub(crate) fn to_vec(&self) -> Vec<Attributes> {
        self.0.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in the next of a snapshot's members; they come in order.
    pub(crate) fn restore(&mut self, attributes: &Attributes) -> Result<(), &'static str> {
        let last = self.0.last_key_value();
        if last.is_some_and(|(last, _)| *last >= attributes.member) {
            return Err("members out of order");
        }
        check(attributes)
            .and_then(|()| self.publish(attributes))
            .map_err(|_| "more of a member than is kept")
    }
}

/// Whether attributes are within their bounds.
pub(crate) fn check(attributes: &Attributes) -> Result<(), KvError> {
    let urls = &attributes.client_urls;
    let is_small = attributes.name.len() <= NAME_BYTES_MAX
        && urls.len() <= CLIENT_URLS_MAX
        && urls.iter().all(|url| url.len() <= CLIENT_URL_BYTES_MAX);
    if is_small {
        Ok(())
    } else {
        Err(KvError::AttributesTooLarge)
    }
}

/// Appends attributes: the member, its name, how many URLs, the URLs.
pub(crate) fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put_uint(out, attributes.member);
    put_slice(out, attributes.name.as_bytes());
    put_uint(out, attributes.client_urls.len() as u64);
    for url in &attributes.client_urls {
        put_slice(out, url.as_bytes());
    }
}

/// Reads what [`put_attributes`] wrote; `None` where the bytes are something else.
pub(crate) fn read_attributes(reader: &mut Reader<'_>) -> Option<Attributes> {
    let member = reader.uint()?;
    let name = read_text(reader)?;
    // The count is not believed before the URLs are there: no capacity is reserved for it.
    let mut client_urls = Vec::new();
    for _ in 0..reader.uint()? {
        client_urls.push(read_text(reader)?);
    }
    Some(Attributes {
        member,
        name,
        client_urls,
    })
}

fn read_text(reader: &mut Reader<'_>) -> Option<String> {
    let text = core::str::from_utf8(reader.slice()?).ok()?;
    Some(text.to_string())
}
