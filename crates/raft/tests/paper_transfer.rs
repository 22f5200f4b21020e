//! Leadership transfer, sentence by sentence: the prior leader's part, the target's, and the
//! others', who must let themselves be disturbed.
//!
//! # Source
//! Dissertation §3.10 and §4.2.3 (its last paragraph).

mod common;

use common::solo::*;
use common::*;

fn begin(solo: &mut Solo, to: Option<u64>) -> (Result<NodeId, TransferRefused>, Vec<Effect>) {
    let mut fx = Vec::new();
    let begun = solo.raft.transfer(solo.now, to.map(n), &mut fx);
    (begun, fx)
}

/// Node 1 begins to hand over to node 2.
fn begins(solo: &mut Solo) {
    let (begun, _) = begin(solo, Some(2));
    assert_eq!(begun, Ok(n(2)));
}

fn propose(solo: &mut Solo) -> Result<LogId, NotTaken> {
    solo.raft.propose(solo.now, 1, &mut Vec::new())
}

fn outcomes(fx: &[Effect]) -> Vec<(NodeId, Result<(), TransferFailed>)> {
    let outcome = |effect: &Effect| match effect {
        Effect::Transferred { to, result } => Some((*to, *result)),
        _ => None,
    };
    fx.iter().filter_map(outcome).collect()
}

// The prior leader.

#[test]
fn the_prior_leader_stops_taking_client_requests() {
    let mut solo = Solo::leading(3, 1, &[]);
    let (begun, _) = begin(&mut solo, Some(2));
    assert_eq!(begun, Ok(n(2)));
    let last = solo.raft.last();
    assert_eq!(propose(&mut solo), Err(NotTaken::Transferring { to: n(2) }));
    assert_eq!(solo.raft.last(), last);
}

#[test]
fn the_prior_leader_begins_no_change_of_members() {
    let mut solo = Solo::leading(3, 1, &[]);
    solo.hear(2, durable(2, 1));
    begins(&mut solo);
    let (expect, target) = (solo.raft.config().clone(), Config::of_voters([n(1), n(2)]));
    let mut fx = Vec::new();
    let refused = solo
        .raft
        .reconfigure(solo.now, &expect, &target, true, &mut fx);
    assert_eq!(
        refused,
        Err(NotChanged::NotTaken(NotTaken::Transferring { to: n(2) }))
    );
}

#[test]
fn the_prior_leader_brings_the_targets_log_up_by_replication_as_usual() {
    let mut solo = Solo::leading(3, 1, &[1, 1]);
    solo.propose(3);
    let (_, fx) = begin(&mut solo, Some(2));
    assert_eq!(sent_to(&fx, 2), [], "it lacks entries");
    let pulled = solo.raft.pull(n(2));
    assert!(matches!(pulled, Pull::Append { .. }), "{pulled:?}");
    assert_eq!(sent_to(&solo.hear(2, durable(2, 3)), 2), [], "not yet all");
    assert!(!solo.raft.is_lease_void());
    let fx = solo.hear(2, durable(2, 6));
    assert_eq!(sent_to(&fx, 2), [timeout_now(2)]);
    assert!(solo.raft.is_lease_void());
}

#[test]
fn a_change_of_members_under_way_adds_nothing_to_the_log_that_the_target_must_hold() {
    let mut solo = Solo::leading(3, 1, &[]);
    solo.persist();
    solo.holds_all(2);
    solo.change(&Config::of_voters([n(1), n(2)]))
        .expect("begun");
    solo.persist();
    begins(&mut solo);
    let joint = solo.raft.last();
    let fx = solo.holds_all(2);
    assert_eq!(sent_to(&fx, 2).last(), Some(&timeout_now(2)));
    assert!(solo.raft.commit() == joint.index && solo.raft.config().is_joint());
    assert_eq!(solo.raft.last(), joint, "the target could not win");
    let mut ended = Vec::new();
    while ended.is_empty() {
        solo.hear(2, beat_reply(2, 0));
        ended = outcomes(&solo.deadline());
    }
    assert_eq!(ended, [(n(2), Err(TransferFailed::TimedOut))]);
    assert!(solo.raft.last() > joint && !solo.raft.config().is_joint());
}

