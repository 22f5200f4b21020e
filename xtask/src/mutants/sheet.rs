//! A planted bug's file: a sentence, lines that tell more, and which text becomes which.
//! Never guesses: a file that is not of this shape is refused.
//!
//! # Source
//! docs/testing.md, "Mutation score".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What stands in such a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sheet {
    /// What is wrong, in a sentence.
    pub what: String,
    /// The lines `Name: value`.
    pub lines: BTreeMap<String, String>,
    /// What it changes.
    pub edits: Vec<Edit>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The file, from the repository's root.
    pub file: String,
    /// Text that stands in it once.
    pub original: String,
    /// What stands there instead.
    pub replacement: String,
}

/// The text of each file of a directory that ends in `.mutant`, by its name without that.
pub fn files(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    let files = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    for file in files {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = name.strip_suffix(".mutant") {
            texts.insert(name.to_owned(), fs::read_to_string(&path)?);
        }
    }
    Ok(texts)
}

impl Sheet {
    /// Reads one, in which lines of these names may stand.
    pub fn parse(text: &str, names: &[&str]) -> Result<Self> {
        let mut lines = text.lines();
        let mut sheet = Self {
            what: lines.next().unwrap_or_default().to_owned(),
            lines: BTreeMap::new(),
            edits: Vec::new(),
        };
        ensure!(sheet.what.ends_with('.'), "the first line is a sentence");
        let mut file = None;
        while let Some(line) = lines.next() {
            if line == "<<<<" {
                sheet.edits.push(Edit {
                    file: file.clone().context("changes follow a line \"File:\"")?,
                    original: upto(&mut lines, "====")?,
                    replacement: upto(&mut lines, ">>>>")?,
                });
                continue;
            }
            match line.split_once(": ") {
                Some(("File", value)) => file = Some(value.to_owned()),
                Some((name, value)) if names.contains(&name) => {
                    sheet.lines.insert(name.to_owned(), value.to_owned());
                }
                _ if line.is_empty() => {}
                _ => bail!("what is \"{line}\"?"),
            }
        }
        ensure!(!sheet.edits.is_empty(), "it changes nothing");
        let mut edits = sheet.edits.iter();
        let empty = edits.any(|edit| edit.original.trim().is_empty());
        ensure!(!empty, "it replaces nothing");
        Ok(sheet)
    }

    /// Takes a line out; `missing` says what is wrong without it.
    pub fn take(&mut self, name: &str, missing: &'static str) -> Result<String> {
        self.lines.remove(name).context(missing)
    }
}

/// The lines before `end`, which goes too.
fn upto<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Result<String> {
    let mut text = Vec::new();
    loop {
        match lines.next().with_context(|| format!("no line \"{end}\""))? {
            line if line == end => return Ok(text.join("\n")),
            line => text.push(line),
        }
    }
}
