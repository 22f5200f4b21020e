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
    to: NodeId,
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
    inbox: Vec<Packet>,
    effects: Vec<Effect>,
    /// The commands that the core's next append speaks of.
    source: Vec<Bytes>,
    written: Option<WriteId>,
    failed: Option<String>,
    keep_log: bool,
}

/// Three nodes on a virtual clock.
pub struct Core {
    nodes: Vec<Node>,
    now: Instant,
    cut: Option<usize>,
    /// Buffers that turns reuse.
    inbox: Vec<Packet>,
    outbox: Vec<Packet>,
}

impl Core {
    pub fn new(setup: &Setup) -> Result<Self> {
        let nodes = (0..NODES).map(|at| Node::new(at, setup));
        Ok(Self {
            nodes: nodes.collect::<Result<_>>()?,
            now: Instant(0),
            cut: None,
            inbox: Vec::new(),
            outbox: Vec::new(),
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
        let node = &mut self.nodes[at];
        if node.inbox.is_empty() && node.effects.is_empty() && node.written.is_none() {
            return Ok(false);
        }
        std::mem::swap(&mut self.inbox, &mut node.inbox);
        for packet in self.inbox.drain(..) {
            node.receive(self.now, packet, &mut self.outbox);
        }
        node.end_turn(self.now, &mut self.outbox);
        if let Some(why) = &node.failed {
            bail!("node {}: {why}", at + 1);
        }
        for packet in self.outbox.drain(..) {
            let (from, to) = (at, packet.to.0 as usize - 1);
            if self.cut != Some(from) && self.cut != Some(to) {
                self.nodes[to].inbox.push(packet);
            }
        }
        Ok(true)
    }

    /// Timers that are due.
    fn wake(&mut self) {
        for node in &mut self.nodes {
            if node.raft.next_deadline() <= self.now {
                let input = Input::Deadline;
                node.raft.step(self.now, input, &mut node.effects);
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
            self.settle()?;
        }
        let upto = self.nodes[leader].raft.last().index;
        let applied = self.nodes[leader].applied;
        ensure!(applied == upto, "{applied} of {upto} entries are applied");
        Ok(())
    }

    fn cut_off(&mut self) {
        let leader = self.leader();
        self.cut = (0..NODES).rev().find(|&at| Some(at) != leader);
        self.tell_links(false);
    }

    fn bring_back(&mut self) -> Result<()> {
        self.tell_links(true);
        self.cut = None;
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
    /// Tells the leader of its link to the follower that is cut off.
    fn tell_links(&mut self, up: bool) {
        let (Some(leader), Some(cut)) = (self.leader(), self.cut) else {
            return;
        };
        let peer = NodeId(cut as u64 + 1);
        let node = &mut self.nodes[leader];
        let input = Input::Link { peer, up };
        node.raft.step(self.now, input, &mut node.effects);
        // Nothing may have been wanted, but what is pulled now goes to a link that works.
        node.end_turn(self.now, &mut self.outbox);
        for packet in self.outbox.drain(..).filter(|_| up) {
            self.nodes[packet.to.0 as usize - 1].inbox.push(packet);
        }
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
            inbox: Vec::new(),
            effects: Vec::new(),
            source: Vec::new(),
            written: None,
            failed: None,
            keep_log: setup.keep_log,
        })
    }

    fn receive(&mut self, now: Instant, packet: Packet, out: &mut Vec<Packet>) {
        self.source = packet.bodies;
        let (from, message) = (packet.from, packet.message);
        let input = Input::Receive { from, message };
        self.raft.step(now, input, &mut self.effects);
        self.carry_out(out);
        self.source.clear();
    }

    fn end_turn(&mut self, now: Instant, out: &mut Vec<Packet>) {
        self.carry_out(out);
        self.send_appends(now, out);
        if let Some(upto) = self.written.take() {
            let input = Input::Persisted { upto };
            self.raft.step(now, input, &mut self.effects);
        }
        self.raft.end_turn(&mut self.effects);
        self.carry_out(out);
        self.apply();
        self.forget(now);
    }

    fn carry_out(&mut self, out: &mut Vec<Packet>) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => out.push(Packet {
                    from: self.raft.me(),
                    to,
                    message,
                    bodies: Vec::new(),
                }),
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
                | Effect::Transferred { .. } => {}
                Effect::Install { .. } => self.failed = Some("needs a snapshot".into()),
                Effect::Refused { why, .. } => self.failed = Some(why.into()),
                Effect::Halt { why } => self.failed = Some(why),
            }
        }
        self.effects = effects;
    }

    /// Sends each follower what it has not been sent.
    fn send_appends(&mut self, now: Instant, out: &mut Vec<Packet>) {
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
                out.push(Packet {
                    from: self.raft.me(),
                    to,
                    message,
                    bodies: range.cloned().collect(),
                });
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
