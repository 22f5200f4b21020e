//! What a leader knows of one follower's log, and what it has on the way to it.
//! Never guesses `matched`: only the follower's durable answers move it (rule R9).
//!
//! # Source
//! Raft paper, Figure 2, volatile state on leaders; dissertation §10.2.2 (pipelining), §4.2.1
//! (rounds that tell whether a new server has caught up).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use crate::message::Pace;
use crate::types::{Index, Instant, NodeId};

/// All followers, in the order of their names: so few that looking through them is the quickest way
/// to find one.
#[derive(Clone)]
pub(crate) struct Peers(Vec<(NodeId, Progress)>);

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Peers {
    /// These followers, of each of whom is known what `progress` says.
    pub(crate) fn new(ids: &[NodeId], progress: &Progress) -> Self {
        let mut peers = Self(Vec::with_capacity(ids.len()));
        for &id in ids {
            peers.add(id, progress);
        }
        peers
    }

    /// Takes up `id`, unless it is here.
    pub(crate) fn add(&mut self, id: NodeId, progress: &Progress) {
        if let Err(place) = self.0.binary_search_by_key(&id, |&(id, _)| id) {
            self.0.insert(place, (id, progress.clone()));
        }
    }

    /// Lets go of those of whom `stays` is false.
    pub(crate) fn retain(&mut self, stays: impl Fn(NodeId, &Progress) -> bool) {
        self.0.retain(|(id, progress)| stays(*id, progress));
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Progress> {
        let found = self.iter().find(|&(peer, _)| peer == id);
        found.map(|(_, progress)| progress)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        let found = self.iter_mut().find(|&(peer, _)| peer == id);
        found.map(|(_, progress)| progress)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.0.iter().map(|(id, progress)| (*id, progress))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.0.iter_mut().map(|(id, progress)| (*id, progress))
    }
}

/// One follower, seen by the leader.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// `matchIndex`: the follower holds everything up to here durably, and it agrees.
    matched: Index,
    /// `nextIndex`: the first entry not yet sent.
    next: Index,
    flow: Flow,
    /// When the follower last answered in this term, or had the chance to; for the leader's quorum
    /// check.
    heard_at: Instant,
    has_answered: bool,
    /// The highest read round that the follower has confirmed.
    round: u64,
    /// When the latest round left that the follower answered with its promise to elect nobody.
    promised_since: Option<Instant>,
    /// The highest commit index sent to it.
    commit_sent: Index,
    /// How the follower's disk keeps up, as it says itself.
    disk: Pace,
    /// Of a learner that is joining: whether it keeps up.
    catch_up: Option<CatchUp>,
}

/// How the leader finds out whether a joining learner keeps up: in rounds, each of which carries
/// what the log held when it began.
#[derive(Clone, Copy, Debug)]
struct CatchUp {
    goal: Index,
    since: Instant,
    is_ready: bool,
}

/// What a leader knows of a follower, for whoever looks on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Following {
    /// `matchIndex`.
    pub matched: Index,
    /// `nextIndex`.
    pub next: Index,
    /// Whether common ground is still looked for.
    pub is_probing: bool,
    /// Where the appends under way end, in the order in which they left.
    pub in_flight: Vec<Index>,
    /// The highest commit index sent to it.
    pub commit_sent: Index,
    /// The highest read round that it has confirmed.
    pub round: u64,
    /// Whether it is joining and keeps up.
    pub has_caught_up: bool,
}

/// How appends flow.
#[derive(Clone, Debug)]
enum Flow {
    /// Common ground is unknown: one append at a time, again after a silence. The one under way
    /// is the index it ends at and the moment it left.
    Probe { sent: Option<(Index, Instant)> },
    /// Common ground is known: appends follow each other without waiting. Each in-flight append
    /// is the index it ends at and the moment it left.
    Replicate {
        inflight: VecDeque<(Index, Instant)>,
    },
}

