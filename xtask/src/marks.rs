//! Coverage marks: which rare branches of `raft`, `replica` and `kv` the simulator's seeds pass.
//! Never costs the sources anything: there a mark is a comment. Only a copy under `target/` counts.
//!
//! A mark is a line `// Mark: SENTENCE.` before a statement of a branch. One that no seed can pass
//! yet says why in a line `// Unreached: WHY.` right below.
//!
//! # Source
//! SQLite's `testcase()` macros; FoundationDB's `CODE_PROBE`, which must all be hit by its simulator.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::git_files;
use crate::mutants::{Simulator, Worlds, copy, target_dir};

const MARK: &str = "// Mark: ";
const UNREACHED: &str = "// Unreached: ";

/// The rooms that bear marks.
const ROOMS: [&str; 3] = ["crates/raft/src/", "crates/replica/src/", "crates/kv/src/"];

/// What the copy has beside the marks: who counts, how the rooms reach it, and where a run ends.
const COUNTER: &str = include_str!("marks/counter.rs.txt");
const COUNTER_ROOM: &str = "crates/raft/src/passed.rs";
const REACH: [(&str, &str); 3] = [
    (
        "crates/raft/src/lib.rs",
        "extern crate std;\n#[allow(missing_docs)]\npub mod passed;\n",
    ),
    (
        "crates/replica/src/lib.rs",
        "pub use headwater_raft::passed;\n",
    ),
    (
        "crates/kv/src/lib.rs",
        "pub use headwater_replica::passed;\n",
    ),
];
const RUN_ROOM: &str = "crates/sim/src/run.rs";
const RUN: &str = "let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));";

/// The variable that names the file in which the copy's simulator says what each seed passed.
const FILE: &str = "HEADWATER_MARKS";

/// A mark in the sources.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mark {
    file: String,
    line: usize,
    what: String,
    unreached: Option<String>,
}

/// How often a mark was passed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Passed {
    times: u64,
    seeds: u64,
    /// The first seed, counted from the first of its plan.
    first: Option<u64>,
}

/// Counts in a copy of `root` which marks the seeds of all plans pass.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    let (mut seeds, mut jobs, mut list) = (1000_u64, 1_u64, false);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut number = || -> Result<u64> {
            let value = words.next().with_context(|| format!("after {word}?"))?;
            value.parse().with_context(|| word.to_owned())
        };
        match word {
            "--list" => list = true,
            "--seeds" => seeds = number()?,
            "--jobs" => jobs = number()?,
            _ => bail!("no such option: {word}"),
        }
    }
    let texts = texts(root)?;
    let marks = find(&texts)?;
    if list {
        for Mark {
            file, line, what, ..
        } in &marks
        {
            println!("{file}:{line}: {what}");
        }
        println!("{} marks", marks.len());
        return Ok(());
    }
    let target = target_dir(root).join("marks");
    let source = target.join("source");
    copy::lay_out(root, &source, &planted(&texts)?)?;
    let counting = Simulator::build(&source, &target.join("build"))?;
    let ordinary = Simulator::build(root, &target_dir(root).join("mutants/ordinary"))?;
    counting.check_same(&ordinary)?;
    let mut passed = vec![Passed::default(); marks.len()];
    for plan in plans(root)? {
        let file = target.join(format!("{plan}.passed"));
        let text = counted(&counting, &plan, (seeds, jobs), &file)?;
        add(&mut passed, &text)?;
    }
    tell(&marks, &passed, seeds)
}

/// The texts that the copy changes.
fn texts(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for file in git_files(root)? {
        let is_room = ROOMS.iter().any(|room| file.starts_with(room));
        if (is_room && file.ends_with(".rs")) || file == RUN_ROOM {
            let text = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
            texts.insert(file, text);
        }
    }
    Ok(texts)
}

/// All marks, in the order of their numbers.
fn find(texts: &BTreeMap<String, String>) -> Result<Vec<Mark>> {
    let mut marks: Vec<Mark> = Vec::new();
    for (file, text) in texts {
        let mut lines = text.lines().enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            let Some(what) = line.trim_start().strip_prefix(MARK) else {
                continue;
            };
            let place = format!("{file}:{}", at + 1);
            ensure!(
                what.ends_with('.'),
                "{place}: a mark is a sentence in one line"
            );
            let next = lines.peek().map_or("", |(_, line)| line.trim_start());
            let twin = marks.iter().find(|mark| mark.what == what);
            ensure!(
                twin.is_none(),
                "{place}: another mark says the same: {what}"
            );
            marks.push(Mark {
                file: file.clone(),
                line: at + 1,
                what: what.to_owned(),
                unreached: next.strip_prefix(UNREACHED).map(str::to_owned),
            });
        }
    }
    Ok(marks)
}

