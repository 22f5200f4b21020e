//! Coverage marks: which rare branches of `raft`, `replica` and `kv` the simulator's worlds pass:
//! the seeds of its plans, its scenarios, and the worlds that it keeps.
//! Never costs the sources anything: there a mark is a comment. Only a copy under `target/` counts.
//!
//! A mark is a line `// Mark: SENTENCE.` before a statement of a branch. One that no world can pass
//! says why in a line `// Unreached: WHY.` right below.
//!
//! # Source
//! SQLite's `testcase()` macros; FoundationDB's `CODE_PROBE`, which must all be hit by its simulator.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::target_dir;
use crate::git_files;
use crate::mutants::{PLANS, Simulator, Worlds, copy};

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

/// Where the plans are that tell one world each.
const DIRECTED: [&str; 2] = ["scenarios", "kept"];

/// A plan whose worlds are as much longer than others', and has as many fewer seeds.
const LONG: (&str, u64) = ("long", 20);

/// The seeds that must come to the same in the copy.
const SAME_SEEDS: &str = "0..100";

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
    /// By how many seeds, of all plans.
    seeds: u64,
    /// By how many worlds that a plan tells.
    worlds: u64,
    /// The first seed of each plan that did.
    first: BTreeMap<String, u64>,
}

/// Counts in a copy of `root` which marks the seeds of all plans, and all directed worlds, pass.
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
    counting.check_same(&ordinary, SAME_SEEDS)?;
    let mut passed = vec![Passed::default(); marks.len()];
    let file = target.join("passed");
    for dir in DIRECTED {
        for world in plans(&root.join(PLANS).join(dir))? {
            let command = counting.command(Worlds::Plan(&format!("{dir}/{world}")));
            add(&mut passed, None, &counted(command, &world, &file)?)?;
        }
    }
    for plan in plans(&root.join(PLANS))? {
        let is_long = plan == LONG.0;
        let seeds = seeds.div_ceil(if is_long { LONG.1 } else { 1 });
        let mut command = counting.command(Worlds::Seeds(&format!("0..{seeds}")));
        command.args(["--plan", &plan, "--jobs", &jobs.to_string()]);
        add(&mut passed, Some(&plan), &counted(command, &plan, &file)?)?;
        println!("{}", tell_plan(&passed, &plan, seeds));
    }
    tell(&marks, &passed)
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
            let mut below = text.lines().skip(at + 1).map(str::trim_start);
            let statement = below.find(|line| !line.starts_with("//"));
            let is_arm = statement.is_some_and(|line| line.contains(" => "));
            ensure!(
                !is_arm,
                "{place}: a mark stands before a statement, not before an arm of a match"
            );
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

/// The plans in a directory, by name.
fn plans(dir: &Path) -> Result<Vec<String>> {
    let mut plans = Vec::new();
    for file in fs::read_dir(dir)? {
        let path: PathBuf = file?.path();
        if path.extension().is_some_and(|ending| ending == "plan") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            plans.push(name.into_owned());
        }
    }
    plans.sort_unstable();
    Ok(plans)
}

/// What the worlds of a plan passed, a line each.
fn counted(mut command: Command, plan: &str, file: &Path) -> Result<String> {
    fs::write(file, "")?;
    let output = command.env(FILE, file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{plan} fails:\n{text}");
    Ok(fs::read_to_string(file)?)
}

/// Adds what worlds passed, the seeds of a plan or directed ones: lines of
/// `SEED MARK:TIMES MARK:TIMES …`.
fn add(passed: &mut [Passed], plan: Option<&str>, text: &str) -> Result<()> {
    for line in text.lines() {
        let mut words = line.split(' ');
        let seed = words.next().unwrap_or_default();
        let seed: u64 = seed.parse().context(line.to_owned())?;
        for word in words {
            let (mark, times) = word.split_once(':').with_context(|| line.to_owned())?;
            let mark: usize = mark.parse()?;
            let one = passed.get_mut(mark).context("a mark that nobody knows")?;
            one.times += times.parse::<u64>()?;
            let Some(plan) = plan else {
                one.worlds += 1;
                continue;
            };
            one.seeds += 1;
            let first = one.first.entry(plan.to_owned()).or_insert(seed);
            *first = seed.min(*first);
        }
    }
    Ok(())
}

/// How many marks a plan's seeds passed, and how long ago the last new one was.
fn tell_plan(passed: &[Passed], plan: &str, seeds: u64) -> String {
    let firsts = passed.iter().filter_map(|passed| passed.first.get(plan));
    let (count, last) = (firsts.clone().count(), firsts.max().copied());
    let ago = seeds.saturating_sub(last.unwrap_or(0) + 1);
    format!("{seeds} seeds of {plan} pass {count} marks, the last new one {ago} seeds ago")
}

fn tell(marks: &[Mark], passed: &[Passed]) -> Result<()> {
    println!("{:>10} {:>6} {:>6}  mark", "times", "seeds", "worlds");
    let mut never = Vec::new();
    for (mark, passed) in marks.iter().zip(passed) {
        let (file, what) = (&mark.file, &mark.what);
        let Passed {
            times,
            seeds,
            worlds,
            ..
        } = passed;
        println!("{times:>10} {seeds:>6} {worlds:>6}  {file}: {what}");
        match &mark.unreached {
            Some(why) if *times == 0 => println!("{:>26}{why}", ""),
            Some(_) => println!(
                "{:>26}reached after all: its line \"Unreached:\" can go",
                ""
            ),
            None if *times == 0 => never.push(what.as_str()),
            None => {}
        }
    }
    let count = passed.iter().filter(|passed| passed.times > 0).count();
    println!("{count} of {} marks passed", marks.len());
    ensure!(
        never.is_empty(),
        "never passed, and nobody says why:\n{}",
        never.join("\n")
    );
    Ok(())
}

#[cfg(test)]
mod tests;
