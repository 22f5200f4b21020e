//! Whether what real nodes did is a behaviour of the specification: `cargo xtask spec trace`.
//! Never believes a trace that TLC has not walked to its end.
//!
//! # Source
//! spec/TraceRaft.tla; Howard et al., "Smart Casual Verification", NSDI'25.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tables::Tables;
use super::tlc::{Job, Outcome, Tlc};
use super::walk::{self, Walk};
use super::{coverage, merge};

/// What became of one trace.
pub struct Verdict {
    /// How many events were walked through.
    pub events: usize,
    /// The first event that is no behaviour, if there is one.
    pub rejected: Option<Rejected>,
    /// Where the specification ends before the trace does, and why.
    pub uncovered: Option<(usize, String)>,
    /// The actions of the events that were walked through.
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

/// Walks through traces, all in one run of TLC; through no more than so many events of each.
pub fn judge(root: &Path, tlc: &Tlc, traces: &[String], events_max: usize) -> Result<Vec<Verdict>> {
    let mut tables = Tables::default();
    let read = |text: &String| Walk::read(text, events_max, &mut tables);
    let walks = traces.iter().map(read).collect::<Result<Vec<_>>>()?;
    let accepted = accepted(root, tlc, &walks, &tables)?;
    let mut verdicts = Vec::new();
    for ((walk, text), is_accepted) in walks.iter().zip(traces).zip(accepted) {
        let mut verdict = Verdict {
            events: walk.events.len(),
            rejected: None,
            uncovered: walk.uncovered.clone(),
            actions: Vec::new(),
        };
        if !is_accepted && !walk.events.is_empty() {
            let rejected = first_rejected(root, tlc, text, events_max)?;
            verdict.events = rejected.event - 1;
            verdict.rejected = Some(rejected);
        }
        let walked = walk.events.iter().take(verdict.events);
        verdict.actions = walked.flat_map(|event| &event.actions).copied().collect();
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Which of these walks are behaviours.
pub fn accepted(root: &Path, tlc: &Tlc, walks: &[Walk], tables: &Tables) -> Result<Vec<bool>> {
    let outcome = run(root, tlc, "trace", walks, tables, 0)?;
    let lines: Vec<&str> = outcome.output.lines().collect();
    let is_accepted = |at| lines.contains(&format!("<<\"accepted\", {at}>>").as_str());
    Ok((1..=walks.len()).map(is_accepted).collect())
}

/// Where the walk through a trace ends: alone, it is as deep as it goes.
fn first_rejected(root: &Path, tlc: &Tlc, text: &str, events_max: usize) -> Result<Rejected> {
    let mut tables = Tables::default();
    let walks = [Walk::read(text, events_max, &mut tables)?];
    let event = run(root, tlc, "trace-alone", &walks, &tables, 0)?.depth as usize;
    let at = event.checked_sub(1).and_then(|at| walks[0].events.get(at));
    let at = at.context("a trace that was rejected is accepted when it is alone")?;
    Ok(Rejected {
        event,
        line: at.line,
        action: at
            .actions
            .first()
            .copied()
            .unwrap_or("what the driver does"),
    })
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
    fs::write(dir.join("TraceData.tla"), walk::module(walks, tables))?;
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
        java: &["-Xss64m"],
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
    let verdicts = judge(root, &tlc, &texts, events_max)?;
    for ((file, text), verdict) in names.iter().zip(&texts).zip(verdicts) {
        println!("{file}: {}", in_words(&verdict));
        if let Some(rejected) = &verdict.rejected {
            rejections += 1;
            explain(root, &tlc, text, rejected)?;
        }
    }
    ensure!(rejections == 0, "{rejections} traces are no behaviours");
    for (file, text) in names.iter().zip(&texts).filter(|_| mutants_max > 0) {
        let (made, alive) = coverage::mutants_of(root, &tlc, text, mutants_max)?;
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
