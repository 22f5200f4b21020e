//! When leases end: the clockwork of the node that leads.
//! Never changes the store, and reads no clock: it is told the time, and says what to propose.
//!
//! A lease never ends early: whenever a client was told that it has so many seconds, it has them
//! from when the client asked. Within one leader's reign that is plain. Across reigns:
//!
//! - A new leader begins once it has applied an entry of its own term. It then gives each lease
//!   all its time anew, or what the last checkpoint left of it.
//! - A renewal is answered by a leader that a quorum has confirmed after the client asked. So the
//!   next leader begins after that, and what it gives reaches at least as far.
//! - A checkpoint takes from what the next leader gives, and a renewal gives it back: before a
//!   lease with a checkpoint is renewed, another one that takes nothing must be applied, in the
//!   reign that renews. Those under way count as well, and they are applied in their order or not
//!   at all (see `lease`).
//! - Once a lease was said to have ended, this reign renews it no more.
//!
//! A call costs O(log n) in the number of leases for each lease it touches; beginning to lead, and telling all of
//! them, looks at all. A renewal moves nothing but the lease's own clock: where its end was due it is seen that it
//! is due later, once in a lease's time, however often that is renewed.
//!
//! # Source
//! etcd's lessor; Gray and Cheriton, "Leases", SOSP'89.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::apply::Store;
use crate::lease::Lease;
use crate::request::{Ended, LeaseCheckpointRequest, LeaseLeft, LeaseRevokeRequest};

/// The most leases of one checkpoint.
pub const CHECKPOINT_LEASES_MAX: usize = 1000;

/// How many leases that were renewed are looked at at a time: each costs about a microsecond.
const LOOKS_MAX: usize = 4096;

/// After this long a revocation that has had no effect is asked for again.
const REVOKE_AGAIN_NS: u64 = 3 * SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;

/// Watches over the leases, while its node leads.
#[derive(Debug)]
pub struct Lessor {
    checkpoint_every_ns: u64,
    reign: Option<Reign>,
}

/// What became of a renewal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// The lease has all its time again: so many seconds.
    Renewed(i64),
    /// This must be applied first; then ask again.
    First(LeaseCheckpointRequest),
    /// There is no such lease, or it has ended.
    Gone,
    /// This node does not lead in that term.
    NotLeading,
}

/// One term of leading.
#[derive(Debug)]
struct Reign {
    term: u64,
    /// How many checkpoints it has made.
    number: u64,
    /// How many of the store's grants and revocations it knows.
    known: u64,
    clocks: BTreeMap<i64, Clock>,
    /// When to look whether which lease has ended.
    looks: BTreeSet<(u64, i64)>,
    /// When to write down what a lease has left.
    checkpoints: BTreeSet<(u64, i64)>,
}

/// The time of one lease.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// All that was granted, in seconds, and the log index that did.
    ttl: i64,
    granted: u64,
    /// When it ends, or when its end is said again.
    ends_ns: u64,
    /// When that is looked at; no later.
    looked_at_ns: u64,
    has_ended: bool,
    checkpoint_ns: Option<u64>,
    /// The last checkpoint that took from it; zero for none.
    taken_by: u64,
}

impl Lessor {
    /// A node that does not lead yet. It writes down what a lease has left every
    /// `checkpoint_every_ns`, if it has more than that.
    pub fn new(checkpoint_every_ns: u64) -> Lessor {
        Lessor {
            checkpoint_every_ns: checkpoint_every_ns.max(1),
            reign: None,
        }
    }

    /// The node leads in `term`, and the store has applied an entry of that term.
    pub fn lead(&mut self, now_ns: u64, term: u64, store: &Store) {
        let mut reign = Reign {
            term,
            number: 0,
            known: 0,
            clocks: BTreeMap::new(),
            looks: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
        };
        reign.begin_all(now_ns, self.checkpoint_every_ns, store);
        self.reign = Some(reign);
    }

    /// The node leads no more.
    pub fn follow(&mut self) {
        self.reign = None;
    }

    /// Commands were applied: sees what was granted and what was revoked.
    pub fn observe(&mut self, now_ns: u64, store: &Store) {
        let every_ns = self.checkpoint_every_ns;
        let Some(reign) = &mut self.reign else {
            return;
        };
        let leases = store.leases();
        let Some(changed) = leases.since(reign.known) else {
            return reign.begin_all(now_ns, every_ns, store);
        };
        for id in changed {
            reign.forget(id);
            if let Some(lease) = leases.get(id) {
                reign.begin(now_ns, every_ns, id, lease);
            }
        }
        reign.known = leases.changes();
    }

