//! What has changed, told to those who watch.
//! Never loses, doubles or reorders an event: who cannot be told them all is told that.
//!
//! A watcher that knows everything is *synced*: each change is brought to the synced watchers it
//! concerns, and to no other, where it waits to be taken. A watcher of the past, or for whom too
//! much waits, is not: it reads the log of changes from where it stands, so much at a time, until it
//! has caught up. So a slow watcher costs a bounded piece of memory, however far behind it is, and
//! is cancelled only when a compaction has passed it.
//!
//! It all belongs to one node, stands beside its store and is in no snapshot. If the store is put
//! back from a snapshot, its log of changes goes on where the old one was, or a compaction lies
//! between; either is seen at the next call.
//!
//! A change costs O(log n) in the number of watchers, and O(log n) for each that it concerns; what
//! is read from the log costs the changes it passes.
//!
//! # Source
//! etcd v3 API, service `Watch`; etcd's synced and unsynced watchers.

mod interest;
mod watcher;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::apply::Store;
use crate::record::Record;
use crate::request::KeyValue;
use interest::{Interest, Keys};
use watcher::{Batch, Taken, Watcher};

/// How many events wait for one synced watcher before it must read them from the log.
pub const PENDING_EVENTS_MAX: usize = 64;

/// How many bytes of events wait for all synced watchers together, each counted by itself.
pub const PENDING_BYTES_MAX: u64 = 64 << 20;

/// A watcher's name on this node; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WatchId(pub u64);

/// What to watch, as etcd's `WatchCreateRequest` has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchRequest {
    /// The first key; empty for the lowest there can be.
    pub key: Bytes,
    /// Empty: that key alone; `\0`: all keys from it on; else the end, exclusive.
    pub range_end: Bytes,
    /// The first revision to tell of; zero for the next one.
    pub start_revision: i64,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// Tell each key as it was before, unless that is compacted away.
    pub prev_kv: bool,
    /// Say how far it is, if there was no event for a while.
    pub progress_notify: bool,
    /// A revision too large for a batch may be cut into several.
    pub fragment: bool,
}

/// Why nothing is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchRefusal {
    /// No key can be in the range.
    EmptyRange,
    /// The start is before all revisions.
    Compacted,
}

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key (`mvccpb.Event`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it is since; of a deleted one only its name and the revision.
    pub kv: KeyValue,
    /// The key as it was before, if asked for, there, and not compacted away.
    pub prev_kv: Option<KeyValue>,
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// These events, each revision's together.
    Events {
        /// The store's revision.
        revision: i64,
        /// At least one; shared by those who are told the same.
        events: Arc<[Event]>,
        /// Whether the next batch goes on with the last revision; only if fragments were asked for.
        fragment: bool,
    },
    /// There is no event up to this revision that it was not told.
    Progress {
        /// The store's revision.
        revision: i64,
    },
    /// Nothing yet: it has looked at as much of the log as one call may. Ask again.
    Looking,
    /// It has been cancelled: what it was to be told is compacted away.
    Compacted {
        /// The compacted revision.
        compact_revision: i64,
    },
}

/// All watchers of one node.
#[derive(Debug, Default)]
pub struct Watches {
    watchers: BTreeMap<WatchId, Watcher>,
    created: u64,
    /// The synced ones by what they watch.
    interest: Interest,
    /// All changes up to this revision were brought to the synced.
    seen: i64,
    pending_bytes: u64,
    /// Those that have something to take since they had taken all.
    woken: Vec<WatchId>,
    /// Whom a change concerns, allocated once.
    concerned: Vec<WatchId>,
    /// What was last taken of what waited for a watcher.
    last: Taken,
}

impl WatchRequest {
    /// What it is about; `None` if that can be no key.
    pub(crate) fn keys(&self) -> Option<Keys> {
        let lowest = Bytes::from_static(b"\0");
        let has_key = !self.key.is_empty();
        let key = if has_key { &self.key } else { &lowest };
        Keys::new(key, &self.range_end)
    }
}

