//! Three nodes of which no memory holds more of the log than it must: whoever is far behind is served
//! from a disk, by entries, and nobody else waits for that.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_raft::{Config, Index, Instant, NodeId};
use headwater_replica::interface::{Input, Options, Output, RequestId};
use headwater_replica::recovery::{Expect, open};
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::wal::{Wal, WalOptions};
use headwater_sim::disk::SimDisk;
use wal_common::{CLUSTER, Ledger};

const MS: u64 = 1_000_000;

struct Node {
    id: NodeId,
    replica: Replica<Ledger>,
    wal: Wal,
    store: SnapshotStore,
    disk: SimDisk,
    inbox: Vec<Input<Ledger>>,
    /// Entries read back, and damage met.
    read_back: usize,
    damaged: usize,
    /// Snapshots begun and pieces of them read for others.
    begun: usize,
    pieces: usize,
}

impl Node {
    fn start(id: NodeId, now: Instant, mut disk: SimDisk, options: &Options) -> Self {
        let expect = Expect {
            cluster: CLUSTER,
            node: id,
            fresh_incarnation: u128::from(id.0 + now.0),
            first_config: Config::of_voters((1..=3).map(NodeId)),
        };
        let segments = WalOptions {
            segment_bytes: 16 << 10,
            spare_bytes: 0,
        };
        let (found, wal, store) = open::<Ledger>(&mut disk, &segments, expect).unwrap();
        let mut options = options.clone();
        (options.core.seed, options.core.life) = (id.0, now.0);
        Self {
            id,
            replica: Replica::new(now, options, found).unwrap(),
            wal,
            store,
            disk,
            inbox: Vec::new(),
            read_back: 0,
            damaged: 0,
            begun: 0,
            pieces: 0,
        }
    }

    /// One turn, with all that it orders of the disk; the frames that leave.
    fn turn(&mut self, now: Instant) -> Vec<(NodeId, Input<Ledger>)> {
        let mut out = Vec::new();
        for input in self.inbox.drain(..) {
            self.replica.step(now, input, &mut out);
        }
        self.replica.end_turn(now, &mut out);
        let (mut frames, mut orders) = (Vec::new(), Vec::new());
        for output in out {
            match output {
                Output::Frame { to, frame, .. } => {
                    let from = self.id;
                    frames.push((to, Input::Frame { from, frame }));
                }
                Output::Log(order) => orders.push(order),
                Output::File(order) => self.obey(order),
                Output::Halt(why) => panic!("{why}"),
                _ => {}
            }
        }
        if let Some(upto) = self.wal.run(&mut self.disk, &orders).unwrap() {
            self.inbox.push(Input::LogDone { upto });
        }
        frames
    }

    fn obey(&mut self, order: FileOrder) {
        self.begun += usize::from(matches!(order, FileOrder::Begin(_)));
        self.pieces += usize::from(matches!(order, FileOrder::Read { .. }));
        let done = self.store.run(&mut self.disk, order).unwrap();
        if let Some(FileDone::LogRead {
            entries, damage, ..
        }) = &done
        {
            self.read_back += entries.len();
            self.damaged += usize::from(damage.is_some());
        }
        self.inbox.extend(done.map(Input::FileDone));
    }

    fn applied(&self) -> u64 {
        self.replica.status().applied.0
    }
}

struct Cluster {
    now: Instant,
    options: Options,
    nodes: Vec<Node>,
    /// Who hears nobody and is not heard.
    away: Option<usize>,
    proposed: u64,
}

impl Cluster {
    /// Node 1 leads, and node 3 is away.
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            log_memory_bytes: 1000,
            message_bytes_max: 500,
            window_bytes_max: 1500,
            ..Options::default()
        };
        change(&mut options);
        let now = Instant(MS);
        let start = |id| Node::start(NodeId(id), now, SimDisk::new(), &options);
        let mut cluster = Self {
            now,
            nodes: (1..=3).map(start).collect(),
            options,
            away: None,
            proposed: 0,
        };
        cluster.link(0, true);
        cluster.link(1, true);
        cluster.away = Some(2);
        cluster.link(2, false);
        // Nobody else is asked for the time before it has won.
        cluster.now = cluster.nodes[0].replica.next_deadline();
        let frames = cluster.nodes[0].turn(cluster.now);
        cluster.deliver(0, frames);
        cluster.settle();
        assert_eq!(cluster.nodes[0].replica.status().role, "leader");
        cluster
    }

    /// A node's connections come up or go down.
    fn link(&mut self, at: usize, up: bool) {
        for other in (0..3).filter(|&other| other != at) {
            let [one, two] = [at, other].map(|at| NodeId(at as u64 + 1));
            self.nodes[at].inbox.push(Input::Link { peer: two, up });
            self.nodes[other].inbox.push(Input::Link { peer: one, up });
        }
    }

    fn deliver(&mut self, from: usize, frames: Vec<(NodeId, Input<Ledger>)>) {
        for (to, input) in frames {
            let to = to.0 as usize - 1;
            if self.away != Some(from) && self.away != Some(to) {
                self.nodes[to].inbox.push(input);
            }
        }
    }

    /// Turns until nobody has anything to do, without any time.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(at) = (0..3).find(|&at| !self.nodes[at].inbox.is_empty()) else {
                return;
            };
            let frames = self.nodes[at].turn(self.now);
            self.deliver(at, frames);
        }
        panic!("it never rests");
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now = self.now.after(10 * MS);
            for at in 0..3 {
                let frames = self.nodes[at].turn(self.now);
                self.deliver(at, frames);
                self.settle();
            }
        }
    }

    fn commit(&mut self, count: u64) {
        for _ in 0..count {
            self.proposed += 1;
            let command = format!("command {:060}", self.proposed);
            self.nodes[0].inbox.push(Input::Propose {
                request: RequestId(self.proposed),
                command: command.into(),
            });
            self.settle();
        }
        assert!(self.nodes[0].replica.machine().sums.len() as u64 >= self.proposed);
    }

    fn rejoin(&mut self) {
        self.away = None;
        self.link(2, true);
        self.settle();
        self.wait(500);
    }

    fn assert_agree(&self) {
        let [one, two, three] = [0, 1, 2].map(|at| &self.nodes[at]);
        assert!(one.applied() >= self.proposed);
        assert_eq!(one.applied(), three.applied(), "node 3 is behind");
        assert_eq!(one.replica.machine().sums, two.replica.machine().sums);
        assert_eq!(one.replica.machine().sums, three.replica.machine().sums);
    }

    /// Damages the body of a command on a disk.
    fn rot(&mut self, at: usize, number: u64) {
        let body = format!("command {number:060}").into_bytes();
        let disk = &mut self.nodes[at].disk;
        let is_it = |bytes: &Vec<u8>| bytes.windows(body.len()).position(|part| part == body);
        let found = disk.contents().into_iter();
        let (name, place) = found
            .filter(|(name, _)| name.starts_with("wal/"))
            .find_map(|(name, bytes)| Some((name, is_it(&bytes)?)))
            .expect("it is in the log");
        disk.flip_bit(&name, place as u64 + 30, 1);
    }
}

