//! A cluster that is used in every way there is, for a compiler that is to go by it: `cargo xtask release`
//! builds a server that counts what runs, has this use it, and builds it again by what was counted.
//!
//! Nothing is measured. What the loads ask for again and again weighs most; the rest is asked for often
//! enough not to pass for what never happens. Members leave in peace, since only then they write their counts.

use crate::compare::prepare;
use crate::machine::Watched;
use crate::rows::{STEPS, engine_of};
use crate::work::{Shape, fill, key};
use crate::{TrainArgs, cluster, load, watch};
use anyhow::{Context, Result, bail, ensure};
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions,
    Permission, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Who watches the one key that is put.
const WATCHERS: usize = 1000;

/// How often each kind of call is made that no load makes.
const CALLS: u64 = 300;

/// How long a member over TLS may take until it serves.
const TLS_LIMIT: Duration = Duration::from_secs(30);

/// How long something may take that a client waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Goes through all of it.
///
/// # Errors
/// If a server does not start, refuses what it should do, or does not leave.
pub async fn run(args: &TrainArgs) -> Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let server = Server::at(args.server.clone())?;
    let shape = Shape {
        seconds: args.seconds,
        warmup: 0.1,
        value_bytes: 256,
        keys: args.keys,
    };
    // Snapshots come often here, and are loaded by who starts again.
    let often = ["--snapshot-log-bytes=32MiB"];
    let mut cluster = cluster::start(&server, &args.dir, &often).await?;
    eprintln!("fill");
    fill(&load::connect(&cluster::urls(&cluster), 1).await?[0], shape).await?;
    for load in STEPS {
        eprintln!("{}", load.name);
        let plan = prepare(&mut cluster, shape, &load).await?;
        let figures = load::run(&plan, &Watched::default()).await?;
        let errors = figures["errors"];
        ensure!(errors == 0.0, "{}: {errors} requests failed", load.name);
    }
    for name in ["watch", "watch-lean"] {
        eprintln!("{name}");
        let (urls, nobody) = (cluster::urls(&cluster), Watched::default());
        watch::fan_out(&urls, engine_of(name), WATCHERS, shape, &nobody).await?;
    }
    eprintln!("other calls");
    let leader = cluster.wait_for_leader().await?;
    let mut client = cluster.client(leader, PATIENCE).await?;
    keys(&mut client).await?;
    watches(&mut client).await?;
    leases(&mut client).await?;
    pages(&cluster, leader)?;
    passwords(&cluster, leader).await?;
    upkeep(&mut client).await?;
    eprintln!("members come and go");
    newcomer(&mut cluster).await?;
    restarts(&mut cluster).await?;
    leave(&mut cluster).await?;
    drop(cluster);
    eprintln!("tls");
    tls(&server, args).await
}

/// The store's revision.
async fn revision(client: &mut Client) -> Result<i64> {
    let now = client.get(key(0), None).await?;
    Ok(now.header().context("no header")?.revision())
}

async fn keys(client: &mut Client) -> Result<()> {
    for number in 0..CALLS {
        let key = key(number);
        let prefix = &key[..key.len() - 2];
        let now = revision(client).await?;
        let many = || GetOptions::new().with_prefix().with_limit(50);
        client.get(prefix, Some(many())).await?;
        client.get(prefix, Some(many().with_keys_only())).await?;
        let count = GetOptions::new().with_all_keys().with_count_only();
        client.get("", Some(count)).await?;
        let sorted = many().with_sort(SortTarget::Mod, SortOrder::Descend);
        client.get(prefix, Some(sorted)).await?;
        let past = many().with_revision(now - 10);
        client.get(prefix, Some(past)).await?;
        let before = PutOptions::new().with_prev_key();
        client.put(key.as_str(), prefix, Some(before)).await?;
        let own = format!("tour/{number}/");
        let puts: Vec<TxnOp> = (0..20)
            .map(|n| TxnOp::put(format!("{own}{n}"), "value", None))
            .collect();
        let is_new = Compare::version(own.as_str(), CompareOp::Equal, 0);
        client
            .txn(Txn::new().when(vec![is_new]).and_then(puts))
            .await?;
        let is_value = Compare::value(format!("{own}1"), CompareOp::Equal, "value");
        let is_later = Compare::mod_revision(format!("{own}2"), CompareOp::Greater, 1);
        let read = TxnOp::get(own.as_str(), Some(GetOptions::new().with_prefix()));
        let inner = Txn::new().and_then(vec![read, TxnOp::delete(format!("{own}3"), None)]);
        let nested = Txn::new()
            .when(vec![is_value, is_later])
            .and_then(vec![TxnOp::txn(inner)])
            .or_else(vec![TxnOp::get(key.as_str(), None)]);
        ensure!(client.txn(nested).await?.succeeded(), "it was not so");
        let all = DeleteOptions::new().with_prefix().with_prev_key();
        client.delete(own, Some(all)).await?;
    }
    Ok(())
}

