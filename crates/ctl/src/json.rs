//! JSON as Go writes it: fields in the order of the API's description, those at zero left out.
//! Never reads any.
//!
//! # Source
//! Go's `encoding/json` on the API's generated structures; RFC 8259.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_api::descriptors::FILES;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, OneofDescriptor, ReflectMessage, Value,
};

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(i128),
    /// A text.
    Text(String),
    /// Several values.
    List(Vec<Json>),
    /// Values with names, in this order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Values with names.
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Self::Object(members.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number.
    pub fn number(number: impl Into<i128>) -> Self {
        Self::Number(number.into())
    }

    /// Bytes in base64.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Text(STANDARD.encode(bytes))
    }

    /// A message of the API.
    ///
    /// `name`: what the description calls it.
    pub fn of(name: &str, message: &impl Message) -> Self {
        let described = pool()
            .get_message_by_name(name)
            .expect("messages are made from the description");
        let bytes = message.encode_to_vec();
        let message = DynamicMessage::decode(described, bytes.as_slice());
        of_message(&message.expect("both sides have the same description"))
    }

    /// The same with every id as a text in hexadecimal, as `--hex` has it of members.
    pub fn with_hexadecimal_ids(self) -> Self {
        match self {
            Self::List(values) => {
                Self::List(values.into_iter().map(Self::with_hexadecimal_ids).collect())
            }
            Self::Object(members) => {
                let member = |(name, value): (String, Self)| match value {
                    Self::Number(id)
                        if ["ID", "cluster_id", "member_id"].contains(&name.as_str()) =>
                    {
                        (name, Self::Text(format!("{id:x}")))
                    }
                    value => (name, value.with_hexadecimal_ids()),
                };
                Self::Object(members.into_iter().map(member).collect())
            }
            value => value,
        }
    }

    /// The same object with these members behind its own.
    pub fn and<const N: usize>(self, more: [(&str, Json); N]) -> Self {
        let (Self::Object(mut members), Self::Object(more)) = (self, Self::object(more)) else {
            unreachable!("only objects have members");
        };
        members.extend(more);
        Self::Object(members)
    }
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(FILES).expect("the description is generated"))
}

fn of_message(message: &DynamicMessage) -> Json {
    let mut members = Vec::new();
    let mut seen: Vec<OneofDescriptor> = Vec::new();
    let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    // By place in the description, which is how Go's structures have them.
    fields.sort_by_key(|field| field.path().last().copied());
    for field in fields {
        match field.containing_oneof() {
            Some(choice) if seen.contains(&choice) => {}
            Some(choice) => {
                members.push((camel(choice.name()), of_choice(message, &choice)));
                seen.push(choice);
            }
            None if message.has_field(&field) => {
                let value = of_value(&message.get_field(&field));
                members.push((field.name().to_owned(), value));
            }
            None => {}
        }
    }
    Json::Object(members)
}

/// Go has a structure around the one field that is there.
fn of_choice(message: &DynamicMessage, choice: &OneofDescriptor) -> Json {
    let is_there = |field: &FieldDescriptor| message.has_field(field);
    match choice.fields().find(is_there) {
        None => Json::Null,
        Some(field) => Json::Object(vec![(
            camel(field.name()),
            of_value(&message.get_field(&field)),
        )]),
    }
}

fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

fn of_value(value: &Value) -> Json {
    match value {
        Value::Bool(is) => Json::Bool(*is),
        Value::I32(number) | Value::EnumNumber(number) => Json::number(*number),
        Value::I64(number) => Json::number(*number),
        Value::U32(number) => Json::number(*number),
        Value::U64(number) => Json::number(*number),
        Value::F32(_) | Value::F64(_) | Value::Map(_) => unreachable!("the API has none"),
        Value::String(text) => Json::text(text.clone()),
        Value::Bytes(bytes) => Json::bytes(bytes),
        Value::Message(message) => of_message(message),
        Value::List(values) => Json::List(values.iter().map(of_value).collect()),
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            // What Go writes may stand in HTML.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                write!(f, "\\u{:04x}", u32::from(c))?;
            }
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use headwater_api::etcdserverpb::{ResponseHeader, ResponseOp, TxnResponse};

    use super::*;

    #[test]
    fn a_message_has_its_fields_in_order_and_none_at_zero() {
        let header = ResponseHeader {
            cluster_id: u64::MAX,
            revision: -1,
            ..Default::default()
        };
        let answer = TxnResponse {
            header: Some(header),
            succeeded: false,
            responses: vec![ResponseOp { response: None }],
        };
        let json = Json::of("etcdserverpb.TxnResponse", &answer).to_string();
        assert_eq!(
            json,
            "{\"header\":{\"cluster_id\":18446744073709551615,\"revision\":-1},\
             \"responses\":[{\"Response\":null}]}"
        );
    }

    #[test]
    fn a_text_may_stand_in_html() {
        assert_eq!(
            Json::text("<a>&\"\u{1}").to_string(),
            "\"\\u003ca\\u003e\\u0026\\\"\\u0001\""
        );
    }
}
