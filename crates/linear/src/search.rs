//! The search for an order of all operations that explains every answer.
//! Never judges keys apart: who has many objects gives each a search of its own (Horn and Kroening,
//! "Faster linearizability checking via P-compositionality", 2015).
//!
//! Six things keep it near linear on real histories, however many clients share one object:
//!
//! * An operation is placed when the first return among those that are left asks for it: the one
//!   that returns, or else what makes it fit. All others are tried only after these.
//! * An operation that only observes is placed as soon as it fits: it changes nothing, so placing
//!   it now can never spoil what comes later, and needs no way back.
//! * Where a model knows states that come about but once, such a state is not left while there is
//!   left what needs it.
//! * Where such a state is made whatever was there before, and all that need it are under way, all
//!   of that is placed right before anything else that overwrites, where it goes unnoticed.
//! * What was tried is remembered: which operations are placed, and the state. Nearly all before
//!   the first unplaced one are placed, so only the window above it is kept.
//! * Where nothing is under way the history is cut. Of a part that is behind nothing is kept but
//!   the states it was left in from which there was no way on; if there comes to be another such
//!   state, the part is searched again for yet another end.
//!
//! # Source
//! Wing and Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for
//! linearizability", 2017, for the memory and for placing late.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::events::Events;

/// How many steps a search may remember before it gives up.
pub const TRIED_MAX: usize = 20_000_000;

/// An object as one client alone would find it.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash;
    /// What a client asked of it, and was told if it was told anything.
    type Op: PartialEq;

    /// What it holds after an operation, or nothing if it cannot have answered so.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether this operation changes no state whatever. It costs time to deny it, and is wrong to
    /// claim it of one that changes any.
    fn only_observes(&self, _op: &Self::Op) -> bool {
        false
    }

    /// The only state in which an operation fits, if there is but one.
    fn needs(&self, _op: &Self::Op) -> Option<Self::State> {
        None
    }

    /// What an operation leaves that fits every state, and leaves the same of each.
    fn overwrites(&self, _op: &Self::Op) -> Option<Self::State> {
        None
    }

    /// Whether one operation at most of the history leads to this state.
    fn comes_once(&self, _state: &Self::State) -> bool {
        false
    }

    /// Whether it comes once, no operation of unknown outcome needs it, and those that do not need
    /// it cannot tell it from any other, nor show that it was.
    fn is_private(&self, _state: &Self::State) -> bool {
        false
    }
}

/// One operation of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation<Op> {
    /// What was asked, and what came back.
    pub op: Op,
    /// When it was asked, on a clock that all operations share.
    pub called: u64,
    /// When the answer came. Without one nobody knows whether it took effect: it did at any moment
    /// after the call, or never will.
    pub returned: Option<u64>,
}

impl<Op> Operation<Op> {
    /// An operation and its times.
    pub fn new(op: Op, called: u64, returned: Option<u64>) -> Self {
        Self {
            op,
            called,
            returned,
        }
    }
}

/// What came of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Some order explains all answers.
    Linearizable,
    /// None does.
    Violation,
    /// The search grew past [`TRIED_MAX`].
    Undecided,
}

/// Judges the operations on one object, which holds `first` before the first of them. Operations
/// that touch in time are concurrent; one that surely took no effect is none.
pub fn check<M: Model>(model: &M, first: M::State, operations: &[Operation<M::Op>]) -> Verdict {
    let mut required: Vec<Required<'_, M>> = Vec::new();
    let mut optional: Vec<Optional<'_, M>> = Vec::new();
    for operation in operations {
        let (op, called) = (&operation.op, operation.called);
        let only_observes = model.only_observes(op);
        match operation.returned {
            Some(returned) => required.push(Required {
                op,
                called,
                // A return before the call is nobody's fault here, and contradicts nothing.
                returned: returned.max(called),
                only_observes,
            }),
            None if only_observes => {}
            None => optional.push(Optional { op, called }),
        }
    }
    required.sort_by_key(|step| step.called);
    optional.sort_by_key(|step| step.called);
    let mut needers: HashMap<M::State, Vec<usize>> = HashMap::new();
    for (at, step) in required.iter().enumerate() {
        if let Some(state) = model.needs(step.op).filter(|state| model.comes_once(state)) {
            needers.entry(state).or_default().push(at);
        }
    }
    let mut search = Search {
        model,
        needers,
        required: &required,
        optional: &optional,
        tried: 0,
    };
    search.run(first, &cuts(&required))
}

/// The moment of the first answer that no order explains, if there is one: those before it have an
/// order. Judges again and again, so it is for a history of which that is known.
pub fn first_unexplained<Op: Clone>(
    operations: &[Operation<Op>],
    judge: impl Fn(&[Operation<Op>]) -> Verdict,
) -> Option<u64> {
    let mut returns: Vec<u64> = operations.iter().filter_map(|op| op.returned).collect();
    returns.sort_unstable();
    returns.dedup();
    let is_explained = |&end: &u64| judge(&until(operations, end)) == Verdict::Linearizable;
    let explained = returns.partition_point(is_explained);
    returns.get(explained).copied()
}

