//! The server as it is to be installed: compiled twice, the second time by what ran of the first.
//! Never another source, and never other settings than `cargo build --release`, but that flags for rustc in files of
//! settings do not count (those in `RUSTFLAGS` do): what the compiler is told besides is what ran how often.
//!
//! # Source
//! Profile-guided optimization, as the rustc book has it; docs/performance.md, "A release".

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{build_bench, call, cargo, path_from, target_dir};

const USAGE: &str = "\
usage: cargo xtask release

  Compiles a server that counts what runs, has it used in every way there is (a minute), and compiles it
  again by what was counted. Prints where the program is. Takes some ten minutes of two processors, protoc (for
  the client that uses it; `bash scripts/setup.sh` installs it) and llvm-profdata, which it gets.";

/// Builds it, and prints its path.
pub fn run(root: &Path, options: &[&str]) -> Result<()> {
    match options {
        [] => {}
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => bail!("cannot release {}\n\n{USAGE}", options.join(" ")),
    }
    let merge = path_from(root, "scripts/profdata.sh")?;
    let bench = build_bench(root)?;
    let folder = target_dir(root).join("trained");
    let [counts, data, last] = ["counts", "data", "last"].map(|name| folder.join(name));
    // Counts are added to those that are there, and cargo does not see that a profile of the same name has others.
    for old in [&counts, &data, &last] {
        if old.exists() {
            std::fs::remove_dir_all(old)?;
        }
    }

    eprintln!("1 of 3: a server that counts what runs");
    let counting = build(
        root,
        &folder.join("counting"),
        "-Cprofile-generate=",
        &counts,
    )?;

    eprintln!("2 of 3: it is used");
    let mut train = Command::new(bench);
    train.arg("train").arg("--server").arg(&counting);
    call(train.arg("--dir").arg(&data).current_dir(root))?;
    let profile = folder.join("headwater.profdata");
    call(
        Command::new(merge)
            .args(["merge", "-o"])
            .args([&profile, &counts]),
    )?;

    eprintln!("3 of 3: the server");
    let built = build(root, &last, "-Cprofile-use=", &profile)?;
    let program = folder.join("headwater");
    std::fs::rename(built, &program)?;
    println!("{}", program.display());
    Ok(())
}

/// Builds the server in a folder of its own with one more flag, and gives the program's path. Only what is built
/// for the machine that runs it gets the flag: build scripts and macros would count, too.
fn build(root: &Path, folder: &Path, flag: &str, path: &Path) -> Result<PathBuf> {
    let host = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .output();
    let host = String::from_utf8(host.context("starting rustc")?.stdout)?;
    let host = host.trim();
    ensure!(!host.is_empty(), "rustc does not say its host");
    let mut flag = OsString::from(flag);
    flag.push(path);
    let flags = flags_of_the_caller().into_iter().chain([flag]);
    let flags: Vec<OsString> = flags.collect();
    let mut cargo = cargo(root);
    cargo
        .env("CARGO_TARGET_DIR", folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()))
        .args(["build", "--locked", "--release", "--bin", "headwater"])
        .args(["--target", host]);
    call(&mut cargo)?;
    Ok(folder.join(host).join("release/headwater"))
}

/// What rustc is told by the environment already.
fn flags_of_the_caller() -> Vec<OsString> {
    if let Ok(flags) = std::env::var("CARGO_ENCODED_RUSTFLAGS") {
        let flags = flags.split('\x1f').filter(|flag| !flag.is_empty());
        return flags.map(OsString::from).collect();
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.split_whitespace().map(OsString::from).collect()
}
