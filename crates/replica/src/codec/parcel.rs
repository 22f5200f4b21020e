//! Snapshots on their way, for those who watch the wire.
//! Never looks at what frames about other things hold.
//!
//! # Source
//! docs/wire.md, pieces of a snapshot; Raft paper, Figure 13.

use bytes::Bytes;
use headwater_raft::{AppendResult, Index, LogId, Message};

use super::{Frame, kind};

/// What a frame says of a snapshot on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parcel {
    /// A piece of it.
    Piece {
        /// What the snapshot covers.
        base: LogId,
        /// Whether it begins with it.
        is_first: bool,
        /// Whether it ends with it.
        is_last: bool,
    },
    /// Its receiver has everything up to here, by a snapshot or by entries.
    Held(Index),
}

/// What a frame says of one, if it does.
pub fn parcel_of(frame: &Bytes) -> Option<Parcel> {
    if !matches!(frame.first(), Some(&(kind::PIECE | kind::APPEND_REPLY))) {
        return None;
    }
    match Frame::decode(frame) {
        Ok(Frame::Piece {
            base,
            total_bytes,
            offset,
            bytes,
            ..
        }) => Some(Parcel::Piece {
            base,
            is_first: offset == 0,
            is_last: offset.saturating_add(bytes.len() as u64) == total_bytes,
        }),
        Ok(Frame::Raft(Message::AppendReply { result, .. }, _)) => match result {
            AppendResult::Durable(upto) => Some(Parcel::Held(upto)),
            AppendResult::Conflict { .. } => None,
        },
        _ => None,
    }
}
