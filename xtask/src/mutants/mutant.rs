//! A planted bug as text: what it is, whence it is known, and which text becomes which.
//! Never guesses: a file that is not of this shape is refused.
//!
//! # Source
//! docs/testing.md, "Mutation score".

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Where the bugs lie, one a file.
pub const DIR: &str = "crates/sim/mutants";

/// Where the plans lie that their lines `Plan:` name, without the ending.
pub const PLANS: &str = "crates/sim/plans";

/// One bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// The file's name without its ending.
    pub name: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The rule or paper it breaks, or who had it.
    pub source: String,
    /// Why it is not found, if that is known.
    pub missed: Option<String>,
    /// Seeds that are tried before others, as the simulator takes them.
    pub seeds: Option<String>,
    /// The plan that leads to it, which is tried before all seeds.
    pub plan: Option<String>,
    /// What it changes.
    pub edits: Vec<Edit>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The file, from the repository's root.
    pub file: String,
    /// Text that stands in it once.
    pub original: String,
    /// What stands there instead.
    pub replacement: String,
}

/// All bugs of a directory, by name.
pub fn read_all(dir: &Path) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let files = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    for file in files {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(".mutant") else {
            continue;
        };
        let text = fs::read_to_string(&path)?;
        mutants.push(parse(name, &text).with_context(|| format!("{name}.mutant"))?);
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Reads one bug.
pub fn parse(name: &str, text: &str) -> Result<Mutant> {
    let mut lines = text.lines();
    let what = lines.next().unwrap_or_default().to_owned();
    ensure!(what.ends_with('.'), "the first line is a sentence");
    let mut mutant = Mutant {
        name: name.to_owned(),
        what,
        source: String::new(),
        missed: None,
        seeds: None,
        plan: None,
        edits: Vec::new(),
    };
    let mut file = None;
    while let Some(line) = lines.next() {
        if line == "<<<<" {
            mutant.edits.push(Edit {
                file: file.clone().context("changes follow a line \"File:\"")?,
                original: upto(&mut lines, "====")?,
                replacement: upto(&mut lines, ">>>>")?,
            });
            continue;
        }
        match line.split_once(": ") {
            Some(("Source", value)) => mutant.source = value.to_owned(),
            Some(("Missed", value)) => mutant.missed = Some(value.to_owned()),
            Some(("Seeds", value)) => mutant.seeds = Some(value.to_owned()),
            Some(("Plan", value)) => mutant.plan = Some(value.to_owned()),
            Some(("File", value)) => file = Some(value.to_owned()),
            _ if line.is_empty() => {}
            _ => bail!("what is \"{line}\"?"),
        }
    }
    ensure!(!mutant.source.is_empty(), "it names no source");
    ensure!(!mutant.edits.is_empty(), "it changes nothing");
    let empty = mutant
        .edits
        .iter()
        .any(|edit| edit.original.trim().is_empty());
    ensure!(!empty, "it replaces nothing");
    Ok(mutant)
}

/// The lines before `end`, which goes too.
fn upto<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Result<String> {
    let mut text = Vec::new();
    loop {
        match lines.next().with_context(|| format!("no line \"{end}\""))? {
            line if line == end => return Ok(text.join("\n")),
            line => text.push(line),
        }
    }
}
