//! The one queue of durable writes, and what is known to be safe.
//! Never writes: it numbers the writes and remembers what waits for them, and since when.
//!
//! Specified by: Sync, Crash.
//! With messages by: Send, Tell, Persist, PersistHard, StopVouching, PersistEntries, Covered,
//! SendWhenSafe, OnPersisted.
//!
//! # Source
//! Raft paper, Figure 2, persistent state ("updated on stable storage before responding to
//! RPCs"); dissertation §10.2.1; rules R1 to R3 and R10.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{Effect, LogChange, Write};
use crate::message::{Message, Pace};
use crate::raft::Raft;
use crate::repair::Repair;
use crate::types::{Entries, Index, Instant, LogId, NodeId, Term, WriteId};

/// What has been issued, what is durable, and what may be said only then.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    next: WriteId,
    /// Writes not yet durable, with the end of the log as each will leave it, and when each was
    /// issued.
    pending: VecDeque<(WriteId, Index, Instant)>,
    /// When the disk last answered later than it should.
    late_at: Option<Instant>,
    /// The end of the log that is safe, were all of it readable.
    index: Index,
    /// What of the log cannot be read.
    pub(crate) repair: Repair,
    /// The write that makes the latest term and vote safe.
    hard: WriteId,
    upto: WriteId,
    /// Answers that promise the term or vote: they wait for it, and die with their term (R3).
    waiting: Vec<(Term, NodeId, Message)>,
}

impl Durable {
    /// Everything that recovery found is durable.
    pub(crate) fn new(next: WriteId, last: Index, repair: Repair) -> Self {
        let upto = WriteId(next.0.saturating_sub(1));
        Self {
            next,
            pending: VecDeque::new(),
            late_at: None,
            index: last,
            repair,
            hard: upto,
            upto,
            waiting: Vec::new(),
        }
    }

    /// The end of the log that is safe on this node's disk, and can be read: its own `matchIndex`.
    pub(crate) fn index(&self) -> Index {
        self.index.min(self.repair.intact())
    }

    /// Whether the latest term and vote are safe.
    pub(crate) fn hard_is_safe(&self) -> bool {
        self.hard <= self.upto
    }

    /// Entries from `from` on are being replaced: no write issued so far may vouch for them, or
    /// a late acknowledgement of the old entries would count for the new ones.
    fn truncate(&mut self, from: Index) {
        self.repair.truncate(from);
        self.index = self.index.min(from.prev());
        for (_, last, _) in &mut self.pending {
            *last = (*last).min(from.prev());
        }
    }

    /// What waits to be said to `peer` is not said.
    pub(crate) fn keep_silent_to(&mut self, peer: NodeId) {
        self.waiting.retain(|&(_, to, _)| to != peer);
    }

    /// A durable snapshot covers everything up to `base`, whatever the log's writes are up to: a
    /// log that ends before it is void at recovery.
    pub(crate) fn covered(&mut self, base: Index) {
        self.repair.covered(base);
        self.index = self.index.max(base);
        for (_, last, _) in &mut self.pending {
            *last = (*last).max(base);
        }
    }
}

/// For so many times the limit a disk that answered late is remembered: where every disk is slower
/// than the limit, leadership stays with one of them instead of going round.
const LATE_FOR_LIMITS: u64 = 4;

impl Raft {
    /// What is to be said, to whom, once the latest term and vote are durable.
    pub fn waiting(&self) -> impl Iterator<Item = (NodeId, &Message)> {
        let is_of_now = |said: &&(Term, NodeId, Message)| said.0 == self.hard.term;
        let waiting = self.durable.waiting.iter().filter(is_of_now);
        waiting.map(|(_, to, message)| (*to, message))
    }

    /// Issues a write of `self.hard`, whose term or vote has changed.
    pub(crate) fn persist_hard(&mut self, fx: &mut Vec<Effect>) {
        self.durable.hard = self.durable.next;
        self.persist(LogChange::Same, fx);
    }