impl Watches {
    /// Begins to watch.
    ///
    /// # Errors
    /// There can be nothing to tell; see [`WatchRefusal`].
    pub fn create(
        &mut self,
        request: WatchRequest,
        store: &Store,
    ) -> Result<WatchId, WatchRefusal> {
        let keys = request.keys().ok_or(WatchRefusal::EmptyRange)?;
        if request.start_revision < 0 {
            return Err(WatchRefusal::Compacted);
        }
        self.advance(store);
        let is_past = (1..=self.seen).contains(&request.start_revision);
        let start = if request.start_revision == 0 {
            self.seen + 1
        } else {
            request.start_revision
        };
        let id = WatchId(self.created);
        self.created += 1;
        if is_past {
            self.woken.push(id);
        } else {
            self.interest.insert(&keys, id);
        }
        let watcher = Watcher {
            keys,
            request,
            pending: VecDeque::new(),
            next: (start, 0),
            is_synced: !is_past,
            is_asleep: !is_past,
            is_idle: true,
            owes_progress: false,
        };
        self.watchers.insert(id, watcher);
        Ok(id)
    }

    /// Ends a watcher; false if there is none of this name.
    pub fn cancel(&mut self, id: WatchId) -> bool {
        let Some(watcher) = self.watchers.remove(&id) else {
            return false;
        };
        let waiting = watcher.pending.iter().map(bytes_of);
        self.pending_bytes -= waiting.sum::<u64>();
        if watcher.is_synced {
            self.interest.remove(&watcher.keys, id);
        }
        true
    }

    /// What a watcher was created for.
    pub(crate) fn request(&self, id: WatchId) -> Option<&WatchRequest> {
        self.watchers.get(&id).map(|watcher| &watcher.request)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// How many of them read what they missed from the log.
    pub fn behind(&self) -> usize {
        let watchers = self.watchers.values();
        watchers.filter(|watcher| !watcher.is_synced).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Commands were applied: brings what has changed to the synced watchers it concerns. Best
    /// called after each command, since what a compaction takes away before can be told no more.
    pub fn advance(&mut self, store: &Store) {
        let mvcc = store.mvcc();
        assert!(mvcc.revision() >= self.seen, "the store went back in time");
        if mvcc.revision() == self.seen {
            return;
        }
        if mvcc.compact_revision() > self.seen + 1 {
            // Mark: a compaction passes what the synced watchers have seen.
            self.lose_touch();
        } else if !self.interest.is_empty() {
            for record in mvcc.changes_since(self.seen + 1, 0) {
                self.offer(record);
            }
        }
        self.seen = mvcc.revision();
    }

    /// Those for whom there is something since [`Self::take`] last gave them all, or nothing. Each is named
    /// once, until it is given that again; among them may be such as have ended.
    pub fn woken(&mut self) -> Vec<WatchId> {
        core::mem::take(&mut self.woken)
    }

    /// What a watcher is to be told next, about `bytes_max` of it; `None` if there is nothing. And whether there is
    /// nothing more for it until it is woken.
    pub fn take(&mut self, id: WatchId, store: &Store, bytes_max: usize) -> (Option<Told>, bool) {
        self.advance(store);
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return (None, true);
        };
        if watcher.pending.is_empty() {
            return self.look(id, store, bytes_max);
        }
        let (events, fragment) = watcher.take_pending(store.mvcc(), bytes_max, &mut self.last);
        self.pending_bytes -= self.last.bytes;
        let told = watcher.tell_events(events, fragment, self.seen);
        (Some(told), watcher.is_asleep)
    }

    /// What there is for a watcher for whom nothing waits.
    fn look(&mut self, id: WatchId, store: &Store, bytes_max: usize) -> (Option<Told>, bool) {
        let mvcc = store.mvcc();
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return (None, true);
        };
        let mut batch = Batch::default();
        if !watcher.is_synced {
            if watcher.next.0 < mvcc.compact_revision() {
                // Mark: a compaction has passed a watcher.
                self.cancel(id);
                let compact_revision = mvcc.compact_revision();
                return (Some(Told::Compacted { compact_revision }), true);
            }
            batch = watcher.take_from_log(mvcc, bytes_max);
            watcher.is_synced = watcher.next.0 > self.seen;
            if watcher.is_synced {
                self.interest.insert(&watcher.keys, id);
            }
        }
        (watcher.tell(batch, self.seen), watcher.is_asleep)
    }

