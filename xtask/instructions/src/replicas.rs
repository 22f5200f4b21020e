//! Three replicas of the store that commit puts: core, codec, requests and apply together, as in a
//! server, without disk and sockets.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use headwater_kv::Store;
use headwater_raft::{Config, Index, Instant, NodeId, RoleName};
use headwater_replica::interface::{Input, Options, Output, RequestId};
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::{Identity, LogOrder};

use crate::measured;
use crate::stores::put;

/// Nodes of the cluster.
const NODES: u64 = 3;

/// Commands before counting begins.
const BEFORE: u64 = 64;

/// Commands that are counted.
const COUNTED: u64 = 512;

/// Between two waves of commands.
const WAVE_NS: u64 = 10_000;

struct Node {
    replica: Replica<Store>,
    inbox: Vec<Input<Store>>,
}

struct Replicas {
    nodes: Vec<Node>,
    now: Instant,
    asked: u64,
    answered: u64,
    outputs: Vec<Output<Store>>,
}

/// Commits puts in waves of `width`; gives their number.
pub fn commit(width: u64) -> Result<u64> {
    let mut replicas = Replicas::elected()?;
    let commands = |count: u64| -> Vec<Bytes> { (0..count).map(|n| put(n).encode()).collect() };
    replicas.waves(width, &commands(BEFORE))?;
    let counted = commands(COUNTED);
    measured(|| replicas.waves(width, &counted))?;
    Ok(COUNTED)
}

impl Replicas {
    fn elected() -> Result<Replicas> {
        let nodes: Result<Vec<Node>> = (1..=NODES).map(Node::new).collect();
        let mut replicas = Replicas {
            nodes: nodes?,
            now: Instant(0),
            asked: 0,
            answered: 0,
            outputs: Vec::new(),
        };
        for (at, node) in replicas.nodes.iter_mut().enumerate() {
            let others = (1..=NODES).filter(|&peer| peer != at as u64 + 1);
            let up = |peer| Input::Link {
                peer: NodeId(peer),
                up: true,
            };
            node.inbox.extend(others.map(up));
        }
        for _ in 0..100 {
            replicas.settle()?;
            if replicas
                .leader()
                .is_some_and(|node| node.replica.status().applied > Index(0))
            {
                return Ok(replicas);
            }
            let deadlines = replicas
                .nodes
                .iter()
                .map(|node| node.replica.next_deadline());
            let next = deadlines.min().context("there are nodes")?;
            replicas.now = replicas.now.max(next);
            replicas.wake()?;
        }
        bail!("no leader is elected")
    }

    fn leader(&self) -> Option<&Node> {
        let leads = |node: &&Node| node.replica.raft().role() == RoleName::Leader;
        self.nodes.iter().find(leads)
    }

    fn waves(&mut self, width: u64, commands: &[Bytes]) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        let leader = leader.replica.raft().me().0 as usize - 1;
        for wave in commands.chunks(width as usize) {
            self.now = self.now.after(WAVE_NS);
            self.wake()?;
            for command in wave {
                self.asked += 1;
                self.nodes[leader].inbox.push(Input::Propose {
                    request: RequestId(self.asked),
                    command: command.clone(),
                });
            }
            self.settle()?;
        }
        let (asked, answered) = (self.asked, self.answered);
        ensure!(asked == answered, "{answered} of {asked} puts answered");
        Ok(())
    }

    /// Turns of all nodes until nothing is under way.
    fn settle(&mut self) -> Result<()> {
        while let Some(at) = self.nodes.iter().position(|node| !node.inbox.is_empty()) {
            self.turn(at)?;
        }
        Ok(())
    }

    /// Turns for those whose time has come.
    fn wake(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].replica.next_deadline() <= self.now {
                self.turn(at)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, at: usize) -> Result<()> {
        let node = &mut self.nodes[at];
        for input in std::mem::take(&mut node.inbox) {
            node.replica.step(self.now, input, &mut self.outputs);
        }
        node.replica.end_turn(self.now, &mut self.outputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Frame { to, frame, .. } => {
                    let from = NodeId(at as u64 + 1);
                    let inbox = &mut self.nodes[to.0 as usize - 1].inbox;
                    inbox.push(Input::Frame { from, frame });
                }
                // The disk is done at once.
                Output::Log(LogOrder::Write(write)) => {
                    let done = Input::LogDone { upto: write.id };
                    self.nodes[at].inbox.push(done);
                }
                Output::Proposed { result, .. } => {
                    ensure!(result.is_ok(), "a put was not applied: {result:?}");
                    self.answered += 1;
                }
                Output::Halt(why) => bail!("a node halts: {why}"),
                _ => {}
            }
        }
        self.outputs = outputs;
        Ok(())
    }
}

impl Node {
    fn new(number: u64) -> Result<Node> {
        let options = Options {
            core: headwater_raft::Options {
                seed: number,
                ..headwater_raft::Options::default()
            },
            ..Options::default()
        };
        let recovered = Recovered::blank(
            Identity {
                cluster: 1,
                node: NodeId(number),
                incarnation: u128::from(number),
            },
            Config::of_voters((1..=NODES).map(NodeId)),
        );
        let replica = Replica::new(Instant(0), options, recovered).map_err(anyhow::Error::msg)?;
        Ok(Node {
            replica,
            inbox: Vec::new(),
        })
    }
}
