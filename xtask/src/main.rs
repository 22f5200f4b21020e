//! The chores: `cargo xtask CHORE`.
//! Never needs more than cargo and git.
//!
//! # Source
//! Matklad's `cargo xtask` convention.

mod ci;
mod proto;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

const USAGE: &str = "\
usage: cargo xtask CHORE

  ci              what must pass before a commit: tidy, fmt, clippy, tests
  tidy            the rules of the house that the compiler does not know
  proto           write crates/server/src/generated from crates/server/proto
  proto --check   say whether that would change anything";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["ci"] => ci::run(&root()),
        ["tidy"] => tidy_up(&root()),
        ["proto"] => proto::write(&root()),
        ["proto", "--check"] => proto::check(&root()),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such chore: {}\n\n{USAGE}", words.join(" ")),
    }
}

fn tidy_up(root: &Path) -> Result<()> {
    let refusals = tidy::check(&tidy::Tree::read(root)?);
    for refusal in &refusals {
        eprintln!("{refusal}");
    }
    ensure!(
        refusals.is_empty(),
        "tidy refuses {} things",
        refusals.len()
    );
    println!("tidy");
    Ok(())
}

/// The repository's root: the directory above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
