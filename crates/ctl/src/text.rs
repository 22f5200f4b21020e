//! How answers are printed: the formats, and what they share.
//! Never knows a command; each room says what its answers look like.
//!
//! # Source
//! etcdctl's output formats; Go's `%q`.

use std::io::Write;

use clap::ValueEnum;
use headwater_api::etcdserverpb::ResponseHeader;
use headwater_api::mvccpb::KeyValue;
use prost::Message;

use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::table::Table;

/// What is printed: bytes, because keys and values are.
pub type Text = Vec<u8>;

/// How to print.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Lines for people and scripts.
    Simple,
    /// One line of JSON.
    Json,
    /// A line a field.
    Fields,
    /// A drawn table.
    Table,
    /// The message as it came.
    Protobuf,
}

/// How to print, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The format.
    pub format: Format,
    /// Whether bytes are printed as hexadecimal numbers.
    pub hex: bool,
}

/// An answer of the server's that can be printed.
pub trait Answer: Message + Sized {
    /// The message's name in the API's description.
    const NAME: &'static str;

    /// Lines for people and scripts.
    fn simple(&self, text: &mut Text, style: Style);

    /// A line a field.
    ///
    /// # Errors
    /// There is no such form of it.
    fn fields(&self, _text: &mut Text, _style: Style) -> Result<()> {
        Err(unsupported("fields"))
    }

    /// As JSON.
    fn json(&self, _style: Style) -> Json {
        Json::of(Self::NAME, self)
    }

    /// As a table.
    ///
    /// # Errors
    /// There is no such form of it.
    fn table(&self, _style: Style) -> Result<Table> {
        Err(unsupported("table"))
    }
}

/// That there is no such form of an answer.
pub fn unsupported(format: &str) -> Failure {
    Failure::feature(format!("{format} not supported as output format"))
}

impl Style {
    /// An answer as it is to be printed.
    ///
    /// # Errors
    /// There is no such form of it.
    pub fn render(self, answer: &impl Answer) -> Result<Text> {
        let mut text = Text::new();
        match self.format {
            Format::Simple => answer.simple(&mut text, self),
            Format::Fields => answer.fields(&mut text, self)?,
            Format::Json => text = format!("{}\n", answer.json(self)).into(),
            Format::Table => text = answer.table(self)?.draw().into(),
            Format::Protobuf => text = answer.encode_to_vec(),
        }
        Ok(text)
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// There is no such form of it, or nobody reads.
    pub fn print(self, answer: &impl Answer) -> Result<()> {
        say(&self.render(answer)?)
    }
}

/// Writes to the standard output, at once.
///
/// # Errors
/// It cannot be written; a reader who has left ends the program without a word.
pub fn say(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Adds a line.
pub fn line(text: &mut Text, words: impl AsRef<[u8]>) {
    text.extend_from_slice(words.as_ref());
    text.push(b'\n');
}

/// Adds `"NAME" : VALUE`.
pub fn field(text: &mut Text, name: &str, value: impl std::fmt::Display) {
    line(text, format!("\"{name}\" : {value}"));
}

/// Adds who answered.
pub fn header_fields(text: &mut Text, header: Option<&ResponseHeader>) {
    let none = ResponseHeader::default();
    let header = header.unwrap_or(&none);
    field(text, "ClusterID", header.cluster_id);
    field(text, "MemberID", header.member_id);
    field(text, "Revision", header.revision);
    field(text, "RaftTerm", header.raft_term);
}

/// Adds a key and what belongs to it; every name begins with `prefix`.
pub fn key_fields(text: &mut Text, prefix: &str, key: &KeyValue) {
    let mut add = |name: &str, value: String| field(text, &format!("{prefix}{name}"), value);
    add("Key", quote(&key.key));
    add("CreateRevision", key.create_revision.to_string());
    add("ModRevision", key.mod_revision.to_string());
    add("Version", key.version.to_string());
    add("Value", quote(&key.value));
    add("Lease", key.lease.to_string());
}

/// Adds a key and its value, a line each.
pub fn key_lines(text: &mut Text, style: Style, key: &KeyValue) {
    line(text, shown(style, &key.key));
    line(text, shown(style, &key.value));
}

/// Bytes as they are, or as `\x` numbers.
pub fn shown(style: Style, bytes: &[u8]) -> Vec<u8> {
    if style.hex {
        let digits = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
        digits.collect::<String>().into()
    } else {
        bytes.to_vec()
    }
}

/// Bytes between quotation marks, with what cannot be printed as Go escapes it.
pub fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| escape(&mut quoted, c));
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn escape(quoted: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    let number = u32::from(c);
    if !short.is_empty() {
        quoted.push_str(short);
    } else if c.is_ascii_control() {
        quoted.push_str(&format!("\\x{number:02x}"));
    } else if c == '\'' || c.escape_debug().count() == 1 {
        quoted.push(c);
    } else if number < 0x10000 {
        quoted.push_str(&format!("\\u{number:04x}"));
    } else {
        quoted.push_str(&format!("\\U{number:08x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped_as_go_does() {
        assert_eq!(
            quote("a'\"\\\n\x01\u{7f}".as_bytes()),
            "\"a'\\\"\\\\\\n\\x01\\x7f\""
        );
        assert_eq!(quote(b"\xff\xd0\xba\xd0"), "\"\\xffк\\xd0\"");
        assert_eq!(quote("\u{200b}".as_bytes()), "\"\\u200b\"");
    }
}
