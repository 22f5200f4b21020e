//! The two clients that a load can be driven by, behind one face.
//! Never knows what is asked for next.

use crate::lean;
use crate::load::{self, REQUEST_LIMIT};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use etcd_client::{
    Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, Txn, TxnOp, TxnOpResponse,
    WatchStream,
};

/// Seconds after which a lease that nobody keeps alive ends.
const LEASE_SECONDS: i64 = 60;

/// What a load is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The usual client, as programs have it.
    EtcdClient,
    /// One that takes as little of the processor as it can, and leaves it to the servers.
    Lean,
}

/// A client; its clones share its connection.
#[derive(Clone)]
pub enum Client {
    /// The usual one.
    EtcdClient(Box<etcd_client::Client>),
    /// The one that takes little.
    Lean(lean::Client),
}

/// So many clients, each with a connection of its own, to the endpoints in turn.
///
/// # Errors
/// If nobody answers at one of them.
pub async fn connect(engine: Engine, endpoints: &[String], conns: usize) -> Result<Vec<Client>> {
    let mut connections = Vec::with_capacity(conns);
    for endpoint in endpoints.iter().cycle().take(conns) {
        connections.push(Client::connect(engine, endpoint).await?);
    }
    Ok(connections)
}

impl Client {
    /// A client with a connection of its own, that has been answered once.
    ///
    /// # Errors
    /// If nobody answers there.
    pub async fn connect(engine: Engine, url: &str) -> Result<Client> {
        match engine {
            Engine::EtcdClient => {
                let client = load::connect(&[url.to_string()], 1).await?.remove(0);
                Ok(Client::EtcdClient(Box::new(client)))
            }
            Engine::Lean => {
                let client = lean::Client::connect(url, REQUEST_LIMIT).await;
                let mut client = client.with_context(|| format!("cannot reach {url}"))?;
                let answered = client.range("warm", false).await;
                answered.with_context(|| format!("{url} does not answer"))?;
                Ok(Client::Lean(client))
            }
        }
    }

    /// Puts a value to a key.
    ///
    /// # Errors
    /// If the answer is an error.
    pub async fn put(&mut self, key: &str, value: &Bytes) -> Result<()> {
        match self {
            Client::EtcdClient(client) => {
                client.put(key, value.clone(), None).await?;
                Ok(())
            }
            Client::Lean(client) => client.put(key, value).await,
        }
    }

    /// Reads a key; gives the number of bytes of its value, if it has one.
    ///
    /// # Errors
    /// If the answer is an error.
    pub async fn range(&mut self, key: &str, serializable: bool) -> Result<Option<usize>> {
        match self {
            Client::EtcdClient(client) => {
                let options = serializable.then(|| GetOptions::new().with_serializable());
                let answer = client.get(key, options).await?;
                Ok(answer.kvs().first().map(|kv| kv.value().len()))
            }
            Client::Lean(client) => client.range(key, serializable).await,
        }
    }

    /// Puts a value to a key if that was changed last at this revision; gives the revision at which
    /// it is changed last now, whoever did it, 0 if there is no such key.
    ///
    /// # Errors
    /// If the answer is an error.
    pub async fn swap(&mut self, key: &str, value: &Bytes, known_revision: i64) -> Result<i64> {
        let client = match self {
            Client::EtcdClient(client) => client,
            Client::Lean(client) => return client.swap(key, value, known_revision).await,
        };
        let is_unchanged = Compare::mod_revision(key, CompareOp::Equal, known_revision);
        let txn = Txn::new()
            .when([is_unchanged])
            .and_then([TxnOp::put(key, value.clone(), None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = client.txn(txn).await?;
        if answer.succeeded() {
            return Ok(answer.header().context("no header")?.revision());
        }
        Ok(match answer.op_responses().first() {
            Some(TxnOpResponse::Get(get)) => get.kvs().first().map_or(0, |kv| kv.mod_revision()),
            _ => 0,
        })
    }

    /// A lease of this client's own.
    ///
    /// # Errors
    /// If it does not get one.
    pub async fn lease(&mut self) -> Result<Lease> {
        match self {
            Client::EtcdClient(client) => {
                let id = client.lease_grant(LEASE_SECONDS, None).await?.id();
                let (keeper, answers) = client.lease_keep_alive(id).await?;
                Ok(Lease::EtcdClient(keeper, answers))
            }
            Client::Lean(client) => Ok(Lease::Lean(client.lease(LEASE_SECONDS).await?)),
        }
    }

    /// Watches a key from now on, on a stream of its own.
    ///
    /// # Errors
    /// If the server does not say that it does.
    pub async fn watch(&mut self, key: &str) -> Result<Watch> {
        match self {
            Client::EtcdClient(client) => {
                let stream = client.watch_client().watch(key, None).await?;
                Ok(Watch::EtcdClient(Box::new(stream)))
            }
            Client::Lean(client) => Ok(Watch::Lean(client.watch(key).await?)),
        }
    }
}

/// A watch of one key; it ends with this.
pub enum Watch {
    /// The usual client's.
    EtcdClient(Box<WatchStream>),
    /// That of the one that takes little.
    Lean(lean::Watch),
}

impl Watch {
    /// How many events the next message has.
    ///
    /// # Errors
    /// If the watch or its stream ended.
    pub async fn events(&mut self) -> Result<usize> {
        match self {
            Watch::EtcdClient(stream) => {
                let message = stream.message().await?.context("the stream ended")?;
                ensure!(!message.canceled(), "canceled: {}", message.cancel_reason());
                Ok(message.events().len())
            }
            Watch::Lean(watch) => watch.events().await,
        }
    }
}

/// A lease and the stream that keeps it alive.
pub enum Lease {
    /// The usual client's.
    EtcdClient(LeaseKeeper, LeaseKeepAliveStream),
    /// That of the one that takes little.
    Lean(lean::Lease),
}

impl Lease {
    /// Keeps it alive once.
    ///
    /// # Errors
    /// If the answer is an error, or the lease is gone.
    pub async fn keep_alive(&mut self) -> Result<()> {
        let seconds = match self {
            Lease::EtcdClient(keeper, answers) => {
                keeper.keep_alive().await?;
                answers.message().await?.context("the stream ended")?.ttl()
            }
            Lease::Lean(lease) => lease.keep_alive().await?,
        };
        ensure!(seconds > 0, "the lease is gone");
        Ok(())
    }
}
