//! Majorities: pure arithmetic, used alike for votes, commitment and reads (rule R6).
//! Never knows what it counts.
//!
//! # Source
//! Raft paper §5.2, §5.3; §6 for joint majorities.

use crate::configuration::Config;
use crate::types::NodeId;

/// The largest value that a majority of `values` reach.
///
/// `values`: one per voter, in any order, at least one. They are looked at again and again: to
/// count them so takes no memory, and clusters are small.
///
/// # Panics
/// If `values` is empty: a cluster has a voter.
pub fn majority_reaches<T: Ord + Copy>(values: impl ExactSizeIterator<Item = T> + Clone) -> T {
    let voters = values.len();
    let mut reached = None;
    for least in values.clone() {
        // Nearly always all values but the first are no higher than what is reached already.
        if reached < Some(least) && 2 * values.clone().filter(|v| *v >= least).count() > voters {
            reached = Some(least);
        }
    }
    reached.expect("all voters reach the least value, and a cluster has voters")
}

/// The largest value that a quorum of `config` reaches: a majority of its voters and, while a
/// change is under way, of the outgoing voters too.
///
/// `value`: what each voter has reached; `false < true` makes it a count of votes.
pub fn quorum_reaches<T: Ord + Copy>(config: &Config, value: impl Fn(NodeId) -> T) -> T {
    let majority = |voters: &[NodeId]| majority_reaches(voters.iter().map(|&id| value(id)));
    let incoming = majority(config.voters());
    if config.outgoing().is_empty() {
        return incoming;
    }
    incoming.min(majority(config.outgoing()))
}

/// Whether every majority of each side of `config` has one of these in it: what none of them holds is
/// not committed, nor will it be without them.
pub fn blocks(config: &Config, who: impl Fn(NodeId) -> bool) -> bool {
    let others = |voters: &[NodeId]| majority_reaches(voters.iter().map(|&id| !who(id)));
    let outgoing = config.outgoing();
    !others(config.voters()) && (outgoing.is_empty() || !others(outgoing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_majority_reaches_the_upper_median() {
        assert_eq!(majority_reaches([7].into_iter()), 7);
        assert_eq!(majority_reaches([9, 3].into_iter()), 3);
        assert_eq!(majority_reaches([9, 3, 5].into_iter()), 5);
        assert_eq!(majority_reaches([1, 9, 3, 5].into_iter()), 3);
        assert_eq!(majority_reaches([8, 1, 9, 3, 5].into_iter()), 5);
    }

    #[test]
    fn the_sorted_answer_equals_a_naive_count() {
        // Every multiset of up to five voters over four values, counted the slow way.
        for code in 0..4_u32.pow(5) {
            let all: Vec<u32> = (0..5).map(|digit| code / 4_u32.pow(digit) % 4).collect();
            for size in 1..=5 {
                let values = &all[..size];
                let naive = (0..4)
                    .filter(|v| values.iter().filter(|x| *x >= v).count() * 2 > size)
                    .max()
                    .expect("every voter reaches zero");
                assert_eq!(
                    majority_reaches(values.iter().copied()),
                    naive,
                    "{values:?}"
                );
            }
        }
    }

    #[test]
    fn a_joint_quorum_needs_both_majorities() {
        let ids = |list: &[u64]| list.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
        let config = Config::of_voters(ids(&[1, 2, 3])).with_outgoing(ids(&[3, 4, 5]));
        let votes = |yes: &'static [u64]| move |id: NodeId| yes.contains(&id.0);
        assert!(!quorum_reaches(&config, votes(&[1, 2, 3])));
        assert!(!quorum_reaches(&config, votes(&[3, 4, 5])));
        assert!(quorum_reaches(&config, votes(&[1, 3, 4])));
    }

    #[test]
    fn every_quorum_of_every_configuration_equals_a_naive_search() {
        // All configurations over four nodes, in all states of which each has reached 0, 1 or 2.
        // A group is a bit set; a quorum is any group of which more are in than out, on both sides.
        let in_both = |group: u32, sides: [u32; 2]| {
            let ins = sides.map(|side| (side & group).count_ones());
            let outs = sides.map(|side| (side & !group).count_ones());
            (0..2).all(|at| sides[at] == 0 || ins[at] > outs[at])
        };
        let ids = |set: u32| {
            (0..4)
                .filter(move |at| set >> at & 1 == 1)
                .map(|at| NodeId(at + 1))
        };
        for (voters, outgoing) in (1..16).flat_map(|v| (0..16).map(move |o| (v, o))) {
            let config = Config::of_voters(ids(voters)).with_outgoing(ids(outgoing));
            let quorums: Vec<u32> = (0..16)
                .filter(|&group| in_both(group, [voters, outgoing]))
                .collect();
            for code in 0..3_u32.pow(4) {
                let value = |id: NodeId| code / 3_u32.pow(id.0 as u32 - 1) % 3;
                let all_reach = |group: u32| ids(group).map(value).min();
                let naive = quorums.iter().filter_map(|&group| all_reach(group)).max();
                let is_in = |id: NodeId| value(id) > 0;
                let inside = (0..4).filter(|at| is_in(NodeId(at + 1)));
                let inside = inside.fold(0_u32, |set, at| set | 1 << at);
                // No majority of a side without one of them.
                let meets_all = |side: u32| {
                    let mut groups = (0..16_u32).map(|group| group & side);
                    groups.all(|g| 2 * g.count_ones() <= side.count_ones() || g & inside != 0)
                };
                let mut sides = [voters, outgoing].into_iter().filter(|&side| side != 0);
                assert_eq!(
                    blocks(&config, is_in),
                    sides.all(meets_all),
                    "{config:?} {code}"
                );
                assert_eq!(
                    Some(quorum_reaches(&config, value)),
                    naive,
                    "{config:?} {code}"
                );
            }
        }
    }
}
