//! Who is compared, and what each of them must be able to do.
//! Never measures.

mod headwater_core;
mod headwater_replica;
mod open_raft;
mod open_raft_store;
mod raft_rs;
mod raft_rs_log;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use headwater_raft::{Config, NodeId, Raft};

use crate::load::{Commands, Tally};

/// How many nodes a cluster has.
pub const NODES: usize = 3;

/// Virtual time from one wave of commands to the next, where clocks are virtual.
const WAVE_NS: u64 = 10_000;

/// Logs keep so many entries behind the last one applied, and forget the rest by the same number.
const KEEP_ENTRIES: u64 = 16_384;

/// How long a cluster may take to do what it is asked to, in turns of all its nodes.
const TURNS_MAX: u32 = 1_000_000;

/// The libraries, and ways to use one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Contender {
    /// Our core with the least driver that carries the commands.
    HeadwaterCore,
    /// Our core with our driver: encoded frames, checksums, requests with their outcomes.
    HeadwaterReplica,
    /// The crate `raft`, TiKV's: each command is proposed by itself, as its interface has it.
    RaftRs,
    /// The same, with all commands of a wave in one proposal, by the back door: as a message from
    /// a follower that passes them on.
    RaftRsBatched,
    /// The crate `openraft`.
    OpenRaft,
}

impl Contender {
    /// All of them; ours first.
    pub const ALL: [Self; 5] = [
        Self::HeadwaterCore,
        Self::HeadwaterReplica,
        Self::RaftRs,
        Self::RaftRsBatched,
        Self::OpenRaft,
    ];

    /// Those that ours are compared with.
    pub const RIVALS: [Self; 3] = [Self::RaftRs, Self::RaftRsBatched, Self::OpenRaft];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::HeadwaterCore => "headwater core",
            Self::HeadwaterReplica => "headwater replica",
            Self::RaftRs => "raft 0.7",
            Self::RaftRsBatched => "raft 0.7 batched",
            Self::OpenRaft => "openraft 0.9",
        }
    }

    /// Three nodes with empty logs, not yet started.
    pub fn prepare(self, setup: &Setup) -> Result<Box<dyn Cluster>> {
        Ok(match self {
            Self::HeadwaterCore => Box::new(headwater_core::Core::new(setup)?),
            Self::HeadwaterReplica => Box::new(headwater_replica::Replicas::new(setup)?),
            Self::RaftRs => Box::new(raft_rs::RaftRs::new(setup, false)?),
            Self::RaftRsBatched => Box::new(raft_rs::RaftRs::new(setup, true)?),
            Self::OpenRaft => Box::new(open_raft::OpenRaft::new(setup)?),
        })
    }

    /// A cluster with a leader.
    pub fn start(self, setup: &Setup) -> Result<Box<dyn Cluster>> {
        let mut cluster = self.prepare(setup)?;
        cluster.elect(true)?;
        Ok(cluster)
    }
}

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// For the election dice of those who let them be seeded.
    pub seed: u64,
    /// How many of the three nodes vote at first; the others are no members yet.
    pub voters: usize,
    /// How often a leader makes itself heard.
    pub heartbeat_ms: u64,
    /// The least silence before an election; the most is twice this.
    pub election_ms: u64,
    /// Whether logs are kept whole, for a follower that will need all of it.
    pub keep_log: bool,
}

impl Setup {
    /// Three voters with ordinary timeouts, whose logs forget what is applied.
    pub fn usual(seed: u64) -> Self {
        Self {
            seed,
            voters: NODES,
            heartbeat_ms: 100,
            election_ms: 1000,
            keep_log: false,
        }
    }
}

/// A change of who votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The third node becomes a voter.
    Add,
    /// It is one no longer.
    Remove,
}

/// Three nodes in this process.
pub trait Cluster {
    /// Starts the nodes and waits until a leader has committed its first entry; answers how long
    /// that took on the nodes' clock. `prompt`: a node may be told to campaign at once.
    fn elect(&mut self, prompt: bool) -> Result<Duration>;

    /// Proposes `waves` waves of `width` commands to the leader, each when all of the one before
    /// are applied there, and waits until every member that can be reached has applied all.
    fn run(&mut self, commands: &mut Commands, waves: u64, width: usize) -> Result<()>;

    /// Cuts a follower off from the others.
    fn cut_off(&mut self);

    /// Connects it again and waits until it has applied everything.
    fn bring_back(&mut self) -> Result<()>;

    /// Asks the leader for a change of membership.
    fn begin_change(&mut self, change: Change) -> Result<()>;

    /// Whether the change is over: in force and committed, with nothing joint left.
    fn is_changed(&self, change: Change) -> bool;

    /// What each node has applied.
    fn tallies(&self) -> [Tally; NODES];
}

/// The third node, which comes and goes.
const THIRD: NodeId = NodeId(NODES as u64);

/// What our nodes begin with, members or not.
fn first_config(setup: &Setup) -> Config {
    Config::of_voters((1..=setup.voters as u64).map(NodeId))
}

/// Whom a change leads to, of ours: a new voter learns first, and is promoted once it keeps up.
fn target(change: Change) -> Config {
    let others = Config::of_voters((1..NODES as u64).map(NodeId));
    match change {
        Change::Add => others.with_joining([THIRD]),
        Change::Remove => others,
    }
}

/// Whether a change of ours is over, seen by the leader, which lies at `at`.
fn is_in_force(leader: &Raft, at: usize, change: Change, tallies: &[Tally; NODES]) -> bool {
    let config = leader.config();
    let settled = !config.is_joint() && leader.commit() == leader.last().index;
    settled
        && match change {
            // A voter that lacks the log is none yet in any useful sense.
            Change::Add => config.is_voter(THIRD) && tallies[NODES - 1] == tallies[at],
            Change::Remove => !config.is_member(THIRD),
        }
}

/// Fails unless the first `nodes` nodes have applied the first `count` commands of the seed.
pub fn check(cluster: &dyn Cluster, seed: u64, count: u64, nodes: usize) -> Result<()> {
    let expected = Commands::tally(seed, count);
    for (at, tally) in cluster.tallies().iter().take(nodes).enumerate() {
        ensure!(
            *tally == expected,
            "node {} applied {tally:?} instead of {expected:?}",
            at + 1
        );
    }
    Ok(())
}
