//! What a server uses of its machine, and whether it still serves: asked after each misdeed.
//! Never counts what a test itself holds open.
//!
//! # Source
//! proc(5).

use crate::cluster::{Cluster, Server};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a put and a linearizable range may take, whatever else goes on.
pub const SERVE_LIMIT: Duration = Duration::from_secs(1);

/// How long what a server held for clients that are gone may stay.
const LET_GO_LIMIT: Duration = Duration::from_secs(10);

/// A server under watch, and how it was at first.
pub struct Health {
    proc: PathBuf,
    files: usize,
    resident_bytes: u64,
}

impl Health {
    /// Of this member, as it is now.
    ///
    /// # Errors
    /// It does not run.
    pub fn of(cluster: &Cluster, number: usize) -> Result<Health> {
        let pid = cluster.members[number].pid().context("it does not run")?;
        let mut health = Health {
            proc: PathBuf::from(format!("/proc/{pid}")),
            files: 0,
            resident_bytes: 0,
        };
        health.files = health.open_files()?;
        health.resident_bytes = health.resident_bytes()?;
        Ok(health)
    }

    /// Of a fresh server alone, the one under test; with it, and its port for clients.
    ///
    /// # Panics
    /// If there is none, or it does not come up.
    pub async fn of_one() -> (Cluster, Health, u16) {
        let server = Server::from_env().expect("a server to test");
        let cluster = Cluster::start(&server, 1, &[]).await.expect("a cluster");
        let health = Health::of(&cluster, 0).expect("it runs");
        let port = cluster.members[0].client_port.number;
        (cluster, health, port)
    }

    /// How many files and sockets it has open.
    ///
    /// # Errors
    /// It is gone.
    pub fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(self.proc.join("fd"))?.count())
    }

    /// Bytes of memory.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(self.proc.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(1024 * kib.context("no VmRSS")?.parse::<u64>()?)
    }

    /// Bytes of memory that it has taken since the beginning.
    ///
    /// # Errors
    /// It is gone.
    pub fn grown_bytes(&self) -> Result<u64> {
        Ok(self.resident_bytes()?.saturating_sub(self.resident_bytes))
    }

    /// Fails if it has taken more memory than this since the beginning, or does not give back its open
    /// files (but a few: its log and its own clients).
    ///
    /// # Errors
    /// So it is.
    pub async fn lets_go(&self, grown_bytes_max: u64) -> Result<()> {
        let deadline = Instant::now() + LET_GO_LIMIT;
        loop {
            let (files, grown) = (self.open_files()?, self.grown_bytes()?);
            if files <= self.files + 8 && grown <= grown_bytes_max {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{files} files are open and were {}; {grown} bytes of memory were taken",
                self.files
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A put and a linearizable range, by a new client; how long they took.
///
/// # Errors
/// They fail, or take longer than [`SERVE_LIMIT`].
pub async fn serves(cluster: &Cluster, number: usize) -> Result<Duration> {
    serves_within(cluster, number, SERVE_LIMIT).await
}

/// The same for a server that has a burst of work before it.
///
/// # Errors
/// They fail, or take longer than that.
pub async fn serves_within(cluster: &Cluster, number: usize, limit: Duration) -> Result<Duration> {
    let mut client = cluster.client(number, limit).await?;
    let begin = Instant::now();
    client.put("still", "here", None).await.context("the put")?;
    let read = client.get("still", None).await.context("the range")?;
    ensure!(read.kvs().len() == 1, "the key is gone");
    let took = begin.elapsed();
    ensure!(took < limit, "put and range took {took:?}");
    Ok(took)
}
