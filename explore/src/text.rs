//! Values of TLA+ as text.
//! Never orders anything: whoever reads it knows that sets have no order.
//!
//! # Source
//! Lamport, "Specifying Systems", chapter 16.

use headwater_raft::{Index, NodeId, ReadId, Term};

/// What has a text.
pub trait Text {
    /// It.
    fn text(&self) -> String;
}

/// A text as it is.
impl Text for String {
    fn text(&self) -> String {
        self.clone()
    }
}

impl<T: Text + ?Sized> Text for &T {
    fn text(&self) -> String {
        (**self).text()
    }
}

/// A string of TLA+.
impl Text for str {
    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Text for bool {
    fn text(&self) -> String {
        let text = if *self { "TRUE" } else { "FALSE" };
        text.to_owned()
    }
}

impl Text for u64 {
    fn text(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($name:ident),*) => {
        $(impl Text for $name {
            fn text(&self) -> String {
                self.0.text()
            }
        })*
    };
}
numbers!(Term, Index, ReadId);

impl Text for NodeId {
    fn text(&self) -> String {
        format!("n{}", self.0)
    }
}

/// No node, and no index, have names of their own.
impl Text for Option<NodeId> {
    fn text(&self) -> String {
        self.map_or("Nil".to_owned(), |id| id.text())
    }
}

impl Text for Option<Index> {
    fn text(&self) -> String {
        self.map_or("-1".to_owned(), |index| index.text())
    }
}

/// A sequence.
impl<T: Text> Text for [T] {
    fn text(&self) -> String {
        format!("<<{}>>", joined(self))
    }
}

impl<T: Text> Text for Vec<T> {
    fn text(&self) -> String {
        self.as_slice().text()
    }
}

/// A set.
#[derive(Default)]
pub struct Set<T>(pub Vec<T>);

impl<T: Text> Text for Set<T> {
    fn text(&self) -> String {
        format!("{{{}}}", joined(&self.0))
    }
}

/// A function on nodes; without any it is the empty sequence.
pub struct Function(pub Vec<(NodeId, String)>);

impl Text for Function {
    fn text(&self) -> String {
        let pairs = self
            .0
            .iter()
            .map(|(of, value)| format!("{} :> {value}", of.text()));
        let pairs: Vec<String> = pairs.collect();
        if pairs.is_empty() {
            return "<<>>".to_owned();
        }
        format!("({})", pairs.join(" @@ "))
    }
}

fn joined<T: Text>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(Text::text).collect();
    texts.join(", ")
}

/// Fields of a record, by the names that they have in the specification.
pub type Fields = Vec<(&'static str, String)>;

/// Fields: `fields! { term: Term(1), last: Index(2) }`.
#[macro_export]
macro_rules! fields {
    ($($name:tt: $value:expr),* $(,)?) => {
        vec![$((stringify!($name), $crate::text::Text::text(&$value))),*]
    };
}

/// A record of these fields.
pub fn record(fields: Fields) -> String {
    let fields = fields
        .into_iter()
        .map(|(name, value)| format!("{name} |-> {value}"));
    format!("[{}]", fields.collect::<Vec<_>>().join(", "))
}
