//! Values of TLA+, read from text and written so that equal ones have equal texts.
//! Never evaluates anything: what is read is what TLC prints.
//!
//! # Source
//! Lamport, "Specifying Systems", chapter 16.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number, a string with its quotes, TRUE and FALSE, a name of a constant.
    Atom(String),
    Set(Vec<Value>),
    Sequence(Vec<Value>),
    Record(BTreeMap<String, Value>),
    Function(Vec<(Value, Value)>),
}

impl Value {
    /// Reads one that takes up all of the text.
    pub fn read(text: &str) -> Result<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value().with_context(|| text.to_owned())?;
        match reader.rest {
            "" => Ok(value),
            more => bail!("more behind the value: {more}"),
        }
    }

    /// The text of the value with other names for atoms, in which sets, records and functions have
    /// an order.
    pub fn write(&self, rename: &impl Fn(&str) -> String) -> String {
        let all = |items: &[Self]| -> Vec<String> {
            items.iter().map(|item| item.write(rename)).collect()
        };
        match self {
            Self::Atom(atom) => rename(atom),
            Self::Sequence(items) => format!("<<{}>>", all(items).join(", ")),
            Self::Set(items) => {
                let mut items = all(items);
                items.sort_unstable();
                items.dedup();
                format!("{{{}}}", items.join(", "))
            }
            Self::Record(fields) => {
                let field =
                    |(name, value): (&String, &Self)| format!("{name} |-> {}", value.write(rename));
                let fields: Vec<String> = fields.iter().map(field).collect();
                format!("[{}]", fields.join(", "))
            }
            Self::Function(pairs) => {
                let pair = |(of, value): &(Self, Self)| {
                    format!("{} :> {}", of.write(rename), value.write(rename))
                };
                let mut pairs: Vec<String> = pairs.iter().map(pair).collect();
                pairs.sort_unstable();
                format!("({})", pairs.join(" @@ "))
            }
        }
    }

    /// What the value has in each of its places, by the way there: `queue.1.hint`. A set is one
    /// place.
    pub fn places(&self) -> BTreeMap<String, String> {
        let mut places = BTreeMap::new();
        self.add_places(String::new(), &mut places);
        places
    }

    fn add_places(&self, way: String, places: &mut BTreeMap<String, String>) {
        let inside: Vec<(String, &Self)> = match self {
            Self::Atom(_) | Self::Set(_) => Vec::new(),
            Self::Sequence(items) => {
                let name = |(at, item): (usize, _)| ((at + 1).to_string(), item);
                items.iter().enumerate().map(name).collect()
            }
            Self::Record(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), value))
                .collect(),
            Self::Function(pairs) => {
                let name = |of: &Self| of.write(&str::to_owned);
                pairs.iter().map(|(of, value)| (name(of), value)).collect()
            }
        };
        if inside.is_empty() {
            places.insert(way, self.write(&str::to_owned));
            return;
        }
        for (name, value) in inside {
            let dot = if way.is_empty() { "" } else { "." };
            value.add_places(format!("{way}{dot}{name}"), places);
        }
    }

    /// A field of a record.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Record(fields) => fields.get(name),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value> {
        self.skip_space();
        if self.has("<<") {
            return Ok(Value::Sequence(self.list(">>", ",", Self::value)?));
        }
        if self.has("{") {
            return Ok(Value::Set(self.list("}", ",", Self::value)?));
        }
        if self.has("[") {
            let field = |reader: &mut Self| {
                let name = reader.atom()?.to_owned();
                reader.expect("|->")?;
                Ok((name, reader.value()?))
            };
            let fields = self.list("]", ",", field)?;
            return Ok(Value::Record(fields.into_iter().collect()));
        }
        if self.has("(") {
            let pair = |reader: &mut Self| {
                let of = reader.value()?;
                reader.expect(":>")?;
                Ok((of, reader.value()?))
            };
            return Ok(Value::Function(self.list(")", "@@", pair)?));
        }
        Ok(Value::Atom(self.atom()?.to_owned()))
    }

    fn list<T>(
        &mut self,
        end: &str,
        between: &str,
        item: impl Fn(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        self.skip_space();
        while !self.has(end) {
            if !items.is_empty() {
                self.expect(between)?;
            }
            items.push(item(self)?);
            self.skip_space();
        }
        Ok(items)
    }

    fn atom(&mut self) -> Result<&'a str> {
        self.skip_space();
        let end = match self.rest.strip_prefix('"') {
            Some(inside) => inside.find('"').context("a string without an end")? + 2,
            None => {
                let is_in = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
                self.rest.find(|c| !is_in(c)).unwrap_or(self.rest.len())
            }
        };
        let (atom, rest) = self.rest.split_at(end);
        if atom.is_empty() {
            bail!("no value here: {rest}");
        }
        self.rest = rest;
        Ok(atom)
    }

    fn has(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, what: &str) -> Result<()> {
        self.skip_space();
        match self.has(what) {
            true => Ok(()),
            false => bail!("no {what} here: {}", self.rest),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}