/// The texts as the copy has them: each mark counts, and each run says what it passed.
fn planted(texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut planted = BTreeMap::new();
    let mut number = 0;
    for (file, text) in texts {
        let mut out = String::new();
        for line in text.lines() {
            out.push_str(line);
            out.push('\n');
            if line.trim_start().starts_with(MARK) {
                out.push_str(&format!("crate::passed::mark({number});\n"));
                number += 1;
            }
        }
        if let Some((_, reach)) = REACH.iter().find(|(lib, _)| lib == file) {
            out.push_str(reach);
        }
        if file == RUN_ROOM {
            ensure!(
                out.matches(RUN).count() == 1,
                "{file} runs a world elsewhere than once"
            );
            let within = format!(
                "headwater_raft::passed::begin();\n{RUN}\nheadwater_raft::passed::end(seed);"
            );
            out = out.replace(RUN, &within);
        }
        planted.insert(file.clone(), out.into_bytes());
    }
    planted.insert(COUNTER_ROOM.to_owned(), COUNTER.as_bytes().to_vec());
    Ok(planted)
}

/// The plans that come along.
fn plans(root: &Path) -> Result<Vec<String>> {
    let mut plans = Vec::new();
    for file in fs::read_dir(root.join("crates/sim/plans"))? {
        let path: PathBuf = file?.path();
        if path.extension().is_some_and(|ending| ending == "plan") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            plans.push(name.into_owned());
        }
    }
    plans.sort_unstable();
    Ok(plans)
}

/// What the seeds of a plan passed, a line each.
fn counted(
    simulator: &Simulator,
    plan: &str,
    (seeds, jobs): (u64, u64),
    file: &Path,
) -> Result<String> {
    println!("{seeds} seeds of {plan}");
    fs::write(file, "")?;
    let mut command: Command = simulator.command(Worlds::Seeds(&format!("0..{seeds}")));
    command.args(["--plan", plan, "--jobs", &jobs.to_string()]);
    let output = command.env(FILE, file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "a seed of {plan} fails:\n{text}");
    Ok(fs::read_to_string(file)?)
}

/// Adds what seeds passed: lines of `SEED MARK:TIMES MARK:TIMES …`.
fn add(passed: &mut [Passed], text: &str) -> Result<()> {
    for line in text.lines() {
        let mut words = line.split(' ');
        let seed: u64 = words
            .next()
            .unwrap_or_default()
            .parse()
            .context(line.to_owned())?;
        for word in words {
            let (mark, times) = word.split_once(':').with_context(|| line.to_owned())?;
            let mark: usize = mark.parse()?;
            let one = passed.get_mut(mark).context("a mark that nobody knows")?;
            one.times += times.parse::<u64>()?;
            one.seeds += 1;
            one.first = Some(one.first.map_or(seed, |first| first.min(seed)));
        }
    }
    Ok(())
}

fn tell(marks: &[Mark], passed: &[Passed], seeds: u64) -> Result<()> {
    println!("{:>10} {:>7} {:>7}  mark", "times", "seeds", "first");
    for (
        mark,
        Passed {
            times,
            seeds,
            first,
        },
    ) in marks.iter().zip(passed)
    {
        let first = first.map_or("-".to_owned(), |first| first.to_string());
        println!(
            "{times:>10} {seeds:>7} {first:>7}  {}: {}",
            mark.file, mark.what
        );
        match &mark.unreached {
            Some(why) if *times == 0 => println!("{:>28}{why}", ""),
            Some(_) => println!(
                "{:>28}reached after all: its line \"Unreached:\" can go",
                ""
            ),
            None => {}
        }
    }
    let count = passed.iter().filter(|passed| passed.times > 0).count();
    let last = passed
        .iter()
        .filter_map(|passed| passed.first)
        .max()
        .unwrap_or_default();
    println!(
        "{count} of {} marks passed; the last new one {} seeds before the end of {seeds} of each plan",
        marks.len(),
        seeds.saturating_sub(last + 1)
    );
    let never = marks
        .iter()
        .zip(passed)
        .filter(|(mark, passed)| passed.times == 0 && mark.unreached.is_none());
    let never: Vec<&str> = never.map(|(mark, _)| mark.what.as_str()).collect();
    ensure!(
        never.is_empty(),
        "never passed, and nobody says why:\n{}",
        never.join("\n")
    );
    Ok(())
}

#[cfg(test)]
mod tests;
