//! Rolled-back disks: what nodes have heard of each other, held against what a disk holds now.
//! Never judges a peer: a node judges itself, by what others heard it say in an earlier life.
//!
//! A node says only what its disk holds (rules R1 and R3), and a disk forgets none of it. So a life
//! of the process begins with at least what any earlier one said: in a term no lower and, if the
//! term is the same, with a log no shorter. A disk that was set back to an older image, by a
//! backup or a machine's snapshot, begins with less, and may vote twice or lack what it has
//! acknowledged. It keeps its incarnation, so only others can tell: to a peer that they meet in
//! another life than they have heard, they repeat the furthest that they heard.
//!
//! They remember for as long as they live, and what was promised to nodes that are not reached
//! remains unknown: this finds out an operator's mistake, it does not make rolled-back disks safe.
//!
//! # Source
//! Rule R13 (identity is node and incarnation); Viewstamped Replication Revisited, §4.3 (a replica
//! that has lost its state must not take part as if it had not).

use alloc::format;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::message::{AppendResult, Message};
use crate::raft::Raft;
use crate::types::{Incarnation, Index, NodeId, Term};

/// The furthest that a node was heard to be: in this term, with its log durable up to here.
type Word = (Term, Index);

/// What this life began with, and what was heard of others in it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    began: Word,
    /// Of those whom the driver has met; few, so a search finds one as fast as a map does.
    heard: Vec<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    peer: NodeId,
    disk: Incarnation,
    /// At the other end of the last connection.
    life: u64,
    /// The furthest word, and the life that said it.
    word: Word,
    said_in: u64,
}

impl Memory {
    pub(crate) fn new(term: Term, last: Index) -> Self {
        Self {
            began: (term, last),
            heard: Vec::new(),
        }
    }
}

/// What a message says of the disk it comes from.
fn word_of(message: &Message) -> Option<Word> {
    match *message {
        // A pre-vote is about a term that nobody is in, and the others bear none of the sender's.
        Message::Vote { pre: true, .. }
        | Message::VoteReply { pre: true, .. }
        | Message::ReadAsk { .. }
        | Message::ReadTell { .. }
        | Message::Heard { .. }
        | Message::Disowned { .. } => None,
        Message::AppendReply {
            term,
            result: AppendResult::Durable(upto),
        } => Some((term, upto)),
        Message::Beat { term, durable, .. } | Message::Commit { term, durable, .. } => {
            Some((term, durable))
        }
        Message::Vote { term, .. }
        | Message::VoteReply { term, .. }
        | Message::Append { term, .. }
        | Message::AppendReply { term, .. }
        | Message::BeatReply { term, .. }
        | Message::TimeoutNow { term }
        | Message::Rest { term, .. }
        | Message::Snapshot { term, .. } => Some((term, Index(0))),
    }
}

impl Raft {
    /// A peer spoke.
    pub(crate) fn remember(&mut self, from: NodeId, message: &Message) {
        let mut heard = self.memory.heard.iter_mut();
        if let Some(heard) = heard.find(|heard| heard.peer == from)
            && let Some(word) = word_of(message)
            && word >= heard.word
        {
            (heard.word, heard.said_in) = (word, heard.life);
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
        let known = self.memory.heard.iter().position(|h| h.peer == peer);
        let earlier = known.map(|at| self.memory.heard.swap_remove(at));
        // Of another disk nothing follows for this one.
        let earlier = earlier.filter(|heard| heard.disk == disk);
        if let Some(Heard { word, said_in, .. }) = earlier
            && said_in != life
            && word > Word::default()
        {
            let message = Message::Heard {
                disk,
                life: said_in,
                term: word.0,
                durable: word.1,
            };
            fx.push(Effect::Send { to: peer, message });
        }
        let unheard = Heard {
            peer,
            disk,
            life,
            word: Word::default(),
            said_in: life,
        };
        let heard = earlier.map_or(unheard, |earlier| Heard { life, ..earlier });
        self.memory.heard.push(heard);
    }

    /// A peer tells what an earlier life of this node said. Whenever the message comes, it is true.
    pub(crate) fn on_heard(
        &mut self,
        from: NodeId,
        (disk, life): (Incarnation, u64),
        said: Word,
        fx: &mut Vec<Effect>,
    ) {
        let began = self.memory.began;
        if self.disk() == Some(disk) && life != self.options.life && began < said {
            let why = format!(
                "this disk was set back to an older image: it began with term {} and a log up to \
                 {}, and {from:?} has heard it in term {} with a log up to {}; remove the member, \
                 and add it again with an empty one",
                began.0, began.1, said.0, said.1
            );
            self.halt(&why, fx);
        }
    }
}
