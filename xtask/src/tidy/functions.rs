//! How long a function may be.
//! Never reads Rust in earnest: the formatter has put each function's end under its beginning.
//!
//! # Source
//! docs/style.md, "Files and functions".

use super::{Refusal, Tree, is_code, is_test};

/// The most lines of code in a function, its signature and its end included.
const LINES_MAX: usize = 70;

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = without_tests(text).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = begins(line) else {
                continue;
            };
            let lines = length(&lines[at..]);
            if lines > LINES_MAX {
                let what = format!(
                    "`{name}` has {lines} lines of code, more than {LINES_MAX}: let the parts that \
                     have a name be functions"
                );
                refusals.push(Refusal::new("function", path, at + 1, what));
            }
        }
    }
}

/// A file without the tests at its end.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

/// The name of the function that begins on this line.
fn begins(line: &str) -> Option<&str> {
    let (before, after) = match line.trim_start().strip_prefix("fn ") {
        Some(after) => ("", after),
        None => line.trim_start().split_once(" fn ")?,
    };
    let is_qualifier = |word: &str| {
        let simple = ["pub", "const", "async", "unsafe", "extern"].contains(&word);
        simple || word.starts_with("pub(") || word.starts_with('"')
    };
    let end = after.find(['(', '<'])?;
    before
        .split_whitespace()
        .all(is_qualifier)
        .then_some(&after[..end])
}

/// The lines of code from a function's first to its last.
fn length(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    // The end is the first line that stands as far left as the beginning and closes: a brace, or
    // the semicolon of a function without a body.
    let is_end = |line: &&str| {
        let (margin, text) = line.split_at_checked(indent).unwrap_or(("", ""));
        margin.trim().is_empty() && (text == "}" || text.starts_with(')') && text.ends_with(';'))
    };
    if lines[0].ends_with(['}', ';']) {
        return 1;
    }
    let end = lines.iter().position(is_end).unwrap_or(lines.len() - 1);
    lines[..=end].iter().filter(|line| is_code(line)).count()
}
