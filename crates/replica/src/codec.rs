//! The frames that nodes exchange: a kind, fixed little-endian fields, then entries or bytes.
//! Never trusts: any bytes decode to a frame or to an error.
//!
//! Entries travel in the very layout they have in the log ([`crate::record`]).
//!
//! # Source
//! docs/wire.md, which draws each frame; Raft paper, Figures 2 and 13.

use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{
    AppendResult, Entries, Incarnation, Index, LogId, Message, Pace, ReadId, ReadLost, Term,
};

use crate::config_record::identities;
use crate::entry::Entry;
use crate::machine::Malformed;
use crate::record::{
    Reader, check_counts, decode_entries, encode_entries, entries_bytes, malformed, put_log_id,
    put_u32, put_u64,
};

/// One frame between two nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// A message of the core; beside it the entries that it names.
    Raft(Message, Vec<Entry>),
    /// A piece of the leader's snapshot file.
    Piece {
        term: Term,
        base: LogId,
        total_bytes: u64,
        offset: u64,
        bytes: Bytes,
    },
    /// How far a snapshot has been received.
    PieceReply { base: LogId, upto: u64 },
    /// A follower passes commands on to the leader.
    Forward { batch: u64, commands: Vec<Bytes> },
    /// The leader's answer: where the first command stands, the others behind it in the same
    /// term; or why none was taken.
    ForwardReply {
        batch: u64,
        result: Result<LogId, NotForwarded>,
    },
    /// What stands beside one node's machine says something to what stands beside another's.
    Note { number: u64, bytes: Bytes },
}

/// The frame that carries a note to another node, which tells of it by
/// [`Output::Note`](crate::interface::Output::Note). It may be lost with its link.
pub fn note(number: u64, bytes: Bytes) -> Bytes {
    Frame::Note { number, bytes }.encode()
}

/// The core's message in a frame, if it carries one: for those who watch the wire.
pub fn message_of(frame: &Bytes) -> Option<Message> {
    match Frame::decode(frame) {
        Ok(Frame::Raft(message, _)) => Some(message),
        _ => None,
    }
}

/// The same, and of a piece of a snapshot the message that the core will be given for it.
pub fn header_of(frame: &Bytes) -> Option<Message> {
    match Frame::decode(frame) {
        Ok(Frame::Raft(message, _)) => Some(message),
        Ok(Frame::Piece { term, base, .. }) => Some(Message::Snapshot { term, base }),
        _ => None,
    }
}

/// Why a leader did not take forwarded commands: surely none was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotForwarded {
    NotLeader = 1,
    Busy = 2,
    /// It is handing its leadership over: it, or another, takes commands soon.
    Transferring = 3,
    /// Its disk does not keep up.
    DiskSlow = 4,
    /// Its disk is full, and one of the commands can make the state larger.
    NoSpace = 5,
}

mod kind {
    pub(super) const VOTE: u8 = 1;
    pub(super) const VOTE_REPLY: u8 = 2;
    pub(super) const APPEND: u8 = 3;
    pub(super) const APPEND_REPLY: u8 = 4;
    pub(super) const BEAT: u8 = 5;
    pub(super) const BEAT_REPLY: u8 = 6;
    pub(super) const COMMIT: u8 = 7;
    pub(super) const READ_ASK: u8 = 8;
    pub(super) const READ_TELL: u8 = 9;
    pub(super) const TIMEOUT_NOW: u8 = 10;
    pub(super) const REST: u8 = 11;
    pub(super) const HEARD: u8 = 12;
    pub(super) const DISOWNED: u8 = 13;
    pub(super) const REPAIR_ASK: u8 = 14;
    pub(super) const REPAIR_TELL: u8 = 15;
    pub(super) const PIECE: u8 = 16;
    pub(super) const PIECE_REPLY: u8 = 17;
    pub(super) const FORWARD: u8 = 18;
    pub(super) const FORWARD_REPLY: u8 = 19;
    pub(super) const NOTE: u8 = 20;
}

/// Encodes a message of the core; `entries` are the bodies of the entries that it names, if any.
pub(crate) fn encode_message<'a>(
    message: &Message,
    entries: impl IntoIterator<Item = &'a Entry> + Clone,
) -> Bytes {
    let mut out = Vec::with_capacity(48 + entries_bytes(entries.clone()));
    put_message(&mut out, message, entries);
    out.into()
}

