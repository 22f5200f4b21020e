//! What every source file must have, and how long it may be.
//! Never looks at generated files.
//!
//! # Source
//! docs/style.md, "Files and functions".

use super::{Refusal, Tree, is_code, is_test};

/// Crates that know no operating system.
const INSIDE: [&str; 3] = ["raft", "replica", "kv"];

/// Attributes that make it so.
const INSIDE_ATTRIBUTES: [&str; 2] = ["#![no_std]", "#![forbid(unsafe_code)]"];

/// The most lines of code in a file.
const LINES_MAX: usize = 500;

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    for room in INSIDE {
        let path = format!("crates/{room}/src/lib.rs");
        let text = tree.get(&path).unwrap_or("");
        for attribute in INSIDE_ATTRIBUTES {
            if !text.lines().any(|line| line.trim() == attribute) {
                let what = format!("`{room}` is an inside crate: add `{attribute}`");
                refusals.push(Refusal::new("inside", &path, 1, what));
            }
        }
    }
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test(path)) {
        let lines = lines_of_code(text);
        if lines > LINES_MAX {
            let what = format!(
                "{lines} lines of code, more than {LINES_MAX}: give the second idea its own file, \
                 or move long tests to tests.rs beside it"
            );
            refusals.push(Refusal::new("length", path, 1, what));
        }
        // A crate's root is the tour of its rooms; each room names its own source.
        let is_room =
            path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("/src/lib.rs");
        if is_room && !has_source(text) {
            let what = "the head names no source: add `//! # Source` and where the idea is from";
            refusals.push(Refusal::new("source", path, 1, what));
        }
    }
}

fn lines_of_code(text: &str) -> usize {
    text.lines().filter(|line| is_code(line)).count()
}

/// Whether the comment at the file's head has the heading and something under it.
fn has_source(text: &str) -> bool {
    let mut head = text.lines().take_while(|line| line.starts_with("//!"));
    head.any(|line| line.trim_end() == "//! # Source") && head.any(|line| line.len() > "//! ".len())
}
