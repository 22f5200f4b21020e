//! The server as it is to be installed: compiled twice, the second time by what ran of the first.
//! Never another source, and never other settings than `cargo build --release`: what the compiler is told
//! besides is which branches are taken and what is called how often.
//!
//! # Source
//! Profile-guided optimization, as the rustc book has it; docs/performance.md, "A release".

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{build_bench, call, cargo, got_by, target_dir};

const USAGE: &str = "\
usage: cargo xtask release

  Compiles a server that counts what runs, has it used in every way there is (a minute), and compiles it
  again by what was counted. Prints where the program is. Takes two builds' time, some ten minutes.

  --seconds S   of each load [default: 1]";

/// Builds it, and prints its path.
pub fn run(root: &Path, options: &[&str]) -> Result<()> {
    let seconds = match options {
        [] => "1",
        ["--seconds", seconds] if seconds.parse::<f64>().is_ok_and(|s| s > 0.0) => seconds,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => bail!("cannot release {}\n\n{USAGE}", options.join(" ")),
    };
    let merge = got_by(root, "scripts/profdata.sh")?;
    let bench = build_bench(root)?;
    let folder = target_dir(root).join("trained");
    let counts = folder.join("counts");
    // Of an earlier time: counts are added to those that are there.
    if counts.exists() {
        std::fs::remove_dir_all(&counts)?;
    }
    std::fs::create_dir_all(&counts)?;

    eprintln!("1 of 3: a server that counts what runs");
    let counting = build(
        root,
        &folder.join("counting"),
        "-Cprofile-generate=",
        &counts,
    )?;

    eprintln!("2 of 3: it is used");
    let data = folder.join("data");
    let mut train = Command::new(bench);
    train.arg("train").arg("--server").arg(&counting);
    train.args(["--seconds", seconds]).arg("--dir").arg(&data);
    call(train.current_dir(root))?;
    let profile = folder.join("headwater.profdata");
    call(
        Command::new(merge)
            .args(["merge", "-o"])
            .args([&profile, &counts]),
    )?;

    eprintln!("3 of 3: the server");
    let last = folder.join("last");
    // cargo does not see that a profile of the same name has other counts.
    if last.exists() {
        std::fs::remove_dir_all(&last)?;
    }
    let built = build(root, &last, "-Cprofile-use=", &profile)?;
    let program = folder.join("headwater");
    std::fs::copy(built, &program)?;
    std::fs::remove_dir_all(&data)?;
    println!("{}", program.display());
    Ok(())
}

/// Builds the server in a folder of its own with one more flag, and gives the program's path. Only what is built
/// for the machine that runs it gets the flag: build scripts and macros would count, too.
fn build(root: &Path, folder: &Path, flag: &str, path: &Path) -> Result<PathBuf> {
    let host = host()?;
    let mut flag = OsString::from(flag);
    flag.push(path);
    let flags = flags_of_the_caller().into_iter().chain([flag]);
    let flags: Vec<OsString> = flags.collect();
    let mut cargo = cargo(root);
    cargo
        .env("CARGO_TARGET_DIR", folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()))
        .args(["build", "--locked", "--release", "--bin", "headwater"])
        .args(["--target", &host]);
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

/// The machine that rustc compiles for unless told otherwise.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = String::from_utf8(output.context("starting rustc")?.stdout)?;
    let host = output.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}
