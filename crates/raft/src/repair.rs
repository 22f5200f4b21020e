//! Repair: entries on this node's disk that cannot be read any more, got back from the others.
//! Never guesses: an entry comes back by its identity, or a quorum says that it lacks it.
//!
//! A damaged entry is known by name, term and index, because names lie apart from bodies. So the node
//! goes on: it votes by names, which are all that elections compare. But what it cannot read is no copy
//! of anything: it acknowledges and commits nothing from there on, and does not lead.
//!
//! It asks for the entry: its leader, who then sends it anew as an append or in a snapshot, or else
//! everybody. An answer has one of three values. *Have*: the entry comes with it, and since no two
//! entries share a name it may come from anyone, in any term. *Lack*: it was never acknowledged from
//! there. *Cannot read it either*: it may have been.
//!
//! If nobody has it, nobody can lead whose log is at least as long: so a node may be elected by names
//! before its log is whole. It begins to lead when all has come back, or when a quorum has said, in its
//! own term, that it lacks the entry: then that was never committed, and no leader of an earlier term
//! can bring it to that quorum any more. The log ends before it.
//!
//! Specified by: Rot, Mend, Discard.
//! With messages by: KeepGaps, AskForRepair, OnRepairAsk, RepairEntries, OnLacking, OnRepairTell,
//! OnRepaired.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18 (§3.4: what a
//! follower and a leader may do about a faulty entry); rule R12.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::effect::{Effect, LogChange};
use crate::message::{Holding, Message};
use crate::quorum::{blocks, quorum_reaches};
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Entries, Index, Instant, LogId, NodeId, Unreadable, WriteId};

/// What cannot be read here, and what is being done about it.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    /// Disjoint, in order.
    gaps: Vec<Gap>,
    /// When to ask again.
    ask_at: Instant,
    /// Who said in this node's candidacy that it lacks the first entry that cannot be read.
    lacking: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    range: Unreadable,
    /// The write that closes it, once the entries have come.
    write: Option<WriteId>,
}

impl Gap {
    fn within(self, first: Index, last: Index) -> Option<Self> {
        let Unreadable {
            first: f, last: l, ..
        } = self.range;
        let range = Unreadable {
            first: f.max(first),
            last: l.min(last),
            ..self.range
        };
        (range.first <= range.last).then_some(Self { range, ..self })
    }
}

/// No entry has this index.
const END: Index = Index(u64::MAX);

impl Repair {
    /// What recovery could not read, in order; to be asked for at once.
    pub(crate) fn new(unreadable: Vec<Unreadable>, now: Instant) -> Self {
        let gap = |range| Gap { range, write: None };
        Self {
            gaps: unreadable.into_iter().map(gap).collect(),
            ask_at: now,
            lacking: BTreeSet::new(),
        }
    }

    /// Whether all of the log can be read, durably.
    pub(crate) fn is_whole(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The end of what can be read from the log's beginning on; beyond every log if all can.
    pub(crate) fn intact(&self) -> Index {
        self.gaps.first().map_or(END, |gap| gap.range.first.prev())
    }

    /// The first range that nothing has come for yet.
    fn wanted(&self) -> Option<Unreadable> {
        let open = self.gaps.iter().find(|gap| gap.write.is_none());
        open.map(|gap| gap.range)
    }

    /// Whether a configuration later than that at `position` may be among what cannot be read: then it
    /// is not known who the members are.
    pub(crate) fn hides_config(&self, position: Index) -> bool {
        let hides = |gap: &Gap| gap.range.may_hold_config && gap.range.last > position;
        self.gaps.iter().any(hides)
    }

    /// When the next question is due; never without one.
    pub(crate) fn asks_at(&self) -> Instant {
        self.wanted().map_or(Instant::NEVER, |_| self.ask_at)
    }

    /// Somebody may answer who could not before.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.ask_at = self.ask_at.min(now);
    }

