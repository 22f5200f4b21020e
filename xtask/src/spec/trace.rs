//! Whether what real nodes did is a behaviour of the specification: `cargo xtask spec trace`.
//! Never believes a trace that TLC has not walked to its end.
//!
//! # Source
//! spec/TraceRaft.tla; Howard et al., "Smart Casual Verification", NSDI'25.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::actions;
use super::tables::Tables;
use super::tlc::{self, Job, Outcome, Tlc};
use super::walk::{self, Walk};
use super::{coverage, merge};

/// Mutants are made of so many events of a trace, unless `--events` says of how many.
const MUTATED_EVENTS: usize = 300;

/// What became of one trace.
pub struct Verdict {
    /// How many events were walked through.
    pub events: usize,
    /// The first event that is no behaviour, if there is one.
    pub rejected: Option<Rejected>,
    /// Where the specification ends before the trace does, and why.
    pub uncovered: Option<(usize, String)>,
    /// What happened in the events that were walked through.
    pub actions: Vec<&'static str>,
}

/// An event that is no behaviour.
pub struct Rejected {
    /// Its place among the events, from 1.
    pub event: usize,
    /// The line of the trace.
    pub line: usize,
    /// What it is.
    pub action: &'static str,
}

/// Walks through traces, all in one run of TLC of this name; through no more than so many events of
/// each.
pub fn judge(
    root: &Path,
    tlc: &Tlc,
    name: &str,
    traces: &[String],
    events_max: usize,
) -> Result<Vec<Verdict>> {
    let mut tables = Tables::default();
    let read = |text: &String| Walk::read(text, events_max, &mut tables);
    let walks = traces.iter().map(read).collect::<Result<Vec<_>>>()?;
    let walked = walked(root, tlc, name, &walks, &tables)?;
    let verdict = |(walk, walked): (Walk, Walked)| {
        let rejected = walk.events.get(walked.events).map(|at| Rejected {
            event: walked.events + 1,
            line: at.line,
            action: at.action.unwrap_or("what the driver does"),
        });
        let whole = walk.events.iter().take(walked.events);
        let whole = whole.filter_map(|event| event.action);
        Verdict {
            events: walked.events,
            rejected,
            actions: whole.chain(walked.did).collect(),
            uncovered: walk.uncovered,
        }
    };
    Ok(walks.into_iter().zip(walked).map(verdict).collect())
}

/// How far a walk came.
#[derive(Clone, Default)]
pub struct Walked {
    /// So many events are behaviours.
    pub events: usize,
    /// What happened inside of them.
    did: Vec<&'static str>,
}

/// Walks through traces: how far each of them is a behaviour.
pub fn walked(
    root: &Path,
    tlc: &Tlc,
    name: &str,
    walks: &[Walk],
    tables: &Tables,
) -> Result<Vec<Walked>> {
    let outcome = run(root, tlc, name, walks, tables, 0)?;
    let mut walked = vec![Walked::default(); walks.len()];
    // What a step did is told before it is known whether the step is one.
    let mut did = Vec::new();
    for line in outcome.output.lines() {
        let words = line.strip_prefix("<<\"").and_then(|rest| {
            let (word, rest) = rest.strip_suffix(">>")?.split_once("\", ")?;
            let (walk, rest) = rest.split_once(", ")?;
            let (event, what) = rest.split_once(", ").unwrap_or((rest, ""));
            let (walk, event) = (walk.parse::<usize>().ok()?, event.parse::<usize>().ok()?);
            Some((word, walk.checked_sub(1)?, event, what))
        });
        match words {
            Some(("walked", walk, event, _)) => {
                let last = walked.get_mut(walk);
                let last = last.context("TLC walks through a trace that it was not given")?;
                last.events = event.max(last.events);
            }
            Some(("did", walk, event, what)) => {
                let action = actions::named(what.trim_matches('"'));
                did.push((
                    walk,
                    event,
                    action.with_context(|| format!("no action: {what}"))?,
                ));
            }
            _ => {}
        }
    }
    for (walk, event, action) in did {
        if let Some(walked) = walked.get_mut(walk).filter(|walked| event <= walked.events) {
            walked.did.push(action);
        }
    }
    // What is told of the first holds for those that begin like it.
    for at in 1..walks.len() {
        let shared = walks[at].shared_with(&walks[0]);
        walked[at].events = walked[at].events.max(shared.min(walked[0].events));
    }
    Ok(walked)
}