    /// Issues a write of `entries`, in which the log ends now. `replaces`: others that stood there
    /// have given way to them.
    pub(crate) fn persist_entries(
        &mut self,
        entries: Entries,
        replaces: bool,
        fx: &mut Vec<Effect>,
    ) {
        if replaces {
            self.durable.truncate(entries.first());
        }
        let internal = false;
        let log = LogChange::Append {
            entries,
            replaces,
            internal,
        };
        self.persist(log, fx);
    }

    /// Issues a write of the one entry of this leader's own making in which the log ends now.
    pub(crate) fn persist_own(&mut self, entry: Entries, fx: &mut Vec<Effect>) {
        let log = LogChange::Append {
            entries: entry,
            replaces: false,
            internal: true,
        };
        self.persist(log, fx);
    }

    /// Issues a write of the log as it is now: empty, after `base`.
    pub(crate) fn persist_reset(&mut self, base: LogId, fx: &mut Vec<Effect>) {
        self.durable.truncate(base.index.next());
        self.persist(LogChange::Reset(base), fx);
    }

    #[inline]
    pub(crate) fn persist(&mut self, log: LogChange, fx: &mut Vec<Effect>) -> WriteId {
        let (id, hard, last) = (self.durable.next, self.hard, self.log.last_id().index);
        self.durable.next = id.next();
        self.durable.pending.push_back((id, last, self.now));
        fx.push(Effect::Persist(Write { id, hard, log }));
        id
    }

    /// When the oldest write under way was or will be under way for too long; never without one.
    pub(crate) fn disk_stalls_at(&self) -> Option<Instant> {
        let &(_, _, issued_at) = self.durable.pending.front()?;
        Some(issued_at.after(self.options.disk_slow_ns))
    }

    /// Whether the oldest write under way is too old (rule R10).
    pub(crate) fn disk_stalls(&self) -> bool {
        self.disk_stalls_at().is_some_and(|at| self.now >= at)
    }

    /// How the disk keeps up.
    pub(crate) fn disk_pace(&self) -> Pace {
        let memory_ns = self.options.disk_slow_ns.saturating_mul(LATE_FOR_LIMITS);
        let lately = |at| self.now.since(at) < memory_ns;
        if self.disk_stalls() {
            Pace::Stalled
        } else if self.durable.late_at.is_some_and(lately) {
            Pace::Late
        } else {
            Pace::Quick
        }
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
        // Who asks the same again is told the same once.
        let answer = (term, to, message);
        if !waiting.contains(&answer) {
            waiting.push(answer);
        }
    }

    /// Every write up to `upto` is durable: whatever waited for that may now be said and counted.
    pub(crate) fn on_persisted(&mut self, upto: WriteId, fx: &mut Vec<Effect>) {
        if upto >= self.durable.next {
            return self.halt("a write was acknowledged that was never issued", fx);
        }
        let (now, late_ns) = (self.now, self.options.disk_slow_ns);
        let durable = &mut self.durable;
        durable.upto = durable.upto.max(upto);
        while let Some(&(id, last, issued_at)) = durable.pending.front() {
            if id > upto {
                break;
            }
            if now.since(issued_at) >= late_ns {
                durable.late_at = Some(now);
            }
            durable.index = last;
            durable.pending.pop_front();
        }
        if durable.hard_is_safe() {
            let waiting = core::mem::take(&mut durable.waiting);
            let (term, pace) = (self.hard.term, self.disk_pace());
            for (spoken_in, to, mut message) in waiting {
                if spoken_in == term {
                    if let Message::BeatReply { disk, .. } = &mut message {
                        // How the disk is has changed: it has answered.
                        *disk = pace;
                    }
                    fx.push(Effect::Send { to, message });
                }
            }
        }
        self.on_repaired(upto, fx);
        self.announce_candidacy(fx);
        self.acknowledge(fx);
        self.advance_commit(fx);
    }
}
