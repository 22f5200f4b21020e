//! A planted bug as text: what it is, whence it is known, and which text becomes which.
//! Never guesses: a file that is not of this shape is refused.
//!
//! # Source
//! docs/testing.md, "Mutation score".

use std::path::Path;

use anyhow::{Context, Result};

use super::sheet::{self, Edit, Sheet};

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
    /// Why no trace shows it to the specification, if that is known.
    pub unseen: Option<String>,
    /// Seeds that are tried before others, as the simulator takes them.
    pub seeds: Option<String>,
    /// The plan that leads to it, which is tried before all seeds.
    pub plan: Option<String>,
    /// What it changes.
    pub edits: Vec<Edit>,
}

/// All bugs of a directory, by name.
pub fn read_all(dir: &Path) -> Result<Vec<Mutant>> {
    let parse = |(name, text): (String, String)| {
        parse(&name, &text).with_context(|| format!("{name}.mutant"))
    };
    sheet::files(dir)?.into_iter().map(parse).collect()
}

/// Reads one bug.
pub fn parse(name: &str, text: &str) -> Result<Mutant> {
    let mut sheet = Sheet::parse(text, &["Source", "Missed", "Unseen", "Seeds", "Plan"])?;
    Ok(Mutant {
        name: name.to_owned(),
        source: sheet.take("Source", "it names no source")?,
        missed: sheet.lines.remove("Missed"),
        unseen: sheet.lines.remove("Unseen"),
        seeds: sheet.lines.remove("Seeds"),
        plan: sheet.lines.remove("Plan"),
        what: sheet.what,
        edits: sheet.edits,
    })
}
