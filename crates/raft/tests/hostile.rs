//! What no correct peer sends: nothing from outside panics the core (rule R12).
//!
//! # Source
//! Rule R12: bad input is refused, a broken invariant halts the node, neither panics.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::solo::*;
use common::*;
use headwater_raft::random::Dice;

/// Mostly plausible numbers, now and then the largest there are.
fn number(dice: &mut Dice) -> u64 {
    match dice.below(40) {
        0 => u64::MAX,
        1 => u64::MAX - 1,
        _ => dice.below(9),
    }
}

fn place(dice: &mut Dice) -> LogId {
    id(number(dice), number(dice))
}

fn range(dice: &mut Dice) -> Entries {
    let prev = place(dice);
    let runs = (0..dice.below(4))
        .map(|_| (Index(number(dice)), Term(number(dice))))
        .collect();
    let last = Index(number(dice));
    let configs = some_configs(dice, prev.index);
    let wild = Entries {
        prev,
        last,
        runs,
        configs,
    };
    // Half of the ranges are at least well formed.
    let terms: Vec<u64> = (0..dice.below(4))
        .map(|at| prev.term.0.saturating_add(at))
        .collect();
    if dice.below(2) == 0 || prev.index.0 > 1000 {
        wild
    } else {
        let configs = some_configs(dice, prev.index);
        Entries {
            configs,
            ..entries(prev, &terms)
        }
    }
}

/// Now and then a configuration, as likely as not one that cannot be.
fn some_configs(dice: &mut Dice, prev: Index) -> Vec<(Index, Config)> {
    let mut some = |most: u64| -> Vec<NodeId> {
        let count = dice.below(most);
        (0..count).map(|_| NodeId(dice.below(5))).collect()
    };
    let config = Config::of_voters(some(4))
        .with_outgoing(some(2))
        .with_learners(some(2))
        .with_joining(some(2));
    let at = Index(prev.0.saturating_add(dice.below(3)));
    (0..dice.below(4) / 3)
        .map(|_| (at, config.clone()))
        .collect()
}

fn message(dice: &mut Dice) -> Message {
    let (term, pre, granted) = (Term(number(dice)), dice.below(2) == 0, dice.below(2) == 0);
    let (commit, round) = (Index(number(dice)), number(dice));
    match dice.below(16) {
        0 => Message::Vote {
            term,
            pre,
            transfer: granted,
            last: place(dice),
            admitted: pre,
        },
        1 => Message::VoteReply { term, pre, granted },
        2..=4 => Message::Append {
            term,
            entries: range(dice),
            commit,
        },
        5 => durable(term.0, commit.0),
        6 => conflict(term.0, commit.0, place(dice)),
        7 => Message::Beat {
            term,
            commit,
            round,
            durable: Index(number(dice)),
            knows: pre,
        },
        8 => Message::BeatReply {
            term,
            round,
            disk: if pre { Pace::Quick } else { Pace::Stalled },
            promise_ns: number(dice),
        },
        9 => Message::Snapshot {
            term,
            base: place(dice),
        },
        10 => Message::ReadAsk {
            id: ReadId(round),
            life: number(dice),
            lease: dice.below(2) == 0,
        },
        11 => Message::TimeoutNow { term },
        12 => Message::RepairAsk {
            first: place(dice),
            last: commit,
        },
        13..=14 => Message::RepairTell {
            term,
            holding: match dice.below(3) {
                0 => Holding::Lacks(place(dice)),
                1 => Holding::Unreadable(place(dice)),
                _ => Holding::Has(range(dice)),
            },
        },
        _ => Message::ReadTell {
            id: ReadId(round),
            life: 0,
            at: if granted {
                Ok(commit)
            } else {
                Err(ReadLost::Busy)
            },
        },
    }
}

const READ_LEVELS: [ReadLevel; 3] = [
    ReadLevel::Linearizable,
    ReadLevel::Lease,
    ReadLevel::Bounded { max_lag_ns: MS },
];

fn start(dice: &mut Dice) -> Solo {
    let mut log: Vec<u64> = (0..dice.below(5)).map(|_| 1 + dice.below(4)).collect();
    log.sort_unstable();
    let options = Options {
        lease_drift_ppm: (dice.below(2) == 0).then_some(2_000_000),
        ..Options::default()
    };
    let mut solo = Solo::with(options.clone(), 3, 4, None, &log);
    if dice.below(3) == 0 && !log.is_empty() {
        // Some of the log cannot be read.
        let first = Index(1 + dice.below(log.len() as u64));
        let lost = Unreadable {
            first,
            last: Index(first.0 + dice.below(log.len() as u64 - first.0 + 1)),
            may_hold_config: dice.below(2) == 0,
        };
        solo = Solo::lacking(options, 3, 4, &log, lost);
    } else if dice.below(3) == 0 {
        solo = solo.elected();
    }
    if dice.below(2) == 0 {
        solo.read(1, READ_LEVELS[dice.below(3) as usize]);
    }
    if dice.below(2) == 0 {
        // A refusal is an answer too.
        let _ = solo.raft.transfer(solo.now, None, &mut Vec::new());
    }
    solo
}

#[test]
fn no_message_panics_the_core() {
    for seed in 0..1000 {
        let mut dice = Dice::new(seed);
        let mut solo = start(&mut dice);
        let mut last = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..40 {
                let from = dice.below(5);
                let heard = message(&mut dice);
                last = Some(heard.clone());
                solo.hear(from, heard);
                match dice.below(4) {
                    0 => drop(solo.persist()),
                    1 => drop(solo.deadline()),
                    _ => {}
                }
                solo.raft.end_turn(&mut Vec::new());
                let sound = solo.raft.audit().and_then(|()| solo.raft.audit_log());
                assert!(solo.raft.is_halted() || sound.is_ok(), "{sound:?}");
                for peer in 2..=3 {
                    if let Pull::Append { last, .. } = solo.raft.pull(n(peer)) {
                        solo.raft.sent(solo.now, n(peer), last);
                    }
                }
            }
        }));
        assert!(outcome.is_ok(), "seed {seed}: {last:?}");
    }
}
