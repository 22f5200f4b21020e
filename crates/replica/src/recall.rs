//! Entries that have left memory, for peers that need them: ordered from the disk, and sent once they
//! are here.
//! Never holds more than one message's worth for a peer, nor any for longer than a turn.
//!
//! What is applied and durable never changes, so it need not be in memory: the state machine has it, and
//! the log's files have it. A peer that far behind waits for a disk; nobody else does.
//!
//! # Source
//! Dissertation §5.1 (the log that is kept for slow followers); ARCHITECTURE.md, "The driver and its
//! three doors".

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use headwater_raft::{Entries, Holding, Index, Message, NodeId, Term};

use crate::codec::encode_message;
use crate::entry::Entry;
use crate::interface::Output;
use crate::machine::StateMachine;
use crate::replica::Replica;
use crate::snapshot_file::FileOrder;
use crate::snapshots::Damaged;

/// What is being read back, and what has been in this turn.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    ordered: BTreeMap<NodeId, Ordered>,
    read: BTreeMap<NodeId, Vec<Entry>>,
    /// Something could not be read back. What is written behind it may not be either, as long as the same file
    /// is written to: so nothing more is read, nor leaves memory, in this life.
    has_failed: bool,
}

/// A read under way.
#[derive(Debug)]
struct Ordered {
    wanted: Entries,
    /// The term of the answer that they belong to, where the peer cannot read them itself.
    tell: Option<Term>,
}

impl Recall {
    /// What has been read for a peer, if it begins with `first`.
    pub(crate) fn of(&self, peer: NodeId, first: Index) -> Option<&[Entry]> {
        let read = self.read.get(&peer)?;
        (read.first()?.id.index == first).then_some(read)
    }

    /// What was read and not sent is not wanted any more.
    pub(crate) fn end_turn(&mut self) {
        self.read.clear();
    }
}

impl<M: StateMachine> Replica<M> {
    /// What is applied and durable leaves memory once it is old.
    pub(crate) fn let_go(&mut self) {
        if self.recall.has_failed {
            return;
        }
        let settled = self.applied.index.min(self.raft.durable());
        self.bodies.settle(settled, self.options.log_memory_bytes);
    }

    /// The last of the entries `first..=last` that a message to `peer` takes, or the one before them if it
    /// takes none. `None` while the first is not in memory: it will be.
    pub(crate) fn at_hand(
        &mut self,
        peer: NodeId,
        first: Index,
        last: Index,
        out: &mut Vec<Output<M>>,
    ) -> Option<Index> {
        if last < first {
            return Some(last);
        }
        if first > self.bodies.on_disk() {
            let limit = self.options.message_bytes_max as u64;
            return Some(self.bodies.fit(first, last, limit));
        }
        if self.raft.flowing_after(peer).is_none() {
            // Mark: a probe goes without entries that have left memory.
            // They may not be what the peer lacks, and it may not even be there.
            return Some(first.prev());
        }
        if let Some(read) = self.recall.of(peer, first) {
            return read.last().map(|entry| entry.id.index);
        }
        self.read_back((peer, None), first, last, out);
        None
    }

    /// Orders what fits into a message of the entries `first..=last`, as far as they are not in memory.
    /// `tell`: the term of an answer to a peer that cannot read them.
    pub(crate) fn read_back(
        &mut self,
        (to, tell): (NodeId, Option<Term>),
        first: Index,
        last: Index,
        out: &mut Vec<Output<M>>,
    ) {
        if self.recall.has_failed {
            // Mark: entries that have left memory cannot be read back.
            // A snapshot covers them, and the peer is sent that.
            return self.snapshots.heal(Damaged::Log);
        }
        if self.recall.ordered.contains_key(&to) {
            return;
        }
        // Mark: a peer needs entries that have left memory.
        let limit = self.options.message_bytes_max as u64;
        let last = last.min(self.bodies.on_disk());
        let upto = self.bodies.fit(first, last, limit);
        let wanted = self.raft.entries(first, upto);
        let ordered = Ordered {
            wanted: wanted.clone(),
            tell,
        };
        self.recall.ordered.insert(to, ordered);
        out.push(Output::File(FileOrder::ReadLog { to, wanted }));
    }

    /// What was ordered for a peer has been read, or cannot be.
    pub(crate) fn on_log_read(
        &mut self,
        to: NodeId,
        entries: Vec<Entry>,
        out: &mut Vec<Output<M>>,
    ) {
        let Some(Ordered { wanted, tell }) = self.recall.ordered.remove(&to) else {
            return;
        };
        let Some(last) = entries.last().map(|entry| entry.id.index) else {
            // Otherwise they are in the log no more.
            self.recall.has_failed |= wanted.first() > self.raft.base().index;
            return;
        };
        let Some(term) = tell else {
            self.recall.read.insert(to, entries);
            return;
        };
        // Mark: entries that have left memory are told to a peer that cannot read them.
        let holding = Holding::Has(wanted.upto(last));
        let message = Message::RepairTell { term, holding };
        let frame = encode_message(&message, &entries);
        out.push(Output::urgent(to, frame));
    }
}