    /// A client renews a lease. Since it asked, a quorum has confirmed that this node leads in
    /// `term`.
    pub fn renew(&mut self, now_ns: u64, term: u64, id: i64, store: &Store) -> Renewal {
        self.observe(now_ns, store);
        let every_ns = self.checkpoint_every_ns;
        let checkpoint = store.leases().checkpoint();
        let reign = self.reign.as_mut().filter(|reign| reign.term == term);
        // Who sees the word of a later leader leads no more: what that one gave back was given to
        // those who come after it, not to itself.
        let Some(reign) = reign.filter(|_| checkpoint.0 <= term) else {
            // Mark: a renewal is asked of one who leads no more.
            // Unreached: simulated lessors hear of it in the turn in which they are deposed.
            return Renewal::NotLeading;
        };
        let known = reign.clocks.get(&id).copied().zip(store.leases().get(id));
        let Some((clock, lease)) = known.filter(|(clock, _)| !clock.has_ended) else {
            // Mark: a renewal comes too late.
            return Renewal::Gone;
        };
        let is_under_way = clock.taken_by > 0 && checkpoint < (term, clock.taken_by);
        if lease.remaining.is_some() || is_under_way {
            // Mark: a lease must be given its time back before it is renewed.
            return Renewal::First(reign.checkpoint(vec![clock.left(id, 0)]));
        }
        reign.renew(now_ns, every_ns, id);
        Renewal::Renewed(clock.ttl)
    }

    /// Up to `leases_max` leases that have ended, to be revoked. One whose revocation comes to
    /// nothing is named again after a while.
    pub fn ended(&mut self, now_ns: u64, leases_max: usize) -> Vec<LeaseRevokeRequest> {
        let mut ended = Vec::new();
        let Some(reign) = &mut self.reign else {
            return ended;
        };
        let mut renewed = 0;
        while ended.len() < leases_max && renewed < LOOKS_MAX {
            let first = reign.looks.first().copied();
            let Some((_, id)) = first.filter(|(at_ns, _)| *at_ns <= now_ns) else {
                break;
            };
            if reign.look_again(now_ns, id) {
                // Mark: a lease was renewed before it ended.
                // However many come due together: those that are left are due at once.
                renewed += 1;
                continue;
            }
            let term = reign.term;
            let granted = reign.end(now_ns, id);
            ended.push(LeaseRevokeRequest {
                id,
                ended: Some(Ended { term, granted }),
            });
        }
        ended
    }

    /// What some leases have left, to be written down for the next leader, if any is due.
    pub fn checkpoint(&mut self, now_ns: u64) -> Option<LeaseCheckpointRequest> {
        let every_ns = self.checkpoint_every_ns;
        let reign = self.reign.as_mut()?;
        let number = reign.number + 1;
        let mut leases = Vec::new();
        while leases.len() < CHECKPOINT_LEASES_MAX {
            let first = reign.checkpoints.first().copied();
            let Some((at_ns, id)) = first.filter(|(at_ns, _)| *at_ns <= now_ns) else {
                break;
            };
            reign.checkpoints.remove(&(at_ns, id));
            let clock = reign.clocks.get_mut(&id).expect("what is due has a clock");
            let left_ns = clock.ends_ns.saturating_sub(now_ns);
            clock.checkpoint_ns = checkpoint_at(now_ns, every_ns, left_ns);
            if let Some(next_ns) = clock.checkpoint_ns {
                // Mark: what a lease has left is written down, and will be again.
                reign.checkpoints.insert((next_ns, id));
            }
            let left = left_ns.div_ceil(SECOND_NS) as i64;
            if left > 0 && left < clock.ttl {
                // Mark: a checkpoint takes from a lease.
                clock.taken_by = number;
                leases.push(clock.left(id, left));
            }
        }
        (!leases.is_empty()).then(|| reign.checkpoint(leases))
    }

    /// The whole seconds a lease has left; `None` if it has ended or this node does not lead.
    pub fn time_to_live(&self, now_ns: u64, id: i64) -> Option<i64> {
        let clock = self.reign.as_ref()?.clocks.get(&id)?;
        let left_ns = clock.ends_ns.saturating_sub(now_ns);
        (!clock.has_ended).then_some((left_ns / SECOND_NS) as i64)
    }

    /// All leases, the next to end first; none if this node does not lead.
    pub fn in_order_of_end(&self) -> impl Iterator<Item = i64> {
        let reign = self.reign.iter();
        let clocks = reign.flat_map(|reign| &reign.clocks);
        let mut ends: Vec<(u64, i64)> = clocks.map(|(id, clock)| (clock.ends_ns, *id)).collect();
        ends.sort_unstable();
        ends.into_iter().map(|(_, id)| id)
    }

    /// When there may be something for [`Self::ended`] or [`Self::checkpoint`].
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let reign = self.reign.as_ref()?;
        let first = |set: &BTreeSet<(u64, i64)>| set.first().map(|(at_ns, _)| *at_ns);
        let (look, checkpoint) = (first(&reign.looks), first(&reign.checkpoints));
        look.into_iter().chain(checkpoint).min()
    }
}