impl Progress {
    /// A follower of whom nothing is known; it has not been silent before `now`.
    pub(crate) fn unknown(last: Index, now: Instant) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            flow: Flow::Probe { sent: None },
            heard_at: now,
            has_answered: false,
            round: 0,
            promised_since: None,
            commit_sent: Index(0),
            disk: Pace::Quick,
            catch_up: None,
        }
    }

    /// The follower as an observer sees it.
    pub(crate) fn following(&self) -> Following {
        let ends = |sent: &(Index, Instant)| sent.0;
        let in_flight = match &self.flow {
            Flow::Probe { sent } => sent.iter().map(ends).collect(),
            Flow::Replicate { inflight } => inflight.iter().map(ends).collect(),
        };
        Following {
            matched: self.matched,
            next: self.next,
            is_probing: !self.is_replicating(),
            in_flight,
            commit_sent: self.commit_sent,
            round: self.round,
            has_caught_up: self.has_caught_up(),
        }
    }

    pub(crate) fn matched(&self) -> Index {
        self.matched
    }

    pub(crate) fn next(&self) -> Index {
        self.next
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn promised_since(&self) -> Option<Instant> {
        self.promised_since
    }

    pub(crate) fn commit_sent(&self) -> Index {
        self.commit_sent
    }

    pub(crate) fn disk(&self) -> Pace {
        self.disk
    }

    pub(crate) fn is_replicating(&self) -> bool {
        matches!(self.flow, Flow::Replicate { .. })
    }

    /// Whether another append may leave now.
    pub(crate) fn may_send(&self, inflight_max: usize) -> bool {
        match &self.flow {
            Flow::Probe { sent } => sent.is_none(),
            Flow::Replicate { inflight } => inflight.len() < inflight_max,
        }
    }

    /// Whether the follower should hear of entries up to `last`: always while probing.
    pub(crate) fn wants(&self, last: Index) -> bool {
        !self.is_replicating() || self.next <= last
    }

    /// The follower answered in this term.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.has_answered = true;
    }

    /// The follower could not be heard before `now`.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The connection to the follower broke: it is to be heard again.
    pub(crate) fn cut_off(&mut self) {
        self.has_answered = false;
    }

    /// Whether the follower answered in this term, not longer than `patience_ns` ago.
    pub(crate) fn answers(&self, now: Instant, patience_ns: u64) -> bool {
        self.has_answered && now.since(self.heard_at) < patience_ns
    }

    /// The follower says how its disk is.
    pub(crate) fn told_disk(&mut self, disk: Pace) {
        self.disk = disk;
    }

    /// The follower confirmed a read round.
    pub(crate) fn confirm(&mut self, round: u64) {
        self.round = self.round.max(round);
    }

    /// The follower promised to elect nobody, no earlier than `sent_at`.
    pub(crate) fn promised(&mut self, sent_at: Instant) {
        self.promised_since = self.promised_since.max(Some(sent_at));
    }

    /// An append that ends at `upto` left.
    pub(crate) fn sent(&mut self, upto: Index, commit: Index, now: Instant) {
        self.commit_sent = self.commit_sent.max(commit);
        match &mut self.flow {
            Flow::Probe { sent } => *sent = Some((upto, now)),
            Flow::Replicate { inflight } => {
                inflight.push_back((upto, now));
                self.next = upto.next();
            }
        }
    }

    /// The commit index was sent by itself.
    pub(crate) fn told_commit(&mut self, commit: Index) {
        self.commit_sent = self.commit_sent.max(commit);
    }

    /// The follower holds everything up to `upto`.
    pub(crate) fn acknowledged(&mut self, upto: Index) {
        self.matched = self.matched.max(upto);
        let agreed = self.next.prev() <= self.matched;
        self.next = self.next.max(self.matched.next());
        match &mut self.flow {
            Flow::Probe { sent } => {
                // A follower says at once how much of what it was sent it holds already. The
                // entries of that probe will fit once they are durable: they need not go again.
                let under_way = sent.filter(|&(end, _)| agreed && end > self.matched);
                self.next = under_way.map_or(self.matched, |(end, _)| end).next();
                self.flow = Flow::Replicate {
                    inflight: under_way.into_iter().collect(),
                };
            }
            Flow::Replicate { inflight } => {
                while inflight.front().is_some_and(|&(index, _)| index <= upto) {
                    inflight.pop_front();
                }
            }
        }
    }

    /// The follower, which is joining, holds more than before of a log that ends at `last`. A round
    /// ends when it holds what the log held when the round began; it has caught up when a round was
    /// shorter than an election timeout, for then it would not hold up commitment for longer than
    /// an election does.
    pub(crate) fn catch_up(&mut self, last: Index, now: Instant, patience_ns: u64) {
        let round = self.catch_up.get_or_insert(CatchUp {
            goal: last,
            since: now,
            is_ready: false,
        });
        if self.matched >= round.goal {
            // Whoever holds everything there is has caught up, however long it took.
            let was_short = now.since(round.since) < patience_ns;
            round.is_ready |= was_short || self.matched >= last;
            (round.goal, round.since) = (last, now);
        }
    }

    /// Whether the follower is joining and has caught up.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.catch_up.is_some_and(|round| round.is_ready)
    }

    /// The follower is not joining, or no more.
    pub(crate) fn stop_catching_up(&mut self) {
        self.catch_up = None;
    }

    /// The follower does not hold `prev`; `retry` is where to try next. Answers to appends that
    /// are no longer of interest change nothing.
    pub(crate) fn conflicted(&mut self, prev: Index, retry: Index) {
        let current = match &self.flow {
            Flow::Probe { .. } => prev.next() == self.next,
            Flow::Replicate { .. } => prev > self.matched,
        };
        if current {
            self.next = retry.max(self.matched.next());
            self.flow = Flow::Probe { sent: None };
        }
    }

    /// The follower cannot read what it holds from `first` on: it has to be sent that, whatever it
    /// has acknowledged, and does not count with it.
    pub(crate) fn lost(&mut self, first: Index) {
        if first < self.next {
            self.matched = self.matched.min(first.prev());
            self.restart();
            self.next = first;
        }
    }

    /// What was sent may be lost: start again from what is known.
    pub(crate) fn restart(&mut self) {
        if self.is_replicating() {
            self.next = self.matched.next();
        }
        self.commit_sent = Index(0);
        self.flow = Flow::Probe { sent: None };
    }

    /// Starts again if what was sent has gone unanswered for `patience_ns`.
    pub(crate) fn check(&mut self, now: Instant, patience_ns: u64) {
        let oldest = match &self.flow {
            Flow::Probe { sent } => sent.map(|(_, at)| at),
            Flow::Replicate { inflight } => inflight.front().map(|&(_, at)| at),
        };
        if oldest.is_some_and(|at| now.since(at) >= patience_ns) {
            self.restart();
        }
    }
}
