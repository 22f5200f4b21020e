//! Traces that no node can have made: each is a real one in which one thing is altered, dropped,
//! doubled or out of order. All of them have to be rejected.
//! Never makes one that could have happened: what leaves no trace may be missing.
//!
//! # Source
//! DeMillo, Lipton and Sayward, "Hints on Test Data Selection" (1978), on mutants.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::told::Told;

/// One thing that is wrong with a trace.
pub struct Mutant {
    /// What it is.
    pub what: String,
    at: usize,
    change: Change,
}

/// What the specification knows nothing of, so that it may be anything: the pace of disks, and how
/// long promises hold.
const UNTOLD: [&str; 2] = ["pace", "promise_ns"];

/// So many lines stay behind the one that is changed: there it must be noticed.
const LINES_BEHIND: usize = 200;

/// All mutants of a trace: of each kind of line, and of each field in it, one.
pub fn all(lines: &[Value]) -> Vec<Mutant> {
    let mut places: BTreeMap<String, Vec<(usize, Change)>> = BTreeMap::new();
    for at in 0..lines.len() {
        let Some(label) = label(&lines[at]) else {
            continue;
        };
        let mut add = |what: String, change| places.entry(what).or_default().push((at, change));
        // A link that changes nothing may be any other.
        let leaves = if label == "link" && !is_missed(lines, at) {
            Vec::new()
        } else {
            leaves(&lines[at], &label)
        };
        for path in leaves {
            let names: Vec<String> = path.iter().map(Step::name).collect();
            add(
                format!("{label}: {} altered", names.join(".")),
                Change::Alter(path),
            );
        }
        if is_missed(lines, at) {
            add(format!("{label}: dropped"), Change::Drop);
        }
        if is_seen_twice(lines, at) {
            add(format!("{label}: doubled"), Change::Double);
        }
        if let Some(next) = next_of_node(lines, at).filter(|&next| differ(&lines[at], &lines[next]))
        {
            add(
                format!("{label}: later than what follows it"),
                Change::Swap(next),
            );
        }
    }
    let one = |(what, mut places): (String, Vec<(usize, Change)>)| {
        let (at, change) = places.swap_remove(places.len() / 2);
        Mutant { what, at, change }
    };
    places.into_iter().map(one).collect()
}

/// What is done to a line.
enum Change {
    Alter(Vec<Step>),
    Drop,
    Double,
    Swap(usize),
}

/// A step from a value to one inside it.
#[derive(Clone)]
enum Step {
    Field(String),
    Item(usize),
}

impl Step {
    fn name(&self) -> String {
        match self {
            Self::Field(name) => name.clone(),
            Self::Item(_) => "*".to_owned(),
        }
    }
}

impl Mutant {
    /// The trace with this wrong.
    pub fn of<'a>(&self, lines: &'a [Value]) -> Vec<Cow<'a, Value>> {
        let at = self.at;
        let end = lines.len().min(at + LINES_BEHIND);
        let mut lines: Vec<_> = lines[..end].iter().map(Cow::Borrowed).collect();
        match &self.change {
            Change::Alter(path) => alter(lines[at].to_mut(), path),
            Change::Drop => drop(lines.remove(at)),
            Change::Double => lines.insert(at, lines[at].clone()),
            Change::Swap(next) => lines.swap(at, *next),
        }
        lines
    }
}

/// What kind of event a line is; nothing if the specification does not look at it.
fn label(line: &Value) -> Option<String> {
    let kind = line.text("kind").ok()?;
    let of = |value: &Value| value.text("type").ok().map(str::to_owned);
    match kind {
        "core" => {
            let call = line.get("call")?;
            let message = call.get("message").and_then(of);
            let message = message
                .map(|message| format!(" {message}"))
                .unwrap_or_default();
            Some(format!("{}{message}", of(call)?))
        }
        "send" => {
            let message = of(line.get("message")?)?;
            (message != "driver" && message != "heard").then(|| format!("send {message}"))
        }
        "start" => Some(kind.to_owned()),
        _ => None,
    }
}

fn node(line: &Value) -> Option<u64> {
    line.number("node").ok()
}

