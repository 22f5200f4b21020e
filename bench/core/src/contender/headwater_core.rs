//! Our core with the least driver there can be: commands lie in a queue per node, and travel
//! beside the core's headers as shared bytes.
//! Never writes: what the core wants durable is acknowledged at the end of the turn, in order.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use headwater_raft::{
    Effect, Entries, HardState, Index, Input, Instant, LogId, Message, NodeId, Options, Pull, Raft,
    Recovered, RoleName, WriteId,
};

use super::{
    Change, Cluster, KEEP_ENTRIES, NODES, Setup, TURNS_MAX, WAVE_NS, first_config, is_in_force,
    target,
};
use crate::load::{Commands, Tally};

/// Entries in one message to a follower, at most: about a mebibyte of commands.
const MESSAGE_ENTRIES_MAX: u64 = 4096;

/// A message on its way, with the commands of an append.
struct Packet {
    from: NodeId,
    message: Message,
    bodies: Vec<Bytes>,
}

/// One node: the core, and what a driver keeps for it.
struct Node {
    raft: Raft,
    /// The commands after `base`, in order; empty for a leader's first entry.
    log: VecDeque<Bytes>,
    base: Index,
    applied: Index,
    tally: Tally,
    effects: Vec<Effect>,
    /// The commands that the core's next append speaks of.
    source: Vec<Bytes>,
    written: Option<WriteId>,
    failed: Option<String>,
    keep_log: bool,
}

/// What is under way between the nodes.
#[derive(Default)]
struct Network {
    /// By receiver, in order.
    inboxes: [VecDeque<Packet>; NODES],
    cut: Option<usize>,
    /// Lists of bodies that have been read, for the next messages.
    spare: Vec<Vec<Bytes>>,
}

impl Network {
    fn send(&mut self, from: NodeId, to: NodeId, message: Message, bodies: Vec<Bytes>) {
        let (sender, receiver) = (from.0 as usize - 1, to.0 as usize - 1);
        if self.cut != Some(sender) && self.cut != Some(receiver) {
            self.inboxes[receiver].push_back(Packet {
                from,
                message,
                bodies,
            });
        }
    }

    fn give_back(&mut self, mut bodies: Vec<Bytes>) {
        if bodies.capacity() > 0 {
            bodies.clear();
            self.spare.push(bodies);
        }
    }
}

/// Three nodes on a virtual clock.
pub struct Core {
    nodes: Vec<Node>,
    now: Instant,
    network: Network,
}

impl Core {
    pub fn new(setup: &Setup) -> Result<Self> {
        let nodes = (0..NODES).map(|at| Node::new(at, setup));
        Ok(Self {
            nodes: nodes.collect::<Result<_>>()?,
            now: Instant(0),
            network: Network::default(),
        })
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.raft.role() == RoleName::Leader;
        self.nodes.iter().position(leads)
    }

    /// Turns of all nodes until no message is under way.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..TURNS_MAX {
            let mut busy = false;
            for at in 0..NODES {
                busy |= self.turn(at)?;
            }
            if !busy {
                return Ok(());
            }
        }
        bail!("the nodes never come to rest")
    }

    /// One node takes in what has arrived and carries out what follows; whether there was anything.
    fn turn(&mut self, at: usize) -> Result<bool> {
        let (node, network) = (&mut self.nodes[at], &mut self.network);
        if network.inboxes[at].is_empty() && node.written.is_none() {
            return Ok(false);
        }
        while let Some(packet) = network.inboxes[at].pop_front() {
            node.receive(self.now, packet, network);
        }
        node.end_turn(self.now, network);
        if let Some(why) = &node.failed {
            bail!("node {}: {why}", at + 1);
        }
        Ok(true)
    }

    /// Timers that are due.
    fn wake(&mut self) {
        for node in &mut self.nodes {
            if node.raft.next_deadline() <= self.now {
                let input = Input::Deadline;
                node.raft.step(self.now, input, &mut node.effects);
                node.carry_out(&mut self.network);
            }
        }
    }
}

