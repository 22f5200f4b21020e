//! Thousands of groups without work in one process: what they cost by being there.
//! Never proposes: after its first entry a group only keeps its leader.
//!
//! All three nodes of every group live here, with one queue of timers for all. A process that
//! holds one node of each group, as a server would, has a third of what is measured; figures are
//! given per node for that reason.
//!
//! Messages are plain data without a group's name in them, and may be late: so a transport can hold
//! them for a moment and send what all groups have for one process in one frame. How many frames that
//! saves is measured too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
    /// Frames that a process sends per second, on the virtual clock: each takes along what all
    /// groups have for another process at that moment.
    pub frames_per_second: f64,
}

/// How idle groups are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How many there are.
    pub groups: usize,
    /// Seed of election dice.
    pub seed: u64,
    /// Leaders fall silent.
    pub rests: bool,
    /// How long the transport holds messages, to send those of many groups in one frame.
    pub hold_ns: u64,
}

/// All nodes of all groups: node `at` of group `g` lies at `g * NODES + at`.
struct Groups {
    nodes: Vec<Raft>,
    /// When to look at a node's timer. That may be early, and of a node's entries only the one that
    /// `due` names counts.
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    due: Vec<Instant>,
    effects: Vec<Effect>,
    mail: Mail,
    steps: u64,
    frames: u64,
}

/// What is on its way, all of which arrives at once.
struct Mail {
    /// To which node, from whom in its group, and what.
    posted: Vec<(u32, NodeId, Message)>,
    arrives_at: Instant,
    hold_ns: u64,
}

impl Mail {
    fn post(&mut self, now: Instant, to: u32, from: NodeId, message: Message) {
        if self.posted.is_empty() {
            self.arrives_at = now.after(self.hold_ns);
        }
        self.posted.push((to, from, message));
    }
}

/// Measures groups for so long on each of both clocks.
pub fn measure(keeping: Keeping, virtual_ns: u64, real: Duration) -> Result<Idle> {
    let groups = keeping.groups;
    let before = Allocations::live_bytes();
    let mut all = Groups::new(keeping)?;
    all.run_to(Instant(SETTLE_NS))?;
    let bytes = Allocations::live_bytes() - before;
    ensure!(
        all.leaders() == groups,
        "not every group has a leader that has committed an entry"
    );

    let (meter, steps, frames) = (Meter::start(), all.steps, all.frames);
    all.run_to(Instant(SETTLE_NS + virtual_ns))?;
    let seconds = virtual_ns as f64 / 1e9;
    let cpu_virtual = meter.cost().cpu.as_secs_f64() / seconds;
    let steps = (all.steps - steps) as f64 / seconds;
    let frames = (all.frames - frames) as f64 / seconds;

    let (meter, begin) = (Meter::start(), RealInstant::now());
    let start = SETTLE_NS + virtual_ns;
    while begin.elapsed() < real {
        let passed = u64::try_from(begin.elapsed().as_nanos())?;
        all.run_to(Instant(start + passed))?;
        let wait = all
            .next()
            .0
            .saturating_sub(start + begin.elapsed().as_nanos() as u64);
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
        frames_per_second: frames / NODES as f64,
    })
}

impl Groups {
    fn new(keeping: Keeping) -> Result<Self> {
        let Keeping {
            groups,
            seed,
            rests,
            hold_ns,
        } = keeping;
        let mut nodes = Vec::with_capacity(groups * NODES);
        let mut timers = BinaryHeap::with_capacity(groups * NODES);
        let mut due = Vec::with_capacity(groups * NODES);
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
                unreadable: Vec::new(),
                commit_hint: Index(0),
                next_write: WriteId(1),
            };
            let node = Raft::recover(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
            timers.push(Reverse((node.next_deadline(), u32::try_from(at)?)));
            due.push(node.next_deadline());
            nodes.push(node);
        }
        Ok(Self {
            nodes,
            timers,
            due,
            effects: Vec::new(),
            mail: Mail {
                posted: Vec::new(),
                arrives_at: Instant(0),
                hold_ns,
            },
            steps: 0,
            frames: 0,
        })
    }

    fn leaders(&self) -> usize {
        let leads = |node: &&Raft| node.role() == RoleName::Leader && node.commit() > Index(0);
        self.nodes.iter().filter(leads).count()
    }

    /// When something is due: a timer, or what is on its way.
    fn next(&self) -> Instant {
        let timer = self.timers.peek().map_or(Instant::NEVER, |due| due.0.0);
        if self.mail.posted.is_empty() {
            timer
        } else {
            timer.min(self.mail.arrives_at)
        }
    }

    /// Lets time pass: fires every timer that is due by then, each at its time.
    fn run_to(&mut self, end: Instant) -> Result<()> {
        while self.next() <= end {
            if !self.mail.posted.is_empty() && self.mail.arrives_at == self.next() {
                self.deliver()?;
            } else if let Some(Reverse((due, at))) = self.timers.pop()
                && self.due[at as usize] == due
            {
                self.due[at as usize] = Instant::NEVER;
                // Hearing a leader moves a follower's timer on without telling the queue.
                if self.nodes[at as usize].next_deadline() <= due {
                    self.step(due, at, Input::Deadline)?;
                }
                self.watch(at);
            }
        }
        Ok(())
    }

    /// Looks at a node's timer when it is due, if that is earlier than the queue has it.
    fn watch(&mut self, at: u32) {
        let (due, next) = (
            self.due[at as usize],
            self.nodes[at as usize].next_deadline(),
        );
        if next < due {
            self.due[at as usize] = next;
            self.timers.push(Reverse((next, at)));
        }
    }

    /// All that is on its way arrives, in one frame from each process to each other one.
    fn deliver(&mut self) -> Result<()> {
        let (now, mail) = (self.mail.arrives_at, std::mem::take(&mut self.mail.posted));
        let mut ways = [[false; NODES]; NODES];
        for (to, from, message) in mail {
            ways[from.0 as usize - 1][to as usize % NODES] = true;
            self.step(now, to, Input::Receive { from, message })?;
        }
        self.frames += ways.iter().flatten().filter(|&&way| way).count() as u64;
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
                        self.mail.post(now, to, node.me(), message);
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
                self.mail.post(now, to, node.me(), message);
            }
        }
        node.end_turn(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Send { to, message } = effect {
                let to = group + (to.0 - 1) as u32;
                self.mail.post(now, to, node.me(), message);
            }
        }
        self.watch(at);
        Ok(())
    }
}
