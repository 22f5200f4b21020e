//! Whether a history is linearizable: each operation takes effect at one moment between its call
//! and its return, on registers with put, get and compare-and-swap. Keys are judged apart.
//! Never looks at revisions; `revision` is the second opinion that does. Never searches: the judge
//! that the simulator has as well does, and sees nothing of ours but what is written here.
//!
//! # Source
//! Horn and Kroening, "Faster linearizability checking via P-compositionality" (2015).

use crate::history::{Action, NEVER, Operation, Outcome, Value};
use headwater_linear::register::{self, Effect, Found};
use headwater_linear::search::first_unexplained;
use std::collections::BTreeMap;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key's operations have an order that explains all answers.
    Linearizable,
    /// This key's have none.
    Violation {
        /// The first such key.
        key: String,
    },
    /// This key's search grew too large.
    Undecided {
        /// The first such key.
        key: String,
    },
}

/// Judges a history of any number of keys.
pub fn check(history: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        let of_key = keys.entry(&operation.key).or_default();
        of_key.push(operation.clone());
    }
    for (key, operations) in keys {
        let key = key.to_string();
        match check_key(&operations) {
            KeyVerdict::Linearizable => {}
            KeyVerdict::Violation => return Verdict::Violation { key },
            KeyVerdict::Undecided => return Verdict::Undecided { key },
        }
    }
    Verdict::Linearizable
}

/// What the search found for one key.
pub type KeyVerdict = headwater_linear::Verdict;

/// Judges the operations of one key.
pub fn check_key(operations: &[Operation]) -> KeyVerdict {
    register::check(&told(operations))
}

/// As `check_key`, but searches over unknown outcomes instead of deciding them first: slower.
/// Tests compare the two.
pub fn check_key_undecided(operations: &[Operation]) -> KeyVerdict {
    register::check_undecided(&told(operations))
}

/// The moment of the first answer that no order explains; those before it have one.
pub fn stuck_at_ns(operations: &[Operation]) -> Option<u64> {
    first_unexplained(&told(operations), register::check)
}

/// What each operation did to the register, as far as its client knows; a read without an answer
/// and an operation that surely failed say nothing.
fn told(operations: &[Operation]) -> Vec<headwater_linear::Operation<Effect<Value>>> {
    let effect = |operation: &Operation| {
        Some(match (operation.action, operation.outcome) {
            (_, Outcome::Failed) | (Action::Get, Outcome::Unknown) => return None,
            (Action::Put(value), _) => Effect::put(value),
            (_, Outcome::Got(seen) | Outcome::Refused(seen)) => Effect::see(seen),
            (Action::Cas { expected, .. }, Outcome::RefusedBlind) => Effect::Step {
                finds: Found::Other(expected),
                leaves: None,
            },
            (Action::Cas { expected, value }, _) => Effect::swap(expected, value),
            (Action::Get, _) => return None,
        })
    };
    let told = |operation: &Operation| {
        // An operation of unknown outcome has no end even if its client gave up at some moment.
        let known = operation.outcome != Outcome::Unknown && operation.returned_ns != NEVER;
        let returned = known.then_some(operation.returned_ns);
        effect(operation)
            .map(|effect| headwater_linear::Operation::new(effect, operation.invoked_ns, returned))
    };
    operations.iter().filter_map(told).collect()
}
