//! What one client asks for, again and again.

use crate::engine::{Client, Lease};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use etcd_client::{Txn, TxnOp};
use headwater_etcd_tests::random::Random;
use tokio::task::JoinSet;

/// Keys of one transaction while a store is filled; etcd takes 128.
const FILL_BATCH: u64 = 100;

/// Bytes of values in one transaction, if there is more than one; etcd takes 1.5 MiB.
const FILL_BYTES: u64 = 1 << 20;

/// Transactions under way while a store is filled.
const FILL_CLIENTS: u64 = 16;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Put a value to a random key.
    Put,
    /// Read a random key, linearizably.
    Range,
    /// Read a random key from whichever server is asked.
    Serializable,
    /// Nine linearizable reads for each put.
    Mixed,
    /// Put a value to a key of the client's own, if nobody has changed it since.
    Cas,
    /// Keep a lease of the client's own alive.
    KeepAlive,
}

/// What every request looks like.
#[derive(Clone, Copy, Debug, Args)]
pub struct Shape {
    /// Seconds that count.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Bytes of a value; a key has 16.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// How many keys there are, each as likely as the others.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
}

/// The key of a number.
pub fn key(number: u64) -> String {
    format!("k{number:015}")
}

/// A value that no compression makes smaller.
pub fn value(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

/// One client.
pub struct Worker {
    client: Client,
    work: Work,
    shape: Shape,
    random: Random,
    value: Bytes,
    own_key: String,
    /// The revision of this client's own key, once it has one.
    known_revision: i64,
    lease: Option<Lease>,
}

impl Worker {
    /// A client of this number, ready to begin.
    ///
    /// # Errors
    /// If it needs a lease and does not get one.
    pub async fn new(mut client: Client, number: u64, work: Work, shape: Shape) -> Result<Worker> {
        let mut random = Random::new(number << 32);
        let lease = match work {
            Work::KeepAlive => Some(client.lease().await?),
            _ => None,
        };
        Ok(Worker {
            client,
            work,
            shape,
            value: value(&mut random, shape.value_bytes).into(),
            random,
            own_key: format!("own{number:013}"),
            known_revision: 0,
            lease,
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// If the answer is an error, or says that nothing was done.
    pub async fn once(&mut self) -> Result<()> {
        match self.work {
            Work::Put => self.put().await,
            Work::Range => self.range(false).await,
            Work::Serializable => self.range(true).await,
            Work::Mixed if self.random.chance(10) => self.put().await,
            Work::Mixed => self.range(false).await,
            Work::Cas => {
                let swap = self
                    .client
                    .swap(&self.own_key, &self.value, self.known_revision);
                self.known_revision = swap.await?;
                Ok(())
            }
            Work::KeepAlive => self.lease.as_mut().context("no lease")?.keep_alive().await,
        }
    }

    async fn put(&mut self) -> Result<()> {
        let key = key(self.random.below(self.shape.keys));
        self.client.put(&key, &self.value).await
    }

    async fn range(&mut self, serializable: bool) -> Result<()> {
        let key = key(self.random.below(self.shape.keys));
        let read = self.client.range(&key, serializable).await?;
        let expected = self.shape.value_bytes;
        ensure!(
            read.is_none_or(|bytes| bytes == expected),
            "{key} has {} bytes and not the {expected} of --value-bytes",
            read.unwrap_or_default()
        );
        Ok(())
    }
}

/// Puts every key once, in transactions of many; gives the longest time that one of them took, in
/// milliseconds.
///
/// # Errors
/// If a transaction fails.
pub async fn fill(client: &etcd_client::Client, shape: Shape) -> Result<f64> {
    let batch_keys = (FILL_BYTES / shape.value_bytes.max(1) as u64).clamp(1, FILL_BATCH);
    let batches = shape.keys.div_ceil(batch_keys);
    let mut fillers = JoinSet::new();
    for first in 0..FILL_CLIENTS.min(batches) {
        let mut client = client.clone();
        fillers.spawn_local(async move {
            let mut random = Random::new(first);
            let mut longest_ms = 0.0f64;
            for batch in (first..batches).step_by(FILL_CLIENTS as usize) {
                let keys = batch * batch_keys..((batch + 1) * batch_keys).min(shape.keys);
                let mut puts = Vec::new();
                for number in keys {
                    let value = value(&mut random, shape.value_bytes);
                    puts.push(TxnOp::put(key(number), value, None));
                }
                let sent = std::time::Instant::now();
                client.txn(Txn::new().and_then(puts)).await?;
                longest_ms = longest_ms.max(sent.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(longest_ms)
        });
    }
    let mut longest_ms = 0.0f64;
    while let Some(filler) = fillers.join_next().await {
        longest_ms = longest_ms.max(filler??);
    }
    Ok(longest_ms)
}
