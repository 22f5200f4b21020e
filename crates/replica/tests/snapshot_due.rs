//! When a snapshot is worth its cost.

use bytes::Bytes;
use headwater_raft::{Config, Instant, LogId, NodeId};
use headwater_replica::interface::{Input, Options, Output, RequestId};
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::scrub::Damage;
use headwater_replica::snapshot_file::{FileDone, FileOrder};
use headwater_replica::{Identity, LogOrder, Malformed, SnapshotMeta, StateMachine};

/// A state that only grows: every command stays in it for good.
#[derive(Default, Debug)]
struct Heap(u64);

impl StateMachine for Heap {
    type Reply = ();
    type Query = ();
    type Answer = u64;
    type Walk = bool;

    fn apply(&mut self, _at: LogId, command: &Bytes) {
        self.0 += command.len() as u64;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn begin_snapshot(&mut self) -> bool {
        false
    }

    fn next_chunk(&mut self, done: &mut bool, _max_bytes: usize) -> Option<Bytes> {
        let chunk = self.0.to_le_bytes().to_vec();
        (!core::mem::replace(done, true)).then(|| chunk.into())
    }

    fn load_chunk(&mut self, _chunk: Bytes) -> Result<(), Malformed> {
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.0
    }
}

fn cluster_of_one(options: Options) -> Replica<Heap> {
    let node = NodeId(1);
    let disk = Recovered::blank(
        Identity {
            cluster: 1,
            node,
            incarnation: 1,
        },
        Config::of_voters([node]),
    );
    Replica::new(Instant(0), options, disk).expect("an empty disk contradicts nothing")
}

/// Carries out everything at once until nothing is left to do; the snapshots taken.
fn settle(
    replica: &mut Replica<Heap>,
    now: Instant,
    mut out: Vec<Output<Heap>>,
) -> Vec<SnapshotMeta> {
    let (mut taken, mut writing) = (Vec::new(), None);
    while !out.is_empty() {
        for output in std::mem::take(&mut out) {
            let done = match output {
                Output::Log(LogOrder::Write(write)) => Input::LogDone { upto: write.id },
                Output::File(FileOrder::Begin(meta)) => {
                    writing = Some(meta);
                    continue;
                }
                Output::File(FileOrder::Chunk(_)) => Input::FileDone(FileDone::Wrote),
                Output::File(FileOrder::Finish) => {
                    let meta = writing.take().expect("begun");
                    taken.push(meta.clone());
                    Input::FileDone(FileDone::Taken(meta))
                }
                _ => continue,
            };
            replica.step(now, done, &mut out);
        }
        replica.end_turn(now, &mut out);
    }
    taken
}

/// The only node of a cluster, elected; and when that is.
fn leader(options: Options) -> (Replica<Heap>, Instant) {
    let now = Instant(2 * options.core.election_ns);
    let mut replica = cluster_of_one(options);
    let mut out = Vec::new();
    replica.end_turn(now, &mut out);
    settle(&mut replica, now, out);
    (replica, now)
}

#[test]
fn a_state_that_only_grows_is_snapshot_each_time_it_doubles() {
    let options = Options {
        snapshot_log_bytes: 10_000,
        // Time stands still here.
        snapshot_write_bytes_per_second: 0,
        ..Options::default()
    };
    let (mut replica, now) = leader(options);
    let mut sizes = Vec::new();
    for request in 0..1000 {
        let mut out = Vec::new();
        let command = Bytes::from(vec![0; 1000]);
        let request = RequestId(request);
        replica.step(now, Input::Propose { request, command }, &mut out);
        replica.end_turn(now, &mut out);
        let taken = settle(&mut replica, now, out);
        sizes.extend(taken.iter().map(|_| replica.machine().0));
    }
    // 10 kB, then 20, 40, … up to the last below 1 MB: a bounded number, and a bounded log.
    assert!((6..=8).contains(&sizes.len()), "{sizes:?}");
    let doubled = sizes.windows(2).all(|pair| pair[1] <= 2 * pair[0] + 2_000);
    assert!(doubled, "{sizes:?}");
}

/// Scrubbing finds damage in a file.
fn damage(file: &str) -> Input<Heap> {
    Input::FileDone(FileDone::Damaged(Damage {
        file: file.into(),
        offset: 4096,
        what: "the body of an entry fails its check".into(),
    }))
}

/// A segment may hold damaged entries and later ones that nobody has committed yet: it stays, and is
/// found damaged in each round. Followers that are being sent the snapshot must get it all the same.
#[test]
fn damage_to_the_log_that_a_snapshot_covers_already_takes_no_other() {
    let options = Options {
        snapshot_write_bytes_per_second: 0,
        ..Options::default()
    };
    let (mut replica, now) = leader(options);
    let mut find = |file| {
        let mut out = Vec::new();
        replica.step(now, damage(file), &mut out);
        replica.end_turn(now, &mut out);
        let released = |output: &Output<Heap>| match output {
            Output::Log(LogOrder::Release { upto }) => Some(upto.0),
            _ => None,
        };
        let at_once: Vec<u64> = out.iter().filter_map(released).collect();
        (settle(&mut replica, now, out).len(), at_once)
    };
    let (log, snapshot) = ("wal/0000000000000001.wal", "snap/1-1.snap");
    assert_eq!(find(log), (1, vec![]), "nothing covers the log yet");
    assert_eq!(find(log), (0, vec![2]), "the snapshot is there already");
    assert_eq!(find(snapshot), (1, vec![]), "another one takes its place");
}
