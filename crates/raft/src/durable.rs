//! The one queue of durable writes, and what is known to be safe.
//! Never writes: it numbers the writes and remembers what waits for them.
//!
//! # Source
//! Raft paper, Figure 2, persistent state ("updated on stable storage before responding to
//! RPCs"); dissertation §10.2.1; rules R1 to R3.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{Effect, Write};
use crate::message::Message;
use crate::raft::Raft;
use crate::types::{Entries, Index, LogId, NodeId, Term, WriteId};

/// What has been issued, what is durable, and what may be said only then.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    next: WriteId,
    /// Writes not yet durable, with the end of the log as each will leave it.
    pending: VecDeque<(WriteId, Index)>,
    /// The end of the log that is safe.
    index: Index,
    /// The write that makes the latest term and vote safe.
    hard: WriteId,
    upto: WriteId,
    /// Answers that promise the term or vote: they wait for it, and die with their term (R3).
    waiting: Vec<(Term, NodeId, Message)>,
}

impl Durable {
    /// Everything that recovery found is durable.
    pub(crate) fn new(next: WriteId, last: Index) -> Self {
        let upto = WriteId(next.0.saturating_sub(1));
        Self {
            next,
            pending: VecDeque::new(),
            index: last,
            hard: upto,
            upto,
            waiting: Vec::new(),
        }
    }

    /// The end of the log that is safe on this node's disk: its own `matchIndex`.
    pub(crate) fn index(&self) -> Index {
        self.index
    }

    /// Whether the latest term and vote are safe.
    pub(crate) fn hard_is_safe(&self) -> bool {
        self.hard <= self.upto
    }

    /// Entries from `from` on are being replaced: no write issued so far may vouch for them, or
    /// a late acknowledgement of the old entries would count for the new ones.
    fn truncate(&mut self, from: Index) {
        self.index = self.index.min(from.prev());
        for (_, last) in &mut self.pending {
            *last = (*last).min(from.prev());
        }
    }

    /// A durable snapshot covers everything up to `base`, whatever the log's writes are up to: a
    /// log that ends before it is void at recovery.
    pub(crate) fn covered(&mut self, base: Index) {
        self.index = self.index.max(base);
        for (_, last) in &mut self.pending {
            *last = (*last).max(base);
        }
    }
}

/// The parts of a [`Write`] that the rooms decide.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) hard: bool,
    pub(crate) reset: Option<LogId>,
    pub(crate) truncate_from: Option<Index>,
    pub(crate) append: Option<Entries>,
    pub(crate) internal: bool,
}

impl Raft {
    /// Issues the next durable write; `self.hard` and `self.log` already hold the change.
    pub(crate) fn persist(&mut self, change: Change, fx: &mut Vec<Effect>) {
        let id = self.durable.next;
        self.durable.next = id.next();
        if change.hard {
            self.durable.hard = id;
        }
        if let Some(from) = change.truncate_from {
            self.durable.truncate(from);
        }
        if let Some(base) = change.reset {
            self.durable.truncate(base.index.next());
        }
        self.durable
            .pending
            .push_back((id, self.log.last_id().index));
        fx.push(Effect::Persist(Write {
            id,
            hard: self.hard,
            reset: change.reset,
            truncate_from: change.truncate_from,
            append: change.append,
            internal: change.internal,
        }));
    }

    /// Sends `message` once the term and vote it stands on are safe; at once if they are.
    pub(crate) fn send_when_safe(&mut self, to: NodeId, message: Message, fx: &mut Vec<Effect>) {
        if self.durable.hard_is_safe() {
            return fx.push(Effect::Send { to, message });
        }
        let (term, waiting) = (self.hard.term, &mut self.durable.waiting);
        if let Message::BeatReply { round: new, .. } = message {
            // The highest round says all: a hung disk must not let answers pile up.
            for (spoken_in, id, said) in &mut *waiting {
                if let Message::BeatReply { round, .. } = said
                    && (*spoken_in, *id) == (term, to)
                {
                    *round = new.max(*round);
                    return;
                }
            }
        }
        waiting.push((term, to, message));
    }

    /// Every write up to `upto` is durable: whatever waited for that may now be said and counted.
    pub(crate) fn on_persisted(&mut self, upto: WriteId, fx: &mut Vec<Effect>) {
        if upto >= self.durable.next {
            return self.halt("a write was acknowledged that was never issued", fx);
        }
        let durable = &mut self.durable;
        durable.upto = durable.upto.max(upto);
        while let Some(&(id, last)) = durable.pending.front() {
            if id > upto {
                break;
            }
            durable.index = last;
            durable.pending.pop_front();
        }
        if durable.hard_is_safe() {
            let term = self.hard.term;
            for (spoken_in, to, message) in core::mem::take(&mut durable.waiting) {
                if spoken_in == term {
                    fx.push(Effect::Send { to, message });
                }
            }
        }
        self.announce_candidacy(fx);
        self.acknowledge(fx);
        self.advance_commit(fx);
    }
}
