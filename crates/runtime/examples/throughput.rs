//! How fast a cluster is without gRPC: three nodes in one process, clients that propose one
//! command after another. `load [clients] [seconds] [command bytes] [directory] [segment MiB]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_runtime::{Handle, LogId, Malformed, NodeConfig, NodeId, ReadLevel, StateMachine};

/// Counts bytes, keeps nothing: what is left is the cost of everything around it.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
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
            .map_err(|_| Malformed("no sum".into()))?;
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

fn argument(place: usize, default: u64) -> u64 {
    let given = std::env::args().nth(place);
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn client(node: Handle<Sum>, command: Bytes, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let begin = Instant::now();
        match node.propose(command.clone()).await {
            Ok(_) => times.push(begin.elapsed()),
            Err(error) => eprintln!("{error}"),
        }
    }
    times
}

async fn start(data: &Path) -> Result<Vec<Handle<Sum>>, Box<dyn std::error::Error>> {
    let address = |id: u64| format!("127.0.0.1:{}", 7480 + id);
    let members: BTreeMap<_, _> = (1..=3).map(|id| (NodeId(id), address(id))).collect();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut config = NodeConfig::new(1, NodeId(id), data.join(format!("node{id}")));
        config.members = members.clone();
        config.listen_peer = vec![address(id).parse()?];
        config.segment_bytes = argument(5, 64) << 20;
        nodes.push(Handle::<Sum>::start(config).await?);
    }
    Ok(nodes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (clients, seconds, bytes) = (argument(1, 64), argument(2, 3), argument(3, 256));
    let root = std::env::args()
        .nth(4)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let data = root.join(format!("headwater-load-{}", std::process::id()));
    let nodes = start(&data).await?;
    while nodes.iter().any(|node| node.status().leader.is_none()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = nodes[0].status().leader.expect("waited for it");
    let leader = &nodes[id.0 as usize - 1];
    let before = leader.status();
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            tokio::spawn(client(
                leader.clone(),
                vec![7; bytes as usize].into(),
                until,
            ))
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await?);
    }
    let elapsed = begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    println!(
        "{clients} clients: {:.0}/s, p50 {} us, p99 {} us",
        times.len() as f64 / elapsed,
        at(0.5),
        at(0.99)
    );
    let after = leader.status();
    let more = |name: &str| (after.counters[name] - before.counters[name]) as f64;
    let (now, then) = (&after.times["syncs"], &before.times["syncs"]);
    let syncs = (now.count - then.count) as f64;
    println!(
        "leader: {:.1} proposals a sync, sync {:.0} us, {:.2} turns a proposal, {:.0} log bytes",
        more("proposals") / syncs,
        (now.sum_ns - then.sum_ns) as f64 / syncs / 1e3,
        more("turns") / more("proposals"),
        more("log_bytes") / more("proposals"),
    );
    let begin = Instant::now();
    let reads = 2000;
    for _ in 0..reads {
        nodes[id.0 as usize % 3]
            .query((), ReadLevel::Linearizable)
            .await?;
    }
    println!(
        "one linearizable read at a follower: {:?}",
        begin.elapsed() / reads
    );
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(std::fs::remove_dir_all(&data)?)
}
