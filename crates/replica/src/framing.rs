//! Frames on a connection: where one ends, and whether it is whole.
//! Never looks into a frame, and never believes a length that it has not checked.
//!
//! # Source
//! docs/wire.md, "Frames on a connection".

use core::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::checksum::crc32c;

/// The longest frame: room for the largest message of entries and for one command beside it.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// The bytes before a frame: its length, its checksum, and the checksum of these two.
pub const HEAD_BYTES: usize = 12;

/// Where in a head its own checksum begins.
const SEAL_AT: usize = 8;

/// Why a connection's bytes cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FramingError {
    /// The head is not the one that was sent.
    Head,
    /// The length is none that a frame can have: the peer is of another make.
    Length(u32),
    /// The frame is not the one that was sent.
    Checksum,
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("the head of a frame was damaged on its way"),
            Self::Length(length) => write!(
                f,
                "a frame of {length} bytes, allowed are 1 to {FRAME_BYTES_MAX}"
            ),
            Self::Checksum => f.write_str("a frame was damaged on its way"),
        }
    }
}

impl core::error::Error for FramingError {}

/// The head that goes before a frame.
///
/// # Panics
/// If the frame is empty or longer than [`FRAME_BYTES_MAX`]: no one may make such frames.
pub fn head_of(frame: &[u8]) -> [u8; HEAD_BYTES] {
    assert!(!frame.is_empty(), "an empty frame says nothing");
    assert!(
        frame.len() <= FRAME_BYTES_MAX,
        "the peer would refuse a frame this long"
    );
    let length = u32::try_from(frame.len()).expect("bounded above");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..SEAL_AT].copy_from_slice(&crc32c(frame).to_le_bytes());
    let seal = crc32c(&head[..SEAL_AT]);
    head[SEAL_AT..].copy_from_slice(&seal.to_le_bytes());
    head
}

/// Takes the next whole frame off the front of `buffer`, sharing its memory; none until more
/// bytes have come. A head is checked before anything is waited for on its word.
///
/// # Errors
/// See [`FramingError`]; where the next frame starts is then unknown.
pub fn next_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
    let Some(mut head) = buffer.get(..HEAD_BYTES) else {
        return Ok(None);
    };
    let found = crc32c(&head[..SEAL_AT]);
    let (length, expected, seal) = (head.get_u32_le(), head.get_u32_le(), head.get_u32_le());
    if found != seal {
        return Err(FramingError::Head);
    }
    if length == 0 || length as usize > FRAME_BYTES_MAX {
        return Err(FramingError::Length(length));
    }
    let whole = HEAD_BYTES + length as usize;
    if buffer.len() < whole {
        // The rest of a long frame should find its place at once, not by doubling.
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD_BYTES);
    let frame = buffer.split_to(length as usize).freeze();
    if crc32c(&frame) != expected {
        return Err(FramingError::Checksum);
    }
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn on_the_wire(frame: &[u8]) -> BytesMut {
        let mut wire = BytesMut::from(&head_of(frame)[..]);
        wire.extend_from_slice(frame);
        wire
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let frames: [&[u8]; 3] = [b"a", &[7; 100_000], b"word"];
        let mut wire = BytesMut::new();
        for frame in frames {
            wire.unsplit(on_the_wire(frame));
        }
        for frame in frames {
            assert_eq!(next_frame(&mut wire), Ok(Some(Bytes::from(frame))));
        }
        assert_eq!(next_frame(&mut wire), Ok(None));
    }

    #[test]
    fn a_frame_is_not_taken_before_its_last_byte() {
        let wire = on_the_wire(b"word");
        let mut buffer = BytesMut::new();
        for &byte in &wire[..wire.len() - 1] {
            buffer.put_u8(byte);
            assert_eq!(next_frame(&mut buffer), Ok(None));
        }
        buffer.put_u8(wire[wire.len() - 1]);
        assert_eq!(next_frame(&mut buffer), Ok(Some("word".into())));
    }

    #[test]
    fn every_flipped_bit_is_told_by_the_bytes_that_are_there() {
        let whole = on_the_wire(b"word");
        for bit in 0..whole.len() * 8 {
            let mut wire = whole.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            let is_head = bit / 8 < HEAD_BYTES;
            // A damaged head is told before a single byte of the frame has come.
            wire.truncate(if is_head { HEAD_BYTES } else { whole.len() });
            let told = if is_head {
                FramingError::Head
            } else {
                FramingError::Checksum
            };
            assert_eq!(next_frame(&mut wire), Err(told), "bit {bit}");
        }
    }

    #[test]
    fn lengths_no_frame_can_have_are_refused() {
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut wire = BytesMut::new();
            wire.put_u32_le(length);
            wire.put_u32_le(0);
            wire.put_u32_le(crc32c(&wire));
            assert_eq!(next_frame(&mut wire), Err(FramingError::Length(length)));
        }
    }

    #[test]
    fn bytes_missing_from_the_middle_are_told_by_those_that_follow() {
        let whole = on_the_wire(b"word");
        for kept in 1..whole.len() {
            let mut wire = BytesMut::from(&whole[..kept]);
            wire.unsplit(on_the_wire(b"the next"));
            assert!(next_frame(&mut wire).is_err(), "{kept} bytes were left");
        }
    }
}