#[test]
fn it_says_so_once_and_again_only_with_each_heartbeat() {
    let mut solo = Solo::leading(3, 1, &[]);
    begins(&mut solo);
    assert_eq!(sent_to(&solo.hear(2, durable(2, 1)), 2), [timeout_now(2)]);
    assert_eq!(sent_to(&solo.hear(2, durable(2, 1)), 2), []);
    solo.hear(3, beat_reply(2, 0));
    assert_eq!(
        sent_to(&solo.deadline(), 2),
        [beat(2, 1, 0), timeout_now(2)]
    );
}

#[test]
fn the_targets_new_term_makes_the_prior_leader_step_down_and_the_transfer_is_complete() {
    for news in [transfer_vote(3, id(2, 1)), beat_reply(3, 0), beat(3, 1, 0)] {
        let mut solo = Solo::leading(3, 1, &[]);
        solo.hear(2, durable(2, 1));
        begins(&mut solo);
        let fx = solo.hear(2, news);
        assert_eq!(outcomes(&fx), [(n(2), Ok(()))]);
        assert_eq!(
            (solo.raft.role(), solo.raft.term()),
            (RoleName::Follower, Term(3))
        );
    }
}

#[test]
fn a_transfer_that_takes_about_an_election_timeout_is_given_up_and_clients_are_served_again() {
    let mut solo = Solo::leading(3, 1, &[]);
    begins(&mut solo);
    let until = solo.now.after(Options::default().election_ns);
    let mut ended = Vec::new();
    while ended.is_empty() {
        solo.hear(3, beat_reply(2, 0));
        assert!(solo.raft.next_deadline() <= until);
        ended = outcomes(&solo.deadline());
    }
    assert_eq!(
        (ended, solo.now),
        (vec![(n(2), Err(TransferFailed::TimedOut))], until)
    );
    assert!(propose(&mut solo).is_ok());
    assert!(outcomes(&solo.deadline()).is_empty(), "one outcome");
}

#[test]
fn the_time_limit_wakes_the_leader_even_between_heartbeats() {
    let mut solo = Solo::leading(3, 1, &[]);
    solo.now = solo.now.after(30 * MS);
    begins(&mut solo);
    let until = solo.now.after(Options::default().election_ns);
    let mut fx = Vec::new();
    while outcomes(&fx).is_empty() {
        solo.hear(3, beat_reply(2, 0));
        fx = solo.deadline();
    }
    assert_eq!(solo.now, until);
    assert_eq!(sent_to(&fx, 3), [], "it is no time for a heartbeat");
}

#[test]
fn once_it_has_told_anyone_to_take_over_a_leader_never_forgets_it() {
    let mut solo = Solo::leading(3, 1, &[]);
    solo.hear(2, durable(2, 1));
    assert!(!solo.raft.is_lease_void());
    begins(&mut solo);
    while outcomes(&solo.deadline()).is_empty() {
        solo.hear(3, beat_reply(2, 0));
    }
    assert_eq!(solo.raft.role(), RoleName::Leader);
    assert!(solo.raft.is_lease_void(), "its word may still be heard");
    // A later term of its own is another leadership.
    solo.hear(3, beat_reply(3, 0));
    solo.persist();
    solo.stand();
    solo.hear(3, vote_reply(solo.raft.term(), false, true));
    assert_eq!(solo.raft.role(), RoleName::Leader);
    assert!(!solo.raft.is_lease_void());
}

#[test]
fn a_leader_that_halts_ends_its_transfer_once() {
    let mut solo = Solo::leading(3, 1, &[]);
    begins(&mut solo);
    let upto = WriteId(99);
    let fx = solo.step(Input::Persisted { upto });
    let lost = Err(TransferFailed::LeadershipLost);
    assert_eq!(outcomes(&fx), [(n(2), lost)]);
    assert!(solo.raft.is_halted());
    assert_eq!(begin(&mut solo, None).0, Err(TransferRefused::Halted));
}

/// Three nodes of which node 1 leads, and in which nothing happens any more.
fn resting() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.options.rests = true;
    for at in 1..=3 {
        cluster.crash(at, 0);
        cluster.restart(at);
    }
    cluster.elect(1);
    cluster.live(10 * cluster.options.election_ns);
    assert!((1..=3).all(|at| cluster.raft(at).is_resting()));
    cluster
}

