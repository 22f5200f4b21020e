//! Who is no member any more, and how long it is still heard.
//! Never closes anything: the loop does.
//!
//! # Source
//! Raft paper §6 (a leader that is removed manages the cluster until the change is committed).

use std::time::Duration;

use headwater_raft::{Config, Instant, NodeId};

/// How long the connection to a node that is no member any more stays: a leader that was removed
/// may still have answers to give.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The members of the last committed configuration, and those that are none any more.
#[derive(Debug)]
pub struct Leaving {
    members: Vec<NodeId>,
    since: Vec<(NodeId, Instant)>,
}

impl Leaving {
    /// Nobody leaves yet.
    pub fn new(members: Vec<NodeId>) -> Self {
        Self {
            members,
            since: Vec::new(),
        }
    }

    /// A configuration is committed. Who was a member before and is no more has nothing to say to
    /// `me`, if that still is one.
    pub fn on_config(&mut self, now: Instant, me: NodeId, config: &Config) {
        let was = std::mem::replace(&mut self.members, config.peers_of(me));
        self.since.retain(|&(peer, _)| !config.is_member(peer));
        let gone = was.into_iter().filter(|&peer| !config.is_member(peer));
        let gone = gone.filter(|_| config.is_member(me));
        self.since.extend(gone.map(|peer| (peer, now)));
    }

    /// A node that will never be a member again has nothing more to say to `me`, if that is one by
    /// this configuration.
    pub fn refuse(&mut self, now: Instant, me: NodeId, config: &Config, peer: NodeId) {
        let is_known = self.since.iter().any(|&(known, _)| known == peer);
        if config.is_member(me) && !config.is_member(peer) && !is_known {
            self.since.push((peer, now));
        }
    }

    /// Those who had time for a last word; of a leader's `peers` only when it has told them besides,
    /// or they are gone.
    pub fn take_due(&mut self, now: Instant, peers: impl Fn() -> Vec<NodeId>) -> Vec<NodeId> {
        if self.since.is_empty() {
            return Vec::new();
        }
        let peers = peers();
        let waits = |&(peer, since): &(NodeId, Instant)| {
            let waited_ns = u128::from(now.since(since));
            peers.contains(&peer) || waited_ns < LAST_WORD.as_nanos()
        };
        let all = std::mem::take(&mut self.since);
        let (waiting, due) = all.into_iter().partition(waits);
        self.since = waiting;
        let due: Vec<(NodeId, Instant)> = due;
        due.into_iter().map(|(peer, _)| peer).collect()
    }
}
