//! A store beside the database that it was made of: is each key at each revision the same, are leases,
//! users and roles? It goes the other way than the import: it plays the database's changes one after the
//! other, and asks the store as clients ask it.
//! Never looks into the store otherwise, and never believes a count where it can compare.
//!
//! # Source
//! etcd's data model: a revision after the other, and what each of them changed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use headwater_ctl::progress::{Progress, Unit};
use headwater_kv::Store;
use headwater_kv::auth::{Asker, Auth};
use headwater_kv::copy::{CopiedLease, CopyRequest};
use headwater_kv::request::{
    KeyValue, KvError, LeaseTimeToLiveRequest, Query, RangeRequest, RangeResponse, Response,
};
use headwater_replica::StateMachine;
use prost::Message;

use crate::bolt::Database;
use crate::convert;
use crate::etcd_db::{self, is_mark, parse_revision, users};
use crate::generated::mvccpb;

/// How many keys or versions are asked for at a time.
const PAGE: usize = 1000;

/// What a store is compared with.
pub struct Expected {
    /// The database.
    pub file: Bytes,
    /// Users and roles were left out.
    pub without_users: bool,
}

/// A store that is asked as the server asks it for its clients.
struct Asked<'a>(&'a Store);

impl Asked<'_> {
    fn ask(&self, query: Query) -> Result<Response, KvError> {
        let query = Query::By(Asker::Server, Box::new(query));
        self.0.query(query).result
    }

    fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        let revision = request.revision;
        match self.ask(Query::Range(request)) {
            Ok(Response::Range(range)) => Ok(range),
            Ok(_) => bail!("the store did not answer with keys"),
            Err(why) => bail!("revision {revision} cannot be read: {why:?}"),
        }
    }

    /// One key at a revision.
    fn key_at(&self, key: &Bytes, revision: i64) -> Result<Option<KeyValue>> {
        let request = RangeRequest {
            key: key.clone(),
            revision,
            ..RangeRequest::default()
        };
        Ok(self.range(request)?.kvs.pop())
    }
}

/// The database's changes, played up to some revision.
struct Play<'a> {
    store: Asked<'a>,
    /// What can be read at the revision that is played.
    keys: BTreeMap<Bytes, KeyValue>,
    /// The keys that this revision has changed.
    changed: Vec<Bytes>,
    revision: i64,
    compact_revision: i64,
    /// Whether what the compaction has left was compared.
    has_begun: bool,
    /// How many versions of keys a store has to keep.
    kept: usize,
    leases: BTreeSet<i64>,
}

