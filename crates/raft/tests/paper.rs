//! The Raft paper's Figures 2 and 3, sentence by sentence; each test bears its sentence.
//!
//! Two words of the figures live with the driver: commands (the core has only their places) and
//! `lastApplied` (the core says up to where to apply, once each). Where the figure converts a
//! follower to a candidate at once, this core asks first (pre-vote); the tests say so.
//!
//! # Source
//! Raft paper (extended version), Figures 2 and 3.

mod common;

use common::solo::*;
use common::*;

const GRANTED: bool = true;
const DENIED: bool = false;

fn wrote(fx: &[Effect]) -> Vec<Write> {
    let write = |effect: &Effect| match effect {
        Effect::Persist(write) => Some(write.clone()),
        _ => None,
    };
    fx.iter().filter_map(write).collect()
}

// Figure 2, State: what is persistent, and when.

#[test]
fn the_current_term_starts_at_zero_and_only_grows() {
    let mut solo = Solo::new(3, 0, &[]);
    assert_eq!(solo.raft.term(), Term(0));
    for (heard, then) in [(2, 2), (1, 2), (5, 5), (4, 5)] {
        solo.hear(2, beat(heard, 0, 0));
        assert_eq!(solo.raft.term(), Term(then));
    }
}

#[test]
fn the_vote_belongs_to_the_current_term_and_is_nobodys_in_a_new_one() {
    let mut solo = Solo::voted(3, 4, Some(2), &[]);
    assert_eq!(solo.raft.hard_state().voted_for, Some(n(2)));
    solo.hear(3, beat(5, 0, 0));
    assert_eq!(solo.raft.hard_state().voted_for, None);
}

#[test]
fn the_first_entry_has_index_one_and_the_term_in_which_a_leader_received_it() {
    let mut solo = Solo::leading(3, 6, &[]);
    assert_eq!(solo.raft.last(), id(7, 1));
    assert_eq!(solo.propose(2).0, id(7, 2));
    assert_eq!(solo.terms(), [7, 7, 7]);
}

#[test]
fn persistent_state_is_on_stable_storage_before_an_rpc_is_answered() {
    let term = Term(3);
    let cases: [(Message, Message); 3] = [
        (vote(3, id(0, 0)), vote_reply(term, false, GRANTED)),
        (append(3, id(0, 0), &[3], 0), durable(3, 1)),
        (beat(3, 0, 7), beat_reply(3, 7)),
    ];
    for (request, reply) in cases {
        let mut solo = Solo::new(3, 2, &[]);
        let at_once = solo.hear(2, request.clone());
        assert_eq!(
            sent_to(&at_once, 2),
            [],
            "{request:?} was answered too early"
        );
        assert_eq!(sent_to(&solo.persist(), 2), [reply]);
    }
}

#[test]
fn term_and_vote_are_one_record() {
    let mut solo = Solo::new(3, 2, &[2]);
    let mut fx = solo.hear(2, vote(5, id(2, 1)));
    fx.extend(solo.hear(3, beat(6, 0, 0)));
    let hard = |term, vote: Option<u64>| HardState {
        term: Term(term),
        voted_for: vote.map(NodeId),
    };
    let states: Vec<_> = wrote(&fx).iter().map(|write| write.hard).collect();
    assert_eq!(states, [hard(5, None), hard(5, Some(2)), hard(6, None)]);
}

#[test]
fn the_commit_index_starts_at_zero_and_only_grows() {
    let mut solo = Solo::new(3, 1, &[1, 1, 1]);
    assert_eq!(solo.raft.commit(), Index(0));
    for (told, then) in [(2, 2), (1, 2), (3, 3), (0, 3)] {
        solo.hear(2, append(1, id(1, 3), &[], told));
        assert_eq!(solo.raft.commit(), Index(then));
    }
}

// Figure 2, State: volatile state on leaders.

#[test]
fn next_index_starts_just_behind_the_leaders_last_entry() {
    let solo = Solo::leading(3, 1, &[1, 1]);
    let (first, last) = (Index(3), Index(3));
    assert_eq!(solo.raft.pull(n(2)), Pull::Append { first, last });
}

#[test]
fn match_index_starts_at_zero_and_only_grows() {
    let mut solo = Solo::leading(3, 1, &[1, 1]);
    assert_eq!(solo.raft.matched(n(2)), Some(Index(0)));
    for (said, then) in [(2, 2), (1, 2), (3, 3), (0, 3)] {
        solo.hear(2, durable(2, said));
        assert_eq!(solo.raft.matched(n(2)), Some(Index(then)));
    }
}

