//! All bugs of a file in one text, each behind its switch.
//! Never reads Rust in earnest: an original that ends in `;` or `}` is taken for statements, or
//! the rest of a function; any other for an expression.
//!
//! # Source
//! Untch, Offutt and Harrold, "Mutation analysis using mutant schemata", ISSTA'93.

use anyhow::{Result, ensure};

use super::mutant::Mutant;
use super::sheet::Edit;

/// A bug and the number of its switch. Zero is no bug.
pub type Numbered<'a> = (usize, &'a Mutant);

/// Numbers the bugs.
pub fn numbered(mutants: &[Mutant]) -> Vec<Numbered<'_>> {
    (1..).zip(mutants).collect()
}

/// A place in a file, and what may stand there instead.
struct Site<'a> {
    start: usize,
    end: usize,
    name: &'a str,
    variants: Vec<(usize, &'a str)>,
}

/// The text of `file` with all changes that the mutants make to it, and without coverage marks,
/// which change nothing.
pub fn rewrite(file: &str, text: &str, mutants: &[Numbered<'_>]) -> Result<String> {
    let text = &without_marks(text);
    let mut sites: Vec<Site<'_>> = Vec::new();
    for &(number, mutant) in mutants {
        for edit in mutant.edits.iter().filter(|edit| edit.file == file) {
            let (start, end) = place(text, edit, &mutant.name)?;
            let variant = (number, edit.replacement.as_str());
            match sites
                .iter_mut()
                .find(|at| (at.start, at.end) == (start, end))
            {
                Some(site) => site.variants.push(variant),
                None => sites.push(Site {
                    start,
                    end,
                    name: &mutant.name,
                    variants: vec![variant],
                }),
            }
        }
    }
    // Those around others come before them.
    sites.sort_by_key(|site| (site.start, usize::MAX - site.end));
    splice(text, (0, text.len()), &sites)
}

fn without_marks(text: &str) -> String {
    let is_mark = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("// Mark: ") || line.starts_with("// Unreached: ")
    };
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !is_mark(line)).collect()
}

/// Where the original stands, once.
fn place(text: &str, edit: &Edit, name: &str) -> Result<(usize, usize)> {
    let mut found = text.match_indices(&edit.original);
    let first = found.next();
    ensure!(
        first.is_some() && found.next().is_none(),
        "{name}: {} holds this {}, instead of once:\n{}",
        edit.file,
        first.map_or("nowhere", |_| "more than once"),
        edit.original
    );
    let start = first.map_or(0, |(at, _)| at);
    let before = text[..start].chars().next_back();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    ensure!(
        !edit.original.starts_with(is_word) || !before.is_some_and(|c| c == '.' || is_word(c)),
        "{name}: in {} this begins in the middle of an expression:\n{}",
        edit.file,
        edit.original
    );
    Ok((start, start + edit.original.len()))
}

/// The text of a range with its sites rewritten, and those within them.
fn splice(text: &str, (start, end): (usize, usize), sites: &[Site<'_>]) -> Result<String> {
    let mut out = String::new();
    let (mut at, mut rest) = (start, sites);
    while let Some((site, others)) = rest.split_first() {
        let inner = others.partition_point(|other| other.start < site.end);
        for other in &others[..inner] {
            ensure!(
                other.end <= site.end,
                "{} and {} change overlapping texts",
                site.name,
                other.name
            );
        }
        out.push_str(&text[at..site.start]);
        let original = splice(text, (site.start, site.end), &others[..inner])?;
        let is_block = text[..site.end].ends_with([';', '}']);
        out.push_str(&choice(site, &original, is_block));
        (at, rest) = (site.end, &others[inner..]);
    }
    out.push_str(&text[at..end]);
    Ok(out)
}

/// The original unless one of the switches is on.
fn choice(site: &Site<'_>, original: &str, is_block: bool) -> String {
    let mut out = String::new();
    for (number, replacement) in &site.variants {
        out.push_str(&format!(
            "if crate::mutant::is_on({number}) {{\n{replacement}\n}} else "
        ));
    }
    out.push_str(&format!("{{\n{original}\n}}"));
    if is_block { out } else { format!("({out})") }
}
