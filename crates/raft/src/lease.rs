//! Leases: while no other node can be leader, a leader answers reads without asking anyone.
//! Never used unless switched on: a lease trusts clocks, which nothing else here does.
//!
//! Why a lease read is linearizable. A voter with leases on that hears its leader promises, for
//! one election timeout of its own clock, to vote for nobody and not to stand. It keeps the promise
//! whatever becomes of the connection or the term, and a process that starts keeps it for the one
//! that ended. An answered round of heartbeats tells the leader of the promises of a quorum, each
//! of which began after the round was *sent*. From then on, for an election timeout less what
//! clocks may differ, that quorum elects nobody, and every quorum that could shares a voter with
//! it. So nothing was committed by others, and the leader's own commit index covers everything.
//!
//! The ways around a promise, one by one:
//!
//! * *A pre-vote granted before it*: the vote itself is refused while the promise runs.
//! * *A newer term, met in any message*: the promise outlives the term it was made in.
//! * *A vote cast before it* is of the leader's own term or an older one, since a voter of a newer
//!   term would not have heard this leader; who wins an older term so late can commit nothing.
//! * *A broken connection* brings an election forward only to the promise's end. This is the price
//!   of leases: a killed leader is replaced after an election timeout, not at once.
//! * *A restart*: a node that may have promised votes for nobody in its first election timeout. One
//!   whose disk holds no term has never answered a leader. A node restarted with leases off, or
//!   with a shorter election timeout, breaks its word unless it stays down for the old one.
//! * *A wiped disk* forgets promises as it forgets votes, and is kept from both as rule R13 says:
//!   its vote does not count, and the leader drops what the lost disk had promised.
//! * *A voter that does not promise, or not for as long as this leader needs*: its answers confirm
//!   reads but lend no lease. Each answer says how long it promises; demanding the leader's own
//!   election timeout of each is simpler than the least of a quorum, and nodes of one cluster agree
//!   on it.
//! * *A configuration change*: the lease is weighed anew at each read, by the configuration then in
//!   force. Of the configurations under which another node could be elected, that one is the
//!   newest, or the one before it is: older ones lack a committed entry, and newer ones only this
//!   leader makes. Neighbours in joint consensus have no two quorums without a common voter, so
//!   the electing quorum meets the promising one; that some new voter never promised is no harm.
//! * *A transfer* lets the target's voters break their promise, so it voids the lease first, for
//!   the rest of the term: [`Raft::void_lease`].
//! * *The leader's disk, or a long turn*: neither matters, so long as the driver looks at the
//!   clock after what it hands in has arrived. Late answers date from when they were asked for.
//! * *A clock that stops*, as some do while a machine sleeps, is a clock out of its bounds.
//!
//! Specified by: Tick, Beat, HandleBeat, HandlePromise.
//!
//! # Source
//! Dissertation §6.4.1, Figure 6.3; rule R7 of ARCHITECTURE.md.

use alloc::collections::VecDeque;

use crate::config::Options;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::types::{HardState, Instant, NodeId, Term};

/// At how many points of an election timeout it is remembered which round left when, at most. A
/// round between two points counts from the earlier.
const SENT_MAX: usize = 64;

/// The leader's half: when its rounds left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// `(round, when its beats left at the earliest)`, oldest first.
    sent: VecDeque<(u64, Instant)>,
    /// Whether another node may be elected earlier than promised. Once anyone was told to take
    /// over, that word may be heard late, at any time, and the election it causes asks nobody
    /// whether this leader is still heard: so it is never taken back within the term.
    void: bool,
}

impl Lease {
    /// The beats of `round` leave now.
    pub(crate) fn sent(&mut self, round: u64, now: Instant, election_ns: u64) {
        let apart_ns = election_ns / SENT_MAX as u64;
        if let Some(&(_, before)) = self.sent.back()
            && now.since(before) < apart_ns
        {
            return;
        }
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((round, now));
    }

    pub(crate) fn make_void(&mut self) {
        self.void = true;
    }

    pub(crate) fn is_void(&self) -> bool {
        self.void
    }

