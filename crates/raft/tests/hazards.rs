//! Bugs that shipped elsewhere, and ones found here: each a directed scenario that must not
//! happen again. `docs/bugs.md` lists those found in this code.
//!
//! # Source
//! The ledger of known bugs by number; raft paper, Figures 7 and 8.

mod common;

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
    let config = Config::new(vec![n(1), n(2)], vec![], vec![n(3)]);
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