impl Cluster for Core {
    fn elect(&mut self, _prompt: bool) -> Result<Duration> {
        for _ in 0..TURNS_MAX {
            self.settle()?;
            let led = self.leader().map(|at| &self.nodes[at]);
            if led.is_some_and(|node| node.applied > Index(0)) {
                return Ok(Duration::from_nanos(self.now.0));
            }
            let deadlines = self.nodes.iter().map(|node| node.raft.next_deadline());
            self.now = self.now.max(deadlines.min().context("there are nodes")?);
            self.wake();
        }
        bail!("no leader is elected")
    }

    fn run(&mut self, commands: &mut Commands, waves: u64, width: usize) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        for _ in 0..waves {
            self.now = self.now.after(WAVE_NS);
            self.wake();
            let node = &mut self.nodes[leader];
            node.source.extend((0..width).map(|_| commands.take()));
            let taken = node.raft.propose(self.now, width as u64, &mut node.effects);
            ensure!(taken.is_ok(), "the leader takes no commands: {taken:?}");
            node.carry_out(&mut self.network);
            self.settle()?;
        }
        let upto = self.nodes[leader].raft.last().index;
        let applied = self.nodes[leader].applied;
        ensure!(applied == upto, "{applied} of {upto} entries are applied");
        Ok(())
    }

    fn cut_off(&mut self) {
        let leader = self.leader();
        let follower = (0..NODES).rev().find(|&at| Some(at) != leader);
        self.network.cut = follower;
        self.tell_link(follower, false);
    }

    fn bring_back(&mut self) -> Result<()> {
        let follower = self.network.cut.take();
        self.tell_link(follower, true);
        self.settle()
    }

    fn begin_change(&mut self, change: Change) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        let node = &mut self.nodes[leader];
        let current = node.raft.config().clone();
        let target = target(change);
        let begun = node
            .raft
            .reconfigure(self.now, &current, &target, false, &mut node.effects);
        ensure!(begun.is_ok(), "the change is not taken: {begun:?}");
        node.carry_out(&mut self.network);
        Ok(())
    }

    fn is_changed(&self, change: Change) -> bool {
        let (tallies, leader) = (self.tallies(), self.leader());
        leader.is_some_and(|at| is_in_force(&self.nodes[at].raft, at, change, &tallies))
    }

    fn tallies(&self) -> [Tally; NODES] {
        std::array::from_fn(|at| self.nodes[at].tally)
    }
}

impl Core {
    /// Tells the leader of its link to a follower.
    fn tell_link(&mut self, follower: Option<usize>, up: bool) {
        let (Some(leader), Some(follower)) = (self.leader(), follower) else {
            return;
        };
        let peer = NodeId(follower as u64 + 1);
        let node = &mut self.nodes[leader];
        let input = Input::Link { peer, up };
        node.raft.step(self.now, input, &mut node.effects);
        node.carry_out(&mut self.network);
        node.end_turn(self.now, &mut self.network);
    }
}

