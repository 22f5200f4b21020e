//! Two lists of states, one of the core and one of TLC, and what is in one and not in the other.
//! Never takes a hash for a state: those that are one have the same values, all of them.
//!
//! States that differ only in the names of the nodes are one. So each is written under all renamings
//! and kept as the least of them, which is the same for all that are alike.
//!
//! # Source
//! explore/src/listing.rs and spec/States.tla, for what the lists look like; Ip & Dill, "Better
//! verification through symmetry" (1996).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};

use super::value::Value;

/// The nodes, and all their renamings.
const NODES: [&str; 3] = ["n1", "n2", "n3"];
type Renaming = [usize; NODES.len()];
const RENAMINGS: [Renaming; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Whose state it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Core,
    Spec,
}

/// A state: the numbers of its nodes with their disks, of its messages, and of the rest.
type State = Box<[u32]>;

/// Which sides have a state, and how many states were known before it: the fewer, the shorter the
/// way to it.
struct Known {
    by: [bool; 2],
    at: usize,
}

/// The states of both.
#[derive(Default)]
pub struct States {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
    known: HashMap<State, Known>,
}

impl States {
    /// Reads a list; how many different states are in it.
    pub fn read(&mut self, side: Side, path: &Path) -> Result<u64> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let (mut values, mut count) = (Vec::new(), 0);
        for line in BufReader::new(file).lines() {
            let line = line?;
            if let Some(text) = line.strip_prefix("value ") {
                let value = Value::read(text)?;
                values.push(RENAMINGS.map(|renaming| self.number(&value, renaming)));
                continue;
            }
            let numbers = line.strip_prefix("state ");
            let state = least(numbers.context("neither a value nor a state")?, &values)?;
            let at = self.known.len();
            let unknown = Known { by: [false; 2], at };
            let known = self.known.entry(state).or_insert(unknown);
            count += u64::from(!known.by[side as usize]);
            known.by[side as usize] = true;
        }
        Ok(count)
    }

    fn number(&mut self, value: &Value, renaming: Renaming) -> u32 {
        let rename = |atom: &str| {
            let place = NODES.iter().position(|node| *node == atom);
            place
                .map_or(atom, |place| NODES[renaming[place]])
                .to_owned()
        };
        let next = self.texts.len() as u32;
        let entry = self.numbers.entry(value.write(&rename));
        *entry.or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }

    /// How many states only this side has.
    pub fn only(&self, side: Side) -> usize {
        self.of(side, false).count()
    }

    /// The states of a side, those that the other has too or those that it has not.
    fn of(&self, side: Side, shared: bool) -> impl Iterator<Item = (&State, &Known)> {
        let (own, other) = (side as usize, 1 - side as usize);
        let of = move |known: &Known| known.by[own] && known.by[other] == shared;
        self.known.iter().filter(move |(_, known)| of(known))
    }

    /// Of the states that only `side` has the first, and the state of the other side that is most
    /// like it, named so that it is.
    pub fn first(&mut self, side: Side) -> Result<Option<(Vec<Value>, Vec<Value>)>> {
        let only = self.of(side, false).min_by_key(|(_, known)| known.at);
        let Some((only, _)) = only.map(|(state, known)| (state.clone(), known.at)) else {
            return Ok(None);
        };
        let values = self.values(&only)?;
        let mut best = (usize::MAX, only.clone(), RENAMINGS[0]);
        for renaming in RENAMINGS {
            let renamed = values.iter().map(|value| self.number(value, renaming));
            let renamed: Vec<u32> = renamed.collect();
            let other = if side == Side::Core {
                Side::Spec
            } else {
                Side::Core
            };
            for (state, _) in self.of(other, true).chain(self.of(other, false)) {
                let shared = renamed.iter().filter(|number| state.contains(number));
                let apart = renamed.len() + state.len() - 2 * shared.count();
                if apart < best.0 {
                    best = (apart, state.clone(), renaming);
                }
            }
        }
        let named = values
            .iter()
            .map(|value| self.number(value, best.2))
            .collect();
        Ok(Some((self.values(&named)?, self.values(&best.1)?)))
    }

    fn values(&self, state: &State) -> Result<Vec<Value>> {
        let texts = state.iter().map(|number| &self.texts[*number as usize]);
        texts.map(|text| Value::read(text)).collect()
    }
}

/// The least of a state's renamings. `numbers`: those of the nodes, of the messages and of the rest,
/// between bars.
fn least(numbers: &str, values: &[[u32; RENAMINGS.len()]]) -> Result<State> {
    let mut parts = Vec::new();
    for part in numbers.split('|') {
        let value = |number: &str| -> Result<&[u32; RENAMINGS.len()]> {
            values
                .get(number.parse::<usize>()?)
                .context("a value that is not there")
        };
        parts.push(
            part.split_whitespace()
                .map(value)
                .collect::<Result<Vec<_>>>()?,
        );
    }
    let under = |renaming: usize| {
        let mut state = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for part in &parts {
            let from = state.len();
            state.extend(part.iter().map(|value| value[renaming]));
            state[from..].sort_unstable();
        }
        state.into_boxed_slice()
    };
    let all = (0..RENAMINGS.len()).map(under);
    all.min().context("there are renamings")
}
