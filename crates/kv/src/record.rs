//! One version of one key: everything about it in one allocation of exactly its size.
//! Never changes once made; the index and the change log share it.
//!
//! A command arrives as a slice of a large log batch. Keeping that slice would pin the whole batch
//! for as long as one value of it lives, so a version copies its bytes out. It holds the key as
//! well: the change log can then tell what happened to whom without a second copy of the key. Its
//! length lies in it, too, so that whoever holds it holds one word.
//!
//! # Source
//! etcd's data model: a version is (main, sub) revision, creation, version count, lease, value.

use alloc::vec::Vec;
use bytes::Bytes;
use triomphe::ThinArc;

use crate::request::KeyValue;
use crate::wire::{Reader, put_int, put_slice, put_uint};

/// What a version costs beside its key and value: allocation, index entry, change-log entry.
pub(crate) const RECORD_OVERHEAD_BYTES: u64 = 80;

/// One version of one key, shared.
///
/// Layout: key (length first), main, main - create, version, lease, sub, then the value to the end.
/// The key leads because searching reads nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record(ThinArc<(), u8>);

/// A version's fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) key: &'a [u8],
    /// The revision of the transaction that wrote it.
    pub(crate) main: i64,
    /// Which of that transaction's changes it is.
    pub(crate) sub: u32,
    pub(crate) create: i64,
    /// Zero for a tombstone.
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) value: &'a [u8],
}

/// A version and its fields, which are read once.
pub(crate) type Version<'a> = (&'a Record, Parts<'a>);

impl Record {
    /// Makes a version; `scratch` is any buffer, kept by the caller so that it is allocated once.
    pub(crate) fn new(parts: &Parts<'_>, scratch: &mut Vec<u8>) -> Record {
        assert!(parts.create <= parts.main, "created after its own change");
        assert!(parts.version >= 0, "a negative version");
        assert!(
            !parts.is_tombstone() || parts.value.is_empty(),
            "a tombstone with a value"
        );
        scratch.clear();
        put_slice(scratch, parts.key);
        put_uint(scratch, parts.main as u64);
        put_uint(scratch, (parts.main - parts.create) as u64);
        put_uint(scratch, parts.version as u64);
        put_int(scratch, parts.lease);
        put_uint(scratch, u64::from(parts.sub));
        scratch.extend_from_slice(parts.value);
        Record(ThinArc::from_header_and_slice((), scratch))
    }

    /// Takes in bytes that [`Self::as_bytes`] gave; `None` if they are no version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
        let parts = read(bytes)?;
        let sound = !parts.key.is_empty()
            && parts.main > 1
            && parts.create > 1
            // One transaction puts a key once, so there is a revision for each version.
            && (0..=parts.main - parts.create + 1).contains(&parts.version)
            && (!parts.is_tombstone() || parts.value.is_empty());
        sound.then(|| Record(ThinArc::from_header_and_slice((), bytes)))
    }

    /// Whether both are one version, not only alike.
    pub(crate) fn is_same(&self, other: &Record) -> bool {
        core::ptr::eq(self.as_bytes(), other.as_bytes())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0.slice
    }

    pub(crate) fn key(&self) -> &[u8] {
        let mut reader = Reader::new(self.as_bytes());
        reader.slice().expect("a record begins with its key")
    }

    pub(crate) fn main(&self) -> i64 {
        let mut reader = Reader::new(self.as_bytes());
        reader.slice().expect("a record begins with its key");
        reader.uint().expect("a record names its revision") as i64
    }

    /// The (main, sub) revision that wrote it.
    pub(crate) fn position(&self) -> (i64, u32) {
        let parts = self.parts();
        (parts.main, parts.sub)
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        read(self.as_bytes()).expect("a record was whole when it was made")
    }

    /// How much of the store's size this version is.
    pub(crate) fn cost_bytes(&self) -> u64 {
        self.parts().cost_bytes()
    }

    /// The version as clients see it. Its bytes are shared, not copied.
    pub(crate) fn to_kv(&self, keys_only: bool) -> KeyValue {
        let parts = self.parts();
        let whole = Bytes::from_owner(self.clone());
        let key_end = self.key_end();
        let key = whole.slice(key_end - parts.key.len()..key_end);
        let value_start = whole.len() - parts.value.len();
        let value = if keys_only {
            Bytes::new()
        } else {
            whole.slice(value_start..)
        };
        KeyValue {
            key,
            create_revision: parts.create,
            mod_revision: parts.main,
            version: parts.version,
            value,
            lease: parts.lease,
        }
    }

    fn key_end(&self) -> usize {
        let mut reader = Reader::new(self.as_bytes());
        reader.slice().expect("a record begins with its key");
        self.as_bytes().len() - reader.rest().len()
    }
}

impl Parts<'_> {
    pub(crate) fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// How much of the store's size this version is.
    pub(crate) fn cost_bytes(&self) -> u64 {
        RECORD_OVERHEAD_BYTES + self.key.len() as u64 + self.value.len() as u64
    }
}

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

fn read(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut reader = Reader::new(bytes);
    let key = reader.slice()?;
    let main = i64::try_from(reader.uint()?).ok()?;
    let age = i64::try_from(reader.uint()?).ok()?;
    let create = main.checked_sub(age)?;
    let version = i64::try_from(reader.uint()?).ok()?;
    let lease = reader.int()?;
    let sub = u32::try_from(reader.uint()?).ok()?;
    Some(Parts {
        key,
        main,
        sub,
        create,
        version,
        lease,
        value: reader.rest(),
    })
}
