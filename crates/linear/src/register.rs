//! One key: a register that holds a value or nothing.
//! Never needs a value to be written once; but where each is, unknown outcomes cost nothing.
//!
//! # Source
//! docs/testing.md, "The judges"; Gibbons and Korach, "Testing shared memories", 1997, for what it
//! is worth to know each value's writer.

use std::collections::{BTreeMap, BTreeSet};

use crate::search::{self, Model, Operation, Verdict};

/// What one operation did to the register, as far as its client knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect<V> {
    /// It found something and left something.
    Step {
        /// What it must have found.
        finds: Found<V>,
        /// What it wrote, a deletion nothing; or no write at all.
        leaves: Option<Option<V>>,
    },
    /// It took away the value if that was one of these.
    TakeAway(Vec<V>),
}

/// What is known of the register before an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found<V> {
    /// Nothing is known.
    Anything,
    /// It held this.
    This(Option<V>),
    /// It held anything but this.
    Other(Option<V>),
}

impl<V> Effect<V> {
    /// A write of which nothing else is known.
    pub fn put(value: V) -> Self {
        Self::Step {
            finds: Found::Anything,
            leaves: Some(Some(value)),
        }
    }

    /// A write, where something else was found.
    pub fn swap(found: Option<V>, value: V) -> Self {
        Self::Step {
            finds: Found::This(found),
            leaves: Some(Some(value)),
        }
    }

    /// A read.
    pub fn see(found: Option<V>) -> Self {
        Self::Step {
            finds: Found::This(found),
            leaves: None,
        }
    }
}

/// Judges the operations on one register that holds nothing before the first.
pub fn check<V: Ord>(operations: &[Operation<Effect<V>>]) -> Verdict {
    judge(&decided(numbered(operations)))
}

/// As [`check`], but searches over all unknown outcomes instead of deciding some before: slower.
/// Tests compare the two.
pub fn check_undecided<V: Ord>(operations: &[Operation<Effect<V>>]) -> Verdict {
    judge(&numbered(operations))
}

/// A value's number.
type Number = u32;

const NOTHING: Number = 0;

/// An effect with numbers for values.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Numbered {
    finds: Is,
    leaves: Leaves,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Anything,
    This(Number),
    Other(Number),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Leaves {
    AsItWas,
    This(Number),
    NothingInsteadOf(Box<[Number]>),
}

fn judge(operations: &[Operation<Numbered>]) -> Verdict {
    search::check(&Register::of(operations), NOTHING, operations)
}

struct Register {
    /// The values that one operation writes.
    once: BTreeSet<Number>,
    /// Of these, those that no other operation can tell from others unless it finds it.
    private: BTreeSet<Number>,
}

impl Register {
    fn of(operations: &[Operation<Numbered>]) -> Self {
        let (mut once, mut often) = (BTreeSet::new(), BTreeSet::from([NOTHING]));
        let (mut told_apart, mut has_blind) = (BTreeSet::new(), false);
        for Operation { op, returned, .. } in operations {
            has_blind |= matches!(op.finds, Is::Other(_));
            told_apart.extend(op.seen().filter(|_| returned.is_none()));
            match &op.leaves {
                Leaves::AsItWas => {}
                Leaves::This(value) if once.insert(*value) => {}
                Leaves::This(value) => drop(often.insert(*value)),
                Leaves::NothingInsteadOf(values) => told_apart.extend(values),
            }
        }
        once.retain(|value| !often.contains(value));
        let is_private = |value: &Number| !has_blind && !told_apart.contains(value);
        Self {
            private: once.iter().copied().filter(is_private).collect(),
            once,
        }
    }
}

impl Model for Register {
    type State = Number;
    type Op = Numbered;

    fn step(&self, state: &Number, op: &Numbered) -> Option<Number> {
        let fits = match op.finds {
            Is::Anything => true,
            Is::This(found) => *state == found,
            Is::Other(other) => *state != other,
        };
        fits.then(|| match &op.leaves {
            Leaves::This(value) => *value,
            Leaves::NothingInsteadOf(values) if values.contains(state) => NOTHING,
            _ => *state,
        })
    }

    fn only_observes(&self, op: &Numbered) -> bool {
        op.leaves == Leaves::AsItWas
    }

    fn needs(&self, op: &Numbered) -> Option<Number> {
        match op.finds {
            Is::This(value) => Some(value),
            _ => None,
        }
    }

    fn overwrites(&self, op: &Numbered) -> Option<Number> {
        match (op.finds, &op.leaves) {
            (Is::Anything, Leaves::This(value)) => Some(*value),
            _ => None,
        }
    }

    fn comes_once(&self, state: &Number) -> bool {
        self.once.contains(state)
    }

    fn is_private(&self, state: &Number) -> bool {
        self.private.contains(state)
    }
}

impl Numbered {
    fn written(&self) -> Option<Number> {
        match self.leaves {
            Leaves::This(value) if value != NOTHING => Some(value),
            _ => None,
        }
    }

