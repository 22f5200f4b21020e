//! What a plan asks of the store in words: `put:k0:a`, `read:k0`, `compact:9` and so on.
//! Never draws anything: who writes a plan says it all.
//!
//! # Source
//! docs/plans.md, "Scenarios"; the etcd v3 API for the requests.

use bytes::Bytes;
use headwater_kv::request::{
    Attributes, Command, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, Query, RangeRequest, RequestOp, TxnRequest,
};

use super::model::all_keys;
use super::{one_key, swap};
use crate::application::Want;

/// What there is to ask for.
const WISHES: &str = "put:KEY:VALUE, put:KEY:VALUE:LEASE, delete:KEY, delete:KEY:END, swap:KEY:REVISION:VALUE, \
                      undone:KEY, compact:REVISION, grant:LEASE:SECONDS, revoke:LEASE, \
                      publish:MEMBER:NAME, read:KEY, stale:KEY, past:KEY:REVISION, past:KEY:END:REVISION or all \
                      is wanted";

/// The request of these words.
pub(super) fn read(words: &str) -> Result<Want<Query>, String> {
    let words: Vec<&str> = words.split(':').collect();
    let write = |command: Command| Ok(Want::Write(command.encode()));
    let range = |key: &str| one_key(key.to_owned().into());
    match words[..] {
        ["put", key, value] => write(put(key, value, 0)),
        ["put", key, value, lease] => write(put(key, value, number(lease)?)),
        ["delete", key] => write(delete(key, "")),
        ["delete", key, end] => write(delete(key, end)),
        ["swap", key, expected, value] => {
            let value = value.to_owned().into();
            write(swap(key.to_owned().into(), number(expected)?, value))
        }
        ["undone", key] => write(undone(key.to_owned().into())),
        ["compact", revision] => write(Command::Compact(CompactionRequest {
            revision: number(revision)?,
            physical: false,
        })),
        ["grant", id, ttl] => write(Command::LeaseGrant(LeaseGrantRequest {
            id: number(id)?,
            ttl: number(ttl)?,
        })),
        ["revoke", id] => write(Command::LeaseRevoke(LeaseRevokeRequest {
            id: number(id)?,
            ended: None,
        })),
        ["publish", member, name] => write(Command::Publish(Attributes {
            member: number(member)? as u64,
            name: name.to_owned(),
            client_urls: Vec::new(),
        })),
        ["read", key] => Ok(Want::Read(Query::Range(range(key)))),
        ["stale", key] => Ok(Want::ReadStale(Query::Range(range(key)))),
        ["past", key, revision] => Ok(Want::Read(Query::Range(RangeRequest {
            revision: number(revision)?,
            ..range(key)
        }))),
        ["past", key, end, revision] => Ok(Want::Read(Query::Range(RangeRequest {
            revision: number(revision)?,
            range_end: end.to_owned().into(),
            ..range(key)
        }))),
        ["all"] => Ok(Want::Read(Query::Range(all_keys()))),
        _ => Err(WISHES.into()),
    }
}

fn put(key: &str, value: &str, lease: i64) -> Command {
    Command::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease,
        prev_kv: true,
        ..PutRequest::default()
    })
}

fn delete(key: &str, end: &str) -> Command {
    Command::DeleteRange(DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: true,
    })
}

/// Deletes a key and all after it, and then, in a transaction within, is to keep that key's value.
/// No store lets it: it is refused halfway, if the key is there at all.
fn undone(key: Bytes) -> Command {
    let delete = DeleteRangeRequest {
        key: key.clone(),
        range_end: Bytes::from_static(b"\0"),
        prev_kv: true,
    };
    let keep = PutRequest {
        key,
        ignore_value: true,
        ..PutRequest::default()
    };
    let within = TxnRequest {
        success: vec![RequestOp::Put(keep)],
        ..TxnRequest::default()
    };
    Command::Txn(TxnRequest {
        success: vec![
            RequestOp::DeleteRange(delete),
            RequestOp::Txn(Box::new(within)),
        ],
        ..TxnRequest::default()
    })
}

/// A number of a wish.
pub(super) fn number(word: &str) -> Result<i64, String> {
    let read = word.parse();
    read.map_err(|_| format!("\"{word}\" is no number"))
}
