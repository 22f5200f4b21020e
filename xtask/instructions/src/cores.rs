//! Three cores that commit entries: the algorithm alone, without bodies, log or wire.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use headwater_raft::{
    Config, Effect, Entries, HardState, Index, Input, Instant, LogId, Message, NodeId, Options,
    Pull, Raft, Recovered, RoleName, WriteId,
};

use crate::measured;

/// Nodes of the cluster.
const NODES: u64 = 3;

/// Entries that are committed before counting begins: buffers have their size then.
const BEFORE: u64 = 64;

/// Entries that are counted.
const COUNTED: u64 = 1024;

/// Between two waves of commands.
const WAVE_NS: u64 = 10_000;

struct Node {
    raft: Raft,
    inbox: VecDeque<(NodeId, Message)>,
    written: Option<WriteId>,
}

struct Cores {
    nodes: Vec<Node>,
    effects: Vec<Effect>,
    now: Instant,
}

/// Commits entries in waves of `width`; gives their number.
pub fn commit(width: u64) -> Result<u64> {
    let mut cores = Cores::elected()?;
    cores.waves(width, BEFORE.div_ceil(width))?;
    let waves = COUNTED / width;
    measured(|| cores.waves(width, waves))?;
    Ok(waves * width)
}

impl Cores {
    fn elected() -> Result<Cores> {
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let options = Options {
                seed: number,
                ..Options::default()
            };
            let recovered = Recovered {
                me: NodeId(number),
                hard: HardState::default(),
                log: Entries::default(),
                applied: LogId::default(),
                config: Config::of_voters((1..=NODES).map(NodeId)),
                disk: None,
                unreadable: Vec::new(),
                commit_hint: Index(0),
                next_write: WriteId(1),
            };
            let raft = Raft::recover(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
            nodes.push(Node {
                raft,
                inbox: VecDeque::new(),
                written: None,
            });
        }
        let mut cores = Cores {
            nodes,
            effects: Vec::new(),
            now: Instant(0),
        };
        for _ in 0..100 {
            cores.settle()?;
            if cores
                .leader()
                .is_some_and(|at| cores.nodes[at].raft.commit() > Index(0))
            {
                return Ok(cores);
            }
            let deadlines = cores.nodes.iter().map(|node| node.raft.next_deadline());
            cores.now = cores.now.max(deadlines.min().context("there are nodes")?);
            cores.wake()?;
        }
        bail!("no leader is elected")
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.raft.role() == RoleName::Leader;
        self.nodes.iter().position(leads)
    }

    fn waves(&mut self, width: u64, waves: u64) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        for _ in 0..waves {
            self.now = self.now.after(WAVE_NS);
            self.wake()?;
            let raft = &mut self.nodes[leader].raft;
            let taken = raft.propose(self.now, width, &mut self.effects);
            ensure!(taken.is_ok(), "the leader takes no commands: {taken:?}");
            self.carry_out(leader)?;
            self.end_turn(leader)?;
            self.settle()?;
        }
        let raft = &self.nodes[leader].raft;
        ensure!(raft.commit() == raft.last().index, "not all is committed");
        Ok(())
    }

    /// Turns of all nodes until nothing is under way.
    fn settle(&mut self) -> Result<()> {
        loop {
            let busy = |node: &Node| !node.inbox.is_empty() || node.written.is_some();
            let Some(at) = self.nodes.iter().position(busy) else {
                return Ok(());
            };
            while let Some((from, message)) = self.nodes[at].inbox.pop_front() {
                let input = Input::Receive { from, message };
                self.nodes[at].raft.step(self.now, input, &mut self.effects);
                self.carry_out(at)?;
            }
            self.end_turn(at)?;
        }
    }

    fn end_turn(&mut self, at: usize) -> Result<()> {
        for number in 1..=NODES {
            let to = NodeId(number);
            let raft = &mut self.nodes[at].raft;
            if raft.role() != RoleName::Leader {
                break;
            }
            if let Pull::Append { last, .. } = raft.pull(to) {
                let message = raft.sent(self.now, to, last);
                self.send(at, to, message);
            }
        }
        if let Some(upto) = self.nodes[at].written.take() {
            let input = Input::Persisted { upto };
            self.nodes[at].raft.step(self.now, input, &mut self.effects);
        }
        self.nodes[at].raft.end_turn(&mut self.effects);
        self.carry_out(at)
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let from = NodeId(from as u64 + 1);
        self.nodes[to.0 as usize - 1]
            .inbox
            .push_back((from, message));
    }

    fn carry_out(&mut self, at: usize) -> Result<()> {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => self.send(at, to, message),
                Effect::Persist(write) => self.nodes[at].written = Some(write.id),
                Effect::Halt { why } => bail!("a node halts: {why}"),
                _ => {}
            }
        }
        self.effects = effects;
        Ok(())
    }

    /// Timers that are due.
    fn wake(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].raft.next_deadline() <= self.now {
                self.nodes[at]
                    .raft
                    .step(self.now, Input::Deadline, &mut self.effects);
                self.carry_out(at)?;
            }
        }
        Ok(())
    }
}
