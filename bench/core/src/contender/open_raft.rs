//! The crate `openraft` on a runtime of one thread, which is the faster way to run it; calls
//! between nodes go straight to the other node's handle.
//! Never on a virtual clock: its timers are the runtime's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{
    ChangeMembers, Config, Entry, LogId, Membership, Raft, RaftNetwork, RaftNetworkFactory,
    SnapshotPolicy,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::open_raft_store::{Log, Machine, Types};
use super::{Change, Cluster, KEEP_ENTRIES, NODES, Setup};
use crate::load::{Commands, Tally};

/// Entries in one call to a follower, at most. The default of 300 would cut waves of 4096 in
/// pieces, and every piece waits for the one before.
const PAYLOAD_ENTRIES_MAX: u64 = 4096;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// After how long a node that could not be reached is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The node that may be cut off, added and removed.
const THIRD: u64 = NODES as u64;

type Handles = Arc<Mutex<BTreeMap<u64, Raft<Types>>>>;

/// The network as one node sees it: everyone's handle, and whether the third node is cut off.
#[derive(Clone, Default)]
struct Network {
    me: u64,
    handles: Handles,
    cut: Arc<AtomicBool>,
}

/// Three nodes on a runtime.
pub struct OpenRaft {
    setup: Setup,
    runtime: Runtime,
    network: Network,
    machines: Vec<Machine>,
    change: Option<JoinHandle<Result<()>>>,
    changed: bool,
}

impl OpenRaft {
    pub fn new(setup: &Setup) -> Result<Self> {
        Ok(Self {
            setup: setup.clone(),
            runtime: Builder::new_current_thread().enable_time().build()?,
            network: Network::default(),
            machines: (0..NODES).map(|_| Machine::default()).collect(),
            change: None,
            changed: false,
        })
    }

    fn config(&self) -> Result<Arc<Config>> {
        let mut config = Config {
            heartbeat_interval: self.setup.heartbeat_ms,
            election_timeout_min: self.setup.election_ms,
            election_timeout_max: 2 * self.setup.election_ms,
            max_payload_entries: PAYLOAD_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(KEEP_ENTRIES),
            max_in_snapshot_log_to_keep: KEEP_ENTRIES,
            purge_batch_size: 1024,
            replication_lag_threshold: 2 * KEEP_ENTRIES,
            ..Config::default()
        };
        if self.setup.keep_log {
            config.snapshot_policy = SnapshotPolicy::Never;
            config.replication_lag_threshold = u64::MAX;
        }
        Ok(Arc::new(config.validate()?))
    }

    fn leader(&self) -> Result<Raft<Types>> {
        let leader = self.network.handle(1)?.metrics().borrow().current_leader;
        self.network.handle(leader.context("no leader")?)
    }
}

impl Cluster for OpenRaft {
    fn elect(&mut self, prompt: bool) -> Result<Duration> {
        let config = self.config()?;
        let voters: BTreeSet<u64> = (1..=self.setup.voters as u64).collect();
        let begin = Instant::now();
        self.runtime.block_on(async {
            for (id, machine) in (1..).zip(&self.machines) {
                // What `initialize` would write, so that all start alike and wait for their timers.
                let first = Membership::new(vec![voters.clone()], ());
                let first = Entry::<Types> {
                    log_id: LogId::default(),
                    payload: openraft::EntryPayload::Membership(first),
                };
                let members = if voters.contains(&id) {
                    vec![first]
                } else {
                    vec![]
                };
                let log = Log::with(members);
                let network = Network {
                    me: id,
                    ..self.network.clone()
                };
                let raft = Raft::new(id, config.clone(), network, log, machine.clone()).await?;
                self.network.lock().insert(id, raft);
            }
            if prompt {
                self.network.handle(1)?.trigger().elect().await?;
            }
            // Index zero is the membership; the leader's own first entry follows it.
            for &id in &voters {
                let wait = self.network.handle(id)?.wait(Some(PATIENCE));
                wait.applied_index_at_least(Some(1), "a first entry")
                    .await?;
            }
            Ok(begin.elapsed())
        })
    }

