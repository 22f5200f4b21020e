//! The store as a sequence of chunks, and back.
//! Never stops commands: the walk shows the moment it began, whatever has been applied since.
//!
//! MVCC gives a consistent view at a revision, so a snapshot is a walk over the keys at that
//! revision. A compaction during the walk takes effect for readers, but holds back the memory of
//! the versions the walk still has to show. After the keys come the few changes of the compacted
//! revision itself that no key shows any more (deletions), for watchers from that revision on.
//!
//! A chunk is a sequence of items: a tag byte, then the item. The head comes first, then who was a
//! member, then who is one, then alarms, roles, users, and leases, then the keys; the end comes last.
//!
//! # Source
//! Raft paper §7; the format is this project's own.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::{self, Vec};
use bytes::Bytes;
use headwater_replica::machine::Malformed;

use crate::agreement::Sum;
use crate::alarm::{Alarms, put_alarm, read_alarm};
use crate::auth::{Auth, code};
use crate::compaction::Hold;
use crate::lease::{Lease, Leases};
use crate::members::{Members, put_member, read_attributes, read_member};
use crate::mvcc::{LOOK_BYTES, Mvcc, Restore};
use crate::record::Record;
use crate::request::{Alarm, Member};
use crate::wire::{Reader, put_int, put_slice, put_uint};

/// The version of the format this code writes, and the newest one it reads.
const VERSION: u8 = 7;

/// A chunk has room for so much at once, however large it may become.
const CHUNK_ROOM_BYTES: usize = 1 << 20;
/// The oldest version it reads.
const VERSION_OLDEST: u8 = 1;
/// From this version on there are members, and the end counts them; older code refuses the head.
const VERSION_OF_MEMBERS: u8 = 2;
/// From this version on there are leases; the head names their last checkpoint, the end counts
/// them.
const VERSION_OF_LEASES: u8 = 3;

/// From this version on the members' peer URLs are there, and who was removed; the end counts these.
const VERSION_OF_PEER_URLS: u8 = 4;

/// From this version on there are alarms; the end counts them.
const VERSION_OF_ALARMS: u8 = 5;

/// From this version on the head has the sum over all that was written, and since when.
const VERSION_OF_SUMS: u8 = 6;

/// From this version on there are users and roles; the head says what holds for all, the end counts them.
const VERSION_OF_AUTH: u8 = 7;

/// Version of the format, revision, compacted revision, term and number of the last checkpoint, the
/// revision that the store began at and the sum since then; whether requests need rights, the revision of
/// users and roles, and what tokens are signed with.
const HEAD: u8 = 1;
/// A version of a key; keys in order, versions of a key in order.
const RECORD: u8 = 2;
/// A change of the compacted revision that no key shows; in order.
const CHANGE: u8 = 3;
/// How many records, changes, members, leases, removed members, alarms, users and roles there were.
const END: u8 = 4;
/// Nothing: what a chunk holds whose looks found nothing to show. No chunk is empty.
const NOTHING: u8 = 5;
/// A member; in the order of their ids.
const MEMBER: u8 = 6;
/// A lease: its id, its time to live, the index that granted it, what is left of it or zero for
/// all; in the order of their ids.
const LEASE: u8 = 7;
/// The id of a member that was removed; in that order, before the members.
const REMOVED: u8 = 8;
/// An alarm; in the order of kinds and members, after the members.
const ALARM: u8 = 9;
/// A role and its rights; in the order of names, after the alarms.
const ROLE: u8 = 10;
/// A user; in the order of names, after the roles.
const USER: u8 = 11;