#[test]
fn a_follower_far_behind_what_is_in_memory_catches_up_by_entries() {
    let mut cluster = Cluster::new(|_| ());
    cluster.commit(400);
    assert_eq!(cluster.nodes[0].read_back, 0, "node 2 keeps up");
    cluster.rejoin();
    cluster.assert_agree();
    let leader = &cluster.nodes[0];
    // Nothing is read twice, nor before it is known what is lacking.
    let left_memory = 385..=400;
    assert!(
        left_memory.contains(&leader.read_back),
        "{} read back",
        leader.read_back
    );
    assert_eq!((leader.begun, leader.pieces, leader.damaged), (0, 0, 0));
}

#[test]
fn a_follower_catches_up_while_the_log_grows_and_is_restarted() {
    let mut cluster = Cluster::new(|options| options.log_memory_bytes = 0);
    cluster.commit(200);
    let disk = std::mem::take(&mut cluster.nodes[0].disk);
    let now = cluster.now;
    cluster.nodes[0] = Node::start(NodeId(1), now, disk, &cluster.options);
    cluster.link(0, false);
    cluster.link(0, true);
    cluster.rejoin();
    cluster.wait(3000);
    let leads = |node: &Node| node.replica.status().role == "leader";
    let leader = cluster.nodes.iter().position(leads).expect("a leader");
    for number in 201..=260 {
        cluster.nodes[leader].inbox.push(Input::Propose {
            request: RequestId(number),
            command: format!("command {number:060}").into(),
        });
        cluster.settle();
    }
    cluster.proposed = 260;
    cluster.wait(500);
    cluster.assert_agree();
    assert!(cluster.nodes[leader].read_back >= 200);
}

#[test]
fn what_cannot_be_read_back_is_sent_in_a_snapshot() {
    let mut cluster = Cluster::new(|options| options.snapshot_write_bytes_per_second = 0);
    cluster.commit(300);
    cluster.rot(0, 100);
    cluster.rejoin();
    cluster.assert_agree();
    let leader = &cluster.nodes[0];
    // It is met once, not again and again.
    assert_eq!((leader.damaged, leader.begun), (1, 1));
    assert!(leader.pieces > 0);
    assert!(cluster.nodes[2].replica.raft().base().index >= Index(300));
}

/// What is written behind a place that cannot be read may not be readable either.
#[test]
fn once_something_could_not_be_read_back_the_log_stays_in_memory() {
    let mut cluster = Cluster::new(|options| {
        options.snapshot_write_bytes_per_second = 0;
        options.log_memory_bytes = 0;
    });
    cluster.commit(300);
    cluster.rot(0, 100);
    cluster.rejoin();
    let before = cluster.nodes[0].read_back;
    cluster.away = Some(2);
    cluster.link(2, false);
    cluster.settle();
    cluster.commit(100);
    cluster.rejoin();
    cluster.assert_agree();
    let leader = &cluster.nodes[0];
    assert_eq!(leader.read_back, before, "it was in memory");
    assert_eq!((leader.damaged, leader.begun), (1, 1));
}

#[test]
fn what_another_cannot_read_is_told_from_the_disk() {
    let mut cluster = Cluster::new(|_| ());
    // All three have it, and then node 1 falls silent.
    cluster.rejoin();
    cluster.commit(300);
    cluster.wait(100);
    cluster.away = Some(0);
    cluster.link(0, false);
    cluster.settle();
    cluster.rot(1, 100);
    let disk = std::mem::take(&mut cluster.nodes[1].disk);
    let now = cluster.now;
    cluster.nodes[1] = Node::start(NodeId(2), now, disk, &cluster.options);
    assert_eq!(cluster.nodes[1].replica.status().unreadable, 1);
    cluster.link(1, false);
    cluster.link(1, true);
    cluster.wait(10);
    let [two, three] = [1, 2].map(|at| &cluster.nodes[at]);
    assert_eq!(three.replica.status().role, "follower");
    assert_eq!(
        (
            two.replica.status().unreadable,
            two.replica.status().repaired
        ),
        (0, 1)
    );
    assert_eq!(three.read_back, 1);
}
