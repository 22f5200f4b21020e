//! The Raft paper's Figure 2, rules for leaders, and Figure 3, sentence by sentence.
//!
//! # Source
//! Raft paper (extended version), Figures 2 and 3.

mod common;

use common::solo::*;
use common::*;

/// The first appends to a peer, as `(previous entry, terms sent)`.
fn pulled(solo: &mut Solo, peer: u64) -> Option<(LogId, u64)> {
    match solo.raft.pull(n(peer)) {
        Pull::Append { last, .. } => {
            let message = solo.raft.sent(solo.now, n(peer), last);
            let Message::Append { entries, .. } = message else {
                panic!("an append is sent as an append")
            };
            Some((entries.prev, entries.count()))
        }
        Pull::Nothing | Pull::Snapshot => None,
    }
}

// Figure 2, leaders.

#[test]
fn upon_election_a_leader_heartbeats_at_once_and_again_while_idle() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.stand();
    let fx = solo.hear(2, vote_reply(Term(2), false, true));
    let beat = Message::Beat {
        term: Term(2),
        commit: Index(0),
        round: 0,
        durable: Index(1),
        knows: false,
    };
    assert!((2..=3).all(|peer| sent_to(&fx, peer) == [beat.clone()]));
    let elected = solo.now;
    for round in 1..4 {
        let fx = solo.deadline();
        assert!((2..=3).all(|peer| sent_to(&fx, peer) == [beat.clone()]));
        let idle = solo.now.since(elected);
        assert_eq!(idle, round * Options::default().heartbeat_ns);
    }
}

#[test]
fn a_command_is_appended_to_the_leaders_log_and_answered_once_committed() {
    let mut solo = Solo::leading(3, 1, &[]);
    let (first, fx) = solo.propose(2);
    assert_eq!((first, solo.terms()), (id(2, 2), vec![2, 2, 2]));
    assert_eq!(commits(&fx), []);
    assert_eq!(
        commits(&solo.persist()),
        [],
        "one durable copy of three is none"
    );
    assert_eq!(commits(&solo.hear(2, durable(2, 3))), [3]);
}

#[test]
fn only_a_leader_takes_commands_and_the_others_say_who_leads() {
    let mut solo = Solo::new(3, 1, &[]);
    let ask = |solo: &mut Solo| solo.raft.propose(solo.now, 1, &mut Vec::new());
    assert_eq!(ask(&mut solo), Err(NotTaken::NotLeader { leader: None }));
    solo.hear(3, beat(1, 0, 0));
    let leader = Some(n(3));
    assert_eq!(ask(&mut solo), Err(NotTaken::NotLeader { leader }));
    assert_eq!(solo.terms(), [] as [u64; 0]);
}

#[test]
fn a_follower_behind_is_sent_the_entries_from_its_next_index_on() {
    let mut solo = Solo::leading(3, 1, &[1, 1]);
    assert_eq!(pulled(&mut solo, 2), Some((id(1, 2), 1)));
    solo.hear(2, durable(2, 3));
    assert_eq!(pulled(&mut solo, 2), None, "nothing is behind");
    solo.propose(3);
    assert_eq!(pulled(&mut solo, 2), Some((id(2, 3), 3)));
    solo.propose(1);
    assert_eq!(
        pulled(&mut solo, 2),
        Some((id(2, 6), 1)),
        "what left is not sent twice"
    );
}

#[test]
fn an_append_that_succeeded_moves_next_and_match_index() {
    let mut solo = Solo::leading(3, 1, &[1, 1]);
    pulled(&mut solo, 2);
    solo.hear(2, durable(2, 3));
    assert_eq!(solo.raft.matched(n(2)), Some(Index(3)));
    solo.propose(1);
    assert_eq!(pulled(&mut solo, 2), Some((id(2, 3), 1)));
}

#[test]
fn an_append_that_failed_is_tried_again_further_back() {
    let mut solo = Solo::leading(3, 5, &[1, 1, 4, 4, 5]);
    assert_eq!(pulled(&mut solo, 2), Some((id(5, 5), 1)));
    // The follower ends in entries of term 2, which the leader has none of.
    solo.hear(2, conflict(6, 5, id(2, 4)));
    assert_eq!(solo.raft.matched(n(2)), Some(Index(0)));
    assert_eq!(
        pulled(&mut solo, 2),
        Some((id(1, 2), 4)),
        "a whole term further back"
    );
    solo.hear(2, conflict(6, 5, id(2, 4)));
    assert_eq!(pulled(&mut solo, 2), None, "a late double changes nothing");
}

