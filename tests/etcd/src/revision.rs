//! Whether the revisions in etcd's answers tell one consistent story.
//! Independent of `linearizable`: no search, only sorting, so it judges any number of operations.
//!
//! Every change of the store has a revision of its own, and every answer says at which revision it
//! was given. That fixes the one order in which all operations must have happened, over all keys;
//! what remains is to check that answers and times agree with it. It holds for histories whose
//! writes each have a value of their own and go through no transaction of more than one write.

use crate::history::{Operation, Outcome, Stamp, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Why the revisions contradict the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What is wrong, in a sentence.
    pub claim: &'static str,
    /// The operations that show it.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.claim)?;
        self.operations
            .iter()
            .try_for_each(|operation| writeln!(f, "  {operation}"))
    }
}

/// A change of one key as the answers tell it.
#[derive(Clone, Copy)]
struct Change<'a> {
    value: Value,
    version: u64,
    /// The answer that told: the write's own, or the first read that saw it.
    told_by: &'a Operation,
}

/// Checks all answers that carry revisions; values must be unique in the whole history.
///
/// # Errors
/// The first contradiction found.
pub fn check(history: &[Operation]) -> Result<(), Contradiction> {
    check_times(history)?;
    let writers = writers(history)?;
    let changes = changes(history)?;
    check_reads(history, &changes, &writers)?;
    check_origins(history, &writers)?;
    check_versions(history, &changes)
}

fn fail<T>(claim: &'static str, operations: &[&Operation]) -> Result<T, Contradiction> {
    let operations = operations
        .iter()
        .map(|&operation| operation.clone())
        .collect();
    Err(Contradiction { claim, operations })
}

/// The answers that carry revisions.
fn stamped(history: &[Operation]) -> impl Iterator<Item = (&Operation, Stamp)> {
    history
        .iter()
        .filter_map(|operation| Some((operation, operation.stamp?)))
}

fn changed_something(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Put | Outcome::Swapped)
}

/// Revisions never run backwards in real time, and a write's is above all that came before it.
fn check_times(history: &[Operation]) -> Result<(), Contradiction> {
    let mut by_call: Vec<(&Operation, Stamp)> = stamped(history).collect();
    let mut by_return = by_call.clone();
    by_call.sort_by_key(|(operation, _)| operation.invoked_ns);
    by_return.sort_by_key(|(operation, _)| operation.returned_ns);
    let mut returned = by_return.into_iter().peekable();
    let mut newest: Option<(&Operation, Stamp)> = None;
    for (operation, stamp) in by_call {
        while let Some(&before) = returned.peek() {
            if before.0.returned_ns >= operation.invoked_ns {
                break;
            }
            if newest.is_none_or(|(_, known)| known.revision < before.1.revision) {
                newest = Some(before);
            }
            returned.next();
        }
        let Some((earlier, known)) = newest else {
            continue;
        };
        if stamp.revision < known.revision {
            return fail(
                "an answer is older than one that came before it was asked",
                &[earlier, operation],
            );
        }
        if changed_something(operation) && stamp.revision == known.revision {
            return fail(
                "a write took a revision that had been seen before it was sent",
                &[earlier, operation],
            );
        }
    }
    Ok(())
}

fn writers(history: &[Operation]) -> Result<HashMap<(&str, Value), &Operation>, Contradiction> {
    let mut writers: HashMap<(&str, Value), &Operation> = HashMap::new();
    for operation in history {
        let Some(value) = operation.written() else {
            continue;
        };
        if let Some(other) = writers.insert((&operation.key, value), operation) {
            return fail(
                "two writes share a value: this history cannot be judged",
                &[other, operation],
            );
        }
    }
    Ok(writers)
}

/// Every change of each key that some answer tells of, by revision.
type Changes<'a> = BTreeMap<&'a str, BTreeMap<u64, Change<'a>>>;

fn changes(history: &[Operation]) -> Result<Changes<'_>, Contradiction> {
    let mut key_at: HashMap<u64, (&str, Change<'_>)> = HashMap::new();
    let mut value_at: HashMap<(&str, Value), (u64, &Operation)> = HashMap::new();
    for (operation, stamp) in stamped(history) {
        let value = match operation.outcome {
            Outcome::Put | Outcome::Swapped => operation.written(),
            Outcome::Got(seen) | Outcome::Refused(seen) => seen,
            _ => None,
        };
        let Some(value) = value else { continue };
        let key = operation.key.as_str();
        let at = if changed_something(operation) {
            stamp.revision
        } else {
            stamp.mod_revision
        };
        let change = Change {
            value,
            version: stamp.version,
            told_by: operation,
        };
        let (known_key, known) = *key_at.entry(at).or_insert((key, change));
        if (known_key, known.value) != (key, value) {
            return fail("one revision made two changes", &[known.told_by, operation]);
        }
        if known.version == 0 {
            key_at.insert(at, (key, change));
        } else if change.version != 0 && change.version != known.version {
            return fail("one change has two versions", &[known.told_by, operation]);
        }
        let (known_at, told_by) = *value_at.entry((key, value)).or_insert((at, operation));
        if known_at != at {
            return fail("one write made two changes", &[told_by, operation]);
        }
    }
    let mut changes: Changes<'_> = BTreeMap::new();
    for (at, (key, change)) in key_at {
        changes.entry(key).or_default().insert(at, change);
    }
    Ok(changes)
}

