//! The judges are judged: histories with known verdicts, a brute-force second opinion on random
//! ones, and histories as large as those of the kill test.

use headwater_etcd_tests::history::{Action, NEVER, Operation, Outcome, Stamp, Value};
use headwater_etcd_tests::linearizable::{
    KeyVerdict, Verdict, check, check_key, check_key_undecided,
};
use headwater_etcd_tests::random::Random;
use headwater_etcd_tests::revision;
use headwater_etcd_tests::shrink::shortest_violation;
use std::time::{Duration, Instant};

fn operation(action: Action, outcome: Outcome, invoked_ns: u64, returned_ns: u64) -> Operation {
    let key = "k".to_string();
    Operation {
        process: 0,
        key,
        action,
        outcome,
        invoked_ns,
        returned_ns,
        stamp: None,
    }
}

fn put(value: Value, from: u64, to: u64) -> Operation {
    operation(Action::Put(value), Outcome::Put, from, to)
}

fn put_unknown(value: Value, from: u64) -> Operation {
    operation(Action::Put(value), Outcome::Unknown, from, NEVER)
}

fn get(seen: Option<Value>, from: u64, to: u64) -> Operation {
    operation(Action::Get, Outcome::Got(seen), from, to)
}

fn cas(expected: Option<Value>, value: Value, outcome: Outcome, from: u64, to: u64) -> Operation {
    operation(Action::Cas { expected, value }, outcome, from, to)
}

/// Both ways through the checker and the brute force must say the same.
fn verdict(history: &[Operation]) -> bool {
    let truth = brute_force(history);
    for found in [check_key(history), check_key_undecided(history)] {
        assert_ne!(found, KeyVerdict::Undecided);
        assert_eq!(found == KeyVerdict::Linearizable, truth, "{history:#?}");
    }
    truth
}

#[test]
fn a_read_after_a_write_sees_it() {
    assert!(verdict(&[put(1, 0, 1), get(Some(1), 2, 3)]));
    assert!(!verdict(&[put(1, 0, 1), get(None, 2, 3)]), "a lost write");
    assert!(
        !verdict(&[put(1, 0, 1), get(Some(2), 2, 3)]),
        "a value from nowhere"
    );
}

#[test]
fn a_read_beside_a_write_may_see_it_or_not() {
    assert!(verdict(&[
        put(1, 0, 5),
        get(None, 1, 2),
        get(Some(1), 3, 4)
    ]));
    assert!(
        !verdict(&[put(1, 0, 5), get(Some(1), 1, 2), get(None, 3, 4)]),
        "back in time"
    );
}

#[test]
fn a_stale_read_is_found() {
    assert!(!verdict(&[put(1, 0, 1), put(2, 2, 3), get(Some(1), 4, 5)]));
    assert!(verdict(&[put(1, 0, 1), put(2, 2, 5), get(Some(1), 4, 5)]));
}

#[test]
fn touching_operations_are_concurrent() {
    assert!(verdict(&[put(1, 0, 5), get(None, 5, 6)]));
    assert!(!verdict(&[put(1, 0, 4), get(None, 5, 6)]));
}

#[test]
fn one_value_is_swapped_once() {
    let swap = |value, from, to| cas(Some(1), value, Outcome::Swapped, from, to);
    assert!(verdict(&[put(1, 0, 1), swap(2, 2, 3)]));
    assert!(
        !verdict(&[put(1, 0, 1), swap(2, 2, 9), swap(3, 2, 9)]),
        "a double swap"
    );
    assert!(verdict(&[
        put(1, 0, 1),
        swap(2, 2, 9),
        put(1, 2, 9),
        swap(3, 2, 9)
    ]));
}

#[test]
fn a_refusal_must_be_explained() {
    let refused = |seen, from, to| cas(Some(1), 7, Outcome::Refused(seen), from, to);
    let blind = |from, to| cas(Some(1), 7, Outcome::RefusedBlind, from, to);
    assert!(verdict(&[put(2, 0, 1), refused(Some(2), 2, 3)]));
    assert!(!verdict(&[put(2, 0, 1), refused(None, 2, 3)]));
    assert!(!verdict(&[put(1, 0, 1), blind(2, 3)]), "it was there");
    assert!(
        verdict(&[put(1, 0, 1), put_unknown(2, 0), blind(2, 3)]),
        "unless it was replaced"
    );
    assert!(
        !verdict(&[put(2, 0, 1), refused(Some(2), 2, 3), get(Some(7), 4, 5)]),
        "a write after"
    );
}

