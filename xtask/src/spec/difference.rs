//! A state that one side has and the other lacks, in words.
//! Never says who is wrong.
//!
//! # Source
//! spec/Raft.tla, for what a state is made of.

use std::collections::BTreeMap;

use super::value::Value;

/// The state, and where one most like it is another.
pub fn tell(state: &[Value], other: &[Value]) -> String {
    let mut lines: Vec<String> = state.iter().map(in_words).collect();
    lines.push("what the other side has and is most like it differs in:".to_owned());
    let (mut here, mut there) = (parts(state), parts(other));
    here.retain(|name, value| there.get(name) != Some(value) || there.remove(name).is_none());
    for (name, value) in &here {
        let Some(twin) = there.remove(name) else {
            lines.push(format!("  only here: {name}"));
            continue;
        };
        let (value, mut twin) = (value.places(), twin.places());
        for (way, has) in value {
            let there = twin.remove(&way).unwrap_or("nothing".to_owned());
            if there != has {
                lines.push(format!("  {name} {way}: {has}, there {there}"));
            }
        }
        let more = twin.into_iter();
        lines.extend(more.map(|(way, there)| format!("  {name} {way}: nothing, there {there}")));
    }
    lines.extend(there.keys().map(|name| format!("  only there: {name}")));
    lines.join("\n") + "\n"
}

/// The parts of a state by name: the nodes and their disks, each message by its own text, the rest.
fn parts(state: &[Value]) -> BTreeMap<String, &Value> {
    let mut parts = BTreeMap::new();
    for value in state {
        match (server(value), value) {
            (Some((node, disk)), _) => {
                let name = text(node, "me");
                parts.insert(format!("{name}'s disk:"), disk);
                parts.insert(format!("{name}:"), node);
            }
            (None, Value::Sequence(_)) => drop(parts.insert("the rest:".to_owned(), value)),
            (None, message) => drop(parts.insert(in_words(message), message)),
        }
    }
    parts
}

/// A node and its disk.
fn server(value: &Value) -> Option<(&Value, &Value)> {
    match value {
        Value::Sequence(items) => match items.as_slice() {
            [node, disk] if node.field("me").is_some() => Some((node, disk)),
            _ => None,
        },
        _ => None,
    }
}

fn in_words(part: &Value) -> String {
    if let Some((node, disk)) = server(part) {
        let of = |value, names: &[&str]| -> String {
            let one = |name: &&str| format!("{name} {}", text(value, name));
            names.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let known = [
            "role", "term", "vote", "leader", "log", "commit", "queue", "waiting",
        ];
        let kept = ["term", "vote", "log", "hint"];
        return format!(
            "{}: {}; on disk: {}",
            text(node, "me"),
            of(node, &known),
            of(disk, &kept)
        );
    }
    match part.field("m") {
        Some(m) => {
            let m = m.write(&str::to_owned);
            format!("from {} to {}: {m}", text(part, "from"), text(part, "to"))
        }
        None => format!("the rest: {}", part.write(&str::to_owned)),
    }
}

fn text(of: &Value, field: &str) -> String {
    of.field(field)
        .map(|value| value.write(&str::to_owned))
        .unwrap_or_default()
}
