//! The specification and the core keep step: a group of actions bears the name of a room of
//! `crates/raft`, and the room's head names the actions. So it is with what the abstract modules say
//! of a cluster, and with what `RaftNode` says of one node and its messages.
//! Never judges what an action says; TLC does.
//!
//! # Source
//! spec/README.md.

use std::collections::{BTreeMap, BTreeSet};

use super::{Refusal, Tree};

/// Where the modules lie, and the rooms.
const SPEC: &str = "spec/";
const ROOMS: &str = "crates/raft/src/";

/// Groups that are no room's: what may happen in all, around the nodes too, and what must hold.
const BEHAVIOUR: &str = "behaviour";
const OWN: [&str; 5] = [BEHAVIOUR, "disks", "messages", "steps", "properties"];

/// How modules begin that are about checking, and not about nodes.
const HARNESS: [&str; 2] = ["MC", "Trace"];

/// What a banner adds where a module comes back to a room.
const AGAIN: &str = ", again";

/// What a banner adds to the name of a room that is only planned.
const PLANNED: &str = " (no room has it yet)";

/// How a room's head begins to name its actions; the list ends with a period.
const NAMED: &str = "Specified by:";

/// The module that has messages, and how a room's head begins to name what it has there.
const NODE: &str = "RaftNode";
const NAMED_WITH_MESSAGES: &str = "With messages by:";

/// A group of a module.
struct Group<'a> {
    line: usize,
    rooms: Vec<&'a str>,
    definitions: Vec<&'a str>,
}

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    let modules: BTreeMap<&str, (&str, &str)> = tree
        .ending(".tla")
        .filter_map(|(path, text)| Some((module(path)?, (path, text))))
        .collect();
    for begin in [NAMED, NAMED_WITH_MESSAGES] {
        check_list(tree, begin, &modules, refusals);
    }
}

/// What heads name behind these words, and the modules that this is about.
fn check_list(
    tree: &Tree,
    begin: &str,
    modules: &BTreeMap<&str, (&str, &str)>,
    refusals: &mut Vec<Refusal>,
) {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in tree.ending(".rs") {
        let inside = path.strip_prefix(ROOMS);
        let room = inside.and_then(|room| room.strip_suffix(".rs"));
        if let Some(room) = room.filter(|room| !room.contains('/')) {
            named.insert(room, actions_in_head(text, begin));
        }
    }
    let has_messages = begin == NAMED_WITH_MESSAGES;
    let about = modules
        .iter()
        .filter(|(name, _)| (**name == NODE) == has_messages);
    let mut specified: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (name, (path, text)) in about {
        let actions = if has_messages {
            changes(text)
        } else {
            steps_of(modules, name)
        };
        for group in groups(text) {
            let mut refuse = |what| {
                refusals.push(Refusal::new("specified", path, group.line, what));
            };
            for room in group.rooms.iter().filter(|room| !named.contains_key(*room)) {
                refuse(format!(
                    "there is no room {room} in {ROOMS}: name the group after one"
                ));
            }
            for action in group
                .definitions
                .iter()
                .filter(|name| actions.contains(*name))
            {
                specified.extend(group.rooms.iter().map(|room| (*room, *action)));
                let is_named =
                    |room: &&str| named.get(room).is_some_and(|all| all.contains(action));
                if !group.rooms.is_empty() && !group.rooms.iter().any(is_named) {
                    let room = group.rooms[0];
                    refuse(format!(
                        "{ROOMS}{room}.rs does not name {action} under \"{begin}\""
                    ));
                }
            }
        }
    }
    for (room, actions) in named {
        for action in actions
            .iter()
            .filter(|action| !specified.contains(&(room, **action)))
        {
            let what =
                format!("no group \"{room}\" of {SPEC} has an action {action} for \"{begin}\"");
            let path = format!("{ROOMS}{room}.rs");
            refusals.push(Refusal::new("specified", &path, 1, what));
        }
    }
}

/// The name of the module in a file, if it is about nodes.
fn module(path: &str) -> Option<&str> {
    let name = path.strip_prefix(SPEC)?.strip_suffix(".tla")?;
    let is_harness = HARNESS.iter().any(|begin| name.starts_with(begin));
    (!is_harness).then_some(name)
}

/// The steps that a module has a part in: its own, and those of modules that extend it.
fn steps_of<'a>(modules: &BTreeMap<&'a str, (&'a str, &'a str)>, name: &str) -> BTreeSet<&'a str> {
    modules
        .iter()
        .filter(|(above, _)| extends(modules, above).contains(name))
        .flat_map(|(_, (_, text))| steps(text))
        .collect()
}

