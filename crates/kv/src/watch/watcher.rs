//! One watcher: what it wants, how far it is, and its next batch of events.
//! Never splits a revision between batches, unless it is asked for fragments.
//!
//! # Source
//! etcd v3 API, `WatchCreateRequest` and `WatchResponse`.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::interest::Keys;
use super::{Event, EventKind, WatchRequest};
use crate::mvcc::Mvcc;
use crate::record::{Parts, Record};
use crate::request::KeyValue;

/// How many changes one look into the log sees at most, but that it ends with a revision.
const LOOK_CHANGES: usize = 4096;

/// What an event costs of a batch's bytes beside keys and values.
const EVENT_OVERHEAD_BYTES: usize = 32;

/// One watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) keys: Keys,
    pub(crate) request: WatchRequest,
    /// Events that wait for it, all before `next`.
    pub(crate) pending: VecDeque<Record>,
    /// Events from this (main, sub) on are yet to be found: if it is synced as they come, else in
    /// the log.
    pub(crate) next: (i64, u32),
    /// Whether it is told of changes as they come.
    pub(crate) is_synced: bool,
    /// Whether it has been told all there was, and is to be woken when there is more.
    pub(crate) is_asleep: bool,
    /// Whether it had no events since the last reminder.
    pub(crate) is_idle: bool,
    /// Whether it is to be told how far it is, once it knows everything.
    pub(crate) owes_progress: bool,
}

/// Some events, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    /// Whether the last revision goes on in the next batch.
    pub(crate) is_fragment: bool,
    bytes: usize,
}

/// A batch of what waited for a watcher, for those for whom the same waits.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    records: Vec<Record>,
    terms: Terms,
    /// Whether nothing more waited.
    is_all: bool,
    events: Arc<[Event]>,
    /// Bytes of the records.
    pub(crate) bytes: u64,
}

/// What else decides what the events of some records are, and how many make a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Terms {
    prev_kv: bool,
    fragment: bool,
    bytes_max: usize,
    compact_revision: i64,
}

impl Taken {
    /// Whether it is the same that waits for another, and all of that.
    fn is_all_of(&self, pending: &VecDeque<Record>, terms: Terms) -> bool {
        let mut pairs = self.records.iter().zip(pending);
        self.is_all
            && self.terms == terms
            && self.records.len() == pending.len()
            && pairs.all(|(taken, waiting)| taken.is_same(waiting))
    }
}

/// Whether an event has a place in a batch.
enum Fit {
    Yes,
    /// It begins the next batch.
    Next,
    /// It begins the next batch, which goes on with the same revision.
    Cut,
}

impl Watcher {
    /// Whether a change is an event for it.
    pub(crate) fn wants(&self, parts: &Parts<'_>) -> bool {
        let is_filtered = if parts.is_tombstone() {
            self.request.no_delete
        } else {
            self.request.no_put
        };
        !is_filtered && (parts.main, parts.sub) >= self.next && self.keys.contains(parts.key)
    }

    /// From the events of `main` on it must look into the log. Gives the bytes no longer pending.
    pub(crate) fn fall_behind(&mut self, main: i64) -> u64 {
        self.is_synced = false;
        self.next = self.next.max((main, 0));
        let mut dropped_bytes = 0;
        // All of one revision waits here, or nothing of it.
        while self.pending.back().is_some_and(|last| last.main() == main) {
            // Mark: what waits of the revision in which a watcher falls behind is dropped.
            let record = self.pending.pop_back().expect("it was just seen");
            dropped_bytes += record.as_bytes().len() as u64;
        }
        dropped_bytes
    }

