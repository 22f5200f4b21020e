//! Frames on their way to a segment: gathered, written in pieces, made durable together.
//! Never decides what is written, nor when it must be durable.
//!
//! # Source
//! Dissertation §10.2.2 (batching); docs/format.md, "The log".

use alloc::vec::Vec;

use crate::entry::Entry;
use crate::port::{Disk, DiskError};
use crate::record::{FrameHead, encode_frame_head, frame_bytes};
use crate::wal::segment_name;

/// So much is gathered before it is written, however long a group of writes is.
const PIECE_BYTES: usize = 1 << 20;

/// Disks write these whole. What is written begins and ends where one does, but for the first writes of
/// an opening, so that it can go there past all caches: what begins the first one is written again, and zeros
/// fill up the last.
const SECTOR_BYTES: u64 = 512;

/// The frames since the last sync, all of one segment, and what the sector has in which the first one begins.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    seq: u64,
    /// The last bytes of the log, and where in the segment they go.
    gathered: Vec<u8>,
    offset: u64,
    /// How many of them are written.
    written: usize,
    unsynced: bool,
}

impl Batch {
    /// Adds a frame at the place that its head names, after those before it, and writes what becomes
    /// too much. Returns the checksum of the head.
    ///
    /// # Errors
    /// The disk refused.
    pub(crate) fn add(
        &mut self,
        disk: &mut dyn Disk,
        head: &FrameHead,
        entries: &[Entry],
    ) -> Result<u32, DiskError> {
        if self.seq != head.seq {
            assert!(self.is_settled(), "another segment before all is durable");
            (self.seq, self.offset) = (head.seq, head.offset);
            self.gathered.clear();
            self.written = 0;
        }
        let place = self.offset + self.gathered.len() as u64;
        assert_eq!(place, head.offset, "a frame in another place");
        let chain = encode_frame_head(head, entries, &mut self.gathered);
        for entry in entries {
            for piece in entry.body.chunks(PIECE_BYTES) {
                self.gathered.extend_from_slice(piece);
                if self.gathered.len() >= PIECE_BYTES {
                    self.write(disk)?;
                }
            }
        }
        let rest = head.offset + frame_bytes(entries) - self.offset;
        self.gathered.resize(rest as usize, 0);
        Ok(chain)
    }

    /// Writes what is gathered, in whole sectors; not yet durable.
    ///
    /// # Errors
    /// The disk refused.
    pub(crate) fn write(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let len = self.gathered.len();
        if self.written == len {
            return Ok(());
        }
        self.unsynced = true;
        let end = self.offset + len as u64;
        let padded = end.next_multiple_of(SECTOR_BYTES) - self.offset;
        self.gathered.resize(padded as usize, 0);
        disk.write(&segment_name(self.seq), self.offset, &self.gathered)?;
        self.gathered.truncate(len);
        // The first group of an opening may not reach the next sector.
        let last_sector = (end - end % SECTOR_BYTES).max(self.offset);
        self.gathered.drain(..(last_sector - self.offset) as usize);
        self.offset = last_sector;
        self.written = self.gathered.len();
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.written == self.gathered.len() && !self.unsynced
    }

    /// Writes what is gathered and makes all that was added durable.
    ///
    /// # Errors
    /// The disk refused: nothing is known of what was added since the last time.
    pub(crate) fn settle(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.write(disk)?;
        if self.unsynced {
            disk.sync(&segment_name(self.seq))?;
            self.unsynced = false;
        }
        Ok(())
    }
}