#[test]
fn an_unknown_write_may_happen_late_or_never() {
    assert!(verdict(&[
        put(1, 0, 1),
        put_unknown(2, 2),
        get(Some(1), 3, 4)
    ]));
    assert!(verdict(&[
        put(1, 0, 1),
        put_unknown(2, 2),
        get(Some(1), 3, 4),
        get(Some(2), 5, 6)
    ]));
    assert!(
        verdict(&[put_unknown(2, 2), put(1, 10, 11), get(Some(2), 12, 13)]),
        "very late"
    );
    let back = [
        put_unknown(2, 0),
        get(Some(2), 1, 2),
        put(3, 3, 4),
        get(Some(2), 5, 6),
    ];
    assert!(!verdict(&back), "but only once");
    assert!(
        !verdict(&[get(Some(2), 0, 1), put_unknown(2, 2)]),
        "and not before it was sent"
    );
}

#[test]
fn an_unknown_swap_may_happen_if_it_fits() {
    let unknown = |expected, value, from| cas(expected, value, Outcome::Unknown, from, NEVER);
    assert!(verdict(&[
        put(1, 0, 1),
        unknown(Some(1), 2, 2),
        get(Some(2), 3, 4)
    ]));
    assert!(!verdict(&[
        put(1, 0, 1),
        unknown(Some(3), 2, 2),
        get(Some(2), 3, 4)
    ]));
    let chain = [
        put(1, 0, 1),
        unknown(Some(1), 2, 2),
        unknown(Some(2), 3, 2),
        get(Some(3), 3, 4),
    ];
    assert!(verdict(&chain), "one unknown swap on top of another");
    let late = [
        put(1, 0, 1),
        unknown(Some(1), 2, 2),
        get(Some(2), 3, 4),
        get(Some(1), 5, 6),
    ];
    assert!(!verdict(&late));
}

#[test]
fn a_failed_write_must_not_show() {
    let failed = operation(Action::Put(2), Outcome::Failed, 2, 3);
    assert!(verdict(&[put(1, 0, 1), failed.clone(), get(Some(1), 4, 5)]));
    assert!(!verdict(&[put(1, 0, 1), failed, get(Some(2), 4, 5)]));
}

#[test]
fn keys_are_judged_apart() {
    let mut other = get(None, 2, 3);
    other.key = "other".to_string();
    assert_eq!(check(&[put(1, 0, 1), other.clone()]), Verdict::Linearizable);
    let stale = get(None, 2, 3);
    let violation = Verdict::Violation {
        key: "k".to_string(),
    };
    assert_eq!(check(&[put(1, 0, 1), other, stale]), violation);
}

/// Every order of every choice of the unknown operations, against every pair of times: nothing is
/// shared with the checker but the meaning of the operations.
fn brute_force(history: &[Operation]) -> bool {
    let matters = |operation: &&Operation| {
        operation.outcome != Outcome::Failed
            && !(operation.action == Action::Get && operation.outcome == Outcome::Unknown)
    };
    let operations: Vec<&Operation> = history.iter().filter(matters).collect();
    let is_unknown = |operation: &Operation| operation.outcome == Outcome::Unknown;
    let (unknown, known): (Vec<&Operation>, Vec<&Operation>) = operations
        .into_iter()
        .partition(|operation| is_unknown(operation));
    (0..1u32 << unknown.len()).any(|choice| {
        let chosen = unknown
            .iter()
            .enumerate()
            .filter(|(at, _)| choice >> at & 1 == 1);
        let mut order = known.clone();
        order.extend(chosen.map(|(_, operation)| *operation));
        let count = order.len();
        any_order(&mut order, count)
    })
}

/// Heap's algorithm over the first `count` operations.
fn any_order(order: &mut Vec<&Operation>, count: usize) -> bool {
    if count <= 1 {
        return explains(order);
    }
    for at in 0..count {
        if any_order(order, count - 1) {
            return true;
        }
        let other = if count.is_multiple_of(2) { at } else { 0 };
        order.swap(other, count - 1);
    }
    false
}

