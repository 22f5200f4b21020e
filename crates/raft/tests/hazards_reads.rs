//! What can go wrong with reads that share rounds, trust clocks, or are content with the past.
//!
//! # Source
//! Rules R6, R7, R11 and R12; dissertation §6.4, §6.4.1.

mod common;

use common::solo::*;
use common::*;
use headwater_raft::read::READS_PER_PEER_MAX;

const ELECTION_NS: u64 = 1000 * MS;

fn with_leases(drift_ppm: u32) -> Options {
    Options {
        lease_drift_ppm: Some(drift_ppm),
        ..Options::default()
    }
}

/// A leader of term 2 among `voters`, its first entry committed.
fn leader(options: Options, voters: u64) -> Solo {
    let mut solo = Solo::with(options, voters, 1, None, &[1]);
    // It may have promised something before it started.
    solo.now = solo.now.after(2 * ELECTION_NS);
    let mut solo = solo.elected();
    for peer in 2..=voters / 2 + 1 {
        solo.hear(peer, durable(2, 2));
    }
    assert_eq!(solo.raft.commit(), Index(2));
    solo
}

fn beats(fx: &[Effect]) -> usize {
    let beat = |effect: &&Effect| {
        let Effect::Send { message, .. } = effect else {
            return false;
        };
        matches!(message, Message::Beat { .. })
    };
    fx.iter().filter(beat).count()
}

/// The reads served, here or to a follower.
fn served(fx: &[Effect]) -> usize {
    let serves = |effect: &&Effect| match effect {
        Effect::Read { result, .. } => result.is_ok(),
        Effect::Send { message, .. } => matches!(message, Message::ReadTell { at: Ok(_), .. }),
        _ => false,
    };
    fx.iter().filter(serves).count()
}

fn has_lease(solo: &Solo) -> bool {
    solo.raft
        .lease_until()
        .is_some_and(|until| solo.now < until)
}

// Rounds.

#[test]
fn ten_thousand_reads_of_one_turn_cost_one_heartbeat_to_each_peer() {
    let mut solo = leader(Options::default(), 5);
    let mut fx = Vec::new();
    for id in 0..10_000 {
        let level = ReadLevel::Linearizable;
        solo.raft.read(solo.now, ReadId(id), level, &mut fx);
    }
    for id in 0..200 {
        fx.extend((2..=5).flat_map(|peer| solo.hear(peer, read_ask(id, 1))));
    }
    assert_eq!(fx, []);
    solo.raft.end_turn(&mut fx);
    assert_eq!(beats(&fx), 4);
    assert_eq!(served(&solo.hear(2, beat_reply(2, 1))), 0);
    assert_eq!(served(&solo.hear(3, beat_reply(2, 1))), 10_800);
}

#[test]
fn a_turn_without_reads_begins_no_round() {
    let mut solo = leader(Options::default(), 3);
    let mut fx = Vec::new();
    solo.raft.end_turn(&mut fx);
    solo.read(1, ReadLevel::Linearizable);
    solo.raft.end_turn(&mut fx);
    assert_eq!(beats(&fx), 0);
}

#[test]
fn while_rounds_are_not_confirmed_reads_gather_and_none_is_lost() {
    let mut solo = leader(Options::default(), 3);
    let turns = 1000;
    let count = |id| beats(&solo.read(id, ReadLevel::Linearizable));
    let sent: usize = (0..turns).map(count).sum();
    assert!(sent <= 2 * 64, "{sent} heartbeats without an answer");
    let mut fx = solo.hear(2, beat_reply(2, 64));
    solo.raft.end_turn(&mut fx);
    fx.extend(solo.hear(2, beat_reply(2, 65)));
    assert_eq!(served(&fx) as u64, turns);
}

#[test]
fn a_read_never_joins_a_round_that_left_before_it() {
    let mut solo = leader(Options::default(), 3);
    solo.read(1, ReadLevel::Linearizable);
    solo.read(2, ReadLevel::Linearizable);
    assert_eq!(served(&solo.hear(2, beat_reply(2, 1))), 1);
    assert_eq!(served(&solo.hear(3, beat_reply(2, 2))), 1);
}

