//! Thousands of groups without work in one process: what they cost by being there.
//! Never proposes: after its first entry a group only keeps its leader.
//!
//! All three nodes of every group live here, with one queue of timers for all. A process that
//! holds one node of each group, as a server would, has a third of what is measured; figures are
//! given per node for that reason.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant as RealInstant};

use anyhow::{Result, ensure};
use headwater_raft::{
    Config, Effect, Entries, HardState, Index, Input, Instant, LogId, Message, NodeId, Options,
    Pull, Raft, Recovered, RoleName, WriteId,
};

use crate::allocations::Allocations;
use crate::contender::NODES;
use crate::meter::Meter;

/// Time in which every group has elected its leader and settled.
const SETTLE_NS: u64 = 5_000_000_000;

/// What idle groups cost.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Bytes of memory that one node of one group takes.
    pub bytes_per_node: f64,
    /// Processor seconds per second that one node of each group takes, on a virtual clock.
    pub cpu_virtual: f64,
    /// The same on the real clock, with sleeps between timers.
    pub cpu_real: f64,
    /// Timers and messages handled per node and second.
    pub steps_per_second: f64,
}

/// All nodes of all groups: node `at` of group `g` lies at `g * NODES + at`.
struct Groups {
    nodes: Vec<Raft>,
    /// When to look at a node's timer; a node has one entry, which may be early.
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    effects: Vec<Effect>,
    mail: VecDeque<(u32, NodeId, Message)>,
    steps: u64,
}

/// Measures `groups` groups for so long on each of both clocks. `rests`: leaders fall silent.
pub fn measure(
    groups: usize,
    seed: u64,
    rests: bool,
    virtual_ns: u64,
    real: Duration,
) -> Result<Idle> {
    let before = Allocations::live_bytes();
    let mut all = Groups::new(groups, seed, rests)?;
    all.run_to(Instant(SETTLE_NS))?;
    let bytes = Allocations::live_bytes() - before;
    ensure!(
        all.leaders() == groups,
        "not every group has a leader that has committed an entry"
    );

    let (meter, steps) = (Meter::start(), all.steps);
    all.run_to(Instant(SETTLE_NS + virtual_ns))?;
    let seconds = virtual_ns as f64 / 1e9;
    let cpu_virtual = meter.cost().cpu.as_secs_f64() / seconds;
    let steps = (all.steps - steps) as f64 / seconds;

    let (meter, begin) = (Meter::start(), RealInstant::now());
    let start = SETTLE_NS + virtual_ns;
    while begin.elapsed() < real {
        let passed = u64::try_from(begin.elapsed().as_nanos())?;
        all.run_to(Instant(start + passed))?;
        let next = all.timers.peek().map_or(u64::MAX, |due| due.0.0.0);
        let wait = next.saturating_sub(start + begin.elapsed().as_nanos() as u64);
        let left = real.saturating_sub(begin.elapsed());
        std::thread::sleep(Duration::from_nanos(wait).min(left));
    }
    let cpu_real = meter.cost().cpu.as_secs_f64() / begin.elapsed().as_secs_f64();
    ensure!(all.leaders() == groups, "an idle group lost its leader");

    let nodes = (groups * NODES) as f64;
    Ok(Idle {
        bytes_per_node: bytes as f64 / nodes,
        cpu_virtual: cpu_virtual / NODES as f64,
        cpu_real: cpu_real / NODES as f64,
        steps_per_second: steps / nodes,
    })
}

impl Groups {
    fn new(groups: usize, seed: u64, rests: bool) -> Result<Self> {
        let mut nodes = Vec::with_capacity(groups * NODES);
        let mut timers = BinaryHeap::with_capacity(groups * NODES);
        for at in 0..groups * NODES {
            let options = Options {
                seed: seed.wrapping_add(at as u64),
                rests,
                ..Options::default()
            };
            let recovered = Recovered {
                me: NodeId((at % NODES) as u64 + 1),
                hard: HardState::default(),
                log: Entries::default(),
                applied: LogId::default(),
                config: Config::of_voters((1..=NODES as u64).map(NodeId)),
                disk: None,
                commit_hint: Index(0),
                next_write: WriteId(1),
            };
            let node = Raft::recover(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
            timers.push(Reverse((node.next_deadline(), u32::try_from(at)?)));
            nodes.push(node);
        }
        Ok(Self {
            nodes,
            timers,
            effects: Vec::new(),
            mail: VecDeque::new(),
            steps: 0,
        })
    }

    fn leaders(&self) -> usize {
        let leads = |node: &&Raft| node.role() == RoleName::Leader && node.commit() > Index(0);
        self.nodes.iter().filter(leads).count()
    }

    /// Lets time pass: fires every timer that is due by then, each at its time.
    fn run_to(&mut self, end: Instant) -> Result<()> {
        while let Some(&Reverse((due, at))) = self.timers.peek() {
            if due > end {
                return Ok(());
            }
            self.timers.pop();
            // Hearing a leader moves a follower's timer on without telling the queue.
            if self.nodes[at as usize].next_deadline() <= due {
                self.step(due, at, Input::Deadline)?;
                self.deliver(due)?;
            }
            let next = self.nodes[at as usize].next_deadline();
            self.timers.push(Reverse((next, at)));
        }
        Ok(())
    }

    fn deliver(&mut self, now: Instant) -> Result<()> {
        while let Some((to, from, message)) = self.mail.pop_front() {
            self.step(now, to, Input::Receive { from, message })?;
        }
        Ok(())
    }

    /// One input to one node, and what follows.
    fn step(&mut self, now: Instant, at: u32, input: Input) -> Result<()> {
        self.steps += 1;
        let node = &mut self.nodes[at as usize];
        let group = at - at % NODES as u32;
        node.step(now, input, &mut self.effects);
        while !self.effects.is_empty() {
            let mut written = None;
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send { to, message } => {
                        let to = group + (to.0 - 1) as u32;
                        self.mail.push_back((to, node.me(), message));
                    }
                    Effect::Persist(write) => written = Some(write.id),
                    Effect::Halt { why } => anyhow::bail!("a node halted: {why}"),
                    _ => {}
                }
            }
            if let Some(upto) = written {
                node.step(now, Input::Persisted { upto }, &mut self.effects);
            }
        }
        for peer in 1..=NODES as u64 {
            while let Pull::Append { last, .. } = node.pull(NodeId(peer)) {
                let message = node.sent(now, NodeId(peer), last);
                let to = group + (peer - 1) as u32;
                self.mail.push_back((to, node.me(), message));
            }
        }
        node.end_turn(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Send { to, message } = effect {
                let to = group + (to.0 - 1) as u32;
                self.mail.push_back((to, node.me(), message));
            }
        }
        Ok(())
    }
}
