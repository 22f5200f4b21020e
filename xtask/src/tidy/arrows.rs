//! Who may import whom: the walls between the crates.
//! Never looks at third parties; `dependencies` does.
//!
//! # Source
//! ARCHITECTURE.md, the table of crates.

use super::{Refusal, Tree, is_test, manifest};

/// A crate's directory, and the crates it may import.
const ARROWS: [(&str, &[&str]); 9] = [
    ("api", &[]),
    ("ctl", &["api"]),
    ("raft", &[]),
    ("linear", &[]),
    ("replica", &["raft"]),
    ("kv", &["replica"]),
    ("runtime", &["replica", "raft"]),
    (
        "server",
        &["api", "ctl", "runtime", "replica", "raft", "kv", "sim"],
    ),
    ("sim", &["replica", "raft", "kv", "linear"]),
];

/// What a crate's tests may import besides.
const TEST_ARROWS: [(&str, &[&str]); 1] = [("replica", &["sim"])];

const RULE: &str = "arrow";

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    for (path, text) in tree.ending("Cargo.toml") {
        let Some(room) = room_of(path) else {
            continue;
        };
        for dependency in manifest::dependencies(text) {
            let Some(other) = dependency.name.strip_prefix("headwater-") else {
                continue;
            };
            refuse(
                room,
                other,
                dependency.is_dev,
                (path, dependency.line),
                refusals,
            );
        }
    }
    for (path, text) in tree.ending(".rs") {
        let Some(room) = room_of(path) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            for other in imports(line) {
                refuse(room, other, is_test(path), (path, at + 1), refusals);
            }
        }
    }
}

fn refuse(
    room: &str,
    other: &str,
    in_tests: bool,
    (path, line): (&str, usize),
    refusals: &mut Vec<Refusal>,
) {
    let listed = |table: &[(&str, &[&str])]| {
        let row = table.iter().find(|(name, _)| *name == room);
        row.is_some_and(|(_, others)| others.contains(&other))
    };
    if other == room || listed(&ARROWS) || in_tests && listed(&TEST_ARROWS) {
        return;
    }
    let what = format!(
        "`{room}` may not import `{other}`: move the code to a crate that may, or turn the \
         dependency round"
    );
    refusals.push(Refusal::new(RULE, path, line, what));
}

/// The crate that a file belongs to; a crate not on the map has no walls to break but gets one
/// refusal for its manifest, since it has no row.
fn room_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// The rooms that a line of code names.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let code = line.trim_start();
    let code = if code.starts_with("//") { "" } else { code };
    code.match_indices("headwater_").filter_map(|(at, prefix)| {
        let rest = &code[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase())?;
        let is_path = rest[end..].starts_with("::") || code.starts_with("use ");
        is_path.then_some(&rest[..end])
    })
}