#[test]
fn a_peer_that_asks_for_too_many_reads_is_told_and_the_others_are_not_hurt() {
    let mut solo = leader(Options::default(), 3);
    let most = READS_PER_PEER_MAX as u64;
    for id in 0..most {
        assert_eq!(solo.hear(2, read_ask(id, 1)), []);
    }
    let fx = solo.hear(2, read_ask(most, 1));
    let (id, life, at) = (ReadId(most), 1, Err(ReadLost::Busy));
    assert_eq!(sent_to(&fx, 2), [Message::ReadTell { id, life, at }]);
    assert_eq!(solo.hear(3, read_ask(1, 1)), []);
    // What is answered makes room.
    solo.raft.end_turn(&mut Vec::new());
    let fx = solo.hear(2, beat_reply(2, 1));
    assert_eq!(served(&fx) as u64, most + 1);
    assert_eq!(solo.hear(2, read_ask(most, 1)), []);
}

#[test]
fn a_leader_that_is_told_of_a_newer_term_loses_every_read_once() {
    let mut solo = leader(Options::default(), 3);
    solo.read(1, ReadLevel::Linearizable);
    let mut fx = Vec::new();
    let level = ReadLevel::Linearizable;
    solo.raft.read(solo.now, ReadId(2), level, &mut fx);
    fx.extend(solo.hear(3, beat(3, 0, 0)));
    let lost = |id| Effect::Read {
        id: ReadId(id),
        result: Err(ReadLost::LeaderChanged),
    };
    assert_eq!(fx[..2], [lost(1), lost(2)]);
    solo.raft.end_turn(&mut fx);
    assert_eq!(beats(&fx), 0);
}

// Leases.

#[test]
fn a_promise_shorter_than_the_leaders_election_timeout_lends_no_lease() {
    for (promise_ns, lends) in [(0, false), (ELECTION_NS - 1, false), (ELECTION_NS, true)] {
        let mut solo = leader(with_leases(0), 3);
        solo.deadline();
        solo.hear(2, promising_reply(2, 1, promise_ns));
        assert_eq!(has_lease(&solo), lends, "{promise_ns}");
    }
}

#[test]
fn a_leader_without_leases_takes_none_from_those_who_promise() {
    let mut solo = leader(Options::default(), 3);
    solo.read(1, ReadLevel::Lease);
    solo.hear(2, promising_reply(2, 1, ELECTION_NS));
    assert!(!has_lease(&solo));
    assert_eq!(served(&solo.read(2, ReadLevel::Lease)), 0);
}

#[test]
fn a_lease_needs_the_promises_of_a_quorum_for_rounds_that_are_young_enough() {
    let mut solo = leader(with_leases(0), 5);
    let begun = solo.deadline();
    let first = solo.now;
    assert_eq!(beats(&begun), 4);
    solo.hear(2, promising_reply(2, 1, ELECTION_NS));
    assert!(!has_lease(&solo), "two of five");
    solo.deadline();
    solo.hear(3, promising_reply(2, 2, ELECTION_NS));
    assert_eq!(solo.raft.lease_until(), Some(first.after(ELECTION_NS)));
    // The older of two promises counts, until it is made anew.
    solo.hear(2, promising_reply(2, 2, ELECTION_NS));
    let until = solo.now.after(ELECTION_NS);
    assert_eq!(solo.raft.lease_until(), Some(until));
}

#[test]
fn a_lease_is_dated_no_later_than_its_round_however_many_rounds_there_are() {
    let mut solo = leader(with_leases(0), 3);
    let mut left = vec![solo.now];
    // Rounds at all distances: many within a millisecond, and some far apart.
    for id in 1..=500 {
        let pause = if id % 100 == 0 { 40 * MS } else { MS / 5 };
        solo.now = solo.now.after(pause);
        solo.read(id, ReadLevel::Linearizable);
        left.push(solo.now);
        // The answers are some rounds behind.
        let round = id.saturating_sub(30).max(1);
        solo.hear(2, promising_reply(2, round, ELECTION_NS));
        let until = solo.raft.lease_until().expect("node 2 promised");
        let sent_at = left[round as usize];
        assert!(until <= sent_at.after(ELECTION_NS), "round {round}");
        // Nor needlessly early: by a sixty-fourth of the timeout at most.
        assert!(until.after(ELECTION_NS / 64) >= sent_at.after(ELECTION_NS));
    }
}

