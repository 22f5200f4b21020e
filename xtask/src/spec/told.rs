//! The fields of what a trace tells, each with the reason if it is not what it should be.
//! Never reads text: serde_json does.
//!
//! # Source
//! docs/trace.md.

use anyhow::{Context, Result};
use serde_json::Value;

/// What has fields.
pub trait Told {
    /// A field.
    fn field(&self, key: &str) -> Result<&Value>;

    /// A field that is a number.
    fn number(&self, key: &str) -> Result<u64> {
        let is = self.field(key)?;
        is.as_u64()
            .with_context(|| format!("{key} is no number but {is}"))
    }

    /// A field that is a text.
    fn text(&self, key: &str) -> Result<&str> {
        let is = self.field(key)?;
        is.as_str()
            .with_context(|| format!("{key} is no text but {is}"))
    }

    /// A field that is yes or no.
    fn flag(&self, key: &str) -> Result<bool> {
        let is = self.field(key)?;
        is.as_bool()
            .with_context(|| format!("{key} is neither true nor false but {is}"))
    }

    /// A field that is a list.
    fn list(&self, key: &str) -> Result<&[Value]> {
        let is = self.field(key)?;
        let list = is.as_array().map(Vec::as_slice);
        list.with_context(|| format!("{key} is no list but {is}"))
    }
}

impl Told for Value {
    fn field(&self, key: &str) -> Result<&Value> {
        self.get(key)
            .with_context(|| format!("there is no field {key}"))
    }
}

/// The lines of a trace.
pub fn lines(text: &str) -> impl Iterator<Item = Result<Value>> {
    let read = |(at, line)| serde_json::from_str(line).with_context(|| format!("line {}", at + 1));
    text.lines().enumerate().map(read)
}
