//! How many questions it takes to repair a log that differs.
//!
//! # Source
//! Raft paper §5.3, the optimization at its end: "one AppendEntries RPC will be required for each
//! term with conflicting entries, rather than one RPC per entry".

mod common;

use std::collections::BTreeSet;

use common::*;
use headwater_raft::random::Dice;

/// The logs that one leader of each term could leave behind: each begins with a part of an earlier
/// one and goes on in its own term.
fn some_logs(dice: &mut Dice) -> Vec<Vec<u64>> {
    let mut logs = vec![Vec::new()];
    for term in 1..=12 {
        let parent: &Vec<u64> = &logs[dice.below(logs.len() as u64) as usize];
        let kept = dice.below(parent.len() as u64 + 1) as usize;
        let mut log = parent[..kept].to_vec();
        log.extend((0..=dice.below(8)).map(|_| term));
        logs.push(log);
    }
    logs
}

/// The terms of the entries in which two logs differ.
fn differing_terms(a: &[u64], b: &[u64]) -> u64 {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let terms: BTreeSet<&u64> = a[same..].iter().chain(&b[same..]).collect();
    terms.len() as u64
}

/// Node 1 leads with one log, node 3 has another: how often node 3 says that they do not agree.
fn conflicts(leader: &[u64], follower: &[u64]) -> u64 {
    // Node 2 has nothing, so that node 1 is elected, and is cut off then.
    let term = leader.iter().chain(follower).copied().max().unwrap_or(0);
    let mut c = Cluster::with_logs(&[(term, leader), (term, &[]), (term, follower)]);
    c.cut_one_way(1, 3);
    c.elect(1);
    c.heal();
    c.isolate(2);
    let seen = c.seen.len();
    c.live(5 * c.options.heartbeat_ns);
    let last = c.raft(1).last();
    assert_eq!(c.raft(3).last(), last, "node 3 is repaired");
    let conflict = |effect: &Effect| {
        let Effect::Send { message, .. } = effect else {
            return false;
        };
        let Message::AppendReply { result, .. } = message else {
            return false;
        };
        matches!(result, AppendResult::Conflict { .. })
    };
    let said = c.seen[seen..].iter();
    said.filter(|(at, effect)| *at == n(3) && conflict(effect))
        .count() as u64
}

#[test]
fn a_log_that_differs_is_repaired_within_a_question_per_differing_term() {
    let mut dice = Dice::new(7);
    let mut most = 0;
    for _ in 0..400 {
        let logs = some_logs(&mut dice);
        let leader = logs.last().expect("of the last term").clone();
        let follower = logs[dice.below(logs.len() as u64) as usize].clone();
        let asked = conflicts(&leader, &follower);
        let terms = differing_terms(&leader, &follower);
        // One more may be spent on a follower that is only shorter.
        assert!(
            asked <= terms + 1,
            "{asked} questions for {terms} terms: {leader:?} and {follower:?}"
        );
        most = most.max(asked);
    }
    assert!(most >= 2, "repair was never hard");
}

#[test]
fn the_length_of_the_logs_does_not_matter() {
    let long = |terms: &[u64], each: usize| -> Vec<u64> {
        terms.iter().flat_map(|&term| vec![term; each]).collect()
    };
    let (leader, follower) = ([1, 1, 4, 6, 8], [1, 2, 3, 5, 7]);
    let short = conflicts(&long(&leader, 2), &long(&follower, 2));
    let longer = conflicts(&long(&leader, 500), &long(&follower, 500));
    assert_eq!(short, longer);
}
