//! Peers that say what no correct peer says, and a node that finds itself broken.
//!
//! # Source
//! Rules R6 and R12; raft paper, Figure 3.

mod common;

use common::solo::*;
use common::*;

#[test]
fn a_round_that_was_never_begun_confirms_no_read() {
    let mut solo = Solo::leading(3, 1, &[]);
    solo.hear(2, durable(2, 1));
    let fx = solo.hear(2, beat_reply(2, 1));
    assert!(
        matches!(fx[..], [Effect::Refused { .. }]),
        "nobody has asked for round 1: {fx:?}"
    );
    let fx = solo.read(7, ReadLevel::Linearizable);
    let answered = |fx: &[Effect]| fx.iter().any(|e| matches!(e, Effect::Read { .. }));
    assert!(!answered(&fx), "nobody has answered round 1: {fx:?}");
    let fx = solo.hear(3, beat_reply(2, 1));
    assert!(answered(&fx), "node 3 has: {fx:?}");
}

#[test]
fn nothing_of_a_step_that_breaks_an_invariant_gets_out() {
    let mut solo = Solo::new(3, 1, &[]);
    let config = Config::of_voters((1..=3).map(NodeId));
    // A driver's mistake: no leader of this term or before can have made such an entry.
    let base = id(2, 9);
    let fx = solo.step(Input::Installed { base, config });
    assert!(solo.raft.is_halted());
    assert!(matches!(fx[..], [Effect::Halt { .. }]), "{fx:?}");
}

#[test]
fn a_question_for_a_read_that_waits_for_the_terms_first_commit_is_kept_once() {
    let mut solo = Solo::leading(3, 1, &[]);
    for _ in 0..3 {
        assert_eq!(solo.hear(2, read_ask(1, 5)), []);
    }
    solo.hear(2, durable(2, 1));
    solo.raft.end_turn(&mut Vec::new());
    // And once more while its round is under way.
    solo.hear(2, read_ask(1, 5));
    solo.raft.end_turn(&mut Vec::new());
    let fx = solo.hear(2, beat_reply(2, 1));
    let tells = |m: &Message| matches!(m, Message::ReadTell { .. });
    let told = sent_to(&fx, 2).iter().filter(|m| tells(m)).count();
    assert_eq!(told, 1, "asked four times, answered once: {fx:?}");
}

#[test]
fn of_heartbeats_that_wait_for_a_disk_only_the_last_is_answered() {
    let mut solo = Solo::new(3, 1, &[]);
    // The write of term 2 hangs, and every round of reads at the leader brings a heartbeat.
    for round in 1..=1000 {
        let fx = solo.hear(2, beat(2, 0, round));
        assert_eq!(sent_to(&fx, 2), [], "term 2 is not durable");
    }
    let fx = solo.persist();
    assert_eq!(sent_to(&fx, 2), [beat_reply(2, 1000)]);
}

#[test]
fn a_candidate_whom_one_voter_denies_waits_for_the_others_while_they_can_elect_it() {
    for seed in 0..50 {
        let mut solo = Solo::new(5, 1, &[]);
        for _ in 0..seed {
            solo.deadline();
        }
        solo.stand();
        let term = solo.raft.term();
        solo.hear(2, vote_reply(term, false, false));
        // The others are further away: a tenth of an election timeout, as timeouts are chosen.
        solo.now = solo.now.after(Options::default().election_ns / 10 - 1);
        solo.step(Input::Deadline);
        solo.hear(3, vote_reply(term, false, true));
        solo.hear(4, vote_reply(term, false, true));
        assert_eq!(solo.raft.role(), RoleName::Leader, "after {seed} deadlines");
    }
}

#[test]
fn who_asks_the_same_again_while_a_disk_hangs_is_answered_once() {
    let mut solo = Solo::new(3, 1, &[]);
    // The write of term 2 hangs, and node 3 asks again whenever its patience ends.
    solo.hear(3, vote(2, id(1, 0)));
    let asked = pre_vote(3, id(1, 0));
    for _ in 0..1000 {
        let fx = solo.hear(3, asked.clone());
        assert_eq!(sent_to(&fx, 3), [], "term 2 is not durable");
    }
    let fx = solo.persist();
    assert_eq!(
        sent_to(&fx, 3),
        [
            vote_reply(Term(2), false, true),
            vote_reply(Term(3), true, true)
        ]
    );
}

#[test]
fn a_leader_that_contradicts_itself_within_its_term_is_refused() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.hear(2, append(2, id(0, 0), &[2, 2, 2], 0));
    solo.persist();
    // An honest leader of term 2 has these entries, and what a liar commits may not be here.
    for contradiction in [&[1][..], &[1, 1, 1, 1]] {
        let fx = solo.hear(2, append(2, id(0, 0), contradiction, 3));
        assert!(matches!(fx[..], [Effect::Refused { .. }]), "{fx:?}");
        assert_eq!(
            (solo.terms(), solo.raft.commit()),
            (vec![2, 2, 2], Index(0))
        );
    }
    // What it contradicts may even be committed here; then one of two leaders is wrong for good.
    solo.hear(2, beat(2, 2, 0));
    solo.hear(2, append(2, id(0, 0), &[1, 1, 1, 1], 4));
    assert!(solo.raft.is_halted());
}

#[test]
fn a_leader_awaits_its_own_disk_where_that_commits_something() {
    let mut solo = Solo::new(3, 1, &[]);
    assert!(solo.raft.awaits_own_disk(), "its leader does");
    solo = solo.elected();
    solo.holds_all(2);
    solo.persist();
    solo.propose(1);
    assert!(!solo.raft.awaits_own_disk(), "nobody else holds it yet");
    solo.holds_all(2);
    assert!(solo.raft.awaits_own_disk(), "one of three more is enough");
    assert_eq!(commits(&solo.persist()).len(), 1);
    assert!(!solo.raft.awaits_own_disk(), "all is committed");
    solo.propose(1);
    solo.holds_all(2);
    assert_eq!(commits(&solo.holds_all(3)).len(), 1);
    assert!(!solo.raft.awaits_own_disk(), "the others were enough");
    let (peer, up) = (NodeId(2), true);
    solo.now = solo.now.after(Options::default().disk_slow_ns);
    solo.step(Input::Link { peer, up });
    assert!(solo.raft.awaits_own_disk(), "commands wait for a slow disk");
    solo.persist();
    assert!(!solo.raft.awaits_own_disk(), "it has ended");
    let mut alone = Solo::leading(1, 1, &[]);
    alone.propose(1);
    assert!(alone.raft.awaits_own_disk(), "nobody else will hold it");
}