#[test]
fn the_commit_index_follows_a_majority_that_matches() {
    let mut solo = Solo::leading(5, 1, &[]);
    solo.propose(4);
    solo.persist();
    for (peer, upto, then) in [(2, 5, 0), (3, 3, 3), (4, 1, 3), (4, 4, 4), (5, 5, 5)] {
        solo.hear(peer, durable(2, upto));
        assert_eq!(solo.raft.commit(), Index(then), "after {peer} has {upto}");
    }
}

#[test]
fn only_entries_of_the_leaders_own_term_are_committed_by_counting() {
    let mut solo = Solo::leading(3, 2, &[1, 2, 2]);
    assert_eq!(
        commits(&solo.hear(2, durable(3, 3))),
        [],
        "all have it, and it is not safe"
    );
    assert_eq!(
        commits(&solo.hear(2, durable(3, 4))),
        [4],
        "with the new entry all before it is"
    );
}

// Figure 3. The witness of `common::truth` checks all five after every step of every test with a
// cluster, and of every random run; here each is named and provoked once.

#[test]
fn election_safety_at_most_one_leader_can_be_elected_in_a_term() {
    let mut c = Cluster::new(3);
    // 1 and 2 stand in the same term, both sure of 3; 3 is asked by both and votes once.
    c.advance(3 * c.options.election_ns);
    for at in [1, 2] {
        c.step(at, Input::Deadline);
        let grant = vote_reply(Term(1), true, true);
        c.receive(3, at, grant);
        assert_eq!(
            (c.raft(at).role(), c.raft(at).term()),
            (RoleName::Candidate, Term(1))
        );
    }
    c.settle();
    let leaders = (1..=3)
        .filter(|&at| c.raft(at).role() == RoleName::Leader)
        .count();
    assert_eq!((leaders, c.raft(3).hard_state().voted_for), (1, Some(n(1))));
}

#[test]
fn leader_append_only_a_leader_never_overwrites_or_deletes_its_entries() {
    let mut c = Cluster::with_logs(&[(3, &[1, 1, 3]), (3, &[1, 1, 3]), (3, &[1, 2, 2, 2, 2])]);
    c.elect(1);
    assert_eq!(
        c.terms(1),
        [1, 1, 3, 4],
        "the followers yield, not the leader"
    );
    assert_eq!(c.terms(3), [1, 1, 3, 4]);
}

#[test]
fn log_matching_equal_index_and_term_mean_equal_logs_up_to_there() {
    let mut c = Cluster::with_logs(&[(5, &[1, 2, 5]), (5, &[1, 2, 2, 2]), (5, &[1, 4, 4, 4])]);
    c.elect(1);
    c.propose(1, 2).expect("leads");
    c.settle();
    for at in 2..=3 {
        assert_eq!(c.terms(at), c.terms(1));
    }
}

#[test]
fn leader_completeness_a_committed_entry_is_in_every_later_leaders_log() {
    let mut c = Cluster::new(3);
    c.isolate(3);
    c.elect(1);
    c.propose(1, 3).expect("leads");
    c.settle();
    assert_eq!(c.raft(1).commit(), Index(4));
    // 3 lacks what is committed: it cannot win, however often and with whatever term it asks.
    c.heal();
    c.crash(1, 0);
    for _ in 0..5 {
        c.stand(3);
        c.settle();
        assert_ne!(c.raft(3).role(), RoleName::Leader);
    }
    c.elect(2);
    assert_eq!(c.raft(2).term_at(Index(4)), Some(Term(1)));
}

#[test]
fn state_machine_safety_no_two_nodes_apply_different_commands_at_an_index() {
    let mut c = Cluster::new(3);
    c.elect(1);
    // 1 appends alone; what it appended is replaced, so nobody may apply it.
    c.isolate(1);
    c.propose(1, 3).expect("still thinks it leads");
    c.settle();
    assert_eq!(c.raft(1).last(), id(1, 4));
    c.elect(2);
    c.propose(2, 1).expect("leads");
    c.settle();
    c.heal();
    c.deadline(2);
    c.settle();
    c.deadline(2);
    c.settle();
    for at in 1..=3 {
        assert_eq!(
            (c.terms(at), c.raft(at).commit()),
            (vec![1, 2, 2], Index(3))
        );
    }
}
