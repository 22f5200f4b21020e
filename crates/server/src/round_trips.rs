//! How long the way to another member and back takes: each second every other member is asked whether
//! it is there.
//! Never decides anything by it.
//!
//! What is timed goes through both loops, so that a member whose loop is held up shows like one that
//! is far away.
//!
//! # Source
//! etcd's round trip times of peers; docs/wire.md, "What servers say to each other".

use std::collections::BTreeMap;

use headwater_kv::Store;
use headwater_runtime::{Instant, NodeId, Stage};

use crate::leases::{encode_ping, encode_pong};
use crate::metrics_text::Histogram;

/// How often it is asked, in nanoseconds.
const EVERY_NS: u64 = 1_000_000_000;

/// After so long, in nanoseconds, a question or its answer is taken for lost.
const LOST_NS: u64 = 5_000_000_000;

/// Upper bounds of the buckets in seconds, doubling; etcd's.
const BOUNDS: [f64; 16] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768,
];

/// The times of one member.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Times {
    /// By bucket, the last of them above all bounds.
    counts: [u64; BOUNDS.len() + 1],
    sum_ns: u64,
}

impl Times {
    fn observe(&mut self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        self.counts[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        self.sum_ns += ns;
    }

    /// For a page.
    pub fn histogram(&self) -> Histogram {
        Histogram::of_ns(&BOUNDS, &self.counts, self.sum_ns)
    }
}

/// All members asked, and what came of it.
#[derive(Debug)]
pub struct RoundTrips {
    ask_at: Instant,
    number: u64,
    /// When who was asked last, and under which number.
    asked: BTreeMap<NodeId, (u64, Instant)>,
    /// Who asked or answered in this turn, and under which number.
    heard: Vec<(NodeId, u64, Heard)>,
    times: BTreeMap<NodeId, Times>,
}

/// What another member said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Asks,
    Answers,
}

impl RoundTrips {
    /// Nobody asked yet. Numbers begin at one of this life's own.
    pub fn new(number: u64) -> Self {
        Self {
            ask_at: Instant(0),
            number,
            asked: BTreeMap::new(),
            heard: Vec::new(),
            times: BTreeMap::new(),
        }
    }

    /// The times so far.
    pub fn times(&self) -> Vec<(NodeId, Times)> {
        self.times
            .iter()
            .map(|(&peer, &times)| (peer, times))
            .collect()
    }

    /// Another member asks whether this one is there.
    pub fn on_question(&mut self, from: NodeId, number: u64) {
        self.heard.push((from, number, Heard::Asks));
    }

    /// Another member says that it is there.
    pub fn on_answer(&mut self, from: NodeId, number: u64) {
        self.heard.push((from, number, Heard::Answers));
    }

    /// A turn has ended.
    pub fn after_turn(&mut self, stage: &Stage<'_, Store>) {
        let now = stage.now();
        for (from, number, heard) in std::mem::take(&mut self.heard) {
            match heard {
                Heard::Asks => stage.note(from, number, encode_pong()),
                Heard::Answers => self.take(now, from, number),
            }
        }
        if self.ask_at > now {
            return;
        }
        self.ask_at = now.after(EVERY_NS);
        let peers = stage.config().peers_of(stage.node());
        self.asked
            .retain(|peer, (_, at)| peers.contains(peer) && now.since(*at) < LOST_NS);
        self.times.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.times.entry(peer).or_default();
            if self.asked.contains_key(&peer) {
                continue;
            }
            self.number = self.number.wrapping_add(1);
            self.asked.insert(peer, (self.number, now));
            stage.note(peer, self.number, encode_ping());
        }
    }

    /// An answer to an older question than the last was taken for lost.
    fn take(&mut self, now: Instant, from: NodeId, number: u64) {
        if let Some(&(asked, at)) = self.asked.get(&from)
            && asked == number
        {
            self.asked.remove(&from);
            self.times.entry(from).or_default().observe(now.since(at));
        }
    }

    /// When it is asked next.
    pub fn next_deadline(&self) -> Instant {
        self.ask_at
    }
}
