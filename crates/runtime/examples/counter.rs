#![doc = "A replicated counter: three nodes in one process, proposals, and a read that sees them."]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use headwater_runtime::{Handle, LogId, Malformed, NodeConfig, NodeId, ReadLevel, StateMachine};

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Reply = u64;
    type Query = ();
    type Answer = u64;
    type Walk = Option<u64>;

    fn apply(&mut self, _at: LogId, command: &Bytes) -> u64 {
        self.0 += command.len() as u64;
        self.0
    }
    fn query(&self, (): ()) -> u64 {
        self.0
    }
    fn begin_snapshot(&mut self) -> Option<u64> {
        Some(self.0)
    }
    fn next_chunk(&mut self, walk: &mut Option<u64>, _max_bytes: usize) -> Option<Bytes> {
        walk.take()
            .map(|n| Bytes::copy_from_slice(&n.to_le_bytes()))
    }
    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        let bytes = chunk[..]
            .try_into()
            .map_err(|_| Malformed("not a counter".into()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }
    fn size_bytes(&self) -> u64 {
        8
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::temp_dir().join(format!("counter-{}", std::process::id()));
    let address = |id: u64| format!("127.0.0.1:{}", 7380 + id);
    let members: BTreeMap<_, _> = (1..=3).map(|id| (NodeId(id), address(id))).collect();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut config = NodeConfig::new(0xc0ffee, NodeId(id), data.join(format!("node{id}")));
        config.members = members.clone();
        config.listen_peer = vec![address(id).parse()?];
        nodes.push(Handle::<Counter>::start(config).await?);
    }
    while nodes.iter().any(|node| node.status().leader.is_none()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Any node takes proposals; each forwards to the leader.
    for node in &nodes {
        let applied = node.propose(Bytes::from_static(b"three")).await?;
        println!("entry {} made the counter {}", applied.at, applied.reply);
    }
    println!(
        "read: {}",
        nodes[2].query((), ReadLevel::Linearizable).await?
    );
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(std::fs::remove_dir_all(&data)?)
}
