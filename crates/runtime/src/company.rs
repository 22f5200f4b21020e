//! What stands beside the state machine of one node, in the one loop: a server's watches, say.
//! Never changes the machine: it sees what was applied, and asks for commands like a client.
//!
//! It belongs to this node's present life, and is in no snapshot. Clients reach it by a channel of
//! the embedder's own and [`Handle::wake`](crate::Handle::wake).
//!
//! # Source
//! ARCHITECTURE.md, "Threads"; the simulator's company, which stands in the same place.

use bytes::Bytes;
use headwater_raft::{Instant, NodeId, Term};
use headwater_replica::StateMachine;
use tokio::sync::oneshot;

use crate::driver::Event;
use crate::inbox::Inbox;

/// What an embedder puts beside its machine. It runs in the loop, so it never waits.
pub trait Company<M: StateMachine>: Send + 'static {
    /// A command was applied.
    fn after_command(&mut self, _machine: &M) {}

    /// A turn has ended: commands may have been applied or a snapshot loaded, this node may have
    /// begun or ceased to lead, someone may have called.
    fn after_turn(&mut self, stage: &Stage<'_, M>);

    /// The company of a peer says something; see [`Handle::note`](crate::Handle::note).
    fn on_note(&mut self, _from: NodeId, _number: u64, _bytes: Bytes) {}

    /// When a turn must end at the latest, were nothing else to happen.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

/// Nobody.
impl<M: StateMachine> Company<M> for () {
    fn after_turn(&mut self, _: &Stage<'_, M>) {}
}

/// What company sees of its node at the end of a turn.
pub struct Stage<'a, M: StateMachine> {
    pub(crate) now: Instant,
    pub(crate) machine: &'a M,
    pub(crate) reign: Option<Term>,
    pub(crate) inbox: &'a Inbox<Event<M>>,
}

impl<M: StateMachine> Stage<'_, M> {
    /// This node's monotonic clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The machine as it is now.
    pub fn machine(&self) -> &M {
        self.machine
    }

    /// The term in which this node leads, once it has applied an entry of that term.
    pub fn reign(&self) -> Option<Term> {
        self.reign
    }

    /// Says something to the company of a peer in the next turn; see
    /// [`Handle::note`](crate::Handle::note).
    pub fn note(&self, to: NodeId, number: u64, bytes: Bytes) {
        self.inbox.put(Event::Note(to, number, bytes));
    }

    /// Has a command proposed in the next turn. What becomes of it is seen in the machine.
    pub fn propose(&self, command: Bytes) {
        let (nobody, _) = oneshot::channel();
        self.inbox.put(Event::Propose(command, nobody));
    }
}