fn run(
    root: &Path,
    tlc: &Tlc,
    name: &str,
    walks: &[Walk],
    tables: &Tables,
    explain_at: usize,
) -> Result<Outcome> {
    let dir = tlc.scratch(root, name)?;
    fs::write(dir.join("TraceData.values"), walk::values(walks, tables))?;
    let config = fs::read_to_string(dir.join("TraceRaft.cfg"))?;
    let told = format!("ExplainAt = {explain_at}");
    fs::write(
        dir.join("TraceRaft.cfg"),
        config.replace("ExplainAt = 0", &told),
    )?;
    tlc.run(&Job {
        dir: &dir,
        module: "TraceRaft.tla",
        config: "TraceRaft.cfg",
        workers: 1,
        seconds_max: 1200,
        java: &["-Xss64m", tlc::SHORT],
        tlc: &[],
    })
}

/// `cargo xtask spec trace [--events N] [--mutants N] FILE...`: says of each whether it is a behaviour;
/// of records of nodes, whether they are one together. `--mutants`: and whether so many traces that
/// differ in one thing from the beginning of each are not.
pub fn files(root: &Path, words: &[&str]) -> Result<()> {
    let (mut events_max, mut mutants_max, mut files) = (usize::MAX, 0, words);
    while let [flag @ ("--events" | "--mutants"), most, rest @ ..] = files {
        let most = most.parse().with_context(|| (*flag).to_owned())?;
        *(if *flag == "--events" {
            &mut events_max
        } else {
            &mut mutants_max
        }) = most;
        files = rest;
    }
    ensure!(!files.is_empty(), "which trace?");
    let tlc = Tlc::find(root)?;
    let (names, texts) = read(&tlc.scratch(root, "merged")?, files)?;
    let mut rejections = 0;
    let verdicts = judge(root, &tlc, "trace", &texts, events_max)?;
    for ((file, text), verdict) in names.iter().zip(&texts).zip(verdicts) {
        println!("{file}: {}", in_words(&verdict));
        if let Some(rejected) = &verdict.rejected {
            rejections += 1;
            explain(root, &tlc, text, rejected)?;
        }
    }
    ensure!(rejections == 0, "{rejections} traces are no behaviours");
    for (file, text) in names.iter().zip(&texts).filter(|_| mutants_max > 0) {
        let is_said = events_max < usize::MAX;
        let events = if is_said { events_max } else { MUTATED_EVENTS };
        let bounds = (events, mutants_max);
        let (made, alive) = coverage::mutants_of(root, &tlc, "trace", text, bounds)?;
        println!(
            "{file}: {made} traces with one thing wrong, {} of them accepted",
            alive.len()
        );
        ensure!(
            alive.is_empty(),
            "accepted, but wrong:\n{}",
            alive.join("\n")
        );
    }
    Ok(())
}

/// The traces in files, with their names: those of worlds as they are, records of nodes as one.
fn read(merged: &Path, files: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut texts, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        if merge::is_record(&text) {
            records.push(text);
        } else {
            names.push((*file).to_owned());
            texts.push(text);
        }
    }
    if !records.is_empty() {
        let text = merge::merge(&records).context("merging the records")?;
        let file = merged.join("merged.jsonl");
        fs::write(&file, &text)?;
        let nodes = records.len();
        names.push(format!("records of {nodes} nodes, {}", file.display()));
        texts.push(text);
    }
    Ok((names, texts))
}

/// A verdict in words.
pub fn in_words(verdict: &Verdict) -> String {
    let events = verdict.events;
    match (&verdict.rejected, &verdict.uncovered) {
        (Some(at), _) => format!(
            "REJECTED: event {} ({}), in line {}, is no behaviour of the specification",
            at.event, at.action, at.line
        ),
        (None, Some((line, what))) => {
            format!("{events} events accepted; from line {line} on not covered: {what}")
        }
        (None, None) => format!("{events} events accepted"),
    }
}

/// Prints the event, and what the specification would have had instead.
pub fn explain(root: &Path, tlc: &Tlc, text: &str, at: &Rejected) -> Result<()> {
    let mut tables = Tables::default();
    let walks = [Walk::read(text, at.event, &mut tables)?];
    let outcome = run(root, tlc, "trace-explained", &walks, &tables, at.event)?;
    println!("{}", text.lines().nth(at.line - 1).unwrap_or_default());
    let mut is_inside = false;
    for line in outcome.output.lines() {
        is_inside = line.contains("\"candidate\"") || is_inside && line.starts_with(' ');
        if is_inside {
            println!("{line}");
        }
    }
    Ok(())
}
