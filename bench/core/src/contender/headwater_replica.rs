//! Our core with our driver, as a server runs it: frames are encoded, checked and decoded, every
//! command is a request with an outcome, and snapshots let the log forget.
//! Never writes: orders to the log and to the snapshot worker are done as soon as they are given.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use headwater_raft::{Index, Instant, LogId, NodeId, RoleName, WriteId};
use headwater_replica::interface::{Input, MemberChange, Options, Output, RequestId};
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileDone, FileOrder};
use headwater_replica::{Identity, LogOrder, Malformed, SnapshotMeta, StateMachine};

use super::{
    Change, Cluster, KEEP_ENTRIES, NODES, Setup, TURNS_MAX, WAVE_NS, first_config, is_in_force,
    target,
};
use crate::load::{COMMAND_BYTES, Commands, Tally};

/// The state machine: a tally.
#[derive(Debug, Default)]
struct Counter(Tally);

impl StateMachine for Counter {
    type Reply = ();
    type Query = ();
    type Answer = Tally;
    type Walk = Option<Tally>;

    fn apply(&mut self, _at: LogId, command: &Bytes) {
        self.0.add(command);
    }

    fn query(&self, (): ()) -> Tally {
        self.0
    }

    fn begin_snapshot(&mut self) -> Option<Tally> {
        Some(self.0)
    }

    fn next_chunk(&mut self, walk: &mut Option<Tally>, _max_bytes: usize) -> Option<Bytes> {
        let tally = walk.take()?;
        let words = [tally.commands, tally.bytes, tally.sum];
        Some(Bytes::from(words.map(u64::to_le_bytes).concat()))
    }

    fn load_chunk(&mut self, _chunk: Bytes) -> Result<(), Malformed> {
        Err(Malformed("no node here needs a snapshot".into()))
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        24
    }
}

struct Node {
    replica: Replica<Counter>,
    inbox: Vec<Input<Counter>>,
    /// The snapshot that is being written.
    snapshot: Option<SnapshotMeta>,
}

/// Three nodes on a virtual clock.
pub struct Replicas {
    nodes: Vec<Node>,
    now: Instant,
    cut: Option<usize>,
    next_request: u64,
    answered: u64,
    /// Buffers that turns reuse.
    inbox: Vec<Input<Counter>>,
    outputs: Vec<Output<Counter>>,
}

impl Replicas {
    pub fn new(setup: &Setup) -> Result<Self> {
        let nodes = (0..NODES).map(|at| Node::new(at, setup));
        let mut replicas = Self {
            nodes: nodes.collect::<Result<_>>()?,
            now: Instant(0),
            cut: None,
            next_request: 0,
            answered: 0,
            inbox: Vec::new(),
            outputs: Vec::new(),
        };
        for at in 0..NODES {
            replicas.link(at, true);
        }
        Ok(replicas)
    }

    /// Tells all pairs of nodes in which this one is that their link is up or down.
    fn link(&mut self, at: usize, up: bool) {
        for other in (0..NODES).filter(|&other| other != at) {
            for (node, peer) in [(at, other), (other, at)] {
                let peer = NodeId(peer as u64 + 1);
                self.nodes[node].inbox.push(Input::Link { peer, up });
            }
        }
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.replica.raft().role() == RoleName::Leader;
        self.nodes.iter().position(leads)
    }

    /// Turns of all nodes until nothing is under way.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..TURNS_MAX {
            let mut busy = false;
            for at in 0..NODES {
                if !self.nodes[at].inbox.is_empty() {
                    self.turn(at)?;
                    busy = true;
                }
            }
            if !busy {
                return Ok(());
            }
        }
        bail!("the nodes never come to rest")
    }

    /// One node takes in what has arrived, and what follows is carried out.
    fn turn(&mut self, at: usize) -> Result<()> {
        let node = &mut self.nodes[at];
        std::mem::swap(&mut self.inbox, &mut node.inbox);
        for input in self.inbox.drain(..) {
            node.replica.step(self.now, input, &mut self.outputs);
        }
        node.replica.end_turn(self.now, &mut self.outputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.carry_out(at, output)?;
        }
        self.outputs = outputs;
        Ok(())
    }

    fn carry_out(&mut self, at: usize, output: Output<Counter>) -> Result<()> {
        match output {
            Output::Frame { to, frame, .. } => {
                let to = to.0 as usize - 1;
                if self.cut != Some(at) && self.cut != Some(to) {
                    let from = NodeId(at as u64 + 1);
                    self.nodes[to].inbox.push(Input::Frame { from, frame });
                }
            }
            Output::Log(order) => {
                let upto = match order {
                    LogOrder::Write(write) => write.id,
                    LogOrder::Repair { id, .. } | LogOrder::Reset { id, .. } => id,
                    LogOrder::Release { .. } | LogOrder::GiveRoom => return Ok(()),
                };
                self.nodes[at].acknowledge(upto);
            }
            Output::File(order) => self.nodes[at].obey(order)?,
            Output::Proposed { result, .. } => {
                ensure!(result.is_ok(), "a command was not applied: {result:?}");
                self.answered += 1;
            }
            Output::Reconfigured { result, .. } => {
                ensure!(result.is_ok(), "a change of members failed: {result:?}");
            }
            Output::Answered { .. }
            | Output::Config { .. }
            | Output::Note { .. }
            | Output::Transferred { .. } => {}
            Output::Disowned { .. } => bail!("node {}: another disk", at + 1),
            Output::Refused { why, .. } => bail!("node {}: {why}", at + 1),
            Output::Halt(why) => bail!("node {}: {why}", at + 1),
        }
        Ok(())
    }

    /// Turns for those whose time has come.
    fn wake(&mut self) -> Result<()> {
        for at in 0..NODES {
            if self.nodes[at].replica.next_deadline() <= self.now {
                self.turn(at)?;
            }
        }
        Ok(())
    }
}