fn explains(order: &[&Operation]) -> bool {
    for (at, later) in order.iter().enumerate() {
        for earlier in &order[..at] {
            let ended = earlier.outcome != Outcome::Unknown;
            let ended_later = later.outcome != Outcome::Unknown;
            if ended_later && later.returned_ns < earlier.invoked_ns {
                return false;
            }
            assert!(!ended || earlier.invoked_ns <= earlier.returned_ns);
        }
    }
    let mut register = None;
    for operation in order {
        match (operation.action, operation.outcome) {
            (Action::Put(value), _) => register = Some(value),
            (_, Outcome::Got(seen) | Outcome::Refused(seen)) if register != seen => return false,
            (Action::Cas { expected, value }, Outcome::Swapped | Outcome::Unknown) => {
                if register != expected {
                    return false;
                }
                register = Some(value);
            }
            (Action::Cas { expected, .. }, Outcome::RefusedBlind) if register == expected => {
                return false;
            }
            _ => {}
        }
    }
    true
}

/// A few operations at random times with random answers, some of which make sense.
fn random_history(random: &mut Random, unique: bool, blind: bool) -> Vec<Operation> {
    let count = 1 + random.below(6);
    let some_value = |random: &mut Random| match random.below(5) {
        0 => None,
        value => Some(value),
    };
    let mut history = Vec::new();
    for next_value in 1..=count {
        let from = random.below(14);
        let to = from + random.below(8);
        let value = if unique {
            next_value
        } else {
            1 + random.below(3)
        };
        let unknown = random.chance(20);
        let (action, mut outcome) = match random.below(3) {
            0 => (Action::Put(value), Outcome::Put),
            1 => (Action::Get, Outcome::Got(some_value(random))),
            _ => {
                let expected = some_value(random);
                let outcome = match random.below(4) {
                    0 if blind => Outcome::RefusedBlind,
                    0 | 1 => match some_value(random) {
                        seen if seen != expected => Outcome::Refused(seen),
                        _ => Outcome::Swapped,
                    },
                    _ => Outcome::Swapped,
                };
                (Action::Cas { expected, value }, outcome)
            }
        };
        if unknown {
            outcome = Outcome::Unknown;
        } else if random.chance(5) {
            outcome = Outcome::Failed;
        }
        history.push(operation(
            action,
            outcome,
            from,
            if unknown { NEVER } else { to },
        ));
    }
    history
}

#[test]
fn brute_force_agrees_on_random_histories() {
    let mut verdicts = [0u32; 2];
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let (unique, blind) = (random.chance(70), random.chance(30));
        let history = random_history(&mut random, unique, blind);
        let good = verdict(&history);
        verdicts[usize::from(good)] += 1;
        if !good {
            let part = shortest_violation(&history);
            assert!(
                !brute_force(&part),
                "seed {seed}: the shortest part is no violation"
            );
        }
    }
    println!("{} violations, {} linearizable", verdicts[0], verdicts[1]);
    assert!(
        verdicts.iter().all(|&count| count > 3_000),
        "one-sided dice: {verdicts:?}"
    );
}