    /// The log has lost the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.keep(Index(1), from.prev());
    }

    /// What a snapshot covers up to `base` need not be read any more.
    pub(crate) fn covered(&mut self, base: Index) {
        self.keep(base.next(), END);
    }

    fn keep(&mut self, first: Index, last: Index) {
        if self.gaps.is_empty() {
            return;
        }
        let kept = self.gaps.iter().filter_map(|gap| gap.within(first, last));
        self.gaps = kept.collect();
        self.lacking.clear();
    }

    /// Writes up to `upto` are durable. Whether something was closed thereby.
    pub(crate) fn persisted(&mut self, upto: WriteId) -> bool {
        let before = self.gaps.len();
        let is_open = |gap: &Gap| gap.write.is_none_or(|write| write > upto);
        self.gaps.retain(is_open);
        self.gaps.len() < before
    }

    /// The first open range among `first..=last`, as far as it lies there.
    fn open_among(&self, first: Index, last: Index) -> Option<(Index, Index)> {
        let open = self.gaps.iter().filter(|gap| gap.write.is_none());
        let gap = open.filter_map(|gap| gap.within(first, last)).next();
        gap.map(|gap| (gap.range.first, gap.range.last))
    }

    /// The entries `first..=last` are being written again.
    fn close(&mut self, first: Index, last: Index, write: WriteId) {
        let mut gaps = Vec::new();
        for gap in self.gaps.drain(..) {
            if gap.write.is_some() {
                gaps.push(gap);
                continue;
            }
            gaps.extend(gap.within(Index(0), first.prev()));
            let inside = gap.within(first, last);
            gaps.extend(inside.map(|gap| Gap {
                write: Some(write),
                ..gap
            }));
            gaps.extend(gap.within(last.next(), END));
        }
        self.gaps = gaps;
        self.lacking.clear();
    }

    /// The disk that spoke for `peer` has given way to another.
    pub(crate) fn forget_word_of(&mut self, peer: NodeId) {
        self.lacking.remove(&peer);
    }

    /// Another candidacy begins: what was said in an earlier one does not count in it.
    pub(crate) fn forget_words(&mut self) {
        self.lacking.clear();
    }
}

impl Raft {
    /// The entries that cannot be read here, those included whose repair is not durable yet.
    pub fn unreadable(&self) -> impl Iterator<Item = Index> {
        let gaps = self.durable.repair.gaps.iter();
        gaps.flat_map(|gap| (gap.range.first.0..=gap.range.last.0).map(Index))
    }

    /// Those of them that may hold configurations.
    pub fn unreadable_configs(&self) -> impl Iterator<Item = Index> {
        let hiding = |gap: &&Gap| gap.range.may_hold_config;
        let gaps = self.durable.repair.gaps.iter().filter(hiding);
        gaps.flat_map(|gap| (gap.range.first.0..=gap.range.last.0).map(Index))
    }

    /// Asks for the first entries that cannot be read, if that is due.
    pub(crate) fn ask_for_repair(&mut self, fx: &mut Vec<Effect>) {
        if self.now < self.durable.repair.asks_at() {
            return;
        }
        let Some(wanted) = self.durable.repair.wanted() else {
            return;
        };
        let term = self.log.term_at(wanted.first);
        let first = LogId::new(term.expect("it is in the log"), wanted.first);
        let last = wanted.last;
        let message = Message::RepairAsk { first, last };
        self.durable.repair.ask_at = self.now.after(self.options.election_ns);
        let everybody = || self.config().peers_of(self.me);
        let asked = self.leader.map_or_else(everybody, |leader| [leader].into());
        fx.extend(asked.into_iter().map(|to| Effect::Send {
            to,
            message: message.clone(),
        }));
    }

