//! Rolled-back disks: what nodes have heard of each other, held against what a disk holds now.
//! Never judges a peer: a node judges itself, by what others heard it say in an earlier life.
//!
//! A node says only what its disk holds (rules R1 and R3), and a disk forgets none of it. So a life
//! of the process begins with at least what any earlier one said: in a term no lower and, if the
//! term is the same, with a log no shorter and the vote that it gave. A disk that was set back to an older image, by a
//! backup or a machine's snapshot, begins with less, and may vote twice or lack what it has
//! acknowledged. It keeps its incarnation, so only others can tell: to a peer that they meet in
//! another life than they have heard, they repeat the furthest that they heard.
//!
//! They remember for as long as they live, and what was promised to nodes that are not reached
//! remains unknown; and a node that goes on before it is reminded covers its traces by what it says
//! then. This finds out an operator's mistake, it does not make rolled-back disks safe.
//!
//! # Source
//! Rule R13 (identity is node and incarnation); Viewstamped Replication Revisited, §4.3 (a replica
//! that has lost its state must not take part as if it had not).

use alloc::format;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::message::{AppendResult, Message};
use crate::raft::Raft;
use crate::types::{HardState, Incarnation, Index, NodeId, Term};

/// How far a node's disk is known to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Word {
    pub(crate) term: Term,
    /// Whether it has voted in that term.
    pub(crate) voted: bool,
    /// The end of the log that it has called safe in that term.
    pub(crate) durable: Index,
}

impl Word {
    /// Of two words of one disk, what both say.
    fn and(self, other: Self) -> Self {
        if self.term != other.term {
            return if self.term > other.term { self } else { other };
        }
        Self {
            term: self.term,
            voted: self.voted || other.voted,
            durable: self.durable.max(other.durable),
        }
    }
}

/// What this life began with, and what was heard of others in it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    began: Word,
    /// Of those whom the driver has met; few, so a search finds one as fast as a map does.
    known: Vec<Known>,
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
struct Known {
    peer: NodeId,
    disk: Incarnation,
    /// At the other end of the last connection to it.
    life: u64,
    /// The furthest word, and the life that said it.
    word: Word,
    said_in: u64,
}

impl Memory {
    pub(crate) fn new(hard: HardState, last: Index) -> Self {
        Self {
            began: Word {
                term: hard.term,
                voted: hard.voted_for.is_some(),
                durable: last,
            },
            known: Vec::new(),
        }
    }
}

/// What a message says of the disk it comes from.
fn word_of(message: &Message) -> Option<Word> {
    let (term, voted, durable) = match *message {
        // A pre-vote is about a term that nobody is in, and the others bear none of the sender's.
        Message::Vote { pre: true, .. }
        | Message::VoteReply { pre: true, .. }
        | Message::RepairAsk { .. }
        | Message::ReadAsk { .. }
        | Message::ReadTell { .. }
        | Message::Heard { .. }
        | Message::Disowned { .. } => return None,
        Message::AppendReply {
            term,
            result: AppendResult::Durable(upto),
        } => (term, false, upto),
        Message::VoteReply { term, granted, .. } => (term, granted, Index(0)),
        Message::AppendReply { term, .. }
        | Message::BeatReply { term, .. }
        | Message::RepairTell { term, .. } => (term, false, Index(0)),
        // Candidates and leaders have voted for themselves.
        Message::Beat { term, durable, .. } | Message::Commit { term, durable, .. } => {
            (term, true, durable)
        }
        Message::Vote { term, .. }
        | Message::Append { term, .. }
        | Message::TimeoutNow { term }
        | Message::Rest { term, .. }
        | Message::Snapshot { term, .. } => (term, true, Index(0)),
    };
    Some(Word {
        term,
        voted,
        durable,
    })
}

impl Raft {
    /// A peer spoke: the disk at the other end of its last connection did.
    pub(crate) fn remember(&mut self, from: NodeId, message: &Message) {
        let disk = self.membership.disk_met(from);
        let mut known = self.memory.known.iter_mut();
        if let Some(known) = known.find(|known| known.peer == from && Some(known.disk) == disk)
            && let Some(word) = word_of(message)
        {
            let both = known.word.and(word);
            if both != known.word {
                (known.word, known.said_in) = (both, known.life);
            }
        }
    }

    /// A peer is about to connect, with this disk and in this life: if another life of it was
    /// heard, it is told what that one said.
    pub(crate) fn remind(
        &mut self,
        peer: NodeId,
        (disk, life): (Incarnation, u64),
        fx: &mut Vec<Effect>,
    ) {
        let member = self.config().disk_of(peer);
        let known = &mut self.memory.known;
        // The member's own disk may come back, and not as it was; and the one that is there now may
        // become the member's. Of a third nothing follows.
        known.retain(|k| k.peer != peer || k.disk == disk || Some(k.disk) == member);
        let Some(known) = known.iter_mut().find(|k| k.peer == peer && k.disk == disk) else {
            return known.push(Known {
                peer,
                disk,
                life,
                word: Word::default(),
                said_in: life,
            });
        };
        known.life = life;
        let Known { word, said_in, .. } = *known;
        let is_members = member.is_none_or(|member| member == disk);
        if is_members && said_in != life && word != Word::default() {
            // Mark: a peer is told what an earlier life of it said.
            let message = Message::Heard {
                disk,
                life: said_in,
                term: word.term,
                voted: word.voted,
                durable: word.durable,
            };
            fx.push(Effect::Send { to: peer, message });
        }
    }

    /// A peer tells what an earlier life of this node said. Whenever the message comes, it is true.
    pub(crate) fn on_heard(&mut self, from: NodeId, message: &Message, fx: &mut Vec<Effect>) {
        let Message::Heard {
            disk,
            life,
            term,
            voted,
            durable,
        } = *message
        else {
            return;
        };
        let said = Word {
            term,
            voted,
            durable,
        };
        let began = self.memory.began;
        let is_another_life = self.disk() == Some(disk) && life != self.options.life;
        if is_another_life && began.and(said) != began {
            let tell = |word: Word| {
                let voted = if word.voted { ", a vote in it" } else { "" };
                format!("term {}{voted} and a log up to {}", word.term, word.durable)
            };
            let why = format!(
                "this disk was set back to an older image: it began with {}, and {from:?} has heard \
                 it speak of {}; remove the member, and add it again with an empty one",
                tell(began),
                tell(said)
            );
            self.halt(&why, fx);
        }
    }
}