    fn run(&mut self, commands: &mut Commands, waves: u64, width: usize) -> Result<()> {
        let leader = self.leader()?;
        self.runtime.block_on(async {
            let mut receivers = Vec::with_capacity(width);
            let mut last = 0;
            for _ in 0..waves {
                for _ in 0..width {
                    receivers.push(leader.client_write_ff(commands.take()).await?);
                }
                for receiver in receivers.drain(..) {
                    let answer = timeout(PATIENCE, receiver).await;
                    let answer = answer.context("nothing is committed any more")??;
                    last = answer.context("a command was not applied")?.log_id.index;
                }
            }
            let members = leader.metrics().borrow().membership_config.clone();
            for id in members.membership().voter_ids() {
                if id != THIRD || !self.network.cut.load(Ordering::Relaxed) {
                    let wait = self.network.handle(id)?.wait(Some(PATIENCE));
                    wait.applied_index_at_least(Some(last), "all of a run")
                        .await?;
                }
            }
            if self.change.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(change) = self.change.take()
            {
                change.await??;
                self.changed = true;
            }
            Ok(())
        })
    }

    fn cut_off(&mut self) {
        self.network.cut.store(true, Ordering::Relaxed);
        // Without a pre-vote it would come back with a newer term and depose the leader.
        if let Ok(third) = self.network.handle(THIRD) {
            third.runtime_config().elect(false);
        }
    }

    fn bring_back(&mut self) -> Result<()> {
        self.network.cut.store(false, Ordering::Relaxed);
        let leader = self.leader()?;
        self.runtime.block_on(async {
            let upto = leader.metrics().borrow().last_applied.map(|id| id.index);
            let wait = self.network.handle(THIRD)?.wait(Some(PATIENCE));
            wait.applied_index_at_least(upto, "what it missed").await?;
            Ok(())
        })
    }

    fn begin_change(&mut self, change: Change) -> Result<()> {
        ensure!(self.change.is_none(), "one change at a time");
        let leader = self.leader()?;
        self.changed = false;
        self.change = Some(self.runtime.spawn(async move {
            match change {
                Change::Add => {
                    leader.add_learner(THIRD, (), true).await?;
                    let members = ChangeMembers::AddVoterIds(BTreeSet::from([THIRD]));
                    leader.change_membership(members, false).await?;
                }
                Change::Remove => {
                    let members = ChangeMembers::RemoveVoters(BTreeSet::from([THIRD]));
                    leader.change_membership(members, false).await?;
                }
            }
            Ok(())
        }));
        Ok(())
    }

    fn is_changed(&self, _change: Change) -> bool {
        self.changed
    }

    fn tallies(&self) -> [Tally; NODES] {
        std::array::from_fn(|at| self.machines[at].tally())
    }
}

impl Drop for OpenRaft {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut *self.network.lock());
        self.runtime.block_on(async {
            for raft in handles.into_values() {
                let _ = raft.shutdown().await;
            }
        });
    }
}

impl Network {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Raft<Types>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: u64) -> Result<Raft<Types>> {
        self.lock().get(&id).cloned().context("no such node")
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &()) -> Connection {
        Connection {
            target,
            raft: None,
            network: self.clone(),
        }
    }
}

/// The way to one node.
struct Connection {
    target: u64,
    /// Its handle, once it is known.
    raft: Option<Raft<Types>>,
    network: Network,
}

impl Connection {
    fn raft(&mut self) -> Result<Raft<Types>, Unreachable> {
        let error = std::io::Error::from(std::io::ErrorKind::NotConnected);
        let concerned = [self.target, self.network.me].contains(&THIRD);
        if concerned && self.network.cut.load(Ordering::Relaxed) {
            return Err(Unreachable::new(&error));
        }
        if self.raft.is_none() {
            self.raft = self.network.handle(self.target).ok();
        }
        self.raft.clone().ok_or_else(|| Unreachable::new(&error))
    }
}

impl RaftNetwork<Types> for Connection {
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_AFTER))
    }

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let raft = self.raft().map_err(RPCError::Unreachable)?;
        let answer = raft.append_entries(request).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, (), RaftError<u64, InstallSnapshotError>>>
    {
        let raft = self.raft().map_err(RPCError::Unreachable)?;
        let answer = raft.install_snapshot(request).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let raft = self.raft().map_err(RPCError::Unreachable)?;
        let answer = raft.vote(request).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }
}
