//! The frame in which a node tells what it has of an entry that another cannot read.
//! Never looks at the log: the core says what is there.
//!
//! # Source
//! docs/wire.md; Alagappan et al., FAST'18 (answers of three values).

use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{Holding, Message, Term};

use super::{Frame, byte, put_bodies, rest};
use crate::config_record::identities;
use crate::entry::Entry;
use crate::machine::Malformed;
use crate::record::{Reader, decode_entries, malformed, put_log_id};

/// Reads what a peer knows of an entry, and the bodies that come with it.
pub(super) fn decode(
    term: Term,
    reader: &mut Reader<'_>,
    bytes: &Bytes,
) -> Result<Frame, Malformed> {
    let (holding, of) = (byte(reader)?, reader.log_id()?);
    let mut bodies = Vec::new();
    let holding = match holding {
        1 => {
            bodies = decode_entries(of, rest(reader, bytes))?;
            Holding::Has(identities(of, &bodies)?)
        }
        2 => Holding::Lacks(of),
        3 => Holding::Unreadable(of),
        _ => return Err(malformed("an unknown holding")),
    };
    if !reader.0.is_empty() {
        return Err(malformed("bytes after a frame"));
    }
    Ok(Frame::Raft(Message::RepairTell { term, holding }, bodies))
}

/// Writes what this node knows of an entry that a peer cannot read.
pub(super) fn put<'a>(
    out: &mut Vec<u8>,
    holding: &Holding,
    entries: impl IntoIterator<Item = &'a Entry> + Clone,
) {
    match holding {
        Holding::Has(header) => {
            out.push(1);
            put_log_id(out, header.prev);
            put_bodies(out, header, entries);
        }
        Holding::Lacks(first) => {
            out.push(2);
            put_log_id(out, *first);
        }
        Holding::Unreadable(first) => {
            out.push(3);
            put_log_id(out, *first);
        }
    }
}