async fn watches(client: &mut Client) -> Result<()> {
    let now = revision(client).await?;
    for number in 0..CALLS {
        let since = WatchOptions::new()
            .with_prefix()
            .with_prev_key()
            .with_start_revision(now - 50);
        let mut stream = client.watch("k", Some(since)).await?;
        stream.request_progress().await?;
        let own = key(number);
        client.put(own.as_str(), "seen", None).await?;
        let news = async {
            while let Some(message) = stream.message().await? {
                let mut seen = message.events().iter().filter_map(|event| event.kv());
                if seen.any(|kv| kv.key() == own.as_bytes() && kv.value() == b"seen") {
                    return Ok(());
                }
            }
            bail!("a watch ended");
        };
        timeout(PATIENCE, news).await.context("an event")??;
    }
    Ok(())
}

async fn leases(client: &mut Client) -> Result<()> {
    for number in 0..CALLS {
        let lease = client.lease_grant(60, None).await?.id();
        let options = || Some(PutOptions::new().with_lease(lease));
        client.put(format!("lease/{number}"), "", options()).await?;
        client.lease_time_to_live(lease, None).await?;
        let lock = client.lock("lock", None).await?;
        client.unlock(lock.key()).await?;
        client.campaign("election", "me", lease).await?;
        client.leader("election").await?;
        client.lease_revoke(lease).await?;
    }
    // Some end by themselves.
    for number in 0..CALLS {
        let lease = client.lease_grant(1, None).await?.id();
        let options = PutOptions::new().with_lease(lease);
        client
            .put(format!("lease/{number}"), "", Some(options))
            .await?;
    }
    client.leases().await?;
    Ok(())
}

