//! Whether a history is linearizable: each operation takes effect at one moment between its call
//! and its return, on registers with put, get and compare-and-swap.
//! Never looks at revisions; `revision` is the second opinion that does.
//!
//! Keys are independent registers, so each is judged alone. The search walks the history in order,
//! picks an operation that may come next, and goes back when it meets the return of one that it has
//! not placed. Three things keep it near linear on real histories:
//!
//! * An operation that only observes is placed as soon as it fits: it changes nothing, so placing
//!   it now can never spoil what comes later, and needs no way back.
//! * Configurations that were tried (which operations are placed, what the register holds) are
//!   remembered. Nearly all operations before the first unplaced one are placed, so only the
//!   window above it is kept, not a bit for every operation.
//! * When every write has a value of its own, an operation of unknown outcome is decided by
//!   whether anyone saw its value, before the search begins.
//!
//! # Source
//! Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for
//! linearizability" (2017) for the memory of configurations; Horn and Kroening, "Faster
//! linearizability checking via P-compositionality" (2015) for keys apart.

use crate::history::{Action, NEVER, Operation, Outcome, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How many configurations one key's search may remember before it gives up.
pub const CONFIGURATIONS_MAX: usize = 20_000_000;

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
    /// This key's search grew past `CONFIGURATIONS_MAX`.
    Undecided {
        /// The first such key.
        key: String,
    },
}

/// Judges a history of any number of keys.
pub fn check(history: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key)
            .or_default()
            .push(operation.clone());
    }
    for (key, operations) in keys {
        match check_key(&operations) {
            KeyVerdict::Linearizable => {}
            KeyVerdict::Stuck { .. } => {
                return Verdict::Violation {
                    key: key.to_string(),
                };
            }
            KeyVerdict::Undecided => {
                return Verdict::Undecided {
                    key: key.to_string(),
                };
            }
        }
    }
    Verdict::Linearizable
}

/// What the search found for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// Some order explains all answers.
    Linearizable,
    /// None does.
    Stuck {
        /// The moment of the first answer that no order explains; those before it have one.
        at_ns: u64,
    },
    /// The search grew past `CONFIGURATIONS_MAX`.
    Undecided,
}

/// Judges the operations of one key.
pub fn check_key(operations: &[Operation]) -> KeyVerdict {
    check_steps(&steps(&decide_unknown(operations)))
}

/// As `check_key`, but searches over unknown outcomes instead of deciding them first: slower, and
/// the only way when writes share values. Tests compare the two.
pub fn check_key_undecided(operations: &[Operation]) -> KeyVerdict {
    check_steps(&steps(operations))
}

/// What one operation does to the register in a given order.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Write(Value),
    Swap {
        expected: Option<Value>,
        value: Value,
    },
    See(Option<Value>),
    SeeOther(Option<Value>),
}

impl Effect {
    /// The register after this effect, or nothing if the effect contradicts what it holds.
    fn apply(self, register: Option<Value>) -> Option<Option<Value>> {
        match self {
            Effect::Write(value) => Some(Some(value)),
            Effect::Swap { expected, value } => (register == expected).then_some(Some(value)),
            Effect::See(seen) => (register == seen).then_some(register),
            Effect::SeeOther(other) => (register != other).then_some(register),
        }
    }

    fn only_observes(self) -> bool {
        matches!(self, Effect::See(_) | Effect::SeeOther(_))
    }
}

/// One operation as the search sees it.
#[derive(Clone, Copy, Debug)]
struct Step {
    effect: Effect,
    invoked_ns: u64,
    returned_ns: u64,
}

/// The operations that can matter, as steps; a read without an answer and an operation that surely
/// failed say nothing.
fn steps(operations: &[Operation]) -> Vec<Step> {
    let step = |operation: &Operation| {
        let effect = match (operation.action, operation.outcome) {
            (_, Outcome::Failed) | (Action::Get, Outcome::Unknown) => return None,
            (Action::Put(value), _) => Effect::Write(value),
            (_, Outcome::Got(seen) | Outcome::Refused(seen)) => Effect::See(seen),
            (Action::Cas { expected, .. }, Outcome::RefusedBlind) => Effect::SeeOther(expected),
            (Action::Cas { expected, value }, _) => Effect::Swap { expected, value },
            (Action::Get, _) => return None,
        };
        // An operation of unknown outcome has no end even if its client gave up at some moment.
        let unknown = operation.outcome == Outcome::Unknown;
        let returned_ns = if unknown {
            NEVER
        } else {
            operation.returned_ns
        };
        Some(Step {
            effect,
            invoked_ns: operation.invoked_ns,
            returned_ns,
        })
    };
    operations.iter().filter_map(step).collect()
}

