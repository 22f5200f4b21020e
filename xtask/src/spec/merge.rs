//! From the records of a cluster's nodes to one trace: what arrives comes after it was sent.
//! Never trusts a clock: it only decides which comes first of what may come in either order.
//!
//! # Source
//! docs/trace.md, "Records of real nodes"; Lamport, "Time, Clocks, and the Ordering of Events in a
//! Distributed System" (1978); Kahn, "Topological Sorting of Large Networks" (1962).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::told::Told;

/// As many nodes as `spec/TraceRaft.cfg` has.
const NODES_MAX: usize = 9;

/// Fields that name a node, and fields that list some.
const NODE: [&str; 9] = [
    "node", "from", "to", "peer", "of", "vote", "leader", "by", "transfer",
];
const NODES: [&str; 4] = ["voters", "outgoing", "learners", "joining"];

/// Lines that belong together: an input with its calls, a turn's end with its, a frame that leaves, a
/// start.
struct Unit {
    lines: Vec<Value>,
    /// The unit that must come first, by record and place. Nothing, if it is in no record.
    after: Option<Option<(usize, usize)>>,
}

/// One end of a connection, as one node saw it.
struct End {
    peer: u64,
    /// The lives of the two processes: this one's, and the peer's.
    lives: (u64, u64),
    /// What left here and what arrived, by place of the unit.
    sent: Vec<(usize, Value)>,
    taken: Vec<(usize, Value)>,
}

/// What one node recorded.
struct Record {
    node: u64,
    units: Vec<Unit>,
    ends: Vec<End>,
    lives: Vec<u64>,
    /// Its last line, if it ends before its node did.
    stopped: Option<Value>,
}

/// Whether a trace is a node's record, and not that of a whole world.
pub fn is_record(text: &str) -> bool {
    let first = first_line(text);
    first["kind"] == "start" && first.get("cluster").is_some()
}

/// What a text's first line tells; nothing if it tells nothing.
fn first_line(text: &str) -> Value {
    let first = text.lines().next().unwrap_or_default();
    serde_json::from_str(first).unwrap_or_default()
}

/// One trace of the records of all nodes of a cluster.
pub fn merge(texts: &[String]) -> Result<String> {
    let read = |(at, text): (usize, &String)| {
        Record::read(text).with_context(|| format!("record {}", at + 1))
    };
    let records = texts.iter().enumerate().map(read);
    let mut records = records.collect::<Result<Vec<_>>>()?;
    let mut clusters = texts.iter().map(|text| first_line(text)["cluster"].clone());
    let first = clusters.next();
    let is_same = clusters.all(|cluster| Some(cluster) == first);
    ensure!(is_same, "these are records of several clusters");
    let mut names = Names::of(&records)?;
    connect(&mut records)?;
    let order = order(&records)?;
    let mut lines = vec![json!({"kind": "merged", "records": records.len()}).to_string()];
    let mut sendings = BTreeMap::new();
    for (of, at) in order {
        let next = sendings.len() + 1;
        let unit = &mut records[of].units[at];
        let sent = unit.after.flatten();
        let arrived = sent.map(|sent| sendings[&sent]);
        for line in &mut unit.lines {
            if line["kind"] == "send" && !line["sending"].is_null() {
                line["sending"] = next.into();
                sendings.insert((of, at), next);
            } else if line["call"]["type"] == "receive" {
                line["call"]["sending"] = arrived.into();
            } else if line["input"]["type"] == "frame" {
                line["input"]["sending"] = arrived.into();
            }
            names.rename(line)?;
            lines.push(line.to_string());
        }
    }
    for mut end in records.into_iter().filter_map(|record| record.stopped) {
        names.rename(&mut end)?;
        lines.push(end.to_string());
    }
    Ok(lines.join("\n") + "\n")
}

