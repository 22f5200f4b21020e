//! Servers that crash, restart, are cut off or write slowly: the dissertation's sections on them,
//! sentence by sentence.
//!
//! # Source
//! Dissertation §3.7 (crashes), §3.8 (persisted state and restarts), §6.2 (stale leadership), §9.6
//! (pre-vote), §10.2.1 (the leader's disk in parallel), §10.2.2 (batching and pipelining).

mod common;

use common::solo::*;
use common::*;

const ELECTION_NS: u64 = 1000 * MS;
const HEARTBEAT_NS: u64 = 100 * MS;

fn writes(fx: &[Effect]) -> usize {
    let is_write = |effect: &&Effect| matches!(effect, Effect::Persist(_));
    fx.iter().filter(is_write).count()
}

/// What a peer should be sent, as indices.
fn wanted(solo: &Solo, peer: u64) -> Option<(u64, u64)> {
    match solo.raft.pull(n(peer)) {
        Pull::Append { first, last } => Some((first.0, last.0)),
        Pull::Nothing | Pull::Snapshot => None,
    }
}

/// Entries up to `upto` leave for a peer.
fn send(solo: &mut Solo, peer: u64, upto: u64) -> Message {
    solo.raft.sent(solo.now, n(peer), Index(upto))
}

/// Node 1 leads three voters in term 2; node 2 has acknowledged the first entry.
fn leader() -> Solo {
    let mut solo = Solo::leading(3, 1, &[]);
    send(&mut solo, 2, 1);
    solo.hear(2, durable(2, 1));
    solo
}

// §3.7.

#[test]
fn appends_to_a_server_that_is_down_are_tried_until_it_is_there_again() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.crash(3, 0);
    c.propose(1, 3).expect("leads");
    c.live(20 * ELECTION_NS);
    assert_eq!(c.raft(1).commit(), Index(4), "the others do without it");
    c.restart(3);
    c.live(ELECTION_NS);
    assert_eq!((c.terms(3), c.raft(3).commit()), (c.terms(1), Index(4)));
}

#[test]
fn a_candidate_asks_servers_that_are_down_until_they_are_there_again() {
    let mut c = Cluster::new(3);
    c.crash(2, 0);
    c.crash(3, 0);
    c.live(20 * ELECTION_NS);
    assert_eq!(c.leader(), None);
    c.restart(3);
    c.live(3 * ELECTION_NS);
    assert!(c.leader().is_some());
}

#[test]
fn a_request_that_comes_once_more_after_a_restart_has_no_further_effect() {
    let request = append(5, id(1, 1), &[5, 5], 0);
    let mut solo = Solo::new(3, 5, &[1]);
    assert_eq!(solo.answer(2, request.clone()).last(), Some(&durable(5, 3)));
    // It crashed before the answer left.
    let mut again = Solo::new(3, 5, &[1, 5, 5]);
    let fx = again.hear(2, request);
    assert_eq!((writes(&fx), again.terms()), (0, vec![1, 5, 5]));
    assert_eq!(sent_to(&fx, 2), [durable(5, 3)]);

    let request = vote(5, id(1, 1));
    let granted = [vote_reply(Term(5), false, true)];
    let mut solo = Solo::new(3, 4, &[1]);
    assert_eq!(solo.answer(2, request.clone()), granted);
    let mut again = Solo::voted(3, 5, Some(2), &[1]);
    let fx = again.hear(2, request);
    assert_eq!((writes(&fx), sent_to(&fx, 2)), (0, granted.to_vec()));
}

// §3.8.

#[test]
fn the_persisted_vote_keeps_a_server_from_voting_twice_in_a_term() {
    let mut c = Cluster::new(3);
    c.stand(1);
    c.deliver(1, 3);
    c.deliver(3, 1);
    c.persist(1);
    c.deliver(1, 3);
    c.persist(3);
    let voted = c.raft(3).hard_state();
    assert_eq!((voted.term, voted.voted_for), (Term(1), Some(n(1))));
    c.crash(3, 0);
    c.restart(3);
    c.receive(2, 3, vote(1, id(0, 0)));
    c.persist(3);
    assert_eq!(c.on_wire(3, 2), [vote_reply(Term(1), false, false)]);
}

#[test]
fn the_persisted_term_keeps_entries_of_a_newer_leader_from_those_of_a_deposed_one() {
    let mut c = Cluster::with_logs(&[(1, &[1]), (1, &[1]), (1, &[1])]);
    c.elect(1);
    let (term, last) = (c.raft(3).term().0, c.raft(3).last());
    c.crash(3, 0);
    c.restart(3);
    c.receive(2, 3, append(term - 1, id(1, 1), &[1, 1], 3));
    c.persist(3);
    assert_eq!((c.raft(3).last(), c.raft(3).term()), (last, Term(term)));
}