/// The same, at the end of `out`.
pub(crate) fn put_message<'a>(
    out: &mut Vec<u8>,
    message: &Message,
    entries: impl IntoIterator<Item = &'a Entry> + Clone,
) {
    match *message {
        Message::Vote { .. } | Message::VoteReply { .. } => put_vote(out, message),
        Message::Append {
            term,
            entries: ref header,
            commit,
        } => {
            put_head(out, kind::APPEND, term.0);
            put_log_id(out, header.prev);
            put_u64(out, commit.0);
            put_bodies(out, header, entries);
        }
        Message::AppendReply { term, result } => {
            put_head(out, kind::APPEND_REPLY, term.0);
            put_append_result(out, result);
        }
        Message::Beat {
            term,
            commit,
            round,
            durable,
            knows,
        } => put_flagged(out, kind::BEAT, [term.0, commit.0, round, durable.0], knows),
        Message::BeatReply {
            term,
            round,
            disk,
            promise_ns,
        } => {
            put_numbers(out, kind::BEAT_REPLY, [term.0, round, promise_ns]);
            out.push(byte_of_pace(disk));
        }
        Message::TimeoutNow { term } => put_head(out, kind::TIMEOUT_NOW, term.0),
        Message::Commit {
            term,
            commit,
            durable,
        } => {
            put_numbers(out, kind::COMMIT, [term.0, commit.0, durable.0]);
        }
        Message::Rest { term, last } => {
            put_head(out, kind::REST, term.0);
            put_log_id(out, last);
        }
        Message::RepairTell { term, ref holding } => {
            put_head(out, kind::REPAIR_TELL, term.0);
            holding::put(out, holding, entries);
        }
        Message::Snapshot { .. } => unreachable!("a snapshot's header travels with its piece"),
        Message::Heard { .. }
        | Message::Disowned { .. }
        | Message::RepairAsk { .. }
        | Message::ReadAsk { .. }
        | Message::ReadTell { .. } => put_termless(out, message),
    }
}

fn put_vote(out: &mut Vec<u8>, message: &Message) {
    match *message {
        Message::Vote {
            term,
            pre,
            transfer,
            last,
            admitted,
        } => {
            put_head(out, kind::VOTE, term.0);
            out.extend([pre, transfer, admitted].map(u8::from));
            put_log_id(out, last);
        }
        Message::VoteReply { term, pre, granted } => {
            put_head(out, kind::VOTE_REPLY, term.0);
            out.extend([pre, granted].map(u8::from));
        }
        _ => unreachable!("these are encoded above"),
    }
}

/// The messages that say nothing of the term their sender is in.
fn put_termless(out: &mut Vec<u8>, message: &Message) {
    match *message {
        Message::Heard {
            disk,
            life,
            term,
            voted,
            durable,
        } => {
            put_numbers(out, kind::HEARD, [term.0, life, durable.0]);
            out.extend(disk.0.to_le_bytes());
            out.push(u8::from(voted));
        }
        Message::Disowned { disk } => {
            put_head(out, kind::DISOWNED, 0);
            out.extend(disk.0.to_le_bytes());
        }
        Message::RepairAsk { first, last } => {
            put_numbers(out, kind::REPAIR_ASK, [last.0]);
            put_log_id(out, first);
        }
        Message::ReadAsk { id, life, lease } => {
            put_flagged(out, kind::READ_ASK, [id.0, life], lease);
        }
        Message::ReadTell { id, life, at } => {
            put_numbers(out, kind::READ_TELL, [id.0, life]);
            put_read_result(out, at);
        }
        _ => unreachable!("these are encoded above"),
    }
}

