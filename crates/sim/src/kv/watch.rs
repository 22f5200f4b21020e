//! What a watcher is told must be what happened: each event that concerns it once, in order, whole
//! revisions, as the keys were, and nothing else.
//! Never knows who tells it: a watcher that goes on at another node is the same watcher.
//!
//! # Source
//! etcd v3 API guarantees, "Watch APIs"; etcd's robustness tests.

use headwater_kv::request::KeyValue;
use headwater_kv::watch::{Event, EventKind, Told, WatchRequest};

use super::model::{Model, is_in};

/// What one watcher knows.
#[derive(Debug)]
pub(super) struct Judge {
    request: WatchRequest,
    /// It was told all that concerns it before this revision.
    next: i64,
    /// How many events of that revision or later ones it was told in fragments.
    within: usize,
    /// Events that were judged.
    pub(super) events: u64,
}

/// A node's store when it told something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller {
    pub(super) revision: i64,
    /// What was compacted.
    pub(super) compacted: i64,
}

impl Judge {
    pub(super) fn new(request: WatchRequest, start: i64) -> Self {
        Self {
            request,
            next: start,
            within: 0,
            events: 0,
        }
    }

    /// It gives up what is compacted away.
    pub(super) fn begin_at(&mut self, revision: i64) {
        (self.next, self.within) = (revision, 0);
    }

    /// Asks a node to go on; part of a revision is as good as nothing of it.
    pub(super) fn resume(&mut self) -> WatchRequest {
        self.within = 0;
        WatchRequest {
            start_revision: self.next,
            ..self.request.clone()
        }
    }

    /// The watcher is told something.
    pub(super) fn judge(&mut self, model: &Model, at: Teller, told: &Told) -> Result<(), String> {
        match told {
            Told::Events {
                revision,
                events,
                fragment,
            } => {
                self.is_now(at, *revision)?;
                self.judge_events(model, at, events, *fragment)
            }
            Told::Progress { revision } => {
                let asked = self.request.progress_notify;
                ensure(asked, || "told of progress it did not ask for".into())?;
                self.is_now(at, *revision)?;
                self.judge_progress(model, at, *revision)
            }
            Told::Looking => Ok(()),
            Told::Compacted { compact_revision } => {
                let compacted = at.compacted;
                ensure(
                    *compact_revision == compacted && self.next < compacted,
                    || {
                        format!(
                            "told that {compact_revision} is compacted, which is {compacted}, by \
                             who is to go on at {}",
                            self.next
                        )
                    },
                )
            }
        }
    }

    /// It is told that there is nothing up to a revision that it does not know.
    pub(super) fn judge_progress(
        &mut self,
        model: &Model,
        at: Teller,
        revision: i64,
    ) -> Result<(), String> {
        ensure(revision <= at.revision, || {
            format!(
                "told that it knows all up to {revision}, of a store at {}",
                at.revision
            )
        })?;
        let missing = self.expected(model).next();
        ensure(
            missing
                .as_ref()
                .is_none_or(|event| revision_of(event) > revision),
            || format!("told that it knows all up to {revision}, but not {missing:?}"),
        )?;
        self.next = self.next.max(revision + 1);
        Ok(())
    }

    /// The first event that it has not been told.
    pub(super) fn missing(&self, model: &Model) -> Option<String> {
        let missing = self.expected(model).next()?;
        Some(format!("{:?} has not been told {missing:?}", self.request))
    }

    fn is_now(&self, at: Teller, revision: i64) -> Result<(), String> {
        ensure(revision == at.revision, || {
            format!("told at revision {revision} of a store at {}", at.revision)
        })
    }

    fn judge_events(
        &mut self,
        model: &Model,
        at: Teller,
        events: &[Event],
        fragment: bool,
    ) -> Result<(), String> {
        let last = events.last().map(revision_of);
        let last = last.ok_or("told of no event as of some")?;
        let mut expected = self.expected(model);
        for event in events {
            let mut expected = expected.next();
            if let Some(expected) = &mut expected
                && revision_of(expected) - 1 < at.compacted
            {
                expected.prev_kv = None;
            }
            ensure(Some(event) == expected.as_ref(), || {
                format!(
                    "{:?} was told {event:?} instead of {expected:?}",
                    self.request
                )
            })?;
        }
        let goes_on = expected
            .next()
            .is_some_and(|event| revision_of(&event) == last);
        drop(expected);
        ensure(
            goes_on == fragment && (self.request.fragment || !fragment),
            || format!("told a part of revision {last}: {goes_on}, and said so: {fragment}"),
        )?;
        if fragment {
            self.within += events.len();
        } else {
            (self.next, self.within) = (last + 1, 0);
        }
        self.events += events.len() as u64;
        Ok(())
    }

    /// The events that it is to be told, as if nothing were ever compacted.
    fn expected(&self, model: &Model) -> impl Iterator<Item = Event> {
        let request = &self.request;
        let changes = model.changes_since(self.next);
        let concern = changes.filter(move |(_, key)| {
            let from_key = *key >= request.key;
            from_key && is_in(key, &request.key, &request.range_end)
        });
        let events = concern.map(move |&(revision, ref key)| {
            let (before, now) = model.change(key, revision);
            let is_put = now.is_some();
            let gone = KeyValue {
                key: key.clone(),
                mod_revision: revision,
                ..KeyValue::default()
            };
            Event {
                kind: if is_put {
                    EventKind::Put
                } else {
                    EventKind::Delete
                },
                kv: now.unwrap_or(gone),
                prev_kv: before.filter(|_| request.prev_kv),
            }
        });
        let wanted = events.filter(move |event| match event.kind {
            EventKind::Put => !request.no_put,
            EventKind::Delete => !request.no_delete,
        });
        wanted.skip(self.within)
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.mod_revision
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
