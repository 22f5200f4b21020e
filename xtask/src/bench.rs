//! Measurements: our cluster beside etcd's on this machine, and instructions that code takes.
//! Never measures by itself: it builds the programs that do, and starts them.
//!
//! # Source
//! docs/performance.md.

mod instructions;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
usage: cargo xtask bench WHAT

  compare       our cluster and etcd 3.5.1's in turn, under the same load on the same disk: a table with
                quotients and aims, bench/results/latest.json and puts.svg
                [--quick] [--only NAME] [--rounds N] ...; `compare --help` lists all
  growth        the same as keys, values, members and idle watchers become more
                [--only keys|values|members|watchers] [--rounds N] ...; `growth --help` lists all
  instructions  what the paths of a request take, counted by Valgrind, beside the recorded counts
                [--record, to write them anew]
  run           the load generator alone, against any endpoint: `run --help`";

/// Runs what `words` ask for.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    match words {
        [what @ ("compare" | "growth"), options @ ..] => beside_rival(root, what, options),
        ["instructions", options @ ..] => instructions::run(root, options),
        ["run", options @ ..] => {
            let bench = build_bench(root)?;
            call(Command::new(bench).args(options).current_dir(root))
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("cannot bench {}\n\n{USAGE}", words.join(" ")),
    }
}

/// Both servers in turn: everything, or how they grow.
fn beside_rival(root: &Path, what: &str, options: &[&str]) -> Result<()> {
    call(
        Command::new("bash")
            .arg("scripts/setup.sh")
            .current_dir(root),
    )?;
    let rival = Command::new("bash")
        .arg("scripts/rival.sh")
        .current_dir(root)
        .output()
        .context("starting scripts/rival.sh")?;
    ensure!(rival.status.success(), "scripts/rival.sh failed");
    let rival = PathBuf::from(String::from_utf8(rival.stdout)?.trim()).join("etcd");
    call(cargo(root).args(["build", "--locked", "--release", "--bin", "headwater"]))?;
    let bench = build_bench(root)?;
    // One comparison at a time has this folder; what a broken one left behind goes.
    let data = target(root).join("bench-data");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let results = root.join("bench/results");
    std::fs::create_dir_all(&results)?;
    let mut command = Command::new(bench);
    command.arg(what).current_dir(root);
    command
        .arg("--ours")
        .arg(target(root).join("release/headwater"));
    command.arg("--rival").arg(root.join(rival));
    let (json, svg) = match what {
        "compare" => ("latest.json", Some(results.join("puts.svg"))),
        _ => ("growth.json", None),
    };
    let files = [
        ("--dir", Some(data)),
        ("--json", Some(results.join(json))),
        ("--svg", svg),
    ];
    for (flag, path) in files {
        let Some(path) = path else { continue };
        if !options.contains(&flag) {
            command.arg(flag).arg(path);
        }
    }
    call(command.args(options))
}

/// Builds the load generator, and gives its path.
fn build_bench(root: &Path) -> Result<PathBuf> {
    call(cargo(root).args([
        "build",
        "--locked",
        "--release",
        "--manifest-path",
        "bench/Cargo.toml",
        "-p",
        "headwater-bench",
    ]))?;
    Ok(target(root).join("release/headwater-bench"))
}

/// Where everything is compiled to; one folder for all workspaces.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .env("CARGO_TARGET_DIR", target(root))
        // What is compiled bit by bit is other code than what is compiled at once.
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(root);
    // What cargo says of this package to whom it runs would make build scripts of others run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // Nor is what is measured built otherwise because a test is.
        let removed = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PROFILE_RELEASE_"];
        if removed.iter().any(|begin| text.starts_with(begin)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn call(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