/// The definitions that make another node of a node `n`: those that say how, and those that name
/// one of them.
fn changes(text: &str) -> BTreeSet<&str> {
    let mut words: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = None;
    for line in text.lines().filter(|line| !line.starts_with("\\*")) {
        if let Some(defined) = definition(line) {
            let of_node = line[defined.len()..].trim_start_matches('(');
            let is_of_node = of_node.starts_with("n)") || of_node.starts_with("n,");
            name = Some(defined).filter(|_| is_of_node);
        }
        if let Some(name) = name {
            words
                .entry(name)
                .or_default()
                .extend(line.split(|c| !is_letter(c)));
        }
    }
    let mut changes = BTreeSet::from(["EXCEPT"]);
    loop {
        let known = changes.len();
        for (name, words) in &words {
            let mut others = words.iter().filter(|word| *word != name);
            if others.any(|word| changes.contains(word)) {
                changes.insert(name);
            }
        }
        if changes.len() == known {
            return changes;
        }
    }
}

/// A module, and all that it extends.
fn extends<'a>(
    modules: &BTreeMap<&'a str, (&'a str, &'a str)>,
    above: &'a str,
) -> BTreeSet<&'a str> {
    let (mut all, mut open) = (BTreeSet::new(), vec![above]);
    while let Some(name) = open.pop() {
        let Some((_, text)) = modules.get(name).filter(|_| all.insert(name)) else {
            continue;
        };
        let lists = text
            .lines()
            .filter_map(|line| line.strip_prefix("EXTENDS "));
        open.extend(lists.flat_map(|list| list.split(", ")));
    }
    all
}

/// The groups of a module, each from its banner to the next.
fn groups(text: &str) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = banner(line) {
            let is_room = !OWN.contains(&title) && !title.ends_with(PLANNED);
            groups.push(Group {
                line: at + 1,
                rooms: title.split(", ").filter(|_| is_room).collect(),
                definitions: Vec::new(),
            });
        } else if let (Some(name), Some(group)) = (definition(line), groups.last_mut()) {
            group.definitions.push(name);
        }
    }
    groups
}

/// The title of a line like `(****** election ******)`.
fn banner(line: &str) -> Option<&str> {
    let inside = line.strip_prefix("(***")?.strip_suffix("***)")?;
    let title = inside
        .trim_matches('*')
        .strip_prefix(' ')?
        .strip_suffix(' ')?;
    // In a box the text stands in lines of their own, between single stars.
    (!title.is_empty()).then(|| title.strip_suffix(AGAIN).unwrap_or(title))
}

/// The name that a line begins to define.
fn definition(line: &str) -> Option<&str> {
    let name = line.split(['(', ' ']).next()?;
    let is_defined = line.contains("==") && !line.starts_with("==");
    (is_defined && !name.is_empty() && name.chars().all(is_letter)).then_some(name)
}

/// All words in the definition of `Next`, and in those that it names beside it.
fn steps(text: &str) -> BTreeSet<&str> {
    let mut beside: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let (mut is_behaviour, mut name) = (false, None);
    for line in text.lines() {
        if let Some(title) = banner(line) {
            (is_behaviour, name) = (title == BEHAVIOUR, None);
        } else if let Some(defined) = definition(line) {
            name = Some(defined).filter(|name| is_behaviour || *name == "Next");
        }
        if let Some(name) = name {
            let words = line.split(|c| !is_letter(c));
            beside.entry(name).or_default().extend(words);
        }
    }
    let (mut steps, mut open) = (BTreeSet::new(), vec!["Next"]);
    while let Some(name) = open.pop() {
        let words = beside.get(name).into_iter().flatten();
        open.extend(words.filter(|word| steps.insert(**word)));
    }
    steps
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The actions that a room's head names behind these words.
fn actions_in_head<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    let head = text.lines().take_while(|line| line.starts_with("//!"));
    let mut actions = BTreeSet::new();
    let mut inside = false;
    for line in head.map(|line| line.trim_start_matches("//!").trim()) {
        let list = match line.strip_prefix(begin) {
            Some(list) => list,
            None if inside => line,
            None => continue,
        };
        let names = list
            .split(|c| !is_letter(c))
            .filter(|name| !name.is_empty());
        actions.extend(names);
        inside = !list.ends_with('.');
    }
    actions
}