/// Replaces unknown outcomes by known ones where the rest of the history decides them.
///
/// With a value of its own, an unknown write that somebody saw took effect before the first of
/// those answers came, and one that nobody saw may be left out of any order that explains the
/// answers. Both fail when two writes share a value; the second also fails when a refusal does not
/// say what it saw. The history comes back unchanged then.
fn decide_unknown(operations: &[Operation]) -> Vec<Operation> {
    let mut decided = operations.to_vec();
    let mut writer: HashMap<Value, usize> = HashMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let Some(value) = operation.written() else {
            continue;
        };
        if writer.insert(value, index).is_some() {
            return decided;
        }
    }
    if operations
        .iter()
        .any(|operation| operation.outcome == Outcome::RefusedBlind)
    {
        return decided;
    }
    // The moment by which each value had been seen. A swap that turns out to have happened has
    // itself seen a value, so what is learnt goes back on the list.
    let mut seen: Vec<(Value, u64)> = Vec::new();
    let note = |operation: &Operation, seen: &mut Vec<(Value, u64)>| {
        if let Some(Some(value)) = operation.observed() {
            seen.push((value, operation.returned_ns));
        }
    };
    operations
        .iter()
        .for_each(|operation| note(operation, &mut seen));
    while let Some((value, by_ns)) = seen.pop() {
        let Some(&index) = writer.get(&value) else {
            continue;
        };
        if operations[index].outcome != Outcome::Unknown {
            continue;
        }
        let operation = &mut decided[index];
        // The first sighting decides the outcome; a later one may bring the moment forward.
        let known_by_ns = if operation.outcome == Outcome::Unknown {
            NEVER
        } else {
            operation.returned_ns
        };
        if known_by_ns != NEVER && known_by_ns <= by_ns {
            continue;
        }
        operation.returned_ns = by_ns;
        operation.outcome = match operation.action {
            Action::Put(_) => Outcome::Put,
            _ => Outcome::Swapped,
        };
        let operation = operation.clone();
        note(&operation, &mut seen);
    }
    decided.retain(|operation| operation.outcome != Outcome::Unknown);
    // A value seen before its write was even sent: no order explains that. Steps that end before
    // they begin would break the search, so leave such a write to be contradicted by its reader.
    for operation in &mut decided {
        operation.returned_ns = operation.returned_ns.max(operation.invoked_ns);
    }
    decided
}

fn check_steps(steps: &[Step]) -> KeyVerdict {
    let mut required: Vec<Step> = Vec::new();
    let mut optional: Vec<Step> = Vec::new();
    for step in steps {
        match step.returned_ns {
            NEVER => optional.push(*step),
            _ => required.push(*step),
        }
    }
    required.sort_by_key(|step| step.invoked_ns);
    optional.sort_by_key(|step| step.invoked_ns);
    Search::new(required, optional).run()
}

/// The calls and returns that are not placed yet, in the order of their times, as a list from
/// which a step's two events can be lifted and put back in constant time.
struct Events {
    /// For each event its step and whether it is the return; event 0 is the list's head.
    event: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
}

const HEAD: usize = 0;