/// How far a snapshot has got.
#[derive(Debug)]
pub struct Walk {
    sum: Sum,
    revision: i64,
    compact_revision: i64,
    next: Next,
    records: u64,
    changes: u64,
    members: u64,
    removed: u64,
    /// The members as they were when the walk began, those not shown yet.
    members_left: vec::IntoIter<Member>,
    removed_left: vec::IntoIter<u64>,
    alarms_left: vec::IntoIter<Alarm>,
    alarms: u64,
    /// Users and roles as they were when the walk began, and the last of each that was shown.
    auth: Arc<Auth>,
    roles: u64,
    users: u64,
    checkpoint: (u64, u64),
    leases: u64,
    /// The leases as they were when the walk began, those not shown yet.
    leases_left: vec::IntoIter<(i64, Lease)>,
    /// Keeps what is to be shown in memory until the end.
    hold: Option<Arc<()>>,
}

#[derive(Debug)]
enum Next {
    Head,
    Members,
    Auth,
    Leases,
    /// The versions after this one.
    Records(Option<Record>),
    /// The changes of the compacted revision from this sub revision on.
    Changes(u32),
    End,
    Nothing,
}

impl Walk {
    pub(crate) fn begin(
        mvcc: &Mvcc,
        leases: &Leases,
        (members, alarms, auth): (&Members, Vec<Alarm>, &Arc<Auth>),
        hold: &mut Hold,
    ) -> Walk {
        Walk {
            sum: mvcc.sum(),
            revision: mvcc.revision(),
            compact_revision: mvcc.compact_revision(),
            next: Next::Head,
            records: 0,
            changes: 0,
            members: 0,
            removed: 0,
            members_left: members.to_vec().into_iter(),
            removed_left: members.roster().removed().to_vec().into_iter(),
            alarms_left: alarms.into_iter(),
            alarms: 0,
            auth: Arc::clone(auth),
            roles: 0,
            users: 0,
            checkpoint: leases.checkpoint(),
            leases: 0,
            leases_left: leases.to_vec().into_iter(),
            hold: Some(hold.begin(mvcc.compact_revision())),
        }
    }

    pub(crate) fn next_chunk(&mut self, mvcc: &Mvcc, max_bytes: usize) -> Option<Bytes> {
        assert!(
            self.revision <= mvcc.revision(),
            "the store went back in time"
        );
        if matches!(self.next, Next::Nothing) {
            return None;
        }
        let mut chunk = Chunk {
            out: Vec::with_capacity(max_bytes.min(CHUNK_ROOM_BYTES)),
            looked_bytes: 0,
            max_bytes,
        };
        while !chunk.is_full() && !matches!(self.next, Next::Nothing) {
            self.next = match core::mem::replace(&mut self.next, Next::Nothing) {
                Next::Head => self.show_head(&mut chunk),
                Next::Members => self.show_members(&mut chunk),
                Next::Auth => self.show_auth(&mut chunk),
                Next::Leases => self.show_leases(&mut chunk),
                Next::Records(last) => self.show_records(mvcc, &mut chunk, last),
                Next::Changes(sub) => self.show_changes(mvcc, &mut chunk, sub),
                Next::End | Next::Nothing => self.show_end(&mut chunk),
            };
        }
        if chunk.out.is_empty() {
            // Mark: a chunk of a snapshot shows nothing.
            chunk.out.push(NOTHING);
        }
        Some(Bytes::from(chunk.out))
    }

    fn show_head(&mut self, chunk: &mut Chunk) -> Next {
        chunk.out.extend_from_slice(&[HEAD, VERSION]);
        put_int(&mut chunk.out, self.revision);
        put_int(&mut chunk.out, self.compact_revision);
        put_uint(&mut chunk.out, self.checkpoint.0);
        put_uint(&mut chunk.out, self.checkpoint.1);
        put_int(&mut chunk.out, self.sum.since);
        put_uint(&mut chunk.out, self.sum.sum);
        code::put_head(&mut chunk.out, &self.auth);
        Next::Members
    }