/// The history until then: what had not returned is of unknown outcome.
pub fn until<Op: Clone>(operations: &[Operation<Op>], end: u64) -> Vec<Operation<Op>> {
    let called = operations.iter().filter(|op| op.called <= end);
    let cut = |operation: &Operation<Op>| Operation {
        returned: operation.returned.filter(|&returned| returned <= end),
        ..operation.clone()
    };
    called.map(cut).collect()
}

/// Where nothing is under way: the parts between, by their ends.
fn cuts<M: Model>(required: &[Required<'_, M>]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut returned = 0;
    for (at, step) in required.iter().enumerate() {
        if at > 0 && returned < step.called {
            ends.push(at);
        }
        returned = returned.max(step.returned);
    }
    ends.push(required.len());
    ends
}

/// An operation that took effect.
struct Required<'a, M: Model> {
    op: &'a M::Op,
    called: u64,
    returned: u64,
    only_observes: bool,
}

/// An operation that may have.
struct Optional<'a, M: Model> {
    op: &'a M::Op,
    called: u64,
}

/// What an object holds at a cut, and which optional operations made it so, in order.
type Cut<S> = (S, Box<[u32]>);

/// Of a cut: from these there is no way on.
type Dead<M> = HashSet<Cut<<M as Model>::State>>;

struct Search<'a, M: Model> {
    model: &'a M,
    required: &'a [Required<'a, M>],
    optional: &'a [Optional<'a, M>],
    /// Who needs each state that comes once.
    needers: HashMap<M::State, Vec<usize>>,
    tried: usize,
}

impl<M: Model> Search<'_, M> {
    /// Part after part; back to the one before where there is no way on.
    fn run(&mut self, first: M::State, cuts: &[usize]) -> Verdict {
        // At each cut, what there is no way on from.
        let mut dead: HashMap<usize, Dead<M>> = HashMap::new();
        let mut path: Vec<Cut<M::State>> = vec![(first, Box::default())];
        while let Some(start) = path.last() {
            let Some(part) = cuts.get(path.len() - 1..=path.len()) else {
                return Verdict::Linearizable;
            };
            let ends = dead.get(&path.len());
            match Part::new(self, (part[0], part[1]), start.clone()).run(ends) {
                Ok(Some(end)) => path.push(end),
                Ok(None) => {
                    let start = path.pop().expect("it is what was searched from");
                    dead.entry(path.len()).or_default().insert(start);
                }
                Err(GaveUp) => return Verdict::Undecided,
            }
        }
        Verdict::Violation
    }
}

struct GaveUp;

/// A step of the search that is not forced.
#[derive(Clone, Copy)]
enum Choice {
    Required(usize),
    Optional(u32),
}

/// A place in the search: what was chosen to get here, and what may be chosen next.
struct Place<S> {
    chosen: Option<Choice>,
    state_before: S,
    /// What went unnoticed right before that.
    unnoticed: Vec<usize>,
    /// The observers that fitted then.
    observers: Vec<usize>,
    choices: Vec<Choice>,
    next: usize,
    /// Whether optional steps are among the choices: they come last where they help nobody.
    has_optional: bool,
}

/// The search within one part of the history.
struct Part<'s, 'a, M: Model> {
    search: &'s mut Search<'a, M>,
    begin: usize,
    events: Events,
    is_placed: Vec<bool>,
    left: usize,
    /// All before are placed, and nothing from `high` on is.
    low: usize,
    high: usize,
    optional_placed: Vec<u32>,
    state: M::State,
    tried: HashSet<Tried<M::State>>,
}

/// Which steps are placed and what the object holds. Two searches that come here have the same
/// future.
#[derive(PartialEq, Eq, Hash)]
struct Tried<S> {
    low: usize,
    /// One bit for each required step from `low` on.
    above: Box<[u64]>,
    optional: Box<[u32]>,
    /// None if nothing that is left can tell it from others.
    state: Option<S>,
}

impl<'s, 'a, M: Model> Part<'s, 'a, M> {
    fn new(
        search: &'s mut Search<'a, M>,
        (begin, end): (usize, usize),
        (state, optional): Cut<M::State>,
    ) -> Self {
        let times = search.required[begin..end]
            .iter()
            .map(|step| (step.called, step.returned));
        Self {
            events: Events::new(times),
            begin,
            is_placed: vec![false; end - begin],
            left: end - begin,
            low: 0,
            high: 0,
            optional_placed: optional.into_vec(),
            state,
            tried: HashSet::new(),
            search,
        }
    }

