//! The wire's decoder and the node behind it, fed with any frames. Disk, log and snapshot files
//! are real; only peers may say anything.
//!
//! # Source
//! docs/wire.md; rule R12.

use bytes::Bytes;
use headwater_raft::{Config, Instant, LogId, NodeId};
use headwater_replica::config_record::encode_config;
use headwater_replica::interface::{Input, Options, Output, RequestId};
use headwater_replica::record::encode_entries;
use headwater_replica::recovery::{Expect, open};
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::SnapshotStore;
use headwater_replica::wal::{Wal, WalOptions};
use headwater_replica::{Entry, EntryKind, LogOrder, message_of};
use headwater_sim::disk::SimDisk;

use crate::assert_sound;
use crate::draw::Draw;
use crate::memory::Limit;
use crate::wal_common::Ledger;

/// A node holds the pretend disk, above all.
const NODE: Limit = Limit {
    bytes: 1 << 20,
    bytes_per_byte: 1 << 10,
};
/// A frame decoded: an empty command takes four bytes on the wire and a handle here, in a list that
/// doubles as it grows.
const DECODED: Limit = Limit {
    bytes: 1 << 10,
    bytes_per_byte: 32,
};

/// Runs one input.
pub fn run(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    DECODED.hold(data.len(), || message_of(&frame));
    NODE.hold(data.len(), || walk(data));
}

fn walk(data: &[u8]) {
    let mut draw = Draw::new(data);
    let mut node = Node::start(&mut draw);
    while !draw.is_done() && !node.is_halted {
        node.event(&mut draw);
        assert_sound(node.replica.raft());
    }
}

struct Node {
    replica: Replica<Ledger>,
    disk: SimDisk,
    wal: Wal,
    store: SnapshotStore,
    now: Instant,
    requests: u64,
    /// Orders to the log that are not carried out yet.
    orders: Vec<LogOrder>,
    is_halted: bool,
}

impl Node {
    fn start(draw: &mut Draw<'_>) -> Self {
        let mut disk = SimDisk::new();
        let expect = Expect {
            cluster: 1,
            node: NodeId(1),
            fresh_incarnation: 7,
            first_config: Config::of_voters((1..=3).map(NodeId)),
        };
        let wal = WalOptions {
            segment_bytes: 16 << 10,
            spare_bytes: 0,
        };
        let (recovered, wal, store) = open(&mut disk, &wal, expect).expect("an empty directory");
        let now = Instant(1);
        let mut options = Options {
            uncommitted_bytes_max: 64 << 10,
            command_bytes_max: 1 << 10,
            message_bytes_max: 1 << 10,
            chunk_bytes: 64,
            log_memory_bytes: 0,
            ..Options::default()
        };
        if draw.coin() {
            // A snapshot is soon due, and the log is cut right behind it.
            (options.snapshot_log_bytes, options.log_keep_bytes) = (64, 0);
        }
        let replica = Replica::new(now, options, recovered).expect("a fresh node");
        let mut node = Self {
            replica,
            disk,
            wal,
            store,
            now,
            requests: 0,
            orders: Vec::new(),
            is_halted: false,
        };
        let link = |peer| Input::Link {
            peer: NodeId(peer),
            up: true,
        };
        node.turn(vec![link(2), link(3)]);
        node
    }

    fn event(&mut self, draw: &mut Draw<'_>) {
        let from = draw.node();
        let input = match draw.below(16) {
            0 => {
                self.now = self.now.max(self.replica.next_deadline());
                return self.turn(Vec::new());
            }
            1 => return self.write(),
            2 => self.propose(draw),
            3 => self.query(draw),
            4 => Input::Link {
                peer: from,
                up: draw.coin(),
            },
            5 | 6 => Input::Frame {
                from,
                frame: draw.bytes(255).into(),
            },
            7..=10 => Input::Frame {
                from,
                frame: append(draw),
            },
            _ => Input::Frame {
                from,
                frame: fields(draw),
            },
        };
        self.turn(vec![input]);
    }

    fn propose(&mut self, draw: &mut Draw<'_>) -> Input<Ledger> {
        self.requests += 1;
        Input::Propose {
            request: RequestId(self.requests),
            command: draw.bytes(64).into(),
        }
    }

    fn query(&mut self, draw: &mut Draw<'_>) -> Input<Ledger> {
        self.requests += 1;
        Input::Query {
            request: RequestId(self.requests),
            query: (),
            level: draw.coin().then(|| draw.level()),
        }
    }

