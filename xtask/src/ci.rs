//! What must pass before a commit.
//! Never stops at the first style complaint only to hide the rest: the cheap checks come first.
//!
//! # Source
//! docs/style.md, "Commits".

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const STEPS: [&[&str]; 4] = [
    &["fmt", "--all", "--check"],
    &[
        "fmt",
        "--check",
        "--manifest-path",
        "xtask/protogen/Cargo.toml",
    ],
    &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ],
    &["test", "--workspace"],
];

/// Runs all steps in `root`; the first that fails ends it.
pub fn run(root: &Path) -> Result<()> {
    crate::tidy_up(root)?;
    for step in STEPS {
        let line = format!("cargo {}", step.join(" "));
        println!("+ {line}");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(step)
            .current_dir(root)
            .status()
            .with_context(|| format!("starting {line}"))?;
        ensure!(status.success(), "{line} failed");
    }
    Ok(())
}