    /// Looks for an end that is none of `dead`.
    fn run(mut self, dead: Option<&Dead<M>>) -> Result<Option<Cut<M::State>>, GaveUp> {
        let mut way = vec![self.arrive(None, self.state.clone(), Vec::new())];
        while let Some(place) = way.last_mut() {
            if self.left == 0 {
                let end = (self.state.clone(), self.optional_placed.as_slice().into());
                if dead.is_none_or(|dead| !dead.contains(&end)) {
                    return Ok(Some(end));
                }
            }
            let Some(choice) = self.next_choice(place) else {
                let place = way.pop().expect("it is where the search stands");
                self.leave(place);
                continue;
            };
            if self.search.tried > TRIED_MAX {
                return Err(GaveUp);
            }
            let before = self.state.clone();
            if let Some(placed) = self.choose(choice) {
                way.push(self.arrive(Some(choice), before, placed));
            }
        }
        Ok(None)
    }

    fn next_choice(&self, place: &mut Place<M::State>) -> Option<Choice> {
        if place.next == place.choices.len() && !place.has_optional && self.left > 0 {
            place.has_optional = true;
            let due = self.search.required[self.begin + self.events.first_return()].returned;
            let steps = self.optional_steps(due).into_iter();
            place
                .choices
                .extend(steps.map(|(at, _)| Choice::Optional(at)));
        }
        place.next += 1;
        place.choices.get(place.next - 1).copied()
    }

    /// Places what only observes and fits, and sees what may come next.
    fn arrive(
        &mut self,
        chosen: Option<Choice>,
        state_before: M::State,
        unnoticed: Vec<usize>,
    ) -> Place<M::State> {
        let observers = self.place_observers();
        let (choices, has_optional) = if self.left > 0 {
            self.ranked_choices()
        } else {
            (Vec::new(), true)
        };
        Place {
            chosen,
            state_before,
            unnoticed,
            observers,
            choices,
            next: 0,
            has_optional,
        }
    }

    fn place_observers(&mut self) -> Vec<usize> {
        let mut placed = Vec::new();
        let mut event = self.events.first();
        while let Some(step) = self.events.call(event) {
            event = self.events.after(event);
            let required = &self.search.required[self.begin + step];
            if required.only_observes && self.step(required.op).is_some() {
                self.take(step);
                placed.push(step);
                // Its return may have been the one that ended the walk.
                event = self.events.first();
            }
        }
        placed
    }

    /// Whether something that is left needs a state that will not come again.
    fn is_wanted(&self, state: &M::State) -> bool {
        let needers = self.search.needers.get(state).into_iter().flatten().rev();
        let mut left = needers.take_while(|&&at| at >= self.begin);
        left.any(|&at| self.is_placed.get(at - self.begin) != Some(&true))
    }

    /// What goes unnoticed right before an overwriting step: each that overwrites as well, with
    /// all that need what it leaves, if they are under way and only observe.
    fn unnoticed(&self, but: Option<usize>) -> Vec<usize> {
        let mut steps = Vec::new();
        for step in self.events.callable().filter(|&step| Some(step) != but) {
            if let Some(with) = self.hidden_with(step) {
                steps.push(step);
                steps.extend(with.iter().map(|at| at - self.begin));
            }
        }
        steps
    }

    /// Who needs what a step leaves, if it can go unnoticed with them.
    fn hidden_with(&self, step: usize) -> Option<&[usize]> {
        let search = &self.search;
        let left = search
            .model
            .overwrites(search.required[self.begin + step].op)?;
        if !search.model.is_private(&left) {
            return None;
        }
        let needers = search.needers.get(&left).map_or(&[][..], Vec::as_slice);
        let due = search.required[self.begin + self.events.first_return()].returned;
        let is_under_way = |&at: &usize| {
            let needer = &search.required[at];
            needer.only_observes && needer.called <= due && at < self.begin + self.is_placed.len()
        };
        needers.iter().all(is_under_way).then_some(needers)
    }

    fn step(&self, op: &M::Op) -> Option<M::State> {
        self.search.model.step(&self.state, op)
    }

    /// The steps that may come now: the one that returns first, if it fits; else what makes it fit;
    /// then the others, by their returns.
    fn ranked_choices(&mut self) -> (Vec<Choice>, bool) {
        let due = self.events.first_return();
        let due_op = &self.search.required[self.begin + due];
        let fits = !due_op.only_observes && self.step(due_op.op).is_some();
        let mut ranked = Vec::new();
        for step in self.events.callable() {
            let required = &self.search.required[self.begin + step];
            if required.only_observes {
                continue;
            }
            if let Some(after) = self.step(required.op) {
                let helps = step == due || self.helps(&after, due_op);
                // What can go unnoticed does so when something else overwrites.
                if !helps && self.hidden_with(step).is_some() {
                    continue;
                }
                let rank = if step == due {
                    0
                } else {
                    1 + 2 * u8::from(!helps)
                };
                ranked.push((rank, required.returned, Choice::Required(step)));
            }
        }
        if !fits {
            for (at, after) in self.optional_steps(due_op.returned) {
                let rank = 2 + 2 * u8::from(!self.helps(&after, due_op));
                let called = self.search.optional[at as usize].called;
                ranked.push((rank, called, Choice::Optional(at)));
            }
        }
        ranked.sort_by_key(|&(rank, time, _)| (rank, time));
        (
            ranked.into_iter().map(|(_, _, choice)| choice).collect(),
            !fits,
        )
    }

