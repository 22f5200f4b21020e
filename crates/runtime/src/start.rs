//! From a configuration to a running node: check, lock, listen, recover, set the loop going.
//! Never leaves anything behind that a second try would trip over.
//!
//! # Source
//! ARCHITECTURE.md, "The rules": R13 (a data directory belongs to one node of one cluster).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_raft::{Config, Incarnation, NodeId, WriteId};
use headwater_replica::interface::Options;
use headwater_replica::recovery::{self, Expect, OpenError, Recovered};
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::SnapshotStore;
use headwater_replica::wal::{Wal, WalOptions};
use headwater_replica::{Identity, LogOrder, StateMachine, telling};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::company::Company;
use crate::counters::Counters;
use crate::dice;
use crate::driver::{Driver, Parts};
use crate::event::{Event, REQUESTS_QUEUED_MAX};
use crate::file::{FileDisk, Use};
use crate::handle::{COMMAND_BYTES_MAX, NodeConfig, Shared, StartError, StopReason};
use crate::inbox::Inbox;
use crate::lock::{DirectoryLock, LockError};
use crate::name::hex;
use crate::progress::Progress;
use crate::recorder::{Recorder, Tape};
use crate::status::StatusCell;
use crate::tcp::{Membership, Network};
use crate::worker::{Worker, advice, panic_text};
use crate::{log_thread, snapshot_thread};

/// What recovery yields.
struct Opened<M> {
    recovered: Recovered<M>,
    wal: Wal,
    store: SnapshotStore,
    disk: FileDisk,
}

/// Starts a node on the current tokio runtime.
pub(crate) async fn start<M: StateMachine>(
    config: NodeConfig,
    company: Box<dyn Company<M>>,
) -> Result<Shared<M>, StartError> {
    check(&config).map_err(StartError::Config)?;
    let lock = Arc::new(take_directory(&config)?);
    // Before recovery, which can take long: an address that is taken should be known at once.
    let listeners = listen(&config).await?;
    let tape = open_tape(&config)?;
    let counters = Arc::new(Counters::default());
    let clock = Clock::start();
    let opened = recover::<M>(&config, counters.clone(), lock.clone()).await?;

    report_mending(config.node, &opened);
    let inbox = Arc::new(Inbox::new(REQUESTS_QUEUED_MAX));
    let identity = opened.recovered.identity;
    let options = options(&config);
    let life = options.core.life;
    let found = found(&config, life, &opened.recovered);
    let mut replica = Replica::new(clock.now(), options, opened.recovered)
        .map_err(|text| StartError::Damaged(format!("{}: {text}", config.data_dir.display())))?;
    let recorder = tape.map(|tape| Recorder::start(tape, &config, &found, &mut replica));
    let recorder = recorder.transpose().map_err(no_thread)?;
    let files = (opened.store, &opened.disk);
    let files = start_snapshot_thread(&config, files, &lock, &inbox).map_err(no_thread)?;
    let log = start_log_thread(opened.wal, opened.disk, lock, &inbox).map_err(no_thread)?;
    let (config_sender, members) = watch::channel(replica.raft().config().clone());
    let parts = Parts {
        clock,
        replica,
        company,
        network: Network::start(
            membership(&config, identity, life),
            listeners,
            counters.clone(),
            Arc::new(sender(&inbox, Event::Peer)),
        ),
        inbox: inbox.clone(),
        log,
        files,
        status: Arc::new(StatusCell::default()),
        config: config_sender,
        names: config.names.clone(),
        counters: counters.clone(),
        heartbeat_ns: ns(config.heartbeat),
        recorder,
    };
    let status = parts.status.clone();
    report_start(&config, &identity);
    Ok(Shared {
        node: config.node,
        cluster: config.cluster,
        disk: Incarnation(identity.incarnation),
        command_bytes_max: config.command_bytes_max,
        inbox: inbox.clone(),
        status,
        members,
        counters,
        stopped: supervise(config.node, parts),
    })
}

/// The file of the record, if one is wanted and may go on.
fn open_tape(config: &NodeConfig) -> Result<Option<Tape>, StartError> {
    let Some(wanted) = &config.flight_recorder else {
        return Ok(None);
    };
    let tape = Tape::open(wanted);
    let tape = tape.map_err(|error| StartError::Record(wanted.file.clone(), error))?;
    if tape.is_none() {
        let file = wanted.file.display();
        tracing::warn!(%file, "this record has ended, and a later life cannot continue it");
    }
    Ok(tape)
}

/// What a record tells of a start.
fn found<M>(config: &NodeConfig, life: u64, recovered: &Recovered<M>) -> telling::calls::Start {
    telling::calls::Start {
        life,
        write: WriteId(recovered.next_write.0.saturating_sub(1)),
        leases: config.lease_drift_ppm.is_some(),
        snapshot: recovered.base,
    }
}

fn report_start(config: &NodeConfig, identity: &Identity) {
    tracing::info!(
        node = %hex(config.node.0), cluster = %hex(config.cluster),
        incarnation = %hex(identity.incarnation),
        data_dir = %config.data_dir.display(), "node started"
    );
}

