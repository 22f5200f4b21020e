//! One server from start to end: open the ports, start the node, answer, stop in good order.
//! Never decides what an answer is.
//!
//! # Source
//! etcd's life of a server: what it says when, and what ends it.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use headwater_runtime::{Handle, NodeConfig, ReadLevel, StartError, StopReason};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::alarms;
use crate::authority::Mended;
use crate::auto_compaction;
use crate::backend::Backend;
use crate::census::{Census, Ending};
use crate::company::StoreCompany;
use crate::config::Config;
use crate::desk::Desk;
use crate::front::Front;
use crate::{join, leases, members};

/// How long calls under way may go on once the server is to stop.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long to leave off accepting when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a server without a leader says so.
const LEADERLESS_REPORT: Duration = Duration::from_secs(5);

/// Calls under way on one connection, at most.
const STREAMS_MAX: u32 = 1 << 16;

/// Calls that a client may have given up before they were looked at; above it, it is an attack.
const RESETS_MAX: usize = 1 << 12;

/// Runs one server until it is told to stop.
///
/// # Errors
/// It could not start, or had to stop; the text is for the operator.
pub async fn run(config: Config) -> Result<()> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let config = join::settle(config).await?;
    // The ports come first: one that is taken must not leave a data directory behind.
    let listeners = listen(&config.listen_client).await?;
    info!(
        name = config.name,
        member_id = %format_args!("{:x}", config.cluster.me.0),
        cluster_id = %format_args!("{:x}", config.cluster.id),
        data_dir = %config.data_dir().display(),
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    let (ending, mut ends) = mpsc::unbounded_channel();
    let backend = start_node(&config, ending).await?;
    let outlook = tokio::spawn(look_for_leader(Arc::clone(&backend), config.node.election));

    let front = Front::new(Arc::clone(&backend));
    let doors = Doors::open(listeners, &front);
    let ready = tokio::spawn(make_known(Arc::clone(&backend), config.clone()));
    let asking = tokio::spawn(ask_after_itself(Arc::clone(&backend), config.clone()));
    let quota = tokio::spawn(alarms::watch_quota(Arc::clone(&backend)));
    let retention = backend.limits().retention;
    let compacting = tokio::spawn(auto_compaction::run(Arc::clone(&backend), retention));
    let end = wait_for_end(&backend, &mut ends, config.exit_with_parent).await;
    ready.abort();
    asking.abort();
    quota.abort();
    compacting.abort();
    outlook.abort();
    backend.outlook().stop();
    doors.close().await;
    backend.shutdown().await;
    match end? {
        End::Asked(why) => info!(why, "stopped"),
        End::Halted(why) => bail!("the node had to stop: {why}"),
        End::NoMember(why) => bail!("{why}"),
    }
    Ok(())
}

/// Starts the node. A lone server that was not told where to listen for peers does without them if
/// something else listens there.
async fn start_node(config: &Config, ending: Ending) -> Result<Arc<Backend>> {
    let started = match try_to_start(config, config.node.clone(), ending.clone()).await {
        Err(StartError::Listen(address, error)) if config.may_be_unreachable => {
            warn!("no member can be added: peers cannot reach this one at {address}: {error}");
            let node = NodeConfig {
                listen_peer: Vec::new(),
                ..config.node.clone()
            };
            try_to_start(config, node, ending).await
        }
        started => started,
    };
    started.map_err(|error| explain(&error))
}

/// Starts the node with the store's company beside it.
async fn try_to_start(
    config: &Config,
    node: NodeConfig,
    ending: Ending,
) -> Result<Arc<Backend>, StartError> {
    let (calls, called) = mpsc::unbounded_channel();
    let (questions, asked) = mpsc::unbounded_channel();
    let census = Census::new(config.cluster.clone(), ending.clone());
    let company = StoreCompany::new(config.progress_every, census, called, questions);
    let node = Handle::start_with(node, Box::new(company)).await?;
    let desk = Desk::new(calls, node.clone());
    let (cluster, limits) = (config.cluster.clone(), config.limits.clone());
    let backend = Arc::new(Backend::new(node, desk, cluster, limits, ending));
    tokio::spawn(leases::answer_others(Arc::clone(&backend), asked));
    Ok(backend)
}

async fn look_for_leader(backend: Arc<Backend>, every: Duration) {
    let outlook = backend.outlook();
    outlook
        .look_for_leader(every, || backend.has_leader())
        .await;
}