#[test]
fn next_and_match_index_are_reinitialized_after_election() {
    let mut solo = Solo::leading(3, 1, &[1]);
    solo.hear(2, durable(2, 2));
    solo.hear(3, beat(3, 0, 0));
    assert_eq!(solo.raft.matched(n(2)), None);
    solo.persist();
    solo.stand();
    solo.hear(2, vote_reply(Term(4), false, GRANTED));
    assert_eq!(solo.raft.matched(n(2)), Some(Index(0)));
    let (first, last) = (Index(3), Index(3));
    assert_eq!(solo.raft.pull(n(2)), Pull::Append { first, last });
}

// Figure 2, AppendEntries RPC, receiver implementation.

#[test]
fn append_1_reply_false_if_the_term_is_older_than_the_current_term() {
    let mut solo = Solo::new(3, 5, &[1]);
    for message in [append(4, id(1, 1), &[4], 2), beat(4, 1, 3)] {
        let replies = solo.answer(2, message);
        assert_eq!(replies, [beat_reply(5, 0)], "the newer term, nothing else");
        assert_eq!((solo.terms(), solo.raft.commit()), (vec![1], Index(0)));
    }
}

#[test]
fn append_2_reply_false_if_the_entry_before_is_missing_or_of_another_term() {
    // Missing: the answer names the end of the log.
    let mut solo = Solo::new(3, 5, &[1, 1, 4]);
    let replies = solo.answer(2, append(5, id(5, 7), &[5], 0));
    assert_eq!(replies, [conflict(5, 7, id(4, 3))]);
    // Of another term: the answer names the last entry that could be common.
    let replies = solo.answer(2, append(5, id(2, 3), &[5], 0));
    assert_eq!(replies, [conflict(5, 3, id(1, 2))]);
    assert_eq!(solo.terms(), [1, 1, 4]);
}

#[test]
fn append_3_a_conflicting_entry_and_all_that_follow_it_are_deleted() {
    let mut solo = Solo::new(3, 5, &[1, 2, 2, 3, 3]);
    let fx = solo.hear(2, append(5, id(2, 2), &[2, 5], 0));
    assert_eq!(solo.terms(), [1, 2, 2, 5]);
    assert_eq!(
        wrote(&fx)[0].truncate_from(),
        Some(Index(4)),
        "only from the conflict on"
    );
    assert_eq!(sent_to(&solo.persist(), 2), [durable(5, 4)]);
}

#[test]
fn append_3_nothing_is_deleted_without_a_conflict() {
    let mut solo = Solo::new(3, 5, &[1, 2, 2, 3, 3]);
    for old in [append(5, id(1, 1), &[2], 0), append(5, id(2, 3), &[], 0)] {
        let fx = solo.hear(2, old);
        assert_eq!(wrote(&fx), [], "a late, shorter append deletes nothing");
    }
    assert_eq!(solo.terms(), [1, 2, 2, 3, 3]);
}

#[test]
fn append_4_entries_not_yet_in_the_log_are_appended_and_only_those() {
    let mut solo = Solo::new(3, 5, &[1, 2]);
    let fx = solo.hear(2, append(5, id(1, 1), &[2, 2, 5], 0));
    assert_eq!(solo.terms(), [1, 2, 2, 5]);
    assert_eq!(wrote(&fx)[0].append(), Some(&entries(id(2, 2), &[2, 5])));
    assert_eq!(wrote(&fx)[0].truncate_from(), None);
}

#[test]
fn append_5_the_commit_index_is_the_lesser_of_leader_commit_and_last_new_entry() {
    let mut solo = Solo::new(3, 2, &[1, 1, 1, 1]);
    // The log has four entries, but only two are known to agree with the leader's.
    let fx = solo.hear(2, append(2, id(1, 1), &[1], 4));
    assert_eq!(commits(&fx), [2]);
    let fx = solo.hear(2, append(2, id(1, 2), &[2], 9));
    assert_eq!(commits(&fx), [3]);
    let fx = solo.hear(2, append(2, id(2, 3), &[2, 2], 4));
    assert_eq!(commits(&fx), [4]);
}

// Figure 2, RequestVote RPC, receiver implementation.