/// A history as a correct store would answer it, with revisions: clients that overlap, a moment
/// inside each operation at which it happens, and some answers that get lost.
fn honest_history(count: usize, keys: u64, clients: u64, lost_percent: u64) -> Vec<Operation> {
    let mut random = Random::new(count as u64 ^ keys << 32);
    let mut free_at = vec![0u64; clients as usize];
    let mut plans = Vec::new();
    for value in 1..=count as u64 {
        let process = random.below(clients);
        let from = free_at[process as usize] + random.below(20);
        let at = from + 1 + random.below(30);
        let to = at + 1 + random.below(30);
        free_at[process as usize] = to + 1;
        plans.push((at, from, to, process as u32, value));
    }
    plans.sort_unstable();
    let mut store: Vec<(Option<Value>, u64, u64)> = vec![(None, 0, 0); keys as usize];
    let mut revision = 1;
    let mut history = Vec::new();
    for (_, invoked_ns, to, process, value) in plans {
        let key = random.below(keys);
        let register = &mut store[key as usize];
        let lost = random.chance(lost_percent);
        let never_happened = lost && random.chance(50);
        let mut write = |register: &mut (Option<Value>, u64, u64)| {
            if !never_happened {
                revision += 1;
                *register = (Some(value), revision, register.2 + 1);
            }
        };
        let (action, outcome) = match random.below(4) {
            0 | 1 => (Action::Get, Outcome::Got(register.0)),
            2 => {
                write(register);
                (Action::Put(value), Outcome::Put)
            }
            _ if random.chance(60) => {
                let expected = register.0;
                write(register);
                (Action::Cas { expected, value }, Outcome::Swapped)
            }
            _ => {
                let seen = register.0;
                let expected = if seen.is_some() { None } else { Some(u64::MAX) };
                (Action::Cas { expected, value }, Outcome::Refused(seen))
            }
        };
        let stamp = Stamp {
            revision,
            mod_revision: register.1,
            version: register.2,
        };
        let (outcome, returned_ns, stamp) = match lost {
            true => (Outcome::Unknown, NEVER, None),
            false => (outcome, to, Some(stamp)),
        };
        let key = format!("k{key}");
        history.push(Operation {
            process,
            key,
            action,
            outcome,
            invoked_ns,
            returned_ns,
            stamp,
        });
    }
    history
}

/// Makes one read, at nine tenths of the history, see what its key held some writes before.
fn with_stale_read(mut history: Vec<Operation>) -> Vec<Operation> {
    let begin = history.len() / 10 * 9;
    let is_read = |operation: &Operation| matches!(operation.outcome, Outcome::Got(Some(_)));
    let at = (begin..history.len())
        .find(|&at| is_read(&history[at]))
        .expect("reads are common");
    let key = history[at].key.clone();
    let same_key = |operation: &&Operation| operation.key == key && is_read(operation);
    let older = history[..at]
        .iter()
        .rev()
        .filter(same_key)
        .nth(200)
        .expect("enough reads")
        .clone();
    assert_ne!(older.outcome, history[at].outcome);
    history[at].outcome = older.outcome;
    let stamp = history[at]
        .stamp
        .as_mut()
        .expect("reads that returned have one");
    stamp.mod_revision = older.stamp.expect("so has this").mod_revision;
    stamp.version = older.stamp.expect("so has this").version;
    history
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    println!("{what}: {:?}", begin.elapsed());
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "{what} took too long"
    );
    result
}

#[test]
fn a_hundred_thousand_operations_on_one_key_are_judged() {
    let history = honest_history(100_000, 1, 16, 1);
    let verdict = timed("100 000 operations, one key", || check(&history));
    assert_eq!(verdict, Verdict::Linearizable);
    timed("their revisions", || revision::check(&history)).expect("an honest history");

    let stale = with_stale_read(history);
    let verdict = timed("with a stale read", || check(&stale));
    assert_eq!(
        verdict,
        Verdict::Violation {
            key: "k0".to_string()
        }
    );
    let contradiction = timed("its revisions", || revision::check(&stale)).expect_err("stale");
    assert_eq!(
        contradiction.claim,
        "an answer is not the newest value of its revision"
    );
    let part = timed("its shortest part", || shortest_violation(&stale));
    assert!(part.len() <= 8, "{part:#?}");
    assert_eq!(check_key(&part), KeyVerdict::Violation);
}

#[test]
fn a_hundred_thousand_operations_on_many_keys_are_judged() {
    let history = honest_history(100_000, 100, 50, 3);
    assert_eq!(
        timed("100 000 operations, 100 keys", || check(&history)),
        Verdict::Linearizable
    );
    timed("their revisions", || revision::check(&history)).expect("an honest history");
    let stale = with_stale_read(history);
    assert!(matches!(
        timed("with a stale read", || check(&stale)),
        Verdict::Violation { .. }
    ));
    revision::check(&stale).expect_err("stale");
}

