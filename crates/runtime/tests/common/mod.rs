//! A state machine that remembers every command, and clusters of it on this machine.
#![allow(dead_code)] // Each test program uses its part.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_runtime::{
    Handle, LogId, Malformed, NodeConfig, NodeId, ReadLevel, StartError, StateMachine, StopReason,
};
use tempfile::TempDir;

#[path = "../../../../tests/etcd/src/port.rs"]
mod port;

pub use port::Port;

/// Far more than any step takes, so that a failure is a failure and not a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Of a command longer than this only the beginning is remembered, so that the state can stay
/// smaller than the log: a snapshot is due only then.
const REMEMBERED_BYTES: usize = 32;

/// All commands applied, in order, or what begins them.
#[derive(Default)]
pub struct Journal(Vec<Bytes>);

impl StateMachine for Journal {
    /// How many commands there are with this one.
    type Reply = u64;
    type Query = ();
    type Answer = Vec<Bytes>;
    type Walk = (usize, Vec<Bytes>);

    fn apply(&mut self, _at: LogId, command: &Bytes) -> u64 {
        self.0.push(Bytes::copy_from_slice(
            &command[..command.len().min(REMEMBERED_BYTES)],
        ));
        self.0.len() as u64
    }

    fn query(&self, (): ()) -> Vec<Bytes> {
        self.0.clone()
    }

    fn begin_snapshot(&mut self) -> Self::Walk {
        (0, self.0.clone())
    }

    fn next_chunk(&mut self, walk: &mut Self::Walk, max_bytes: usize) -> Option<Bytes> {
        let mut chunk = Vec::new();
        while walk.0 < walk.1.len() && chunk.len() < max_bytes {
            let command = &walk.1[walk.0];
            chunk.extend_from_slice(&(command.len() as u32).to_le_bytes());
            chunk.extend_from_slice(command);
            walk.0 += 1;
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }

    fn load_chunk(&mut self, mut chunk: Bytes) -> Result<(), Malformed> {
        while chunk.len() >= 4 {
            let head = chunk.split_to(4);
            let len = u32::from_le_bytes(head[..].try_into().expect("four bytes")) as usize;
            if len > chunk.len() {
                return Err(Malformed("a command is cut off".into()));
            }
            self.0.push(chunk.split_to(len));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        Err(Malformed("bytes left over".into()))
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.0.iter().map(|command| command.len() as u64 + 4).sum()
    }
}

/// A port that is free, and the caller's as long as it is held.
pub fn free_port() -> Port {
    Port::reserve().expect("a port is free")
}

/// Where that port is.
pub fn address(port: &Port) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number).into()
}

/// Nodes 1 to n with their data directories; some run, some do not.
pub struct Cluster {
    pub directory: TempDir,
    pub members: BTreeMap<NodeId, SocketAddr>,
    pub nodes: BTreeMap<NodeId, Handle<Journal>>,
    pub change: fn(&mut NodeConfig),
    /// Theirs, whether they run or not.
    ports: Vec<Port>,
}

