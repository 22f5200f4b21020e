//! Planted changes to the specification, and the property that catches each: `cargo xtask spec teeth`.
//! Never lets a change pass that another property catches than the one it names.
//!
//! # Source
//! docs/testing.md, "Mutation score"; rules R1 to R13 of ARCHITECTURE.md.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::bounds::{self, Bounds, Kind};
use super::tlc::{self, AT_THE_END, DIR, Job, Outcome, Tlc};
use super::{Options, in_parallel, results, sort_out};
use crate::mutants::sheet::{self, Sheet};

/// Where the changes lie, one a file.
const MUTANTS: &str = "mutants";

/// Found soon is what so many states were enough for.
const QUICK_STATES: u64 = 9_500;

/// A change is found much sooner, or not at all.
const SECONDS_MAX: u64 = 1200;

/// One change.
#[derive(Clone, Debug)]
pub struct Tooth {
    pub name: String,
    /// What it breaks.
    pub source: String,
    /// The property that catches it, and the bounds in which it does.
    pub caught_by: String,
    pub bounds: String,
    pub sheet: Sheet,
}

impl Tooth {
    /// Reads one.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut sheet = Sheet::parse(text, &["Source", "Caught by", "Bounds"])?;
        Ok(Self {
            name: name.to_owned(),
            source: sheet.take("Source", "it names no source")?,
            caught_by: sheet.take("Caught by", "it names no property")?,
            bounds: sheet.take("Bounds", "it names no bounds")?,
            sheet,
        })
    }

    /// Makes the change in the modules of `dir`.
    fn plant(&self, dir: &Path) -> Result<()> {
        for edit in &self.sheet.edits {
            let inside = edit.file.strip_prefix(DIR).context("it is in spec/")?;
            let path = dir.join(inside.trim_start_matches('/'));
            let text = fs::read_to_string(&path).with_context(|| edit.file.clone())?;
            let times = text.matches(&edit.original).count();
            ensure!(
                times == 1,
                "stands {times} times in {}: {}",
                edit.file,
                edit.original
            );
            fs::write(&path, text.replacen(&edit.original, &edit.replacement, 1))?;
        }
        Ok(())
    }
}

/// All changes, by name.
pub fn read_all(root: &Path) -> Result<Vec<Tooth>> {
    let files = sheet::files(&root.join(DIR).join(MUTANTS))?;
    let parse =
        |(name, text): (String, String)| Tooth::parse(&name, &text).with_context(|| name.clone());
    files.into_iter().map(parse).collect()
}

/// Plants each change and lets TLC look for it.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let all = bounds::read_all(root, &[Kind::Quick, Kind::Deep])?;
    let mut teeth = read_all(root)?;
    options.choose(&mut teeth, |tooth| &tooth.name)?;
    if options.quick {
        let states = results::numbers(root, &results::TEETH, "states")?;
        teeth.retain(|tooth| states.get(&tooth.name).is_some_and(|n| *n <= QUICK_STATES));
    }
    let tlc = Tlc::find(root)?;
    println!(
        "{:<52} {:<22} {:>10} {:>6} {:>8}",
        "change", "caught by", "states", "depth", "seconds"
    );
    let found = in_parallel(options.jobs, &teeth, |tooth| {
        let known = all.iter().find(|bounds| bounds.name == tooth.bounds);
        let bounds = known.with_context(|| format!("there are no bounds {}", tooth.bounds))?;
        let outcome = bite(root, &tlc, tooth, bounds);
        match &outcome {
            Ok(outcome) => println!(
                "{:<52} {:<22} {:>10} {:>6} {:>8}",
                tooth.name, tooth.caught_by, outcome.distinct, outcome.depth, outcome.seconds
            ),
            Err(why) => println!("{:<52} {why:#}", tooth.name),
        }
        outcome
    });
    let (rows, wrong) = sort_out(&teeth, found, |tooth| &tooth.name, row);
    println!("{} of {} caught", rows.len(), teeth.len());
    let settled = results::settle(root, &results::TEETH, &rows, options.write);
    ensure!(wrong.is_empty(), "not as they should be: {wrong}");
    settled
}

fn bite(root: &Path, tlc: &Tlc, tooth: &Tooth, bounds: &Bounds) -> Result<Outcome> {
    let dir = tlc.scratch(root, &format!("teeth-{}", tooth.name))?;
    tooth.plant(&dir)?;
    fs::write(dir.join("MC.cfg"), &bounds.config)?;
    let outcome = tlc.run(&Job {
        dir: &dir,
        module: &bounds.module,
        config: "MC.cfg",
        workers: 1,
        seconds_max: SECONDS_MAX,
        java: &["-Xmx2g", tlc::SHORT],
        tlc: AT_THE_END,
    })?;
    let by = outcome.violated.as_ref().map(|by| bounds.name_of(by));
    match by {
        None => bail!(
            "not caught, in all {} states of {}",
            outcome.distinct,
            bounds.name
        ),
        Some(by) if by != tooth.caught_by => bail!("caught by {by}, not by {}", tooth.caught_by),
        Some(_) => Ok(outcome),
    }
}

fn row(tooth: &Tooth, outcome: &Outcome) -> Vec<String> {
    vec![
        format!("`{}`", tooth.name),
        tooth.sheet.what.trim_end_matches('.').to_owned(),
        tooth.source.clone(),
        tooth.caught_by.clone(),
        format!("`{}`", tooth.bounds),
        outcome.distinct.to_string(),
        match outcome.depth {
            0 => "-".to_owned(),
            depth => depth.to_string(),
        },
    ]
}
