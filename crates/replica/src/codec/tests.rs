use super::*;
use crate::entry::EntryKind;
use alloc::vec;

fn id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), Index(index))
}

fn samples() -> Vec<Frame> {
    let bodies: Vec<Entry> = (4..8)
        .map(|at| {
            let body = Bytes::from(vec![at as u8; at as usize]);
            Entry::new(id(2 + at / 6, at), EntryKind::Command, body)
        })
        .collect();
    let mut entries = Entries::none(id(1, 3));
    entries.runs = [(Index(4), Term(2)), (Index(6), Term(3))]
        .into_iter()
        .collect();
    entries.last = Index(7);
    let (term, commit) = (Term(9), Index(5));
    let durable = AppendResult::Durable(Index(8));
    let conflict = AppendResult::Conflict {
        prev: Index(7),
        hint: id(2, 6),
    };
    let messages = vec![
        Message::Vote {
            term,
            pre: true,
            transfer: false,
            last: id(3, 4),
            admitted: true,
        },
        Message::Vote {
            term,
            pre: false,
            transfer: true,
            last: id(3, 4),
            admitted: false,
        },
        Message::VoteReply {
            term,
            pre: false,
            granted: true,
        },
        Message::Append {
            term,
            entries: Entries::none(id(2, 2)),
            commit,
        },
        Message::AppendReply {
            term,
            result: durable,
        },
        Message::AppendReply {
            term,
            result: conflict,
        },
        Message::Beat {
            term,
            commit,
            round: 3,
            durable: Index(8),
            knows: true,
        },
        Message::BeatReply {
            term,
            round: 3,
            disk: Pace::Stalled,
            promise_ns: 4,
        },
        Message::TimeoutNow { term },
        Message::Commit {
            term,
            commit,
            durable: Index(8),
        },
        Message::Heard {
            disk: Incarnation(5 << 64 | 6),
            life: 7,
            term,
            voted: true,
            durable: Index(8),
        },
        Message::Disowned {
            disk: Incarnation(5 << 64 | 6),
        },
        Message::ReadAsk {
            id: ReadId(1),
            life: 2,
            lease: true,
        },
        Message::ReadTell {
            id: ReadId(1),
            life: 2,
            at: Err(ReadLost::LeaderChanged),
        },
        Message::ReadTell {
            id: ReadId(1),
            life: 2,
            at: Err(ReadLost::Busy),
        },
        Message::ReadTell {
            id: ReadId(1),
            life: 2,
            at: Ok(commit),
        },
    ];
    let mut frames: Vec<Frame> = messages
        .into_iter()
        .map(|message| Frame::Raft(message, Vec::new()))
        .collect();
    let bytes = Bytes::from_static(b"piece");
    frames.extend([
        Frame::Raft(
            Message::Append {
                term,
                entries,
                commit,
            },
            bodies,
        ),
        Frame::Piece {
            term,
            base: id(4, 9),
            total_bytes: 99,
            offset: 7,
            bytes: bytes.clone(),
        },
        Frame::PieceReply {
            base: id(4, 9),
            upto: 12,
        },
        Frame::Forward {
            batch: 7,
            commands: vec![bytes.clone(), Bytes::new(), bytes],
        },
        Frame::ForwardReply {
            batch: 7,
            result: Ok(id(3, 3)),
        },
        Frame::ForwardReply {
            batch: 7,
            result: Err(NotForwarded::Busy),
        },
        Frame::ForwardReply {
            batch: 7,
            result: Err(NotForwarded::Transferring),
        },
        Frame::ForwardReply {
            batch: 7,
            result: Err(NotForwarded::DiskSlow),
        },
        Frame::Note {
            number: 8,
            bytes: Bytes::from_static(b"note"),
        },
        Frame::Note {
            number: 9,
            bytes: Bytes::new(),
        },
    ]);
    frames
}

#[test]
fn every_frame_comes_back_as_it_went() {
    for frame in samples() {
        assert_eq!(Frame::decode(&frame.encode()).as_ref(), Ok(&frame));
    }
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let mut dice = headwater_raft::random::Dice::new(1);
    for frame in samples() {
        let whole = frame.encode();
        for cut in 0..whole.len() {
            // A frame's pieces have no length of their own: a shorter piece is a frame.
            let _ = Frame::decode(&whole.slice(..cut));
            for _ in 0..20 {
                let mut bytes = whole.to_vec();
                bytes[cut] = dice.roll() as u8;
                let _ = Frame::decode(&bytes.into());
            }
        }
    }
    for len in 0..200 {
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| dice.roll() as u8).collect();
            let _ = Frame::decode(&bytes.into());
        }
    }
}
