//! Whether the specification has the states of the real core within the same bounds, and no others:
//! `cargo xtask spec equal`.
//! Never compares numbers alone: as many may still be others.
//!
//! # Source
//! spec/MCRaft.tla; docs/testing.md, "The same states".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::states::{Side, States};
use super::tlc::{Job, Tlc};
use super::{Options, difference, results, unequal};
use crate::cargo::target_dir;

/// Bounds that both sides know.
#[derive(Clone, Copy)]
pub struct Scope {
    /// The exploration's name for them.
    pub name: &'static str,
    what: &'static str,
    /// What makes `spec/MCRaft.cfg` the same.
    changes: &'static [(&'static str, &'static str)],
    /// Whether it takes minutes.
    is_deep: bool,
}

pub const SCOPES: [Scope; 5] = [
    Scope {
        name: "spec-election",
        what: "One election, its first entry, and a write under way on each node.",
        changes: &[],
        is_deep: false,
    },
    Scope {
        name: "spec-lacking",
        what: "Who cannot read an entry that nobody else has stands, until it leads.",
        changes: &[
            ("TermsMax = 1", "TermsMax = 2"),
            ("WritesMax = 1", "WritesMax = 2"),
            ("FirstLogs <- NoLogs", "FirstLogs <- LonelyEntry"),
            ("FirstLost <- NothingLost", "FirstLost <- OneCopyLost"),
            ("Stands <- Everybody", "Stands <- WhoCannotRead"),
            ("EndsWhenLed = FALSE", "EndsWhenLed = TRUE"),
        ],
        is_deep: false,
    },
    Scope {
        name: "spec-logs",
        what: "The same in a second term, over logs that differ.",
        changes: &[
            ("TermsMax = 1", "TermsMax = 2"),
            ("FirstLogs <- NoLogs", "FirstLogs <- DifferentLogs"),
        ],
        is_deep: true,
    },
    Scope {
        name: "spec-restart",
        what: "The first with a crash at any moment.",
        changes: &[("CrashesMax = 0", "CrashesMax = 1")],
        is_deep: false,
    },
    Scope {
        name: "spec-rot",
        what: "Who cannot read an entry that another has stands, until it leads, with a crash.",
        changes: &[
            ("TermsMax = 1", "TermsMax = 2"),
            ("WritesMax = 1", "WritesMax = 2"),
            ("CrashesMax = 0", "CrashesMax = 1"),
            ("FirstLogs <- NoLogs", "FirstLogs <- SharedEntry"),
            ("FirstLost <- NothingLost", "FirstLost <- OneCopyLost"),
            ("Stands <- Everybody", "Stands <- WhoCannotRead"),
            ("EndsWhenLed = FALSE", "EndsWhenLed = TRUE"),
        ],
        is_deep: false,
    },
];

/// The file in which `spec/States.java` leaves what TLC finds.
const STATES: &str = "states.txt";

/// All states of one side, in a file; of TLC's, how far the furthest is from the first.
pub struct List {
    pub path: PathBuf,
    pub depth: u64,
}

/// Compares both in each scope, or shows that a difference would be seen.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let tlc = Tlc::find(root)?;
    if options.teeth {
        return unequal::run(root, &tlc, options);
    }
    let mut scopes: Vec<(String, Scope)> =
        SCOPES.map(|scope| (scope.name.to_owned(), scope)).into();
    options.choose(&mut scopes, |(name, _)| name)?;
    scopes.retain(|(_, scope)| options.deep || !scope.is_deep || !options.only.is_empty());
    let mut rows = Vec::new();
    for (name, scope) in &scopes {
        let dir = tlc.scratch(root, &format!("equal-{name}"))?;
        let spec = of_spec(&tlc, &dir, scope)?;
        let core = of_core(root, &target_dir(root), &dir, scope)?;
        let found = compare(&core, &spec)?;
        println!("measured: {name}: {found}, depth {}", spec.depth);
        ensure!(found.only == [0, 0], "{name}: they differ\n{}", found.words);
        rows.push(vec![
            format!("`{name}`"),
            scope.what.to_owned(),
            found.states[0].to_string(),
            spec.depth.to_string(),
        ]);
    }
    if options.write {
        return results::settle(root, &results::EQUAL, &rows, true);
    }
    // With two threads TLC may come to a state by a way that is not the shortest, so the depth is
    // not held to.
    let kept = results::numbers(root, &results::EQUAL, "states of each")?;
    for row in &rows {
        let (name, states) = (row[0].trim_matches('`'), row[2].parse::<u64>()?);
        let known = kept.get(name);
        ensure!(
            known == Some(&states),
            "{name}: {known:?} states in the results"
        );
    }
    Ok(())
}

/// What came of comparing; first the core, then the specification.
pub struct Found {
    pub states: [u64; 2],
    /// How many of them the other has not.
    pub only: [usize; 2],
    /// One of these, of each side that has any.
    pub words: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([core, spec], [only_core, only_spec]) = (self.states, self.only);
        write!(
            f,
            "the core has {core} states, {only_core} of them alone; the specification {spec}, \
             {only_spec} alone"
        )
    }
}

/// Compares two lists.
pub fn compare(core: &Path, spec: &List) -> Result<Found> {
    let mut all = States::default();
    let sides = [Side::Core, Side::Spec];
    let states = [
        all.read(Side::Core, core)?,
        all.read(Side::Spec, &spec.path)?,
    ];
    let only = sides.map(|side| all.only(side));
    let mut words = String::new();
    for (side, name) in sides.into_iter().zip(["core", "specification"]) {
        if let Some((state, other)) = all.first(side)? {
            words += &format!("only the {name} has this state:\n");
            words += &difference::tell(&state, &other);
        }
    }
    Ok(Found {
        states,
        only,
        words,
    })
}

/// The states of the core whose sources are below `root`, as the specification has them.
pub fn of_core(root: &Path, target: &Path, dir: &Path, scope: &Scope) -> Result<PathBuf> {
    let path = fs::canonicalize(dir)?.join("core.txt");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg("explore/Cargo.toml")
        .args(["--", scope.name, "--states"])
        .arg(&path)
        .env("CARGO_TARGET_DIR", fs::canonicalize(target)?)
        .current_dir(root)
        .output()
        .context("starting cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "exploring {} fails:\n{text}{why}",
        scope.name
    );
    Ok(path)
}

/// The states of the specification in `dir`.
pub fn of_spec(tlc: &Tlc, dir: &Path, scope: &Scope) -> Result<List> {
    let mut config = fs::read_to_string(dir.join("MCRaft.cfg"))?;
    for (from, to) in scope.changes {
        ensure!(config.contains(from), "MCRaft.cfg has no {from}");
        config = config.replace(from, to);
    }
    fs::write(dir.join("MCRaft.cfg"), config)?;
    let outcome = tlc.run(&Job {
        dir,
        module: "MCRaft.tla",
        config: "MCRaft.cfg",
        workers: 2,
        seconds_max: 3600,
        java: &[],
        tlc: &[],
    })?;
    let violated = outcome.violated;
    ensure!(violated.is_none(), "{violated:?} does not hold");
    let (path, depth) = (dir.join(STATES), outcome.depth);
    Ok(List { path, depth })
}
