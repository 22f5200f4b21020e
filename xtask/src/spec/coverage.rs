//! Traces of all plans, held against the specification, and which of its actions they show:
//! `cargo xtask spec traces`. Beside them stand traces with something wrong, which have to be
//! rejected.
//! Never runs a world that a plan does not tell.
//!
//! # Source
//! docs/testing.md, "Traces against the specification"; Howard et al., "Smart Casual Verification", NSDI'25.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tables::Tables;
use super::tlc::Tlc;
use super::walk::Walk;
use super::{actions, cores, in_parallel, mutate, told, trace, worlds};
use crate::mutants::{PLANS, Simulator, Worlds};

/// The plans whose worlds are traced, and how many seeds of each.
const SEEDS: [(&str, u64); 3] = [("swarm", 24), ("disks", 16), ("long", 12)];

/// Where the plans are that tell one world each.
const DIRECTED: &str = "scenarios";

/// How much of a trace is walked through: worlds are as long as they like.
const EVENTS: usize = 1000;

/// So many traces are walked through by one run of TLC, which bounds the memory.
const AT_ONCE: usize = 25;

/// The scenarios of which mutants are made, and how much of each is kept.
const MUTATED: [(&str, usize); 5] = [
    ("scenarios/a-wiped-disk", 300),
    ("scenarios/a-removed-leader", 300),
    ("scenarios/rot-behind-a-snapshot", 600),
    ("scenarios/rot-in-what-others-lack", 700),
    ("scenarios/rot-on-two-disks", 850),
];
const MUTANTS_AT_ONCE: usize = 400;

/// A world to be traced.
struct Traced {
    /// Under what it is counted.
    of: &'static str,
    plan: String,
    seed: Option<u64>,
}

/// Traces the seeds of all plans, walks through them, and prints what they show. `only`: these
/// plans, or the mutants; then nothing is missed.
pub fn run(root: &Path, only: &[&str]) -> Result<()> {
    let tlc = Tlc::find(root)?;
    let sim = worlds::simulator(root)?;
    let worlds = all_worlds(root, only)?;
    let texts = in_parallel(cores(), &worlds, |world| {
        traced(&sim, &world.plan, world.seed)
    });
    let texts = texts.into_iter().collect::<Result<Vec<_>>>()?;
    let parts: Vec<(usize, &[String])> = texts.chunks(AT_ONCE).enumerate().collect();
    let verdicts = in_parallel(cores(), &parts, |&(at, texts)| {
        trace::judge(root, &tlc, &format!("traces-{at}"), texts, EVENTS)
    });
    let verdicts = verdicts.into_iter().collect::<Result<Vec<_>>>()?;
    let mut shown: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut rejections = 0;
    for ((world, text), verdict) in worlds.iter().zip(&texts).zip(verdicts.iter().flatten()) {
        let [traces, events, whole] = counts.entry(world.of).or_default();
        *traces += 1;
        *events += verdict.events;
        *whole += usize::from(verdict.uncovered.is_none());
        for action in &verdict.actions {
            *shown
                .entry(action)
                .or_default()
                .entry(world.of)
                .or_default() += 1;
        }
        if let Some(rejected) = &verdict.rejected {
            rejections += 1;
            let (plan, seed) = (&world.plan, world.seed);
            println!("{plan}, seed {seed:?}: {}", trace::in_words(verdict));
            trace::explain(root, &tlc, text, rejected)?;
        }
    }
    for (plan, [traces, events, whole]) in &counts {
        println!(
            "measured: {plan}: {traces} traces, {events} events are behaviours; {whole} to their end or to \
             event {EVENTS}"
        );
    }
    let missing = print_table(&shown, &counts.keys().copied().collect::<Vec<_>>());
    ensure!(rejections == 0, "{rejections} traces are no behaviours");
    ensure!(
        missing.is_empty() || !only.is_empty(),
        "no trace shows {}",
        missing.join("; ")
    );
    if is_wanted(only, "mutants") {
        mutants(root, &tlc, &sim)?;
    }
    Ok(())
}

fn is_wanted(only: &[&str], name: &str) -> bool {
    only.is_empty() || only.contains(&name)
}

/// The worlds of these plans.
fn all_worlds(root: &Path, only: &[&str]) -> Result<Vec<Traced>> {
    let mut worlds = Vec::new();
    for (of, seeds) in SEEDS.into_iter().filter(|(of, _)| is_wanted(only, of)) {
        worlds.extend((0..seeds).map(|seed| Traced {
            of,
            plan: of.to_owned(),
            seed: Some(seed),
        }));
    }
    if is_wanted(only, DIRECTED) {
        worlds.extend(scenarios(root)?.into_iter().map(|plan| Traced {
            of: DIRECTED,
            plan,
            seed: None,
        }));
    }
    Ok(worlds)
}

