//! What the clients of a leader notice of a follower that comes back with an empty disk.
//!
//! Three servers hold so many keys, and clients put to the leader in a closed loop. One follower is
//! killed, its directory removed, its member removed and added again, and its server started. Their
//! latencies from then until it answers a linearizable read are set beside those of before.

use crate::machine::Disk;
use crate::{CatchUpArgs, cluster, load};
use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, Txn, TxnOp};
use hdrhistogram::Histogram;
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::random::Random;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Keys in one transaction while the store is filled.
const FILL_BATCH: u64 = 100;

/// Transactions under way meanwhile.
const FILLERS: u64 = 16;

/// How long the follower may take.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(900);

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A put that was answered: when it was sent, and how long that took.
type Answer = (Instant, Duration);

/// The clients' answers so far, and whether they are to stop.
#[derive(Default)]
struct Load {
    answers: RefCell<Vec<Answer>>,
    errors: Cell<u64>,
    is_over: Cell<bool>,
}

/// Puts sent within one span.
struct Span {
    puts: u64,
    seconds: f64,
    latency_us: Histogram<u64>,
}

impl Span {
    fn of(answers: &[Answer], from: Instant, until: Instant) -> Result<Self> {
        let mut latency_us = Histogram::new_with_bounds(1, 120_000_000, 3)?;
        for (sent, took) in answers.iter().filter(|(sent, _)| *sent >= from) {
            if sent < &until {
                let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                latency_us.saturating_record(us);
            }
        }
        let puts = latency_us.len();
        ensure!(puts > 0, "no put was answered");
        Ok(Self {
            puts,
            seconds: (until - from).as_secs_f64(),
            latency_us,
        })
    }

    fn ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1e3
    }

    fn rate(&self) -> f64 {
        self.puts as f64 / self.seconds
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name:<28} {:>7.1} s {:>8.0} puts/s   p50 {:>7.2} ms   p99 {:>7.2} ms   p99.9 {:>7.2} ms",
            self.seconds,
            self.rate(),
            self.ms(0.5),
            self.ms(0.99),
            self.ms(0.999),
        )
    }
}

/// Runs all of it and prints what came of it.
///
/// # Errors
/// If the cluster does not start, does not serve, or the follower does not catch up.
pub async fn run(args: &CatchUpArgs) -> Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    Disk::under(&args.dir)?;
    let server = Server::at(args.server.clone())?;
    let mut options = vec!["--quota-backend-bytes=8589934592"];
    options.extend(args.flags.iter().map(String::as_str));
    let mut cluster = Cluster::new(&server, 3, &args.dir, &options)?;
    for number in 0..3 {
        cluster.spawn(number)?;
    }
    cluster.ready().await?;
    let leader = cluster.wait_for_leader().await?;
    let filled = Instant::now();
    fill(args, &cluster.members[leader].client_url()).await?;
    let filled = filled.elapsed().as_secs_f64();
    eprintln!("{} keys put in {filled:.0} s", args.keys);

    let load = Rc::new(Load::default());
    let clients = begin_load(args, &cluster.members[leader].client_url(), &load).await?;
    sleep(Duration::from_secs_f64(args.warmup)).await;
    let begun = Instant::now();
    sleep(Duration::from_secs_f64(args.seconds)).await;
    let wiped = Instant::now();
    let follower = (leader + 1) % 3;
    wipe(&mut cluster, leader, follower).await?;
    let started = Instant::now();
    cluster::spawn_added(&mut cluster, follower)?;
    let caught_up = catches_up(&mut cluster, follower).await?;
    sleep(Duration::from_secs_f64(args.warmup)).await;
    let end = Instant::now();
    load.is_over.set(true);
    for client in clients {
        client.await?;
    }
    ensure!(
        cluster.wait_for_leader().await? == leader,
        "another member leads now, so the latencies are not those of one leader"
    );

    let answers = load.answers.borrow();
    let before = Span::of(&answers, begun, wiped)?;
    let during = Span::of(&answers, started, caught_up)?;
    let after = Span::of(&answers, caught_up, end)?;
    let ratio = during.ms(0.99) / before.ms(0.99);
    let seconds = (caught_up - started).as_secs_f64();
    if args.json {
        let of = |span: &Span| json!({"puts_per_second": span.rate(), "p50_ms": span.ms(0.5), "p99_ms": span.ms(0.99), "p999_ms": span.ms(0.999)});
        let all = json!({"keys": args.keys, "clients": args.clients, "catch_up_seconds": seconds, "p99_ratio": ratio, "errors": load.errors.get(), "before": of(&before), "during": of(&during), "after": of(&after)});
        println!("{all}");
        return Ok(());
    }
    println!("{}", before.line("before"));
    println!("{}", during.line("while a follower catches up"));
    println!("{}", after.line("after"));
    println!(
        "{} keys of {} bytes, {} clients, {} errors: caught up after {seconds:.1} s, p99 {ratio:.2} times that of before",
        args.keys,
        args.value_bytes,
        args.clients,
        load.errors.get()
    );
    Ok(())
}

