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
/// A body as long as this is written from where it is.
const OWN_PIECE_BYTES: usize = 64 << 10;

/// The frames since the last sync, all of one segment.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    seq: u64,
    /// What is not yet written, and where in the segment it goes.
    gathered: Vec<u8>,
    offset: u64,
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
        if self.is_settled() {
            (self.seq, self.offset) = (head.seq, head.offset);
        }
        let place = (self.seq, self.offset + self.gathered.len() as u64);
        assert_eq!(place, (head.seq, head.offset), "a frame in another place");
        let chain = encode_frame_head(head, entries, &mut self.gathered);
        for entry in entries {
            self.add_body(disk, &entry.body)?;
        }
        let rest = head.offset + frame_bytes(entries) - self.offset;
        self.gathered.resize(rest as usize, 0);
        Ok(chain)
    }

    fn add_body(&mut self, disk: &mut dyn Disk, body: &[u8]) -> Result<(), DiskError> {
        if body.len() < OWN_PIECE_BYTES {
            self.gathered.extend_from_slice(body);
            if self.gathered.len() >= PIECE_BYTES {
                self.write(disk)?;
            }
            return Ok(());
        }
        self.write(disk)?;
        disk.write(&segment_name(self.seq), self.offset, body)?;
        self.offset += body.len() as u64;
        Ok(())
    }

    /// Writes what is gathered; not yet durable.
    ///
    /// # Errors
    /// The disk refused.
    pub(crate) fn write(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        if !self.gathered.is_empty() {
            self.unsynced = true;
            disk.write(&segment_name(self.seq), self.offset, &self.gathered)?;
            self.offset += self.gathered.len() as u64;
            self.gathered.clear();
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.gathered.is_empty() && !self.unsynced
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
