//! Bugs that shipped elsewhere, and ones found here: each a directed scenario that must not
//! happen again. `docs/bugs.md` lists those found in this code.
//!
//! # Source
//! The ledger of known bugs by number; raft paper, Figures 7 and 8.

mod common;

use common::solo::*;
use common::*;

// Reads.

#[test]
fn a_read_whose_question_or_answer_is_lost_is_asked_again() {
    let mut c = Cluster::new(3);
    c.elect(1);
    for lost in 0..2 {
        let id = c.read(2);
        if lost == 1 {
            c.deliver(2, 1);
            c.settle_but(|from, to, m| {
                (from, to) == (1, 2) && matches!(m, Message::ReadTell { .. })
            });
        }
        c.drop_all();
        c.settle();
        assert_eq!(c.answer(2, id), None, "nobody answered");
        for _ in 0..2 {
            c.deadline(1);
            c.settle();
        }
        assert_eq!(c.answer(2, id), Some(Ok(Index(1))));
    }
}

#[test]
fn a_learner_that_hears_no_leader_gives_its_reads_up() {
    let config = Config::of_voters([n(1), n(2)]).with_learners([n(3)]);
    let mut c = Cluster::with_config(config);
    c.elect(1);
    let id = c.read(3);
    c.drop_all();
    c.deadline(3);
    assert_eq!(c.answer(3, id), Some(Err(ReadLost::LeaderChanged)));
}

// Snapshots.

/// Nodes 1 and 2 hold a snapshot of everything and an empty log; node 3 holds nothing.
fn with_forgotten_log() -> Cluster {
    let mut c = Cluster::new(3);
    c.isolate(3);
    c.elect(1);
    c.propose(1, 4).expect("leads");
    c.settle();
    c.deadline(1);
    c.settle();
    for at in 1..=2 {
        c.compact(at, 5);
        assert_eq!((c.raft(at).base(), c.terms(at)), (id(1, 5), vec![]));
    }
    c.heal();
    c
}

#[test]
fn a_snapshot_that_outlives_the_term_it_came_in_vouches_for_that_term() {
    let mut c = with_forgotten_log();
    c.deadline(1);
    while c.node(3).incoming.is_none() {
        c.deadline(1);
        c.deliver_wire(1, 3);
        c.deliver_wire(3, 1);
    }
    assert_eq!(
        c.node(3).disk.term(),
        Term(0),
        "the term's write is still under way"
    );
    c.snapshot_arrives(3);
    c.crash(3, 0);
    c.restart(3);
    assert_eq!((c.raft(3).term(), c.raft(3).commit()), (Term(1), Index(5)));
    c.settle();
    c.deadline(1);
    c.settle();
    c.propose(1, 1).expect("leads");
    c.settle();
    assert_eq!(c.raft(3).commit(), Index(6));
}

#[test]
fn a_follower_that_is_up_to_date_is_sent_no_snapshot_by_a_new_leader() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 4).expect("leads");
    c.settle();
    c.compact(2, 5);
    // Node 3 learns of the new term from its leader's first heartbeat, neither by a vote nor by
    // an append.
    c.crash(1, 0);
    c.restart(1);
    c.stand(2);
    let lost = |m: &Message| matches!(m, Message::Vote { .. } | Message::Append { .. });
    c.settle_but(|_, to, m| to == 3 && lost(m));
    assert_eq!(
        (c.raft(2).role(), c.raft(3).term()),
        (RoleName::Leader, Term(2))
    );
    c.deadline(2);
    c.settle();
    let offers = |e: &Effect| {
        matches!(
            e,
            Effect::Send {
                message: Message::Snapshot { .. },
                ..
            }
        )
    };
    assert!(
        !c.saw(0, 2, offers),
        "a snapshot for a follower that lacks nothing"
    );
    assert_eq!(c.raft(2).matched(n(3)), Some(Index(6)));
}

#[test]
fn nodes_whose_logs_are_all_forgotten_elect_commit_and_restart() {
    let mut c = with_forgotten_log();
    for at in 1..=3 {
        c.crash(at, 0);
        c.restart(at);
    }
    assert_eq!(c.terms(1), [] as [u64; 0]);
    c.elect(1);
    c.deadline(1);
    c.settle();
    // Node 3 has an empty log and no snapshot; it needs the leader's.
    assert_eq!(c.raft(3).commit(), Index(0));
    c.install(3);
    c.settle();
    assert_eq!((c.raft(3).base(), c.raft(3).commit()), (id(1, 5), Index(6)));
    c.deadline(1);
    c.settle();
    c.propose(1, 2).expect("leads");
    c.settle();
    for at in 1..=3 {
        assert_eq!((c.raft(at).base(), c.terms(at)), (id(1, 5), vec![2, 2, 2]));
    }
}