#[test]
fn a_read_that_hangs_for_the_whole_history_costs_little() {
    let mut history = honest_history(20_000, 1, 16, 1);
    let end = history
        .iter()
        .map(|operation| operation.invoked_ns)
        .max()
        .expect("not empty");
    let first = history
        .iter()
        .find_map(Operation::written)
        .expect("not empty");
    for (process, seen) in [(100, None), (101, Some(first))] {
        let mut long = get(seen, 0, end + 1_000);
        (long.process, long.key) = (process, "k0".to_string());
        history.insert(0, long);
    }
    assert_eq!(
        timed("with hanging reads", || check(&history)),
        Verdict::Linearizable
    );
}

fn stamped(mut operation: Operation, revision: u64, mod_revision: u64, version: u64) -> Operation {
    operation.stamp = Some(Stamp {
        revision,
        mod_revision,
        version,
    });
    operation
}

fn claim(history: &[Operation]) -> &'static str {
    revision::check(history).expect_err("a contradiction").claim
}

#[test]
fn revisions_do_not_run_backwards() {
    let first = stamped(put(1, 0, 1), 5, 5, 0);
    assert_eq!(
        claim(&[first.clone(), stamped(get(None, 2, 3), 4, 0, 0)]),
        "an answer is older than one that came before it was asked"
    );
    assert_eq!(
        claim(&[first.clone(), stamped(put(2, 2, 3), 5, 5, 0)]),
        "a write took a revision that had been seen before it was sent"
    );
    revision::check(&[first, stamped(put(2, 1, 3), 4, 4, 0)]).expect("they overlap");
}

#[test]
fn one_revision_is_one_change() {
    let mut other = stamped(put(2, 0, 1), 5, 5, 0);
    assert_eq!(
        claim(&[stamped(put(1, 0, 1), 5, 5, 0), other.clone()]),
        "one revision made two changes"
    );
    other.key = "other".to_string();
    assert_eq!(
        claim(&[stamped(put(1, 0, 1), 5, 5, 0), other]),
        "one revision made two changes"
    );
    let twice = [put_unknown(1, 0), stamped(get(Some(1), 1, 2), 5, 5, 1)];
    let again = stamped(get(Some(1), 3, 4), 6, 6, 2);
    assert_eq!(
        claim(&[&twice[..], &[again]].concat()),
        "one write made two changes"
    );
}

#[test]
fn an_answer_is_the_newest_value_of_its_revision() {
    let writes = [
        stamped(put(1, 0, 1), 5, 5, 0),
        stamped(put(2, 2, 3), 6, 6, 0),
    ];
    let read =
        |seen, revision, at| [&writes[..], &[stamped(get(seen, 4, 5), revision, at, 0)]].concat();
    revision::check(&read(Some(2), 7, 6)).expect("the newest");
    assert_eq!(
        claim(&read(Some(1), 7, 5)),
        "an answer is not the newest value of its revision"
    );
    assert_eq!(
        claim(&read(None, 7, 0)),
        "an answer is not the newest value of its revision"
    );
    let swap = stamped(cas(Some(1), 3, Outcome::Swapped, 4, 5), 7, 7, 0);
    let swap = [&writes[..], &[swap]].concat();
    assert_eq!(claim(&swap), "a swap did not replace the value it expected");
}

#[test]
fn values_come_from_somewhere() {
    let failed = operation(Action::Put(1), Outcome::Failed, 0, 1);
    let seen = stamped(get(Some(1), 4, 5), 2, 2, 1);
    assert_eq!(
        claim(&[failed, seen.clone()]),
        "a value was seen that nobody can have written"
    );
    assert_eq!(
        claim(&[seen, put_unknown(1, 6)]),
        "a value was seen before it was sent"
    );
}

#[test]
fn versions_count_changes() {
    let read = |version| {
        vec![
            stamped(put(1, 0, 1), 2, 2, 0),
            stamped(put(2, 2, 3), 3, 3, 0),
            stamped(get(Some(2), 4, 5), 3, 3, version),
        ]
    };
    revision::check(&read(2)).expect("two changes");
    assert_eq!(
        claim(&read(1)),
        "fewer changes are counted than were answered"
    );
    assert_eq!(
        claim(&read(3)),
        "more changes are counted than were ever asked for"
    );
    let mut spare = read(3);
    spare.push(put_unknown(9, 1));
    revision::check(&spare).expect("the unknown write may be the third");
}
