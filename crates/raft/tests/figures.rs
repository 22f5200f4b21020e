//! The Raft paper's Figures 7, 8 and 13 as scenarios.
//!
//! # Source
//! Raft paper (extended version), Figures 7, 8 and 13; section 5.3 for the number of round trips.

mod common;

use std::collections::BTreeSet;

use common::solo::{Solo, append, beat, durable, sent_to};
use common::*;
use headwater_raft::random::Dice;

/// How often a node said that it lacks common ground with an append.
fn conflicts(c: &Cluster, at: u64) -> usize {
    let is_conflict = |effect: &Effect| {
        let Effect::Send { message, .. } = effect else {
            return false;
        };
        matches!(
            message,
            Message::AppendReply {
                result: AppendResult::Conflict { .. },
                ..
            }
        )
    };
    c.seen
        .iter()
        .filter(|(node, effect)| *node == n(at) && is_conflict(effect))
        .count()
}

// Figure 7: a leader of term 8, and what six followers may look like when it is elected.

const FIGURE_7: [(u64, &[u64]); 7] = [
    (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]),
    (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
    (7, &[1, 1, 1, 4]),
    (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
    (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
    (7, &[1, 1, 1, 4, 4, 4, 4]),
    (7, &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
];

#[test]
fn all_six_followers_of_figure_7_are_repaired() {
    let mut c = Cluster::with_logs(&FIGURE_7);
    c.elect(1);
    for at in 1..=7 {
        assert_eq!(
            c.terms(at),
            [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8],
            "follower {at}"
        );
    }
    assert_eq!(c.raft(1).commit(), Index(11));
}

#[test]
fn figure_7_costs_a_round_trip_for_each_term_that_differs_at_most() {
    let mut c = Cluster::with_logs(&FIGURE_7);
    c.elect(1);
    // Terms that the follower has and the leader has not, or the other way round, behind their
    // common prefix; a missing tail alone costs one.
    for (at, most) in [(2, 1), (3, 1), (4, 0), (5, 0), (6, 1), (7, 2)] {
        let count = conflicts(&c, at);
        assert!(count <= most, "follower {at} needed {count} round trips");
    }
}

#[test]
fn finding_common_ground_never_costs_more_round_trips_than_terms() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let common: Vec<u64> = vec![1; dice.below(5) as usize];
        let (mut leading, mut following) = (common.clone(), common);
        // Each later term was led by one side of a partition or the other.
        for term in 2..2 + dice.below(10) {
            let side = if dice.below(2) == 0 {
                &mut leading
            } else {
                &mut following
            };
            side.extend(std::iter::repeat_n(term, dice.below(6) as usize));
        }
        if leading.last() < following.last() {
            std::mem::swap(&mut leading, &mut following);
        }
        let mut c = Cluster::with_logs(&[(20, &leading), (20, &leading), (20, &following)]);
        c.elect(1);
        assert_eq!(c.terms(3), c.terms(1));
        let terms: BTreeSet<u64> = leading.iter().chain(&following).copied().collect();
        let count = conflicts(&c, 3);
        assert!(
            count <= terms.len() + 1,
            "{count} for {leading:?} and {following:?}"
        );
        let own: BTreeSet<u64> = following.iter().copied().collect();
        assert!(
            count <= own.len() + 1,
            "{count} for {leading:?} and {following:?}"
        );
    }
}

// Figure 8: an entry of an older term on a majority is not safe yet.

/// Figure 8 up to (c): node 1 leads term 4 and has brought its entry of term 2 to node 3; its
/// entry of term 4 is nowhere else.
fn figure_8() -> Cluster {
    let logs: [(u64, &[u64]); 5] = [
        (3, &[1, 2]),
        (3, &[1, 2]),
        (3, &[1]),
        (3, &[1]),
        (3, &[1, 3]),
    ];
    let mut c = Cluster::with_logs(&logs);
    c.isolate(5);
    c.pulls = false;
    c.elect(1);
    assert_eq!((c.raft(1).term(), c.terms(1)), (Term(4), vec![1, 2, 4]));
    // A header without entries to node 2, which has the old entry; node 3 lacks it.
    c.batch = 0;
    c.pull(1, 2);
    c.pull(1, 3);
    c.settle();
    c.batch = 1;
    c.pull(1, 3);
    c.settle();
    assert_eq!(c.terms(3), [1, 2]);
    for at in [2, 3] {
        assert_eq!(
            c.raft(1).matched(n(at)),
            Some(Index(2)),
            "three of five hold the entry"
        );
    }
    c.heal();
    c
}

#[test]
fn figure_8_an_entry_of_an_older_term_on_a_majority_is_not_committed_by_counting() {
    let c = figure_8();
    for at in 1..=5 {
        assert_eq!(c.raft(at).commit(), Index(0));
    }
}

#[test]
fn figure_8_d_such_an_entry_may_still_be_overwritten() {
    let mut c = figure_8();
    c.crash(1, 0);
    c.pulls = true;
    c.batch = u64::MAX;
    // It learns of term 4 first.
    c.stand(5);
    c.settle();
    c.elect(5);
    for at in 2..=5 {
        assert_eq!(c.terms(at), [1, 3, 5], "node {at}");
    }
}

#[test]
fn figure_8_e_it_is_committed_with_an_entry_of_the_leaders_term_and_then_it_stays() {
    let mut c = figure_8();
    c.pulls = true;
    c.batch = u64::MAX;
    c.isolate(5);
    c.deadline(1);
    c.settle();
    assert_eq!(c.raft(1).commit(), Index(3));
    c.crash(1, 0);
    c.heal();
    for _ in 0..3 {
        c.stand(5);
        c.settle();
        assert_ne!(
            c.raft(5).role(),
            RoleName::Leader,
            "5 lacks what is committed"
        );
    }
}

// Figure 13: InstallSnapshot.

fn offer(base: LogId) -> Message {
    Message::Snapshot {
        term: Term(5),
        base,
    }
}

fn installed(solo: &mut Solo, base: LogId) -> Vec<Effect> {
    let config = solo.raft.config().clone();
    solo.step(Input::Installed { base, config })
}

#[test]
fn figure_13_1_a_snapshot_of_an_older_term_is_answered_with_the_newer_and_not_taken() {
    let mut solo = Solo::new(3, 6, &[1]);
    let fx = solo.hear(2, offer(id(4, 9)));
    assert_eq!(sent_to(&fx, 2), [common::solo::beat_reply(6, 0)]);
    assert!(
        !fx.iter()
            .any(|effect| matches!(effect, Effect::Install { .. }))
    );
}

#[test]
fn figure_13_6_what_follows_the_snapshots_last_entry_is_kept() {
    let mut solo = Solo::new(3, 5, &[1, 1, 4, 5]);
    solo.hear(2, offer(id(4, 3)));
    installed(&mut solo, id(4, 3));
    assert_eq!((solo.raft.last(), solo.raft.commit()), (id(5, 4), Index(3)));
}

#[test]
fn figure_13_7_otherwise_the_entire_log_is_discarded() {
    for log in [&[1, 1][..], &[1, 1, 1, 1, 1, 1]] {
        let mut solo = Solo::new(3, 5, log);
        solo.hear(2, offer(id(4, 3)));
        let mut fx = installed(&mut solo, id(4, 3));
        let places = (solo.raft.base(), solo.raft.last(), solo.raft.commit());
        assert_eq!(places, (id(4, 3), id(4, 3), Index(3)));
        // The snapshot is durable already: the leader goes on from there.
        fx.extend(solo.persist());
        assert_eq!(sent_to(&fx, 2), [durable(5, 3)]);
        assert_eq!(
            solo.answer(2, append(5, id(4, 3), &[5], 4)),
            [durable(5, 4)]
        );
    }
}

#[test]
fn an_old_snapshot_takes_nothing_back() {
    let mut solo = Solo::new(3, 5, &[1, 1, 4, 4]);
    solo.hear(2, append(5, id(4, 4), &[], 4));
    let before = (solo.raft.last(), solo.raft.commit());
    assert_eq!(sent_to(&solo.hear(2, offer(id(1, 2))), 2), [durable(5, 4)]);
    installed(&mut solo, id(1, 2));
    assert_eq!((solo.raft.last(), solo.raft.commit()), before);
    solo.hear(2, beat(5, 4, 0));
    assert_eq!((solo.raft.last(), solo.raft.commit()), before);
}
