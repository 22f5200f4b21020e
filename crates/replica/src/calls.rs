//! The core with a list of the calls that it was given: whoever keeps that list has a run of the
//! node, which a specification can be held against.
//! Never keeps one unasked: a node that nobody looks at pays nothing for it.
//!
//! # Source
//! `headwater_raft::event`: a run of a node is the list of its inputs.

use alloc::vec::Vec;
use core::ops::Deref;

use headwater_raft::{
    Config, Effect, Index, Input, Instant, LogId, Message, NodeId, NotChanged, NotTaken, Raft,
    ReadId, ReadLevel, TransferRefused,
};

/// What the core was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// [`Raft::step`].
    Step(Input),
    /// [`Raft::propose`], of so many commands.
    Propose(u64),
    /// [`Raft::reconfigure`], to these members.
    Reconfigure(Config),
    /// [`Raft::transfer`], to this node.
    Transfer(NodeId),
    /// [`Raft::read`].
    Read(ReadId, ReadLevel),
    /// [`Raft::sent`]: this append left for that peer.
    Sent(NodeId, Message),
    /// [`Raft::end_turn`].
    EndTurn,
}

/// One call of the core, and what came of it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The call.
    pub call: Call,
    /// What the core wanted done, in order.
    pub effects: Vec<Effect>,
    /// The core afterwards.
    pub after: Raft,
}

/// The core, and the calls that nobody has fetched yet, if they are kept. To look at it costs
/// nothing; to change it there are the same calls that the core has.
#[derive(Debug)]
pub(crate) struct Core {
    raft: Raft,
    taken: Option<Vec<Taken>>,
}

impl Deref for Core {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}

impl Core {
    pub(crate) fn new(raft: Raft) -> Self {
        let taken = None;
        Self { raft, taken }
    }

    /// From now on calls are kept, or not.
    pub(crate) fn keep_calls(&mut self, keep: bool) {
        self.taken = keep.then(Vec::new);
    }

    /// The calls kept since the last time this was asked.
    pub(crate) fn take_calls(&mut self) -> Vec<Taken> {
        self.taken.as_mut().map(core::mem::take).unwrap_or_default()
    }

    fn keep(&mut self, call: impl FnOnce() -> Call, effects: &[Effect]) {
        if let Some(taken) = &mut self.taken {
            taken.push(Taken {
                call: call(),
                effects: effects.to_vec(),
                after: self.raft.clone(),
            });
        }
    }

    pub(crate) fn step(&mut self, now: Instant, input: Input, fx: &mut Vec<Effect>) {
        let start = fx.len();
        let kept = self.taken.is_some().then(|| input.clone());
        self.raft.step(now, input, fx);
        if let Some(input) = kept {
            self.keep(|| Call::Step(input), &fx[start..]);
        }
    }

    pub(crate) fn propose(
        &mut self,
        now: Instant,
        count: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<LogId, NotTaken> {
        let start = fx.len();
        let first = self.raft.propose(now, count, fx)?;
        self.keep(|| Call::Propose(count), &fx[start..]);
        Ok(first)
    }

    pub(crate) fn reconfigure(
        &mut self,
        now: Instant,
        (expect, target): (&Config, &Config),
        force: bool,
        fx: &mut Vec<Effect>,
    ) -> Result<LogId, NotChanged> {
        let start = fx.len();
        let first = self.raft.reconfigure(now, expect, target, force, fx)?;
        self.keep(|| Call::Reconfigure(target.clone()), &fx[start..]);
        Ok(first)
    }

    pub(crate) fn transfer(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
        fx: &mut Vec<Effect>,
    ) -> Result<NodeId, TransferRefused> {
        let start = fx.len();
        let target = self.raft.transfer(now, to, fx)?;
        self.keep(|| Call::Transfer(target), &fx[start..]);
        Ok(target)
    }

    pub(crate) fn read(
        &mut self,
        now: Instant,
        id: ReadId,
        level: ReadLevel,
        fx: &mut Vec<Effect>,
    ) {
        let start = fx.len();
        self.raft.read(now, id, level, fx);
        self.keep(|| Call::Read(id, level), &fx[start..]);
    }

    pub(crate) fn sent(&mut self, now: Instant, peer: NodeId, upto: Index) -> Message {
        let message = self.raft.sent(now, peer, upto);
        self.keep(|| Call::Sent(peer, message.clone()), &[]);
        message
    }

    pub(crate) fn end_turn(&mut self, fx: &mut Vec<Effect>) {
        let start = fx.len();
        self.raft.end_turn(fx);
        self.keep(|| Call::EndTurn, &fx[start..]);
    }
}
