//! From a trace to the events that `spec/TraceRaft.tla` walks through, as text of TLA+.
//! Never judges an event: what it cannot put into words of the specification it names.
//!
//! # Source
//! docs/trace.md; spec/TraceRaft.tla, which says what each event is.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::actions;
use super::tables::{Tables, fields, flag, function, joined, numbers, set};
use super::told::{self, Told};

/// One event.
pub struct Event {
    /// As a record of TLA+.
    pub text: String,
    /// The line that it comes from, from 1.
    pub line: usize,
    /// The action that it is as a whole, if the core was called.
    pub action: Option<&'static str>,
}

/// A trace as events.
#[derive(Default)]
pub struct Walk {
    pub events: Vec<Event>,
    /// The line at which the walk ends because the specification knows nothing of it, and of what.
    pub uncovered: Option<(usize, String)>,
    voters: Vec<u64>,
    leases: bool,
}

/// Of a node while its trace is read.
#[derive(Default)]
struct Place {
    disk: Option<String>,
    /// Whether a turn has ended since its last call.
    is_fresh: bool,
}

/// A trace while it is read.
struct Reading<'a> {
    tables: &'a mut Tables,
    walk: Walk,
    nodes: BTreeMap<u64, Place>,
    /// Calls of the input at hand.
    held: Vec<(usize, Value)>,
    /// The events that sent what is under way, from 1.
    sendings: BTreeMap<u64, usize>,
}

impl Walk {
    /// Reads a trace, but no more than so many events.
    pub fn read(text: &str, events_max: usize, tables: &mut Tables) -> Result<Self> {
        Self::of_lines(told::lines(text), events_max, tables)
    }

    /// The same of lines that have been read.
    pub fn of_lines(
        lines: impl Iterator<Item = Result<impl Borrow<Value>>>,
        events_max: usize,
        tables: &mut Tables,
    ) -> Result<Self> {
        let mut reading = Reading {
            tables,
            walk: Self::default(),
            nodes: BTreeMap::new(),
            held: Vec::new(),
            sendings: BTreeMap::new(),
        };
        for (at, told) in lines.enumerate() {
            let done = reading.line(at + 1, told?.borrow());
            done.with_context(|| format!("line {}", at + 1))?;
            if reading.walk.uncovered.is_some() || reading.walk.events.len() >= events_max {
                break;
            }
        }
        reading.walk.events.truncate(events_max);
        Ok(reading.walk)
    }

    /// With how many events it begins as another does; none if it is that one itself.
    pub fn shared_with(&self, first: &Self) -> usize {
        let begins_alike = self.voters == first.voters && self.leases == first.leases;
        if std::ptr::eq(self, first) || !begins_alike {
            return 0;
        }
        let both = self.events.iter().zip(&first.events);
        both.take_while(|(one, other)| one.text == other.text)
            .count()
    }
}

/// What some walks are to TLC: the values of `TraceData`. Those that begin like the first are walked
/// through from where they differ.
pub fn values(walks: &[Walk], tables: &Tables) -> String {
    let mut out = String::new();
    let all = [
        ("Configs", &tables.configs),
        ("Messages", &tables.messages),
        ("States", &tables.states),
        ("Writes", &tables.writes),
    ];
    for (name, table) in all {
        let _ = writeln!(out, "{name} == <<\n{}\n>>", table.texts.join(",\n"));
    }
    let shared: Vec<usize> = walks
        .iter()
        .map(|walk| walk.shared_with(&walks[0]))
        .collect();
    let mut forks: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (at, &shared) in shared.iter().enumerate().filter(|(_, shared)| **shared > 0) {
        forks.entry(shared + 1).or_default().push(at as u64 + 1);
    }
    let forks = forks
        .iter()
        .map(|(place, to)| format!("{place} :> {}", set(to)));
    let forks = function(&forks.collect::<Vec<_>>());
    let texts = walks
        .iter()
        .zip(shared)
        .enumerate()
        .map(|(at, (walk, shared))| {
            let own = walk.events[shared..].iter();
            let own: Vec<&str> = own.map(|event| event.text.as_str()).collect();
            let of = if shared > 0 { 1 } else { at + 1 };
            let forks = if at == 0 { &forks } else { "<<>>" };
            let leases = flag(walk.leases);
            format!(
                "[voters |-> {}, leases |-> {leases}, of |-> {of}, from |-> {}, forks |-> {forks}, \
             events |-> <<\n{}\n>>]",
                set(&walk.voters),
                shared + 1,
                own.join(",\n")
            )
        });
    let _ = writeln!(
        out,
        "Walks == <<{}>>",
        texts.collect::<Vec<_>>().join(",\n")
    );
    out
}

