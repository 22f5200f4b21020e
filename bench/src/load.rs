//! A closed loop of puts: each client sends its next one when the last was answered.

use crate::Shape;
use crate::machine::{Disk, busy_seconds, cpu_seconds};
use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use hdrhistogram::Histogram;
use headwater_etcd_tests::http;
use headwater_etcd_tests::random::Random;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Connections that fit a number of clients: few enough that requests share packets, as many as
/// programs of that size would have.
pub fn usual_conns(clients: usize) -> usize {
    match clients {
        0..=1 => 1,
        2..=16 => 4,
        17..=64 => 8,
        65..=256 => 16,
        _ => 32,
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Client URLs, used in turn.
    pub endpoints: Vec<String>,
    /// Puts under way at a time.
    pub clients: usize,
    /// Connections.
    pub conns: usize,
    /// The puts.
    pub shape: Shape,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Puts under way at a time.
    pub clients: usize,
    /// Connections.
    pub conns: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Puts that were answered.
    pub puts: u64,
    /// Puts that were not.
    pub errors: u64,
    /// Their latencies, in microseconds.
    pub latency_us: Histogram<u64>,
    /// Processor seconds of the servers together.
    pub server_cpu: f64,
    /// Processor seconds of this process.
    pub client_cpu: f64,
    /// Processor seconds of everything else on the machine: how far it was quiet.
    pub other_cpu: f64,
    /// Syncs of the servers' logs together, by their own count.
    pub syncs: Option<u64>,
    /// Bytes that reached the disk, from whoever.
    pub written_bytes: Option<u64>,
}

impl Measured {
    /// Puts a second.
    pub fn rate(&self) -> f64 {
        self.puts as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Processor seconds of the servers for a hundred thousand puts.
    pub fn cpu_per_100k(&self) -> f64 {
        self.server_cpu * 1e5 / self.puts as f64
    }

    /// Syncs of the servers' logs for a thousand puts.
    pub fn syncs_per_1000(&self) -> Option<f64> {
        self.syncs
            .map(|syncs| syncs as f64 * 1e3 / self.puts as f64)
    }

    /// Bytes to the disk for each put.
    pub fn bytes_per_put(&self) -> Option<f64> {
        self.written_bytes
            .map(|bytes| bytes as f64 / self.puts as f64)
    }
}

/// What clients count while they run.
struct Tally {
    /// What is sent and answered in this span counts; nothing does before it is set.
    span: Option<(Instant, Instant)>,
    puts: u64,
    errors: u64,
    latency_us: Histogram<u64>,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.span.is_some_and(|(_, until)| Instant::now() >= until)
    }

    fn count(&mut self, sent: Instant, answered: Instant, is_ok: bool) {
        let Some((from, until)) = self.span else {
            return;
        };
        if sent < from || answered > until {
            return;
        }
        if is_ok {
            self.puts += 1;
            let us = u64::try_from((answered - sent).as_micros()).unwrap_or(u64::MAX);
            self.latency_us.saturating_record(us);
        } else {
            self.errors += 1;
        }
    }
}

/// What the machine had spent at a moment.
struct Spent {
    server_cpu: f64,
    client_cpu: f64,
    busy: f64,
    syncs: Option<u64>,
    written_bytes: Option<u64>,
}

impl Spent {
    fn so_far(pids: &[u32], ports: &[u16], disk: Option<&Disk>) -> Result<Spent> {
        let servers: Result<Vec<f64>> = pids.iter().map(|&pid| cpu_seconds(pid)).collect();
        let syncs: Option<Vec<u64>> = ports.iter().map(|&port| syncs_of(port)).collect();
        Ok(Spent {
            server_cpu: servers?.iter().sum(),
            client_cpu: cpu_seconds(std::process::id())?,
            busy: busy_seconds()?,
            syncs: syncs
                .filter(|syncs| !syncs.is_empty())
                .map(|syncs| syncs.iter().sum()),
            written_bytes: disk.and_then(Disk::written_bytes),
        })
    }
}

/// How often a server has synced its log, as its metrics say.
fn syncs_of(port: u16) -> Option<u64> {
    let text = http::get(port, "/metrics").ok()?.body;
    let name = "etcd_disk_wal_fsync_duration_seconds_count ";
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Which of these endpoints leads.
///
/// # Errors
/// If none says so.
pub async fn leader_of(endpoints: &[String]) -> Result<String> {
    for endpoint in endpoints {
        let Ok(mut client) = Client::connect([endpoint], None).await else {
            continue;
        };
        let Ok(status) = client.status().await else {
            continue;
        };
        let id = status.header().map_or(0, |header| header.member_id());
        if id != 0 && id == status.leader() {
            return Ok(endpoint.clone());
        }
    }
    anyhow::bail!("none of {endpoints:?} leads")
}

/// Puts for as long as the plan says; `ports` are asked for their syncs.
///
/// # Errors
/// If the servers cannot be reached at all.
pub async fn put(plan: &Plan, pids: &[u32], ports: &[u16]) -> Result<Measured> {
    put_on(plan, pids, ports, None).await
}

/// As `put`, and also counts what reaches a disk.
///
/// # Errors
/// As `put`.
pub async fn put_on(
    plan: &Plan,
    pids: &[u32],
    ports: &[u16],
    disk: Option<&Disk>,
) -> Result<Measured> {
    let connections = connect(plan).await?;
    let latency_us = Histogram::new_with_bounds(1, 120_000_000, 3)?;
    let tally = Tally {
        span: None,
        puts: 0,
        errors: 0,
        latency_us,
    };
    let tally = Rc::new(RefCell::new(tally));
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let client = connections[number % connections.len()].clone();
            spawn_local(one_client(
                client,
                number as u64,
                plan.shape,
                Rc::clone(&tally),
            ))
        })
        .collect();
    sleep(Duration::from_secs_f64(plan.shape.warmup)).await;
    // Asking the servers what they have spent holds this thread up, so it happens outside the span.
    let before = Spent::so_far(pids, ports, disk)?;
    let from = Instant::now();
    let until = from + Duration::from_secs_f64(plan.shape.seconds);
    tally.borrow_mut().span = Some((from, until));
    sleep(until.saturating_duration_since(Instant::now())).await;
    let after = Spent::so_far(pids, ports, disk)?;
    for client in clients {
        client.await?;
    }
    let tally = Rc::into_inner(tally)
        .context("a client still counts")?
        .into_inner();
    ensure!(tally.puts > 0, "no put was answered");
    let (server_cpu, client_cpu) = (
        after.server_cpu - before.server_cpu,
        after.client_cpu - before.client_cpu,
    );
    Ok(Measured {
        clients: plan.clients,
        conns: plan.conns,
        elapsed: until - from,
        puts: tally.puts,
        errors: tally.errors,
        latency_us: tally.latency_us,
        server_cpu,
        client_cpu,
        other_cpu: (after.busy - before.busy - server_cpu - client_cpu).max(0.0),
        syncs: after
            .syncs
            .zip(before.syncs)
            .map(|(after, before)| after - before),
        written_bytes: after
            .written_bytes
            .zip(before.written_bytes)
            .map(|(a, b)| a - b),
    })
}

/// The connections of a plan, each of which has answered once.
async fn connect(plan: &Plan) -> Result<Vec<Client>> {
    let mut connections = Vec::with_capacity(plan.conns);
    for number in 0..plan.conns.max(1) {
        let endpoint = &plan.endpoints[number % plan.endpoints.len()];
        let mut client = Client::connect([endpoint], None).await?;
        client
            .get("warm", None)
            .await
            .with_context(|| format!("{endpoint} does not answer"))?;
        connections.push(client);
    }
    Ok(connections)
}

async fn one_client(mut client: Client, number: u64, shape: Shape, tally: Rc<RefCell<Tally>>) {
    let mut random = Random::new(number << 32);
    let value: Vec<u8> = (0..shape.value_bytes)
        .map(|_| random.below(256) as u8)
        .collect();
    while !tally.borrow().is_over() {
        let key = format!("k{:015}", random.below(shape.keys));
        let sent = Instant::now();
        let is_ok = client.put(key, value.clone(), None).await.is_ok();
        tally.borrow_mut().count(sent, Instant::now(), is_ok);
        if !is_ok {
            // A server that refuses at once must not be asked a million times a second.
            sleep(Duration::from_millis(10)).await;
        }
    }
}