    fn seen(&self) -> Option<Number> {
        match self.finds {
            Is::This(value) if value != NOTHING => Some(value),
            _ => None,
        }
    }
}

/// Equal values have equal numbers; nothing has the first.
struct Numbers<'a, V>(BTreeMap<&'a V, Number>);

impl<'a, V: Ord> Numbers<'a, V> {
    fn operation(&mut self, operation: &'a Operation<Effect<V>>) -> Operation<Numbered> {
        let op = match &operation.op {
            Effect::Step { finds, leaves } => Numbered {
                finds: match finds {
                    Found::Anything => Is::Anything,
                    Found::This(found) => Is::This(self.number(found.as_ref())),
                    Found::Other(other) => Is::Other(self.number(other.as_ref())),
                },
                leaves: match leaves {
                    None => Leaves::AsItWas,
                    Some(left) => Leaves::This(self.number(left.as_ref())),
                },
            },
            Effect::TakeAway(values) => Numbered {
                finds: Is::Anything,
                leaves: Leaves::NothingInsteadOf(
                    values
                        .iter()
                        .map(|value| self.number(Some(value)))
                        .collect(),
                ),
            },
        };
        Operation::new(op, operation.called, operation.returned)
    }

    fn number(&mut self, value: Option<&'a V>) -> Number {
        let next = Number::try_from(self.0.len() + 1).expect("histories are shorter than that");
        value.map_or(NOTHING, |value| *self.0.entry(value).or_insert(next))
    }
}

fn numbered<V: Ord>(operations: &[Operation<Effect<V>>]) -> Vec<Operation<Numbered>> {
    let mut numbers = Numbers(BTreeMap::new());
    let mut numbered = |operation| numbers.operation(operation);
    operations.iter().map(&mut numbered).collect()
}

/// Decides unknown outcomes where the rest of the history does.
///
/// A write whose value nobody else writes, and somebody saw, took effect before the first of those
/// answers came. One whose value nobody saw may be left out of any order that explains the answers:
/// what came after it found it, if it found anything, as it found what was there before. But that
/// fails if something else asks what it is not, or takes it away without saying so.
fn decided(mut operations: Vec<Operation<Numbered>>) -> Vec<Operation<Numbered>> {
    let mut writers: BTreeMap<Number, Vec<usize>> = BTreeMap::new();
    // The moment by which each value had been seen.
    let mut seen: Vec<(Number, u64)> = Vec::new();
    let mut has_blind = false;
    for (at, Operation { op, returned, .. }) in operations.iter().enumerate() {
        if let Some(value) = op.written() {
            writers.entry(value).or_default().push(at);
        }
        if let (Some(value), Some(by)) = (op.seen(), *returned) {
            seen.push((value, by));
        }
        has_blind |= matches!(op.finds, Is::Other(_));
    }
    let was_known: Vec<bool> = operations.iter().map(|op| op.returned.is_some()).collect();
    // An operation that turns out to have happened has itself seen a value.
    while let Some((value, by)) = seen.pop() {
        let Some(&[writer]) = writers.get(&value).map(Vec::as_slice) else {
            continue;
        };
        let operation = &mut operations[writer];
        if was_known[writer] || operation.returned.is_some_and(|known_by| known_by <= by) {
            continue;
        }
        operation.returned = Some(by);
        seen.extend(operation.op.seen().map(|value| (value, by)));
    }
    if !has_blind {
        leave_out_unseen(&mut operations, &writers);
    }
    operations
}

/// Takes out the writes of unknown outcome that no order needs.
fn leave_out_unseen(
    operations: &mut Vec<Operation<Numbered>>,
    writers: &BTreeMap<Number, Vec<usize>>,
) {
    let mut taken = BTreeSet::new();
    for operation in operations.iter() {
        if let Leaves::NothingInsteadOf(values) = &operation.op.leaves {
            taken.extend(values.iter().copied());
        }
    }
    let is_unseen = |Operation { op, returned, .. }: &Operation<Numbered>| {
        let is_alone = |value| writers[&value].len() == 1 && !taken.contains(&value);
        returned.is_none() && op.written().is_some_and(is_alone)
    };
    let mut stays: Vec<bool> = operations.iter().map(|op| !is_unseen(op)).collect();
    // What stays, though nobody knows its outcome, needs what it would have found.
    let mut pending: Vec<usize> = (0..operations.len()).filter(|&at| stays[at]).collect();
    while let Some(at) = pending.pop() {
        let found = operations[at].op.seen();
        for &writer in found
            .and_then(|value| writers.get(&value))
            .into_iter()
            .flatten()
        {
            if !std::mem::replace(&mut stays[writer], true) {
                pending.push(writer);
            }
        }
    }
    let mut stays = stays.into_iter();
    operations.retain(|_| stays.next() == Some(true));
}