impl Reading<'_> {
    fn push(
        &mut self,
        line: usize,
        kind: &str,
        action: Option<&'static str>,
        node: u64,
        more: &str,
    ) {
        let comma = if more.is_empty() { "" } else { ", " };
        self.walk.events.push(Event {
            text: format!("[kind |-> \"{kind}\", s |-> {node}{comma}{more}]"),
            line,
            action,
        });
    }

    fn uncover(&mut self, line: usize, what: &str) {
        self.walk.uncovered.get_or_insert((line, what.to_owned()));
    }

    fn line(&mut self, line: usize, told: &Value) -> Result<()> {
        let kind = told.text("kind")?;
        match kind {
            "core" => self.held.push((line, told.clone())),
            "step" => {
                let input = told.field("input")?;
                let input_kind = input.text("type")?;
                if matches!(input_kind, "taken" | "loaded") {
                    self.snapshot(line, input_kind, told.number("node")?, input)?;
                }
                self.release()?;
            }
            "turn" => {
                self.release()?;
                self.nodes.entry(told.number("node")?).or_default().is_fresh = true;
            }
            "send" => self.send(line, told)?,
            "start" => self.start(line, told)?,
            "crash" => {
                let node = told.number("node")?;
                self.nodes.entry(node).or_default().is_fresh = false;
                self.push(line, kind, None, node, "");
            }
            "stopped" => self.uncover(line, "what is after the end of a record"),
            "set-back" => self.uncover(line, "a disk that is set back to an older image"),
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&mut self, line: usize, kind: &str, node: u64, of: &Value) -> Result<()> {
        let config = self.tables.config(of.field("config")?)?;
        let base = fields(of, &[("base", "base"), ("baseTerm", "base_term")])?;
        let more = format!("{base}, config |-> {config}");
        self.push(line, kind, None, node, &more);
        Ok(())
    }

    fn send(&mut self, line: usize, told: &Value) -> Result<()> {
        let message = told.field("message")?;
        if message.text("type")? == "driver" {
            return Ok(());
        }
        let m = self.tables.message(message)?;
        let (node, to) = (told.number("node")?, told.number("to")?);
        self.push(line, "send", None, node, &format!("to |-> {to}, m |-> {m}"));
        if let Some(sending) = told.field("sending")?.as_u64() {
            self.sendings.insert(sending, self.walk.events.len());
        }
        Ok(())
    }

    fn start(&mut self, line: usize, told: &Value) -> Result<()> {
        let (node, core) = (told.number("node")?, told.field("core")?);
        let name = core.text("disk")?;
        let first = self.tables.config(core.field("base_config")?)?;
        let place = self.nodes.entry(node).or_default();
        let is_same = place.disk.as_deref() == Some(name);
        place.disk = Some(name.to_owned());
        place.is_fresh = false;
        if self.walk.voters.is_empty() {
            self.walk.voters = numbers(core.field("base_config")?, "voters")?;
            self.walk.leases = told.flag("leases")?;
        }
        if is_same {
            let found = fields(told, &[("base", "snapshot"), ("baseTerm", "snapshot_term")])?;
            let more = format!("{found}, config |-> {first}");
            self.push(line, "found", None, node, &more);
        }
        let disk = self.tables.disk(name);
        let state = self.tables.state(core.field("state")?)?;
        let lost = set(&numbers(core, "unreadable")?);
        let hiding = set(&numbers(core, "unreadable_configs")?);
        let more = format!(
            "disk |-> {disk}, first |-> {first}, {}, log |-> <<{}>>, configs |-> {}, lost |-> \
             {lost}, hiding |-> {hiding}, post |-> {state}, out |-> <<>>, told |-> <<>>, \
             writes |-> <<>>",
            fields(told, &[("life", "life"), ("write", "write")])?,
            joined(numbers(core, "terms")?),
            self.tables.configs(core)?
        );
        self.push(line, "start", None, node, &more);
        Ok(())
    }

    /// The calls of the input at hand are complete.
    fn release(&mut self) -> Result<()> {
        for (line, told) in std::mem::take(&mut self.held) {
            self.call(line, &told)
                .with_context(|| format!("line {line}"))?;
        }
        Ok(())
    }

    fn call(&mut self, line: usize, told: &Value) -> Result<()> {
        let (node, call) = (told.number("node")?, told.field("call")?);
        let kind = call.text("type")?.to_owned();
        let mut out = Vec::new();
        let more = match kind.as_str() {
            "deadline" | "end-turn" => String::new(),
            "receive" => {
                let message = call.field("message")?;
                let m = self.tables.message(message)?;
                let sending = call.number("sending")?;
                // Zero is no event: what was never sent is not taken in.
                let sent = self.sendings.get(&sending).copied().unwrap_or(0);
                format!(
                    "from |-> {}, m |-> {m}, sent |-> {sent}, ",
                    call.number("from")?
                )
            }
            "persisted" => fields(call, &[("write", "write")])? + ", ",
            "link" => fields(call, &[("peer", "peer"), ("up", "up")])? + ", ",
            "met" => {
                let disk = self.tables.disk(call.text("disk")?);
                format!("peer |-> {}, disk |-> {disk}, ", call.number("peer")?)
            }
            "propose" => fields(call, &[("count", "count")])? + ", ",
            "reconfigure" => {
                let config = self.tables.config(call.field("target")?)?;
                format!("config |-> {config}, ")
            }
            "transfer" => fields(call, &[("to", "to")])? + ", ",
            "read" => {
                let level = call.text("level")?;
                format!("id |-> {}, level |-> \"{level}\", ", call.number("read")?)
            }
            "sent" => {
                let message = call.field("message")?;
                let (to, m) = (call.number("to")?, self.tables.message(message)?);
                let upto = message.number("prev")? + message.list("terms")?.len() as u64;
                out.push(format!("<<{to}, {m}>>"));
                format!("to |-> {to}, upto |-> {upto}, ")
            }
            "compacted" => fields(call, &[("base", "base"), ("baseTerm", "base_term")])? + ", ",
            "installed" => {
                let config = self.tables.config(call.field("config")?)?;
                let base = fields(call, &[("base", "base"), ("baseTerm", "base_term")])?;
                format!("{base}, config |-> {config}, ")
            }
            other => bail!("a call of an unknown type: {other}"),
        };
        let effects = self.effects(told.list("effects")?, &mut out)?;
        let post = self.tables.state(told.field("state")?)?;
        let place = self.nodes.entry(node).or_default();
        let fresh = flag(std::mem::take(&mut place.is_fresh));
        let out = out.join(", ");
        let more =
            format!("{more}fresh |-> {fresh}, out |-> <<{out}>>, {effects}, post |-> {post}");
        if self.walk.uncovered.is_none() {
            self.push(line, &kind, Some(actions::of(call)?), node, &more);
        }
        Ok(())
    }

    /// What a call wants done, but for what it sends: that goes to `out`.
    fn effects(&mut self, all: &[Value], out: &mut Vec<String>) -> Result<String> {
        let (mut told, mut writes) = (Vec::new(), Vec::new());
        for effect in all {
            let kind = effect.text("type")?;
            let fields = match kind {
                "send" => {
                    let m = self.tables.message(effect.field("message")?)?;
                    out.push(format!("<<{}, {m}>>", effect.number("to")?));
                    continue;
                }
                "persist" => {
                    let write = self.tables.write(effect)?;
                    writes.push(format!("<<{}, {write}>>", effect.number("write")?));
                    continue;
                }
                "read" => fields(effect, &[("id", "read"), ("at", "at")])?,
                "install" => {
                    let base = [
                        ("from", "from"),
                        ("base", "base"),
                        ("baseTerm", "base_term"),
                    ];
                    fields(effect, &base)?
                }
                "transferred" => fields(effect, &[("to", "to"), ("ok", "ok")])?,
                "refused" => fields(effect, &[("from", "from")])?,
                "disowned" => fields(effect, &[("by", "by")])?,
                // No node of the specification does: one whose disk was set back has been left by now.
                "halt" => {
                    told.push("[type |-> \"halt\"]".to_owned());
                    continue;
                }
                other => bail!("an effect of an unknown type: {other}"),
            };
            told.push(format!("[type |-> \"{kind}\", {fields}]"));
        }
        let (told, writes) = (told.join(", "), writes.join(", "));
        Ok(format!("told |-> <<{told}>>, writes |-> <<{writes}>>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#""state":{"role":"follower","term":1,"vote":0,"leader":0,"last":0,"last_term":0,"base":0,"base_term":0,"durable":0,"commit":0,"verified":0,"transfer":0,"urged":false,"config":{"voters":[1],"outgoing":[],"learners":[],"joining":[],"disks":[]},"met":[],"waiting":[],"peers":[]}"#;

    fn walk(lines: &[&str]) -> Result<Walk> {
        let text = lines.join("\n").replace("STATE", STATE);
        Walk::read(&text, usize::MAX, &mut Tables::default())
    }

    #[test]
    fn a_frame_names_the_event_that_sent_it() -> Result<()> {
        let send = r#"{"node":2,"kind":"send","to":1,"sending":7,"message":{"type":"beat-reply","term":1,"round":0,"pace":0}}"#;
        let receive = r#"{"node":1,"kind":"core","call":{"type":"receive","from":2,"sending":7,"message":{"type":"beat-reply","term":1,"round":0,"pace":2}},"effects":[],STATE}"#;
        let step = r#"{"node":1,"kind":"step","input":{"type":"frame"}}"#;
        let events = walk(&[send, receive, step])?.events;
        assert_eq!(events[1].action, Some("OnBeatReply"));
        // The pace is told of by nobody: so both are message 1.
        assert!(events[1].text.contains("m |-> 1, sent |-> 1,"));
        let unsent = walk(&[receive, step])?.events;
        assert!(unsent[0].text.contains("sent |-> 0,"));
        Ok(())
    }

    #[test]
    fn a_halt_is_an_event_like_any_other() -> Result<()> {
        let halts = r#"{"node":1,"kind":"core","call":{"type":"deadline"},"effects":[{"type":"halt"}],STATE}"#;
        let walk = walk(&[halts, r#"{"node":1,"kind":"turn"}"#])?;
        assert!(
            walk.events[0]
                .text
                .contains(r#"told |-> <<[type |-> "halt"]>>"#)
        );
        assert_eq!(walk.uncovered, None);
        Ok(())
    }

    #[test]
    fn a_walk_ends_where_the_specification_does() -> Result<()> {
        let set_back = r#"{"node":1,"kind":"set-back"}"#;
        let crash = r#"{"node":1,"kind":"crash","power":true}"#;
        let walk = walk(&[crash, set_back, crash])?;
        assert_eq!(walk.events.len(), 1);
        assert_eq!(walk.uncovered.map(|(line, _)| line), Some(2));
        Ok(())
    }
}
