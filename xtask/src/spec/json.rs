//! JSON, read into a value.
//! Never more than traces need: numbers are whole, and no text has an escape but of a quote, a
//! backslash or a control character.
//!
//! # Source
//! RFC 8259; `crates/sim/src/json.rs`, which writes it.

use anyhow::{Context, Result, bail, ensure};

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json {
    Null,
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value that `text` is.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value()?;
        ensure!(reader.rest.trim().is_empty(), "more than one value");
        Ok(value)
    }

    /// A field of an object, if it has it.
    pub fn find(&self, key: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        fields.iter().find(|(name, _)| name == key).map(|(_, v)| v)
    }

    /// A field of an object.
    pub fn get(&self, key: &str) -> Result<&Self> {
        self.find(key)
            .with_context(|| format!("there is no field {key}"))
    }

    /// A field that is a number.
    pub fn number(&self, key: &str) -> Result<u64> {
        match self.get(key)? {
            Self::Number(number) => Ok(*number),
            other => bail!("{key} is no number but {other:?}"),
        }
    }

    /// A field that is a text.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.get(key)? {
            Self::Text(text) => Ok(text),
            other => bail!("{key} is no text but {other:?}"),
        }
    }

    /// A field that is yes or no.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key)? {
            Self::Flag(flag) => Ok(*flag),
            other => bail!("{key} is neither true nor false but {other:?}"),
        }
    }

    /// A field that is a list.
    pub fn list(&self, key: &str) -> Result<&[Self]> {
        match self.get(key)? {
            Self::List(list) => Ok(list),
            other => bail!("{key} is no list but {other:?}"),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, what: &str) -> bool {
        let found = self.rest.strip_prefix(what);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn value(&mut self) -> Result<Json> {
        self.rest = self.rest.trim_start();
        Ok(match self.rest.bytes().next() {
            Some(b'{') => Json::Object(self.items("{", "}", |reader| {
                let key = reader.string()?;
                ensure!(reader.take(":"), "a field has no value");
                Ok((key, reader.value()?))
            })?),
            Some(b'[') => Json::List(self.items("[", "]", Self::value)?),
            Some(b'"') => Json::Text(self.string()?),
            _ if self.take("null") => Json::Null,
            _ if self.take("true") => Json::Flag(true),
            _ if self.take("false") => Json::Flag(false),
            _ => {
                let digits = |c: char| c.is_ascii_digit();
                let end = self.rest.find(|c| !digits(c)).unwrap_or(self.rest.len());
                let (number, rest) = self.rest.split_at(end);
                self.rest = rest;
                Json::Number(number.parse().context("no value where one is due")?)
            }
        })
    }

    fn items<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        ensure!(self.take(open), "no {open}");
        if self.take(close) {
            return Ok(items);
        }
        loop {
            self.rest = self.rest.trim_start();
            items.push(item(self)?);
            if self.take(close) {
                return Ok(items);
            }
            ensure!(self.take(","), "no comma where one is due");
        }
    }

    fn string(&mut self) -> Result<String> {
        ensure!(self.take("\""), "no quote where one is due");
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('u') => {
                        let code: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&code, 16)?;
                        text.push(char::from_u32(code).context("no character")?);
                    }
                    Some(c @ ('"' | '\\')) => text.push(c),
                    other => bail!("an unknown escape: {other:?}"),
                },
                c => text.push(c),
            }
        }
        bail!("a text without an end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_writes_is_read() -> Result<()> {
        let text = r#"{"t":"\"\\\u000a","o":{"a":null,"b":[1,2]},"f":true,"e":[]}"#;
        let read = Json::parse(text)?;
        assert_eq!(read.text("t")?, "\"\\\n");
        let numbers = [Json::Number(1), Json::Number(2)];
        assert_eq!(read.get("o")?.list("b")?, numbers);
        assert_eq!(read.get("o")?.get("a")?, &Json::Null);
        assert!(read.flag("f")? && read.list("e")?.is_empty());
        for bad in ["", "{", "[1,]", "{\"a\"}", "\"", "1 2"] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
        Ok(())
    }
}
