//! A message's JSON, part by part: of a range with a million keys there is one at a time as a message that can
//! be asked for its fields, which takes fifty times its bytes.
//! Never knows how JSON spells a value: the library does.
//!
//! # Source
//! Protocol Buffers, "Encoding"; the JSON mapping of proto3.

use bytes::Bytes;
use prost::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};

/// A field in a message's bytes: its number, and where it begins and ends.
#[derive(Clone, Copy)]
struct Part {
    number: u32,
    begin: u32,
    end: u32,
}

/// The JSON of a message of this kind.
///
/// # Errors
/// The bytes are none.
pub fn spelled(kind: &MessageDescriptor, message: &[u8]) -> Result<String, String> {
    let mut json = Vec::new();
    spell(kind, message, &mut json)?;
    String::from_utf8(json).map_err(told)
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn spell(kind: &MessageDescriptor, message: &[u8], json: &mut Vec<u8>) -> Result<(), String> {
    let mut parts = parts(message).map_err(told)?;
    // In the order that the library has, too.
    parts.sort_by_key(|part| part.number);
    json.push(b'{');
    let mut rest = parts.as_slice();
    while let Some(first) = rest.first() {
        let field = kind.get_field(first.number);
        if let Some((field, inner)) = field.and_then(of_messages) {
            let (same, others) = rest.split_at(run(rest, |part| part.number == first.number));
            rest = others;
            spell_field(&field, &inner, message, same, json)?;
        } else {
            let is_plain =
                |part: &Part| kind.get_field(part.number).and_then(of_messages).is_none();
            let (plain, others) = rest.split_at(run(rest, is_plain));
            rest = others;
            spell_plain(kind, message, plain, json)?;
        }
    }
    close(b'}', json);
    Ok(())
}

/// Ends a list of what has a comma behind it.
fn close(end: u8, json: &mut Vec<u8>) {
    if json.last() == Some(&b',') {
        json.pop();
    }
    json.push(end);
}

/// How many of them are so, from the first on.
fn run(parts: &[Part], is_so: impl Fn(&Part) -> bool) -> usize {
    parts.iter().take_while(|part| is_so(part)).count()
}

fn parts(message: &[u8]) -> Result<Vec<Part>, DecodeError> {
    let mut parts = Vec::new();
    let mut rest = message;
    let at = |rest: &[u8]| (message.len() - rest.len()) as u32;
    while rest.has_remaining() {
        let begin = at(rest);
        let (number, wire_type) = decode_key(&mut rest)?;
        skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
        let end = at(rest);
        parts.push(Part { number, begin, end });
    }
    Ok(parts)
}

/// A field that has messages, and their kind.
fn of_messages(field: FieldDescriptor) -> Option<(FieldDescriptor, MessageDescriptor)> {
    match field.kind() {
        Kind::Message(inner) if !field.is_map() => Some((field, inner)),
        _ => None,
    }
}

fn spell_field(
    field: &FieldDescriptor,
    inner: &MessageDescriptor,
    message: &[u8],
    parts: &[Part],
    json: &mut Vec<u8>,
) -> Result<(), String> {
    json.extend_from_slice(format!("\"{}\":", field.name()).as_bytes());
    // Where there is to be one, the last counts.
    let parts = match field.is_list() {
        true => parts,
        false => &parts[parts.len() - 1..],
    };
    if field.is_list() {
        json.push(b'[');
    }
    for part in parts {
        let mut bytes = &message[part.begin as usize..part.end as usize];
        decode_key(&mut bytes).map_err(told)?;
        decode_varint(&mut bytes).map_err(told)?;
        spell(inner, bytes, json)?;
        json.push(b',');
    }
    if field.is_list() {
        close(b']', json);
        json.push(b',');
    }
    Ok(())
}

/// Fields without messages, as the library spells them.
fn spell_plain(
    kind: &MessageDescriptor,
    message: &[u8],
    parts: &[Part],
    json: &mut Vec<u8>,
) -> Result<(), String> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&message[part.begin as usize..part.end as usize]);
    }
    let plain = DynamicMessage::decode(kind.clone(), Bytes::from(bytes)).map_err(told)?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let begin = json.len();
    let mut writer = serde_json::Serializer::new(&mut *json);
    let written = plain.serialize_with_options(&mut writer, &options);
    written.map_err(told)?;
    // The braces are those of the whole.
    json.remove(begin);
    json.pop();
    if json.len() > begin {
        json.push(b',');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater_api::etcdserverpb::{
        RangeResponse, ResponseHeader, ResponseOp, TxnResponse, response_op,
    };
    use headwater_api::mvccpb::KeyValue;
    use prost::Message;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::generated::descriptors::FILES;

    /// As the library spells the whole.
    fn at_once(kind: &MessageDescriptor, message: &[u8]) -> String {
        let message = DynamicMessage::decode(kind.clone(), message).expect("a message");
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut json = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut json);
        let written = message.serialize_with_options(&mut writer, &options);
        written.expect("it can be told");
        String::from_utf8(json).expect("text")
    }

    fn assert_alike(name: &str, message: &impl Message) -> String {
        let pool = DescriptorPool::decode(FILES).expect("the description is generated");
        let kind = pool.get_message_by_name(name).expect("a message");
        let bytes = message.encode_to_vec();
        let json = spelled(&kind, &bytes).expect("a message");
        assert_eq!(json, at_once(&kind, &bytes));
        json
    }

    fn range() -> RangeResponse {
        let kv = |number: i64| KeyValue {
            key: vec![0xff, 1, 2].into(),
            value: format!("\"{number}\"").into(),
            mod_revision: i64::MAX - number,
            lease: number - 1,
            ..KeyValue::default()
        };
        RangeResponse {
            header: Some(ResponseHeader {
                revision: -1,
                ..ResponseHeader::default()
            }),
            kvs: vec![kv(0), KeyValue::default(), kv(1)],
            more: true,
            count: 3,
        }
    }

    #[test]
    fn a_message_part_by_part_is_the_json_that_it_would_be_at_once() {
        assert_eq!(
            assert_alike("etcdserverpb.RangeResponse", &RangeResponse::default()),
            "{}"
        );
        assert_alike("etcdserverpb.RangeResponse", &range());
        let op = |response| ResponseOp {
            response: Some(response),
        };
        let txn = TxnResponse {
            header: Some(ResponseHeader::default()),
            succeeded: true,
            responses: vec![
                op(response_op::Response::ResponseRange(range())),
                ResponseOp::default(),
                op(response_op::Response::ResponsePut(Default::default())),
                op(response_op::Response::ResponseTxn(TxnResponse::default())),
            ],
        };
        let json = assert_alike("etcdserverpb.TxnResponse", &txn);
        assert!(json.contains(r#""response_put":{}"#), "{json}");
        let _: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    }

    #[test]
    fn fields_in_another_order_are_spelled_in_theirs() {
        let pool = DescriptorPool::decode(FILES).expect("the description is generated");
        let name = "etcdserverpb.RangeResponse";
        let kind = pool.get_message_by_name(name).expect("a message");
        let range = range();
        let beside = RangeResponse {
            kvs: Vec::new(),
            ..range.clone()
        };
        let kvs = RangeResponse {
            kvs: range.kvs.clone(),
            ..RangeResponse::default()
        };
        let mixed = [beside.encode_to_vec(), kvs.encode_to_vec()].concat();
        let json = spelled(&kind, &mixed).expect("a message");
        assert_eq!(json, at_once(&kind, &range.encode_to_vec()));
        assert!(spelled(&kind, &mixed[..mixed.len() - 1]).is_err());
        assert!(spelled(&kind, &[0xff; 9]).is_err());
    }
}
