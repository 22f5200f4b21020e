//! One world as plain data: a seed, the sizes of things, and every fault with its moment.
//! Never executes anything: a world runs a plan, and a plan can be edited and run again.
//!
//! # Source
//! docs/plans.md.

use std::fmt;

pub use crate::fault::{Fault, Mark, Nodes, Place, Rot, Whom};
pub use crate::knobs::{Knobs, MS};
pub use crate::text::Malformed;

use crate::knobs::KNOBS;
use crate::recipe::Recipe;
use crate::text::Word;

/// Everything that decides a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Where all chance comes from that is not in the plan.
    pub seed: u64,
    /// The sizes of things.
    pub knobs: Knobs,
    /// What goes wrong.
    pub faults: Vec<Planned>,
}

/// A fault and its moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// When it strikes.
    pub when: When,
    /// What strikes.
    pub fault: Fault,
}

/// The moment of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At a time.
    At(u64),
    /// Right after the turn in which something notable happened for the n-th time (from one).
    Mark(Mark, u64),
}

impl Plan {
    /// The plan of a seed, as the plan file `swarm` draws it.
    pub fn draw(seed: u64) -> Self {
        let swarm = Recipe::named("swarm").expect("it comes with the crate");
        swarm.draw(seed)
    }

    /// Reads a plan in which nothing is left to draw, as [`fmt::Display`] writes it.
    ///
    /// # Errors
    /// A line is not as docs/plans.md has it, or leaves a choice.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Recipe::parse(text)?.fixed()
    }

    /// Why no world can run this plan, if that is so.
    pub fn mistake(&self) -> Option<String> {
        if !(1..=16).contains(&self.knobs.nodes) {
            return Some(format!("{} nodes, of 1 to 16", self.knobs.nodes));
        }
        if self.knobs.election_ns < 3 * self.knobs.heartbeat_ns {
            return Some("election is less than three times heartbeat".into());
        }
        let mut faults = self.faults.iter();
        faults.find_map(|planned| self.knobs.mistake(&planned.fault))
    }
}

impl Knobs {
    /// The node that a fault names although there is none of that name.
    pub(crate) fn mistake(&self, fault: &Fault) -> Option<String> {
        let all = self.nodes + self.reserves;
        let text = fault.to_string();
        let mut words = text.split([' ', '=', '+', '.']);
        let is_beyond = |word: &&str| {
            let node = usize::read(word, false);
            node.is_ok_and(|node| node as u64 >= all)
        };
        let node = words.find(is_beyond)?;
        Some(format!("\"{fault}\" names {node}, of {all} nodes"))
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::At(at) => write!(f, "at {} {}", at.spell(true), self.fault),
            When::Mark(mark, nth) => write!(f, "on {} {nth} {}", mark.spell(false), self.fault),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for knob in KNOBS {
            writeln!(f, "{} {}", knob.name(), (knob.word)(&self.knobs))?;
        }
        for planned in &self.faults {
            writeln!(f, "{planned}")?;
        }
        Ok(())
    }
}
