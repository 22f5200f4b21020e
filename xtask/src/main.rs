//! The chores: `cargo xtask CHORE`.
//! Never needs more than cargo and git; `spec` also Java and pip, `bench` Valgrind and pip.
//!
//! # Source
//! Matklad's `cargo xtask` convention.

mod bench;
mod cargo;
mod ci;
mod marks;
mod mutants;
mod proto;
mod release;
mod spec;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
usage: cargo xtask CHORE

  ci              what must pass before a commit: tidy, fmt, clippy, tests
  mutants         how many of the bugs in crates/sim/mutants the simulator finds
                  [--list] [--quick] [--only NAME]... [--seconds S, of each] [--jobs N]
  marks           which rare branches, marked in the sources, the simulator's seeds pass
                  [--list] [--seeds N, of each plan] [--jobs N]
  spec            the specification in spec/, checked by TLC; `spec` alone says how
  bench           how fast, at what cost, beside etcd 3.5.1; `bench` alone says how
  release         the server as it is to be installed: compiled by how it is used
  tidy            the rules of the house that the compiler does not know
  proto           write crates/api/src/generated from crates/api/proto
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
        ["mutants", options @ ..] => mutants::run(&root(), options),
        ["marks", options @ ..] => marks::run(&root(), options),
        ["spec", what @ ..] => spec::run(&root(), what),
        ["bench", what @ ..] => bench::run(&root(), what),
        ["release", options @ ..] => release::run(&root(), options),
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

/// All files that git knows or would add, by path from the root.
fn git_files(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("asking git for the files")?;
    ensure!(
        output.status.success(),
        "git ls-files failed; this needs a git checkout"
    );
    let mut paths: Vec<String> = String::from_utf8(output.stdout)?
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}
