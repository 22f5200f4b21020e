//! Which member of which cluster this server is: its data directory says so, or the cluster that it
//! joins, or, in a new cluster, the command line.
//! Never changes anything: it reads, and asks those that run.
//!
//! # Source
//! etcd: flags that begin with `initial` count at the first start only; rule R13.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use headwater_raft::{Config as Configuration, NodeId};
use headwater_replica::Identity;
use headwater_replica::identity::{IDENTITY_FILE, decode_identity};
use headwater_runtime::tls::TlsSource;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::card::Card;
use crate::config::{Config, address};

/// How long a new member asks for its place: the one that was just asked to add it may be ahead of
/// those that it asks.
const JOIN_TIME: Duration = Duration::from_secs(10);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the others may take to say that the cluster has begun long ago. Mostly nobody is up yet,
/// and that is known at once.
const GLANCE: Duration = Duration::from_secs(1);

/// The configuration, with the ids that this server really has.
///
/// # Errors
/// It has no place in the cluster; the text says what to do.
pub async fn settle(config: Config) -> Result<Config> {
    match identity_in(config.data_dir())? {
        Some((identity, first)) => Ok(of_directory(config, identity, &first)),
        None if config.is_joining => join(config).await,
        None => found(config).await,
    }
}

/// Whose a data directory is. One that nothing can be read of is left to recovery to judge.
fn identity_in(directory: &Path) -> Result<Option<(Identity, Configuration)>> {
    match fs::read(directory.join(IDENTITY_FILE)) {
        Ok(bytes) => Ok(decode_identity(&bytes).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(anyhow!("--data-dir {}: {error}", directory.display())),
    }
}

/// A member that has run before: what its directory says holds, whatever the flags say. Only that
/// flags which begin a cluster make another member of the one that began it with this directory is
/// a mistake, most likely, and left to recovery to refuse.
fn of_directory(mut config: Config, identity: Identity, first: &Configuration) -> Config {
    let (cluster, me) = (identity.cluster, identity.node);
    if (cluster, me) == (config.cluster.id, config.cluster.me) {
        return config;
    }
    let founders = config.cluster.founders.iter().map(|member| member.id);
    if me == config.cluster.me && founders.eq(first.voters().iter().copied()) {
        // It began with the data of a snapshot, by which its cluster is named.
        config.cluster.id = cluster;
        config.node.cluster = cluster;
        return config;
    }
    let came_later = first.voters().is_empty();
    if me == config.cluster.me || came_later || config.is_joining {
        info!("the data directory knows the members; flags that begin with --initial do not count");
        let mut others = config.node.members.clone();
        others.retain(|&id, _| id != me && first.is_member(id));
        config.become_member(cluster, me, others);
    }
    config
}

/// A new member of a cluster that runs.
async fn join(mut config: Config) -> Result<Config> {
    let urls = config.cluster.peer_urls.clone();
    let deadline = Instant::now() + JOIN_TIME;
    ensure!(
        !config.initial_peer_urls.is_empty(),
        "--initial-cluster-state existing: --initial-cluster names nobody else; it must name a member \
         that runs, as `etcdctl member add` prints it"
    );
    info!(
        members = config.initial_peer_urls.join(","),
        "asking who the members are"
    );
    loop {
        let (mut cards, mut heard) = (Vec::new(), Vec::new());
        for (at, answer) in ask_others(&config, JOIN_TIME).await {
            match answer {
                Ok(card) => cards.push((at, card)),
                Err(why) => heard.push(format!("{at}: {why}")),
            }
        }
        let newest =
            Card::newest(&cards).map_err(|why| anyhow!("{why}. Check --initial-cluster"))?;
        if let Some((at, card)) = newest {
            if let Some(place) = card.member_at(&urls) {
                if let Some(why) = card.refuses((&config.name, place.id), None) {
                    bail!("{why}");
                }
                info!(member_id = %format_args!("{:x}", place.id), at, "joining");
                take_place(&mut config, card, place.id);
                return Ok(config);
            }
            heard.extend(cards.iter().map(|(at, _)| format!("{at} knows of none")));
        }
        if Instant::now() >= deadline && cards.is_empty() {
            bail!(
                "--initial-cluster-state existing: no member of --initial-cluster answers: {}; check \
                 the addresses, and that they run",
                heard.join("; ")
            );
        }
        ensure!(
            Instant::now() < deadline,
            "--initial-cluster-state existing: no member of --initial-cluster knows of a member with \
             the peer URLs {} ({}); say `etcdctl member add {} --peer-urls={}` to the cluster first",
            urls.join(","),
            heard.join("; "),
            config.name,
            urls.join(",")
        );
        sleep(PAUSE).await;
    }
}

/// The member `id` on `card` is this server, and the others are its peers.
fn take_place(config: &mut Config, card: &Card, id: u64) {
    let others = card.members.iter().filter(|member| member.id != id);
    let reached = others
        .clone()
        .filter_map(|member| Some((NodeId(member.id), address(member.peer_urls.first()?)?)));
    config.become_member(card.cluster, NodeId(id), reached.collect());
    for member in others.filter(|member| !member.name.is_empty()) {
        config
            .node
            .names
            .set(NodeId(member.id), member.name.clone());
    }
}

/// A member of a cluster that begins; unless the cluster has begun long ago and this member's
/// directory is lost, or the member removed, or another cluster runs where its members should be.
async fn found(config: Config) -> Result<Config> {
    let is_vacant = !config.data_dir().join(IDENTITY_FILE).exists();
    for (at, answer) in ask_others(&config, GLANCE).await {
        let Ok(card) = answer else { continue };
        if let Some(why) = stranger(&config, &at, &card) {
            // One that waits for its own founders may be the one whose flags are wrong.
            ensure!(!is_vacant || card.applied == 0, "{why}");
            warn!("{why}");
            continue;
        }
        if let Some(why) = card.refuses((&config.name, config.cluster.me.0), None) {
            bail!("{why}");
        }
    }
    Ok(config)
}

/// Who answers at `at`, and what to do, if that is a server of another cluster than this one.
pub fn stranger(config: &Config, at: &str, card: &Card) -> Option<String> {
    let (other, own) = (card.cluster, config.cluster.id);
    if other == own {
        return None;
    }
    let named = card.members.iter().filter(|member| !member.name.is_empty());
    let mut named = named.filter(|member| member.peer_urls.iter().any(|url| url == at));
    let who = named.next().map_or("the server", |member| &member.name);
    let is_known = card.member(config.cluster.me.0).is_some();
    let remedy = match (is_known, card.applied) {
        (true, _) => {
            "it began with a snapshot: restore the same file here, in an empty data directory"
        }
        (_, 0) => {
            "--initial-cluster and --initial-cluster-token must be the same on each member of a new cluster"
        }
        _ => {
            "to join it, say `etcdctl member add` to it, then start with an empty data directory and \
             --initial-cluster-state existing; to begin another, name no member of it in --initial-cluster"
        }
    };
    Some(format!(
        "{who} at {at} belongs to cluster {other:x}, and this one to {own:x}: {remedy}"
    ))
}

/// Everyone else of `--initial-cluster` is asked who is here.
async fn ask_others(config: &Config, patience: Duration) -> Vec<(String, Result<Card, String>)> {
    ask_all(
        config.initial_peer_urls.clone(),
        config.node.tls.as_ref(),
        patience,
    )
    .await
}

/// Asks at all these URLs at once.
pub async fn ask_all(
    urls: Vec<String>,
    tls: Option<&TlsSource>,
    patience: Duration,
) -> Vec<(String, Result<Card, String>)> {
    let mut asking = JoinSet::new();
    for url in urls {
        let tls = tls.cloned();
        asking.spawn(async move {
            let answer = match address(&url) {
                Some(address) => timeout(patience, Card::ask(&address, tls.as_ref())).await,
                None => Ok(Err("no address".to_owned())),
            };
            (url, answer.unwrap_or(Err("no answer".to_owned())))
        });
    }
    asking.join_all().await
}
