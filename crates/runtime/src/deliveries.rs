//! Snapshots on their way between nodes, as an onlooker sees them: how many came and went whole.
//! Never takes part: what it misses is not counted, and nothing else comes of it.
//!
//! # Source
//! etcd's metrics of its network; docs/wire.md, pieces of a snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use headwater_raft::{LogId, NodeId};
use headwater_replica::snapshot_file::FileDone;
use headwater_replica::{Parcel, is_piece, parcel_of};

use crate::peer_counters::Peers;

/// What is on its way.
#[derive(Default, Debug)]
struct Ways {
    /// To whom, which, and whether its last piece has gone out.
    sent: BTreeMap<NodeId, (LogId, bool)>,
    /// From whom, and which.
    received: Option<(NodeId, LogId)>,
}

/// Snapshots between this node and its peers.
#[derive(Default, Debug)]
pub struct Deliveries {
    ways: Mutex<Ways>,
    /// Whether any is being sent: otherwise what a peer says that it holds, which is most of what it
    /// says, is not looked at.
    is_sending: AtomicBool,
}

impl Deliveries {
    /// A frame goes out to a peer.
    pub fn on_sent(&self, to: NodeId, frame: &Bytes) {
        let Some(Parcel::Piece {
            base,
            is_first,
            is_last,
        }) = parcel_of(frame)
        else {
            return;
        };
        let mut ways = self.ways();
        if is_first {
            ways.sent.insert(to, (base, false));
            // It is seen by whoever reads the answer: that comes by way of the peer.
            self.is_sending.store(true, Ordering::Relaxed);
        }
        if let Some((of, is_whole)) = ways.sent.get_mut(&to) {
            *is_whole |= is_last && *of == base;
        }
    }

    /// A frame has come in from one of the peers.
    pub fn on_frame(&self, peers: &Peers, from: NodeId, frame: &Bytes) {
        if !is_piece(frame) && !self.is_sending.load(Ordering::Relaxed) {
            return;
        }
        match parcel_of(frame) {
            None => {}
            Some(Parcel::Piece { base, .. }) => self.ways().received = Some((from, base)),
            Some(Parcel::Held(upto)) => {
                let mut ways = self.ways();
                let sent = ways.sent.get(&from);
                let is_held = sent.is_some_and(|(base, is_whole)| *is_whole && base.index <= upto);
                if is_held {
                    ways.sent.remove(&from);
                    self.is_sending
                        .store(!ways.sent.is_empty(), Ordering::Relaxed);
                }
                drop(ways);
                if is_held {
                    peers.of(from).snapshots_sent.add(1);
                }
            }
        }
    }

    /// The snapshots' thread has done something.
    pub fn on_done<M>(&self, peers: &Peers, done: &FileDone<M>) {
        let (base, is_whole) = match done {
            FileDone::Loaded { meta, .. } => (meta.base, true),
            FileDone::Refused { base, .. } => (*base, false),
            _ => return,
        };
        let received = self.ways().received.take_if(|(_, of)| *of == base);
        let Some((from, _)) = received else {
            return;
        };
        let peer = peers.of(from);
        let count = match is_whole {
            true => &peer.snapshots_received,
            false => &peer.snapshots_refused,
        };
        count.add(1);
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
