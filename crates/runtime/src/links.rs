//! The connections that stand, at most one to each peer, and how long frames wait for each other.
//! Never dials and never reads: `tcp` and `link` do; never decides which frame waits.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_raft::{Instant, NodeId};
use headwater_replica::coalescer::Coalescer;

use crate::counters::Counters;
use crate::link::Link;
use crate::name::Names;

/// How many nanoseconds frames that can wait do so for one that cannot, if that came in time the last
/// time. Else who watches at a follower would be told late, for nothing.
const FRAMES_WAIT_NS: u64 = 2_000_000;

/// The connections that stand.
#[derive(Debug)]
pub struct Links {
    by_peer: BTreeMap<NodeId, Arc<Link>>,
    names: Names,
    counters: Arc<Counters>,
    coalescer: Coalescer,
}

impl Links {
    /// None stands yet.
    pub fn new(names: Names, counters: Arc<Counters>) -> Self {
        Self {
            by_peer: BTreeMap::new(),
            names,
            counters,
            coalescer: Coalescer::new(FRAMES_WAIT_NS),
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
        let is_current = self.is_current(link);
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
    pub fn is_current(&self, link: &Arc<Link>) -> bool {
        let current = self.by_peer.get(&link.peer());
        current.is_some_and(|current| Arc::ptr_eq(current, link))
    }

    /// Whether one to that peer stands.
    pub fn is_linked(&self, peer: NodeId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Ends the one to a peer, if there is one.
    pub fn close(&self, peer: NodeId) {
        if let Some(link) = self.by_peer.get(&peer) {
            link.close();
        }
    }

    /// Queues a frame for the next [`Links::flush`], which it may wait for or not.
    pub fn send(&mut self, to: NodeId, frame: Bytes, can_wait: bool) {
        let Some(link) = self.by_peer.get(&to) else {
            self.counters.frames_dropped.add(1);
            self.counters.peers.of(to).failures.add(1);
            return;
        };
        self.coalescer.queue(to, can_wait);
        if !link.send(frame) {
            let peer = self.names.of(to);
            tracing::warn!(%peer, "a peer does not read what it is sent: cutting it off");
            self.counters.frames_dropped.add(1);
            link.counters().failures.add(1);
            link.close();
        }
    }

    /// Writes what is queued, but for what can wait, is alone, and will not be for long.
    pub fn flush(&mut self, now: Instant) {
        let by_peer = &self.by_peer;
        self.coalescer.flush(now, |to| {
            if let Some(link) = by_peer.get(&to) {
                link.flush();
            }
        });
    }

    /// Writes all that is queued, as far as the connections take it now: nothing follows.
    pub fn finish(self) {
        for link in self.by_peer.values() {
            link.flush();
        }
    }

    /// When [`Links::flush`] must be called at the latest, if anything waits for that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.coalescer.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use headwater_raft::Incarnation;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::link::Peer;
    use crate::pipe::Pipe;

    const US: u64 = 1000;

    #[tokio::test]
    async fn what_can_wait_does_while_something_else_soon_follows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        let there = Pipe::plain(there.expect("connected").0);
        let counters = Arc::<Counters>::default();
        let mut links = Links::new(Names::default(), counters.clone());
        let (node, disk, life) = (NodeId(2), Incarnation(1), 1);
        let pipe = Pipe::plain(here.expect("connected"));
        let link = Link::new(Peer { node, disk, life }, pipe, counters.clone());
        assert!(!links.put(Arc::new(link)));
        let mut flush = |us: u64, can_wait: bool| {
            links.send(node, Bytes::from_static(b"frame"), can_wait);
            links.flush(Instant(us * US));
            let waits_until = links.next_deadline().map(|by| by.0 / US);
            (counters.peers.of(node).sent_bytes.value(), waits_until)
        };
        // Nothing is known yet, so it leaves.
        let (one, none) = flush(1000, true);
        assert!(one > 0 && none.is_none());
        assert_eq!(flush(1300, false), (2 * one, None));
        // Now it waits for the next, which takes it along.
        assert_eq!(flush(2000, true), (2 * one, Some(4000)));
        assert_eq!(flush(2200, false), (4 * one, None));
        let mut all = vec![0; usize::try_from(4 * one).expect("small")];
        there.read_exact(&mut all).await.expect("all arrives");
    }
}
