//! What events of traces share, as text of TLA+: messages, configurations, states, writes.
//! Never knows in which order anything happened.
//!
//! # Source
//! docs/trace.md; spec/RaftNode.tla, for the shapes.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::told::Told;

/// Values that many events share, each once, by its number from 1.
#[derive(Default)]
pub struct Table {
    pub texts: Vec<String>,
    places: HashMap<String, usize>,
}

impl Table {
    pub fn place(&mut self, text: String) -> usize {
        if let Some(&place) = self.places.get(&text) {
            return place;
        }
        self.texts.push(text.clone());
        self.places.insert(text, self.texts.len());
        self.texts.len()
    }
}

/// What the events of all walks share.
#[derive(Default)]
pub struct Tables {
    pub messages: Table,
    pub configs: Table,
    pub states: Table,
    pub writes: Table,
    pub disks: Table,
}

pub fn flag(is: bool) -> &'static str {
    if is { "TRUE" } else { "FALSE" }
}

pub fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    words.join(", ")
}

pub fn set(items: &[u64]) -> String {
    format!("{{{}}}", joined(items))
}

/// A function, of `x :> y`.
pub fn function(pairs: &[String]) -> String {
    if pairs.is_empty() {
        "<<>>".to_owned()
    } else {
        format!("({})", pairs.join(" @@ "))
    }
}

/// A field that is a list of numbers.
pub fn numbers(of: &Value, key: &str) -> Result<Vec<u64>> {
    let number = |item: &Value| {
        item.as_u64()
            .with_context(|| format!("{item} is no number"))
    };
    of.list(key)?.iter().map(number).collect()
}

/// Fields that are numbers, under their names in the specification.
pub fn fields(of: &Value, names: &[(&str, &str)]) -> Result<String> {
    let fields = names.iter().map(|&(ours, theirs)| {
        Ok(match of.field(theirs)? {
            Value::Number(number) => format!("{ours} |-> {number}"),
            Value::Bool(is) => format!("{ours} |-> {}", flag(*is)),
            // No index.
            Value::Null => format!("{ours} |-> -1"),
            other => bail!("{theirs} is {other}"),
        })
    });
    Ok(fields.collect::<Result<Vec<_>>>()?.join(", "))
}

impl Tables {
    pub fn disk(&mut self, name: &str) -> usize {
        self.disks.place(name.to_owned())
    }

    pub fn config(&mut self, config: &Value) -> Result<usize> {
        let mut lists = Vec::new();
        for list in ["voters", "outgoing", "learners", "joining"] {
            lists.push(format!("{list} |-> {}", set(&numbers(config, list)?)));
        }
        let mut disks = Vec::new();
        for disk in config.list("disks")? {
            let name = self.disk(disk.text("disk")?);
            disks.push(format!("{} :> {name}", disk.number("of")?));
        }
        let (lists, disks) = (lists.join(", "), function(&disks));
        let text = format!("[{lists}, disks |-> {disks}]");
        Ok(self.configs.place(text))
    }

    /// The configurations among entries.
    pub fn configs(&mut self, of: &Value) -> Result<String> {
        let mut all = Vec::new();
        for one in of.list("configs")? {
            let config = self.config(one.field("config")?)?;
            let at = one.number("at")?;
            all.push(format!("[at |-> {at}, config |-> Configs[{config}]]"));
        }
        Ok(format!("<<{}>>", all.join(", ")))
    }