impl Cluster {
    /// A cluster of `n` nodes, none of them started; `change` adjusts their configurations.
    pub fn new(n: u64, change: fn(&mut NodeConfig)) -> Self {
        let ports: Vec<_> = (1..=n).map(|_| free_port()).collect();
        let members = (1..).map(NodeId).zip(ports.iter().map(address)).collect();
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            members,
            ports,
            nodes: BTreeMap::new(),
            change,
        }
    }

    /// A cluster of `n` nodes that runs and has a leader.
    pub async fn started(n: u64, change: fn(&mut NodeConfig)) -> Self {
        let mut cluster = Self::new(n, change);
        for id in 1..=n {
            cluster.start(id).await;
        }
        cluster.leader().await;
        cluster
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("node{id}"))
    }

    pub fn config(&self, id: u64) -> NodeConfig {
        let mut config = NodeConfig::new(0xc1, NodeId(id), self.data_dir(id));
        config.members = self
            .members
            .iter()
            .map(|(&id, address)| (id, address.to_string()))
            .collect();
        config.listen_peer = vec![self.members[&NodeId(id)]];
        config.heartbeat = Duration::from_millis(50);
        config.election = Duration::from_millis(500);
        config.segment_bytes = 1 << 20;
        (self.change)(&mut config);
        config
    }

    pub async fn try_start(&mut self, id: u64) -> Result<(), StartError> {
        let node = Handle::start(self.config(id)).await?;
        self.nodes.insert(NodeId(id), node);
        Ok(())
    }

    pub async fn start(&mut self, id: u64) {
        self.try_start(id).await.expect("started");
    }

    /// Starts one more node, which is no member yet, and tells the others where it listens.
    pub async fn join(&mut self) -> NodeId {
        let id = NodeId(self.members.len() as u64 + 1);
        let port = free_port();
        let address = address(&port);
        self.ports.push(port);
        self.members.insert(id, address);
        for node in self.nodes.values() {
            node.set_peer_address(id, address.to_string());
        }
        let mut config = self.config(id.0);
        config.joins = true;
        let node = Handle::start(config).await.expect("started");
        self.nodes.insert(id, node);
        id
    }

    /// A node that is stopped loses its data directory.
    pub fn wipe(&self, id: u64) {
        std::fs::remove_dir_all(self.data_dir(id)).expect("it was there");
    }

    /// A copy of the data directory of a node that is stopped.
    pub fn image(&self, id: u64) -> PathBuf {
        let image = self.directory.path().join(format!("image{id}"));
        copy_all(&self.data_dir(id), &image);
        image
    }

    /// A node that is stopped gets back what it had when the image was made.
    pub fn set_back(&self, id: u64, image: &Path) {
        self.wipe(id);
        copy_all(image, &self.data_dir(id));
    }

    pub async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&NodeId(id)).expect("it runs");
        node.shutdown().await;
    }

    pub async fn stop_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.stop(id.0).await;
        }
    }

    pub fn node(&self, id: u64) -> &Handle<Journal> {
        &self.nodes[&NodeId(id)]
    }

    /// The leader, once all running nodes agree on one of them.
    pub async fn leader(&self) -> u64 {
        let mut leader = None;
        until("all agree on a leader that runs", || {
            let mut named = self.nodes.values().map(|node| node.status().leader);
            leader = named.next().flatten();
            leader.is_some_and(|id| self.nodes.contains_key(&id)) && named.all(|l| l == leader)
        })
        .await;
        leader.expect("waited for it").0
    }

    /// A running node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        let mut ids = self.nodes.keys().map(|id| id.0);
        ids.find(|&id| id != leader).expect("several nodes run")
    }

    /// What node `id` says all commands are.
    pub async fn journal(&self, id: u64, level: ReadLevel) -> Vec<Bytes> {
        let asked = Instant::now();
        loop {
            match self.node(id).query((), level).await {
                Ok(journal) => return journal,
                Err(e) => assert!(
                    asked.elapsed() < PATIENCE,
                    "no answer: {e}: {}",
                    self.statuses()
                ),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How all running nodes are, for a failure's text.
    fn statuses(&self) -> String {
        let statuses = self.nodes.values().map(Handle::status);
        format!("{:#?}", statuses.collect::<Vec<_>>())
    }

    /// Waits until all running nodes have applied the same commands, and returns them.
    pub async fn settled(&self) -> Vec<Bytes> {
        let first = self.nodes.keys().next().expect("a node runs").0;
        let expected = self.journal(first, ReadLevel::Linearizable).await;
        for id in self.nodes.keys() {
            let asked = Instant::now();
            while self.journal(id.0, ReadLevel::Local).await != expected {
                assert!(
                    asked.elapsed() < PATIENCE,
                    "node {id} differs: {}",
                    self.statuses()
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        expected
    }
}

/// Why a node has stopped, once it has.
pub async fn ended(node: &Handle<Journal>) -> StopReason {
    let stopped = tokio::time::timeout(PATIENCE, node.stopped()).await;
    stopped.unwrap_or_else(|_| panic!("it goes on: {:?}", node.status()))
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            std::fs::copy(from, to).expect("copied");
        }
    }
}

/// Waits until `what` holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