/// The next event of the same node in the same life and turn.
fn next_of_node(lines: &[Value], at: usize) -> Option<usize> {
    let next = at + 1;
    let is_same = next < lines.len() && node(&lines[next]) == node(&lines[at]);
    let kind = |at: usize| lines[at].text("kind").ok();
    (is_same && kind(next) == kind(at) && label(&lines[next]).is_some()).then_some(next)
}

/// The next call of the same node.
fn next_call(lines: &[Value], at: usize) -> Option<&Value> {
    let mut later = lines[at + 1..].iter();
    later.find(|line| node(line) == node(&lines[at]) && matches!(line.text("kind"), Ok("core")))
}

/// Whether two events of a turn cannot have happened the other way round.
fn differ(one: &Value, other: &Value) -> bool {
    let told = |line: &Value, key: &str| line.get(key).cloned();
    if one.get("kind").is_some_and(|kind| kind == "send") {
        return told(one, "message") != told(other, "message")
            || told(one, "to") != told(other, "to");
    }
    let said = |line: &Value| sends(line);
    told(one, "state") != told(other, "state") && said(one) + said(other) > 0
        || said(one) > 0 && said(other) > 0 && told(one, "effects") != told(other, "effects")
}

/// How many messages and writes a call causes.
fn sends(line: &Value) -> usize {
    let is_sent = |call: &Value| call.text("type").is_ok_and(|kind| kind == "sent");
    let is_kept = |effect: &&Value| {
        let kind = effect.text("type").unwrap_or_default();
        kind == "send" || kind == "persist"
    };
    let effects = line.list("effects").unwrap_or_default().iter();
    effects.filter(is_kept).count() + usize::from(line.get("call").is_some_and(is_sent))
}

/// Whether the node of a line goes on after it in the same life, so that it would be noticed there.
fn goes_on(lines: &[Value], at: usize) -> bool {
    let later = lines[at + 1..].iter().take(LINES_BEHIND - 1);
    let mut own = later.filter(|line| node(line) == node(&lines[at]));
    let (mut has_ended_turn, mut is_called) = (false, false);
    own.find_map(|line| match line.text("kind").ok()? {
        // A call is looked at once its input or turn is complete.
        "step" | "turn" if is_called => Some(true),
        "turn" => {
            has_ended_turn = true;
            None
        }
        "core" => {
            is_called = has_ended_turn;
            None
        }
        "crash" | "start" => Some(false),
        _ => None,
    })
    .unwrap_or(false)
}

/// The state of a node before a line.
fn state_before(lines: &[Value], at: usize) -> Option<&Value> {
    let before = lines[..at].iter().rev().find(|line| {
        node(line) == node(&lines[at]) && matches!(line.text("kind"), Ok("core" | "start"))
    })?;
    before.get("core").unwrap_or(before).get("state")
}

/// Whether it would be noticed that a line is missing.
fn is_missed(lines: &[Value], at: usize) -> bool {
    let line = &lines[at];
    let changes = line.get("state") != state_before(lines, at) || sends(line) > 0;
    // A message that tells of a commit index may be lost, if the next tells of it too.
    let is_told_again = label(line).is_some_and(|what| what == "receive commit");
    // What one end of a connection undoes, the other does as well.
    let is_undone_twice = label(line).is_some_and(|what| what == "link")
        && next_call(lines, at)
            .and_then(label)
            .is_some_and(|what| what == "link");
    goes_on(lines, at)
        && !is_told_again
        && !is_covered(lines, at)
        && !is_undone_twice
        && match line.text("kind") {
            Ok("core") => changes,
            // The first start of a node leads to where all nodes begin.
            Ok("start") => line.number("life").is_ok_and(|life| life > 1),
            Ok("send") => true,
            _ => false,
        }
}

/// Whether the next call of the node makes up for an acknowledgement that is missing: one of the same
/// disk or peer covers all those before it, and who leads no more has no followers.
fn is_covered(lines: &[Value], at: usize) -> bool {
    let line = &lines[at];
    let Some(next) = next_call(lines, at) else {
        return false;
    };
    let what = label(line).unwrap_or_default();
    let of = |line: &Value, key: &str| line.get("call")?.get(key).cloned();
    let is_same = label(next) == label(line) && of(next, "from") == of(line, "from");
    let role = |line: &Value| line.get("state")?.get("role").cloned();
    let has_left = role(line).is_some_and(|role| role == "leader") && role(next) != role(line);
    match what.as_str() {
        "persisted" => is_same && sends(line) == 0,
        "receive append-reply" | "receive beat-reply" => is_same || has_left,
        // The same question again has the same done.
        "receive repair-ask" => is_same && sends(line) == 0,
        _ => false,
    }
}

