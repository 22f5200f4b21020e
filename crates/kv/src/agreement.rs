//! Whether members who have carried out the same commands have written the same: a sum over all that a
//! store has written, which the leader tells of and the others compare with their own.
//! Never looks at what is in the store: what has changed there by itself shows only once it leads to
//! another write.
//!
//! A sum begins when a store does, empty or from another store's copy, and goes along in snapshots. Sums
//! that began at one revision must be equal. Where they began at two, which a snapshot of an older format
//! can bring about, a member takes the first difference between the leader's sum and its own as given,
//! and any later one that is another is told.
//!
//! # Source
//! etcd's corruption check, which compares hashes of whole stores from time to time; rolling digests
//! of state between replicas (TigerBeetle).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::apply::Store;
use crate::wire::{Reader, put_int, put_uint};

/// How many of its latest sums a member remembers, for a claim that comes when it is further.
const REMEMBERED: usize = 4096;

/// The way of summing; claims of another are not compared.
const WAY: u8 = 1;

/// The sum over all that a store has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    /// The store began at this revision, and its sum with it.
    pub since: i64,
    /// The revision up to which it goes.
    pub revision: i64,
    /// The sum.
    pub sum: u64,
}

/// What a leader says of its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// A number that no other life of any member has.
    pub life: u64,
    /// Its sum.
    pub sum: Sum,
}

impl Claim {
    /// Its bytes between members.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from([WAY]);
        put_uint(&mut out, self.life);
        put_int(&mut out, self.sum.since);
        put_int(&mut out, self.sum.revision);
        put_uint(&mut out, self.sum.sum);
        out
    }

    /// Reads what [`Claim::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != WAY {
            return None;
        }
        let life = reader.uint()?;
        let (since, revision) = (reader.int()?, reader.int()?);
        let sum = reader.uint()?;
        reader.is_empty().then_some(Self {
            life,
            sum: Sum {
                since,
                revision,
                sum,
            },
        })
    }
}

/// A member's store and a leader's have parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parting {
    /// At this revision they still agreed.
    pub after: i64,
    /// At this one they do not.
    pub by: i64,
}

/// What one member compares.
#[derive(Debug, Default)]
pub struct Agreement {
    /// The latest sums, by revision.
    sums: VecDeque<Sum>,
    /// What is to be compared once the store has come that far.
    pending: Option<Claim>,
    given: Option<Given>,
    compared: u64,
}

/// The difference that is taken as given.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// Between these two: a life and the beginning of its store, and that of the store here.
    between: (u64, i64, i64),
    difference: u64,
    /// Found at this revision, or last confirmed there.
    at: i64,
}

impl Agreement {
    /// How many claims were compared with what had been found before.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Looks at the store, after each command or as often as may be. Says if it turns out to have
    /// parted from the leader's.
    pub fn observe(&mut self, store: &Store) -> Option<Parting> {
        let sum = store.sum();
        match self.sums.back() {
            Some(last) if *last == sum => return None,
            // Another store is in its place.
            Some(last) if last.since != sum.since || last.revision > sum.revision => {
                self.sums.clear();
            }
            _ => {}
        }
        if self.sums.len() == REMEMBERED {
            self.sums.pop_front();
        }
        self.sums.push_back(sum);
        let claim = self
            .pending
            .filter(|claim| claim.sum.revision <= sum.revision)?;
        self.pending = None;
        self.compare(&claim)
    }

    /// A leader claims something. Says if this store turns out to have parted from its.
    pub fn hear(&mut self, claim: Claim) -> Option<Parting> {
        match self.sums.back() {
            Some(last) if last.revision >= claim.sum.revision => self.compare(&claim),
            _ => {
                self.pending = Some(claim);
                None
            }
        }
    }