impl Events {
    fn new(steps: &[Step]) -> Self {
        let mut event: Vec<(usize, bool)> = Vec::with_capacity(steps.len() * 2);
        event.extend((0..steps.len()).flat_map(|step| [(step, false), (step, true)]));
        // At one moment calls come first: operations that touch are concurrent.
        event.sort_by_key(|&(step, is_return)| match is_return {
            true => (steps[step].returned_ns, true),
            false => (steps[step].invoked_ns, false),
        });
        event.insert(HEAD, (usize::MAX, false));
        let count = event.len();
        let mut call_of = vec![0; steps.len()];
        let mut return_of = vec![0; steps.len()];
        for (position, &(step, is_return)) in event.iter().enumerate().skip(1) {
            let of = if is_return {
                &mut return_of
            } else {
                &mut call_of
            };
            of[step] = position;
        }
        let next = (0..count).map(|position| (position + 1) % count).collect();
        let previous = (0..count)
            .map(|position| (position + count - 1) % count)
            .collect();
        Events {
            event,
            next,
            previous,
            call_of,
            return_of,
        }
    }

    fn lift(&mut self, step: usize) {
        for position in [self.call_of[step], self.return_of[step]] {
            let (previous, next) = (self.previous[position], self.next[position]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    fn put_back(&mut self, step: usize) {
        // The reverse order of lifting, so that each event finds the neighbours it had.
        for position in [self.return_of[step], self.call_of[step]] {
            let (previous, next) = (self.previous[position], self.next[position]);
            self.next[previous] = position;
            self.previous[next] = position;
        }
    }
}

/// A step that the search has placed, and how to go back.
struct Placed {
    choice: Choice,
    register_before: Option<Value>,
}

#[derive(Clone, Copy)]
enum Choice {
    /// A required step that only observes: no alternative to it needs trying.
    Forced(usize),
    /// A required step that writes.
    Required(usize),
    /// A step of unknown outcome.
    Optional(usize),
}

/// Where the search looks for its next step.
#[derive(Clone, Copy)]
enum Position {
    /// At this event of the list.
    Event(usize),
    /// Past the calls, at the return of this moment: at this optional step.
    Optional(usize, u64),
}

/// Which steps are placed and what the register holds then. Two searches that reach the same
/// configuration have the same future.
#[derive(PartialEq, Eq, Hash)]
struct Configuration {
    /// The first required step that is not placed.
    low: u32,
    /// One bit for each required step from `low` on, without zero words at the end.
    above: Box<[u64]>,
    optional: Box<[u32]>,
    register: Option<Value>,
}

struct Search {
    required: Vec<Step>,
    optional: Vec<Step>,
    events: Events,
    placed: Vec<Placed>,
    is_placed: Vec<bool>,
    low: usize,
    high: usize,
    left: usize,
    optional_placed: Vec<u32>,
    register: Option<Value>,
    tried: HashSet<Configuration>,
    /// The latest return that any order so far could not get past.
    stuck_ns: u64,
}

impl Search {
    fn new(required: Vec<Step>, optional: Vec<Step>) -> Self {
        Search {
            events: Events::new(&required),
            placed: Vec::new(),
            is_placed: vec![false; required.len()],
            low: 0,
            high: 0,
            left: required.len(),
            optional_placed: Vec::new(),
            register: None,
            tried: HashSet::new(),
            stuck_ns: 0,
            required,
            optional,
        }
    }

    fn run(mut self) -> KeyVerdict {
        let mut position = self.place_observers();
        while self.left > 0 {
            if self.tried.len() > CONFIGURATIONS_MAX {
                return KeyVerdict::Undecided;
            }
            position = match self.advance(position) {
                Some(position) => position,
                None => match self.go_back() {
                    Some(position) => position,
                    None => {
                        return KeyVerdict::Stuck {
                            at_ns: self.stuck_ns,
                        };
                    }
                },
            };
        }
        KeyVerdict::Linearizable
    }

    /// Tries the step at `position`; says where to look next, or nothing if this is a dead end.
    fn advance(&mut self, position: Position) -> Option<Position> {
        match position {
            Position::Event(event) => {
                assert_ne!(event, HEAD, "required steps are left, so returns are");
                let (step, is_return) = self.events.event[event];
                if is_return {
                    self.stuck_ns = self.stuck_ns.max(self.required[step].returned_ns);
                    return Some(Position::Optional(0, self.required[step].returned_ns));
                }
                if self.try_required(step) {
                    return Some(self.place_observers());
                }
                Some(Position::Event(self.events.next[event]))
            }
            Position::Optional(index, before_ns) => {
                let step = self.optional.get(index)?;
                if step.invoked_ns > before_ns {
                    return None;
                }
                if self.try_optional(index) {
                    return Some(self.place_observers());
                }
                Some(Position::Optional(index + 1, before_ns))
            }
        }
    }

    /// Places every step that may come now, only observes and fits; says where the writes begin.
    fn place_observers(&mut self) -> Position {
        let mut event = self.events.next[HEAD];
        while event != HEAD && !self.events.event[event].1 {
            let step = self.events.event[event].0;
            let effect = self.required[step].effect;
            if effect.only_observes() && effect.apply(self.register).is_some() {
                self.take(step);
                let register_before = self.register;
                self.placed.push(Placed {
                    choice: Choice::Forced(step),
                    register_before,
                });
                // Its return may have been the one that ended the walk.
                event = self.events.next[HEAD];
                continue;
            }
            event = self.events.next[event];
        }
        Position::Event(self.events.next[HEAD])
    }

    fn try_required(&mut self, step: usize) -> bool {
        let effect = self.required[step].effect;
        if effect.only_observes() {
            return false;
        }
        let Some(register) = effect.apply(self.register) else {
            return false;
        };
        let before = self.register;
        self.take(step);
        self.register = register;
        if self.tried.insert(self.configuration()) {
            self.placed.push(Placed {
                choice: Choice::Required(step),
                register_before: before,
            });
            return true;
        }
        self.register = before;
        self.give_back(step);
        false
    }

    fn try_optional(&mut self, index: usize) -> bool {
        let name = u32::try_from(index).expect("histories are shorter than that");
        let Err(slot) = self.optional_placed.binary_search(&name) else {
            return false;
        };
        let Some(register) = self.optional[index].effect.apply(self.register) else {
            return false;
        };
        let before = std::mem::replace(&mut self.register, register);
        self.optional_placed.insert(slot, name);
        if self.tried.insert(self.configuration()) {
            self.placed.push(Placed {
                choice: Choice::Optional(index),
                register_before: before,
            });
            return true;
        }
        self.register = before;
        self.optional_placed.remove(slot);
        false
    }

    /// Undoes the last real choice; says where its alternatives begin, or nothing if none is left.
    fn go_back(&mut self) -> Option<Position> {
        while let Some(Placed {
            choice,
            register_before,
        }) = self.placed.pop()
        {
            self.register = register_before;
            match choice {
                Choice::Forced(step) => self.give_back(step),
                Choice::Required(step) => {
                    self.give_back(step);
                    return Some(Position::Event(self.events.next[self.events.call_of[step]]));
                }
                Choice::Optional(index) => {
                    let name = u32::try_from(index).expect("it was placed under this name");
                    self.optional_placed.retain(|&placed| placed != name);
                    return Some(Position::Optional(index + 1, self.first_return_ns()));
                }
            }
        }
        None
    }

    fn first_return_ns(&self) -> u64 {
        let mut event = self.events.next[HEAD];
        while !self.events.event[event].1 {
            event = self.events.next[event];
        }
        self.required[self.events.event[event].0].returned_ns
    }

    fn take(&mut self, step: usize) {
        self.events.lift(step);
        self.is_placed[step] = true;
        self.left -= 1;
        while self.low < self.is_placed.len() && self.is_placed[self.low] {
            self.low += 1;
        }
        self.high = self.high.max(step + 1);
    }

    fn give_back(&mut self, step: usize) {
        self.events.put_back(step);
        self.is_placed[step] = false;
        self.left += 1;
        self.low = self.low.min(step);
        while self.high > 0 && !self.is_placed[self.high - 1] {
            self.high -= 1;
        }
    }

    fn configuration(&self) -> Configuration {
        let window = self.is_placed.get(self.low..self.high).unwrap_or(&[]);
        let word = |bits: &[bool]| {
            bits.iter()
                .enumerate()
                .fold(0u64, |word, (at, &bit)| word | (u64::from(bit) << at))
        };
        Configuration {
            low: u32::try_from(self.low).expect("histories are shorter than that"),
            above: window.chunks(64).map(word).collect(),
            optional: self.optional_placed.as_slice().into(),
            register: self.register,
        }
    }
}