// Durability.

#[test]
fn a_cluster_of_one_commits_only_what_is_durable() {
    let mut c = Cluster::new(1);
    c.elect(1);
    let first = c.propose(1, 3).expect("leads");
    assert_eq!((first, c.raft(1).commit()), (id(1, 2), Index(1)));
    c.settle();
    assert_eq!(c.raft(1).commit(), Index(4));
}

#[test]
fn a_late_sync_of_overwritten_entries_acknowledges_nothing_of_their_replacements() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, append(2, id(1, 1), &[2, 2], 0));
    // Two writes are under way: term 2, and its entries. A newer leader replaces them.
    solo.hear(3, append(3, id(1, 1), &[3, 3], 0));
    for (upto, expected) in [(1, None), (2, None), (3, Some(1)), (4, Some(3))] {
        let fx = solo.step(Input::Persisted {
            upto: WriteId(upto),
        });
        let acknowledged: Vec<Message> = expected.map(|at| durable(3, at)).into_iter().collect();
        assert_eq!(sent_to(&fx, 3), acknowledged, "after write {upto}");
        assert_eq!(
            sent_to(&fx, 2),
            [],
            "nobody promises anything to the old leader"
        );
    }
}

#[test]
fn an_answer_that_waits_for_its_write_dies_with_its_term() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.hear(2, vote(5, id(0, 0)));
    solo.hear(3, beat(6, 0, 0));
    assert_eq!(solo.raft.hard_state().voted_for, None);
    let fx = solo.persist();
    assert_eq!(sent_to(&fx, 2), [], "the vote of term 5 is void");
    assert_eq!(sent_to(&fx, 3), [beat_reply(6, 0)]);
}

#[test]
fn nothing_behind_a_write_that_is_not_durable_is_acknowledged() {
    let mut solo = Solo::new(3, 1, &[]);
    let mut sent = Vec::new();
    for index in 0..4 {
        let prev = id(u64::from(index > 0), index);
        sent.extend(sent_to(&solo.hear(2, append(1, prev, &[1], 0)), 2));
    }
    assert_eq!(sent, []);
    // The second of four syncs is the last that ever succeeds.
    let fx = solo.step(Input::Persisted { upto: WriteId(2) });
    assert_eq!(sent_to(&fx, 2), [durable(1, 2)]);
}

#[test]
fn an_append_that_leaves_a_gap_is_not_taken() {
    let mut c = Cluster::new(3);
    c.batch = 1;
    c.elect(1);
    c.propose(1, 3).expect("leads");
    assert_eq!(c.on_wire(1, 2).len(), 3, "one entry a message");
    c.take(1, 2);
    c.deliver_wire(1, 2);
    c.persist(2);
    assert_eq!(
        c.terms(2),
        [1],
        "what came behind the lost one does not fit"
    );
    c.settle();
    assert_eq!(c.terms(2), [1, 1, 1, 1]);
}

// Elections.

#[test]
fn a_candidates_second_life_does_not_count_the_votes_of_its_first() {
    let mut c = Cluster::new(3);
    c.stand(1);
    c.settle_but(|_, _, m| matches!(m, Message::VoteReply { pre: false, .. }));
    assert_eq!(
        (c.raft(1).role(), c.raft(1).term()),
        (RoleName::Candidate, Term(1))
    );
    let grant = vote_reply(Term(1), false, true);
    c.crash(1, 0);
    c.restart(1);
    c.receive(2, 1, grant.clone());
    c.stand(1);
    c.settle_but(|_, _, m| matches!(m, Message::Vote { pre: false, .. }));
    c.receive(2, 1, grant);
    assert_eq!(
        (c.raft(1).role(), c.raft(1).term()),
        (RoleName::Candidate, Term(2))
    );
}

#[test]
fn a_vote_request_leaves_only_when_term_and_own_vote_are_durable() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.deadline();
    let fx = solo.hear(2, vote_reply(Term(2), true, true));
    assert_eq!(solo.raft.role(), RoleName::Candidate);
    assert!(
        !fx.iter()
            .any(|effect| matches!(effect, Effect::Send { .. }))
    );
    // Until then no vote counts, wherever it comes from.
    solo.hear(2, vote_reply(Term(2), false, true));
    assert_eq!(solo.raft.role(), RoleName::Candidate);
}