    pub fn message(&mut self, m: &Value) -> Result<usize> {
        let kind = m.text("type")?;
        let term = ("term", "term");
        let rest = match kind {
            "vote" => {
                let same = [term, ("pre", "pre"), ("transfer", "transfer")];
                let last = [("last", "last"), ("lastTerm", "last_term")];
                let admitted = [("admitted", "admitted")];
                let all = [fields(m, &same)?, fields(m, &last)?, fields(m, &admitted)?];
                all.join(", ")
            }
            "vote-reply" => fields(m, &[term, ("pre", "pre"), ("granted", "granted")])?,
            "append" => {
                let before = [term, ("prev", "prev"), ("prevTerm", "prev_term")];
                let (terms, configs) = (joined(numbers(m, "terms")?), self.configs(m)?);
                let commit = m.number("commit")?;
                let before = fields(m, &before)?;
                format!(
                    "{before}, terms |-> <<{terms}>>, configs |-> {configs}, commit |-> {commit}"
                )
            }
            "append-reply" if m.flag("ok")? => {
                fields(m, &[term, ("ok", "ok"), ("match", "match")])?
            }
            "append-reply" => {
                let hint = [("hint", "hint"), ("hintTerm", "hint_term")];
                let begin = fields(m, &[term, ("ok", "ok"), ("prev", "prev")])?;
                format!("{begin}, {}", fields(m, &hint)?)
            }
            "beat" => fields(
                m,
                &[
                    term,
                    ("commit", "commit"),
                    ("round", "round"),
                    ("knows", "knows"),
                ],
            )?,
            "beat-reply" => fields(m, &[term, ("round", "round")])?,
            "commit" => fields(m, &[term, ("commit", "commit")])?,
            "timeout-now" | "heard" => fields(m, &[term])?,
            "snapshot" => fields(m, &[term, ("base", "base"), ("baseTerm", "base_term")])?,
            "repair-ask" => {
                let first = [("first", "first"), ("firstTerm", "first_term")];
                format!(
                    "{}, {}",
                    fields(m, &first)?,
                    fields(m, &[("last", "last")])?
                )
            }
            "repair-tell" => self.holding(m)?,
            "read-ask" => fields(m, &[("id", "read"), ("life", "life"), ("lease", "lease")])?,
            "read-tell" => fields(m, &[("id", "read"), ("life", "life"), ("at", "at")])?,
            "disowned" => format!("disk |-> {}", self.disk(m.text("disk")?)),
            other => bail!("a message of an unknown type: {other}"),
        };
        let text = format!("[type |-> \"{kind}\", {rest}]");
        Ok(self.messages.place(text))
    }

    /// What a peer tells of an entry that another cannot read.
    fn holding(&mut self, m: &Value) -> Result<String> {
        let holding = m.text("holding")?;
        let rest = if holding == "has" {
            let before = fields(m, &[("prev", "prev"), ("prevTerm", "prev_term")])?;
            let (terms, configs) = (joined(numbers(m, "terms")?), self.configs(m)?);
            format!("{before}, terms |-> <<{terms}>>, configs |-> {configs}")
        } else {
            fields(m, &[("first", "first"), ("firstTerm", "first_term")])?
        };
        let term = fields(m, &[("term", "term")])?;
        Ok(format!("{term}, holding |-> \"{holding}\", {rest}"))
    }

    pub fn state(&mut self, state: &Value) -> Result<usize> {
        let names = [
            ("term", "term"),
            ("vote", "vote"),
            ("leader", "leader"),
            ("last", "last"),
            ("lastTerm", "last_term"),
            ("base", "base"),
            ("baseTerm", "base_term"),
            ("durable", "durable"),
            ("commit", "commit"),
            ("verified", "verified"),
            ("transfer", "transfer"),
            ("urged", "urged"),
        ];
        let mut peers = Vec::new();
        for peer in state.list("peers")? {
            let names = [
                ("p", "peer"),
                ("matched", "matched"),
                ("next", "next"),
                ("probing", "probing"),
                ("sent", "commit_sent"),
                ("round", "round"),
                ("ready", "caught_up"),
            ];
            let flight = joined(numbers(peer, "flight")?);
            peers.push(format!(
                "[{}, flight |-> <<{flight}>>]",
                fields(peer, &names)?
            ));
        }
        let mut met = Vec::new();
        for disk in state.list("met")? {
            let name = self.disk(disk.text("disk")?);
            met.push(format!("<<{}, {name}>>", disk.number("of")?));
        }
        let mut waiting = Vec::new();
        for one in state.list("waiting")? {
            let m = self.message(one.field("message")?)?;
            waiting.push(format!("<<{}, {m}>>", one.number("to")?));
        }
        let text = format!(
            "[role |-> \"{}\", {}, config |-> {}, met |-> <<{}>>, waiting |-> <<{}>>, \
             peers |-> <<{}>>]",
            state.text("role")?,
            fields(state, &names)?,
            self.config(state.field("config")?)?,
            met.join(", "),
            waiting.join(", "),
            peers.join(", ")
        );
        Ok(self.states.place(text))
    }

    pub fn write(&mut self, write: &Value) -> Result<usize> {
        let kind = write.text("change")?;
        let hard = fields(write, &[("term", "term"), ("vote", "vote")])?;
        let (prev, terms, configs) = match kind {
            "same" => (0, String::new(), "<<>>".to_owned()),
            "reset" => {
                let term = write.number("base_term")?;
                (write.number("base")?, term.to_string(), "<<>>".to_owned())
            }
            _ => {
                let terms = joined(numbers(write, "terms")?);
                (write.number("first")? - 1, terms, self.configs(write)?)
            }
        };
        let text = format!(
            "[kind |-> \"{kind}\", {hard}, prev |-> {prev}, terms |-> <<{terms}>>, configs |-> {configs}]"
        );
        Ok(self.writes.place(text))
    }
}
