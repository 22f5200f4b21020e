//! What has been met so far: every state that one node was in, every message that was sent.
//! Never forgets: both are kept until the process ends, so that a state of the cluster is a few
//! small numbers, and each step of a node in one of its states is computed once.
//!
//! # Source
//! Hash consing; Ershov, "On programming of arithmetic operations" (1958).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use headwater_raft::{Index, Term};

use crate::common::Parcel;
use crate::likeness::{ALL, Origin, RENAMINGS, hash, hashes};
use crate::node::{self, NODES, Node, Setup, Step, Told};

/// One state of one node, and the steps that were taken in it.
pub struct Local {
    /// The node.
    pub node: Node,
    /// Its likeness under each renaming.
    pub hashes: [u64; RENAMINGS],
    /// The index before the log's first entry, and the entries' terms.
    pub log: (Index, Vec<Term>),
    /// How much of each other log it counts as durable there, if it leads.
    pub matched: Option<[Index; NODES]>,
    moves: Moves,
}

/// The steps taken in one state. Read without a lock, for this is what takes the time.
struct Moves([OnceLock<Block>; BLOCK]);

type Block = Box<[OnceLock<&'static Move>; BLOCK]>;

/// How many moves are in a block, and how many blocks there are.
const BLOCK: usize = 64;

impl Moves {
    fn at(&self, step: &Step) -> &OnceLock<&'static Move> {
        let place = match *step {
            Step::Deadline => 0,
            Step::Tick => 1,
            Step::Silence => 2,
            Step::Propose => 3,
            Step::Compact => 4,
            Step::Arrive => 5,
            Step::Install => 6,
            Step::Link(to) => 8 + usize::from(to),
            Step::Transfer(to) => 12 + usize::from(to),
            Step::Read(id) => 16 + usize::from(id),
            Step::Persist(count) => 32 + usize::from(count),
            Step::Crash(kept) => 48 + usize::from(kept),
            Step::Deliver(place) => BLOCK + usize::from(place),
        };
        let block =
            self.0[place / BLOCK].get_or_init(|| Box::new([const { OnceLock::new() }; BLOCK]));
        &block[place % BLOCK]
    }
}

/// What comes of one step of a node in one state.
pub struct Move {
    /// The state it leads to.
    pub to: &'static Local,
    /// The messages sent, in order of place.
    pub said: Vec<&'static Letter>,
    /// What else happened.
    pub told: Vec<Told>,
}

/// One message that was sent at least once.
pub struct Letter {
    /// Its place in the list of all.
    pub place: u16,
    /// The message, from whom and to whom.
    pub parcel: Parcel,
    /// Its likeness under each renaming.
    pub hashes: [u64; RENAMINGS],
    /// The receiver's place.
    pub to: usize,
    /// Whether it asks for a read.
    pub is_question: bool,
    /// The vote it casts: who, in which term, for whom.
    pub vote: Option<(usize, Term, usize)>,
}

/// All that has been met.
#[derive(Default)]
pub struct World {
    locals: Mutex<HashMap<u64, &'static Local>>,
    letters: RwLock<Vec<&'static Letter>>,
    places: Mutex<HashMap<u64, &'static Letter>>,
}

impl World {
    /// A new cluster's nodes.
    pub fn nodes(&self, setup: [Setup; NODES]) -> [&'static Local; NODES] {
        [0, 1, 2].map(|me| self.local(Node::new(me, setup[me])))
    }

    /// The message at this place of the list.
    pub fn letter(&self, place: u16) -> &'static Letter {
        let letters = self.letters.read().unwrap_or_else(PoisonError::into_inner);
        letters[usize::from(place)]
    }

    /// The step of a node in this state.
    pub fn step(&self, local: &Local, step: &Step) -> &'static Move {
        local
            .moves
            .at(step)
            .get_or_init(|| self.compute(local, step))
    }

    fn compute(&self, local: &Local, step: &Step) -> &'static Move {
        let letter = match step {
            Step::Deliver(place) => Some(self.letter(*place)),
            _ => None,
        };
        let parcel = letter.map(|letter| &letter.parcel);
        let outcome = local.node.take(step, parcel);
        let said = outcome.said.into_iter().map(|p| self.post(p));
        let mut said: Vec<&'static Letter> = said.collect();
        said.sort_unstable_by_key(|letter| letter.place);
        said.dedup_by_key(|letter| letter.place);
        Box::leak(Box::new(Move {
            to: self.local(outcome.node),
            said,
            told: outcome.told,
        }))
    }

    /// How many states of one node, and how many messages, have been met.
    pub fn sizes(&self) -> (usize, usize) {
        (lock(&self.locals).len(), lock(&self.places).len())
    }

    fn local(&self, node: Node) -> &'static Local {
        let origin = Origin {
            now: node.now().0,
            persisted: node.persisted(),
        };
        let text = format!("{node:?}");
        // The first renaming changes nothing.
        let own = hash(&text, origin, ALL[0]);
        match lock(&self.locals).entry(own) {
            Entry::Occupied(known) => known.get(),
            Entry::Vacant(place) => place.insert(Box::leak(Box::new(Local {
                log: node.log(),
                matched: node.matched(),
                node,
                hashes: hashes(&text, origin),
                moves: Moves([const { OnceLock::new() }; BLOCK]),
            }))),
        }
    }

    fn post(&self, parcel: Parcel) -> &'static Letter {
        let hashes = hashes(&format!("{parcel:?}"), Origin::default());
        match lock(&self.places).entry(hashes[0]) {
            Entry::Occupied(known) => known.get(),
            Entry::Vacant(place) => {
                let mut letters = self.letters.write().unwrap_or_else(PoisonError::into_inner);
                let letter: &Letter = Box::leak(Box::new(Letter {
                    place: u16::try_from(letters.len()).expect("small bounds have few messages"),
                    to: node::place(parcel.to),
                    is_question: node::is_question(&parcel),
                    vote: node::vote(&parcel),
                    parcel,
                    hashes,
                }));
                letters.push(letter);
                place.insert(letter)
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
