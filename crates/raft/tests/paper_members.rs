//! The dissertation's chapter 4, the sentences on which membership stands, one test each.
//!
//! # Source
//! Ongaro's dissertation, §4.1 to §4.3.

mod common;

use common::solo::*;
use common::*;

/// Voters, then learners, then joining ones.
fn config(voters: &[u64], learners: &[u64], joining: &[u64]) -> Config {
    let nodes = |ids: &[u64]| ids.iter().map(|&id| n(id)).collect::<Vec<_>>();
    Config::of_voters(nodes(voters))
        .with_learners(nodes(learners))
        .with_joining(nodes(joining))
}

/// Node 1 leads three voters, its first entry committed, everybody heard.
fn leader() -> Solo {
    let mut solo = Solo::leading(3, 1, &[]);
    let last = solo.raft.last();
    solo.hear(2, durable(last.term.0, last.index.0));
    solo.hear(3, durable(last.term.0, last.index.0));
    assert_eq!(solo.raft.commit(), last.index);
    solo
}

// §4.1.

#[test]
fn a_server_uses_the_latest_configuration_in_its_log_whether_or_not_it_is_committed() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[4], &[]))
        .expect("nothing is in the way");
    assert!(solo.raft.commit() < solo.raft.last().index);
    assert_eq!(solo.raft.config().learners(), [n(4)]);
    assert_eq!(solo.raft.peers(), [n(2), n(3), n(4)]);
}

#[test]
fn a_server_whose_configuration_is_removed_from_its_log_falls_back_to_the_one_before() {
    let mut solo = Solo::new(3, 1, &[1]);
    let mut entries = entries(id(1, 1), &[1]);
    let uncommitted = config(&[1, 2], &[3], &[]);
    entries.configs.push((Index(2), uncommitted.clone()));
    let (term, commit) = (Term(1), Index(1));
    let message = Message::Append {
        term,
        entries,
        commit,
    };
    solo.hear(2, message);
    assert_eq!(solo.raft.config(), &uncommitted);
    solo.hear(3, append(2, id(1, 1), &[2], 1));
    assert_eq!(solo.raft.config(), &config(&[1, 2, 3], &[], &[]));
}

#[test]
fn no_change_begins_while_another_is_not_committed() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[4], &[]))
        .expect("nothing is in the way");
    let second = solo.change(&config(&[1, 2, 3], &[4, 5], &[]));
    assert_eq!(second, Err(NotChanged::InProgress));
    solo.persist();
    solo.holds_all(2);
    solo.change(&config(&[1, 2, 3], &[4, 5], &[]))
        .expect("the first is committed");
}

#[test]
fn no_change_begins_before_the_leader_has_committed_an_entry_of_its_term() {
    let mut solo = Solo::leading(3, 1, &[]);
    let early = solo.change(&config(&[1, 2, 3], &[4], &[]));
    assert_eq!(early, Err(NotChanged::TooEarly));
}

#[test]
fn a_server_accepts_appends_of_a_leader_and_grants_votes_to_a_candidate_it_does_not_know() {
    let mut solo = Solo::new(3, 1, &[1]);
    let said = solo.answer(9, vote(2, id(1, 1)));
    assert_eq!(said, [vote_reply(Term(2), false, true)]);
    let said = solo.answer(9, append(2, id(1, 1), &[2], 0));
    assert_eq!(said.last(), Some(&durable(2, 2)));
}

// §4.2.1.

#[test]
fn a_new_server_receives_the_log_and_counts_for_nothing() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[4], &[]))
        .expect("nothing is in the way");
    let before = solo.raft.commit();
    assert!(matches!(solo.raft.pull(n(4)), Pull::Append { .. }));
    solo.holds_all(4);
    solo.persist();
    solo.holds_all(2);
    assert!(solo.raft.commit() > before, "two of three voters hold it");
    let (index, _) = solo.propose(1);
    solo.holds_all(4);
    assert!(solo.raft.commit() < index.index, "a learner is no majority");
}

#[test]
fn a_new_server_is_added_once_a_round_is_shorter_than_an_election_timeout() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[], &[4]))
        .expect("nothing is in the way");
    solo.persist();
    solo.holds_all(2);
    solo.propose(3);
    let (term, last) = (solo.raft.term().0, solo.raft.last().index.0);
    while let Pull::Append { last, .. } = solo.raft.pull(n(4)) {
        let now = solo.now;
        solo.raft.sent(now, n(4), last);
    }
    // Its first answer begins a round whose goal is the log as it stands.
    solo.hear(4, durable(term, last - 2));
    solo.propose(1);
    solo.persist();
    solo.now = solo.now.after(Options::default().election_ns);
    solo.hear(2, durable(term, last));
    solo.hear(4, durable(term, last));
    assert_eq!(solo.raft.config().joining(), [n(4)], "that round was long");
    solo.persist();
    solo.propose(1);
    solo.holds_all(4);
    assert_eq!(solo.raft.config().joining(), [], "the next one was not");
    assert_eq!(solo.raft.config().voters(), [n(1), n(2), n(3), n(4)]);
}