    /// A peer cannot read its entry `first`, nor those after it up to `last`.
    pub(crate) fn on_repair_ask(
        &mut self,
        from: NodeId,
        first: LogId,
        last: Index,
        fx: &mut Vec<Effect>,
    ) {
        if self.role.is_leader() {
            if let Some(progress) = self.progress_mut(from) {
                // Mark: a follower cannot read what it has acknowledged.
                progress.lost(first.index);
            }
            return;
        }
        // What is forgotten here is committed; a leader will send its snapshot. And what is said
        // here is said in this term.
        if first.index <= self.log.base().index || !self.durable.hard_is_safe() {
            return;
        }
        let holding = if !self.log.has(first) {
            // Mark: an entry is asked for that is lacking here.
            Holding::Lacks(first)
        } else if self
            .durable
            .repair
            .open_among(first.index, first.index)
            .is_some()
        {
            // Mark: an entry is asked for that cannot be read here either.
            Holding::Unreadable(first)
        } else {
            let readable = self.durable.repair.open_among(first.index, last);
            let upto = readable.map_or(last, |(open, _)| open.prev());
            let upto = upto.min(self.log.last_id().index);
            Holding::Has(self.entries(first.index, upto))
        };
        let term = self.hard.term;
        let message = Message::RepairTell { term, holding };
        fx.push(Effect::Send { to: from, message });
    }

    /// A peer says what it knows of an entry that this node asked for.
    pub(crate) fn on_repair_tell(&mut self, from: NodeId, holding: Holding, fx: &mut Vec<Effect>) {
        match holding {
            Holding::Has(entries) => {
                let is_ours = self.log.has(entries.prev)
                    && entries.last <= self.log.last_id().index
                    && self.log.first_difference(&entries).is_none();
                if is_ours {
                    // Mark: entries come back from a peer.
                    self.repair_entries(&entries, fx);
                    self.durable.repair.hurry(self.now);
                }
            }
            Holding::Unreadable(_) => {}
            Holding::Lacks(first) => self.on_lacking(from, first, fx),
        }
    }

    /// Entries of this log have come with their bodies: those that cannot be read are written again.
    pub(crate) fn repair_entries(&mut self, entries: &Entries, fx: &mut Vec<Effect>) {
        let (mut from, upto) = (entries.first(), entries.last);
        while let Some((first, last)) = self.durable.repair.open_among(from, upto) {
            let part = entries.upto(last).after(first.prev());
            self.restore_configs(&part, fx);
            let write = self.persist(LogChange::Repair(part), fx);
            let repair = &mut self.durable.repair;
            repair.close(first, last, write);
            repair.ask_at = self.now.after(self.options.election_ns);
            from = last.next();
        }
    }

    /// Writes up to `upto` are durable: some of them may have mended the log. An elected node that has
    /// its log back leads.
    pub(crate) fn on_repaired(&mut self, upto: WriteId, fx: &mut Vec<Effect>) {
        if self.durable.repair.persisted(upto) && self.durable.repair.is_whole() {
            // Mark: a log is whole again.
            self.count_votes(fx);
        }
    }

    /// A peer lacks the entry `first`, and says so in this term.
    fn on_lacking(&mut self, from: NodeId, first: LogId, fx: &mut Vec<Effect>) {
        let repair = &self.durable.repair;
        let wanted = repair.wanted().map(|range| range.first);
        // Whatever lies before it has come back.
        let is_first = wanted == Some(first.index) && repair.intact() == first.index.prev();
        if !is_first || !self.log.has(first) || !self.has_won() {
            return;
        }
        self.durable.repair.lacking.insert(from);
        let lacking = &self.durable.repair.lacking;
        if blocks(self.membership.current(), |id| lacking.contains(&id)) {
            // Mark: a quorum lacks what cannot be read.
            self.truncate_entries(first.index, fx);
            let end = Entries::none(self.log.last_id());
            self.persist_entries(end, true, fx);
            if self.durable.repair.is_whole() {
                self.count_votes(fx);
            }
        }
    }

    /// Whether this node is elected and has yet to mend its log.
    fn has_won(&self) -> bool {
        match &self.role {
            Role::Candidate(tally) => {
                quorum_reaches(self.membership.current(), |id| tally.granted_by(id))
            }
            _ => false,
        }
    }
}
