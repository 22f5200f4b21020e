//! What a server is to do, checked and complete, from what the command line says.
//! Never touches files or sockets: a configuration is right or wrong before anything starts.
//!
//! # Source
//! etcd's flags and their defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use headwater_raft::NodeId;
use headwater_runtime::{COMMAND_BYTES_MAX, FlightRecorder, NodeConfig};

use crate::auth::AuthSettings;
use crate::auto_compaction::Retention;
use crate::cli::{ClusterState, LISTEN_PEER_URLS, ServeArgs};
use crate::doors::{Bounds, Door};
use crate::identity;
use crate::tls::Source;
use crate::tls::spoken::Spoken;
use crate::url::Url;

/// Bytes of one log segment; each is filled with zeros before use, so the first start pays for it.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The time that a request has besides two elections, as in etcd.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Watchers are told how far they are no more often than this, as in etcd.
const PROGRESS_EVERY_MIN: Duration = Duration::from_millis(100);

/// The slowest that snapshots may be written or sent, in bytes a second.
const SNAPSHOT_PACE_MIN: u64 = 1 << 20;

/// Everything that a server needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member's name.
    pub name: String,
    /// Where clients connect.
    pub doors: Vec<Door>,
    /// What one client's connection may do.
    pub bounds: Bounds,
    /// Threads that serve clients beside the loop's own.
    pub client_threads: usize,
    /// Where the certificate for clients comes from.
    pub client_tls: Option<Source>,
    /// Where the certificate for peers comes from.
    pub peer_tls: Option<Source>,
    /// Which TLS is spoken.
    pub spoken: Spoken,
    /// The members.
    pub cluster: Cluster,
    /// Where the other members listen for peers, as the command line has it.
    pub initial_peer_urls: Vec<String>,
    /// Bounds on requests.
    pub limits: Limits,
    /// How tokens and passwords are made.
    pub auth: AuthSettings,
    /// Whether the name in a client's certificate is that of a user.
    pub names_are_users: bool,
    /// What the node needs.
    pub node: NodeConfig,
    /// How often watchers that asked for it are told how far they are.
    pub progress_every: Duration,
    /// How often the members compare what they have written; none: never.
    pub compare_every: Option<Duration>,
    /// Whether the cluster is said to exist already.
    pub is_joining: bool,
    /// Whether it may do without its port for peers: it is alone, and was not told where to listen.
    pub may_be_unreachable: bool,
    /// Whether to stop when the standard input ends.
    pub exit_with_parent: bool,
    /// What the operator should know but need not act on.
    pub warnings: Vec<String>,
}

/// The cluster, and this server's place in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its id.
    pub id: u64,
    /// This member.
    pub me: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is said to listen for peers.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// The members as the command line names them, by id; none if this server came later.
    pub founders: Vec<Member>,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens for peers.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; the command line says so of this member only.
    pub client_urls: Vec<String>,
    /// Whether it learns, and has no vote until somebody gives it one.
    pub is_learner: bool,
}

/// Bounds on requests, each with a flag.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest command, encoded.
    pub request_bytes_max: usize,
    /// The most operations in a transaction.
    pub txn_ops_max: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// The shortest life of a lease, in seconds: a leader must be able to fail and another to follow.
    pub lease_ttl_min: i64,
    /// The largest store, in bytes: beyond it the alarm NOSPACE is raised.
    pub quota_bytes: i64,
    /// How much history is kept.
    pub retention: Retention,
    /// Whether a change of members is refused that leaves fewer than a majority alive or started.
    pub strict_reconfig: bool,
    /// The most members at a time that learn.
    pub learners_max: usize,
}

