//! The copy of the sources in which the bugs are planted.
//! Never touches a file of it that is already as it should be, so that little is built anew.
//!
//! # Source
//! docs/testing.md, "Mutation score".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::mutant::Mutant;
use super::schemata::{numbered, rewrite};
use crate::git_files;

/// The variable that names the switch that is on.
pub const SWITCH: &str = "HEADWATER_MUTANT";

/// Where the switch is made, and how the other crates reach it.
const REACH: [(&str, &str); 3] = [
    (
        "crates/raft/src/lib.rs",
        "extern crate std;\npub mod mutant;\n",
    ),
    (
        "crates/replica/src/lib.rs",
        "pub use headwater_raft::mutant;\n",
    ),
    (
        "crates/kv/src/lib.rs",
        "pub use headwater_replica::mutant;\n",
    ),
];

const SWITCH_ROOM: &str = "crates/raft/src/mutant.rs";

/// Makes `copy` the sources of `root` with all mutants planted.
pub fn make(root: &Path, copy: &Path, mutants: &[Mutant]) -> Result<()> {
    let numbered = numbered(mutants);
    let files: BTreeSet<String> = git_files(root)?.into_iter().collect();
    for edit in mutants.iter().flat_map(|mutant| &mutant.edits) {
        ensure!(files.contains(&edit.file), "there is no {}", edit.file);
    }
    let mut changed = BTreeMap::new();
    for file in &files {
        let reach = REACH.iter().find(|(lib, _)| lib == file);
        if reach.is_some() || mutants.iter().any(|mutant| changes(mutant, file)) {
            let text = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
            let mut text = rewrite(file, &text, &numbered)?;
            text.push_str(reach.map_or("", |(_, reach)| reach));
            changed.insert(file.clone(), text.into_bytes());
        }
    }
    changed.insert(SWITCH_ROOM.to_owned(), switch_room().into_bytes());
    lay_out(root, copy, &changed)
}

/// Makes `copy` the sources of `root`, but for some files.
pub fn lay_out(root: &Path, copy: &Path, changed: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut files: BTreeSet<String> = git_files(root)?.into_iter().collect();
    files.extend(changed.keys().cloned());
    for file in &files {
        if let Some(bytes) = changed.get(file) {
            write(&copy.join(file), bytes)?;
        } else if let Ok(bytes) = fs::read(root.join(file)) {
            // What git lists but is gone will be committed so.
            write(&copy.join(file), &bytes)?;
        }
    }
    let keep: BTreeSet<PathBuf> = files.iter().map(|file| copy.join(file)).collect();
    remove_others(copy, &keep)
}

fn changes(mutant: &Mutant, file: &str) -> bool {
    mutant.edits.iter().any(|edit| edit.file == file)
}

fn switch_room() -> String {
    format!(
        "//! Which bug is switched on: none, unless the environment names one.\n\n\
         static ON: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{\n\
         std::env::var(\"{SWITCH}\").map_or(0, |number| number.parse().expect(\"a number\"))\n\
         }});\n\n\
         /// Whether this bug is.\n\
         #[inline]\n\
         pub fn is_on(number: u32) -> bool {{\n    *ON == number\n}}\n"
    )
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Removes what an earlier copy had and this one has not.
fn remove_others(dir: &Path, keep: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, keep)?;
        } else if !keep.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
