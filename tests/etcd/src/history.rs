//! What clients saw: one record for each operation, with its times and its outcome.
//! Never judges; `linearizable` and `revision` do.

use std::fmt;

/// A written value, which stands for its bytes. Recorders give every write a value of its own,
/// because a value that two writes share cannot say which of them a read has seen.
pub type Value = u64;

/// The moment of an operation that has not returned: after every other.
pub const NEVER: u64 = u64::MAX;

/// What a client asked for, on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a value.
    Put(Value),
    /// Read the current value; `None` stands for an absent key, here and below.
    Get,
    /// Write `value` if the current value is `expected`.
    Cas {
        /// The value that must be there.
        expected: Option<Value>,
        /// The value to write then.
        value: Value,
    },
}

/// How an operation ended, as far as its client could tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The put was acknowledged.
    Put,
    /// The read returned this value.
    Got(Option<Value>),
    /// The compare-and-swap found what it expected and wrote its value.
    Swapped,
    /// The compare-and-swap found another value, this one, and wrote nothing.
    Refused(Option<Value>),
    /// The compare-and-swap found another value and did not say which.
    RefusedBlind,
    /// The operation took no effect, and never will.
    Failed,
    /// No answer came: the operation may have taken effect, may do so later, or never.
    Unknown,
}

/// The revisions that came with an answer of etcd's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The store's revision when the operation was carried out.
    pub revision: u64,
    /// The revision that last changed the key that was seen or written; zero for an absent key.
    pub mod_revision: u64,
    /// How many times the key had been written since it was created; zero if the answer did not say.
    pub version: u64,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client; a client has one operation at a time, except for probes.
    pub process: u32,
    /// The key.
    pub key: String,
    /// What was asked.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// When the client sent it, in nanoseconds since the history began.
    pub invoked_ns: u64,
    /// When the answer came, or `NEVER`.
    pub returned_ns: u64,
    /// The revisions in the answer, if one came that carries them.
    pub stamp: Option<Stamp>,
}

impl Operation {
    /// The value that this operation wrote or may yet write, unless it surely wrote nothing.
    pub fn written(&self) -> Option<Value> {
        let value = match self.action {
            Action::Put(value) | Action::Cas { value, .. } => value,
            Action::Get => return None,
        };
        match self.outcome {
            Outcome::Put | Outcome::Swapped | Outcome::Unknown => Some(value),
            _ => None,
        }
    }

    /// What this operation is known to have seen in the register, unless it saw nothing.
    pub fn observed(&self) -> Option<Option<Value>> {
        match (self.action, self.outcome) {
            (_, Outcome::Got(seen) | Outcome::Refused(seen)) => Some(seen),
            (Action::Cas { expected, .. }, Outcome::Swapped) => Some(expected),
            _ => None,
        }
    }

    /// Whether the answer came.
    pub fn is_complete(&self) -> bool {
        !matches!(self.outcome, Outcome::Unknown | Outcome::Failed)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = match self.returned_ns {
            NEVER => "never".to_string(),
            at => format!("{:.3}", at as f64 / 1e6),
        };
        let invoked = self.invoked_ns as f64 / 1e6;
        write!(
            f,
            "{invoked:>12.3} .. {returned:>12} ms  client {:<3} {} ",
            self.process, self.key
        )?;
        match self.action {
            Action::Put(value) => write!(f, "put {value}")?,
            Action::Get => write!(f, "get")?,
            Action::Cas { expected, value } => {
                write!(f, "cas {} -> {value}", Shown(expected))?;
            }
        }
        match self.outcome {
            Outcome::Put => write!(f, ": ok")?,
            Outcome::Got(seen) => write!(f, ": got {}", Shown(seen))?,
            Outcome::Swapped => write!(f, ": swapped")?,
            Outcome::Refused(seen) => write!(f, ": refused, saw {}", Shown(seen))?,
            Outcome::RefusedBlind => write!(f, ": refused")?,
            Outcome::Failed => write!(f, ": surely failed")?,
            Outcome::Unknown => write!(f, ": unknown")?,
        }
        if let Some(stamp) = self.stamp {
            write!(
                f,
                "  (revision {}, mod {})",
                stamp.revision, stamp.mod_revision
            )?;
        }
        Ok(())
    }
}

/// A value as a reader of a report wants it.
struct Shown(Option<Value>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "nothing"),
        }
    }
}