impl Config {
    /// Checks what the command line says, and fills in the rest.
    ///
    /// # Errors
    /// A flag is wrong in itself or contradicts another; the text says which and what to do.
    pub fn from_args(args: &ServeArgs) -> Result<Self> {
        let mut warnings = Vec::new();
        check_name(&args.name)?;
        let urls = args.ports.urls()?;
        let urls: Vec<_> = urls.iter().map(|(flag, url, _)| (*flag, url)).collect();
        let listen_client = Url::parse_list("listen-client-urls", &args.ports.listen_client_urls)?;
        let listen_peer = Url::parse_list("listen-peer-urls", &args.listen_peer_urls)?;
        let client_urls = advertised_client_urls(args, &listen_client, &mut warnings)?;
        let by_name = founders(args)?;
        warn_of_peer_urls(args, &by_name, &mut warnings);
        let client_tls = args.client_tls.source(&urls, &mut warnings)?;
        let peer_tls = peer_tls(args, &listen_peer, &by_name, &mut warnings)?;

        let cluster = cluster(args, &by_name, &client_urls);
        let others = by_name.iter().filter(|(name, _)| **name != args.name);
        let initial_peer_urls = others.flat_map(|(_, urls)| urls).map(Url::to_string);
        let initial_peer_urls = initial_peer_urls.collect();
        let limits = limits(args)?;
        let is_alone = cluster.founders.len() == 1;
        let node = NodeConfig {
            members: peer_addresses(args, &by_name),
            names: cluster
                .founders
                .iter()
                .map(|member| (member.id, member.name.clone()))
                .collect(),
            listen_peer: addresses(&listen_peer, |url| !url.is_tls())?,
            listen_peer_tls: addresses(&listen_peer, Url::is_tls)?,
            heartbeat: Duration::from_millis(args.heartbeat_interval),
            election: Duration::from_millis(args.election_timeout),
            // etcd's API has no reads that trust clocks.
            lease_drift_ppm: None,
            snapshot_log_bytes: args.snapshot_log_bytes,
            snapshots_kept: args.max_snapshots,
            snapshot_write_bytes_per_second: args.snapshot_write_bytes_per_second,
            snapshot_send_bytes_per_second: args.snapshot_send_bytes_per_second,
            disk_reserve_bytes: args.disk_reserve_bytes,
            scrub_bytes_per_second: args.scrub_bytes_per_second,
            segment_bytes: SEGMENT_BYTES.max(2 * args.max_request_bytes as u64),
            command_bytes_max: limits.request_bytes_max,
            request_timeout: limits.request_timeout,
            flight_recorder: flight_recorder(args),
            ..NodeConfig::new(cluster.id, cluster.me, args.data_dir())
        };
        Ok(Self {
            name: args.name.clone(),
            doors: args.ports.doors()?,
            bounds: args.ports.bounds(),
            client_threads: args.ports.client_threads(),
            client_tls,
            peer_tls,
            spoken: args.spoken.spoken(&mut warnings)?,
            cluster,
            initial_peer_urls,
            limits,
            auth: args.auth.settings()?,
            names_are_users: args.client_tls.client_cert_auth,
            node,
            progress_every: args.watch_progress_notify_interval.max(PROGRESS_EVERY_MIN),
            compare_every: Some(args.corrupt_check_time).filter(|every| !every.is_zero()),
            is_joining: args.initial_cluster_state == ClusterState::Existing,
            may_be_unreachable: is_alone && args.listen_peer_urls == LISTEN_PEER_URLS,
            exit_with_parent: args.exit_with_parent,
            warnings,
        })
    }

    /// This server is another member than the command line alone would make it: `others` are those
    /// whom it can reach so far.
    pub fn become_member(&mut self, cluster: u64, me: NodeId, others: BTreeMap<NodeId, String>) {
        self.cluster.id = cluster;
        self.cluster.me = me;
        self.cluster.founders.clear();
        self.node.cluster = cluster;
        self.node.node = me;
        self.node.members = others;
        self.node.joins = true;
        self.node.names = [(me, self.name.clone())].into_iter().collect();
        self.may_be_unreachable = false;
    }

    /// The data directory.
    pub fn data_dir(&self) -> &PathBuf {
        &self.node.data_dir
    }
}

pub fn check_name(name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "--name must not be empty");
    ensure!(
        !name.contains(['=', ',']),
        "--name \"{name}\" must not contain '=' or ',': it could not stand in --initial-cluster"
    );
    Ok(())
}

fn advertised_client_urls(
    args: &ServeArgs,
    listen: &[Url],
    warnings: &mut Vec<String>,
) -> Result<Vec<String>> {
    let urls = match &args.advertise_client_urls {
        Some(urls) => Url::parse_list("advertise-client-urls", urls)?,
        None => {
            let reachable = |url: &Url| {
                if url.is_wildcard() {
                    warnings.push(format!(
                        "listening on {url} without --advertise-client-urls: members and clients \
                         elsewhere are told {}",
                        url.on_localhost()
                    ));
                    url.on_localhost()
                } else {
                    url.clone()
                }
            };
            listen.iter().map(reachable).collect()
        }
    };
    Ok(urls.iter().map(Url::to_string).collect())
}

