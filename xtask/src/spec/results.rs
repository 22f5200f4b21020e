//! What checking came to, kept as tables: `spec/results`.
//! Never keeps times: they are the machine's, and the numbers are the specification's.
//!
//! # Source
//! spec/README.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tlc::DIR;

/// A table.
#[derive(Debug)]
pub struct Table {
    file: &'static str,
    head: &'static str,
    columns: &'static [&'static str],
    command: &'static str,
}

pub const CHECK: Table = Table {
    file: "check.md",
    head: "# Every state of small clusters\n\n\
           TLC 2.15 looked at all of them, up to the names of the nodes, and every property held. \
           Written by\n`cargo xtask spec check --deep --write`; each later run must come to the \
           same numbers.\n",
    columns: &[
        "bounds",
        "what for",
        "states generated",
        "distinct",
        "depth",
    ],
    command: "cargo xtask spec check --write",
};

pub const TEETH: Table = Table {
    file: "teeth.md",
    head: "# Planted changes, and what caught them\n\n\
           Each is a file of `spec/mutants`. TLC 2.15 looked at so many distinct states until the \
           property was\nviolated. Written by `cargo xtask spec teeth --write`; each later run must \
           come to the same numbers.\n",
    columns: &[
        "change",
        "what is wrong",
        "source",
        "caught by",
        "bounds",
        "states",
        "depth",
    ],
    command: "cargo xtask spec teeth --write",
};

pub const EQUAL: Table = Table {
    file: "equal.md",
    head: "# The same states\n\n\
           Within these bounds the real core and `spec/Raft.tla` have the same distinct states, names \
           of nodes apart.\nWritten by `cargo xtask spec equal --deep --write`; each later run must \
           come to the same.\n",
    columns: &["scope", "what", "states of each", "depth"],
    command: "cargo xtask spec equal --write",
};

pub const UNEQUAL: Table = Table {
    file: "unequal.md",
    head: "# Planted differences\n\n\
           Each is a file of `spec/mutants/equal`: a change of `spec/Raft.tla` or of the core that \
           breaks no property.\nThen one side has states that the other lacks. Written by \
           `cargo xtask spec equal --teeth --write`; each\nlater run must come to the same numbers.\n",
    columns: &[
        "change",
        "what is other",
        "source",
        "scope",
        "core",
        "core alone",
        "specification",
        "specification alone",
    ],
    command: "cargo xtask spec equal --teeth --write",
};

pub const PLANTED: Table = Table {
    file: "planted.md",
    head: "# Bugs planted in the core, and whether the specification refuses them\n\n\
           Each is a file of `crates/sim/mutants` that changes `crates/raft`. So many events of a \
           trace were walked\nthrough until one was no behaviour of `spec/Raft.tla`; of what is \
           accepted, so many in all. Written by\n`cargo xtask spec planted --write`; worlds may \
           come to other numbers when the code has changed.\n",
    columns: &["bug", "what is wrong", "verdict", "events"],
    command: "cargo xtask spec planted --write",
};

/// Compares rows with those that are kept, or writes them there. Rows of the table that were not
/// made this time stay.
pub fn settle(root: &Path, table: &Table, rows: &[Vec<String>], write: bool) -> Result<()> {
    let path = root.join(DIR).join("results").join(table.file);
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let mut lines: BTreeMap<String, String> = kept
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| Some((name(line)?.to_owned(), line.to_owned())))
        .collect();
    let mut others = Vec::new();
    for row in rows {
        let line = format!("| {} |", row.join(" | "));
        let name = name(&line).context("a row begins with a name")?;
        if lines.get(name) != Some(&line) {
            others.push(line.clone());
            lines.insert(name.to_owned(), line);
        }
    }
    if write {
        let rule = vec!["---"; table.columns.len()].join("|");
        let lines: Vec<String> = lines.into_values().collect();
        let text = format!(
            "{}\n| {} |\n|{rule}|\n{}\n",
            table.head,
            table.columns.join(" | "),
            lines.join("\n")
        );
        return fs::write(&path, text).with_context(|| format!("writing {}", table.file));
    }
    ensure!(
        others.is_empty(),
        "spec/results/{} says otherwise; if that is as it should be, run `{}`:\n{}",
        table.file,
        table.command,
        others.join("\n")
    );
    Ok(())
}

/// The name in a row's first cell.
fn name(row: &str) -> Option<&str> {
    Some(row.strip_prefix("| `")?.split_once('`')?.0)
}

/// The numbers of a column that are kept, by the row's first cell.
pub fn numbers(root: &Path, table: &Table, column: &str) -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(root.join(DIR).join("results").join(table.file))?;
    let place = table.columns.iter().position(|name| *name == column);
    let place = place.with_context(|| format!("no column {column} in {}", table.file))?;
    let mut numbers = BTreeMap::new();
    for (row, name) in text.lines().filter_map(|row| Some((row, name(row)?))) {
        let cell = row.split('|').nth(place + 1).context("a short row")?;
        numbers.insert(name.to_owned(), cell.trim().parse()?);
    }
    Ok(numbers)
}