impl Cluster for Replicas {
    fn elect(&mut self, _prompt: bool) -> Result<Duration> {
        for _ in 0..TURNS_MAX {
            self.settle()?;
            let led = self.leader().map(|at| self.nodes[at].replica.status());
            if led.is_some_and(|status| status.applied > Index(0)) {
                return Ok(Duration::from_nanos(self.now.0));
            }
            let deadlines = self.nodes.iter().map(|node| node.replica.next_deadline());
            self.now = self.now.max(deadlines.min().context("there are nodes")?);
            self.wake()?;
        }
        bail!("no leader is elected")
    }

    fn run(&mut self, commands: &mut Commands, waves: u64, width: usize) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        for _ in 0..waves {
            self.now = self.now.after(WAVE_NS);
            self.wake()?;
            for _ in 0..width {
                self.next_request += 1;
                let proposal = Input::Propose {
                    request: RequestId(self.next_request),
                    command: commands.take(),
                };
                let replica = &mut self.nodes[leader].replica;
                replica.step(self.now, proposal, &mut self.outputs);
            }
            self.turn(leader)?;
            self.settle()?;
        }
        let (asked, answered) = (self.next_request, self.answered);
        ensure!(asked == answered, "{answered} of {asked} requests answered");
        Ok(())
    }

    fn cut_off(&mut self) {
        let leader = self.leader();
        self.cut = (0..NODES).rev().find(|&at| Some(at) != leader);
        if let Some(at) = self.cut {
            self.link(at, false);
        }
    }

    fn bring_back(&mut self) -> Result<()> {
        if let Some(at) = self.cut.take() {
            self.link(at, true);
        }
        self.settle()
    }

    fn begin_change(&mut self, change: Change) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        let node = &mut self.nodes[leader];
        node.inbox.push(Input::Reconfigure {
            request: RequestId(0),
            change: MemberChange {
                expect: node.replica.raft().config().clone(),
                target: target(change),
                force: false,
                command: Bytes::new(),
            },
        });
        Ok(())
    }

    fn is_changed(&self, change: Change) -> bool {
        let (tallies, leader) = (self.tallies(), self.leader());
        leader.is_some_and(|at| is_in_force(self.nodes[at].replica.raft(), at, change, &tallies))
    }

    fn tallies(&self) -> [Tally; NODES] {
        std::array::from_fn(|at| self.nodes[at].replica.machine().0)
    }
}

impl Node {
    fn new(at: usize, setup: &Setup) -> Result<Self> {
        let me = NodeId(at as u64 + 1);
        let mut options = Options {
            core: headwater_raft::Options {
                seed: setup.seed * NODES as u64 + me.0,
                heartbeat_ns: setup.heartbeat_ms * 1_000_000,
                election_ns: setup.election_ms * 1_000_000,
                ..headwater_raft::Options::default()
            },
            // There is no disk to read it back from.
            log_memory_bytes: u64::MAX,
            ..Options::default()
        };
        // Logs are as long as those of the other contenders.
        let keep_bytes = KEEP_ENTRIES * (COMMAND_BYTES as u64 + 24);
        options.log_keep_bytes = keep_bytes;
        options.snapshot_log_bytes = if setup.keep_log { u64::MAX } else { keep_bytes };
        let recovered = Recovered::blank(
            Identity {
                cluster: 1,
                node: me,
                incarnation: u128::from(me.0),
            },
            first_config(setup),
        );
        let replica = Replica::new(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
        Ok(Self {
            replica,
            inbox: Vec::new(),
            snapshot: None,
        })
    }

    /// The log has done everything up to `upto`: one answer for a turn's orders, as from a disk.
    fn acknowledge(&mut self, upto: WriteId) {
        match self.inbox.last_mut() {
            Some(Input::LogDone { upto: last }) => *last = upto,
            _ => self.inbox.push(Input::LogDone { upto }),
        }
    }

    fn obey(&mut self, order: FileOrder) -> Result<()> {
        let done = match order {
            FileOrder::Begin(meta) => {
                self.snapshot = Some(meta);
                return Ok(());
            }
            FileOrder::Chunk(_) => FileDone::Wrote,
            FileOrder::Finish => FileDone::Taken(self.snapshot.take().context("no snapshot")?),
            other => bail!("no node here should need a snapshot: {other:?}"),
        };
        self.inbox.push(Input::FileDone(done));
        Ok(())
    }
}
