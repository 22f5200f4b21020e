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

/// Whether a frame carries a piece of one, by its first byte.
pub fn is_piece(frame: &Bytes) -> bool {
    frame.first() == Some(&kind::PIECE)
}

/// What a frame says of one, if it does.
pub fn parcel_of(frame: &Bytes) -> Option<Parcel> {
    if !is_piece(frame) && frame.first() != Some(&kind::APPEND_REPLY) {
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use headwater_raft::Term;

    use super::*;

    fn piece(offset: u64, bytes: &'static [u8]) -> Frame {
        Frame::Piece {
            term: Term(3),
            base: LogId::new(Term(2), Index(9)),
            total_bytes: 6,
            offset,
            bytes: Bytes::from_static(bytes),
        }
    }

    #[test]
    fn a_snapshot_is_seen_to_begin_to_end_and_to_be_held() {
        let seen = |frame: Frame| {
            let frame = frame.encode();
            let parcel = parcel_of(&frame);
            let has_piece = matches!(parcel, Some(Parcel::Piece { .. }));
            assert_eq!(is_piece(&frame), has_piece);
            parcel
        };
        let base = LogId::new(Term(2), Index(9));
        let told = |is_first, is_last| {
            Some(Parcel::Piece {
                base,
                is_first,
                is_last,
            })
        };
        assert_eq!(seen(piece(0, b"abc")), told(true, false));
        assert_eq!(seen(piece(3, b"def")), told(false, true));
        assert_eq!(seen(piece(0, b"abcdef")), told(true, true));
        let reply = |result| {
            let term = Term(3);
            Frame::Raft(Message::AppendReply { term, result }, Vec::new())
        };
        let held = seen(reply(AppendResult::Durable(Index(9))));
        assert_eq!(held, Some(Parcel::Held(Index(9))));
        let (prev, hint) = (Index(9), base);
        assert_eq!(seen(reply(AppendResult::Conflict { prev, hint })), None);
        assert_eq!(seen(Frame::PieceReply { base, upto: 3 }), None);
        assert_eq!(parcel_of(&Bytes::new()), None);
    }
}
