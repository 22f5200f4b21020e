//! Instructions that the paths of a request take, beside what was recorded: a guard that no busy
//! machine disturbs.
//! Never times anything.
//!
//! # Source
//! Valgrind's Callgrind, which counts what runs within one function.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::{call, cargo, target_dir};

/// What was recorded, by the compiler that its first line names.
const RECORD: &str = "xtask/instructions/counts.txt";

/// How far a count may be from the recorded one, in percent of that. Compilers and allocators differ
/// by a little; what a change adds below this is not noticed.
const TOLERANCE_PERCENT: f64 = 4.0;

/// The function in which instructions are counted.
const COUNTED: &str = "*headwater_instructions*measured*";

/// Instructions of an operation, by path.
type Counts = BTreeMap<String, f64>;

/// Counts; compares with the record, or writes it anew.
pub fn run(root: &Path, options: &[&str]) -> Result<()> {
    let is_record = options == ["--record"];
    ensure!(
        is_record || options.is_empty(),
        "only --record is an option"
    );
    call(
        Command::new("bash")
            .arg("scripts/setup.sh")
            .current_dir(root),
    )?;
    call(cargo(root).args([
        "build",
        "--locked",
        "--release",
        "-p",
        "headwater-instructions",
    ]))?;
    let counted = count(&target_dir(root).join("release/headwater-instructions"))?;
    let compiler = Command::new("rustc").arg("--version").output()?;
    let compiler = String::from_utf8(compiler.stdout)?.trim().to_owned();
    let path = root.join(RECORD);
    if is_record {
        std::fs::write(&path, written(&compiler, &counted))?;
        println!("wrote {RECORD}");
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("no {RECORD}"))?;
    let (by, recorded) = read(&text)?;
    let (table, refused) = compare(&recorded, &counted);
    print!("{table}");
    ensure!(
        refused.is_empty(),
        "{} {} further than {TOLERANCE_PERCENT} % from {RECORD}. If that is meant: cargo xtask \
         bench instructions --record, and say why. The record was made by {by}; this is {compiler}",
        refused.join(", "),
        if refused.len() == 1 { "is" } else { "are" },
    );
    Ok(())
}

/// Runs each path under Valgrind.
fn count(program: &Path) -> Result<Counts> {
    let names = Command::new(program).output()?;
    let mut counts = Counts::new();
    for name in String::from_utf8(names.stdout)?.lines() {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(program)
            .arg(name)
            // The environment lies on the stack, and moves it.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .output()
            .context("starting valgrind")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} failed:\n{said}");
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        let collected: f64 = collected.with_context(|| format!("no count in:\n{said}"))?;
        let operations: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        ensure!(collected > operations, "{name}: nothing was counted");
        counts.insert(name.to_owned(), collected / operations);
    }
    Ok(counts)
}

fn written(compiler: &str, counts: &Counts) -> String {
    let mut text = format!("# Instructions of an operation, by {compiler}\n");
    for (name, count) in counts {
        let _ = writeln!(text, "{name:<12} {count:>10.1}");
    }
    text
}

/// Who recorded, and what.
fn read(text: &str) -> Result<(&str, Counts)> {
    let (head, rows) = text.split_once('\n').context("an empty record")?;
    let by = head.split_once(", by ").context("no compiler is named")?.1;
    let mut counts = Counts::new();
    for row in rows.lines() {
        let (name, count) = row
            .split_once(' ')
            .context("a row has a name and a count")?;
        counts.insert(name.to_owned(), count.trim().parse()?);
    }
    Ok((by, counts))
}

/// A table, and the paths that are too far from the record, or in one of the two alone.
fn compare(recorded: &Counts, counted: &Counts) -> (String, Vec<String>) {
    let mut table = String::from("path           recorded        now  change\n");
    let mut refused = Vec::new();
    let names: std::collections::BTreeSet<&String> =
        recorded.keys().chain(counted.keys()).collect();
    for name in names {
        let (Some(before), Some(now)) = (recorded.get(name), counted.get(name)) else {
            refused.push(name.clone());
            continue;
        };
        let change = (now / before - 1.0) * 100.0;
        let _ = writeln!(
            table,
            "{name:<12} {before:>10.1} {now:>10.1} {change:>+6.1} %"
        );
        if change.abs() > TOLERANCE_PERCENT {
            refused.push(name.clone());
        }
    }
    (table, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(range: f64) -> Counts {
        Counts::from([("range".to_owned(), range), ("watch".to_owned(), 10.0)])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = written("rustc 1.90.0", &counts(200.5));
        assert_eq!(read(&text).unwrap(), ("rustc 1.90.0", counts(200.5)));
    }

    #[test]
    fn a_path_that_costs_more_or_is_new_is_refused() {
        let refused = |recorded: &Counts, counted: &Counts| compare(recorded, counted).1;
        assert!(refused(&counts(100.0), &counts(103.0)).is_empty());
        assert_eq!(refused(&counts(100.0), &counts(105.0)), ["range"]);
        assert_eq!(refused(&counts(100.0), &counts(95.0)), ["range"]);
        let mut more = counts(100.0);
        more.insert("apply".to_owned(), 1.0);
        assert_eq!(refused(&counts(100.0), &more), ["apply"]);
    }
}