/// Whoever saw a key saw its newest change up to the revision of the answer; a swap saw the one
/// before its own.
fn check_reads(
    history: &[Operation],
    changes: &Changes<'_>,
    writers: &HashMap<(&str, Value), &Operation>,
) -> Result<(), Contradiction> {
    let none = BTreeMap::new();
    let mut hidden: HashMap<(&str, Value), &Operation> = HashMap::new();
    for (operation, stamp) in stamped(history) {
        let Some(seen) = operation.observed() else {
            continue;
        };
        let key = operation.key.as_str();
        let of_key = changes.get(key).unwrap_or(&none);
        let is_swap = operation.outcome == Outcome::Swapped;
        let end = if is_swap {
            stamp.revision
        } else {
            stamp.revision + 1
        };
        let newest = of_key.range(..end).next_back();
        if newest.map(|(_, change)| change.value) == seen {
            if !is_swap && newest.map_or(0, |(&at, _)| at) != stamp.mod_revision {
                return fail(
                    "an answer names a revision that is not its value's",
                    &[operation],
                );
            }
            continue;
        }
        // A swap does not say at which revision its expected value was written. If that write's own
        // answer was lost and no read told either, it lies between the newest change we know and
        // this swap; but only one swap can stand on it.
        let untold = seen.filter(|value| {
            let lost = |writer: &&Operation| writer.outcome == Outcome::Unknown;
            let told = || of_key.values().any(|change| change.value == *value);
            is_swap && writers.get(&(key, *value)).is_some_and(lost) && !told()
        });
        if let Some(value) = untold {
            match hidden.insert((key, value), operation) {
                None => continue,
                Some(other) => return fail("two swaps replaced one write", &[other, operation]),
            }
        }
        let mut shown = vec![operation];
        shown.extend(newest.map(|(_, change)| change.told_by));
        return match is_swap {
            true => fail("a swap did not replace the value it expected", &shown),
            false => fail("an answer is not the newest value of its revision", &shown),
        };
    }
    Ok(())
}

/// What was seen had been asked for, and not before anyone asked.
fn check_origins(
    history: &[Operation],
    writers: &HashMap<(&str, Value), &Operation>,
) -> Result<(), Contradiction> {
    for operation in history {
        let Some(Some(value)) = operation.observed() else {
            continue;
        };
        match writers.get(&(operation.key.as_str(), value)) {
            None => {
                return fail(
                    "a value was seen that nobody can have written",
                    &[operation],
                );
            }
            Some(writer) if writer.invoked_ns > operation.returned_ns => {
                return fail("a value was seen before it was sent", &[operation, writer]);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A key's versions count its changes: none was lost, and none was made twice.
///
/// Between two answers that tell versions there may be changes that no answer tells of, at most
/// one for each write of unknown outcome that nobody saw.
fn check_versions(history: &[Operation], changes: &Changes<'_>) -> Result<(), Contradiction> {
    let mut unseen: HashMap<&str, u64> = HashMap::new();
    for operation in history
        .iter()
        .filter(|operation| operation.outcome == Outcome::Unknown)
    {
        let Some(value) = operation.written() else {
            continue;
        };
        let told = changes.get(operation.key.as_str()).is_some_and(|of_key| {
            // Few histories have many unknown outcomes, so walking the key's changes is cheap.
            of_key.values().any(|change| change.value == value)
        });
        *unseen.entry(&operation.key).or_default() += u64::from(!told);
    }
    for (&key, of_key) in changes {
        let spare = unseen.get(key).copied().unwrap_or(0);
        for (known, change) in (1..).zip(of_key.values()) {
            if change.version == 0 {
                continue;
            }
            if change.version < known {
                return fail(
                    "fewer changes are counted than were answered",
                    &[change.told_by],
                );
            }
            if change.version - known > spare {
                return fail(
                    "more changes are counted than were ever asked for",
                    &[change.told_by],
                );
            }
        }
    }
    Ok(())
}