impl Reign {
    /// Sees which leases there are, and begins the clocks of those it does not know.
    fn begin_all(&mut self, now_ns: u64, every_ns: u64, store: &Store) {
        let leases = store.leases();
        let is_gone = |id: &i64, clock: &Clock| {
            let lease = leases.get(*id);
            lease.is_none_or(|lease| lease.granted != clock.granted)
        };
        let gone = self.clocks.iter().filter(|(id, clock)| is_gone(id, clock));
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(id);
        }
        for (id, lease) in leases.iter() {
            if !self.clocks.contains_key(&id) {
                self.begin(now_ns, every_ns, id, lease);
            }
        }
        self.known = leases.changes();
    }

    /// Starts a lease's clock, with what it has left on it.
    fn begin(&mut self, now_ns: u64, every_ns: u64, id: i64, lease: Lease) {
        let left = lease.remaining.unwrap_or(lease.ttl);
        let left_ns = (left as u64).saturating_mul(SECOND_NS);
        let ends_ns = now_ns.saturating_add(left_ns);
        let checkpoint_ns = checkpoint_at(now_ns, every_ns, left_ns);
        let clock = Clock {
            ttl: lease.ttl,
            granted: lease.granted,
            ends_ns,
            looked_at_ns: ends_ns,
            has_ended: false,
            checkpoint_ns,
            taken_by: 0,
        };
        self.looks.insert((ends_ns, id));
        self.checkpoints
            .extend(checkpoint_ns.map(|at_ns| (at_ns, id)));
        let before = self.clocks.insert(id, clock);
        assert!(before.is_none(), "a lease with two clocks");
    }

    /// Gives a lease all its time again.
    fn renew(&mut self, now_ns: u64, every_ns: u64, id: i64) {
        let clock = self.clocks.get_mut(&id);
        let clock = clock.expect("what is renewed has a clock");
        let left_ns = (clock.ttl as u64).saturating_mul(SECOND_NS);
        clock.ends_ns = now_ns.saturating_add(left_ns);
        clock.taken_by = 0;
        let checkpoint_ns = checkpoint_at(now_ns, every_ns, left_ns);
        let before_ns = core::mem::replace(&mut clock.checkpoint_ns, checkpoint_ns);
        if let Some(at_ns) = before_ns {
            self.checkpoints.remove(&(at_ns, id));
        }
        self.checkpoints
            .extend(checkpoint_ns.map(|at_ns| (at_ns, id)));
    }

    /// Whether a lease that is looked at ends later, where it is looked at again.
    fn look_again(&mut self, now_ns: u64, id: i64) -> bool {
        let clock = self.clocks.get_mut(&id).expect("what is due has a clock");
        let ends_later = clock.ends_ns > now_ns;
        if ends_later {
            self.looks.remove(&(clock.looked_at_ns, id));
            clock.looked_at_ns = clock.ends_ns;
            self.looks.insert((clock.ends_ns, id));
        }
        ends_later
    }

    fn forget(&mut self, id: i64) {
        if let Some(clock) = self.clocks.remove(&id) {
            self.looks.remove(&(clock.looked_at_ns, id));
            if let Some(at_ns) = clock.checkpoint_ns {
                // Mark: a lease is forgotten before its checkpoint.
                self.checkpoints.remove(&(at_ns, id));
            }
        }
    }

    /// From now on a lease has ended; which one it was that has.
    fn end(&mut self, now_ns: u64, id: i64) -> u64 {
        let clock = self.clocks.get_mut(&id).expect("what ends has a clock");
        self.looks.remove(&(clock.looked_at_ns, id));
        if let Some(at_ns) = clock.checkpoint_ns.take() {
            // Mark: a lease ends before its checkpoint.
            self.checkpoints.remove(&(at_ns, id));
        }
        clock.has_ended = true;
        clock.ends_ns = now_ns.saturating_add(REVOKE_AGAIN_NS);
        clock.looked_at_ns = clock.ends_ns;
        self.looks.insert((clock.ends_ns, id));
        clock.granted
    }

    fn checkpoint(&mut self, leases: Vec<LeaseLeft>) -> LeaseCheckpointRequest {
        self.number += 1;
        LeaseCheckpointRequest {
            term: self.term,
            number: self.number,
            leases,
        }
    }
}

impl Clock {
    fn left(&self, id: i64, seconds: i64) -> LeaseLeft {
        LeaseLeft {
            id,
            granted: self.granted,
            seconds,
        }
    }
}

/// When to write down next what a lease has left.
fn checkpoint_at(now_ns: u64, every_ns: u64, left_ns: u64) -> Option<u64> {
    (left_ns > every_ns).then(|| now_ns.saturating_add(every_ns))
}