impl Frame {
    /// Encodes the frame.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Raft(message, entries) => return encode_message(message, entries),
            Self::Piece {
                term,
                base,
                total_bytes,
                offset,
                bytes,
            } => {
                put_head(&mut out, kind::PIECE, term.0);
                put_log_id(&mut out, *base);
                put_u64(&mut out, *total_bytes);
                put_u64(&mut out, *offset);
                out.extend_from_slice(bytes);
            }
            Self::PieceReply { base, upto } => {
                put_head(&mut out, kind::PIECE_REPLY, *upto);
                put_log_id(&mut out, *base);
            }
            Self::Forward { batch, commands } => {
                put_head(&mut out, kind::FORWARD, *batch);
                for command in commands {
                    let len = u32::try_from(command.len()).expect("commands are bounded");
                    put_u32(&mut out, len);
                    out.extend_from_slice(command);
                }
            }
            Self::ForwardReply { batch, result } => {
                put_head(&mut out, kind::FORWARD_REPLY, *batch);
                match result {
                    Ok(first) => {
                        out.push(0);
                        put_log_id(&mut out, *first);
                    }
                    Err(why) => out.push(*why as u8),
                }
            }
            Self::Note { number, bytes } => {
                put_head(&mut out, kind::NOTE, *number);
                out.extend_from_slice(bytes);
            }
        }
        out.into()
    }

    /// Decodes a frame; bodies and pieces are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// The bytes are no frame of this version, or an entry's body does not match its checksum.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let kind = byte(&mut reader)?;
        let first = reader.u64()?;
        let frame = match kind {
            kind::APPEND => {
                let prev = reader.log_id()?;
                let commit = Index(reader.u64()?);
                let block = rest(&mut reader, bytes);
                return decode_append(Term(first), prev, commit, block);
            }
            kind::REPAIR_TELL => return holding::decode(Term(first), &mut reader, bytes),
            kind::PIECE => Self::Piece {
                term: Term(first),
                base: reader.log_id()?,
                total_bytes: reader.u64()?,
                offset: reader.u64()?,
                bytes: rest(&mut reader, bytes),
            },
            kind::PIECE_REPLY => Self::PieceReply {
                base: reader.log_id()?,
                upto: first,
            },
            kind::FORWARD => {
                let mut commands = Vec::new();
                while !reader.0.is_empty() {
                    let len = reader.u32()? as usize;
                    commands.push(bytes.slice_ref(reader.take(len)?));
                }
                Self::Forward {
                    batch: first,
                    commands,
                }
            }
            kind::FORWARD_REPLY => {
                let result = match byte(&mut reader)? {
                    0 => Ok(counted(reader.log_id()?)?),
                    1 => Err(NotForwarded::NotLeader),
                    2 => Err(NotForwarded::Busy),
                    3 => Err(NotForwarded::Transferring),
                    4 => Err(NotForwarded::DiskSlow),
                    5 => Err(NotForwarded::NoSpace),
                    _ => return Err(malformed("an unknown refusal")),
                };
                Self::ForwardReply {
                    batch: first,
                    result,
                }
            }
            kind::NOTE => Self::Note {
                number: first,
                bytes: rest(&mut reader, bytes),
            },
            _ => Self::Raft(decode_message(kind, first, &mut reader)?, Vec::new()),
        };
        if !reader.0.is_empty() {
            return Err(malformed("bytes after a frame"));
        }
        Ok(frame)
    }
}

fn decode_message(kind: u8, first: u64, reader: &mut Reader<'_>) -> Result<Message, Malformed> {
    let term = Term(first);
    Ok(match kind {
        kind::VOTE => {
            let (pre, transfer, admitted) = (flag(reader)?, flag(reader)?, flag(reader)?);
            let last = reader.log_id()?;
            Message::Vote {
                term,
                pre,
                transfer,
                last,
                admitted,
            }
        }
        kind::VOTE_REPLY => Message::VoteReply {
            term,
            pre: flag(reader)?,
            granted: flag(reader)?,
        },
        kind::APPEND_REPLY => {
            let result = match byte(reader)? {
                1 => AppendResult::Durable(Index(reader.u64()?)),
                2 => AppendResult::Conflict {
                    prev: Index(reader.u64()?),
                    hint: reader.log_id()?,
                },
                _ => return Err(malformed("an unknown append result")),
            };
            Message::AppendReply { term, result }
        }
        kind::BEAT => Message::Beat {
            term,
            commit: Index(reader.u64()?),
            round: reader.u64()?,
            durable: Index(reader.u64()?),
            knows: flag(reader)?,
        },
        kind::BEAT_REPLY => Message::BeatReply {
            term,
            round: reader.u64()?,
            promise_ns: reader.u64()?,
            disk: pace_of_byte(byte(reader)?)?,
        },
        kind::TIMEOUT_NOW => Message::TimeoutNow { term },
        kind::COMMIT => Message::Commit {
            term,
            commit: Index(reader.u64()?),
            durable: Index(reader.u64()?),
        },
        kind::HEARD => Message::Heard {
            term,
            life: reader.u64()?,
            durable: Index(reader.u64()?),
            disk: Incarnation(reader.u128()?),
            voted: flag(reader)?,
        },
        kind::REST => Message::Rest {
            term,
            last: reader.log_id()?,
        },
        _ => return decode_termless(kind, ReadId(first), reader),
    })
}

