//! When two nodes are the same: their `Debug` texts, freed of what cannot matter.
//! Never loses anything that can change what a node does next.
//!
//! The text names every field, so a field that is added later tells states apart at once. What is
//! taken out, and why no behaviour depends on it:
//!
//! * **Moments** become distances from the node's own clock, no further than one tick either way.
//!   The core only asks how long ago a moment is, whether it has come, and which of two is later;
//!   and the only delays it compares with are none and one tick. All that is a tick or more away
//!   behaves alike now and, since clocks only advance, ever after. No moment is set further ahead
//!   than one tick, but for the one that never comes, which is left as it is.
//! * **When a node last began to stand** is asked only when its own vote becomes durable, and until
//!   then its clock stands still.
//! * **Ids of writes** count from the last durable one, and those up to it are one. The core only
//!   asks whether an id is durable, and durable stays durable.
//! * **The dice's state**: with an election timeout of one tick they have one side.
//! * **Names of nodes**, if asked: a renaming of all nodes in the whole state gives a state that
//!   behaves the same under new names, for the core compares ids only to keep lists in order. So
//!   maps by node and lists of nodes are put in order again after the renaming. Other lists keep
//!   their order, so at worst two like states count as two.
//!
//! # Source
//! Ip & Dill, "Better verification through symmetry" (1996).

use std::hash::{DefaultHasher, Hasher};

use crate::node::NODES;

/// A renaming: the new place of each node.
pub type Renaming = [usize; NODES];

/// How many renamings there are.
pub const RENAMINGS: usize = 6;

/// All renamings, the one that changes nothing first.
pub const ALL: [Renaming; RENAMINGS] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Where a node's moments and ids of writes count from.
#[derive(Clone, Copy, Default)]
pub struct Origin {
    /// What its clock shows.
    pub now: u64,
    /// Its last durable write.
    pub persisted: u64,
}

/// The hash of a value's text, its likeness under one renaming.
pub fn hash(text: &str, origin: Origin, renaming: Renaming) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(likeness(text, origin, renaming).as_bytes());
    hasher.finish()
}

/// The hash of a value's text under each renaming.
pub fn hashes(text: &str, origin: Origin) -> [u64; RENAMINGS] {
    ALL.map(|renaming| hash(text, origin, renaming))
}

/// The text of a value, without what cannot matter.
pub fn likeness(text: &str, origin: Origin, renaming: Renaming) -> String {
    let mut reader = Reader {
        text,
        origin,
        renaming,
    };
    let mut out = String::with_capacity(text.len());
    reader.item(&mut out);
    out
}

struct Reader<'a> {
    text: &'a str,
    origin: Origin,
    renaming: Renaming,
}

impl Reader<'_> {
    /// Copies one item: words and groups, up to a comma or the end of the group it stands in.
    fn item(&mut self, out: &mut String) {
        loop {
            let bytes = self.text.as_bytes();
            let end = bytes
                .iter()
                .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'@' && *byte != b'_');
            let (word, rest) = self.text.split_at(end.unwrap_or(bytes.len()));
            self.text = rest;
            self.word(word, out);
            match rest.bytes().next() {
                None | Some(b',' | b')' | b']' | b'}') => return,
                Some(b'(' | b'[' | b'{') => {
                    let (is_dice, start) = (out.ends_with("Dice "), out.len());
                    self.group(out);
                    if is_dice {
                        out.truncate(start);
                    }
                }
                Some(other) => {
                    out.push(other.into());
                    self.text = &rest[1..];
                }
            }
        }
    }

    /// Copies a group with its brackets. What is ordered by node is put in order again.
    fn group(&mut self, out: &mut String) {
        // Answers that wait for the disk leave together, onto a wire without order; reads that
        // wait for a round bear their order in themselves.
        let is_set = out.ends_with("waiting: ");
        let (open, close) = self.text.split_at(1);
        self.text = close;
        out.push_str(open);
        let start = out.len();
        let (mut ends, mut is_by_node) = (Vec::new(), open != "(");
        while !self.text.starts_with([')', ']', '}']) {
            let from = out.len();
            self.item(out);
            out.push(',');
            is_by_node = is_by_node && is_node(&out[from..]);
            ends.push(out.len());
            self.text = self.text.trim_start_matches([',', ' ']);
        }
        self.text = &self.text[1..];
        if is_by_node || is_set {
            let text = out.split_off(start);
            let mut from = 0;
            let mut items: Vec<&str> = ends
                .iter()
                .map(|end| &text[std::mem::replace(&mut from, end - start)..end - start])
                .collect();
            items.sort_unstable();
            items.into_iter().for_each(|item| out.push_str(item));
        }
        out.push('|');
    }

    fn word(&self, word: &str, out: &mut String) {
        let far = |from: u64, to: u64| to as i64 - from as i64;
        if let Some(id) = number(word, 'n') {
            let place = usize::try_from(id).expect("few nodes");
            // Zero is no node.
            let new = place.checked_sub(1).map_or(0, |at| self.renaming[at] + 1);
            out.push('n');
            out.push_str(["0", "1", "2", "3"][new]);
        } else if word.starts_with('@') && out.ends_with("stood_at: ") {
            out.push('@');
        } else if let Some(moment) = number(word, '@').filter(|moment| *moment < u64::MAX) {
            let moment = far(self.origin.now, moment).clamp(-1, 1) + 1;
            out.push_str(["@past", "@now", "@soon"][moment as usize]);
        } else if let Some(id) = number(word, 'w') {
            let ahead = far(self.origin.persisted, id).max(0);
            out.push_str(&format!("w{ahead}"));
        } else {
            out.push_str(word);
        }
    }
}

/// Whether an item is a node, or something of a node.
fn is_node(item: &str) -> bool {
    let key = item.split([':', ',']).next().unwrap_or_default();
    number(key, 'n').is_some()
}

/// The number behind a letter, if the word is nothing else.
fn number(word: &str, letter: char) -> Option<u64> {
    word.strip_prefix(letter)?.parse().ok()
}