#[test]
fn a_lone_voter_has_a_lease_once_the_first_entry_of_its_term_is_durable() {
    let mut solo = Solo::with(with_leases(0), 1, 1, None, &[1]);
    assert!(solo.raft.next_deadline() >= Instant(ELECTION_NS));
    solo.deadline();
    solo.step(Input::Persisted { upto: WriteId(1) });
    assert_eq!(solo.raft.role(), RoleName::Leader);
    let early = solo.read(1, ReadLevel::Lease);
    assert_eq!((served(&early), solo.raft.lease_until()), (0, None));
    solo.persist();
    assert_eq!(served(&solo.read(2, ReadLevel::Lease)), 2, "both");
}

#[test]
fn a_leader_that_steps_down_has_no_lease_and_none_when_it_leads_again() {
    let mut solo = leader(with_leases(0), 3);
    solo.deadline();
    solo.hear(2, promising_reply(2, 1, ELECTION_NS));
    assert!(has_lease(&solo));
    solo.hear(3, vote_reply(Term(3), false, false));
    solo.persist();
    assert_eq!(solo.raft.lease_until(), None);
    let mut solo = solo.elected();
    solo.hear(2, durable(4, 3));
    assert_eq!((solo.raft.commit(), has_lease(&solo)), (Index(3), false));
    // An answer of the old term says nothing about the new one.
    solo.hear(2, promising_reply(2, 1, ELECTION_NS));
    assert!(!has_lease(&solo));
}

#[test]
fn a_drift_of_everything_leaves_no_lease() {
    for drift_ppm in [1_000_000, u32::MAX] {
        let mut solo = leader(with_leases(drift_ppm), 3);
        solo.deadline();
        solo.hear(2, promising_reply(2, 1, ELECTION_NS));
        assert!(!has_lease(&solo));
    }
}

#[test]
fn a_change_of_members_ends_the_lease_until_the_new_majority_has_promised_too() {
    let disks = (0..3).map(|_| disk::Disk::holding(0, &[])).collect();
    let mut c = Cluster::with_options(with_leases(0), disks);
    (4..=6).for_each(|_| {
        c.spare();
    });
    c.elect(1);
    c.live(ELECTION_NS);
    assert!(c.raft(1).lease_until().is_some());
    let target = Config::of_voters([1, 4, 5].map(n)).with_learners([n(6)]);
    c.change(1, &target, true).expect("begins");
    // The joint configuration is in force, and stays: it cannot be committed.
    assert_eq!(c.raft(1).lease_until(), None);
    let holds = |from: u64, m: &Message| from > 3 && matches!(m, Message::AppendReply { .. });
    let promises = |m: &Message| matches!(m, Message::BeatReply { .. });
    for _ in 0..2 {
        c.deadline(1);
        let silent = |from: u64, m: &Message| (4..=5).contains(&from) && promises(m);
        c.settle_but(|from, _, m| holds(from, m) || silent(from, m));
        assert_eq!(
            c.raft(1).lease_until(),
            None,
            "the old voters and a learner"
        );
    }
    c.deadline(1);
    c.settle_but(|from, _, m| holds(from, m));
    assert!(c.raft(1).config().is_joint());
    assert!(c.raft(1).lease_until().is_some());
}

#[test]
fn during_a_change_the_lease_ends_when_the_old_majority_promises_no_more() {
    let disks = (0..3).map(|_| disk::Disk::holding(0, &[])).collect();
    let mut c = Cluster::with_options(with_leases(0), disks);
    for _ in 4..=5 {
        c.spare();
    }
    c.elect(1);
    let target = Config::of_voters([1, 4, 5].map(n));
    c.change(1, &target, true).expect("begins");
    // The new voters acknowledge nothing, so the change stays; the old ones do, but promise nothing.
    let lost = |from: u64, m: &Message| match m {
        Message::AppendReply { .. } => from > 3,
        Message::BeatReply { .. } => from == 2 || from == 3,
        _ => false,
    };
    for beat in 0..30 {
        c.deadline(1);
        c.propose(1, 1).expect("leads");
        c.settle_but(|from, _, m| lost(from, m));
        assert!(c.raft(1).config().is_joint());
        let lent = beat > 10 && c.raft(1).lease_until().is_some_and(|until| c.now < until);
        assert!(!lent, "after {beat} heartbeats");
    }
}

