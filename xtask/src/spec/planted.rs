//! Whether the specification refuses what the core does with a bug in it: `cargo xtask spec planted`.
//! Never asks an oracle of the simulator: what a trace shows is all there is to judge by.
//!
//! # Source
//! crates/sim/mutants; DeMillo, Lipton and Sayward, "Hints on test data selection", 1978.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, ensure};

use super::tlc::Tlc;
use super::{Options, in_parallel, results, trace, worlds};
use crate::mutants::{self, Mutant, Numbered, Simulator, Worlds};

/// Where the core is.
const CORE: &str = "crates/raft/";

/// The worlds of a bug: the one that its plan leads to, and seeds, some at a time.
const SEEDS: [(&str, Range<u64>); 4] = [
    ("swarm", 0..6),
    ("disks", 0..6),
    ("swarm", 6..24),
    ("disks", 6..16),
];

/// How much of the worlds of these seeds is walked through, and of one in which the bug shows.
const EVENTS: usize = 1000;
const EVENTS_WHOLE: usize = 20_000;

/// The plan of the worlds in which the simulator looks for a bug, and for how long it does.
const USUAL: &str = "swarm";
const HUNT_SECONDS: u64 = 30;

/// What came of a bug.
struct Trial {
    /// The world in which it was refused and how many events were behaviours before it was.
    refused: Option<(String, usize)>,
    /// How many events were walked through until then.
    events: usize,
}

/// Plants the bugs of the core one at a time, and walks through the traces of what it does then.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let tlc = Tlc::find(root)?;
    let all = mutants::all(root)?;
    let simulator = mutants::plant(root, &all)?;
    let mut chosen = mutants::numbered(&all);
    chosen.retain(|(_, mutant)| mutant.edits.iter().any(|edit| edit.file.starts_with(CORE)));
    options.choose(&mut chosen, |(_, mutant)| &mutant.name)?;
    println!("{:<52} {:<9} {:>7}  in", "bug", "verdict", "events");
    let trials = in_parallel(options.jobs, &chosen, |&(number, mutant)| {
        let trial = try_bug(root, &tlc, &simulator, (number, mutant))
            .inspect_err(|why| println!("{:<52} fails: {why:#}", mutant.name))?;
        let (verdict, events, world) = match &trial.refused {
            Some((world, events)) => ("refused", *events, world.as_str()),
            None => (
                "accepted",
                trial.events,
                mutant.unseen.as_deref().unwrap_or("NOBODY SAYS WHY"),
            ),
        };
        println!("{:<52} {verdict:<9} {events:>7}  {world}", mutant.name);
        Ok(trial)
    });
    let (mut rows, mut wrong, mut refused) = (Vec::new(), Vec::new(), 0);
    for ((_, mutant), trial) in chosen.iter().zip(trials) {
        let trial = trial?;
        match (&trial.refused, &mutant.unseen) {
            (None, None) => wrong.push(format!("{}: accepted, and nobody says why", mutant.name)),
            (Some(_), Some(_)) => wrong.push(format!(
                "{}: refused after all: its line \"Unseen:\" can go",
                mutant.name
            )),
            _ => {}
        }
        refused += usize::from(trial.refused.is_some());
        rows.push(row(mutant, &trial));
    }
    println!(
        "measured: {refused} of {} bugs planted in the core are refused",
        rows.len()
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    if options.write {
        results::settle(root, &results::PLANTED, &rows, true)?;
    }
    Ok(())
}

fn row(mutant: &Mutant, trial: &Trial) -> Vec<String> {
    let (verdict, events) = match &trial.refused {
        Some((world, events)) => (format!("refused in {world}"), *events),
        None => {
            let why = mutant.unseen.as_deref().unwrap_or_default();
            (format!("accepted: {why}"), trial.events)
        }
    };
    let what = mutant.what.trim_end_matches('.').to_owned();
    vec![
        format!("`{}`", mutant.name),
        what,
        verdict,
        events.to_string(),
    ]
}

fn try_bug(
    root: &Path,
    tlc: &Tlc,
    simulator: &Simulator,
    (number, mutant): Numbered<'_>,
) -> Result<Trial> {
    let mut trial = Trial {
        refused: None,
        events: 0,
    };
    let name = format!("planted-{}", mutant.name);
    let mut walk = |some: Vec<(String, Option<u64>)>, events_max| -> Result<bool> {
        let mut traces = Vec::new();
        for (plan, seed) in &some {
            let worlds = seed.map_or(Worlds::Plan(plan), |seed| Worlds::World(plan, seed));
            let command = mutants::with_bug(simulator.command(worlds), number);
            traces.push(worlds::watch(command, events_max)?.trace);
        }
        let verdicts = trace::judge(root, tlc, &name, &traces, events_max)?;
        trial.events += verdicts.iter().map(|verdict| verdict.events).sum::<usize>();
        let worlds = some.iter().zip(&verdicts);
        let first = worlds
            .filter_map(|(world, verdict)| Some((world, verdict.rejected.as_ref()?)))
            .min_by_key(|(_, rejected)| rejected.event);
        trial.refused = first.map(|((plan, seed), rejected)| {
            let seed = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
            let world = format!("`{plan}{seed}` at `{}`", rejected.action);
            (world, rejected.event - 1)
        });
        Ok(trial.refused.is_some())
    };
    let is_refused = match &mutant.plan {
        Some(plan) => walk(vec![(plan.clone(), None)], EVENTS_WHOLE)?,
        None => false,
    };
    let mut seeds = SEEDS.iter();
    let is_refused = is_refused
        || seeds.try_fold(false, |done, (plan, seeds)| -> Result<bool> {
            let world = |seed| ((*plan).to_owned(), Some(seed));
            Ok(done || walk(seeds.clone().map(world).collect(), EVENTS)?)
        })?;
    // Where the simulator sees it, if it does.
    if !is_refused && mutant.plan.is_none() && mutant.missed.is_none() {
        let found = simulator.look_for((number, mutant), HUNT_SECONDS)?.found;
        if let Some(Ok(seed)) = found.map(|found| found.seed.parse()) {
            walk(vec![(USUAL.to_owned(), Some(seed))], EVENTS_WHOLE)?;
        }
    }
    tlc.clear(&name)?;
    Ok(trial)
}
