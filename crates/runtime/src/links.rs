//! The connections that stand, at most one to each peer, and how long frames wait for each other.
//! Never dials and never reads: `tcp` and `link` do.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_raft::{Instant, NodeId};

use crate::counters::Counters;
use crate::link::Link;
use crate::name::Names;

/// How many nanoseconds frames that can wait do so for one that cannot. A client that asks for one
/// thing after another brings that sooner; who watches at a follower waits so long.
const FRAMES_WAIT_NS: u64 = 2_000_000;

/// The connections that stand.
#[derive(Debug)]
pub struct Links {
    by_peer: BTreeMap<NodeId, Arc<Link>>,
    names: Names,
    counters: Arc<Counters>,
    /// When frames that can wait leave alone.
    send_by: Option<Instant>,
}

impl Links {
    /// None stands yet.
    pub fn new(names: Names, counters: Arc<Counters>) -> Self {
        Self {
            by_peer: BTreeMap::new(),
            names,
            counters,
            send_by: None,
        }
    }

    /// Another one stands. Says whether it replaces one: the peer would not have connected anew if
    /// that worked.
    pub fn put(&mut self, link: Arc<Link>) -> bool {
        self.counters.link_ups.add(1);
        link.counters().ups.add(1);
        let old = self.by_peer.insert(link.peer(), link);
        if let Some(old) = &old {
            old.close();
            self.count_down(old);
        }
        old.is_some()
    }

    /// One is gone. Says whether it had not been replaced before.
    pub fn remove(&mut self, link: &Arc<Link>) -> bool {
        let is_current = self.has(link);
        if is_current {
            self.by_peer.remove(&link.peer());
            self.count_down(link);
        }
        is_current
    }

    fn count_down(&self, link: &Link) {
        self.counters.link_downs.add(1);
        link.counters().downs.add(1);
    }

    /// Whether this one stands and was not replaced.
    pub fn has(&self, link: &Arc<Link>) -> bool {
        let current = self.by_peer.get(&link.peer());
        current.is_some_and(|current| Arc::ptr_eq(current, link))
    }

    /// Whether one to that peer stands.
    pub fn reach(&self, peer: NodeId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Ends the one to a peer, if there is one.
    pub fn close(&self, peer: NodeId) {
        if let Some(link) = self.by_peer.get(&peer) {
            link.close();
        }
    }

    /// Queues a frame for the next [`Links::flush`], which it may wait for or not.
    pub fn send(&self, to: NodeId, frame: Bytes, can_wait: bool) {
        let Some(link) = self.by_peer.get(&to) else {
            self.counters.frames_dropped.add(1);
            self.counters.peers.of(to).failures.add(1);
            return;
        };
        if !link.send(frame, can_wait) {
            let peer = self.names.of(to);
            tracing::warn!(%peer, "a peer does not read what it is sent: cutting it off");
            self.counters.frames_dropped.add(1);
            link.counters().failures.add(1);
            link.close();
        }
    }

    /// Writes what is queued, but for what can wait and is alone.
    pub fn flush(&mut self, now: Instant) {
        let is_due = self.send_by.is_some_and(|by| now >= by);
        let mut waits = false;
        for link in self.by_peer.values() {
            waits |= link.flush(is_due);
        }
        let by = self.send_by.filter(|_| !is_due);
        self.send_by = waits.then(|| by.unwrap_or(now.after(FRAMES_WAIT_NS)));
    }

    /// When [`Links::flush`] must be called at the latest, if anything waits for that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.send_by
    }
}
