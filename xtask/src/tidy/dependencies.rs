//! Third parties: each direct dependency has a line in `deps.txt` that says why.
//! Never judges the reason; a reader of the commit does.
//!
//! # Source
//! docs/style.md, "Dependencies".

use std::collections::BTreeSet;

use super::{Refusal, Tree, manifest};

const LIST: &str = "deps.txt";
const RULE: &str = "dependency";

/// Where released crates come from; any other source in a lock file is a private place.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    let mut used = BTreeSet::new();
    let listed = listed(tree, refusals);
    for (path, text) in tree
        .ending("Cargo.toml")
        .filter(|(_, t)| manifest::is_package(t))
    {
        let package = path.trim_end_matches("Cargo.toml").trim_end_matches('/');
        if !manifest::has_lints(text) {
            let what = "no lints: add `[lints]` with `workspace = true`";
            refusals.push(Refusal::new("lints", path, 1, what));
        }
        for dependency in manifest::dependencies(text) {
            if dependency.name.starts_with("headwater-") {
                continue;
            }
            let entry = (package.to_owned(), dependency.name.clone());
            if !listed.iter().any(|(known, _)| *known == entry) {
                let what = format!(
                    "`{name}` is not in {LIST}: add `{package} {name} WHY`, or do without it",
                    name = dependency.name
                );
                refusals.push(Refusal::new(RULE, path, dependency.line, what));
            }
            used.insert(entry);
        }
    }
    for ((package, name), line) in listed {
        if !used.contains(&(package.clone(), name.clone())) {
            let what = format!("`{package}` does not use `{name}`: delete the line");
            refusals.push(Refusal::new(RULE, LIST, line, what));
        }
    }
    for (path, text) in tree.ending("Cargo.lock") {
        for (at, line) in text.lines().enumerate() {
            let source = line
                .strip_prefix("source = \"")
                .map(|s| s.trim_end_matches('"'));
            if source.is_some_and(|source| source != SOURCE) {
                let what = "a crate from a private place: use the released one";
                refusals.push(Refusal::new(RULE, path, at + 1, what));
            }
        }
    }
}

type Entry = ((String, String), usize);

fn listed(tree: &Tree, refusals: &mut Vec<Refusal>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (at, line) in tree.get(LIST).unwrap_or("").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(package), Some(name), Some(_)) => {
                let entry = (package.to_owned(), name.to_owned());
                if let Some((_, first)) = entries.iter().find(|(known, _)| *known == entry) {
                    let what = format!("said already in line {first}: keep one reason");
                    refusals.push(Refusal::new(RULE, LIST, at + 1, what));
                }
                entries.push((entry, at + 1));
            }
            _ => {
                let what = "write `DIRECTORY DEPENDENCY WHY`";
                refusals.push(Refusal::new(RULE, LIST, at + 1, what));
            }
        }
    }
    entries
}
