//! Frames on their way out: many of them in one write.
//! Never looks into a frame; where one ends is `framing` in `replica`.
//!
//! # Source
//! docs/wire.md, "Frames on a connection".

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use headwater_replica::framing::{HEAD_BYTES, head_of};

/// Frames up to this size are copied together; a longer one is cheaper to point at.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// Pieces given to one write of the operating system.
const PIECES_MAX: usize = 32;

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
    /// See [`head_of`].
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += HEAD_BYTES + frame.len();
        self.tail.extend_from_slice(&head_of(&frame));
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
    use headwater_replica::framing::next_frame;

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
            let total: usize = sizes.iter().map(|s| s + HEAD_BYTES).sum();
            assert_eq!(out.bytes(), total);
            let mut wire = drain(&mut out, step);
            for (i, &size) in sizes.iter().enumerate() {
                let frame = next_frame(&mut wire).expect("whole").expect("there");
                assert_eq!(frame, vec![i as u8; size]);
            }
            assert!(wire.is_empty());
        }
    }
}