impl Play<'_> {
    /// A revision begins; the changes of the one before it are compared.
    fn reach(&mut self, main: i64) -> Result<()> {
        if main != self.revision {
            self.settle()?;
            if main > self.compact_revision && !self.has_begun {
                self.begin()?;
            }
            self.revision = main;
        }
        Ok(())
    }

    /// Takes a change of this revision in.
    fn change(&mut self, key: Bytes, kv: Option<KeyValue>) {
        if self.has_begun {
            self.kept += 1;
        }
        self.changed.push(key.clone());
        match kv {
            Some(kv) => self.keys.insert(key, kv),
            None => self.keys.remove(&key),
        };
    }

    /// What the revision has changed is in the store as well.
    fn settle(&mut self) -> Result<()> {
        for key in std::mem::take(&mut self.changed) {
            if !self.has_begun {
                continue;
            }
            let found = self.store.key_at(&key, self.revision)?;
            let same = self.is_same(found.as_ref(), self.keys.get(&key), false);
            ensure!(
                same,
                "revision {}: key \"{}\" is another",
                self.revision,
                key.escape_ascii()
            );
        }
        Ok(())
    }

    /// The first revision that can be read is reached.
    fn begin(&mut self) -> Result<()> {
        self.has_begun = true;
        self.kept = self.keys.len();
        self.compare_all(self.compact_revision.max(1), false)
    }

    /// A key's version, and the store's. `is_last`: a lease that is not there must be gone from it.
    fn is_same(
        &self,
        found: Option<&KeyValue>,
        expected: Option<&KeyValue>,
        is_last: bool,
    ) -> bool {
        let (Some(found), Some(expected)) = (found, expected) else {
            return found.is_none() && expected.is_none();
        };
        let is_orphan = expected.lease != 0 && !self.leases.contains(&expected.lease);
        let lease_is_same = match is_orphan {
            true => found.lease == 0 || (!is_last && found.lease == expected.lease),
            false => found.lease == expected.lease,
        };
        let lease = expected.lease;
        lease_is_same
            && KeyValue {
                lease,
                ..found.clone()
            } == *expected
    }

    /// All changes.
    fn run(&mut self, database: &Database<'_>, file: &Bytes) -> Result<()> {
        let (mut done, mut total) = (0, 0);
        database.visit("key", |_, _| {
            total += 1;
            Ok(())
        })?;
        let mut progress = Progress::begin("comparing", Unit::Of("versions of keys"));
        database.visit("key", |key, value| {
            let (main, _, is_tombstone) = parse_revision(key)?;
            self.reach(main)?;
            if !is_mark(value) {
                let kv = mvccpb::KeyValue::decode(file.slice_ref(value))?;
                let kv = convert::stored_key_value(kv);
                self.change(kv.key.clone(), (!is_tombstone).then_some(kv));
            }
            done += 1;
            progress.at(done, Some(total));
            Ok(())
        })?;
        self.settle()?;
        if !self.has_begun {
            self.begin()?;
        }
        self.compare_all(self.last(), true)?;
        progress.end();
        Ok(())
    }

    /// The database's last revision.
    fn last(&self) -> i64 {
        self.revision.max(self.compact_revision)
    }

    /// The store has no version of a key besides, and the same leases with the same keys.
    fn compare_rest(&self, leases: &[CopiedLease]) -> Result<()> {
        let mut request = CopyRequest {
            after: None,
            versions_max: PAGE,
        };
        let (mut kept, mut found) = (0, Vec::new());
        loop {
            let Ok(Response::Copy(piece)) = self.store.ask(Query::Copy(request.clone())) else {
                bail!("the store did not answer with a copy");
            };
            let revisions = (piece.revision, piece.compact_revision);
            let expected = (self.last(), self.compact_revision);
            ensure!(
                revisions == expected,
                "revisions {revisions:?}, not {expected:?}"
            );
            kept += piece.versions.len();
            found.extend(piece.leases);
            request.after = piece.next;
            if request.after.is_none() {
                break;
            }
        }
        let expected = self.kept;
        ensure!(kept == expected, "{kept} versions of keys, not {expected}");
        let left = |lease: &CopiedLease| match (1..lease.ttl).contains(&lease.remaining) {
            true => lease.remaining,
            false => lease.ttl,
        };
        let told = |lease: &CopiedLease| (lease.id, lease.ttl, left(lease));
        let same = found.iter().map(told).eq(leases.iter().map(told));
        ensure!(same, "leases are others");
        self.compare_attached()
    }

    fn compare_attached(&self) -> Result<()> {
        let mut attached: BTreeMap<i64, Vec<&Bytes>> = BTreeMap::new();
        for (key, kv) in &self.keys {
            attached.entry(kv.lease).or_default().push(key);
        }
        for &id in &self.leases {
            let request = LeaseTimeToLiveRequest { id, keys: true };
            let Ok(Response::LeaseTimeToLive(lease)) =
                self.store.ask(Query::LeaseTimeToLive(request))
            else {
                bail!("lease {id:x} cannot be read");
            };
            let expected = attached.get(&id).map_or(&[][..], Vec::as_slice);
            ensure!(
                lease.keys.iter().eq(expected.iter().copied()),
                "lease {id:x} has other keys"
            );
        }
        Ok(())
    }

    /// What was compared.
    fn tell(&self, auth: &Auth) -> String {
        let attached = self.keys.values().map(|kv| kv.lease);
        let attached = attached.filter(|id| self.leases.contains(id)).count();
        let needed = match auth.is_enabled {
            true => "requests need rights",
            false => "not in force",
        };
        let (first, last) = (self.compact_revision.max(1), self.last());
        format!(
            "Read back and compared with the snapshot, all the same:\n  \
             revisions     {first} to {last}, each change at its revision\n  \
             keys          {} ({} versions)\n  \
             leases        {} (with {attached} keys)\n  \
             users, roles  {}, {} ({needed})\n",
            self.keys.len(),
            self.kept,
            self.leases.len(),
            auth.users.len(),
            auth.roles.len(),
        )
    }

    /// All keys at a revision, one beside the other.
    fn compare_all(&self, revision: i64, is_last: bool) -> Result<()> {
        let mut expected = self.keys.values();
        let mut from = Bytes::from_static(b"\0");
        loop {
            let page = self.store.range(RangeRequest {
                key: from,
                range_end: Bytes::from_static(b"\0"),
                revision,
                limit: PAGE as i64,
                ..RangeRequest::default()
            })?;
            for found in &page.kvs {
                let same = self.is_same(Some(found), expected.next(), is_last);
                let key = found.key.escape_ascii();
                ensure!(same, "revision {revision}: key \"{key}\" is another");
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else {
                break;
            };
            from = [&last.key[..], b"\0"].concat().into();
        }
        let missing = expected.next();
        ensure!(missing.is_none(), "revision {revision}: keys are missing");
        Ok(())
    }
}

/// Compares a store with the database it was made of; what was compared, in lines.
///
/// # Errors
/// Something is not the same.
pub fn compare(expected: &Expected, store: &Store) -> Result<String> {
    let database = Database::open(&expected.file)?;
    let leases = etcd_db::leases(&database)?;
    let mut play = Play {
        store: Asked(store),
        keys: BTreeMap::new(),
        changed: Vec::new(),
        revision: 1,
        compact_revision: etcd_db::compact_revision(&database)?,
        has_begun: false,
        kept: 0,
        leases: leases.iter().map(|lease| lease.id).collect(),
    };
    play.run(&database, &expected.file)?;
    play.compare_rest(&leases)?;
    let mut auth = Auth::default();
    if !expected.without_users {
        auth = users::read(&database)?;
    }
    ensure!(*store.auth().as_ref() == auth, "users or roles are others");
    Ok(play.tell(&auth))
}

#[cfg(test)]
mod tests;