    fn show_members(&mut self, chunk: &mut Chunk) -> Next {
        while !chunk.is_full() {
            if let Some(removed) = self.removed_left.next() {
                chunk.out.push(REMOVED);
                put_uint(&mut chunk.out, removed);
                self.removed += 1;
            } else if let Some(member) = self.members_left.next() {
                chunk.out.push(MEMBER);
                put_member(&mut chunk.out, &member);
                self.members += 1;
            } else if let Some(alarm) = self.alarms_left.next() {
                chunk.out.push(ALARM);
                put_alarm(&mut chunk.out, alarm);
                self.alarms += 1;
            } else {
                return Next::Auth;
            }
        }
        Next::Members
    }

    fn show_auth(&mut self, chunk: &mut Chunk) -> Next {
        while !chunk.is_full() {
            let auth = &self.auth;
            if let Some((name, role)) = auth.roles.iter().nth(self.roles as usize) {
                chunk.out.push(ROLE);
                code::put_role(&mut chunk.out, name, role);
                self.roles += 1;
            } else if let Some((name, user)) = auth.users.iter().nth(self.users as usize) {
                chunk.out.push(USER);
                code::put_user(&mut chunk.out, name, user);
                self.users += 1;
            } else {
                return Next::Leases;
            }
        }
        Next::Auth
    }

    fn show_leases(&mut self, chunk: &mut Chunk) -> Next {
        while !chunk.is_full() {
            let Some((id, lease)) = self.leases_left.next() else {
                return Next::Records(None);
            };
            chunk.out.push(LEASE);
            put_int(&mut chunk.out, id);
            put_int(&mut chunk.out, lease.ttl);
            put_uint(&mut chunk.out, lease.granted);
            put_int(&mut chunk.out, lease.remaining.unwrap_or(0));
            self.leases += 1;
        }
        Next::Leases
    }

    fn show_records(&mut self, mvcc: &Mvcc, chunk: &mut Chunk, mut last: Option<Record>) -> Next {
        let start = last.clone();
        for record in mvcc.kept_after(start.as_ref(), self.revision, self.compact_revision) {
            if chunk.is_full() {
                return Next::Records(last);
            }
            last = Some(record.clone());
            chunk.looked_bytes += LOOK_BYTES;
            // What came after the walk began is not shown.
            if record.main() <= self.revision {
                chunk.out.push(RECORD);
                put_slice(&mut chunk.out, record.as_bytes());
                self.records += 1;
            }
        }
        Next::Changes(0)
    }

    fn show_changes(&mut self, mvcc: &Mvcc, chunk: &mut Chunk, sub: u32) -> Next {
        let compacted = self.compact_revision;
        let changes = mvcc.changes_since(compacted, sub);
        for record in changes.take_while(|record| record.main() == compacted) {
            if chunk.is_full() {
                // Mark: a chunk ends among the changes that no key shows.
                return Next::Changes(record.parts().sub);
            }
            chunk.looked_bytes += LOOK_BYTES;
            let shown = mvcc.version_at(record.key(), compacted);
            let is_shown = shown.is_some_and(|shown| shown.position() == record.position());
            if is_shown && !record.parts().is_tombstone() {
                continue;
            }
            // Mark: a snapshot shows a change that no key shows.
            chunk.out.push(CHANGE);
            put_slice(&mut chunk.out, record.as_bytes());
            self.changes += 1;
        }
        Next::End
    }

    fn show_end(&mut self, chunk: &mut Chunk) -> Next {
        chunk.out.push(END);
        put_uint(&mut chunk.out, self.records);
        put_uint(&mut chunk.out, self.changes);
        put_uint(&mut chunk.out, self.members);
        put_uint(&mut chunk.out, self.leases);
        put_uint(&mut chunk.out, self.removed);
        put_uint(&mut chunk.out, self.alarms);
        put_uint(&mut chunk.out, self.users);
        put_uint(&mut chunk.out, self.roles);
        self.hold = None;
        Next::Nothing
    }
}