#[test]
fn vote_1_reply_false_if_the_term_is_older_than_the_current_term() {
    let mut solo = Solo::new(3, 5, &[]);
    let replies = solo.answer(2, vote(4, id(3, 9)));
    assert_eq!(replies, [vote_reply(Term(5), false, DENIED)]);
}

#[test]
fn vote_2_grant_if_the_vote_is_free_or_the_candidates_and_its_log_is_up_to_date() {
    let (own, newer_term) = (id(3, 2), id(4, 1));
    let (longer, shorter, older_term) = (id(3, 3), id(3, 1), id(2, 9));
    let cases = [
        (None, own, GRANTED),
        (None, newer_term, GRANTED),
        (None, longer, GRANTED),
        (None, shorter, DENIED),
        (None, older_term, DENIED),
        (Some(2), own, GRANTED),
        (Some(2), older_term, DENIED),
        (Some(3), longer, DENIED),
    ];
    for (vote_of_term, last, granted) in cases {
        let mut solo = Solo::voted(3, 5, vote_of_term, &[1, 3]);
        let replies = solo.answer(2, vote(5, last));
        let expected = vote_reply(Term(5), false, granted);
        assert_eq!(replies, [expected], "voted {vote_of_term:?}, last {last}");
    }
}

// Figure 2, rules for all servers.

#[test]
fn what_is_committed_is_to_be_applied_in_order_and_once() {
    let mut solo = Solo::new(3, 2, &[1, 1, 1, 2]);
    let mut told = Vec::new();
    for commit in [1, 1, 3, 2, 4] {
        told.extend(commits(&solo.hear(2, append(2, id(2, 4), &[], commit))));
    }
    assert_eq!(told, [1, 3, 4]);
}

#[test]
fn a_newer_term_in_any_request_or_response_is_taken_over_and_makes_a_follower() {
    let newer = Term(9);
    let conflict_far = conflict(9, 1, id(0, 0));
    let messages = [
        append(9, id(0, 0), &[9], 0),
        beat(9, 0, 0),
        commit(9, 0),
        Message::Snapshot {
            term: newer,
            base: id(9, 40),
        },
        durable(9, 0),
        conflict_far,
        beat_reply(9, 0),
        vote_reply(newer, false, DENIED),
        vote_reply(newer, true, DENIED),
    ];
    for message in messages {
        let mut solo = Solo::leading(3, 1, &[]);
        solo.hear(2, message.clone());
        assert_eq!(
            (solo.raft.term(), solo.raft.role()),
            (newer, RoleName::Follower),
            "{message:?}"
        );
    }
    // A vote request moves all but those who hear a leader (dissertation, section 4.2.3).
    let mut solo = Solo::new(3, 1, &[]);
    solo.stand();
    solo.hear(2, vote(9, id(0, 0)));
    assert_eq!(
        (solo.raft.term(), solo.raft.role()),
        (newer, RoleName::Follower)
    );
}

// Figure 2, followers.

#[test]
fn a_follower_responds_to_leaders_and_candidates() {
    let mut solo = Solo::new(3, 1, &[1]);
    assert_eq!(solo.answer(2, beat(1, 0, 4)), [beat_reply(1, 4)]);
    let replies = solo.answer(2, append(1, id(1, 1), &[1], 0));
    assert_eq!(replies.last(), Some(&durable(1, 2)));
    let mut solo = Solo::new(3, 1, &[1]);
    assert_eq!(
        solo.answer(2, vote(2, id(1, 1))),
        [vote_reply(Term(2), false, GRANTED)]
    );
}

#[test]
fn a_follower_that_hears_no_leader_and_grants_no_vote_asks_for_an_election() {
    let mut solo = Solo::new(3, 1, &[1]);
    let fx = solo.deadline();
    assert_eq!(solo.raft.role(), RoleName::PreCandidate);
    assert_eq!(sent_to(&fx, 2), [pre_vote(2, id(1, 1))]);
    assert_eq!(sent_to(&fx, 3), [pre_vote(2, id(1, 1))]);
}

#[test]
fn hearing_the_leader_or_granting_a_vote_puts_the_election_off() {
    let full = Options::default().election_ns;
    for (message, put_off) in [
        (beat(1, 0, 0), true),
        (append(1, id(1, 1), &[], 0), true),
        (vote(1, id(1, 1)), true),
        (vote(1, id(0, 0)), false),
        (beat(0, 0, 0), false),
        (pre_vote(2, id(1, 1)), false),
    ] {
        let mut solo = Solo::new(3, 1, &[1]);
        let before = solo.raft.next_deadline();
        solo.now = before;
        solo.hear(2, message.clone());
        let wait = solo.raft.next_deadline().since(solo.now);
        assert_eq!(wait >= full && wait < 2 * full, put_off, "{message:?}");
    }
}