/// The table of actions; those that nothing shows.
fn print_table(shown: &BTreeMap<&str, BTreeMap<&str, usize>>, plans: &[&str]) -> Vec<String> {
    let mut missing = Vec::new();
    if plans.is_empty() {
        return missing;
    }
    print!("{:<40}", "action");
    plans.iter().for_each(|plan| print!("{plan:>11}"));
    println!();
    for (room, action) in actions::ALL {
        let counts = |plan: &&str| shown.get(action)?.get(*plan).copied();
        print!("{:<40}", format!("{room}: {action}"));
        plans
            .iter()
            .for_each(|plan| print!("{:>11}", counts(plan).unwrap_or(0)));
        println!();
        if plans.iter().all(|plan| counts(plan).is_none()) {
            missing.push(format!("{room}: {action}"));
        }
    }
    missing
}

/// Makes mutants of some traces, and lets none live.
fn mutants(root: &Path, tlc: &Tlc, sim: &Simulator) -> Result<()> {
    let found = in_parallel(cores(), &MUTATED, |(plan, events)| {
        let text = traced(sim, plan, None)?;
        let name = plan.replace('/', "-");
        let found = mutants_of(root, tlc, &name, &text, (*events, usize::MAX));
        found.with_context(|| (*plan).to_owned())
    });
    let (mut made, mut alive) = (0, Vec::new());
    for ((plan, _), found) in MUTATED.into_iter().zip(found) {
        let (of_plan, living) = found?;
        made += of_plan;
        alive.extend(living.iter().map(|what| format!("{plan}: {what}")));
    }
    println!(
        "measured: {made} traces with one thing wrong, {} of them accepted",
        alive.len()
    );
    ensure!(
        alive.is_empty(),
        "accepted, but wrong:\n{}",
        alive.join("\n")
    );
    Ok(())
}

/// Makes mutants of the first so many events of a trace, of all that there are so many; how many, and
/// those that live. `name`: of the runs of TLC.
pub fn mutants_of(
    root: &Path,
    tlc: &Tlc,
    name: &str,
    text: &str,
    (events, most): (usize, usize),
) -> Result<(usize, Vec<String>)> {
    let lines = told::lines(text).collect::<Result<Vec<_>>>()?;
    let whole = Walk::of_lines(lines.iter().map(Ok), events, &mut Tables::default())?;
    let lines = &lines[..whole.events.last().map_or(0, |event| event.line)];
    let mut mutants = mutate::all(lines);
    let every = mutants.len().div_ceil(most).max(1);
    let mut places = 0..mutants.len();
    mutants.retain(|_| places.next().is_some_and(|place| place % every == 0));
    let mut alive = Vec::new();
    for some in mutants.chunks(MUTANTS_AT_ONCE) {
        let mut tables = Tables::default();
        let mut read =
            |lines: Vec<_>| Walk::of_lines(lines.into_iter().map(Ok), usize::MAX, &mut tables);
        // The trace without a change is walked through once, for all of them.
        let mut walks = vec![read(lines.iter().map(Cow::Borrowed).collect())?];
        let mut names = vec!["nothing"];
        for mutant in some {
            // What cannot even be read is rejected.
            if let Ok(walk) = read(mutant.of(lines)) {
                walks.push(walk);
                names.push(&mutant.what);
            }
        }
        let walked = trace::walked(root, tlc, name, &walks, &tables)?;
        let is_whole = |at: &usize| walked[*at].events == walks[*at].events.len();
        ensure!(is_whole(&0), "rejected without a change");
        let accepted = (1..walks.len()).filter(is_whole);
        alive.extend(accepted.map(|at| names[at].to_owned()));
    }
    Ok((mutants.len(), alive))
}

/// The scenarios, by name.
fn scenarios(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(root.join(PLANS).join(DIRECTED))? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        names.push(format!("{DIRECTED}/{name}"));
    }
    names.sort();
    Ok(names)
}

/// The trace of one world.
fn traced(sim: &Simulator, plan: &str, seed: Option<u64>) -> Result<String> {
    let worlds = seed.map_or(Worlds::Plan(plan), |seed| Worlds::World(plan, seed));
    let world = worlds::watch(sim.command(worlds), EVENTS)?;
    let is_well = world.status.is_none_or(|status| status.success());
    ensure!(is_well, "{plan} {seed:?} fails:\n{}", world.words);
    Ok(world.trace)
}