// §4.2.2.

#[test]
fn a_removed_leader_does_not_count_itself_and_steps_down_when_the_change_is_committed() {
    let mut solo = leader();
    solo.change(&config(&[2, 3], &[], &[]))
        .expect("nothing is in the way");
    solo.persist();
    solo.holds_all(2);
    solo.holds_all(3);
    assert!(!solo.raft.config().is_joint(), "the joint one is committed");
    solo.persist();
    solo.holds_all(2);
    assert_eq!(solo.raft.role(), RoleName::Leader, "one of two holds it");
    let fx = solo.holds_all(3);
    assert_eq!(solo.raft.role(), RoleName::Follower);
    assert_eq!(commits(&fx).len(), 1);
}

#[test]
fn a_server_that_is_not_in_its_uncommitted_configuration_still_starts_elections() {
    let mut solo = leader();
    solo.change(&config(&[2, 3], &[], &[]))
        .expect("nothing is in the way");
    solo.persist();
    solo.holds_all(2);
    solo.holds_all(3);
    assert!(!solo.raft.config().is_voter(n(1)));
    solo.hear(2, beat_reply(solo.raft.term().0 + 1, 0));
    assert_eq!(solo.raft.role(), RoleName::Follower);
    solo.persist();
    solo.deadline();
    assert_eq!(solo.raft.role(), RoleName::PreCandidate);
}

#[test]
fn a_server_that_is_not_in_its_committed_configuration_starts_none() {
    let mut solo = leader();
    solo.change(&config(&[2, 3], &[], &[]))
        .expect("nothing is in the way");
    solo.persist();
    solo.holds_all(2);
    solo.holds_all(3);
    solo.persist();
    solo.holds_all(2);
    solo.holds_all(3);
    solo.deadline();
    assert_eq!(solo.raft.role(), RoleName::Follower);
}

// §4.2.3.

#[test]
fn a_server_that_hears_a_leader_heeds_no_candidate() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, beat(1, 0, 0));
    assert_eq!(solo.answer(9, vote(7, id(6, 9))), []);
    assert_eq!(solo.raft.term(), Term(1));
}

// §4.3.

#[test]
fn entries_go_to_all_servers_of_both_configurations_and_need_both_majorities() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[4, 5], &[]))
        .expect("nothing is in the way");
    solo.persist();
    solo.holds_all(2);
    for peer in [4, 5] {
        solo.holds_all(peer);
    }
    let joint = solo
        .change(&config(&[1, 4, 5], &[], &[]))
        .expect("all answer");
    assert_eq!(solo.raft.peers(), [n(2), n(3), n(4), n(5)]);
    solo.persist();
    for peer in [4, 5] {
        assert_eq!(commits(&solo.holds_all(peer)), [], "only the new one");
    }
    assert_eq!(commits(&solo.holds_all(3)), [joint.index.0]);
}

#[test]
fn a_majority_of_the_old_servers_alone_commits_nothing_in_a_joint_configuration() {
    let mut solo = leader();
    solo.change(&config(&[1, 2, 3], &[4, 5], &[]))
        .expect("nothing is in the way");
    solo.persist();
    for peer in [2, 4, 5] {
        solo.holds_all(peer);
    }
    solo.change(&config(&[1, 4, 5], &[], &[]))
        .expect("all answer");
    solo.persist();
    for peer in [2, 3] {
        assert_eq!(commits(&solo.holds_all(peer)), []);
    }
}

#[test]
fn once_the_joint_configuration_is_committed_the_leader_appends_the_new_one() {
    let mut solo = leader();
    let joint = solo
        .change(&config(&[1, 2], &[], &[]))
        .expect("nothing is in the way");
    solo.persist();
    let fx = solo.holds_all(2);
    let last = solo.raft.last();
    assert_eq!(last.index, joint.index.next());
    let now = config(&[1, 2], &[], &[]);
    let in_force = |committed| {
        let config = now.clone();
        Effect::Config { config, committed }
    };
    assert!(fx.contains(&in_force(false)));
    solo.persist();
    let fx = solo.holds_all(2);
    assert!(fx.contains(&in_force(true)));
}
