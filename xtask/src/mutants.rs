//! The mutation score: bugs planted one at a time, and how soon the simulator finds each.
//! Never changes the sources: bugs are planted in a copy under `target/`, so that no build of the
//! repository itself can contain one.
//!
//! The copy contains all bugs at once, each behind a switch that the environment turns on, so one
//! build serves all. With no switch on it must behave as the sources do, to the last trace hash.
//!
//! # Source
//! DeMillo, Lipton and Sayward, "Hints on test data selection", 1978; Untch, Offutt and Harrold,
//! "Mutation analysis using mutant schemata", ISSTA'93.

pub mod copy;
mod hunt;
mod mutant;
mod schemata;
pub mod sheet;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::target_dir;
use hunt::Hunt;
pub use hunt::{Simulator, Worlds, with_bug};
pub use mutant::{Mutant, PLANS};
pub use schemata::{Numbered, numbered};

/// The seeds that must be the same without a bug.
const SAME_SEEDS: &str = "0..400";

/// What to do, from the command line.
#[derive(Debug)]
struct Options {
    /// These only; all if empty.
    only: Vec<String>,
    /// How much processor time each may take.
    seconds: u64,
    /// How many at once.
    jobs: usize,
    /// Name them and do nothing.
    list: bool,
    /// Only those that a plan leads to.
    quick: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            seconds: 60,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            list: false,
            quick: false,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if word == "--list" {
                options.list = true;
                continue;
            }
            if word == "--quick" {
                options.quick = true;
                continue;
            }
            let value = words
                .next()
                .with_context(|| format!("no such option, or nothing after it: {word}"))?;
            match word {
                "--only" => options.only.push((*value).to_owned()),
                "--seconds" => options.seconds = value.parse().context("--seconds")?,
                "--jobs" => options.jobs = value.parse().context("--jobs")?,
                _ => bail!("no such option: {word}"),
            }
        }
        ensure!(options.jobs > 0, "no jobs, no results");
        Ok(options)
    }
}

/// Plants the bugs of `crates/sim/mutants` in a copy of `root`, and looks for them.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let mutants = all(root)?;
    if options.list {
        for mutant in &mutants {
            println!("{:<44} {}", mutant.name, mutant.what);
        }
        println!("{} mutants", mutants.len());
        return Ok(());
    }
    for name in &options.only {
        let known = mutants.iter().any(|mutant| mutant.name == *name);
        ensure!(known, "no such mutant: {name}; --list names them");
    }
    let mutated = plant(root, &mutants)?;
    if options.only.is_empty() && !options.quick {
        let ordinary = Simulator::build(root, &target_dir(root).join("mutants/ordinary"))?;
        mutated.check_same(&ordinary, SAME_SEEDS)?;
    }
    let score = look_for_all(&mutants, &mutated, &options);
    score.tell()
}

/// All planted bugs.
pub fn all(root: &Path) -> Result<Vec<Mutant>> {
    mutant::read_all(&root.join(mutant::DIR))
}

/// The simulator with all of them in it, each behind its switch.
pub fn plant(root: &Path, mutants: &[Mutant]) -> Result<Simulator> {
    let target = target_dir(root).join("mutants");
    let source = target.join("source");
    copy::make(root, &source, mutants)?;
    Simulator::build(&source, &target.join("build"))
}

/// What came of all mutants.
#[derive(Debug, Default)]
struct Score {
    planted: usize,
    found: usize,
    /// Not found, and nobody has said why.
    missed: Vec<String>,
    /// Not looked at, or not found where it must be.
    errors: Vec<String>,
}

fn look_for_all(mutants: &[Mutant], simulator: &Simulator, options: &Options) -> Score {
    println!(
        "{:<44} {:<10} {:<22} {:<44} {:>8}",
        "mutant", "verdict", "oracle", "seed or plan", "CPU s"
    );
    let mut chosen = numbered(mutants);
    chosen.retain(|(_, mutant)| options.only.is_empty() || options.only.contains(&mutant.name));
    chosen.retain(|(_, mutant)| !options.quick || mutant.plan.is_some());
    let score = Mutex::new(Score::default());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(&one) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunt = simulator.look_for(one, options.seconds);
                    let mut score = score.lock().expect("no job panics while it counts");
                    score.count(one.1, hunt);
                }
            });
        }
    });
    score.into_inner().expect("no job panics while it counts")
}

impl Score {
    fn count(&mut self, mutant: &Mutant, hunt: Result<Hunt>) {
        self.planted += 1;
        let Hunt { found, cpu_seconds } = match hunt {
            Ok(hunt) => hunt,
            Err(why) => return self.errors.push(format!("{}: {why:#}", mutant.name)),
        };
        let by_plan = |name: &String| {
            let by = found.as_ref().map(|found| found.seed.as_str());
            by == Some(name.as_str())
        };
        if let Some(plan) = mutant.plan.as_ref().filter(|name| !by_plan(name)) {
            let name = &mutant.name;
            self.errors
                .push(format!("{name}: its plan, {plan}, does not show it"));
        }
        let verdict = match (&found, &mutant.missed) {
            (Some(_), _) => "found",
            (None, Some(_)) => "as known",
            (None, None) => "MISSED",
        };
        self.found += usize::from(found.is_some());
        if verdict == "MISSED" {
            self.missed.push(mutant.name.clone());
        }
        let (oracle, seed) =
            found.map_or_else(Default::default, |found| (found.oracle, found.seed));
        let name = &mutant.name;
        println!("{name:<44} {verdict:<10} {oracle:<22} {seed:<44} {cpu_seconds:>8.1}");
        if let Some(why) = &mutant.missed {
            match verdict {
                "found" => println!("    found after all: its line \"Missed:\" can go"),
                _ => println!("    {why}"),
            }
        }
    }

    fn tell(&self) -> Result<()> {
        println!("found {} of {} planted", self.found, self.planted);
        ensure!(self.errors.is_empty(), "{}", self.errors.join("\n"));
        let missed = self.missed.join(", ");
        ensure!(missed.is_empty(), "missed, and nobody says why: {missed}");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
