//! How long nothing succeeds when the leader dies.

use crate::cluster::{start, urls};
use crate::figures::Figures;
use anyhow::{Context, Result, ensure};
use etcd_client::{Client, ConnectOptions};
use headwater_etcd_tests::cluster::Server;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Puts before the kill, so that the longest pause of a healthy cluster is known too.
const STEADY: Duration = Duration::from_secs(2);

/// Puts after the service is back, for it may stumble once more.
const AFTER: Duration = Duration::from_millis(500);

/// How long the service may stay away.
const AWAY_LIMIT: Duration = Duration::from_secs(20);

/// Who puts while the leader is killed.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// How many clients.
    pub clients: usize,
    /// How long a client waits before it asks another server.
    pub limit: Duration,
}

/// Starts a cluster of three, kills its leader with SIGKILL under load, and measures the longest time
/// without any success around the kill and, for comparison, the longest before it.
///
/// # Errors
/// If the cluster does not start, or does not serve again.
pub async fn measure(
    server: &Server,
    dir: &Path,
    kills: Kills,
    options: &[&str],
) -> Result<Figures> {
    let mut cluster = start(server, dir, options).await?;
    let endpoints = urls(&cluster);
    let successes: Successes = Rc::default();
    let mut clients = JoinSet::new();
    for number in 0..kills.clients {
        let client = keep_putting(
            endpoints.clone(),
            number,
            kills.limit,
            Rc::clone(&successes),
        );
        clients.spawn_local(client);
    }
    sleep(STEADY).await;
    let leader = cluster.wait_for_leader().await?;
    let killed = Instant::now();
    cluster.kill(leader);
    // Answers that were on their way may still arrive; only what was sent later proves anything.
    while !successes.borrow().iter().any(|put| put.sent > killed) {
        ensure!(
            killed.elapsed() < AWAY_LIMIT,
            "no put succeeded for {AWAY_LIMIT:?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
    sleep(AFTER).await;
    clients.abort_all();
    let before = killed
        .checked_sub(STEADY / 2)
        .context("the machine just started")?;
    let successes = successes.borrow();
    let pause_ms = |from, until| longest_pause(&successes, from, until).as_secs_f64() * 1e3;
    Ok(Figures::from([
        ("away_ms".into(), pause_ms(killed, Instant::now())),
        ("steady_ms".into(), pause_ms(before, killed)),
    ]))
}

/// The longest time between two answers of which the later came within this span.
fn longest_pause(successes: &[Success], from: Instant, until: Instant) -> Duration {
    let within = |pair: &&[Success]| (from..until).contains(&pair[1].answered);
    let pairs = successes.windows(2).filter(within);
    pairs
        .map(|pair| pair[1].answered - pair[0].answered)
        .max()
        .unwrap_or_default()
}

/// A put that succeeded.
#[derive(Clone, Copy, Debug)]
struct Success {
    sent: Instant,
    answered: Instant,
}

/// All of them, in the order of their answers.
type Successes = Rc<RefCell<Vec<Success>>>;

/// One client: asks one server until it fails or is slow, then the next.
async fn keep_putting(endpoints: Vec<String>, number: usize, limit: Duration, done: Successes) {
    let mut connections = Vec::new();
    for endpoint in &endpoints {
        let options = ConnectOptions::new().with_connect_timeout(limit);
        if let Ok(client) = Client::connect([endpoint], Some(options)).await {
            connections.push(client);
        }
    }
    let mut current = number;
    for count in 0u64.. {
        let at = current % connections.len();
        let sent = Instant::now();
        let put = connections[at].put(format!("failover/{number}/{}", count % 100), "v", None);
        if let Ok(Ok(_)) = timeout(limit, put).await {
            done.borrow_mut().push(Success {
                sent,
                answered: Instant::now(),
            });
        } else {
            current += 1;
            // A refused connection fails at once; asking again at once would only burn CPU.
            sleep(Duration::from_millis(2)).await;
        }
    }
}
