//! Frames on a connection: where one ends, whether it is whole; many of them in one write.
//! Never looks into a frame.
//!
//! # Source
//! docs/wire.md, "Frames".

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headwater_replica::checksum::crc32c;

/// The longest frame: room for the largest message of entries and for one command beside it.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// The bytes before a frame: its length and its checksum.
pub const FRAME_HEAD_BYTES: usize = 8;

/// Frames up to this size are copied together; a longer one is cheaper to point at.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// Pieces given to one write of the operating system.
const PIECES_MAX: usize = 32;

/// Why a connection's bytes cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is none that a frame can have.
    #[error("frame of {0} bytes, allowed are 1 to {FRAME_BYTES_MAX}")]
    Length(u32),
    /// The bytes are not those that were sent.
    #[error("frame checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Of the bytes that came.
        found: u32,
        /// As sent beside them.
        expected: u32,
    },
}

/// Takes the next whole frame off the front of `buffer`, sharing its memory; none until more
/// bytes have come.
///
/// # Errors
/// See [`FrameError`]; where the next frame starts is then unknown.
pub fn next_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    if buffer.len() < FRAME_HEAD_BYTES {
        return Ok(None);
    }
    let (length, expected) = head(buffer);
    if length == 0 || length as usize > FRAME_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    let whole = FRAME_HEAD_BYTES + length as usize;
    if buffer.len() < whole {
        // The rest of a long frame should find its place at once, not by doubling.
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    buffer.advance(FRAME_HEAD_BYTES);
    let frame = buffer.split_to(length as usize).freeze();
    let found = crc32c(&frame);
    if found != expected {
        return Err(FrameError::Checksum { found, expected });
    }
    Ok(Some(frame))
}

fn head(buffer: &BytesMut) -> (u32, u32) {
    let mut head = &buffer[..FRAME_HEAD_BYTES];
    (head.get_u32_le(), head.get_u32_le())
}

/// Frames on their way out of one connection.
#[derive(Default, Debug)]
pub struct Outgoing {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Outgoing {
    /// Appends a frame.
    ///
    /// # Panics
    /// If the frame is empty or longer than [`FRAME_BYTES_MAX`]: no one may make such frames.
    pub fn push(&mut self, frame: Bytes) {
        assert!(!frame.is_empty(), "an empty frame says nothing");
        assert!(
            frame.len() <= FRAME_BYTES_MAX,
            "the peer would refuse a frame this long"
        );
        self.bytes += FRAME_HEAD_BYTES + frame.len();
        self.tail
            .put_u32_le(u32::try_from(frame.len()).expect("bounded above"));
        self.tail.put_u32_le(crc32c(&frame));
        if frame.len() <= COPIED_BYTES_MAX {
            self.tail.extend_from_slice(&frame);
        } else {
            self.pieces.push_back(self.tail.split().freeze());
            self.pieces.push_back(frame);
        }
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Hands what waits to `write` until all is gone or it takes no more. Returns the bytes gone.
    ///
    /// # Errors
    /// What `write` said, other than that it would have to wait.
    pub fn write_with(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        let mut gone = 0;
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let count = self.pieces.len().min(PIECES_MAX);
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.forget(n);
                    gone += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(gone)
    }

    fn forget(&mut self, mut n: usize) {
        assert!(n <= self.bytes, "more bytes written than there were");
        self.bytes -= n;
        while n > 0 {
            let first = self.pieces.front_mut().expect("bytes are counted");
            if n < first.len() {
                first.advance(n);
                return;
            }
            n -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything `out` has, through writes of at most `step` bytes.
    fn drain(out: &mut Outgoing, step: usize) -> BytesMut {
        let mut wire = BytesMut::new();
        while !out.is_empty() {
            let mut blocked = false;
            out.write_with(|slices| {
                blocked = !blocked;
                if !blocked {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let all: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
                let taken = all.len().min(step);
                wire.extend_from_slice(&all[..taken]);
                Ok(taken)
            })
            .expect("nothing fails here");
        }
        wire
    }

    #[test]
    fn frames_of_all_sizes_come_out_whole_and_in_order() {
        let sizes = [1, 5, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 3, 100_000, 2];
        for step in [1000, 4096, usize::MAX] {
            let mut out = Outgoing::default();
            for (i, &size) in sizes.iter().enumerate() {
                out.push(vec![i as u8; size].into());
            }
            let total: usize = sizes.iter().map(|s| s + FRAME_HEAD_BYTES).sum();
            assert_eq!(out.bytes(), total);
            let mut wire = drain(&mut out, step);
            for (i, &size) in sizes.iter().enumerate() {
                let frame = next_frame(&mut wire).expect("whole").expect("there");
                assert_eq!(frame, vec![i as u8; size]);
            }
            assert!(wire.is_empty());
        }
    }

    #[test]
    fn a_frame_is_not_taken_before_its_last_byte() {
        let mut out = Outgoing::default();
        out.push(Bytes::from_static(b"word"));
        let wire = drain(&mut out, usize::MAX);
        let mut buffer = BytesMut::new();
        for &byte in &wire[..wire.len() - 1] {
            buffer.put_u8(byte);
            assert_eq!(next_frame(&mut buffer), Ok(None));
        }
        buffer.put_u8(wire[wire.len() - 1]);
        assert_eq!(next_frame(&mut buffer), Ok(Some("word".into())));
    }

    #[test]
    fn lengths_no_frame_can_have_are_refused() {
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut buffer = BytesMut::new();
            buffer.put_u32_le(length);
            buffer.put_u32_le(0);
            assert_eq!(next_frame(&mut buffer), Err(FrameError::Length(length)));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut out = Outgoing::default();
        out.push(Bytes::from_static(b"word"));
        let mut wire = drain(&mut out, usize::MAX);
        wire[FRAME_HEAD_BYTES] ^= 1;
        assert!(matches!(
            next_frame(&mut wire),
            Err(FrameError::Checksum { .. })
        ));
    }
}
