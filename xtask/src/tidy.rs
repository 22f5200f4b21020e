//! The rules of the house that the compiler does not know.
//! Never changes a file: each refusal says what to do.
//!
//! # Source
//! ARCHITECTURE.md and docs/style.md.

mod arrows;
mod citations;
mod dependencies;
mod files;
mod functions;
mod manifest;
mod specified;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::{git_files, proto};

/// The files of the repository that are text, by path from the root.
#[derive(Default)]
pub struct Tree {
    files: Vec<(String, String)>,
}

impl Tree {
    /// All files that git knows or would add, as they are on disk.
    pub fn read(root: &Path) -> Result<Self> {
        // What is not text has no words to judge; what git lists but is gone will be committed so.
        let read = |path: String| {
            let text = fs::read_to_string(root.join(&path)).ok()?;
            Some((path, text))
        };
        Ok(Self {
            files: git_files(root)?.into_iter().filter_map(read).collect(),
        })
    }

    /// All files.
    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Files whose path ends so, generated ones left out.
    fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all()
            .filter(move |(path, _)| path.ends_with(end) && !is_generated(path))
    }

    /// One file.
    fn get(&self, path: &str) -> Option<&str> {
        self.all()
            .find(|(known, _)| *known == path)
            .map(|(_, text)| text)
    }
}

/// Something against the rules.
#[derive(Debug)]
pub struct Refusal {
    rule: &'static str,
    path: String,
    line: usize,
    what: String,
}

impl Refusal {
    fn new(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            rule,
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: [{}] {}",
            self.path, self.line, self.rule, self.what
        )
    }
}

/// All that is against the rules.
pub fn check(tree: &Tree) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    arrows::check(tree, &mut refusals);
    citations::check(tree, &mut refusals);
    dependencies::check(tree, &mut refusals);
    files::check(tree, &mut refusals);
    functions::check(tree, &mut refusals);
    specified::check(tree, &mut refusals);
    words::check(tree, &mut refusals);
    check_generated(tree, &mut refusals);
    refusals
}

fn is_generated(path: &str) -> bool {
    path.starts_with(proto::GENERATED_DIR)
}

/// Whether a file holds tests and nothing else.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("/tests.rs")
}

/// Whether a line is neither blank nor comment.
fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn check_generated(tree: &Tree, refusals: &mut Vec<Refusal>) {
    let name = |(path, text)| {
        Some((
            str::strip_prefix(path, proto::PROTO_DIR)?.strip_prefix('/')?,
            text,
        ))
    };
    let protos: Vec<(&str, &str)> = tree.all().filter_map(name).collect();
    if tree.get(proto::STAMP).unwrap_or("") != proto::stamp(protos) {
        let what =
            "the generated code is not made from these .proto files: run `cargo xtask proto`";
        refusals.push(Refusal::new("generated", proto::STAMP, 1, what));
    }
}

#[cfg(test)]
mod tests;
