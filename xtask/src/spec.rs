//! The specification and its checker: `cargo xtask spec`.
//! Never changes a module: planted changes are made in copies under `target/`.
//!
//! # Source
//! spec/README.md.

mod actions;
mod bounds;
mod check;
mod coverage;
mod difference;
mod equal;
mod merge;
mod mutate;
mod planted;
mod results;
mod states;
mod tables;
mod teeth;
mod tlc;
mod told;
mod trace;
mod unequal;
mod value;
mod walk;
mod worlds;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
usage: cargo xtask spec WHAT

  check     every state of small clusters has all properties
            [--deep, larger ones too] [--only NAME]... [--jobs N] [--write the numbers down]
  teeth     each planted change of spec/mutants is caught by the property it names
            [--quick, those found soon] [--only NAME]... [--jobs N] [--write the numbers down]
  run MODULE.tla CONFIG.cfg
            one run of TLC, with files of spec/
  equal     the real core and spec/Raft.tla have the same states
            [--deep, larger bounds too] [--teeth, planted differences are seen] [--only NAME]...
            [--write the numbers down]
  trace [--events N] [--mutants N] FILE...
            whether traces are behaviours of spec/Raft.tla, and so many altered ones are not
  traces [PLAN]...
            the same of the worlds of all plans, and what they show of it
  planted   whether it refuses what the core does with a bug of crates/sim/mutants in it
            [--only NAME]... [--jobs N] [--write the table]";

/// What to do, from the command line.
#[derive(Debug)]
struct Options {
    /// These only; all if empty.
    only: Vec<String>,
    /// How many at once.
    jobs: usize,
    /// The larger bounds too.
    deep: bool,
    /// Only what is done soon.
    quick: bool,
    /// Planted changes, and not what is.
    teeth: bool,
    /// Write the results down, instead of comparing.
    write: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            jobs: cores(),
            deep: false,
            quick: false,
            teeth: false,
            write: false,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("nothing after {word}"))
            };
            match word {
                "--deep" => options.deep = true,
                "--quick" => options.quick = true,
                "--teeth" => options.teeth = true,
                "--write" => options.write = true,
                "--only" => options.only.push((*value()?).to_owned()),
                "--jobs" => options.jobs = value()?.parse().context("--jobs")?,
                _ => bail!("no such option: {word}\n\n{USAGE}"),
            }
        }
        ensure!(options.jobs > 0, "no jobs, no results");
        Ok(options)
    }

    /// Keeps those that are asked for.
    fn choose<T>(&self, all: &mut Vec<T>, name: impl Fn(&T) -> &String) -> Result<()> {
        for wanted in &self.only {
            let known = all.iter().any(|one| name(one) == wanted);
            ensure!(known, "there is none of this name: {wanted}");
        }
        all.retain(|one| self.only.is_empty() || self.only.contains(name(one)));
        Ok(())
    }
}

/// Does what the words say.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    match words {
        ["check", options @ ..] => check::run(root, &Options::parse(options)?),
        ["teeth", options @ ..] => teeth::run(root, &Options::parse(options)?),
        ["run", module, config] => run_one(root, module, config),
        ["equal", options @ ..] => equal::run(root, &Options::parse(options)?),
        ["trace", words @ ..] => trace::files(root, words),
        ["traces", only @ ..] => coverage::run(root, only),
        ["planted", options @ ..] => planted::run(root, &Options::parse(options)?),
        _ => bail!("{USAGE}"),
    }
}

/// For whoever writes the specification: TLC's own words, on files as they are.
fn run_one(root: &Path, module: &str, config: &str) -> Result<()> {
    let tlc = tlc::Tlc::find(root)?;
    let dir = tlc.scratch(root, "run")?;
    let outcome = tlc.run(&tlc::Job {
        dir: &dir,
        module,
        config,
        workers: 2,
        seconds_max: 3600,
        java: &[],
        tlc: &[],
    })?;
    print!("{}", outcome.output);
    if let Some(property) = outcome.violated {
        bail!("{property} does not hold");
    }
    Ok(())
}

/// A row for each item that came out well, and the names of the others.
fn sort_out<T>(
    items: &[T],
    outcomes: Vec<Result<tlc::Outcome>>,
    name: impl Fn(&T) -> &String,
    row: impl Fn(&T, &tlc::Outcome) -> Vec<String>,
) -> (Vec<Vec<String>>, String) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (item, outcome) in items.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => rows.push(row(item, &outcome)),
            Err(_) => wrong.push(name(item).as_str()),
        }
    }
    (rows, wrong.join(", "))
}

/// How many processors there are to work with.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What `work` makes of each item, some at a time, in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    let mut done = done.lock().expect("no job panics while it adds");
                    done.push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no job panics while it adds");
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;
