//! Registers: histories with a known verdict, random ones with that of a brute force, and long ones.

mod common;

use std::time::{Duration, Instant};

use common::{Dice, by_brute_force};
use headwater_linear::register::{Effect, Found, check, check_undecided};
use headwater_linear::search::first_unexplained;
use headwater_linear::{Model, Operation, Verdict};

type Value = u64;
type History = Vec<Operation<Effect<Value>>>;

/// The register once more, in the words of its effects.
struct Plain;

impl Model for Plain {
    type State = Option<Value>;
    type Op = Effect<Value>;

    fn step(&self, state: &Option<Value>, op: &Effect<Value>) -> Option<Option<Value>> {
        match op {
            Effect::Step { finds, leaves } => {
                let fits = match finds {
                    Found::Anything => true,
                    Found::This(found) => state == found,
                    Found::Other(other) => state != other,
                };
                fits.then(|| leaves.unwrap_or(*state))
            }
            Effect::TakeAway(values) => Some(state.filter(|value| !values.contains(value))),
        }
    }
}

fn op(effect: Effect<Value>, from: u64, to: u64) -> Operation<Effect<Value>> {
    Operation::new(effect, from, Some(to))
}

fn unknown(effect: Effect<Value>, from: u64) -> Operation<Effect<Value>> {
    Operation::new(effect, from, None)
}

fn put(value: Value, from: u64, to: u64) -> Operation<Effect<Value>> {
    op(Effect::put(value), from, to)
}

fn get(found: Option<Value>, from: u64, to: u64) -> Operation<Effect<Value>> {
    op(Effect::see(found), from, to)
}

fn delete() -> Effect<Value> {
    Effect::Step {
        finds: Found::Anything,
        leaves: Some(None),
    }
}

/// Both ways through the judge and the brute force must say the same.
fn holds(history: &[Operation<Effect<Value>>]) -> bool {
    let truth = by_brute_force(&Plain, &None, &history.iter().collect::<Vec<_>>());
    for found in [check(history), check_undecided(history)] {
        assert_ne!(found, Verdict::Undecided);
        assert_eq!(found == Verdict::Linearizable, truth, "{history:#?}");
    }
    truth
}

#[test]
fn a_read_after_a_write_sees_it() {
    assert!(holds(&[put(1, 0, 1), get(Some(1), 2, 3)]));
    assert!(!holds(&[put(1, 0, 1), get(None, 2, 3)]), "a lost write");
    assert!(!holds(&[put(1, 0, 1), get(Some(2), 2, 3)]), "from nowhere");
}

#[test]
fn a_read_beside_a_write_may_see_it_or_not_but_time_does_not_go_back() {
    assert!(holds(&[put(1, 0, 5), get(None, 1, 2), get(Some(1), 3, 4)]));
    assert!(!holds(&[put(1, 0, 5), get(Some(1), 1, 2), get(None, 3, 4)]));
}

#[test]
fn a_stale_read_is_found_with_its_moment() {
    let stale = [
        put(1, 0, 1),
        put(2, 2, 3),
        get(Some(1), 4, 5),
        get(Some(2), 6, 7),
    ];
    assert!(!holds(&stale));
    assert_eq!(first_unexplained(&stale, check), Some(5));
    assert!(holds(&[put(1, 0, 1), put(2, 2, 5), get(Some(1), 4, 5)]));
}

#[test]
fn touching_operations_are_concurrent() {
    assert!(holds(&[put(1, 0, 5), get(None, 5, 6)]));
    assert!(!holds(&[put(1, 0, 4), get(None, 5, 6)]));
}

#[test]
fn a_lost_update_is_found() {
    let swap = |value, from, to| op(Effect::swap(Some(1), value), from, to);
    assert!(holds(&[put(1, 0, 1), swap(2, 2, 9)]));
    assert!(!holds(&[put(1, 0, 1), swap(2, 2, 9), swap(3, 2, 9)]));
    assert!(holds(&[
        put(1, 0, 1),
        swap(2, 2, 9),
        put(1, 2, 9),
        swap(3, 2, 9)
    ]));
}