#[test]
fn a_leader_at_rest_hands_over_as_any_other() {
    for to in [None, Some(2), Some(3)] {
        let mut cluster = resting();
        let begun = cluster.transfer(1, to).expect("nothing is in the way");
        cluster.settle();
        assert_eq!(cluster.leader(), Some(begun.0));
        cluster.propose(begun.0, 1).expect("it leads");
        cluster.settle();
    }
}

#[test]
fn there_is_no_rest_while_a_transfer_is_under_way() {
    let mut cluster = resting();
    cluster.transfer(1, Some(2)).expect("nothing is in the way");
    // Everyone holds everything and says so, but the word is lost, and again with two heartbeats.
    for _ in 0..3 {
        cluster.settle_but(|_, _, message| matches!(message, Message::TimeoutNow { .. }));
        cluster.deadline(1);
    }
    cluster.drop_all();
    cluster.live(2 * cluster.options.heartbeat_ns);
    assert_eq!(cluster.leader(), Some(2));
}

/// Three nodes with leases on, of which node 1 leads and has told node 2 to take over.
fn told() -> Cluster {
    let options = Options {
        lease_drift_ppm: Some(100_000),
        ..Options::default()
    };
    let disks = (0..3).map(|_| disk::Disk::holding(0, &[])).collect();
    let mut cluster = Cluster::with_options(options, disks);
    cluster.elect(1);
    cluster.deadline(1);
    cluster.settle();
    let read = cluster.read_as(1, ReadLevel::Lease);
    assert_eq!(cluster.answer(1, read), Some(Ok(Index(1))), "by the lease");
    cluster.transfer(1, Some(2)).expect("nothing is in the way");
    assert!(cluster.on_wire(1, 2).contains(&timeout_now(1)));
    cluster
}

#[test]
fn while_another_may_lead_no_lease_answers_a_read_but_a_round_of_heartbeats_does() {
    let mut cluster = told();
    for level in [ReadLevel::Lease, ReadLevel::Linearizable] {
        let read = cluster.read_as(1, level);
        assert_eq!(cluster.answer(1, read), None, "not at once");
        cluster.settle_but(|_, _, message| matches!(message, Message::TimeoutNow { .. }));
        assert_eq!(cluster.answer(1, read), Some(Ok(Index(1))));
    }
}

#[test]
fn a_read_that_comes_while_another_is_elected_is_not_answered_by_the_prior_leader() {
    let mut cluster = told();
    // Node 2 is elected by node 3, appends and commits, and node 1 hears nothing of it.
    cluster.settle_but(|from, to, message| {
        to == 1 || from == 1 && !matches!(message, Message::TimeoutNow { .. })
    });
    assert_eq!(cluster.leader(), Some(2));
    assert_eq!(cluster.raft(1).role(), RoleName::Leader);
    let reads = [ReadLevel::Lease, ReadLevel::Linearizable].map(|level| cluster.read_as(1, level));
    assert!(reads.iter().all(|&read| cluster.answer(1, read).is_none()));
    cluster.settle();
    for read in reads {
        assert_eq!(cluster.answer(1, read), Some(Err(ReadLost::LeaderChanged)));
    }
}

// The target.

/// Node 1, follower of node 2 in term 1, whose log ends at 1@t1.
fn target() -> Solo {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, beat(1, 1, 0));
    solo
}

#[test]
fn the_target_stands_as_if_its_timer_had_fired_but_asks_nobody_first() {
    let mut solo = target();
    let fx = solo.hear(2, timeout_now(1));
    assert_eq!(
        (solo.raft.role(), solo.raft.term()),
        (RoleName::Candidate, Term(2))
    );
    assert_eq!(
        (sent_to(&fx, 2), sent_to(&fx, 3)),
        (vec![], vec![]),
        "not durable yet (R1)"
    );
    let fx = solo.persist();
    let ask = transfer_vote(2, id(1, 1));
    assert_eq!(sent_to(&fx, 2), std::slice::from_ref(&ask));
    assert_eq!(sent_to(&fx, 3), [ask]);
}