impl Record {
    fn read(text: &str) -> Result<Self> {
        let mut record = Self {
            node: 0,
            units: Vec::new(),
            ends: Vec::new(),
            lives: Vec::new(),
            stopped: None,
        };
        let (mut calls, mut is_torn) = (Vec::new(), None);
        for (at, line) in text.lines().enumerate() {
            // A process that was killed may leave the beginning of a line.
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                is_torn.get_or_insert(at + 1);
                continue;
            };
            let kind = line["kind"].as_str().context("a line without a kind")?;
            let ends_life = matches!(kind, "start" | "stopped");
            if let Some(torn) = is_torn.take_if(|_| !ends_life) {
                bail!("line {torn} is not whole, and its process went on");
            }
            is_torn = None;
            record.check(&line)?;
            match kind {
                "core" => calls.push(line),
                "stopped" => record.stopped = Some(line),
                _ => {
                    let mut lines = std::mem::take(&mut calls);
                    if kind == "start" {
                        // What was not complete then, nobody has seen.
                        lines.clear();
                        record.lives.push(line.number("life")?);
                    }
                    lines.push(line);
                    record.add(lines)?;
                }
            }
        }
        Ok(record)
    }

    fn check(&mut self, line: &Value) -> Result<()> {
        let node = line.number("node")?;
        if self.node == 0 {
            ensure!(line["kind"] == "start", "it does not begin with a start");
            self.node = node;
        }
        ensure!(self.node == node, "it has lines of several nodes");
        ensure!(self.stopped.is_none(), "it goes on after its end");
        Ok(())
    }

    fn add(&mut self, lines: Vec<Value>) -> Result<()> {
        let at = self.units.len();
        for line in &lines {
            if line["call"]["type"] == "met" {
                let life = *self.lives.last().context("a call before the first start")?;
                self.ends.push(End {
                    peer: line["call"].number("peer")?,
                    lives: (life, line["call"].number("life")?),
                    sent: Vec::new(),
                    taken: Vec::new(),
                });
            }
        }
        let last = lines.last().context("a unit without lines")?;
        if last["kind"] == "send" && !last["sending"].is_null() {
            let end = self.end(last.number("to")?)?;
            end.sent.push((at, last["message"].clone()));
        }
        let input = &last["input"];
        if input["type"] == "frame" && input["message"]["type"] != "driver" {
            let end = self.end(input.number("from")?)?;
            end.taken.push((at, input["message"].clone()));
        }
        self.units.push(Unit { lines, after: None });
        Ok(())
    }

    /// This node's end of its present connection with a peer.
    fn end(&mut self, peer: u64) -> Result<&mut End> {
        let life = self.lives.last().copied();
        let mut ends = self.ends.iter_mut().rev();
        ends.find(|end| end.peer == peer && Some(end.lives.0) == life)
            .context("a frame to or from a node that was not met")
    }
}

/// Finds out which frame each one is that arrived. A connection loses nothing but its end and changes
/// no order; so what arrived at one end is the beginning of what left the other. Of several
/// connections of the same two lives the first that fits is taken: a message that was sent too early
/// is none, so the earliest sender asks least of the order.
fn connect(records: &mut [Record]) -> Result<()> {
    let mut found = Vec::new();
    for (of, record) in records.iter().enumerate() {
        let mut used = BTreeMap::new();
        for end in record.ends.iter().filter(|end| !end.taken.is_empty()) {
            let other = records.iter().position(|other| other.node == end.peer);
            let other = other.with_context(|| {
                let (node, peer) = (record.node, end.peer);
                format!("node {node:x} has heard from node {peer:x}, of which there is no record")
            })?;
            let begin = used.entry((end.peer, end.lives)).or_insert(0);
            let is_other = |(_, there): &(usize, &End)| {
                there.peer == record.node && (there.lives.1, there.lives.0) == end.lives
            };
            let all = records[other].ends.iter().enumerate().skip(*begin);
            let mut best: Option<(usize, usize)> = None;
            for (at, there) in all.filter(is_other) {
                let pairs = end.taken.iter().zip(&there.sent);
                let same = pairs.take_while(|((_, a), (_, b))| a == b).count();
                if best.is_none_or(|(_, most)| same > most) {
                    best = Some((at, same));
                }
                if same == end.taken.len() {
                    break;
                }
            }
            let (at, same) = best.unwrap_or((0, 0));
            let is_cut = best.is_none_or(|(at, same)| records[other].ends[at].sent.len() == same);
            if same < end.taken.len() && !(is_cut && records[other].stopped.is_some()) {
                let (unit, message) = &end.taken[same];
                let there = best.and_then(|(at, same)| records[other].ends[at].sent.get(same));
                let there = there.map_or("nothing more".to_owned(), |(_, sent)| sent.to_string());
                bail!(
                    "there is no order: node {:x} has heard from node {:x} (at {}) {message}, where \
                     {there} was sent",
                    record.node,
                    end.peer,
                    record.units[*unit].lines[0]["t"],
                );
            }
            *begin = at + 1;
            for (place, (unit, _)) in end.taken.iter().enumerate() {
                let sent = (place < same).then(|| (other, records[other].ends[at].sent[place].0));
                found.push((of, *unit, sent));
            }
        }
    }
    for (of, unit, sent) in found {
        records[of].units[unit].after = Some(sent);
    }
    Ok(())
}