struct Chunk {
    out: Vec<u8>,
    looked_bytes: usize,
    max_bytes: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        // Even the smallest chunk gets somewhere.
        self.out.len() + self.looked_bytes >= self.max_bytes.max(1)
    }
}

const CUT: &str = "an item is cut short";

/// How far loading has got.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    /// Set by the head, like the version of the format.
    restore: Option<Restore>,
    version: u8,
    records: u64,
    changes: u64,
    has_ended: bool,
}

impl Loading {
    /// Takes in one chunk.
    pub(crate) fn take(
        &mut self,
        mvcc: &mut Mvcc,
        leases: &mut Leases,
        (members, alarms, auth): (&mut Members, &mut Alarms, &mut Arc<Auth>),
        chunk: &[u8],
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(chunk);
        while !reader.is_empty() {
            let at = chunk.len() - reader.rest().len();
            self.take_item(mvcc, leases, (members, alarms, auth), &mut reader)
                .map_err(|what| Malformed(format!("snapshot chunk, byte {at}: {what}")))?;
        }
        Ok(())
    }

    /// Ends the load.
    pub(crate) fn finish(&mut self, mvcc: &mut Mvcc, leases: &Leases) -> Result<(), Malformed> {
        let loading = core::mem::take(self);
        if !loading.has_ended {
            return Err(Malformed("the snapshot has no end".to_string()));
        }
        if mvcc.attached_leases().any(|id| leases.get(id).is_none()) {
            return Err(Malformed("the snapshot lacks a lease".to_string()));
        }
        let restore = loading.restore.expect("the end comes after the head");
        restore
            .finish(mvcc)
            .map_err(|what| Malformed(format!("the snapshot: {what}")))
    }