/// What goes over HTTP/1.1.
fn pages(cluster: &Cluster, member: usize) -> Result<()> {
    let port = cluster.members[member].client_port.number;
    let post = |path: &str, body: &str| -> Result<()> {
        let answer = http::request("POST", port, path, body)?;
        ensure!(answer.status == 200, "{path}: {}", answer.body);
        Ok(())
    };
    for _ in 0..CALLS {
        post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#)?;
        post("/v3/kv/range", r#"{"key":"Zm9v"}"#)?;
    }
    for path in ["/health", "/readyz", "/version", "/metrics"] {
        for _ in 0..20 {
            http::get(port, path)?;
        }
    }
    Ok(())
}

async fn passwords(cluster: &Cluster, member: usize) -> Result<()> {
    let mut client = cluster.client(member, PATIENCE).await?;
    for name in ["root", "user"] {
        client.user_add(name, "secret", None).await?;
    }
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.role_add("role").await?;
    let everything = Permission::read_write("auth/").with_prefix();
    client.role_grant_permission("role", everything).await?;
    client.user_grant_role("user", "role").await?;
    client.auth_enable().await?;
    let urls = [cluster.members[member].client_url()];
    let as_user = |name| Some(ConnectOptions::new().with_user(name, "secret"));
    let mut user = Client::connect(&urls, as_user("user")).await?;
    for number in 0..CALLS {
        user.put(format!("auth/{number}"), "", None).await?;
        user.get(format!("auth/{number}"), None).await?;
        let refused = user.get("elsewhere", None).await;
        ensure!(refused.is_err(), "a user reads what it may not");
    }
    let mut root = Client::connect(&urls, as_user("root")).await?;
    root.user_list().await?;
    root.auth_disable().await?;
    Ok(())
}

/// What operators ask for.
async fn upkeep(client: &mut Client) -> Result<()> {
    for _ in 0..CALLS / 10 {
        client.status().await?;
        client.member_list().await?;
    }
    for _ in 0..3 {
        let mut stream = client.snapshot().await?;
        while stream.message().await?.is_some() {}
        client.hash_kv(0).await?;
    }
    let now = revision(client).await?;
    for back in [500_000, 100_000, 0] {
        if now > back + 1 {
            let at_once = CompactionOptions::new().with_physical();
            client.compact(now - back, Some(at_once)).await?;
        }
    }
    client.defragment().await?;
    Ok(())
}

/// A member joins with nothing, has everything sent, serves, and is let go.
async fn newcomer(cluster: &mut Cluster) -> Result<()> {
    let leader = cluster.wait_for_leader().await?;
    let mut client = cluster.client(leader, PATIENCE).await?;
    let added = cluster.lay_out()?;
    let url = cluster.members[added].peer_url();
    let answer = client.member_add([url], None).await?;
    let id = answer.member().context("no member was added")?.id();
    cluster::spawn_added(cluster, added)?;
    cluster.ready().await?;
    client.member_remove(id).await?;
    cluster.terminate(added).await?;
    cluster.members.pop();
    Ok(())
}

/// Each member leaves, misses some puts, and comes back: leaders change, logs and snapshots are read.
async fn restarts(cluster: &mut Cluster) -> Result<()> {
    for member in 0..cluster.members.len() {
        cluster.terminate(member).await?;
        let leader = cluster.wait_for_leader().await?;
        let mut client = cluster.client(leader, PATIENCE).await?;
        for number in 0..CALLS {
            client.put(key(number), "while one is away", None).await?;
        }
        cluster::spawn(cluster, member)?;
        cluster.ready().await?;
    }
    Ok(())
}

async fn leave(cluster: &mut Cluster) -> Result<()> {
    for number in 0..cluster.members.len() {
        let status = cluster.terminate(number).await?;
        ensure!(status.success(), "member {number} left with {status}");
    }
    Ok(())
}

/// Everything under TLS, between members too, by the command line that comes with the server.
async fn tls(server: &Server, args: &TrainArgs) -> Result<()> {
    let options = ["--auto-tls", "--peer-auto-tls"];
    let mut cluster = Cluster::new(server, cluster::SIZE, &args.dir, &options)?;
    for member in &mut cluster.members {
        (member.client_scheme, member.peer_scheme) = ("https", "https");
    }
    for number in 0..cluster::SIZE {
        cluster::spawn(&mut cluster, number)?;
    }
    let endpoints = cluster::urls(&cluster).join(",");
    let ctl = |words: &[&str]| {
        let mut command = Command::new(&server.program);
        command
            .arg("ctl")
            .args(["--endpoints", &endpoints, "--insecure-skip-tls-verify"])
            .args(words);
        command
    };
    let begun = Instant::now();
    while !ctl(&["endpoint", "health"]).output()?.status.success() {
        ensure!(begun.elapsed() < TLS_LIMIT, "no cluster under TLS");
        sleep(Duration::from_millis(100)).await;
    }
    for load in ["--load=m", "--load=l"] {
        let told = ctl(&["check", "perf", load, "--duration=5s"]).output()?;
        let told = String::from_utf8_lossy(&told.stdout);
        // A slow machine fails the check; it has been used all the same.
        let writes = told.lines().find(|line| line.contains("writes/s"));
        ensure!(
            writes.is_some_and(|line| !line.contains(" 0 writes/s")),
            "check perf: {told}"
        );
    }
    for words in [&["get", "", "--prefix", "--limit=100"][..], &["status"]] {
        let status = ctl(words).output()?.status;
        ensure!(status.success(), "{words:?}: {status}");
    }
    leave(&mut cluster).await
}
