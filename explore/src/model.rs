//! The cluster as a model checker sees it: its states, and what can happen in each.
//! Never runs a node itself.
//!
//! # The network
//!
//! No message is ever taken off the wire. A message that never arrives was lost; one that arrives
//! twice was doubled; one that arrives late was delayed or overtaken. So one set of all messages
//! sent stands for every network there is, and retries, being the same messages, cost nothing.
//!
//! # Source
//! Lamport, "Specifying Systems" (2002), on sets of messages; stateright, the checker.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stateright::{Model, Property};

use crate::bounds::Bounds;
use crate::likeness::RENAMINGS;
use crate::listing::Listing;
use crate::node::{NODES, Step, Told};
use crate::properties;
use crate::witness::{Scene, Witness};
use crate::world::{Letter, Local, Move, World};

/// What is left of the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Left {
    /// Commands.
    pub proposals: u8,
    /// Crashes.
    pub crashes: u8,
    reads: u8,
    snapshots: u8,
    /// Deadlines of those who do not lead.
    pub campaigns: u8,
    links: u8,
    questions: u8,
    forgets: u8,
    transfers: u8,
}

/// One state of the cluster.
#[derive(Clone)]
pub struct State {
    /// The nodes.
    pub nodes: [&'static Local; NODES],
    /// Every message ever sent, in order of place.
    pub wire: Arc<[&'static Letter]>,
    /// The sum of the messages' hashes, under each renaming.
    sums: [u64; RENAMINGS],
    /// The history.
    pub witness: Arc<Witness>,
    /// What is left of the bounds.
    pub left: Left,
    /// The least of the state's hashes under all renamings that count.
    key: u64,
    /// How many states this one stands for.
    orbit: u8,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.key);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for local in self.nodes {
            writeln!(f, "{:?}", local.node)?;
        }
        writeln!(f, "{:?} {:?}", self.witness, self.left)
    }
}

/// A step of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// Which node, from zero.
    pub at: usize,
    /// What happens to it.
    pub step: Step,
}

/// How often something was seen, in all transitions.
#[derive(Default)]
pub struct Seen {
    /// Logs that were cut.
    pub truncations: AtomicU64,
    /// Crashes that lost a write.
    pub losses: AtomicU64,
    /// Reads that were answered with an index.
    pub answers: AtomicU64,
    /// States, had renamings not been taken for the same.
    pub orbits: AtomicU64,
}

/// A cluster and its bounds.
pub struct Cluster {
    /// The bounds.
    pub bounds: Bounds,
    /// All that has been met.
    pub world: World,
    /// Counters.
    pub seen: Seen,
    /// Seeds every node's dice; nothing may depend on it.
    pub seed: u64,
    /// Where all states are written down, if anywhere.
    pub listing: Option<Mutex<Listing>>,
}