/// The cluster that these flags found, and this member's place in it.
///
/// # Errors
/// As [`Config::from_args`].
pub fn founding(args: &ServeArgs) -> Result<Cluster> {
    check_name(&args.name)?;
    Ok(cluster(args, &founders(args)?, &[]))
}

/// Who begins the cluster and where their peers find them, this server among them.
fn founders(args: &ServeArgs) -> Result<BTreeMap<String, Vec<Url>>> {
    let urls = args.initial_advertise_peer_urls.as_deref();
    let urls = urls.unwrap_or(LISTEN_PEER_URLS);
    let peer_urls = Url::parse_list("initial-advertise-peer-urls", urls)?;
    let by_name = match &args.initial_cluster {
        Some(text) => initial_cluster(text)?,
        None => BTreeMap::from([(args.name.clone(), peer_urls.clone())]),
    };
    check_own_urls(args, &by_name, &peer_urls)?;
    Ok(by_name)
}

/// `name=url,name=url`; a name may stand more than once.
fn initial_cluster(text: &str) -> Result<BTreeMap<String, Vec<Url>>> {
    let mut by_name: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((name, url)) = part.split_once('=') else {
            bail!(
                "--initial-cluster: \"{part}\" is not NAME=URL; an example: \
                 n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380"
            );
        };
        let url = Url::parse("initial-cluster", url)?;
        if let Some((other, _)) = by_name.iter().find(|(_, urls)| urls.contains(&url)) {
            bail!("--initial-cluster: {url} stands for both \"{other}\" and \"{name}\"");
        }
        by_name.entry(name.to_owned()).or_default().push(url);
    }
    ensure!(!by_name.is_empty(), "--initial-cluster names no member");
    Ok(by_name)
}

fn check_own_urls(
    args: &ServeArgs,
    by_name: &BTreeMap<String, Vec<Url>>,
    advertised: &[Url],
) -> Result<()> {
    let sorted = |urls: &[Url]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let list = |urls: &[Url]| {
        let urls: Vec<String> = urls.iter().map(Url::to_string).collect();
        urls.join(",")
    };
    let Some(listed) = by_name.get(&args.name) else {
        let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
        bail!(
            "couldn't find local name \"{}\" in the initial cluster configuration: \
             --initial-cluster names {}; set --name to the one that is this server",
            args.name,
            names.join(", ")
        );
    };
    if sorted(listed) == sorted(advertised) {
        return Ok(());
    }
    bail!(
        "\"{}\" is {} in --initial-cluster but --initial-advertise-peer-urls is {}; make them \
         equal (and let --listen-peer-urls listen there)",
        args.name,
        list(listed),
        list(advertised)
    );
}

fn warn_of_peer_urls(
    args: &ServeArgs,
    by_name: &BTreeMap<String, Vec<Url>>,
    warnings: &mut Vec<String>,
) {
    if args.initial_advertise_peer_urls.is_none() && args.listen_peer_urls != LISTEN_PEER_URLS {
        warnings.push(format!(
            "listening for peers on {} without --initial-advertise-peer-urls: members that are added \
             are told {LISTEN_PEER_URLS}",
            args.listen_peer_urls
        ));
    }
    for (name, urls) in by_name.iter().filter(|(_, urls)| urls.len() > 1) {
        warnings.push(format!(
            "\"{name}\" has {} peer URLs; only the first, {}, is connected to",
            urls.len(),
            urls[0]
        ));
    }
}

fn cluster(
    args: &ServeArgs,
    by_name: &BTreeMap<String, Vec<Url>>,
    client_urls: &[String],
) -> Cluster {
    let member = |(name, urls): (&String, &Vec<Url>)| {
        let peer_urls: Vec<String> = urls.iter().map(Url::to_string).collect();
        Member {
            id: identity::member_id(&args.initial_cluster_token, name, &peer_urls),
            client_urls: if *name == args.name {
                client_urls.to_vec()
            } else {
                Vec::new()
            },
            name: name.clone(),
            peer_urls,
            is_learner: false,
        }
    };
    let mut members: Vec<Member> = by_name.iter().map(member).collect();
    members.sort_by_key(|member| member.id);
    let ids = members.iter().map(|member| member.id);
    Cluster {
        id: identity::cluster_id(&args.initial_cluster_token, ids),
        me: own_id(args, by_name),
        name: args.name.clone(),
        peer_urls: by_name[&args.name].iter().map(Url::to_string).collect(),
        client_urls: client_urls.to_vec(),
        founders: members,
    }
}