    /// A moment that is no later than that at which the beats of `round` left.
    fn sent_at(&self, round: u64) -> Option<Instant> {
        let mut sent = self.sent.iter().rev();
        sent.find(|&&(number, _)| number <= round)
            .map(|&(_, at)| at)
    }
}

/// The voter's half: until when it elects nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    until: Instant,
}

impl Promise {
    /// What an earlier life of the process, of which `hard` is left, may have promised.
    pub(crate) fn of_earlier_life(now: Instant, options: &Options, hard: HardState) -> Self {
        // Who answers a leader has made its term durable first.
        let none = hard.term == Term(0);
        let rest_ns = if none { 0 } else { promise_ns(options) };
        Self {
            until: now.after(rest_ns),
        }
    }

    /// When an election may begin at the earliest.
    pub(crate) fn end(&self, now: Instant) -> Instant {
        self.until.max(now)
    }
}

/// How long a node that hears its leader promises to elect nobody: not at all without leases.
fn promise_ns(options: &Options) -> u64 {
    match options.lease_drift_ppm {
        Some(_) => options.election_ns,
        None => 0,
    }
}

impl Raft {
    /// How long this node promises to elect nobody each time it hears its leader.
    pub(crate) fn promise_ns(&self) -> u64 {
        promise_ns(&self.options)
    }

    /// A leader was heard: the promise begins anew.
    pub(crate) fn promise(&mut self) {
        let until = self.now.after(self.promise_ns());
        self.promise.until = self.promise.end(until);
    }

    /// Whether this node has promised to elect nobody yet.
    pub(crate) fn is_promised(&self) -> bool {
        self.now < self.promise.until
    }

    /// Whether leases are on here.
    pub(crate) fn has_leases_on(&self) -> bool {
        self.options.lease_drift_ppm.is_some()
    }

    /// A voter has answered `round` and promises to elect nobody for so long.
    pub(crate) fn on_promise(&mut self, from: NodeId, round: u64, promise_ns: u64) {
        let enough = promise_ns >= self.options.election_ns;
        if let Some(leadership) = self.role.leadership_mut()
            && let Some(sent_at) = leadership.lease.sent_at(round).filter(|_| enough)
            && let Some(progress) = leadership.peers.get_mut(from)
        {
            progress.promised(sent_at);
        }
    }

    /// The end of this leader's lease: before it no other node is elected. `None` without one.
    pub fn lease_until(&self) -> Option<Instant> {
        let drift_ppm = self.options.lease_drift_ppm?;
        let leadership = self.role.leadership()?;
        if leadership.lease.void || self.commit < leadership.first {
            return None;
        }
        let own = (self.me, Some(self.now));
        let since = leadership.quorum_reaches(self.config(), own, Progress::promised_since)?;
        Some(since.after(shortened(self.options.election_ns, drift_ppm)))
    }

    /// Whether a read of level lease is answered at once.
    pub(crate) fn has_lease(&self) -> bool {
        self.lease_until().is_some_and(|until| self.now < until)
    }

    /// Gives up leases for the rest of this leader's term: another node may be elected earlier
    /// than promised, because leadership is handed over, or the clock is in doubt.
    pub fn void_lease(&mut self) {
        if let Some(leadership) = self.role.leadership_mut() {
            leadership.lease.make_void();
        }
    }

    /// Whether this node leads and has given up leases: an election may come at any time, whoever
    /// still hears this leader.
    pub fn is_lease_void(&self) -> bool {
        let leadership = self.role.leadership();
        leadership.is_some_and(|leadership| leadership.lease.is_void())
    }
}

/// What is left of `ns` on a slow clock when it has passed on one that is faster by the drift.
fn shortened(ns: u64, drift_ppm: u32) -> u64 {
    const MILLION: u128 = 1_000_000;
    let rest_ppm = MILLION.saturating_sub(u128::from(drift_ppm));
    let rest_ns = u128::from(ns) * rest_ppm / MILLION;
    u64::try_from(rest_ns).expect("no more than it was")
}