/// Says what recovery has put right.
fn report_mending<M>(node: NodeId, opened: &Opened<M>) {
    for mended in &opened.recovered.mended {
        tracing::warn!(node = %hex(node.0), mended, "damage in the data directory");
    }
    if opened.recovered.torn_bytes > 0 {
        let bytes = opened.recovered.torn_bytes;
        tracing::info!(node = %hex(node.0), bytes, "dropped the end of an unfinished write");
    }
}

/// Locks the data directory, unless it is somebody else's: there the lock's own file has no place.
fn take_directory(config: &NodeConfig) -> Result<DirectoryLock, StartError> {
    let directory = &config.data_dir;
    let mut disk = FileDisk::new(directory.clone(), Use::Log, Arc::default());
    // All else is judged under the lock.
    if let Err(error @ OpenError::Occupied(_)) = recovery::check_names(&mut disk) {
        return Err(refusal(config, error));
    }
    DirectoryLock::take(directory).map_err(|error| match error {
        LockError::Held => StartError::Locked(directory.clone()),
        LockError::NotDirectory => {
            let text = format!("{} is a file, not a directory", directory.display());
            StartError::Occupied(text)
        }
        LockError::Unusable(text) => StartError::Disk(text),
    })
}

/// Runs the loop and makes its end known, whichever way it ends.
fn supervise<M: StateMachine>(
    node: NodeId,
    parts: Parts<M>,
) -> watch::Receiver<Option<StopReason>> {
    let (inbox, status) = (parts.inbox.clone(), parts.status.clone());
    let (stopped, watcher) = watch::channel(None);
    let driver = tokio::spawn(Driver::new(parts).run());
    tokio::spawn(async move {
        let reason = match driver.await {
            Ok(reason) => reason,
            Err(end) => {
                let text = match end.try_into_panic() {
                    Ok(panic) => format!("a broken invariant: {}", panic_text(&*panic)),
                    Err(_) => "the loop was cancelled".into(),
                };
                StopReason::Halted(text)
            }
        };
        // After a panic the loop could not close it; what waits in it is dropped, and so answered.
        drop(inbox.close());
        status.mark_stopped();
        let node = hex(node.0);
        match &reason {
            StopReason::Shutdown => tracing::info!(%node, "node stopped"),
            StopReason::Halted(text) => tracing::error!(%node, text, "node halted"),
        }
        stopped.send_replace(Some(reason));
    });
    watcher
}

/// A function that puts what it is given into the inbox, wrapped.
fn sender<M: StateMachine, T>(
    inbox: &Arc<Inbox<Event<M>>>,
    wrap: impl Fn(T) -> Event<M> + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static {
    let inbox = inbox.clone();
    move |value| inbox.put(wrap(value))
}

fn start_log_thread<M: StateMachine>(
    wal: Wal,
    disk: FileDisk,
    lock: Arc<DirectoryLock>,
    inbox: &Arc<Inbox<Event<M>>>,
) -> std::io::Result<Worker<LogOrder>> {
    let counters = disk.counters();
    let to = inbox.clone();
    let aside = move |upto| to.put_aside(Event::LogDone(upto));
    log_thread::start(
        wal,
        disk,
        lock,
        counters,
        aside,
        sender(inbox, Event::LogSpace),
        sender(inbox, Event::WorkerFailed),
    )
}

fn start_snapshot_thread<M: StateMachine>(
    config: &NodeConfig,
    (mut store, disk): (SnapshotStore, &FileDisk),
    lock: &Arc<DirectoryLock>,
    inbox: &Arc<Inbox<Event<M>>>,
) -> std::io::Result<Worker<headwater_replica::snapshot_file::FileOrder>> {
    store.keep(config.snapshots_kept);
    snapshot_thread::start::<M>(
        store,
        disk.another(Use::Snapshots),
        lock.clone(),
        sender(inbox, Event::FileDone),
        sender(inbox, Event::WorkerFailed),
        (config.cluster, config.scrub_bytes_per_second),
    )
}

/// What a configuration gets wrong, in words for who wrote it.
fn check(config: &NodeConfig) -> Result<(), String> {
    let me = config.node;
    if me == NodeId(0) || config.members.contains_key(&NodeId(0)) {
        return Err("0 is no node id".into());
    }
    if !config.joins && !config.members.contains_key(&me) {
        return Err(format!("node {:x} is not among the members", me.0));
    }
    let listens = !config.listen_peer.is_empty() || !config.listen_peer_tls.is_empty();
    if config.members.len() > 1 && !listens {
        return Err("a cluster of several members needs an address to listen for peers".into());
    }
    if !config.listen_peer_tls.is_empty() && config.tls.is_none() {
        return Err("to listen for peers that speak TLS takes a certificate".into());
    }
    let place = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Some(record) = &config.flight_recorder
        && place(&record.file).starts_with(place(&config.data_dir))
    {
        return Err(format!(
            "the flight recorder's file {} lies in the data directory, which is for nothing else",
            record.file.display()
        ));
    }
    if config.heartbeat.is_zero() || config.election <= config.heartbeat {
        return Err(format!(
            "the election timeout ({:?}) must be longer than the heartbeat interval ({:?})",
            config.election, config.heartbeat
        ));
    }
    if config.request_timeout.is_zero() {
        return Err("the request timeout is zero".into());
    }
    if config.command_bytes_max > COMMAND_BYTES_MAX {
        return Err(format!(
            "command_bytes_max is {}, but a command must fit into a frame between peers: at most \
             {COMMAND_BYTES_MAX}",
            config.command_bytes_max
        ));
    }
    Ok(())
}

/// The listeners for peers, each with whether TLS is spoken there.
async fn listen(config: &NodeConfig) -> Result<Vec<(TcpListener, bool)>, StartError> {
    let plain = config.listen_peer.iter().map(|&address| (address, false));
    let secured = config
        .listen_peer_tls
        .iter()
        .map(|&address| (address, true));
    let mut listeners = Vec::new();
    for (address, is_tls) in plain.chain(secured) {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|e| StartError::Listen(address, e))?;
        listeners.push((listener, is_tls));
    }
    Ok(listeners)
}