    fn take_item(
        &mut self,
        mvcc: &mut Mvcc,
        leases: &mut Leases,
        (members, alarms, auth): (&mut Members, &mut Alarms, &mut Arc<Auth>),
        reader: &mut Reader<'_>,
    ) -> Result<(), &'static str> {
        let tag = reader.byte().ok_or(CUT)?;
        if self.has_ended {
            return Err("there is more after the end");
        }
        if tag == HEAD {
            return self.take_head(mvcc, leases, (members, auth), reader);
        }
        let restore = self.restore.as_mut().ok_or("no head")?;
        match tag {
            RECORD | CHANGE => {
                let bytes = reader.slice().ok_or(CUT)?;
                let record = Record::parse(bytes).ok_or("a broken version of a key")?;
                if tag == CHANGE {
                    self.changes += 1;
                    restore.take_change(mvcc, record)
                } else if self.changes > 0 {
                    Err("a key after the changes")
                } else {
                    self.records += 1;
                    restore.take_record(mvcc, record)
                }
            }
            MEMBER if self.version >= VERSION_OF_MEMBERS => {
                if self.records > 0 || self.changes > 0 || leases.len() + alarms.len() > 0 {
                    return Err("a member after alarms, leases or keys");
                }
                // Mark: a snapshot brings what a member says of itself.
                members.restore(read_member_of(self.version, reader).ok_or("a broken member")?)
            }
            REMOVED if self.version >= VERSION_OF_PEER_URLS => {
                if members.counts()[0] > 0 || leases.len() > 0 || self.records > 0 {
                    return Err("a removed member after others");
                }
                members.restore_removed(reader.uint().ok_or(CUT)?)
            }
            ALARM if self.version >= VERSION_OF_ALARMS => {
                if self.records > 0 || self.changes > 0 || leases.len() > 0 {
                    return Err("an alarm after leases or keys");
                }
                alarms.restore(read_alarm(reader).ok_or("a broken alarm")?)
            }
            ROLE | USER if self.version >= VERSION_OF_AUTH => {
                if self.records > 0 || self.changes > 0 || leases.len() > 0 {
                    return Err("users or roles after leases or keys");
                }
                read_auth(tag, reader, Arc::make_mut(auth)).ok_or("broken users or roles")
            }
            LEASE if self.version >= VERSION_OF_LEASES => {
                if self.records > 0 || self.changes > 0 {
                    return Err("a lease after the keys");
                }
                let (id, lease) = read_lease(reader).ok_or(CUT)?;
                leases.restore(id, lease)
            }
            END => {
                let beside = (&*members, alarms.len() as u64, auth.counts());
                self.take_end(leases, beside, reader)
            }
            NOTHING => Ok(()),
            _ => Err("an unknown item"),
        }
    }

    fn take_head(
        &mut self,
        mvcc: &mut Mvcc,
        leases: &mut Leases,
        (members, auth): (&Members, &mut Arc<Auth>),
        reader: &mut Reader<'_>,
    ) -> Result<(), &'static str> {
        if self.restore.is_some() {
            return Err("a second head");
        }
        if members.counts() != [0, 0] || leases.len() > 0 {
            return Err("the store is not fresh");
        }
        self.version = reader.byte().ok_or(CUT)?;
        if !(VERSION_OLDEST..=VERSION).contains(&self.version) {
            return Err("an unknown version of the format");
        }
        let revision = reader.int().ok_or(CUT)?;
        let compact_revision = reader.int().ok_or(CUT)?;
        if self.version >= VERSION_OF_LEASES {
            let term = reader.uint().ok_or(CUT)?;
            leases.restore_checkpoint((term, reader.uint().ok_or(CUT)?));
        }
        // One without a sum begins a new one.
        let mut sum = (revision, 0);
        if self.version >= VERSION_OF_SUMS {
            sum = (reader.int().ok_or(CUT)?, reader.uint().ok_or(CUT)?);
        }
        if self.version >= VERSION_OF_AUTH {
            code::read_head(reader, Arc::make_mut(auth)).ok_or(CUT)?;
        }
        self.restore = Some(Restore::begin(mvcc, revision, compact_revision, sum)?);
        Ok(())
    }

    fn take_end(
        &mut self,
        leases: &Leases,
        (members, alarms, [users, roles]): (&Members, u64, [u64; 2]),
        reader: &mut Reader<'_>,
    ) -> Result<(), &'static str> {
        let mut count = |since| {
            if self.version >= since {
                reader.uint().ok_or(CUT)
            } else {
                Ok(0)
            }
        };
        let shown = [
            count(VERSION_OLDEST)?,
            count(VERSION_OLDEST)?,
            count(VERSION_OF_MEMBERS)?,
            count(VERSION_OF_LEASES)?,
            count(VERSION_OF_PEER_URLS)?,
            count(VERSION_OF_ALARMS)?,
            count(VERSION_OF_AUTH)?,
            count(VERSION_OF_AUTH)?,
        ];
        let ([members, removed], leases) = (members.counts(), leases.len() as u64);
        self.has_ended = true;
        let (records, changes) = (self.records, self.changes);
        if shown
            == [
                records, changes, members, leases, removed, alarms, users, roles,
            ]
        {
            Ok(())
        } else {
            Err("chunks are missing")
        }
    }
}

/// A member, as a version of the format has it.
fn read_member_of(version: u8, reader: &mut Reader<'_>) -> Option<Member> {
    if version >= VERSION_OF_PEER_URLS {
        read_member(reader)
    } else {
        read_attributes(reader).map(Member::from)
    }
}

/// A role or a user.
fn read_auth(tag: u8, reader: &mut Reader<'_>, auth: &mut Auth) -> Option<()> {
    match tag {
        ROLE => code::read_role(reader, auth),
        _ => code::read_user(reader, auth),
    }
}

/// A lease, and its id.
fn read_lease(reader: &mut Reader<'_>) -> Option<(i64, Lease)> {
    let id = reader.int()?;
    let lease = Lease {
        ttl: reader.int()?,
        granted: reader.uint()?,
        remaining: Some(reader.int()?).filter(|&left| left != 0),
    };
    Some((id, lease))
}
