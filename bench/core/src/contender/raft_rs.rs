//! The crate `raft`, driven as its documentation says, by one thread and with messages handed on
//! as they are.
//! Never slower than need be: entries share their commands, and its log copies no more than a
//! message takes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use protobuf::Message as _;
use raft::prelude::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, Config, Entry, EntryType, Message, MessageType,
    RawNode,
};
use raft::{LightReady, StateRole};

use super::raft_rs_log::Log;
use super::{Change, Cluster, KEEP_ENTRIES, NODES, Setup, TURNS_MAX, WAVE_NS};
use crate::load::{Commands, Tally};

/// Bytes of entries in one message, and messages under way to one peer: as TiKV has them.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const INFLIGHT_MAX: usize = 256;

/// Ticks in a heartbeat: fine enough for elections to be spread.
const HEARTBEAT_TICKS: u64 = 10;

/// The index of the node that may be cut off, added and removed.
const THIRD: usize = NODES - 1;

struct Node {
    raw: RawNode<Log>,
    log: Log,
    tally: Tally,
    keep_log: bool,
}

/// What is under way between the nodes.
#[derive(Default)]
struct Network {
    /// By receiver, in order.
    inboxes: [Vec<Message>; NODES],
    cut: Option<usize>,
}

impl Network {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let (from, to) = (message.from as usize - 1, message.to as usize - 1);
            if self.cut != Some(from) && self.cut != Some(to) {
                self.inboxes[to].push(message);
            }
        }
    }
}

/// Three nodes on a virtual clock.
pub struct RaftRs {
    batched: bool,
    nodes: Vec<Node>,
    tick_ns: u64,
    now_ns: u64,
    network: Network,
}

impl RaftRs {
    pub fn new(setup: &Setup, batched: bool) -> Result<Self> {
        let nodes = (0..NODES).map(|at| Node::new(at, setup));
        Ok(Self {
            batched,
            nodes: nodes.collect::<Result<_>>()?,
            tick_ns: setup.heartbeat_ms * 1_000_000 / HEARTBEAT_TICKS,
            now_ns: 0,
            network: Network::default(),
        })
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.raw.raft.state == StateRole::Leader;
        self.nodes.iter().position(leads)
    }

    /// Lets time pass, with the ticks in it.
    fn pass(&mut self, ns: u64) {
        let ticks = (self.now_ns + ns) / self.tick_ns - self.now_ns / self.tick_ns;
        self.now_ns += ns;
        for node in &mut self.nodes {
            for _ in 0..ticks {
                node.raw.tick();
            }
        }
    }

    /// Turns of all nodes until no message is under way.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..TURNS_MAX {
            let mut busy = false;
            for at in 0..NODES {
                let (node, network) = (&mut self.nodes[at], &mut self.network);
                for message in network.inboxes[at].drain(..) {
                    match node.raw.step(message) {
                        // A node that has just been removed still answers.
                        Ok(()) | Err(raft::Error::StepPeerNotFound) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                if node.raw.has_ready() {
                    node.carry_out(network)?;
                    busy = true;
                }
            }
            if !busy {
                return Ok(());
            }
        }
        bail!("the nodes never come to rest")
    }

    fn propose_batch(
        &mut self,
        leader: usize,
        commands: &mut Commands,
        width: usize,
    ) -> Result<()> {
        let mut proposal = Message::default();
        proposal.set_msg_type(MessageType::MsgPropose);
        proposal.from = leader as u64 + 1;
        let entry = || Entry {
            data: commands.take(),
            ..Entry::default()
        };
        let entries: Vec<Entry> = std::iter::repeat_with(entry).take(width).collect();
        proposal.set_entries(entries.into());
        Ok(self.nodes[leader].raw.step(proposal)?)
    }
}

impl Cluster for RaftRs {
    fn elect(&mut self, prompt: bool) -> Result<Duration> {
        if prompt {
            self.nodes[0].raw.campaign()?;
        }
        for _ in 0..TURNS_MAX {
            self.settle()?;
            let led = self.leader().map(|at| &self.nodes[at].raw.raft.raft_log);
            if led.is_some_and(|log| log.applied > 0) {
                return Ok(Duration::from_nanos(self.now_ns));
            }
            self.pass(self.tick_ns);
        }
        bail!("no leader is elected")
    }

