//! The etcd that ours is compared with.
//! Never builds one: the package index has it.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with etcd 3.5.1's own programs, fetched once.
///
/// # Errors
/// If they cannot be had.
pub fn rival() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/rival.sh");
    let output = Command::new("bash").arg(&script).output();
    let output = output.context("cannot start a shell")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no etcd: {said}");
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(folder.trim()))
}