#[test]
fn election_timeouts_are_chosen_at_random_from_an_interval_and_the_seed_decides() {
    let full = Options::default().election_ns;
    // Three in a row of one node, each after it has heard its leader.
    let waits = |seed: u64| {
        let options = Options {
            seed,
            ..Options::default()
        };
        let mut solo = Solo::with(options, 3, 1, None, &[]);
        [1, 2, 3].map(|_| {
            solo.hear(2, beat(1, 0, 0));
            solo.raft.next_deadline().since(solo.now)
        })
    };
    let mut all: Vec<u64> = (0..300).flat_map(waits).collect();
    assert_eq!(waits(7), waits(7));
    all.sort_unstable();
    assert!(full <= all[0] && all[899] < 2 * full);
    for tenth in 0..10 {
        let from = full + full / 10 * tenth;
        let inside = all
            .iter()
            .filter(|&&wait| wait >= from && wait < from + full / 10);
        let count = inside.count();
        assert!((50..=150).contains(&count), "{count} of 900 in one tenth");
    }
    all.dedup();
    assert_eq!(all.len(), 900, "no two are alike");
}

// Figure 2, candidates.

#[test]
fn on_conversion_a_candidate_raises_its_term_votes_for_itself_waits_anew_and_asks_all() {
    let mut solo = Solo::new(5, 3, &[1]);
    solo.deadline();
    solo.hear(2, vote_reply(Term(4), true, GRANTED));
    assert_eq!(
        solo.raft.role(),
        RoleName::PreCandidate,
        "two of five are no majority"
    );
    let fx = solo.hear(3, vote_reply(Term(4), true, GRANTED));
    let expected = HardState {
        term: Term(4),
        voted_for: Some(n(1)),
    };
    assert_eq!(
        (solo.raft.role(), wrote(&fx)[0].hard),
        (RoleName::Candidate, expected)
    );
    let wait = solo.raft.next_deadline().since(solo.now);
    assert!(wait >= Options::default().election_ns);
    assert!(
        (2..=5).all(|peer| sent_to(&fx, peer).is_empty()),
        "asked before it was durable"
    );
    let fx = solo.persist();
    assert!((2..=5).all(|peer| sent_to(&fx, peer) == [vote(4, id(1, 1))]));
}

#[test]
fn votes_from_a_majority_make_a_leader_and_fewer_do_not() {
    let mut solo = Solo::new(5, 3, &[1]);
    solo.stand();
    for (peer, reply, role) in [
        (2, vote_reply(Term(4), false, GRANTED), RoleName::Candidate),
        (2, vote_reply(Term(4), false, GRANTED), RoleName::Candidate),
        (3, vote_reply(Term(4), false, DENIED), RoleName::Candidate),
        (4, vote_reply(Term(5), true, GRANTED), RoleName::Candidate),
        (4, vote_reply(Term(3), false, GRANTED), RoleName::Candidate),
        (5, vote_reply(Term(4), false, GRANTED), RoleName::Leader),
    ] {
        solo.hear(peer, reply);
        assert_eq!(solo.raft.role(), role);
    }
}

#[test]
fn an_append_from_the_new_leader_makes_a_candidate_a_follower() {
    for message in [append(2, id(1, 1), &[2], 0), beat(2, 0, 0)] {
        let mut solo = Solo::new(3, 1, &[1]);
        solo.stand();
        solo.hear(3, message);
        assert_eq!(solo.raft.role(), RoleName::Follower);
        assert_eq!(solo.raft.leader(), Some(n(3)));
        assert_eq!(
            solo.raft.hard_state().voted_for,
            Some(n(1)),
            "the vote stays"
        );
    }
}

#[test]
fn a_candidate_whose_time_runs_out_starts_a_new_election() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.stand();
    let fx = solo.deadline();
    assert_eq!(sent_to(&fx, 3), [pre_vote(3, id(1, 1))]);
    solo.hear(3, vote_reply(Term(3), true, GRANTED));
    assert_eq!(sent_to(&solo.persist(), 3), [vote(3, id(1, 1))]);
}
