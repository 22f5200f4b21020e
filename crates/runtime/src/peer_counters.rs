//! What is counted of each peer, for metrics. Never read by any decision.
//!
//! # Source
//! etcd's metrics of its network, which tell peers apart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use headwater_raft::NodeId;

use crate::counters::Counter;

/// What is counted of one peer.
#[derive(Default, Debug)]
pub struct PeerCounters {
    /// Bytes handed to its connections.
    pub sent_bytes: Counter,
    /// Bytes that came in from it.
    pub received_bytes: Counter,
    /// What it was to be sent and was not, and attempts to connect to it that failed.
    pub failures: Counter,
    /// Connections to it that came up.
    pub ups: Counter,
    /// Connections to it that went down.
    pub downs: Counter,
    /// Snapshots that went to it whole, and that it says it holds.
    pub snapshots_sent: Counter,
    /// Snapshots of it that were loaded.
    pub snapshots_received: Counter,
    /// Snapshots of it that were not what they should be.
    pub snapshots_refused: Counter,
}

/// The same at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PeerCounts {
    /// Bytes handed to its connections.
    pub sent_bytes: u64,
    /// Bytes that came in from it.
    pub received_bytes: u64,
    /// What it was to be sent and was not, and attempts to connect to it that failed.
    pub failures: u64,
    /// Connections to it that went down.
    pub downs: u64,
    /// Whether there is a connection.
    pub is_linked: bool,
    /// Snapshots that went to it whole, and that it says it holds.
    pub snapshots_sent: u64,
    /// Snapshots of it that were loaded.
    pub snapshots_received: u64,
    /// Snapshots of it that were not what they should be.
    pub snapshots_refused: u64,
}

impl PeerCounters {
    fn now(&self) -> PeerCounts {
        // What went down had come up before: read the other way round, the two would lie.
        let downs = self.downs.value();
        PeerCounts {
            sent_bytes: self.sent_bytes.value(),
            received_bytes: self.received_bytes.value(),
            failures: self.failures.value(),
            downs,
            is_linked: self.ups.value() > downs,
            snapshots_sent: self.snapshots_sent.value(),
            snapshots_received: self.snapshots_received.value(),
            snapshots_refused: self.snapshots_refused.value(),
        }
    }
}

/// Every peer that there ever was; each is looked up once for each connection.
#[derive(Default, Debug)]
pub struct Peers(Mutex<BTreeMap<NodeId, Arc<PeerCounters>>>);

impl Peers {
    /// The counters of one.
    pub fn of(&self, peer: NodeId) -> Arc<PeerCounters> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.entry(peer).or_default().clone()
    }

    /// All of them now.
    pub fn now(&self) -> BTreeMap<NodeId, PeerCounts> {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = |(peer, counters): (&NodeId, &Arc<PeerCounters>)| (*peer, counters.now());
        peers.iter().map(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_counted_for_itself() {
        let peers = Peers::default();
        peers.of(NodeId(1)).sent_bytes.add(3);
        peers.of(NodeId(2)).sent_bytes.add(5);
        peers.of(NodeId(1)).sent_bytes.add(1);
        peers.of(NodeId(2)).ups.add(1);
        let now = peers.now();
        let sent = |peer| now[&NodeId(peer)].sent_bytes;
        assert_eq!((sent(1), sent(2), now.len()), (4, 5, 2));
        assert!(!now[&NodeId(1)].is_linked && now[&NodeId(2)].is_linked);
    }
}