/// While there is no leader, asks the others whether this server has a place among them: who was
/// removed while it was away hears of it from nobody else.
async fn ask_after_itself(backend: Arc<Backend>, config: Config) {
    let (me, every) = (config.cluster.me.0, 2 * config.node.election);
    let flags = config.initial_peer_urls.clone();
    loop {
        tokio::time::sleep(every).await;
        if backend.has_leader() {
            continue;
        }
        let known = members::list(&backend, ReadLevel::Local).await;
        let known = known.unwrap_or_default().into_iter();
        let others = known.filter(|member| member.id.0 != me);
        let mut urls: Vec<String> = others.flat_map(|member| member.peer_urls).collect();
        urls.extend(
            flags
                .iter()
                .filter(|url| !urls.contains(url))
                .cloned()
                .collect::<Vec<_>>(),
        );
        for (_, answer) in join::ask_all(urls, every).await {
            let Ok(card) = answer else { continue };
            if card.cluster == config.cluster.id
                && let Some(why) = card.refuses(me, Some(backend.disk()))
            {
                backend.end(why);
                return;
            }
        }
    }
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => "another server (etcd?) runs there; stop it or choose another port with --listen-client-urls",
                ErrorKind::AddrNotAvailable => "it is not an address of this machine; see --listen-client-urls",
                ErrorKind::PermissionDenied => "ports below 1024 need a privilege; see --listen-client-urls",
                _ => "see --listen-client-urls",
            };
            anyhow!("cannot listen for clients on {address}: {error}: {advice}")
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What to do comes first: the rest is long, and read only if that does not help.
fn explain(error: &StartError) -> anyhow::Error {
    let advice = match error {
        StartError::Locked(_) => "stop what uses it, or choose another --data-dir",
        StartError::ForeignData(_) => {
            "check --name, --initial-cluster and --initial-cluster-token, or choose another \
             --data-dir (a member that has moved by `etcdctl member update` starts with \
             --initial-cluster-state existing)"
        }
        StartError::Occupied(_) => "choose another --data-dir",
        StartError::Listen(..) => "stop what runs there, or see --listen-peer-urls",
        StartError::Disk(_) => "see --data-dir",
        StartError::Record(..) => "see --flight-recorder",
        StartError::Damaged(_) => "keep a copy of the directory before anything else is tried",
        _ => return anyhow!("{error}"),
    };
    anyhow!("{advice}: {error}")
}

/// Says once that clients are served, then tells the cluster where; that delays nobody.
async fn make_known(backend: Arc<Backend>, config: Config) {
    report_ready(&backend, &config).await;
    members::publish(&backend).await;
}

/// Waits for a leader; says what is missing until then.
async fn report_ready(backend: &Backend, config: &Config) {
    let clients: Vec<String> = config
        .listen_client
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(10);
    while !backend.has_leader() {
        tokio::time::sleep(step).await;
        waited += step;
        if waited
            .as_millis()
            .is_multiple_of(LEADERLESS_REPORT.as_millis())
        {
            let voters = backend.config().voters().len();
            if voters == 0 {
                warn!("not heard of the cluster yet: its leader must run and reach this member");
                continue;
            }
            let needed = voters / 2 + 1;
            warn!("no leader yet: {needed} of the {voters} voters must run and reach each other");
        }
    }
    info!(
        addresses = clients.join(","),
        "ready to serve client requests"
    );
}

enum End {
    Asked(&'static str),
    Halted(String),
    NoMember(String),
}

async fn wait_for_end(
    backend: &Backend,
    ends: &mut mpsc::UnboundedReceiver<String>,
    exit_with_parent: bool,
) -> Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let parent = parent_end(exit_with_parent)?;
    Ok(tokio::select! {
        _ = terminate.recv() => End::Asked("SIGTERM"),
        _ = interrupt.recv() => End::Asked("SIGINT"),
        Some(why) = ends.recv() => End::NoMember(why),
        () = parent => End::Asked("the parent process ended"),
        reason = backend.stopped() => match reason {
            StopReason::Shutdown => End::Asked("the node stopped"),
            StopReason::Halted(why) => {
                error!("{why}");
                End::Halted(why)
            }
        },
    })
}

/// Ends when the standard input does, or never. A thread of its own reads: a read of a pipe cannot
/// be called off, and nothing waits for this thread when the process ends.
fn parent_end(is_watched: bool) -> Result<impl Future<Output = ()>> {
    let (tell, told) = oneshot::channel::<()>();
    if is_watched {
        std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || {
                let mut byte = [0];
                while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
                // The server may be gone already, and then nobody needs to know.
                let _ = tell.send(());
            })?;
        return Ok(wait_or_never(told, true));
    }
    Ok(wait_or_never(told, false))
}

async fn wait_or_never(told: oneshot::Receiver<()>, is_watched: bool) {
    if is_watched {
        // An error would mean that the thread is gone, and it only goes when the input ended.
        let _ = told.await;
    } else {
        std::future::pending().await
    }
}

/// The listening ports and all connections through them.
struct Doors {
    accepting: JoinSet<()>,
    connections: Arc<GracefulShutdown>,
}

impl Doors {
    fn open(listeners: Vec<TcpListener>, front: &Front) -> Self {
        let connections = Arc::new(GracefulShutdown::new());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, front.clone(), Arc::clone(&connections)));
        }
        Self {
            accepting,
            connections,
        }
    }

    /// Lets calls under way end, but not for long.
    async fn close(mut self) {
        self.accepting.shutdown().await;
        let Some(connections) = Arc::into_inner(self.connections) else {
            return;
        };
        if tokio::time::timeout(DRAIN_TIME, connections.shutdown())
            .await
            .is_err()
        {
            info!("some calls did not end in time and were cut off");
        }
    }
}

async fn accept(listener: TcpListener, front: Front, connections: Arc<GracefulShutdown>) {
    let server = server();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A connection that died while waiting, or no descriptors left: neither may end
                // the server, and the second must not make it spin.
                warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        serve_connection(&server, stream, front.clone(), &connections);
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10));
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    server
}

fn serve_connection(
    server: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    front: Front,
    connections: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        warn!("a connection answers late: {error}");
    }
    let answer = hyper::service::service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, std::convert::Infallible>(front.answer(request).await) }
    });
    let connection = server.serve_connection(TokioIo::new(Mended::new(stream)), answer);
    let connection = connections.watch(connection.into_owned());
    // How a client's connection ends is the client's business.
    tokio::spawn(async move { drop(connection.await) });
}
