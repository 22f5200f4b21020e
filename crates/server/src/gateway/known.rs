//! What a message has of a JSON object: fields that it does not know are left out, as etcd's gateway does
//! for newer clients.
//! Never judges a value: what is left is read strictly, so that an enumeration's unknown name is an error
//! and not a zero.
//!
//! # Source
//! The JSON mapping of proto3; etcd's gateway.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// Takes out what `kind` does not know, however deep.
pub fn keep_known(value: &mut Value, kind: &MessageDescriptor) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, value| {
        let Some(field) = field(kind, name) else {
            return false;
        };
        if let Kind::Message(inner) = field.kind() {
            match value {
                Value::Array(items) => items.iter_mut().for_each(|item| keep_known(item, &inner)),
                value => keep_known(value, &inner),
            }
        }
        true
    });
}

fn field(kind: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let by_json = kind.get_field_by_json_name(name);
    by_json.or_else(|| kind.get_field_by_name(name))
}
