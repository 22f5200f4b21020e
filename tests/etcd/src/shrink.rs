//! The shortest part of a history that is still not linearizable: what a reader should see first.
//! Never judges; it asks `linearizable` again and again.

use crate::history::{Action, NEVER, Operation, Outcome, Value};
use crate::linearizable::{KeyVerdict, check_key, stuck_at_ns};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Reduces the operations of one key, which must not be linearizable, to few that are not either.
///
/// Every cut is sound: if what remains has no order, the whole has none. So the history ends as
/// early as it can; reads go; and a value goes only together with everyone who saw it.
///
/// # Panics
/// If `operations` is linearizable, or too large to decide.
pub fn shortest_violation(operations: &[Operation]) -> Vec<Operation> {
    let at_ns = stuck_at_ns(operations).expect("nothing to explain");
    let mut part = until(operations, at_ns);
    assert!(
        is_violation(&part),
        "nothing after the answer that cannot be explained matters"
    );
    // A blind refusal ties a value to nobody in particular, so values cannot be cut beside one.
    if part
        .iter()
        .all(|operation| operation.outcome != Outcome::RefusedBlind)
    {
        part = without_values(part);
    }
    let mut part = without_observers(part);
    part.sort_by_key(|operation| operation.invoked_ns);
    part
}

fn is_violation(operations: &[Operation]) -> bool {
    check_key(operations) == KeyVerdict::Violation
}

/// The history until `end`: a write that had not returned by then is of unknown outcome, and what
/// only observed says nothing yet.
fn until(operations: &[Operation], end: u64) -> Vec<Operation> {
    let cut = |operation: &Operation| {
        let mut operation = operation.clone();
        if operation.is_complete() && operation.returned_ns > end {
            operation.written()?;
            operation.outcome = Outcome::Unknown;
            operation.returned_ns = NEVER;
            operation.stamp = None;
        }
        Some(operation)
    };
    operations
        .iter()
        .filter(|operation| operation.invoked_ns <= end)
        .filter_map(cut)
        .collect()
}

fn without_values(part: Vec<Operation>) -> Vec<Operation> {
    let values: BTreeSet<Value> = part.iter().filter_map(Operation::written).collect();
    let values: Vec<Value> = values.into_iter().collect();
    reduce(part, values, |part, chunk| {
        let doomed = closure(part, chunk);
        let stays = |operation: &&Operation| {
            let seen = operation.observed().flatten();
            let touches = |value: Option<Value>| value.is_some_and(|v| doomed.contains(&v));
            !touches(operation.written()) && !touches(seen)
        };
        part.iter().filter(stays).cloned().collect()
    })
}

/// These values, and those that were written on top of having seen one of them.
fn closure(part: &[Operation], chunk: &[Value]) -> BTreeSet<Value> {
    let mut after: HashMap<Value, Vec<Value>> = HashMap::new();
    for operation in part {
        let expected = match operation.action {
            Action::Cas {
                expected: Some(expected),
                ..
            } => expected,
            _ => continue,
        };
        if let Some(value) = operation.written() {
            after.entry(expected).or_default().push(value);
        }
    }
    let mut doomed = BTreeSet::new();
    let mut todo = chunk.to_vec();
    while let Some(value) = todo.pop() {
        if doomed.insert(value) {
            todo.extend(after.get(&value).into_iter().flatten());
        }
    }
    doomed
}

fn without_observers(part: Vec<Operation>) -> Vec<Operation> {
    let name = |operation: &Operation| (operation.process, operation.invoked_ns);
    let observers = part
        .iter()
        .filter(|operation| operation.written().is_none())
        .map(name);
    let observers = observers.collect();
    reduce(part, observers, |part, chunk| {
        let chunk: HashSet<(u32, u64)> = chunk.iter().copied().collect();
        let stays = |operation: &&Operation| {
            operation.written().is_some() || !chunk.contains(&name(operation))
        };
        part.iter().filter(stays).cloned().collect()
    })
}

/// Takes chunks of `items` away from `part` while it stays a violation: halves first, single items
/// last.
fn reduce<T: Clone>(
    mut part: Vec<Operation>,
    mut items: Vec<T>,
    without: impl Fn(&[Operation], &[T]) -> Vec<Operation>,
) -> Vec<Operation> {
    let mut size = items.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < items.len() {
            let end = (start + size).min(items.len());
            let smaller = without(&part, &items[start..end]);
            if smaller.len() < part.len() && is_violation(&smaller) {
                part = smaller;
                items.drain(start..end);
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    part
}