    /// One turn, and what it orders of the snapshot worker, at once.
    fn turn(&mut self, inputs: Vec<Input<Ledger>>) {
        let mut inputs = inputs;
        // An answer of the worker may order the next piece of work.
        for _ in 0..1000 {
            let mut out = Vec::new();
            for input in inputs.drain(..) {
                self.replica.step(self.now, input, &mut out);
            }
            self.replica.end_turn(self.now, &mut out);
            for output in out {
                match output {
                    Output::Log(order) => self.orders.push(order),
                    Output::File(order) => {
                        let done = self.store.run(&mut self.disk, order).expect("a good disk");
                        inputs.extend(done.map(Input::FileDone));
                    }
                    Output::Halt(_) => self.is_halted = true,
                    _ => {}
                }
            }
            if inputs.is_empty() || self.is_halted {
                return;
            }
        }
        panic!("the snapshot worker never rests");
    }

    /// The log does what it was told so far.
    fn write(&mut self) {
        let orders = std::mem::take(&mut self.orders);
        let done = self.wal.run(&mut self.disk, &orders).expect("a good disk");
        if let Some(upto) = done {
            self.turn(vec![Input::LogDone { upto }]);
        }
    }
}

/// An append whose entries are whole: their checksums fit, whatever else does not.
fn append(draw: &mut Draw<'_>) -> Bytes {
    let mut frame = vec![3];
    let term = draw.number();
    let prev = draw.place();
    frame.extend(term.to_le_bytes());
    frame.extend(prev.term.0.to_le_bytes());
    frame.extend(prev.index.0.to_le_bytes());
    frame.extend(draw.number().to_le_bytes());
    let mut entries: Vec<Entry> = Vec::new();
    let mut last = prev;
    for _ in 0..draw.below(4) {
        last = LogId::new(
            headwater_raft::Term(last.term.0.saturating_add(draw.below(3))),
            headwater_raft::Index(last.index.0.saturating_add(1)),
        );
        let kind = [EntryKind::Command, EntryKind::Noop, EntryKind::Config];
        let kind = kind[draw.below(3) as usize];
        let mut body = draw.bytes(32);
        if kind == EntryKind::Config && draw.below(8) > 0 {
            body.clear();
            encode_config(&draw.config(), &mut body);
            if draw.below(4) == 0 {
                body.extend(draw.bytes(8));
            }
        }
        entries.push(Entry::new(last, kind, body.into()));
    }
    encode_entries(&entries, &mut frame);
    frame.into()
}

/// What stands in frames behind their kind and first number: flags and numbers, as docs/wire.md
/// draws them. `n` is a number, `b` a flag, `f` a byte of a few, a digit itself.
const SHAPES: [(u8, &str); 21] = [
    (1, "bbbnn"),
    (2, "bb"),
    (4, "1n"),
    (4, "2nnn"),
    (5, "nnnb"),
    (6, "nn0"),
    (7, "nn"),
    (8, "nb"),
    (9, "n0n"),
    (10, ""),
    (11, "nn"),
    (12, "nnnnb"),
    (13, "nn"),
    (14, "nn"),
    (15, "2nn"),
    (15, "3nn"),
    (16, "nnnn"),
    (17, "nn"),
    (18, ""),
    (19, "0nn"),
    (19, "f"),
];

/// A frame of a known shape, and now and then a byte too many.
fn fields(draw: &mut Draw<'_>) -> Bytes {
    let (kind, shape) = SHAPES[draw.below(SHAPES.len() as u64) as usize];
    let mut frame = vec![kind];
    frame.extend(draw.number().to_le_bytes());
    for letter in shape.bytes() {
        match letter {
            b'n' => frame.extend(draw.number().to_le_bytes()),
            b'b' => frame.push(draw.below(2) as u8),
            b'f' => frame.push(draw.below(6) as u8),
            digit => frame.push(digit - b'0'),
        }
    }
    if kind == 18 {
        let command = draw.bytes(64);
        frame.extend((command.len() as u32).to_le_bytes());
        frame.extend(command);
    }
    if kind == 16 || draw.below(16) == 0 {
        frame.extend(draw.bytes(128));
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_those_of_the_wire() {
        for (kind, shape) in SHAPES.iter().filter(|(kind, _)| *kind < 16) {
            let mut frame = vec![*kind, 1, 0, 0, 0, 0, 0, 0, 0];
            for letter in shape.bytes() {
                match letter {
                    b'n' => frame.extend(1_u64.to_le_bytes()),
                    b'b' => frame.push(1),
                    digit => frame.push(digit - b'0'),
                }
            }
            assert!(message_of(&frame.into()).is_some(), "kind {kind}: {shape}");
        }
        let append = append(&mut Draw::new(&[1, 1, 1, 0, 2, 1, 0, 3, 1, 2, 3]));
        assert!(message_of(&append).is_some());
    }
}