    fn helps(&self, after: &M::State, due: &Required<'_, M>) -> bool {
        self.search.model.step(after, due.op).is_some()
    }

    /// The optional steps that fit, change something or let something go unnoticed, and were called
    /// in time. Of several alike the first will do whatever a later one can.
    fn optional_steps(&self, in_time: u64) -> Vec<(u32, M::State)> {
        let hides = !self.unnoticed(None).is_empty();
        let mut steps: Vec<(u32, M::State)> = Vec::new();
        let optional = self.search.optional;
        let called = optional.partition_point(|step| step.called <= in_time);
        for (at, step) in (0..).zip(&optional[..called]) {
            if self.optional_placed.binary_search(&at).is_ok() {
                continue;
            }
            let Some(after) = self.step(step.op) else {
                continue;
            };
            if after == self.state && !hides {
                continue;
            }
            let is_like = |(other, _): &(u32, _)| optional[*other as usize].op == step.op;
            if !steps.iter().any(is_like) {
                steps.push((at, after));
            }
        }
        steps
    }

    /// Places a step, and what goes unnoticed before it; unless it was tried before to the same
    /// end, or leaves a state that is needed and will not come again.
    fn choose(&mut self, choice: Choice) -> Option<Vec<usize>> {
        let (op, step) = match choice {
            Choice::Required(step) => (self.search.required[self.begin + step].op, Some(step)),
            Choice::Optional(at) => (self.search.optional[at as usize].op, None),
        };
        let state = self.step(op).expect("only what fits is a choice");
        let placed = match self.search.model.overwrites(op) {
            Some(_) => self.unnoticed(step),
            None => Vec::new(),
        };
        placed.iter().for_each(|&step| self.take(step));
        let before = std::mem::replace(&mut self.state, state);
        match choice {
            Choice::Required(step) => self.take(step),
            Choice::Optional(at) if !self.forgets(op) => {
                let place = self.optional_placed.partition_point(|&other| other < at);
                self.optional_placed.insert(place, at);
            }
            Choice::Optional(_) => {}
        }
        let is_too_early = before != self.state && self.is_wanted(&before);
        let is_new = !is_too_early && self.tried.insert(self.tried_now());
        self.search.tried += usize::from(is_new);
        if is_new {
            return Some(placed);
        }
        self.undo(choice, before, &placed);
        None
    }

    /// Whether a step, once placed, cannot be placed again, and has made what is as it was without
    /// it: it needed what does not come again.
    fn forgets(&self, op: &M::Op) -> bool {
        let needed = self.search.model.needs(op);
        needed.is_some_and(|state| self.search.model.comes_once(&state) && self.state != state)
    }

    fn undo(&mut self, choice: Choice, before: M::State, placed: &[usize]) {
        self.state = before;
        match choice {
            Choice::Required(step) => self.give_back(step),
            Choice::Optional(at) => self.optional_placed.retain(|&placed| placed != at),
        }
        placed.iter().rev().for_each(|&step| self.give_back(step));
    }

    fn leave(&mut self, place: Place<M::State>) {
        for &step in place.observers.iter().rev() {
            self.give_back(step);
        }
        if let Some(choice) = place.chosen {
            self.undo(choice, place.state_before, &place.unnoticed);
        }
    }

    fn take(&mut self, step: usize) {
        self.events.lift(step);
        self.is_placed[step] = true;
        self.left -= 1;
        while self.is_placed.get(self.low) == Some(&true) {
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

    fn tried_now(&self) -> Tried<M::State> {
        let window = self.is_placed.get(self.low..self.high).unwrap_or(&[]);
        let word = |bits: &[bool]| {
            let bits = bits.iter().rev();
            bits.fold(0, |word, &bit| word << 1 | u64::from(bit))
        };
        Tried {
            low: self.low,
            above: window.chunks(64).map(word).collect(),
            optional: self.optional_placed.as_slice().into(),
            state: Some(self.state.clone()).filter(|state| self.matters(state)),
        }
    }

    fn matters(&self, state: &M::State) -> bool {
        !self.search.model.is_private(state) || self.is_wanted(state)
    }
}
