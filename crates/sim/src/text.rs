//! How plans are written: words of a line, their units, and errors that name line and word.
//! Never decides what a plan means.
//!
//! A field whose name ends in `_ns` is a time and bears a unit; names are written with dashes.
//!
//! # Source
//! docs/plans.md.

use std::fmt;

/// Nanoseconds in the units that times are written in, the greatest first.
const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// A line that is not as docs/plans.md has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Which line, from one; zero for what is missing as a whole.
    pub line: usize,
    /// The word that is wrong; empty where one is missing.
    pub word: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.word.is_empty() {
            write!(f, ", \"{}\"", self.word)?;
        }
        write!(f, ": {}", self.why)
    }
}

impl std::error::Error for Malformed {}

/// A value that is one word of a line.
pub(crate) trait Word: Sized {
    /// The word for this value; `is_time` if it is in nanoseconds.
    fn spell(&self, is_time: bool) -> String;

    /// The value of a word, or what is wrong with it.
    fn read(word: &str, is_time: bool) -> Result<Self, String>;
}

impl Word for u64 {
    fn spell(&self, is_time: bool) -> String {
        if !is_time {
            return self.to_string();
        }
        let exact = UNITS.iter().find(|(_, ns)| self.is_multiple_of(*ns));
        let (unit, ns) = exact.unwrap_or(&("ns", 1));
        format!("{}{unit}", self / ns)
    }

    fn read(word: &str, is_time: bool) -> Result<Self, String> {
        let end = word.find(|c: char| !c.is_ascii_digit());
        let (digits, unit) = word.split_at(end.unwrap_or(word.len()));
        let number: Option<u64> = digits.parse().ok();
        if !is_time {
            let whole = number.filter(|_| unit.is_empty());
            return whole.ok_or_else(|| "a number is wanted".to_string());
        }
        let ns = UNITS.iter().find(|(name, _)| *name == unit);
        let time = number.zip(ns).and_then(|(n, (_, ns))| n.checked_mul(*ns));
        time.ok_or_else(|| "a time is wanted: a number and s, ms, us or ns".to_string())
    }
}

impl Word for bool {
    fn spell(&self, _: bool) -> String {
        if *self { "yes" } else { "no" }.into()
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        match word {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("yes or no is wanted".into()),
        }
    }
}

/// A node by its place, counted from zero; written `n1`, `n2` and so on.
impl Word for usize {
    fn spell(&self, _: bool) -> String {
        format!("n{}", self + 1)
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let number: Option<usize> = word.strip_prefix('n').and_then(|n| n.parse().ok());
        let place = number.and_then(|number| number.checked_sub(1));
        place
            .filter(|place| *place < 64)
            .ok_or_else(|| "a node is wanted, as n1".to_string())
    }
}

/// The name of a field or variant in a plan: `down_ns` is `down`, `SyncFails` is `sync-fails`.
pub(crate) fn name_of(ident: &str) -> String {
    let mut name = String::new();
    for (at, c) in ident.strip_suffix("_ns").unwrap_or(ident).char_indices() {
        if c.is_uppercase() && at > 0 {
            name.push('-');
        }
        name.push(if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        });
    }
    name
}

/// Whether a field is a time.
pub(crate) fn is_time(ident: &str) -> bool {
    ident.ends_with("_ns")
}

/// A field as a plan has it: `name=value`.
pub(crate) fn field(ident: &str, value: &impl Word) -> String {
    format!("{}={}", name_of(ident), value.spell(is_time(ident)))
}

/// What a line says, word by word.
pub(crate) struct Line<'a> {
    number: usize,
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    /// The lines of a text that say anything.
    pub(crate) fn all(text: &'a str) -> impl Iterator<Item = Line<'a>> {
        let lines = text.lines().enumerate();
        lines.filter_map(|(at, line)| {
            let told = line.split('#').next().unwrap_or_default();
            let mut words: Vec<&str> = told.split_whitespace().collect();
            words.reverse();
            let number = at + 1;
            (!words.is_empty()).then_some(Line { number, words })
        })
    }

    /// An error about a word of this line.
    pub(crate) fn wrong(&self, word: &str, why: impl Into<String>) -> Malformed {
        Malformed {
            line: self.number,
            word: word.into(),
            why: why.into(),
        }
    }

    /// The next word.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, Malformed> {
        let word = self.words.pop();
        word.ok_or_else(|| self.wrong("", format!("{what} is missing")))
    }

    /// The next word as a value.
    pub(crate) fn value<T: Word>(&mut self, what: &str, is_time: bool) -> Result<T, Malformed> {
        let word = self.word(what)?;
        T::read(word, is_time).map_err(|why| self.wrong(word, why))
    }

    /// All words that are left.
    pub(crate) fn rest(&mut self) -> Vec<&'a str> {
        let mut words = std::mem::take(&mut self.words);
        words.reverse();
        words
    }

    /// The field of this name among the words that are left, if it is there.
    pub(crate) fn optional<T: Word>(&mut self, ident: &str) -> Result<Option<T>, Malformed> {
        let name = name_of(ident);
        let is_it = |word: &&str| word.split_once('=').is_some_and(|(key, _)| key == name);
        let Some(at) = self.words.iter().position(is_it) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        let value = word.split_once('=').map_or("", |(_, value)| value);
        let read = T::read(value, is_time(ident));
        read.map(Some).map_err(|why| self.wrong(word, why))
    }

    /// The field of this name.
    pub(crate) fn field<T: Word>(&mut self, ident: &str) -> Result<T, Malformed> {
        let found = self.optional(ident)?;
        found.ok_or_else(|| self.wrong("", format!("{}= is missing", name_of(ident))))
    }

    /// What is left are the fields of these names, in any order, each once: else an error that names
    /// all of them.
    pub(crate) fn only(&self, what: &str, idents: &[&str]) -> Result<(), Malformed> {
        let names: Vec<String> = idents.iter().map(|it| name_of(it) + "=").collect();
        let all = names.join(" ");
        let mut words = self.words.iter().rev();
        let strange = words.find(|word| !names.iter().any(|name| word.starts_with(name.as_str())));
        if let Some(word) = strange {
            return Err(self.wrong(word, format!("{what} has {all}")));
        }
        let is_there = |name: &&String| self.words.iter().any(|w| w.starts_with(name.as_str()));
        match names.iter().find(|name| !is_there(name)) {
            Some(name) => Err(self.wrong("", format!("{name} is missing; {what} has {all}"))),
            None => Ok(()),
        }
    }

    /// Nothing may be left over.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.words.last() {
            Some(word) => Err(self.wrong(word, "nobody knows this word here")),
            None => Ok(()),
        }
    }
}