/// Whether it would be noticed that something happened twice.
fn is_seen_twice(lines: &[Value], at: usize) -> bool {
    let line = &lines[at];
    goes_on(lines, at)
        && match line.text("kind") {
            // Meeting somebody takes back what was said to whoever was met before.
            Ok("core") => sends(line) > 0 && label(line).is_some_and(|what| what != "met"),
            // How a snapshot goes over piece by piece is the driver's affair.
            Ok("send") => label(line).is_some_and(|what| what != "send snapshot"),
            _ => false,
        }
}

/// The ways to all values of a line that the specification looks at.
fn leaves(line: &Value, label: &str) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    let Value::Object(fields) = line else {
        return all;
    };
    for (name, value) in fields {
        let is_looked_at = match label {
            // What is asked shows in a question to the leader, or in an answer at once.
            "read" if name == "call" => sends(line) > 0,
            // That each life has a later name than the one before is all that is asked of it.
            "start" => matches!(name.as_str(), "write" | "core"),
            // Whether it is the one that arrives is asked where it arrives.
            _ => !matches!(name.as_str(), "t" | "kind" | "node" | "sending"),
        };
        if is_looked_at {
            add_leaves(value, &mut vec![Step::Field(name.clone())], &mut all);
        }
    }
    // Whether a link comes or goes is all the same to who leads: it begins again.
    let leads = line.get("state").and_then(|state| state.get("role"));
    if label == "link" && leads.is_some_and(|role| role == "leader") {
        all.retain(|path| path.last().is_none_or(|step| step.name() != "up"));
    }
    all
}

fn add_leaves(value: &Value, path: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(fields) => {
            let kind = value.text("type").unwrap_or_default().to_owned();
            for (name, value) in fields {
                if !is_untold(&kind, name) {
                    path.push(Step::Field(name.clone()));
                    add_leaves(value, path, all);
                    path.pop();
                }
            }
        }
        // One item stands for all.
        Value::Array(items) => {
            if let Some(item) = items.last() {
                path.push(Step::Item(items.len() - 1));
                add_leaves(item, path, all);
                path.pop();
            }
        }
        Value::Null => {}
        _ => all.push(path.clone()),
    }
}

/// Whether the specification looks at a field of something of this type.
fn is_untold(kind: &str, name: &str) -> bool {
    let of_own_disk = matches!(kind, "beat" | "commit") && name == "durable";
    let of_peer = kind == "met" && name == "life";
    // The leader knows the disks of those who stay.
    let of_target = kind == "reconfigure" && name == "target";
    // Who it is, nobody has heard yet.
    let of_newcomer = kind.is_empty() && name == "disk";
    let is_left_out = of_own_disk || of_peer || of_target || of_newcomer;
    UNTOLD.contains(&name) || name == "type" || kind == "heard" || is_left_out
}

fn alter(value: &mut Value, path: &[Step]) {
    let inside = match (path.first(), &mut *value) {
        (Some(Step::Field(name)), Value::Object(fields)) => fields.get_mut(name),
        (Some(Step::Item(at)), Value::Array(items)) => items.get_mut(*at),
        _ => None,
    };
    match inside {
        Some(inside) => alter(inside, &path[1..]),
        None => {
            *value = match &*value {
                Value::Number(number) => number.as_u64().map(|number| number + 1).into(),
                Value::Bool(is) => (!is).into(),
                Value::String(text) => another(text).into(),
                same => same.clone(),
            };
        }
    }
}

/// Another word that may stand in a word's place.
fn another(text: &str) -> &'static str {
    match text {
        "follower" => "leader",
        "leader" | "candidate" | "pre-candidate" => "follower",
        "append" => "replace",
        "replace" | "same" | "reset" => "append",
        "linearizable" => "lease",
        "lease" | "bounded" => "linearizable",
        _ => "another",
    }
}