#[test]
fn new_entries_are_persisted_before_they_count() {
    // A follower's: what a crash would lose is not acknowledged.
    let mut solo = Solo::new(3, 5, &[]);
    let fx = solo.hear(2, append(5, id(0, 0), &[5], 1));
    assert_eq!(sent_to(&fx, 2), []);
    assert_eq!(sent_to(&solo.persist(), 2), [durable(5, 1)]);
    // The leader's own.
    let mut solo = leader();
    solo.propose(1);
    assert_eq!(commits(&solo.hear(2, durable(2, 2))), []);
    assert_eq!(commits(&solo.persist()), [2]);
}

#[test]
fn the_commit_index_may_be_lost_everywhere_and_soon_is_what_it_was() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 5).expect("leads");
    c.settle();
    for at in 1..=3 {
        assert_eq!(c.raft(at).commit(), Index(6));
        c.crash(at, 0);
        // Our disks remember a hint, which need not be there.
        c.node_mut(at).disk.safe.commit_hint = Index(0);
        c.restart(at);
        assert_eq!(c.raft(at).commit(), Index(0));
    }
    c.elect(2);
    c.live(2 * HEARTBEAT_NS);
    for at in 1..=3 {
        assert_eq!(c.raft(at).commit(), Index(7), "with the new leader's entry");
    }
}

// §6.2.

#[test]
fn a_leader_steps_down_after_an_election_timeout_without_a_majority() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.isolate(1);
    c.live(ELECTION_NS - HEARTBEAT_NS);
    assert_eq!(c.raft(1).role(), RoleName::Leader);
    c.live(2 * HEARTBEAT_NS);
    assert_eq!(c.raft(1).role(), RoleName::Follower);
    let refused = c.propose(1, 1);
    assert_eq!(refused, Err(NotTaken::NotLeader { leader: None }));
}

#[test]
fn a_leader_that_hears_a_majority_stays_however_long_it_does_not_hear_the_others() {
    let mut c = Cluster::new(5);
    c.elect(1);
    c.isolate(4);
    c.isolate(5);
    c.live(10 * ELECTION_NS);
    assert_eq!((c.leader(), c.raft(1).term()), (Some(1), Term(1)));
}

#[test]
fn followers_forget_the_leader_when_they_start_an_election_and_when_the_term_changes() {
    let follower = || {
        let mut solo = Solo::new(3, 1, &[]);
        solo.hear(2, beat(1, 0, 0));
        assert_eq!(solo.raft.leader(), Some(n(2)));
        solo
    };
    let mut solo = follower();
    solo.deadline();
    assert_eq!(solo.raft.role(), RoleName::PreCandidate);
    assert_eq!(solo.raft.leader(), None);
    let mut solo = follower();
    solo.hear(3, vote_reply(Term(2), false, false));
    assert_eq!((solo.raft.term(), solo.raft.leader()), (Term(2), None));
}

// §9.6.

#[test]
fn a_candidate_raises_its_term_only_once_a_majority_would_vote_for_it() {
    let mut solo = Solo::new(5, 3, &[1]);
    let mut fx = solo.deadline();
    fx.extend(solo.hear(2, vote_reply(Term(4), true, true)));
    fx.extend(solo.hear(3, vote_reply(Term(3), true, false)));
    fx.extend(solo.hear(4, vote_reply(Term(3), true, false)));
    assert_eq!((solo.raft.term(), writes(&fx)), (Term(3), 0));
    solo.hear(5, vote_reply(Term(4), true, true));
    assert_eq!(solo.raft.term(), Term(4));
}

#[test]
fn a_voter_is_willing_if_the_candidates_log_is_up_to_date() {
    let own = id(3, 2);
    for (last, willing) in [
        (own, true),
        (id(4, 1), true),
        (id(3, 1), false),
        (id(2, 9), false),
    ] {
        // Whom it has voted for says nothing about the next term.
        let mut solo = Solo::voted(3, 5, Some(3), &[1, 3]);
        let term = Term(if willing { 6 } else { 5 });
        let said = solo.answer(2, pre_vote(6, last));
        assert_eq!(said, [vote_reply(term, true, willing)], "{last}");
    }
}

#[test]
fn a_voter_is_willing_if_it_has_heard_no_leader_for_the_least_election_timeout() {
    for (silence_ns, willing) in [(ELECTION_NS - 1, false), (ELECTION_NS, true)] {
        let mut solo = Solo::new(3, 5, &[]);
        solo.hear(2, beat(5, 0, 0));
        solo.now = solo.now.after(silence_ns);
        let term = Term(if willing { 6 } else { 5 });
        let said = solo.answer(3, pre_vote(6, id(0, 0)));
        assert_eq!(said, [vote_reply(term, true, willing)]);
    }
}

