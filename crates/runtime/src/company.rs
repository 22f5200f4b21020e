//! What stands beside the state machine of one node, in the one loop: a server's watches, say.
//! Never changes the machine: it sees what was applied, and asks for commands like a client.
//!
//! It belongs to this node's present life, and is in no snapshot. Clients reach it by a channel of
//! the embedder's own and [`Handle::wake`](crate::Handle::wake).
//!
//! # Source
//! ARCHITECTURE.md, "Threads"; the simulator's company, which stands in the same place.

use bytes::Bytes;
use headwater_raft::{Config, Index, Instant, NodeId, Raft, Term};
use headwater_replica::StateMachine;
use tokio::sync::oneshot;

use crate::event::Event;
use crate::handle::{PeerAddress, ReadError, ReadLevel};
use crate::inbox::Inbox;
use crate::name::Names;

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
    pub(crate) raft: &'a Raft,
    pub(crate) reign: Option<Term>,
    pub(crate) applied: Index,
    pub(crate) names: &'a Names,
    pub(crate) inbox: &'a Inbox<Event<M>>,
}

impl<M: StateMachine> Stage<'_, M> {
    /// This node's monotonic clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.raft.me()
    }

    /// The machine as it is now.
    pub fn machine(&self) -> &M {
        self.machine
    }

    /// The last entry that the machine has applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// From now on log lines call a node so, beside its id.
    pub fn set_name(&self, node: NodeId, name: &str) {
        self.names.set(node, name.to_owned());
    }

    /// The term in which this node leads, once it has applied an entry of that term.
    pub fn reign(&self) -> Option<Term> {
        self.reign
    }

    /// The configuration in force here.
    pub fn config(&self) -> &Config {
        self.raft.config()
    }

    /// Whether that configuration is committed.
    pub fn is_config_committed(&self) -> bool {
        self.raft.config_at(self.raft.commit()) == Some(self.raft.config())
    }

    /// On the leader: the last entry of its log, and up to which a peer is known to hold it.
    pub fn progress(&self, peer: NodeId) -> Option<(Index, Index)> {
        let matched = self.raft.matched(peer)?;
        Some((matched, self.raft.last().index))
    }

    /// Tells this node where a peer listens; see
    /// [`Handle::set_peer_address`](crate::Handle::set_peer_address).
    pub fn set_peer_address(&self, peer: NodeId, address: PeerAddress) {
        self.inbox.put(Event::PeerAddress(peer, address));
    }

    /// From now on a node that was a member may not connect. What stands between it and this one ends
    /// a little later: it may not know yet. What is said in the first turn holds before anyone can
    /// connect.
    pub fn refuse_peer(&self, peer: NodeId) {
        self.inbox.put(Event::Refuse(peer));
    }

    /// From now on this is answered to whoever asks on the port for peers; see [`crate::card::ask`].
    pub fn set_card(&self, card: Bytes) {
        self.inbox.put(Event::Card(card));
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

    /// Has a query asked in the next turn; see [`Handle::query`](crate::Handle::query). Its answer, once there
    /// is one, is there at the end of the turn in which it was found.
    pub fn query(
        &self,
        query: M::Query,
        level: ReadLevel,
    ) -> oneshot::Receiver<Result<M::Answer, ReadError>> {
        let (outcome, answer) = oneshot::channel();
        self.inbox.put(Event::Query(query, level.core(), outcome));
        answer
    }
}