    fn compare(&mut self, claim: &Claim) -> Option<Parting> {
        let Claim { life, sum } = claim;
        let place = self
            .sums
            .binary_search_by_key(&sum.revision, |own| own.revision);
        // Too long ago, or a revision that this store came by within a snapshot.
        let own = self.sums[place.ok()?];
        let between = (*life, sum.since, own.since);
        let difference = sum.sum.wrapping_sub(own.sum);
        let known = self.given.filter(|given| given.between == between);
        if known.is_some_and(|known| known.at > sum.revision) {
            // Notes may come late.
            return None;
        }
        let began_together = (sum.since == own.since).then_some((0, own.since));
        let expected = known
            .map(|known| (known.difference, known.at))
            .or(began_together);
        // What has parted once is taken as given from there on, so that each time is told once.
        self.given = Some(Given {
            between,
            difference,
            at: sum.revision,
        });
        let (expected, after) = expected?;
        self.compared += 1;
        let by = sum.revision;
        (difference != expected).then_some(Parting { after, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Command, PutRequest, RequestOp, TxnRequest};
    use bytes::Bytes;
    use headwater_replica::LogId;
    use headwater_replica::machine::StateMachine;

    fn put(store: &mut Store, value: &'static str) {
        let command = Command::Put(PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(value.as_bytes()),
            ..PutRequest::default()
        });
        store.apply(LogId::default(), &command.encode());
    }

    fn claim(store: &Store) -> Claim {
        Claim {
            life: 7,
            sum: store.sum(),
        }
    }

    /// A store as a follower gets it by a snapshot.
    fn copied(store: &mut Store) -> Store {
        let mut walk = store.begin_snapshot();
        let mut copy = Store::default();
        while let Some(chunk) = store.next_chunk(&mut walk, 1 << 10) {
            copy.load_chunk(chunk).expect("a whole chunk");
        }
        copy.finish_load().expect("a whole snapshot");
        copy
    }

    #[test]
    fn a_claim_comes_back_as_it_went() {
        let claim = Claim {
            life: u64::MAX,
            sum: Sum {
                since: 1,
                revision: i64::MAX,
                sum: 1 << 63,
            },
        };
        let bytes = claim.encode();
        assert_eq!(Claim::decode(&bytes), Some(claim));
        for cut in 0..bytes.len() {
            assert_eq!(Claim::decode(&bytes[..cut]), None);
        }
        assert_eq!(Claim::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn equal_stores_agree_whenever_they_are_compared() {
        let (mut leader, mut follower) = (Store::default(), Store::default());
        let mut agreement = Agreement::default();
        assert_eq!(agreement.observe(&follower), None);
        for value in ["a", "b", "c", "d"] {
            put(&mut leader, value);
            // Once before the follower is that far, once after.
            assert_eq!(agreement.hear(claim(&leader)), None);
            put(&mut follower, value);
            assert_eq!(agreement.observe(&follower), None);
            assert_eq!(agreement.hear(claim(&leader)), None);
        }
        assert!(agreement.compared() >= 4, "{}", agreement.compared());
    }

    #[test]
    fn another_value_is_told_once_and_named_by_its_revisions() {
        let (mut leader, mut follower) = (Store::default(), Store::default());
        let mut agreement = Agreement::default();
        for value in ["a", "b"] {
            put(&mut leader, value);
            put(&mut follower, value);
            assert_eq!(agreement.observe(&follower), None);
            assert_eq!(agreement.hear(claim(&leader)), None);
        }
        put(&mut leader, "c");
        put(&mut follower, "C");
        assert_eq!(agreement.observe(&follower), None);
        let parting = Parting { after: 3, by: 4 };
        assert_eq!(agreement.hear(claim(&leader)), Some(parting));
        for value in ["d", "e"] {
            put(&mut leader, value);
            put(&mut follower, value);
            assert_eq!(agreement.observe(&follower), None);
            assert_eq!(agreement.hear(claim(&leader)), None);
        }
    }

    #[test]
    fn a_store_from_a_snapshot_is_compared_from_there_on() {
        let mut leader = Store::default();
        for value in ["a", "b", "c"] {
            put(&mut leader, value);
        }
        let mut follower = copied(&mut leader);
        let mut agreement = Agreement::default();
        assert_eq!(agreement.observe(&follower), None);
        assert_eq!(agreement.hear(claim(&leader)), None);
        put(&mut leader, "d");
        put(&mut follower, "d");
        assert_eq!(agreement.observe(&follower), None);
        assert_eq!(agreement.hear(claim(&leader)), None);
        assert_eq!(agreement.compared(), 2);
        // Another snapshot comes in its place.
        put(&mut leader, "e");
        let mut follower = copied(&mut leader);
        assert_eq!(follower.sum(), leader.sum());
        assert_eq!(agreement.observe(&follower), None);
        assert_eq!(agreement.hear(claim(&leader)), None);
        put(&mut leader, "f");
        put(&mut follower, "F");
        assert_eq!(agreement.observe(&follower), None);
        assert!(agreement.hear(claim(&leader)).is_some());
    }

    #[test]
    fn sums_that_began_apart_are_compared_by_how_far_they_are_apart() {
        let (mut leader, mut follower) = (Store::default(), Store::default());
        let mut agreement = Agreement::default();
        put(&mut leader, "a");
        put(&mut follower, "A");
        let apart = |store: &Store| Claim {
            sum: Sum {
                since: 2,
                ..store.sum()
            },
            ..claim(store)
        };
        assert_eq!(agreement.observe(&follower), None);
        assert_eq!(agreement.hear(apart(&leader)), None);
        assert_eq!(agreement.compared(), 0);
        put(&mut leader, "b");
        put(&mut follower, "b");
        assert_eq!(agreement.observe(&follower), None);
        assert_eq!(agreement.hear(apart(&leader)), None);
        assert_eq!(agreement.compared(), 1);
        put(&mut leader, "c");
        put(&mut follower, "C");
        assert_eq!(agreement.observe(&follower), None);
        let parting = Parting { after: 3, by: 4 };
        assert_eq!(agreement.hear(apart(&leader)), Some(parting));
        // The same stores, had they begun together.
        let parting = Parting { after: 1, by: 4 };
        assert_eq!(agreement.hear(claim(&leader)), Some(parting));
    }

    #[test]
    fn what_was_taken_back_is_no_part_of_the_sum() {
        let mut store = Store::default();
        put(&mut store, "a");
        let before = store.sum();
        // Its second put keeps the value of a key that is not there, so its first is taken back.
        let put = |key, ignore_value| {
            RequestOp::Put(PutRequest {
                key: Bytes::from_static(key),
                ignore_value,
                ..PutRequest::default()
            })
        };
        let command = Command::Txn(TxnRequest {
            compare: Vec::new(),
            success: Vec::from([put(b"k", false), put(b"none", true)]),
            failure: Vec::new(),
        });
        let outcome = store.apply(LogId::default(), &command.encode());
        assert!(outcome.result.is_err());
        assert_eq!(store.sum(), before);
    }
}