    /// The next of the events that wait, of which there are some, and whether the last revision goes on.
    /// `last`: what another may have taken before, and then what this one has.
    pub(crate) fn take_pending(
        &mut self,
        mvcc: &Mvcc,
        bytes_max: usize,
        last: &mut Taken,
    ) -> (Arc<[Event]>, bool) {
        let terms = Terms {
            prev_kv: self.request.prev_kv,
            fragment: self.request.fragment,
            bytes_max,
            compact_revision: mvcc.compact_revision(),
        };
        if last.is_all_of(&self.pending, terms) {
            // Mark: a watcher is told what another was told before.
            self.pending.clear();
            return (Arc::clone(&last.events), false);
        }
        let mut batch = Batch::default();
        last.records.clear();
        last.bytes = 0;
        while let Some(record) = self.pending.front() {
            let event = self.event(mvcc, record);
            match batch.fit(&event, bytes_max, self.request.fragment) {
                Fit::Yes => batch.push(event),
                Fit::Next => break,
                Fit::Cut => {
                    // Mark: what waits for a watcher is cut within a revision.
                    batch.is_fragment = true;
                    break;
                }
            }
            last.bytes += record.as_bytes().len() as u64;
            last.records.extend(self.pending.pop_front());
        }
        last.terms = terms;
        last.is_all = self.pending.is_empty();
        last.events = batch.events.into();
        (Arc::clone(&last.events), batch.is_fragment)
    }

    /// The next events in the log; at its end `next` lies beyond the store's revision.
    pub(crate) fn take_from_log(&mut self, mvcc: &Mvcc, bytes_max: usize) -> Batch {
        let mut batch = Batch::default();
        let (mut looked, mut last_main) = (0, 0);
        let (main, sub) = self.next;
        for record in mvcc.changes_since(main, sub) {
            let parts = record.parts();
            if looked >= LOOK_CHANGES && parts.main != last_main {
                self.next = (parts.main, 0);
                return batch;
            }
            (looked, last_main) = (looked + 1, parts.main);
            if !self.wants(&parts) {
                continue;
            }
            let event = self.event(mvcc, record);
            match batch.fit(&event, bytes_max, self.request.fragment) {
                Fit::Yes => batch.push(event),
                Fit::Next => {
                    // Mark: a watcher reads more from the log than fits one batch.
                    self.next = (parts.main, 0);
                    return batch;
                }
                Fit::Cut => {
                    // Mark: what a watcher reads from the log is cut within a revision.
                    self.next = (parts.main, parts.sub);
                    batch.is_fragment = true;
                    return batch;
                }
            }
        }
        self.next = self.next.max((mvcc.revision() + 1, 0));
        batch
    }

    fn event(&self, mvcc: &Mvcc, record: &Record) -> Event {
        let parts = record.parts();
        let is_delete = parts.is_tombstone();
        let kv = if is_delete {
            KeyValue {
                key: record.to_kv(true).key,
                mod_revision: parts.main,
                ..KeyValue::default()
            }
        } else {
            record.to_kv(false)
        };
        let is_creation = !is_delete && parts.create == parts.main;
        let before = parts.main - 1;
        let is_kept = before >= mvcc.compact_revision();
        let previous = if self.request.prev_kv && !is_creation && is_kept {
            mvcc.live_at(parts.key, before)
        } else {
            None
        };
        Event {
            kind: if is_delete {
                EventKind::Delete
            } else {
                EventKind::Put
            },
            kv,
            prev_kv: previous.map(|record| record.to_kv(false)),
        }
    }
}

impl Batch {
    /// A batch takes at least one event; then, without fragments, all of that revision.
    fn fit(&self, event: &Event, bytes_max: usize, may_cut: bool) -> Fit {
        let Some(last) = self.events.last() else {
            return Fit::Yes;
        };
        let is_same_revision = last.kv.mod_revision == event.kv.mod_revision;
        if self.bytes + size_bytes(event) <= bytes_max || is_same_revision && !may_cut {
            Fit::Yes
        } else if is_same_revision {
            Fit::Cut
        } else {
            Fit::Next
        }
    }

    fn push(&mut self, event: Event) {
        self.bytes += size_bytes(&event);
        self.events.push(event);
    }
}

fn size_bytes(event: &Event) -> usize {
    let of = |kv: &KeyValue| [&kv.key, &kv.value].map(Bytes::len).iter().sum::<usize>();
    EVENT_OVERHEAD_BYTES + of(&event.kv) + event.prev_kv.as_ref().map_or(0, of)
}