#[test]
fn a_pre_vote_changes_nothing_on_either_side() {
    let mut solo = Solo::voted(3, 4, Some(2), &[1]);
    let state = |solo: &Solo| {
        let raft = &solo.raft;
        (
            raft.hard_state(),
            raft.role(),
            raft.leader(),
            raft.next_deadline(),
        )
    };
    let before = state(&solo);
    for (term, granted) in [(5, true), (900, true), (4, false)] {
        let fx = solo.hear(3, pre_vote(term, id(1, 1)));
        let told = if granted { Term(term) } else { Term(4) };
        assert_eq!(fx.len(), 1, "an answer and no write");
        assert_eq!(sent_to(&fx, 3), [vote_reply(told, true, granted)]);
        assert_eq!(state(&solo), before);
    }
    let fx = solo.deadline();
    assert!(!fx.iter().any(|effect| matches!(effect, Effect::Persist(_))));
    assert_eq!(solo.raft.hard_state(), before.0);
}

#[test]
fn who_hears_a_leader_gives_no_vote_and_no_pre_vote() {
    let mut solo = Solo::new(3, 4, &[]);
    solo.hear(2, beat(4, 0, 0));
    solo.now = solo.now.after(Options::default().election_ns - 1);
    assert_eq!(
        solo.answer(3, pre_vote(5, id(4, 9))),
        [vote_reply(Term(4), true, false)]
    );
    assert_eq!(solo.answer(3, vote(5, id(4, 9))), []);
    assert_eq!(
        (solo.raft.term(), solo.raft.leader()),
        (Term(4), Some(n(2)))
    );
    solo.now = solo.now.after(1);
    assert_eq!(
        solo.answer(3, pre_vote(5, id(4, 9))),
        [vote_reply(Term(5), true, true)]
    );
    assert_eq!(
        solo.answer(3, vote(5, id(4, 9))),
        [vote_reply(Term(5), false, true)]
    );
}

#[test]
fn a_node_that_cannot_hear_its_leader_disturbs_nobody() {
    // 2 hears 3 and is heard by it, but not by the leader 1: a partial partition.
    let mut c = Cluster::new(3);
    c.elect(1);
    c.cut_one_way(1, 2);
    c.cut_one_way(2, 1);
    c.live(5 * c.options.election_ns);
    assert_eq!((c.leader(), c.raft(1).term()), (Some(1), Term(1)));
    assert_eq!(c.raft(2).role(), RoleName::PreCandidate);
    c.propose(1, 1).expect("leads");
    c.settle();
    assert_eq!(c.raft(3).last(), id(1, 2));
}

#[test]
fn a_leader_that_hears_no_quorum_steps_down_though_all_hear_it() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.cut_one_way(2, 1);
    c.cut_one_way(3, 1);
    let elected = c.now;
    while c.raft(1).role() == RoleName::Leader {
        c.deadline(1);
        c.settle();
        let silent = c.now.since(elected);
        assert!(
            silent <= 2 * c.options.election_ns,
            "a leader without a quorum goes on"
        );
    }
    c.elect(2);
    c.propose(2, 1).expect("leads");
    c.settle();
    assert_eq!(c.raft(2).commit(), Index(3));
}

#[test]
fn a_node_with_a_newer_term_but_an_older_log_does_not_block_elections() {
    let mut c = Cluster::with_logs(&[(1, &[1, 1]), (9, &[1]), (1, &[])]);
    c.crash(3, 0);
    c.stand(1);
    c.settle();
    assert_eq!(
        c.raft(1).term(),
        Term(9),
        "the refusal says which term it takes"
    );
    c.elect(1);
    assert_eq!(c.raft(1).term(), Term(10));
}

#[test]
fn two_of_four_are_no_majority() {
    let mut solo = Solo::new(4, 1, &[1]);
    solo.stand();
    solo.hear(2, vote_reply(Term(2), false, true));
    assert_eq!(solo.raft.role(), RoleName::Candidate);
    solo.hear(3, vote_reply(Term(2), false, true));
    solo.persist();
    solo.hear(2, durable(2, 2));
    assert_eq!(
        (solo.raft.role(), solo.raft.commit()),
        (RoleName::Leader, Index(0))
    );
    solo.hear(3, durable(2, 2));
    assert_eq!(solo.raft.commit(), Index(2));
}

// Heartbeats claim nothing.

#[test]
fn an_answered_heartbeat_is_no_copy_and_a_heartbeat_is_no_proof_of_agreement() {
    let mut solo = Solo::leading(3, 1, &[1]);
    solo.hear(2, beat_reply(2, 0));
    solo.hear(3, beat_reply(2, 0));
    assert_eq!(
        (solo.raft.matched(n(2)), solo.raft.commit()),
        (Some(Index(0)), Index(0))
    );
    // The follower's entries may be those of another leader.
    let mut solo = Solo::new(3, 1, &[1, 1]);
    solo.hear(2, beat(2, 2, 0));
    solo.hear(2, commit(2, 2));
    assert_eq!(solo.raft.commit(), Index(0));
    solo.hear(2, append(2, id(1, 1), &[2], 2));
    assert_eq!((solo.raft.commit(), solo.terms()), (Index(2), vec![1, 2]));
}