impl Node {
    fn new(at: usize, setup: &Setup) -> Result<Self> {
        let me = NodeId(at as u64 + 1);
        let options = Options {
            seed: setup.seed * NODES as u64 + me.0,
            heartbeat_ns: setup.heartbeat_ms * 1_000_000,
            election_ns: setup.election_ms * 1_000_000,
            ..Options::default()
        };
        let recovered = Recovered {
            me,
            hard: HardState::default(),
            log: Entries::default(),
            applied: LogId::default(),
            config: first_config(setup),
            disk: None,
            unreadable: Vec::new(),
            commit_hint: Index(0),
            next_write: WriteId(1),
        };
        let raft = Raft::recover(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
        Ok(Self {
            raft,
            log: VecDeque::new(),
            base: Index(0),
            applied: Index(0),
            tally: Tally::default(),
            effects: Vec::new(),
            source: Vec::new(),
            written: None,
            failed: None,
            keep_log: setup.keep_log,
        })
    }

    fn receive(&mut self, now: Instant, packet: Packet, network: &mut Network) {
        let mut bodies = packet.bodies;
        std::mem::swap(&mut self.source, &mut bodies);
        let (from, message) = (packet.from, packet.message);
        let input = Input::Receive { from, message };
        self.raft.step(now, input, &mut self.effects);
        self.carry_out(network);
        std::mem::swap(&mut self.source, &mut bodies);
        network.give_back(bodies);
    }

    fn end_turn(&mut self, now: Instant, network: &mut Network) {
        self.send_appends(now, network);
        if let Some(upto) = self.written.take() {
            let input = Input::Persisted { upto };
            self.raft.step(now, input, &mut self.effects);
        }
        self.raft.end_turn(&mut self.effects);
        self.carry_out(network);
        self.apply();
        self.forget(now);
    }

    fn carry_out(&mut self, network: &mut Network) {
        let from = self.raft.me();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send { to, message } => network.send(from, to, message, Vec::new()),
                Effect::Persist(write) => {
                    if let Some(from) = write.truncate_from() {
                        self.log.truncate((from.0 - self.base.0) as usize - 1);
                    }
                    if write.is_internal() {
                        // Its content, if it is a configuration, travels in the core's headers.
                        self.log.push_back(Bytes::new());
                    } else if let Some(entries) = write.append() {
                        let surplus = self.source.len() - entries.count() as usize;
                        self.log.extend(self.source.drain(..).skip(surplus));
                    }
                    self.written = Some(write.id);
                }
                Effect::Commit { .. }
                | Effect::Role { .. }
                | Effect::Read { .. }
                | Effect::Config { .. }
                | Effect::Transferred { .. }
                | Effect::Disowned { .. } => {}
                Effect::Install { .. } => self.failed = Some("needs a snapshot".into()),
                Effect::Refused { why, .. } => self.failed = Some(why.into()),
                Effect::Halt { why } => self.failed = Some(why),
            }
        }
    }

    /// Sends each follower what it has not been sent.
    fn send_appends(&mut self, now: Instant, network: &mut Network) {
        if self.raft.role() != RoleName::Leader {
            return;
        }
        for at in 0..NODES {
            let to = NodeId(at as u64 + 1);
            while let Pull::Append { first, last } = self.raft.pull(to) {
                let upto = last.min(Index(first.0 + MESSAGE_ENTRIES_MAX - 1));
                let message = self.raft.sent(now, to, upto);
                let (start, end) = (first.0 - self.base.0 - 1, upto.0 - self.base.0);
                let range = self.log.range(start as usize..end as usize);
                let mut bodies = network.spare.pop().unwrap_or_default();
                bodies.extend(range.cloned());
                network.send(self.raft.me(), to, message, bodies);
            }
        }
    }

    fn apply(&mut self) {
        let commit = self.raft.commit();
        let (start, end) = (self.applied.0 - self.base.0, commit.0 - self.base.0);
        for body in self.log.range(start as usize..end as usize) {
            if !body.is_empty() {
                self.tally.add(body);
            }
        }
        self.applied = commit;
    }

    /// Forgets what was applied long ago, in large pieces, as snapshots would let it.
    fn forget(&mut self, now: Instant) {
        let behind = self.applied.0 - self.base.0;
        if self.keep_log || behind < 2 * KEEP_ENTRIES {
            return;
        }
        let index = Index(self.applied.0 - KEEP_ENTRIES);
        let term = self.raft.term_at(index).unwrap_or_default();
        let base = LogId::new(term, index);
        let input = Input::Compacted { base };
        self.raft.step(now, input, &mut self.effects);
        self.log.drain(..(index.0 - self.base.0) as usize);
        self.base = index;
    }
}