fn own_id(args: &ServeArgs, by_name: &BTreeMap<String, Vec<Url>>) -> NodeId {
    let urls: Vec<String> = by_name[&args.name].iter().map(Url::to_string).collect();
    identity::member_id(&args.initial_cluster_token, &args.name, &urls)
}

fn peer_addresses(
    args: &ServeArgs,
    by_name: &BTreeMap<String, Vec<Url>>,
) -> BTreeMap<NodeId, String> {
    let address = |(name, urls): (&String, &Vec<Url>)| {
        let texts: Vec<String> = urls.iter().map(Url::to_string).collect();
        let id = identity::member_id(&args.initial_cluster_token, name, &texts);
        (id, urls[0].peer_address())
    };
    by_name.iter().map(address).collect()
}

/// Where to connect for a URL of a peer; `None` if that is no URL.
pub fn address(url: &str) -> Option<String> {
    Some(Url::parse("peer-urls", url).ok()?.peer_address())
}

fn flight_recorder(args: &ServeArgs) -> Option<FlightRecorder> {
    let bytes_max = args.flight_recorder_bytes;
    let file = args.flight_recorder.clone()?;
    Some(FlightRecorder { file, bytes_max })
}

/// Where to listen for peers, of the URLs that are meant.
fn addresses(urls: &[Url], are_meant: impl Fn(&Url) -> bool) -> Result<Vec<SocketAddr>> {
    let meant = urls.iter().filter(|url| are_meant(url));
    meant
        .map(|url| url.listen_address("listen-peer-urls"))
        .collect()
}

fn peer_tls(
    args: &ServeArgs,
    listen_peer: &[Url],
    by_name: &BTreeMap<String, Vec<Url>>,
    warnings: &mut Vec<String>,
) -> Result<Option<Source>> {
    let listens = listen_peer.iter().map(|url| ("listen-peer-urls", url));
    let members = by_name
        .values()
        .flatten()
        .map(|url| ("initial-cluster", url));
    let urls: Vec<_> = listens.chain(members).collect();
    args.peer_tls.source(&urls, warnings)
}

fn limits(args: &ServeArgs) -> Result<Limits> {
    let (heartbeat, election) = (args.heartbeat_interval, args.election_timeout);
    ensure!(
        heartbeat > 0,
        "--heartbeat-interval must be at least 1 (ms)"
    );
    ensure!(
        election >= 5 * heartbeat,
        "--election-timeout ({election} ms) should be at least 5 times --heartbeat-interval \
         ({heartbeat} ms): a leader must be able to lose a few heartbeats"
    );
    ensure!(
        election <= 50_000,
        "--election-timeout ({election} ms) is too long, must be at most 50000 ms"
    );
    ensure!(
        (1..=COMMAND_BYTES_MAX).contains(&args.max_request_bytes),
        "--max-request-bytes ({}) must lie between 1 and {COMMAND_BYTES_MAX} ({} MiB)",
        args.max_request_bytes,
        COMMAND_BYTES_MAX >> 20
    );
    ensure!(args.max_txn_ops > 0, "--max-txn-ops must be at least 1");
    for (flag, bytes) in [
        ("write", args.snapshot_write_bytes_per_second),
        ("send", args.snapshot_send_bytes_per_second),
    ] {
        ensure!(
            bytes == 0 || bytes >= SNAPSHOT_PACE_MIN,
            "--snapshot-{flag}-bytes-per-second ({bytes}) must be 0, for no bound, or at least \
             {SNAPSHOT_PACE_MIN} (1 MiB): a snapshot must not take longer than the log can wait for it"
        );
    }
    Ok(Limits {
        request_bytes_max: args.max_request_bytes,
        txn_ops_max: args.max_txn_ops,
        request_timeout: REQUEST_TIME + 2 * Duration::from_millis(election),
        lease_ttl_min: lease_ttl_min(heartbeat, election),
        quota_bytes: args.quota_backend_bytes,
        retention: Retention::parse(&args.auto_compaction_mode, &args.auto_compaction_retention)?,
        strict_reconfig: args.strict_reconfig_check,
        learners_max: args.max_learners,
    })
}

/// One and a half elections, in whole heartbeats and then in whole seconds, as in etcd.
fn lease_ttl_min(heartbeat_ms: u64, election_ms: u64) -> i64 {
    let heartbeats = 3 * (election_ms / heartbeat_ms) / 2;
    let seconds = (heartbeats * heartbeat_ms).div_ceil(1000);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
