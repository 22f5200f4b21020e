//! The specification and its checker: `cargo xtask spec`.
//! Never changes a module: planted changes are made in copies under `target/`.
//!
//! # Source
//! spec/README.md.

mod tlc;

use std::path::Path;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask spec WHAT

  run MODULE.tla CONFIG.cfg   one run of TLC, with files of spec/";

/// Does what the words say.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    match words {
        ["run", module, config] => run_one(root, module, config),
        _ => bail!("{USAGE}"),
    }
}

/// For whoever writes the specification: TLC's own words, on files as they are.
fn run_one(root: &Path, module: &str, config: &str) -> Result<()> {
    let tlc = tlc::Tlc::find(root)?;
    let dir = tlc.scratch(root, "run")?;
    let outcome = tlc.run(&tlc::Job {
        dir: &dir,
        module,
        config,
        workers: 2,
        seconds_max: 3600,
        java: &[],
        tlc: &[],
    })?;
    print!("{}", outcome.output);
    if let Some(property) = outcome.violated {
        bail!("{property} does not hold");
    }
    Ok(())
}
