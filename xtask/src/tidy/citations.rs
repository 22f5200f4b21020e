//! What a comment or a document sends its reader to is there.
//! Never follows links out of the repository.
//!
//! # Source
//! docs/style.md, "Comments and documents".

use super::{Refusal, Tree};

/// The ending of a document's name.
const END: &str = ".md";

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    for (path, text) in tree.ending(".rs") {
        for (at, line) in text.lines().enumerate() {
            refuse_missing(tree, (path, at + 1), comment(line), refusals);
        }
    }
    for end in [END, ".toml", ".txt", ".sh", ".proto"] {
        for (path, text) in tree.ending(end) {
            for (at, line) in text.lines().enumerate() {
                refuse_missing(tree, (path, at + 1), line, refusals);
            }
        }
    }
}

/// The comment in a line of Rust: code may make up names of files, a comment names real ones.
fn comment(line: &str) -> &str {
    let mut slashes = line.match_indices("//");
    let start = slashes.find(|(at, _)| !line[..*at].ends_with(':'));
    start.map_or("", |(at, _)| &line[at..])
}

fn refuse_missing(
    tree: &Tree,
    (path, line): (&str, usize),
    text: &str,
    refusals: &mut Vec<Refusal>,
) {
    for cited in cited(text) {
        let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let is_there = |from: &str| {
            let known = resolve(from, cited);
            known.is_some_and(|known| tree.get(&known).is_some())
        };
        if !is_there("") && !is_there(beside) {
            let what =
                format!("there is no {cited}: cite a document of this repository, or write it");
            refusals.push(Refusal::new("citation", path, line, what));
        }
    }
}

/// The documents that a text names.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    let is_path = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    text.split(move |c| !is_path(c)).filter_map(|word| {
        let word = word.trim_end_matches(['.', ':']);
        let is_name = word.ends_with(END) && word.len() > END.len() && !word.contains("://");
        is_name.then_some(word)
    })
}

/// The path from the root of what is called `cited` in directory `from`; none if it lies outside.
fn resolve(from: &str, cited: &str) -> Option<String> {
    let mut steps: Vec<&str> = from.split('/').filter(|step| !step.is_empty()).collect();
    for step in cited.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()?),
            step => steps.push(step),
        }
    }
    Some(steps.join("/"))
}