    /// Some time has passed: those who asked for it and had no event meanwhile will be told how far
    /// they are.
    pub fn remind(&mut self) {
        for (id, watcher) in &mut self.watchers {
            if watcher.request.progress_notify && watcher.is_idle {
                watcher.owes_progress = true;
                wake(&mut self.woken, *id, watcher);
            }
            watcher.is_idle = true;
        }
    }

    /// All changes up to this revision were brought to the synced watchers.
    pub(crate) fn seen(&self) -> i64 {
        self.seen
    }

    /// The newest revision up to which all of these watchers were told everything, if it is `least`
    /// or newer.
    pub fn progress(
        &mut self,
        ids: impl IntoIterator<Item = WatchId>,
        least: i64,
        store: &Store,
    ) -> Option<i64> {
        self.advance(store);
        let watchers = ids.into_iter().filter_map(|id| self.watchers.get(&id));
        watchers
            .map(|watcher| watcher.knows_up_to(self.seen))
            .try_fold(self.seen, |least_known, known| {
                (known >= least).then_some(least_known.min(known))
            })
    }

    /// Brings one change to the synced watchers it concerns.
    fn offer(&mut self, record: &Record) {
        let parts = record.parts();
        let mut concerned = core::mem::take(&mut self.concerned);
        self.interest.find(parts.key, &mut concerned);
        for id in concerned.drain(..) {
            let watcher = self.watchers.get_mut(&id).expect("the interest is its own");
            if !watcher.wants(&parts) {
                continue;
            }
            let bytes = bytes_of(record);
            let has_room = watcher.pending.len() < PENDING_EVENTS_MAX
                && self.pending_bytes + bytes <= PENDING_BYTES_MAX;
            if has_room {
                watcher.pending.push_back(record.clone());
                self.pending_bytes += bytes;
            } else {
                // Mark: too much waits for a watcher, which falls behind.
                self.pending_bytes -= watcher.fall_behind(parts.main);
                self.interest.remove(&watcher.keys, id);
            }
            wake(&mut self.woken, id, watcher);
        }
        self.concerned = concerned;
    }

    /// The changes after `seen` cannot be brought to anyone: all must look for themselves.
    fn lose_touch(&mut self) {
        self.interest = Interest::default();
        for (id, watcher) in &mut self.watchers {
            if watcher.is_synced {
                let dropped_bytes = watcher.fall_behind(self.seen + 1);
                assert_eq!(dropped_bytes, 0, "what waits was seen");
                wake(&mut self.woken, *id, watcher);
            }
        }
    }
}

impl Watcher {
    /// It was told everything up to this revision; `seen` is the store's.
    fn knows_up_to(&self, seen: i64) -> i64 {
        match self.pending.front() {
            Some(first) => first.main() - 1,
            None if self.is_synced => seen,
            None => self.next.0 - 1,
        }
    }

    /// Says that these events were found.
    fn tell_events(&mut self, events: Arc<[Event]>, fragment: bool, seen: i64) -> Told {
        self.is_idle = false;
        self.owes_progress = false;
        self.is_asleep = self.is_synced && self.pending.is_empty();
        Told::Events {
            revision: seen,
            events,
            fragment,
        }
    }

    /// Says what was found; `seen` is the store's revision.
    fn tell(&mut self, batch: Batch, seen: i64) -> Option<Told> {
        if !batch.events.is_empty() {
            let events = batch.events.into();
            return Some(self.tell_events(events, batch.is_fragment, seen));
        }
        if !self.is_synced {
            // Mark: a watcher has looked far and found nothing.
            // Unreached: no world makes 4096 changes that no compaction has passed.
            return Some(Told::Looking);
        }
        if core::mem::take(&mut self.owes_progress) {
            return Some(Told::Progress { revision: seen });
        }
        self.is_asleep = true;
        None
    }
}

fn wake(woken: &mut Vec<WatchId>, id: WatchId, watcher: &mut Watcher) {
    if core::mem::take(&mut watcher.is_asleep) {
        woken.push(id);
    }
}

fn bytes_of(record: &Record) -> u64 {
    record.as_bytes().len() as u64
}