#[test]
fn what_a_lost_disk_had_promised_lends_no_lease() {
    let disks = (0..3).map(|_| disk::Disk::holding(0, &[])).collect();
    let mut c = Cluster::with_options(with_leases(0), disks);
    c.isolate(3);
    c.elect(1);
    let met = |disk| Input::Met {
        peer: n(2),
        disk: Incarnation(disk),
        life: 1,
    };
    c.step(1, met(7));
    c.settle();
    c.live(300 * MS);
    assert_eq!(c.raft(1).config().disk_of(n(2)), Some(Incarnation(7)));
    assert!(c.raft(1).lease_until().is_some());
    c.step(1, met(8));
    assert_eq!(c.raft(1).lease_until(), None);
}

#[test]
fn a_promise_counts_from_any_word_of_the_leader_and_covers_votes_of_both_kinds() {
    let words = [beat(1, 0, 0), append(1, id(0, 0), &[1], 0), commit(1, 0)];
    for word in words {
        let mut solo = Solo::with(with_leases(0), 3, 0, None, &[]);
        solo.answer(2, word);
        let until = solo.now.after(ELECTION_NS);
        // The connection breaks, and a newer term comes by another way.
        let (peer, up) = (n(2), false);
        solo.step(Input::Link { peer, up });
        solo.answer(3, vote_reply(Term(5), false, false));
        assert_eq!(solo.raft.term(), Term(5));
        solo.now = Instant(until.0 - 1);
        let last = id(9, 9);
        let granted = |pre| vote_reply(Term(6), pre, true);
        assert!(!solo.answer(3, pre_vote(6, last)).contains(&granted(true)));
        assert_eq!(solo.answer(3, vote(6, last)), [], "not even heard");
        let denied = vote_reply(Term(5), false, false);
        assert_eq!(solo.answer(3, vote(5, last)), [denied]);
        assert!(solo.raft.next_deadline() >= until);
        solo.now = until;
        assert_eq!(solo.answer(3, pre_vote(6, last)), [granted(true)]);
        assert_eq!(solo.answer(3, vote(6, last)), [granted(false)]);
    }
}

#[test]
fn without_leases_a_broken_connection_still_frees_a_voter_at_once() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.hear(2, beat(1, 0, 0));
    let (peer, up) = (n(2), false);
    solo.step(Input::Link { peer, up });
    let granted = vote_reply(Term(2), true, true);
    assert_eq!(solo.answer(3, pre_vote(2, id(0, 0))), [granted]);
}

// Marks.

#[test]
fn a_bounded_read_is_answered_while_no_leader_is_known_and_after_the_term_has_changed() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.read(3);
    c.settle();
    c.isolate(3);
    c.advance(5 * ELECTION_NS);
    c.step(3, Input::Deadline);
    assert_eq!(c.raft(3).leader(), None);
    let within = |max_lag_ns| ReadLevel::Bounded { max_lag_ns };
    let old = c.read_as(3, within(5 * ELECTION_NS));
    assert_eq!(c.answer(3, old), Some(Ok(Index(1))));
    let new = c.read_as(3, within(5 * ELECTION_NS - 1));
    assert_eq!(c.answer(3, new), Some(Err(ReadLost::NoLeader)));
}

#[test]
fn an_answer_by_lease_leaves_no_mark() {
    let mut c = Cluster::with_options(
        with_leases(0),
        (0..3).map(|_| disk::Disk::holding(0, &[])).collect(),
    );
    c.elect(1);
    c.live(ELECTION_NS);
    let by_lease = c.read_as(2, ReadLevel::Lease);
    c.settle();
    assert_eq!(c.answer(2, by_lease), Some(Ok(Index(1))));
    assert_eq!(c.raft(2).mark(c.now, u64::MAX), None);
}
