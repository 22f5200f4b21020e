//! The committed protobuf code: written by a generator in a workspace of its own, and stamped so
//! that a stale copy is noticed without running the generator.
//! Never part of a build.
//!
//! # Source
//! The `.proto` files in `crates/api/proto`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where the `.proto` files are.
pub const PROTO_DIR: &str = "crates/api/proto";

/// Where the generated files are.
pub const GENERATED_DIR: &str = "crates/api/src/generated";

/// What the generated files were made from.
pub const STAMP: &str = "crates/api/src/generated/protos.stamp";

/// Generates anew and replaces what is there.
pub fn write(root: &Path) -> Result<()> {
    let generated = generate(root)?;
    let target = root.join(GENERATED_DIR);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    for (name, text) in &generated {
        fs::write(target.join(name), text)?;
    }
    println!("wrote {} files to {GENERATED_DIR}", generated.len());
    Ok(())
}

/// Generates anew and compares.
pub fn check(root: &Path) -> Result<()> {
    let generated = generate(root)?;
    let committed = read_dir(&root.join(GENERATED_DIR))?;
    let mut stale: Vec<&String> = generated
        .keys()
        .chain(committed.keys())
        .filter(|name| generated.get(*name) != committed.get(*name))
        .collect();
    stale.sort_unstable();
    stale.dedup();
    ensure!(
        stale.is_empty(),
        "stale in {GENERATED_DIR}: {stale:?}; run `cargo xtask proto` and commit what it writes"
    );
    println!("{GENERATED_DIR} is what {PROTO_DIR} makes");
    Ok(())
}

fn generate(root: &Path) -> Result<BTreeMap<String, String>> {
    let out = root.join("target/protogen-out");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--locked",
            "--target-dir",
            "target/protogen",
        ])
        .args(["--manifest-path", "xtask/protogen/Cargo.toml", "--"])
        .arg(root.join(PROTO_DIR))
        .arg(&out)
        .current_dir(root)
        .status()
        .context("starting the generator")?;
    if !status.success() {
        bail!("the generator failed");
    }
    let mut generated = read_dir(&out)?;
    let protos = read_dir(&root.join(PROTO_DIR))?;
    let stamp = stamp(
        protos
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str())),
    );
    generated.insert("protos.stamp".to_owned(), stamp);
    Ok(generated)
}

fn read_dir(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

/// A line per file: a hash of its text, and its name.
pub fn stamp<'a>(protos: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut lines = String::new();
    for (name, text) in protos {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{:016x} {name}", fnv1a(text.as_bytes()));
    }
    lines
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
