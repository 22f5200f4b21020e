//! Files read piece by piece: what lies at a place, and what a segment's rest holds.
//! Never judges: whether the log ends where a frame is not whole is for `replay` to say.
//!
//! # Source
//! docs/format.md, "The log".

use alloc::format;
use bytes::Bytes;

use crate::machine::Malformed;
use crate::port::{Disk, DiskError};
use crate::record::{
    BLOCK_HEAD_BYTES, FRAME_ALIGN, FRAME_HEAD_BYTES, FRAME_MAGIC, FrameRead, decode_frame_head,
    malformed,
};
use crate::wal::failed;

/// Read at a time; entries are slices of such pieces.
pub(crate) const WINDOW_BYTES: u64 = 1 << 20;
/// The same of whoever reads all of a log: as large as the kernel's pages are at best.
pub(crate) const READ_AHEAD_BYTES: u64 = 2 << 20;
const ZEROS: [u8; 4096] = [0; 4096];
/// Where in a frame its block of entries begins.
pub(crate) const BLOCK_AT: u64 = (FRAME_HEAD_BYTES - BLOCK_HEAD_BYTES) as u64;

/// A view of one file that reads ahead.
pub(crate) struct Window<'a> {
    disk: &'a mut dyn Disk,
    name: &'a str,
    end: u64,
    start: u64,
    bytes: Bytes,
    /// Read at a time.
    read_bytes: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(disk: &'a mut dyn Disk, name: &'a str, end: u64) -> Self {
        Self::ahead(disk, name, end, WINDOW_BYTES)
    }

    /// The same, so many bytes at a time.
    pub(crate) fn ahead(disk: &'a mut dyn Disk, name: &'a str, end: u64, read_bytes: u64) -> Self {
        Self {
            disk,
            name,
            end,
            start: 0,
            bytes: Bytes::new(),
            read_bytes,
        }
    }

    /// Exactly `len` bytes from `offset`, which must lie within the file.
    pub(crate) fn take(&mut self, offset: u64, len: u64) -> Result<Bytes, DiskError> {
        assert!(offset + len <= self.end, "a reading beyond the file");
        let held = self.start..self.start + self.bytes.len() as u64;
        if offset < held.start || offset + len > held.end {
            let wanted = len.max(self.read_bytes).min(self.end - offset);
            self.bytes = self.disk.read(self.name, offset, wanted as usize)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        if self.bytes.len() < at + len as usize {
            return Err(failed(format!("{}: short read at {offset}", self.name)));
        }
        Ok(self.bytes.slice(at..at + len as usize))
    }

    /// Looks at everything from `from` on: tells `found` of each whole frame head that lies where
    /// it says it belongs, and returns where the last byte that is not zero ends, or `from`.
    pub(crate) fn survey(
        &mut self,
        from: u64,
        mut found: impl FnMut(u64, &FrameRead),
    ) -> Result<u64, DiskError> {
        let mut used = from;
        let mut at = from;
        while at < self.end {
            let piece = self.take(at, WINDOW_BYTES.min(self.end - at))?;
            for block in piece.chunks(ZEROS.len()) {
                // Most of a segment's end is zeros, and comparing is quicker than looking.
                if block != &ZEROS[..block.len()] {
                    let last = block.iter().rposition(|&byte| byte != 0);
                    used = at + last.map_or(0, |last| last as u64 + 1);
                    self.survey_block(at, block, &mut found)?;
                }
                at += block.len() as u64;
            }
        }
        Ok(used)
    }

    fn survey_block(
        &mut self,
        at: u64,
        block: &[u8],
        found: &mut impl FnMut(u64, &FrameRead),
    ) -> Result<(), DiskError> {
        for place in (0..block.len()).step_by(FRAME_ALIGN) {
            let offset = at + place as u64;
            let fits = self.end - offset >= FRAME_HEAD_BYTES as u64;
            if !fits || !block[place..].starts_with(FRAME_MAGIC) {
                continue;
            }
            let head = decode_frame_head(&self.take(offset, FRAME_HEAD_BYTES as u64)?);
            if let Ok(frame) = head.as_ref()
                && frame.head.offset == offset
            {
                found(offset, frame);
            }
        }
        Ok(())
    }

    /// The head of the frame at `offset` of segment `seq`, if it continues one whose head has the checksum
    /// `chain`, where that is known; and its bytes. Or why there is none.
    pub(crate) fn frame_head(
        &mut self,
        seq: u64,
        offset: u64,
        chain: Option<u32>,
    ) -> Result<Result<(FrameRead, Bytes), Malformed>, DiskError> {
        let left = self.end.saturating_sub(offset);
        if left < FRAME_HEAD_BYTES as u64 {
            return Ok(Err(malformed("the segment ends")));
        }
        let bytes = self.take(offset, FRAME_HEAD_BYTES as u64)?;
        Ok(decode_frame_head(&bytes).and_then(|frame| {
            let head = &frame.head;
            let is_next = chain.is_none_or(|chain| chain == head.chain);
            if !is_next || (head.seq, head.offset) != (seq, offset) {
                return Err(malformed("the frame does not continue the one before"));
            }
            if frame.length() > left {
                return Err(malformed("the frame goes beyond its segment"));
            }
            Ok((frame, bytes))
        }))
    }

    /// The frame at `offset` of segment `seq`, as [`Window::frame_head`] finds it, with its block of
    /// entries; these are not looked at.
    pub(crate) fn frame(
        &mut self,
        seq: u64,
        offset: u64,
        chain: u32,
    ) -> Result<Result<Framed, Malformed>, DiskError> {
        let (frame, bytes) = match self.frame_head(seq, offset, Some(chain))? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let block = self.take(offset + BLOCK_AT, frame.block_bytes)?;
        Ok(Ok(Framed {
            frame,
            bytes: bytes.slice(..BLOCK_AT as usize),
            block,
        }))
    }
}

/// A frame that continues its segment, as it was read.
pub(crate) struct Framed {
    pub(crate) frame: FrameRead,
    /// Its bytes up to its block of entries, and that.
    pub(crate) bytes: Bytes,
    pub(crate) block: Bytes,
}