#[test]
fn what_a_former_leader_verified_says_nothing_of_the_next() {
    let mut solo = Solo::new(3, 2, &[1, 1]);
    solo.hear(2, append(2, id(1, 2), &[], 0));
    solo.hear(3, beat(3, 2, 0));
    assert_eq!(
        solo.raft.commit(),
        Index(0),
        "the new leader's log may differ"
    );
    assert_eq!(
        sent_to(&solo.persist(), 3),
        [beat_reply(3, 0)],
        "and is owed nothing yet"
    );
}

// Reads.

#[test]
fn a_read_waits_for_the_first_commit_of_the_term() {
    let mut c = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1])]);
    c.pulls = false;
    c.elect(1);
    let early = c.read(1);
    c.settle();
    assert_eq!(
        c.answer(1, early),
        None,
        "what is committed is not known yet"
    );
    c.pulls = true;
    c.deadline(1);
    c.settle();
    assert_eq!(c.answer(1, early), Some(Ok(Index(3))));
}

#[test]
fn a_deposed_leader_serves_no_read() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.isolate(1);
    c.elect(2);
    c.propose(2, 1).expect("leads");
    c.settle();
    let stale = c.read(1);
    c.settle();
    assert_eq!(c.answer(1, stale), None);
    c.heal();
    c.deadline(2);
    c.settle();
    assert_eq!(c.answer(1, stale), Some(Err(ReadLost::LeaderChanged)));
}

#[test]
fn only_answers_of_this_term_and_round_confirm_a_read() {
    let mut solo = Solo::leading(5, 1, &[1]);
    for peer in [2, 3] {
        solo.hear(peer, durable(2, 2));
    }
    let fx = solo.read(7, ReadLevel::Linearizable);
    assert_eq!(sent_to(&fx, 2), [beat(2, 2, 1)]);
    let served = |fx: &[Effect]| {
        fx.iter()
            .any(|effect| matches!(effect, Effect::Read { .. }))
    };
    let cases = [
        (2, beat_reply(2, 0), false),
        (3, beat_reply(2, 0), false),
        (4, beat_reply(1, 9), false),
        (2, beat_reply(2, 1), false),
        (2, beat_reply(2, 1), false),
        (3, durable(2, 2), false),
        (5, beat_reply(2, 1), true),
        (3, beat_reply(2, 1), false),
    ];
    for (peer, reply, expected) in cases {
        let fx = solo.hear(peer, reply.clone());
        assert_eq!(served(&fx), expected, "{peer} {reply:?}");
    }
}

#[test]
fn an_answer_to_an_earlier_life_is_no_answer() {
    let mut c = Cluster::new(3);
    c.elect(1);
    let first = c.read(2);
    c.settle_but(|_, to, _| to == 2);
    let (id, life) = (first, c.node(2).life);
    c.crash(2, 0);
    c.restart(2);
    c.deadline(1);
    c.settle();
    // The new life happens to use the same name for a read.
    c.reuse_read(id);
    let second = c.read(2);
    c.drop_all();
    let at = Ok(Index(0));
    c.receive(1, 2, Message::ReadTell { id, life, at });
    assert_eq!((second, c.answer(2, second)), (first, None));
    for _ in 0..2 {
        c.deadline(1);
        c.settle();
    }
    assert_eq!(c.answer(2, second), Some(Ok(Index(1))));
}

#[test]
fn the_entries_of_a_probe_are_sent_once() {
    let mut c = Cluster::with_logs(&[(2, &[1, 1, 2]), (2, &[1, 1, 2]), (1, &[1])]);
    c.elect(1);
    let long = |e: &Effect| match e {
        Effect::Send {
            to,
            message: Message::Append { entries, .. },
        } => *to == n(3) && entries.count() == 3,
        _ => false,
    };
    let times = c.seen.iter().filter(|(_, effect)| long(effect)).count();
    assert_eq!((c.terms(3), times), (vec![1, 1, 2, 3], 1));
}

#[test]
fn a_follower_that_restarts_learns_the_commit_index_of_an_idle_leader() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 3).expect("leads");
    c.settle();
    c.crash(3, 0);
    c.restart(3);
    assert!(c.raft(3).commit() < Index(4), "it has to be told");
    // No connection reports anything, and nobody proposes.
    c.live(c.options.election_ns);
    assert_eq!((c.raft(1).term(), c.raft(3).commit()), (Term(1), Index(4)));
}