    fn run(&mut self, commands: &mut Commands, waves: u64, width: usize) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        for _ in 0..waves {
            self.pass(WAVE_NS);
            if self.batched {
                self.propose_batch(leader, commands, width)?;
            } else {
                let raw = &mut self.nodes[leader].raw;
                for _ in 0..width {
                    raw.propose(Vec::new(), commands.take().to_vec())?;
                }
            }
            self.settle()?;
        }
        let log = &self.nodes[leader].raw.raft.raft_log;
        let (applied, last) = (log.applied, log.last_index());
        ensure!(applied == last, "{applied} of {last} entries are applied");
        Ok(())
    }

    fn cut_off(&mut self) {
        self.network.cut = Some(THIRD);
        self.network.inboxes[THIRD].clear();
    }

    fn bring_back(&mut self) -> Result<()> {
        self.network.cut = None;
        let leader = self.leader().context("no leader")?;
        // A follower that was silent is asked again with the next heartbeat.
        self.pass(self.tick_ns * HEARTBEAT_TICKS);
        for _ in 0..TURNS_MAX {
            self.settle()?;
            let upto = self.nodes[leader].tally;
            if self.nodes[THIRD].tally == upto {
                return Ok(());
            }
            self.pass(self.tick_ns);
        }
        bail!("the follower does not catch up")
    }

    fn begin_change(&mut self, change: Change) -> Result<()> {
        let leader = self.leader().context("no leader")?;
        let mut single = ConfChangeSingle {
            node_id: THIRD as u64 + 1,
            ..ConfChangeSingle::default()
        };
        single.set_change_type(match change {
            Change::Add => ConfChangeType::AddNode,
            Change::Remove => ConfChangeType::RemoveNode,
        });
        let mut whole = ConfChangeV2::default();
        whole.set_changes(vec![single].into());
        self.nodes[leader].raw.propose_conf_change(vec![], whole)?;
        Ok(())
    }

    fn is_changed(&self, change: Change) -> bool {
        let third = THIRD as u64 + 1;
        let Some(leader) = self.leader() else {
            return false;
        };
        let config = self.nodes[leader].raw.raft.prs().conf().to_conf_state();
        let done = match change {
            // A voter that lacks the log is none yet in any useful sense.
            Change::Add => self.nodes[THIRD].tally == self.nodes[leader].tally,
            Change::Remove => true,
        };
        let is_voter = config.voters.contains(&third);
        done && is_voter == (change == Change::Add) && config.voters_outgoing.is_empty()
    }

    fn tallies(&self) -> [Tally; NODES] {
        std::array::from_fn(|at| self.nodes[at].tally)
    }
}

impl Node {
    fn new(at: usize, setup: &Setup) -> Result<Self> {
        let ticks = setup.election_ms * HEARTBEAT_TICKS / setup.heartbeat_ms;
        let config = Config {
            id: at as u64 + 1,
            election_tick: ticks as usize,
            heartbeat_tick: HEARTBEAT_TICKS as usize,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let log = Log::new(setup.voters);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        Ok(Self {
            raw: RawNode::new(&config, log.clone(), &logger)?,
            log,
            tally: Tally::default(),
            keep_log: setup.keep_log,
        })
    }

    /// Sends, stores and applies what the core has ready, in the order that its documentation
    /// gives.
    fn carry_out(&mut self, network: &mut Network) -> Result<()> {
        let mut ready = self.raw.ready();
        network.send(ready.take_messages());
        ensure!(
            ready.snapshot().is_empty(),
            "no node should need a snapshot"
        );
        self.apply(ready.take_committed_entries())?;
        self.log.append(ready.take_entries());
        if let Some(state) = ready.hs() {
            self.log.set_hard_state(state.clone());
        }
        network.send(ready.take_persisted_messages());
        let light = self.raw.advance(ready);
        self.carry_out_light(light, network)?;
        self.raw.advance_apply();
        self.forget();
        Ok(())
    }

    fn carry_out_light(&mut self, mut light: LightReady, network: &mut Network) -> Result<()> {
        if let Some(commit) = light.commit_index() {
            self.log.set_commit(commit);
        }
        network.send(light.take_messages());
        self.apply(light.take_committed_entries())
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<()> {
        for entry in entries {
            match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => self.tally.add(&entry.data),
                EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data)?;
                    let config = self.raw.apply_conf_change(&change)?;
                    self.log.set_config(config);
                }
                EntryType::EntryConfChange => bail!("a change that nobody proposed"),
            }
        }
        Ok(())
    }

    /// Forgets what was applied long ago, in large pieces, as snapshots would let it.
    fn forget(&mut self) {
        let applied = self.raw.raft.raft_log.applied;
        if !self.keep_log && self.log.count_upto(applied) >= 2 * KEEP_ENTRIES {
            self.log.forget(applied - KEEP_ENTRIES);
        }
    }
}