#[test]
fn a_deletion_leaves_nothing() {
    assert!(holds(&[put(1, 0, 1), op(delete(), 2, 3), get(None, 4, 5)]));
    assert!(!holds(&[
        put(1, 0, 1),
        op(delete(), 2, 3),
        get(Some(1), 4, 5)
    ]));
    let only = |values: &[Value]| op(Effect::TakeAway(values.to_vec()), 2, 3);
    assert!(holds(&[put(1, 0, 1), only(&[1, 2]), get(None, 4, 5)]));
    assert!(holds(&[put(1, 0, 1), only(&[2]), get(Some(1), 4, 5)]));
    assert!(!holds(&[put(1, 0, 1), only(&[2]), get(None, 4, 5)]));
}

#[test]
fn an_unknown_write_may_happen_late_or_never_but_once() {
    let late = unknown(Effect::put(2), 2);
    assert!(holds(&[put(1, 0, 1), late.clone(), get(Some(1), 3, 4)]));
    let surfaces = [put(1, 0, 1), late, get(Some(1), 3, 4), get(Some(2), 50, 60)];
    assert!(holds(&surfaces));
    let back = [
        unknown(Effect::put(2), 0),
        get(Some(2), 1, 2),
        put(3, 3, 4),
        get(Some(2), 5, 6),
    ];
    assert!(!holds(&back), "twice");
    assert!(
        !holds(&[get(Some(2), 0, 1), unknown(Effect::put(2), 2)]),
        "before its call"
    );
}

#[test]
fn two_unknown_operations_may_rest_on_each_other() {
    let swap = |found, value| unknown(Effect::swap(Some(found), value), 2);
    assert!(holds(&[
        put(1, 0, 1),
        swap(1, 2),
        swap(2, 3),
        get(Some(3), 3, 4)
    ]));
    assert!(!holds(&[
        put(1, 0, 1),
        swap(1, 2),
        swap(4, 3),
        get(Some(3), 3, 4)
    ]));
    // Two deletions that nobody heard of, and a value between them.
    let two = [
        put(1, 0, 1),
        unknown(delete(), 0),
        unknown(delete(), 0),
        get(None, 2, 3),
    ];
    let once_more = [put(2, 4, 5), get(None, 6, 7)];
    assert!(holds(&[&two[..], &once_more].concat()));
    let thrice = [put(3, 8, 9), get(None, 10, 11)];
    assert!(!holds(&[&two[..], &once_more, &thrice].concat()));
}

#[test]
fn an_unseen_write_matters_if_something_takes_it_away() {
    let take = op(Effect::TakeAway(vec![2]), 4, 5);
    let history = [
        put(1, 0, 1),
        unknown(Effect::put(2), 2),
        take,
        get(None, 6, 7),
    ];
    assert!(holds(&history));
}

fn some_value(dice: &mut Dice) -> Option<Value> {
    [None, Some(dice.below(4))][usize::from(dice.percent(80))]
}

fn random_history(dice: &mut Dice) -> History {
    let (unique, blind) = (dice.percent(70), dice.percent(30));
    let mut history = Vec::new();
    for number in 0..1 + dice.below(7) {
        let from = dice.below(14);
        let value = if unique { number } else { dice.below(3) };
        let effect = match dice.below(9) {
            0 | 1 => Effect::put(value),
            2 | 3 => Effect::swap(some_value(dice), value),
            4 => delete(),
            5 => Effect::TakeAway(vec![dice.below(4), dice.below(4)]),
            6 if blind => Effect::Step {
                finds: Found::Other(some_value(dice)),
                leaves: None,
            },
            _ => Effect::see(some_value(dice)),
        };
        let returned = (!dice.percent(25)).then(|| from + dice.below(8));
        history.push(Operation::new(effect, from, returned));
    }
    history
}