impl Cluster {
    /// A new cluster.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            bounds,
            world: World::default(),
            seen: Seen::default(),
            seed,
            listing: None,
        }
    }

    /// Gives a state its key.
    fn seal(&self, mut state: State) -> State {
        let left = state.left.number();
        let mut keys = [u64::MAX; RENAMINGS];
        let count = if self.bounds.symmetry { RENAMINGS } else { 1 };
        for (at, key) in keys.iter_mut().enumerate().take(count) {
            // A node's hash knows its name, so the order of the nodes does not matter.
            let nodes = state.nodes.iter().map(|local| local.hashes[at]);
            let nodes = nodes.fold(0, u64::wrapping_add);
            let parts = [nodes, state.sums[at], state.witness.keys[at], left];
            *key = parts.into_iter().fold(0, mix);
        }
        let keys = &mut keys[..count];
        keys.sort_unstable();
        state.key = keys[0];
        state.orbit = 1 + keys.windows(2).filter(|pair| pair[0] != pair[1]).count() as u8;
        state
    }

    /// The state after a step, if the step changes anything.
    fn after(&self, state: &State, action: &Action, made: &'static Move) -> Option<State> {
        let at = action.at;
        let before = state.nodes[at];
        let new = state.unsent(&made.said);
        if std::ptr::eq(made.to, before) && new.is_empty() && made.told.is_empty() {
            return None;
        }
        let mut next = state.clone();
        next.nodes[at] = made.to;
        let changes_history = !made.told.is_empty()
            || made.to.log != before.log
            || made.to.matched != before.matched
            || made.to.node.commit() != before.node.commit()
            || matches!(
                action.step,
                Step::Read(_) | Step::Crash(_) | Step::Persist(_)
            );
        if changes_history {
            let witness = Arc::make_mut(&mut next.witness);
            match action.step {
                Step::Read(id) => witness.see_asked(id, at),
                Step::Crash(_) => witness.see_crash(at),
                _ => {}
            }
            let nodes = &next.nodes;
            witness.see(&Scene { at, before, nodes }, &made.told);
            witness.seal();
        }
        self.post(&mut next, new.clone());
        if self.bounds.eager {
            self.saturate(&mut next, at, &new);
        }
        let asks = match action.step {
            Step::Deliver(place) => self.world.letter(place).is_question,
            _ => false,
        };
        next.left = state.left.less(&action.step, before.node.is_leader(), asks);
        self.count(made);
        Some(self.seal(next))
    }

    /// Puts messages on the wire that are not there yet.
    fn post(&self, state: &mut State, new: Vec<&'static Letter>) {
        if new.is_empty() {
            return;
        }
        for letter in &new {
            if letter.vote.is_some() {
                let witness = Arc::make_mut(&mut state.witness);
                witness.see_letter(letter, state.wire.iter().copied());
                witness.seal();
            }
            for (sum, hash) in state.sums.iter_mut().zip(letter.hashes) {
                *sum = sum.wrapping_add(hash);
            }
        }
        let mut wire: Vec<_> = state.wire.iter().copied().chain(new).collect();
        wire.sort_unstable_by_key(|letter| letter.place);
        state.wire = wire.into();
    }

    /// Has every message answered that its receiver answers without changing in any way. More
    /// messages under way never take a possibility away, so nothing is lost by doing this first;
    /// and what need not be chosen does not multiply the states.
    fn saturate(&self, state: &mut State, changed: usize, new: &[&'static Letter]) {
        // The other nodes have answered what was there before.
        let to_changed = state.wire.iter().filter(|letter| letter.to == changed);
        let mut open: Vec<&'static Letter> = to_changed.chain(new).copied().collect();
        while !open.is_empty() {
            let mut new = Vec::new();
            for letter in open {
                if state.waits(&self.bounds, letter.to) {
                    continue;
                }
                let local = state.nodes[letter.to];
                let made = self.world.step(local, &Step::Deliver(letter.place));
                if std::ptr::eq(made.to, local) && made.told.is_empty() {
                    new.extend(state.unsent(&made.said));
                }
            }
            new.sort_unstable_by_key(|letter| letter.place);
            new.dedup_by_key(|letter| letter.place);
            self.post(state, new.clone());
            open = new;
        }
    }

    /// Notes a state; called once for each.
    pub fn see(&self, state: &State) {
        self.seen.orbits.fetch_add(state.orbit(), Ordering::Relaxed);
        if let Some(listing) = &self.listing {
            let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
            listing.note(state);
        }
    }

    fn count(&self, made: &Move) {
        for told in &made.told {
            let counter = match told {
                Told::Truncates => &self.seen.truncations,
                Told::Loses(_) => &self.seen.losses,
                Told::Answers(_, Some(_)) => &self.seen.answers,
                _ => continue,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Left {
    /// All of it in one number.
    fn number(&self) -> u64 {
        let counts = [
            self.proposals,
            self.crashes,
            self.reads,
            self.snapshots,
            self.campaigns,
            self.links,
            self.questions,
            self.forgets,
            self.transfers,
        ];
        let add = |sum, one| sum << 8 | u64::from(one);
        counts.into_iter().fold(0, add)
    }

    fn less(mut self, step: &Step, leads: bool, asks: bool) -> Self {
        match step {
            Step::Deadline if !leads => self.campaigns -= 1,
            Step::Propose => self.proposals -= 1,
            Step::Crash(_) => self.crashes -= 1,
            Step::Tick if !leads => self.forgets = self.forgets.saturating_sub(1),
            Step::Transfer(_) => self.transfers -= 1,
            Step::Link(_) => self.links -= 1,
            Step::Deliver(_) if asks => self.questions -= 1,
            Step::Read(_) => self.reads -= 1,
            Step::Compact => self.snapshots -= 1,
            _ => {}
        }
        self
    }
}

/// Two numbers in one, each bit of which depends on each bit of both.
fn mix(sum: u64, next: u64) -> u64 {
    let mut z = (sum ^ next).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z ^ (z >> 32)
}

impl State {
    /// Those of these messages that nobody has sent yet.
    fn unsent(&self, said: &[&'static Letter]) -> Vec<&'static Letter> {
        let is_new = |letter: &&'static Letter| {
            let place = |known: &&'static Letter| known.place.cmp(&letter.place);
            self.wire.binary_search_by(place).is_err()
        };
        said.iter().copied().filter(is_new).collect()
    }

    /// How many states this one stands for.
    pub fn orbit(&self) -> u64 {
        self.orbit.into()
    }

    /// Whether a node has so many writes under way that it waits for its disk.
    fn waits(&self, bounds: &Bounds, at: usize) -> bool {
        bounds.writes > 0 && self.nodes[at].node.writes() >= bounds.writes.into()
    }

    /// What can happen to one node, but for messages.
    fn steps(&self, bounds: &Bounds, at: usize, add: &mut impl FnMut(Step)) {
        let node = &self.nodes[at].node;
        let (left, writes) = (self.left, node.writes() as u8);
        (1..=writes).for_each(|count| add(Step::Persist(count)));
        if left.crashes > 0 {
            (0..=writes).for_each(|kept| add(Step::Crash(kept)));
        }
        if self.waits(bounds, at) {
            return;
        }
        let may_stand = node.cannot_read() || !bounds.menders;
        let may_stand = may_stand && left.campaigns > 0 && node.term().0 < bounds.terms.into();
        if node.is_leader() || may_stand {
            add(Step::Deadline);
        }
        if node.is_leader() && bounds.silence {
            add(Step::Silence);
        }
        let others = (0..NODES).filter(|to| *to != at);
        if node.is_leader() && left.links > 0 {
            others.clone().for_each(|to| add(Step::Link(to as u8)));
        }
        if node.is_leader() && left.transfers > 0 && node.term().0 < bounds.terms.into() {
            others.for_each(|to| add(Step::Transfer(to as u8)));
        }
        let may_forget = bounds.ticks || left.forgets > 0 && !node.is_leader();
        if node.has_leader() && may_forget {
            add(Step::Tick);
        }
        if left.proposals > 0 && node.is_leader() {
            add(Step::Propose);
        }
        if left.reads > 0 && node.has_leader() {
            add(Step::Read(left.reads));
        }
        if left.snapshots > 0 && node.commit() > self.nodes[at].log.0 {
            add(Step::Compact);
        }
        let (incoming, arrived) = node.snapshots();
        if incoming {
            add(Step::Arrive);
        }
        if arrived {
            add(Step::Install);
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let bounds = &self.bounds;
        vec![self.seal(State {
            nodes: self.world.nodes(bounds.setup(self.seed)),
            wire: Arc::new([]),
            sums: [0; RENAMINGS],
            witness: Arc::default(),
            left: Left {
                proposals: bounds.proposals,
                crashes: bounds.crashes,
                reads: bounds.reads,
                snapshots: bounds.snapshots,
                campaigns: bounds.campaigns,
                links: bounds.links,
                questions: bounds.questions,
                forgets: bounds.forgets,
                transfers: bounds.transfers,
            },
            key: 0,
            orbit: 0,
        })]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let is_led = state.nodes.iter().any(|local| local.node.is_leader());
        if state.witness.broken.is_some() || self.bounds.ends_when_led && is_led {
            return;
        }
        for at in 0..NODES {
            state.steps(&self.bounds, at, &mut |step| {
                actions.push(Action { at, step });
            });
        }
        for letter in state.wire.iter() {
            let (at, step) = (letter.to, Step::Deliver(letter.place));
            let is_asked = !letter.is_question || state.left.questions > 0;
            if is_asked && !state.waits(&self.bounds, at) {
                actions.push(Action { at, step });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let made = self.world.step(state.nodes[action.at], &action.step);
        self.after(state, &action, made)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}

impl Cluster {
    /// An action in words.
    pub fn describe(&self, action: &Action) -> String {
        let who = action.at + 1;
        match action.step {
            Step::Deliver(place) => {
                let parcel = &self.world.letter(place).parcel;
                format!("{who} hears {:?}: {:?}", parcel.from, parcel.message)
            }
            ref step => format!("{who} {step:?}"),
        }
    }
}
