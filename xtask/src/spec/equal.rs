//! Whether the specification has as many states as the real core within the same bounds:
//! `cargo xtask spec equal`.
//! Never compares states one by one: a difference in what can happen shows in the number.
//!
//! # Source
//! spec/MCRaft.tla; docs/testing.md, "As many states".

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::tlc::{Job, Tlc};
use crate::mutants::target_dir;

/// The scopes of the exploration, and what makes `spec/MCRaft.cfg` the same.
const SCOPES: [(&str, &[(&str, &str)]); 3] = [
    ("spec-election", &[]),
    (
        "spec-logs",
        &[
            ("TermsMax = 1", "TermsMax = 2"),
            ("FirstLogs <- NoLogs", "FirstLogs <- DifferentLogs"),
        ],
    ),
    ("spec-restart", &[("CrashesMax = 0", "CrashesMax = 1")]),
];

/// Counts both in each scope.
pub fn run(root: &Path, only: &[&str]) -> Result<()> {
    let tlc = Tlc::find(root)?;
    let unknown = only
        .iter()
        .find(|name| !SCOPES.iter().any(|(scope, _)| scope == *name));
    ensure!(unknown.is_none(), "no such scope: {unknown:?}");
    let mut different = 0;
    for (scope, changes) in SCOPES {
        if only.is_empty() || only.contains(&scope) {
            let (core, spec) = (of_core(root, scope)?, of_spec(root, &tlc, changes)?);
            println!("measured: {scope}: the core has {core} states, the specification {spec}");
            different += usize::from(core != spec);
        }
    }
    ensure!(different == 0, "{different} scopes differ");
    Ok(())
}

/// The states of the core that differ by what the specification knows.
fn of_core(root: &Path, scope: &str) -> Result<u64> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg("explore/Cargo.toml")
        .args(["--", scope])
        .env("CARGO_TARGET_DIR", target_dir(root))
        .current_dir(root)
        .output()
        .context("starting cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |text: &str| -> Option<u64> {
        let (before, _) = text.split_once(" to the specification")?;
        before.rsplit(' ').next()?.parse().ok()
    };
    match number(&text) {
        Some(number) if output.status.success() => Ok(number),
        _ => bail!("exploring {scope} fails:\n{text}"),
    }
}

fn of_spec(root: &Path, tlc: &Tlc, changes: &[(&str, &str)]) -> Result<u64> {
    let dir = tlc.scratch(root, "equal")?;
    let mut config = fs::read_to_string(dir.join("MCRaft.cfg"))?;
    for (from, to) in changes {
        ensure!(config.contains(from), "MCRaft.cfg has no {from}");
        config = config.replace(from, to);
    }
    fs::write(dir.join("MCRaft.cfg"), config)?;
    let outcome = tlc.run(&Job {
        dir: &dir,
        module: "MCRaft.tla",
        config: "MCRaft.cfg",
        workers: 2,
        seconds_max: 3600,
        java: &[],
        tlc: &[],
    })?;
    let violated = outcome.violated;
    ensure!(violated.is_none(), "{violated:?} does not hold");
    Ok(outcome.distinct)
}
