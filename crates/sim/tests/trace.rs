//! A trace file tells the same of equal plans, and enough to follow every node.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use headwater_sim::plan::Plan;
use headwater_sim::run::run;
use headwater_sim::trace::{Verbosity, Watch};

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn trace_of(plan: Plan) -> (u64, String) {
    let memory = Memory::default();
    let lines: Option<Box<dyn Write + Send>> = Some(Box::new(memory.clone()));
    let words = Verbosity::Silent;
    let report = run(plan, Watch { words, lines });
    let bytes = memory.0.lock().unwrap().clone();
    (report.hash, String::from_utf8(bytes).unwrap())
}

#[test]
fn equal_plans_have_equal_traces_byte_for_byte() {
    for seed in 0..6 {
        let plan = Plan::draw(seed);
        let first = trace_of(plan.clone());
        assert_eq!(first, trace_of(plan.clone()), "seed {seed}");
        let dumped = Plan::parse(&plan.to_string()).unwrap();
        assert_eq!(first, trace_of(dumped), "what seed {seed} dumps");
    }
}

#[test]
fn being_watched_changes_nothing() {
    for seed in 0..6 {
        let silent = run(Plan::draw(seed), Verbosity::Silent.into());
        assert_eq!(silent.hash, trace_of(Plan::draw(seed)).0, "seed {seed}");
    }
}

#[test]
fn every_frame_taken_in_was_sent_before() {
    let number = |line: &str, key: &str| -> Option<u64> {
        let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    };
    let mut frames = 0;
    for seed in 0..6 {
        let (_, text) = trace_of(Plan::draw(seed));
        let mut sent = std::collections::BTreeMap::new();
        for line in text.lines() {
            let Some(sending) = number(line, "sending") else {
                continue;
            };
            let (_, message) = line.split_once("\"message\":").unwrap();
            let message = message.split('}').next().unwrap().to_string();
            let node = number(line, "node").unwrap();
            if line.contains("\"kind\":\"send\"") {
                let to = number(line, "to").unwrap();
                assert_eq!(sent.insert(sending, (node, to, message)), None);
            } else {
                let from = number(line, "from").unwrap();
                assert_eq!(sent.get(&sending), Some(&(from, node, message)), "{line}");
                frames += 1;
            }
        }
    }
    assert!(frames > 5000, "{frames}");
}

#[test]
fn every_field_and_type_stands_in_docs_trace_md() {
    let mut said = BTreeSet::new();
    for seed in 0..6 {
        for line in trace_of(Plan::draw(seed)).1.lines().skip(1) {
            // A quoted word before a colon is a field; one after such a field may be a name.
            let words: Vec<&str> = line.split('"').collect();
            for at in (1..words.len()).step_by(2) {
                let is_field = words.get(at + 1).is_some_and(|next| next.starts_with(':'));
                let of = at.checked_sub(2).map(|field| words[field]);
                if is_field || matches!(of, Some("kind" | "type" | "level" | "role")) {
                    said.insert(words[at].to_string());
                }
            }
        }
    }
    assert!(said.len() > 50, "a trace tells more: {said:?}");
    let page = include_str!("../../../docs/trace.md");
    said.retain(|word| !page.contains(&format!("`{word}`")));
    assert!(said.is_empty(), "not on the page: {said:?}");
}
