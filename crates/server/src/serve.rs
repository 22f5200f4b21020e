//! One server from start to end: open the ports, start the node, answer, stop in good order.
//! Never decides what an answer is.
//!
//! # Source
//! etcd's life of a server: what it says when, and what ends it.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use headwater_runtime::{Handle, NodeConfig, ReadLevel, StartError, StopReason};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::agreeing::Agreeing;
use crate::alarms;
use crate::auth::door::Doorkeeper;
use crate::auto_compaction;
use crate::backend::Backend;
use crate::census::{Census, Ending};
use crate::client_threads::ClientThreads;
use crate::company::StoreCompany;
use crate::config::{Cluster, Config};
use crate::desk::Desk;
use crate::doors::{self, Doors, Served};
use crate::front::Front;
use crate::tls::Tls;
use crate::{astray, join, leases, members, memory, process};

/// How often a server without a leader says so.
const LEADERLESS_REPORT: Duration = Duration::from_secs(5);

/// Runs one server until it is told to stop.
///
/// # Errors
/// It could not start, or had to stop; the text is for the operator.
pub async fn run(mut config: Config) -> Result<()> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let tls = Tls::load(
        config.client_tls.as_ref(),
        config.peer_tls.as_ref(),
        &config.spoken,
        config.data_dir(),
    )?;
    config.node.tls = tls.peers.clone();
    let config = join::settle(config).await?;
    // The ports come first: one that is taken must not leave a data directory behind.
    let listeners = doors::listen(&config.doors, config.bounds).await?;
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
    tls.save()?;
    let outlook = tokio::spawn(look_for_leader(Arc::clone(&backend), config.node.election));

    let front = Arc::new(Front::new(Arc::clone(&backend)));
    let doors = Doors::open(
        listeners,
        ClientThreads::start(config.client_threads).context("starting threads for clients")?,
        &front,
        tls.clients.as_ref(),
        config.names_are_users,
        config.bounds,
        process::raise_open_files(),
    )
    .context("opening the ports for clients")?;
    let (tell, strangers) = watch::channel(None);
    let ready = tokio::spawn(make_known(Arc::clone(&backend), config.clone(), strangers));
    let asking = tokio::spawn(ask_after_itself(Arc::clone(&backend), config.clone(), tell));
    let quota = tokio::spawn(alarms::watch_quota(Arc::clone(&backend)));
    let retention = backend.limits().retention;
    let compacting = tokio::spawn(auto_compaction::run(Arc::clone(&backend), retention));
    let giving_back = tokio::spawn(memory::give_back());
    let end = wait_for_end(&backend, &mut ends, config.exit_with_parent).await;
    ready.abort();
    asking.abort();
    quota.abort();
    compacting.abort();
    giving_back.abort();
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
    started.map_err(|error| explain(&error, &config.cluster))
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
    let (auth, known) = watch::channel(Arc::default());
    let beside = (census, Agreeing::new(config.compare_every));
    let company = StoreCompany::new(config.progress_every, beside, (called, questions), auth);
    let node = Handle::start_with(node, Box::new(company)).await?;
    let desk = Desk::new(calls, node.clone());
    let (cluster, limits) = (config.cluster.clone(), config.limits.clone());
    let door = Doorkeeper::new(&config.auth, known);
    let backend = Backend::new(node, (desk, door), cluster, limits, ending);
    let backend = Arc::new(backend);
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
/// removed while it was away hears of it from nobody else, nor who listens where nobody looks for it.
/// Who belongs to another cluster is told to `strangers`.
async fn ask_after_itself(
    backend: Arc<Backend>,
    config: Config,
    strangers: watch::Sender<Option<String>>,
) {
    let (me, every) = (config.cluster.me.0, 2 * config.node.election);
    let flags = config.initial_peer_urls.clone();
    let mut is_astray = false;
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
        let mut stranger = None;
        for (at, answer) in join::ask_all(urls, config.node.tls.as_ref(), every).await {
            let Ok(card) = answer else { continue };
            if let Some(why) = join::stranger(&config, &at, &card) {
                stranger = Some(why);
                continue;
            }
            if let Some(why) = card.refuses((&config.name, me), Some(backend.disk())) {
                backend.end(why);
                return;
            }
            let own = card
                .member(me)
                .map(|own| astray::of(&config, &own.peer_urls));
            if let Some(why) = own.flatten().filter(|_| !is_astray) {
                warn!("{why}");
                is_astray = true;
            }
        }
        strangers.send_replace(stranger);
    }
}

/// What is wrong, with the members' names where the flags tell them, and then what to do.
fn explain(error: &StartError, cluster: &Cluster) -> anyhow::Error {
    let advice = match error {
        StartError::Locked(_) => "Stop what uses it, or choose another --data-dir",
        StartError::ForeignData(_) => {
            "Check --name, --initial-cluster and --initial-cluster-token, or choose another \
             --data-dir (a member that has moved by `etcdctl member update` starts with \
             --initial-cluster-state existing)"
        }
        StartError::Occupied(_) => "Choose another --data-dir",
        StartError::Listen(..) => "Stop what runs there, or see --listen-peer-urls",
        StartError::Disk(_) => "See --data-dir",
        StartError::Record(..) => "See --flight-recorder",
        StartError::Damaged(_) => "Keep a copy of the directory before anything else is tried",
        _ => return anyhow!("{error}"),
    };
    let mut text = error.to_string();
    for member in &cluster.founders {
        let id = format!("{:x}", member.id.0);
        text = text.replace(&id, &format!("{} ({id})", member.name));
    }
    anyhow!("{text}. {advice}")
}

/// Says once that clients are served, then tells the cluster where; that delays nobody.
async fn make_known(
    backend: Arc<Backend>,
    config: Config,
    strangers: watch::Receiver<Option<String>>,
) {
    report_ready(&backend, &config, &strangers).await;
    members::settle_in(&backend).await;
    members::publish(&backend).await;
    let known = members::list(&backend, ReadLevel::Local).await;
    let mut known = known.unwrap_or_default().into_iter();
    let own = known.find(|member| member.id == config.cluster.me);
    if let Some(why) = own.and_then(|own| astray::of(&config, &own.peer_urls)) {
        warn!("{why}");
    }
}

/// Waits for a leader; says what is missing until then, and who of the `strangers` was met instead.
async fn report_ready(
    backend: &Backend,
    config: &Config,
    strangers: &watch::Receiver<Option<String>>,
) {
    let doors = config
        .doors
        .iter()
        .filter(|door| door.served != Served::Pages);
    let clients: Vec<String> = doors.map(|door| door.address.to_string()).collect();
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
            let met = strangers.borrow().as_ref().map(|who| format!("; {who}"));
            warn!(
                "no leader yet: {needed} of the {voters} voters must run and reach each other{}",
                met.unwrap_or_default()
            );
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