/// The units of all records, each after what it needs.
fn order(records: &[Record]) -> Result<Vec<(usize, usize)>> {
    let mut next = vec![0; records.len()];
    let mut order = Vec::new();
    loop {
        let is_ready = |&of: &usize| {
            let unit = records[of].units.get(next[of]);
            unit.is_some_and(|unit| match unit.after {
                None => true,
                Some(None) => false,
                Some(Some((sender, at))) => next[sender] > at,
            })
        };
        let time = |of: &usize| records[*of].units[next[*of]].lines[0]["t"].as_u64();
        let Some(of) = (0..records.len()).filter(is_ready).min_by_key(time) else {
            break;
        };
        order.push((of, next[of]));
        next[of] += 1;
    }
    let waiting = |of: &usize| next[*of] < records[*of].units.len();
    let waiting: Vec<usize> = (0..records.len()).filter(waiting).collect();
    // After the end of a record others may have heard what is not in it.
    if !waiting.is_empty() && records.iter().all(|record| record.stopped.is_none()) {
        let nodes = waiting.iter().map(|&of| {
            let time = &records[of].units[next[of]].lines[0]["t"];
            format!("node {:x} at {time}", records[of].node)
        });
        let nodes: Vec<String> = nodes.collect();
        bail!(
            "there is no order: what these wait for was sent after what waits: {}",
            nodes.join(", ")
        );
    }
    Ok(order)
}

/// Nodes and lives by small numbers, which is all that TLC has: a node by its place among those with a
/// record, a life by its place in that.
#[derive(Default)]
struct Names {
    nodes: BTreeMap<u64, u64>,
    lives: BTreeMap<u64, u64>,
}

impl Names {
    fn of(records: &[Record]) -> Result<Self> {
        let mut names = Self::default();
        let mut nodes: Vec<u64> = records.iter().map(|record| record.node).collect();
        nodes.sort_unstable();
        for node in nodes {
            ensure!(
                !names.nodes.contains_key(&node),
                "two records are of node {node:x}"
            );
            names.node(node)?;
        }
        for record in records {
            let lives = record.lives.iter().zip(1..);
            names
                .lives
                .extend(lives.map(|(&life, count)| (life, count)));
        }
        Ok(names)
    }

    fn node(&mut self, node: u64) -> Result<u64> {
        let next = self.nodes.len() as u64 + 1;
        let name = *self.nodes.entry(node).or_insert(next);
        ensure!(
            self.nodes.len() <= NODES_MAX,
            "these are more than {NODES_MAX} nodes"
        );
        Ok(name)
    }

    /// Renames all nodes and lives in a value.
    fn rename(&mut self, value: &mut Value) -> Result<()> {
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.rename(item)),
            Value::Object(fields) => fields.iter_mut().try_for_each(|(key, value)| {
                if NODE.contains(&key.as_str()) {
                    self.rename_node(value)
                } else if let (true, Some(nodes)) =
                    (NODES.contains(&key.as_str()), value.as_array_mut())
                {
                    nodes.iter_mut().try_for_each(|node| self.rename_node(node))
                } else if key == "life" {
                    // One that nobody recorded has no place; nor is it asked for.
                    let life = value.as_u64().and_then(|life| self.lives.get(&life));
                    *value = life.copied().unwrap_or(0).into();
                    Ok(())
                } else {
                    self.rename(value)
                }
            }),
            _ => Ok(()),
        }
    }

    /// Zero is no node, and a transfer may also be true or false.
    fn rename_node(&mut self, value: &mut Value) -> Result<()> {
        if let Some(node) = value.as_u64().filter(|&node| node > 0) {
            *value = self.node(node)?.into();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
