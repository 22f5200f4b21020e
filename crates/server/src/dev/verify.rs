//! Whether a server has every acknowledged write, as it was acknowledged.
//! Never trusts a count: each key, value and revision is compared.
//!
//! # Source
//! Raft paper §8: a write that was answered must be seen by every later read.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tonic::transport::Channel;

use super::writer::Written;
use crate::generated::etcdserverpb::RangeRequest;
use crate::generated::etcdserverpb::kv_client::KvClient;

/// Keys in one answer; all of them at once would exceed what a client accepts.
const PAGE: i64 = 2000;

/// What a server has of the clients' keys: value and revision of each.
pub type Held = BTreeMap<Bytes, (Bytes, i64)>;

/// Reads all keys of the clients from one server, page by page, at one revision.
///
/// # Errors
/// The server does not answer.
pub async fn read_all(channel: Channel, serializable: bool) -> Result<Held> {
    let mut client = KvClient::new(channel);
    let mut held = Held::new();
    let mut key = Bytes::from_static(b"demo/");
    let mut revision = 0;
    loop {
        let request = RangeRequest {
            key: key.clone(),
            range_end: Bytes::from_static(b"demo0"),
            limit: PAGE,
            revision,
            serializable,
            ..Default::default()
        };
        let answer = client
            .range(request)
            .await
            .context("reading back")?
            .into_inner();
        // The first page sets the revision, so that the pages make one picture.
        if let (0, Some(header)) = (revision, answer.header) {
            revision = header.revision;
        }
        let Some(last) = answer.kvs.last() else {
            return Ok(held);
        };
        key = Bytes::from([&last.key[..], &[0]].concat());
        for kv in answer.kvs {
            held.insert(kv.key, (kv.value, kv.mod_revision));
        }
        if !answer.more {
            return Ok(held);
        }
    }
}

/// Compares what a server holds with what was acknowledged.
///
/// # Errors
/// The first difference, and how many there are.
pub fn compare(held: &Held, written: &[Written]) -> Result<()> {
    let is_there = |write: &&Written| {
        held.get(&write.key)
            .is_some_and(|(value, revision)| *value == write.value && *revision == write.revision)
    };
    let wrong: Vec<&Written> = written.iter().filter(|write| !is_there(write)).collect();
    let Some(first) = wrong.first() else {
        return Ok(());
    };
    let key = String::from_utf8_lossy(&first.key);
    match held.get(&first.key) {
        None => bail!(
            "{} acknowledged writes are missing, the first is {key} (revision {})",
            wrong.len(),
            first.revision
        ),
        Some((_, revision)) => bail!(
            "{} acknowledged writes are not as written, the first is {key}: acknowledged at \
             revision {}, found at {revision}",
            wrong.len(),
            first.revision
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn written(key: &'static str, revision: i64) -> Written {
        Written {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(b"v"),
            revision,
            term: 1,
            at: Instant::now(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_write_that_is_missing_or_changed_is_noticed() {
        let value = Bytes::from_static(b"v");
        let held = Held::from([(Bytes::from_static(b"a"), (value.clone(), 2))]);
        compare(&held, &[written("a", 2)]).unwrap();
        compare(&held, &[]).unwrap();
        let missing = compare(&held, &[written("a", 2), written("b", 3)]).unwrap_err();
        assert!(
            missing.to_string().contains("missing, the first is b"),
            "{missing}"
        );
        let moved = compare(&held, &[written("a", 3)]).unwrap_err();
        assert!(moved.to_string().contains("found at 2"), "{moved}");
        let other = Held::from([(Bytes::from_static(b"a"), (Bytes::new(), 2))]);
        compare(&other, &[written("a", 2)]).unwrap_err();
    }
}