#[test]
fn a_server_that_was_cut_off_comes_back_as_a_follower_in_the_same_term() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.isolate(3);
    c.live(20 * ELECTION_NS);
    assert_eq!(c.raft(3).term(), Term(1), "nobody permits more");
    assert_ne!(c.raft(3).role(), RoleName::Follower);
    c.heal();
    // It asks before it hears the leader.
    c.deadline(3);
    c.settle();
    assert_eq!(c.raft(3).term(), Term(1), "the others hear a leader");
    c.live(2 * HEARTBEAT_NS);
    assert_eq!(c.raft(3).role(), RoleName::Follower);
    for at in 1..=3 {
        assert_eq!(
            (c.raft(at).term(), c.raft(at).leader()),
            (Term(1), Some(n(1)))
        );
    }
}

// §10.2.1.

#[test]
fn followers_are_sent_an_entry_while_the_leaders_own_write_is_under_way() {
    let mut solo = leader();
    solo.propose(1);
    assert_eq!(solo.raft.durable(), Index(1));
    assert_eq!(wanted(&solo, 2), Some((2, 2)));
}

#[test]
fn the_leaders_own_match_index_is_what_its_disk_has() {
    let mut solo = Solo::leading(5, 1, &[]);
    solo.propose(1);
    solo.hear(2, durable(2, 2));
    assert_eq!(commits(&solo.hear(3, durable(2, 1))), [1]);
    assert_eq!(commits(&solo.hear(3, durable(2, 2))), [], "two of five");
    assert_eq!(commits(&solo.persist()), [2], "and its own");
}

#[test]
fn a_majority_of_followers_commits_before_the_leaders_disk_has_the_entry() {
    let mut solo = leader();
    solo.propose(1);
    solo.hear(2, durable(2, 2));
    assert_eq!(commits(&solo.hear(3, durable(2, 2))), [2]);
    assert_eq!(solo.raft.durable(), Index(1));
    assert_eq!(commits(&solo.persist()), [], "it has been");
}

// §10.2.2.

#[test]
fn entries_that_have_accumulated_go_in_one_message_and_are_written_at_once() {
    let mut solo = leader();
    solo.propose(2);
    solo.propose(3);
    assert_eq!(wanted(&solo, 2), Some((2, 6)));
    let message = send(&mut solo, 2, 6);
    let mut follower = Solo::new(3, 2, &[2]);
    let fx = follower.hear(2, message);
    assert_eq!((writes(&fx), follower.raft.last()), (1, id(2, 6)));
}

#[test]
fn next_index_moves_on_when_entries_leave_not_when_they_are_acknowledged() {
    let mut solo = leader();
    for index in 2..10 {
        solo.propose(1);
        assert_eq!(wanted(&solo, 2), Some((index, index)));
        send(&mut solo, 2, index);
    }
    assert_eq!(solo.raft.matched(n(2)), Some(Index(1)));
}

#[test]
fn what_is_not_answered_in_time_is_sent_again_from_where_it_began() {
    let mut solo = leader();
    solo.propose(2);
    send(&mut solo, 2, 2);
    send(&mut solo, 2, 3);
    let left = solo.now;
    while solo.now.since(left) < ELECTION_NS {
        assert_eq!(wanted(&solo, 2), None);
        solo.deadline();
        solo.hear(3, beat_reply(2, 0));
    }
    assert_eq!(wanted(&solo, 2), Some((2, 3)));
}

#[test]
fn a_failed_consistency_check_takes_next_index_back_to_what_is_known() {
    let mut solo = leader();
    solo.propose(3);
    for index in 2..5 {
        send(&mut solo, 2, index);
    }
    // The first of them was lost.
    solo.hear(2, conflict(2, 2, id(2, 1)));
    assert_eq!(wanted(&solo, 2), Some((2, 4)));
    send(&mut solo, 2, 4);
    assert_eq!(
        wanted(&solo, 2),
        None,
        "and one at a time until that is agreed"
    );
    solo.hear(2, conflict(2, 3, id(2, 1)));
    assert_eq!(wanted(&solo, 2), None, "the same news again is none");
}

#[test]
fn appends_may_arrive_in_any_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let mut solo = leader();
        solo.propose(3);
        let sent: Vec<Message> = (2..5).map(|index| send(&mut solo, 2, index)).collect();
        let mut follower = Solo::new(3, 2, &[2]);
        // Each arrives, and once more: what does not fit yet is refused and fits later.
        for at in order.into_iter().chain(0..3) {
            for message in follower.answer(2, sent[at].clone()) {
                solo.hear(2, message);
            }
            let held = solo.raft.matched(n(2)).expect("a peer");
            assert_eq!(held, follower.raft.durable(), "{order:?}");
        }
        assert_eq!(follower.terms(), [2, 2, 2, 2], "{order:?}");
    }
}