fn decode_termless(kind: u8, id: ReadId, reader: &mut Reader<'_>) -> Result<Message, Malformed> {
    Ok(match kind {
        kind::DISOWNED => Message::Disowned {
            disk: Incarnation(reader.u128()?),
        },
        kind::REPAIR_ASK => Message::RepairAsk {
            first: reader.log_id()?,
            last: Index(id.0),
        },
        kind::READ_ASK => Message::ReadAsk {
            id,
            life: reader.u64()?,
            lease: flag(reader)?,
        },
        kind::READ_TELL => {
            let life = reader.u64()?;
            let fate = byte(reader)?;
            let at = Index(reader.u64()?);
            let at = match fate {
                0 => Ok(at),
                1 => Err(ReadLost::LeaderChanged),
                2 => Err(ReadLost::Busy),
                _ => return Err(malformed("an unknown fate of a read")),
            };
            Message::ReadTell { id, life, at }
        }
        _ => return Err(malformed("a frame of an unknown kind")),
    })
}

fn decode_append(term: Term, prev: LogId, commit: Index, block: Bytes) -> Result<Frame, Malformed> {
    let bodies = decode_entries(prev, block)?;
    let entries = identities(prev, &bodies)?;
    Ok(Frame::Raft(
        Message::Append {
            term,
            entries,
            commit,
        },
        bodies,
    ))
}

fn put_bodies<'a>(
    out: &mut Vec<u8>,
    header: &Entries,
    entries: impl IntoIterator<Item = &'a Entry> + Clone,
) {
    let count = entries.clone().into_iter().count() as u64;
    assert_eq!(header.count(), count, "a header without its bodies");
    encode_entries(entries, out);
}

fn put_append_result(out: &mut Vec<u8>, result: AppendResult) {
    match result {
        AppendResult::Durable(upto) => {
            out.push(1);
            put_u64(out, upto.0);
        }
        AppendResult::Conflict { prev, hint } => {
            out.push(2);
            put_u64(out, prev.0);
            put_log_id(out, hint);
        }
    }
}

fn byte_of_pace(pace: Pace) -> u8 {
    match pace {
        Pace::Quick => 0,
        Pace::Late => 1,
        Pace::Stalled => 2,
    }
}

fn pace_of_byte(byte: u8) -> Result<Pace, Malformed> {
    match byte {
        0 => Ok(Pace::Quick),
        1 => Ok(Pace::Late),
        2 => Ok(Pace::Stalled),
        _ => Err(malformed("an unknown pace")),
    }
}

fn put_read_result(out: &mut Vec<u8>, at: Result<Index, ReadLost>) {
    out.push(match at {
        Ok(_) => 0,
        Err(ReadLost::Busy) => 2,
        Err(_) => 1,
    });
    put_u64(out, at.unwrap_or_default().0);
}

fn put_flagged<const N: usize>(out: &mut Vec<u8>, kind: u8, numbers: [u64; N], flag: bool) {
    put_numbers(out, kind, numbers);
    out.push(u8::from(flag));
}

fn put_numbers<const N: usize>(out: &mut Vec<u8>, kind: u8, numbers: [u64; N]) {
    out.push(kind);
    numbers.iter().for_each(|&number| put_u64(out, number));
}

fn put_head(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.push(kind);
    put_u64(out, number);
}

/// The place of entries that were counted to there, with room for those behind it.
fn counted(id: LogId) -> Result<LogId, Malformed> {
    check_counts([id.term.0, id.index.0])?;
    Ok(id)
}

fn byte(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    Ok(reader.take(1)?[0])
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match byte(reader)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(malformed("a flag that is neither yes nor no")),
    }
}

/// What is left of the frame, shared with it.
fn rest(reader: &mut Reader<'_>, bytes: &Bytes) -> Bytes {
    let left = core::mem::take(&mut reader.0);
    bytes.slice_ref(left)
}

mod holding;
pub mod parcel;
#[cfg(test)]
mod tests;