#[test]
fn random_histories_have_the_verdict_of_brute_force() {
    let mut verdicts = [0; 2];
    for seed in 0..20_000 {
        let history = random_history(&mut Dice::new(seed));
        verdicts[usize::from(holds(&history))] += 1;
    }
    assert!(verdicts.iter().all(|&count| count > 1_000), "{verdicts:?}");
}

/// A history as a correct register answers it: clients that overlap, a moment inside each operation
/// at which it happens, and some answers that get lost. Writes do not tell what they replaced.
fn honest_history(seed: u64, count: u64, clients: u64, lost_percent: u64) -> History {
    let mut dice = Dice::new(seed);
    let mut free_at = vec![0; clients as usize];
    let mut plans = Vec::new();
    for value in 0..count {
        let client = dice.below(clients) as usize;
        let from = free_at[client] + dice.below(20);
        let at = from + 1 + dice.below(30);
        let to = at + 1 + dice.below(30);
        free_at[client] = to + 1;
        plans.push((at, from, to, value));
    }
    plans.sort_unstable();
    let mut register = None;
    let mut history = Vec::new();
    for (_, from, to, value) in plans {
        let lost = dice.percent(lost_percent);
        let effect = match dice.below(20) {
            0..10 => Effect::see(register),
            10..15 => Effect::put(value),
            15..18 => Effect::swap(register, value),
            18 => Effect::Step {
                finds: Found::This(register),
                leaves: Some(None),
            },
            _ => Effect::put(value),
        };
        if !(lost && dice.percent(50)) {
            register = Plain.step(&register, &effect).expect("made to fit");
        }
        history.push(Operation::new(effect, from, (!lost).then_some(to)));
    }
    history
}

/// Makes one read see what was there long before.
fn with_a_stale_read(mut history: History) -> History {
    let is_read = |operation: &Operation<Effect<Value>>| {
        operation.returned.is_some()
            && matches!(
                &operation.op,
                Effect::Step {
                    finds: Found::This(Some(_)),
                    leaves: None
                }
            )
    };
    let reads: Vec<usize> = (0..history.len())
        .filter(|&at| is_read(&history[at]))
        .collect();
    let (old, new) = (reads[reads.len() / 3], reads[reads.len() / 10 * 9]);
    assert_ne!(history[old].op, history[new].op);
    history[new].op = history[old].op.clone();
    history
}

#[test]
fn random_honest_histories_hold_and_one_stale_read_does_not() {
    for seed in 0..40 {
        let clients = 2 + seed % 19;
        let history = honest_history(seed, 1_000, clients, seed % 4);
        assert_eq!(check(&history), Verdict::Linearizable, "seed {seed}");
        let stale = with_a_stale_read(history);
        assert!(matches!(check(&stale), Verdict::Violation), "seed {seed}");
    }
}

/// The promise is for a release build: `cargo test --release -p headwater-linear -- --nocapture`.
#[test]
fn a_hundred_thousand_operations_on_one_hot_key_take_seconds() {
    // Tests of a debug build share the machine with others.
    let (count, limit_s) = if cfg!(debug_assertions) {
        (20_000, 120)
    } else {
        (100_000, 5)
    };
    for (clients, lost_percent) in [(8, 1), (16, 1), (50, 1)] {
        let history = honest_history(clients, count, clients, lost_percent);
        let began = Instant::now();
        assert_eq!(check(&history), Verdict::Linearizable);
        let honest = began.elapsed();
        let stale = with_a_stale_read(history);
        let began = Instant::now();
        assert!(matches!(check(&stale), Verdict::Violation));
        println!(
            "{count} operations, {clients} clients, {lost_percent} % lost: {honest:?}; with a \
             stale read {:?}",
            began.elapsed()
        );
        assert!(honest < Duration::from_secs(limit_s), "{honest:?}");
    }
}
