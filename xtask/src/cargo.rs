//! Cargo and other programs as chores call them, and where cargo builds.
//! Never lets the cargo that runs the chore change what is built.
//!
//! # Source
//! The cargo book: environment variables.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where everything is compiled to; one folder for all workspaces.
pub fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), |dir| root.join(dir))
}

/// Cargo, for what is measured or installed.
pub fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .env("CARGO_TARGET_DIR", target_dir(root))
        // What is compiled bit by bit is other code than what is compiled at once.
        .env("CARGO_INCREMENTAL", "0")
        // Programs are looked for where they lie without.
        .env_remove("CARGO_BUILD_TARGET")
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

/// Builds the load generator, and gives its path.
pub fn build_bench(root: &Path) -> Result<PathBuf> {
    call(cargo(root).args([
        "build",
        "--locked",
        "--release",
        "--manifest-path",
        "bench/Cargo.toml",
        "-p",
        "headwater-bench",
    ]))?;
    Ok(target_dir(root).join("release/headwater-bench"))
}

/// Runs a command that is to succeed.
pub fn call(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// The path that a script prints.
pub fn path_from(root: &Path, script: &str) -> Result<PathBuf> {
    let output = Command::new("bash")
        .arg(script)
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("starting {script}"))?;
    ensure!(output.status.success(), "{script} failed");
    Ok(root.join(String::from_utf8(output.stdout)?.trim()))
}
