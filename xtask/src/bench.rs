//! Measurements: our cluster beside etcd's on this machine, and instructions that code takes.
//! Never measures by itself: it builds the programs that do, and starts them.
//!
//! # Source
//! docs/performance.md.

mod instructions;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{build_bench, call, cargo, path_from, target_dir};

const USAGE: &str = "\
usage: cargo xtask bench WHAT

  compare       our cluster and etcd 3.5.1's in turn, under the same load on the same disk: a table with
                quotients and aims, bench/results/latest.json and puts.svg
                [--quick] [--only NAME] [--rounds N] [--ours PROGRAM, instead of one that is built] ...;
                `compare --help` lists all
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
    let rival = path_from(root, "scripts/rival.sh")?.join("etcd");
    let is_given = |flag: &str| {
        let mut rests = options
            .iter()
            .filter_map(|option| option.strip_prefix(flag));
        rests.any(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if !is_given("--ours") {
        call(cargo(root).args(["build", "--locked", "--release", "--bin", "headwater"]))?;
    }
    let bench = build_bench(root)?;
    // One comparison at a time has this folder; what a broken one left behind goes.
    let data = target_dir(root).join("bench-data");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let results = root.join("bench/results");
    std::fs::create_dir_all(&results)?;
    let mut command = Command::new(bench);
    command.arg(what).current_dir(root);
    command.arg("--rival").arg(rival);
    let (json, svg) = match what {
        "compare" => ("latest.json", Some(results.join("puts.svg"))),
        _ => ("growth.json", None),
    };
    let files = [
        ("--ours", Some(target_dir(root).join("release/headwater"))),
        ("--dir", Some(data)),
        ("--json", Some(results.join(json))),
        ("--svg", svg),
    ];
    for (flag, path) in files {
        let Some(path) = path else { continue };
        if !is_given(flag) {
            command.arg(flag).arg(path);
        }
    }
    call(command.args(options))
}