/// The keys that clients put to, each once.
async fn fill(args: &CatchUpArgs, endpoint: &str) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut fillers = Vec::new();
    for number in 0..FILLERS {
        let mut client = Client::connect([endpoint], None).await?;
        let (next, keys, bytes) = (Rc::clone(&next), args.keys, args.value_bytes);
        fillers.push(spawn_local(async move {
            let mut random = Random::new(number);
            while next.get() < keys {
                let from = next.get();
                let until = keys.min(from + FILL_BATCH);
                next.set(until);
                let value = value(&mut random, bytes);
                let put = |key| TxnOp::put(key_of(key), value.clone(), None);
                let puts: Vec<TxnOp> = (from..until).map(put).collect();
                client.txn(Txn::new().and_then(puts)).await?;
            }
            anyhow::Ok(())
        }));
    }
    for filler in fillers {
        filler.await?.context("the store was not filled")?;
    }
    Ok(())
}

fn key_of(number: u64) -> String {
    format!("k{number:015}")
}

fn value(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

async fn begin_load(
    args: &CatchUpArgs,
    endpoint: &str,
    load: &Rc<Load>,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let mut connections = Vec::new();
    for _ in 0..load::usual_conns(args.clients) {
        connections.push(Client::connect([endpoint], None).await?);
    }
    let client = |number: usize| {
        let mut client = connections[number % connections.len()].clone();
        let (load, keys, bytes) = (Rc::clone(load), args.keys, args.value_bytes);
        spawn_local(async move {
            let mut random = Random::new((number as u64 + 1) << 32);
            let value = value(&mut random, bytes);
            while !load.is_over.get() {
                let key = key_of(random.below(keys));
                let sent = Instant::now();
                if client.put(key, value.clone(), None).await.is_ok() {
                    let took = sent.elapsed();
                    load.answers.borrow_mut().push((sent, took));
                } else {
                    load.errors.set(load.errors.get() + 1);
                    sleep(Duration::from_millis(10)).await;
                }
            }
        })
    };
    Ok((0..args.clients).map(client).collect())
}

/// Kills a follower, removes all that it has and its member, and adds a member in its place.
async fn wipe(cluster: &mut Cluster, leader: usize, follower: usize) -> Result<()> {
    let mut client = cluster.client(follower, PATIENCE).await?;
    let status = client.status().await?;
    let id = status.header().context("no header")?.member_id();
    cluster.kill(follower);
    std::fs::remove_dir_all(&cluster.members[follower].data_dir)?;
    let mut client = cluster.client(leader, PATIENCE).await?;
    client.member_remove(id).await?;
    let url = cluster.members[follower].peer_url();
    client.member_add([url], None).await?;
    Ok(())
}

/// When a member answers a linearizable read.
async fn catches_up(cluster: &mut Cluster, follower: usize) -> Result<Instant> {
    let begun = Instant::now();
    while !cluster.serves(follower).await {
        if let Some(status) = cluster.exited(follower) {
            bail!("{status}: {}", cluster.members[follower].printed());
        }
        ensure!(begun.elapsed() < CATCH_UP_LIMIT, "it does not catch up");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Instant::now())
}
