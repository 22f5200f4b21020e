//! JSON, one object a line, in the order its fields are given.
//! Never reads any.
//!
//! # Source
//! RFC 8259.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// An object under construction.
#[derive(Debug)]
pub struct Object(String);

impl Default for Object {
    fn default() -> Self {
        Self("{".into())
    }
}

impl Object {
    /// An object without fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }

    /// A field that is a number.
    pub fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// A field that is a number, or null.
    pub fn maybe(mut self, key: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(key, value),
            None => {
                self.key(key);
                self.0.push_str("null");
                self
            }
        }
    }

    /// A field that is yes or no.
    pub fn flag(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// A field that is a list of numbers.
    pub fn numbers(mut self, key: &str, values: impl IntoIterator<Item = u64>) -> Self {
        self.key(key);
        let words: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        let _ = write!(self.0, "[{}]", words.join(","));
        self
    }

    /// A field that is a text.
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                c if c < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", c as u32);
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// A field that is an object.
    pub fn object(mut self, key: &str, value: Self) -> Self {
        self.key(key);
        self.0.push_str(&value.end());
        self
    }

    /// A field that is a list of objects.
    pub fn objects(mut self, key: &str, values: impl IntoIterator<Item = Self>) -> Self {
        self.key(key);
        let objects: Vec<String> = values.into_iter().map(Self::end).collect();
        let _ = write!(self.0, "[{}]", objects.join(","));
        self
    }

    /// The object as text.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_json_whatever_its_texts_hold() {
        let inner = Object::new().maybe("a", None).numbers("b", [1, 2]);
        let object = Object::new()
            .text("t", "\"\\\n")
            .object("o", inner)
            .flag("f", true);
        let expected = r#"{"t":"\"\\\u000a","o":{"a":null,"b":[1,2]},"f":true}"#;
        assert_eq!(object.end(), expected);
    }
}