async fn recover<M: StateMachine>(
    config: &NodeConfig,
    counters: Arc<Counters>,
    lock: Arc<DirectoryLock>,
) -> Result<Opened<M>, StartError> {
    let root = config.data_dir.clone();
    let wal_options = WalOptions {
        segment_bytes: config.segment_bytes,
        ..WalOptions::default()
    };
    let expect = Expect {
        cluster: config.cluster,
        node: config.node,
        fresh_incarnation: dice::u128(),
        first_config: if config.joins {
            Config::default()
        } else {
            Config::of_voters(config.members.keys().copied())
        },
    };
    // Reading a large log takes seconds; other tasks of this runtime should not wait for it.
    let progress = Progress::of(&config.data_dir, counters.clone());
    let open = move || {
        let mut disk = FileDisk::new(root, Use::Log, counters);
        recovery::open::<M>(&mut disk, &wal_options, expect).map(|(recovered, wal, store)| Opened {
            recovered,
            wal,
            store,
            // Recovery's open files are closed: a snapshot among them would keep its space when
            // the snapshots' thread removes it.
            disk: disk.another(Use::Log),
        })
    };
    // None that tokio lends: what a thread that lives on has allocated costs more to free.
    let (ending, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("recovery".into())
        .spawn(move || {
            let _ending = ending;
            // It writes into the directory, whether or not somebody still waits for it.
            let _lock = lock;
            open()
        })
        .map_err(no_thread)?;
    // Closed when the thread ends, however it does.
    let _ = progress.watch(ended).await;
    match thread.join() {
        Ok(opened) => opened.map_err(|e| refusal(config, e)),
        Err(panic) => Err(StartError::Damaged(format!(
            "recovery of {} broke off: {}",
            config.data_dir.display(),
            panic_text(&*panic)
        ))),
    }
}

fn no_thread(error: std::io::Error) -> StartError {
    StartError::Disk(format!("cannot start a disk thread: {error}"))
}

fn refusal(config: &NodeConfig, error: OpenError) -> StartError {
    let text = format!("{}: {error}", config.data_dir.display());
    match error {
        OpenError::Disk(error) => StartError::Disk(advice(&error)),
        OpenError::Foreign(_) => StartError::ForeignData(text),
        OpenError::NewerFormat(_) => StartError::NewerFormat(text),
        OpenError::Occupied(_) => StartError::Occupied(text),
        // What else recovery may learn to refuse is a directory it cannot read.
        _ => StartError::Damaged(text),
    }
}

fn membership(config: &NodeConfig, identity: Identity, life: u64) -> Membership {
    let mut peers: BTreeMap<_, _> = config.members.clone();
    peers.remove(&config.node);
    Membership {
        identity,
        life,
        peers,
        names: config.names.clone(),
        tls: config.tls.clone(),
    }
}

fn options(config: &NodeConfig) -> Options {
    Options {
        core: headwater_raft::Options {
            seed: dice::u64(),
            life: dice::u64(),
            heartbeat_ns: ns(config.heartbeat),
            election_ns: ns(config.election),
            disk_slow_ns: ns(config.disk_slow.unwrap_or(config.election / 2)),
            priority: config.priority,
            lease_drift_ppm: config.lease_drift_ppm,
            ..headwater_raft::Options::default()
        },
        request_timeout_ns: ns(config.request_timeout),
        command_bytes_max: config.command_bytes_max,
        snapshot_log_bytes: config.snapshot_log_bytes,
        reserve_bytes: config.disk_reserve_bytes,
        snapshot_write_bytes_per_second: config.snapshot_write_bytes_per_second,
        snapshot_send_bytes_per_second: config.snapshot_send_bytes_per_second,
        ..Options::default()
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