#[test]
fn a_candidacy_that_fails_leaves_no_licence_to_disturb_behind() {
    let mut solo = target();
    solo.hear(2, timeout_now(1));
    solo.persist();
    assert_eq!(sent_to(&solo.deadline(), 3), [pre_vote(3, id(1, 1))]);
    solo.hear(3, vote_reply(Term(3), true, true));
    assert_eq!(sent_to(&solo.persist(), 3), [vote(3, id(1, 1))]);
}

#[test]
fn only_the_leader_of_the_current_term_can_make_a_node_stand() {
    for (from, term) in [(3, 1), (2, 0)] {
        let mut solo = target();
        let role = |solo: &Solo| (solo.raft.role(), solo.raft.term());
        let before = role(&solo);
        solo.hear(from, timeout_now(term));
        assert_eq!(role(&solo), before, "n{from} in term {term}");
    }
    // Nor can a leader whom the node has not heard as one.
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, timeout_now(1));
    assert_eq!(solo.raft.role(), RoleName::Follower);
}

#[test]
fn a_learner_does_not_stand_when_told_to() {
    let config = Config::of_voters([n(1), n(2)]).with_learners([n(3)]);
    let mut cluster = Cluster::with_config(config);
    cluster.elect(1);
    assert_eq!(cluster.transfer(1, Some(3)), Err(TransferRefused::NotVoter));
    cluster.receive(1, 3, timeout_now(1));
    assert_eq!(cluster.raft(3).role(), RoleName::Follower);
}

#[test]
fn a_target_whose_disk_stalls_does_not_stand_when_told_to() {
    let mut solo = target();
    solo.hear(2, append(1, id(1, 1), &[1], 1));
    solo.now = solo.now.after(Options::default().disk_slow_ns);
    solo.hear(2, timeout_now(1));
    assert_eq!(solo.raft.role(), RoleName::Follower);
    solo.persist();
    solo.hear(2, timeout_now(1));
    assert_eq!(solo.raft.role(), RoleName::Candidate);
}

// The others.

#[test]
fn servers_that_hear_a_leader_heed_a_request_that_this_leader_asked_for_and_no_other() {
    for (ask, granted) in [
        (vote(2, id(1, 1)), false),
        (transfer_vote(2, id(1, 1)), true),
    ] {
        let mut solo = target();
        let replies = solo.answer(3, ask);
        let expected = granted.then(|| vote_reply(Term(2), false, true));
        assert_eq!(replies, Vec::from_iter(expected));
    }
}

#[test]
fn a_vote_that_the_leader_asked_for_is_given_by_the_same_rules_as_any() {
    // The candidate's log is behind: its term is heeded, but it gets no vote.
    let mut solo = Solo::new(3, 1, &[1, 1]);
    solo.hear(2, beat(1, 1, 0));
    let replies = solo.answer(3, transfer_vote(2, id(1, 1)));
    assert_eq!(replies, [vote_reply(Term(2), false, false)]);
    // The vote is given already.
    let mut solo = Solo::voted(3, 2, Some(2), &[1]);
    let replies = solo.answer(3, transfer_vote(2, id(1, 1)));
    assert_eq!(replies, [vote_reply(Term(2), false, false)]);
}

#[test]
fn if_the_target_was_only_slow_the_mistake_costs_one_election() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    assert_eq!(cluster.transfer(1, Some(2)), Ok(n(2)));
    let word = cluster.take(1, 2).expect("told at once");
    cluster.settle();
    // Every further word is lost, the transfer is given up, and then the first one arrives.
    let end = cluster.now.after(cluster.options.election_ns);
    while cluster.truth.transfers == (0, 0) {
        assert!(cluster.now <= end);
        cluster.deadline(1);
        cluster.settle_but(|_, _, message| *message == word);
    }
    cluster.propose(1, 1).expect("it leads on");
    cluster.settle();
    cluster.receive(1, 2, word);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(2));
    cluster.propose(2, 1).expect("and is followed by another");
    cluster.settle();
    let commits: Vec<_> = (1..=3).map(|at| cluster.raft(at).commit().0).collect();
    assert_eq!(commits, [4, 4, 4]);
}
