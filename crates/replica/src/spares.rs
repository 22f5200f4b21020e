//! Files for the log's next segments: filled with zeros ahead of need, or released and used again.
//! Never writes into one: that is for whoever makes a segment of it, once its old name is surely gone.
//!
//! # Source
//! docs/format.md, "Order of writes".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::port::{Disk, DiskError};
use crate::wal::{WAL_DIR, segment_name};

/// The one that another thread makes.
pub(crate) const SPARE_FILE: &str = "wal/spare.tmp";
/// So many released segments are kept in any case, as long as the disk has room.
const SPARES_MIN: usize = 2;

/// A file that can become a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) length: u64,
    /// Whether it was a segment: it holds that one's bytes instead of zeros.
    pub(crate) is_recycled: bool,
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Spare>);

impl Spares {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a released segment is worth keeping: until all weigh `bytes_max`. On a disk that is `short`
    /// of room one will do.
    pub(crate) fn has_place(&self, bytes_max: u64, short: bool) -> bool {
        let count = self.0.len();
        let bytes = self.0.iter().map(|spare| spare.length).sum::<u64>();
        count == 0 || !short && (count < SPARES_MIN || bytes < bytes_max)
    }

    /// [`SPARE_FILE`] has been made.
    pub(crate) fn made(&mut self, length: u64) {
        self.0.push(Spare {
            name: SPARE_FILE.into(),
            length,
            is_recycled: false,
        });
    }

    /// Keeps the file of a released segment, under a name that recovery removes. Nothing may be
    /// written into it before the directory is synced.
    pub(crate) fn keep(
        &mut self,
        disk: &mut dyn Disk,
        seq: u64,
        length: u64,
    ) -> Result<(), DiskError> {
        let name = format!("{WAL_DIR}/{seq:016x}.tmp");
        disk.rename(&segment_name(seq), &name)?;
        self.0.push(Spare {
            name,
            length,
            is_recycled: true,
        });
        Ok(())
    }

    /// Removes all but the oldest `count`; whether there was one to remove.
    pub(crate) fn keep_at_most(
        &mut self,
        disk: &mut dyn Disk,
        count: usize,
    ) -> Result<bool, DiskError> {
        let too_many = self.0.split_off(count.min(self.0.len()));
        for spare in &too_many {
            disk.remove(&spare.name)?;
        }
        Ok(!too_many.is_empty())
    }

    /// The oldest one of at least `needed` bytes; it is none any more. A file that has lost its end, for
    /// which it may have been released, is removed.
    pub(crate) fn take(
        &mut self,
        disk: &mut dyn Disk,
        needed: u64,
    ) -> Result<Option<Spare>, DiskError> {
        while let Some(at) = self.0.iter().position(|spare| spare.length >= needed) {
            let spare = self.0.remove(at);
            if disk.size(&spare.name)? == Some(spare.length) {
                return Ok(Some(spare));
            }
            // Mark: a spare file is shorter than it was.
            disk.remove(&spare.name)?;
        }
        Ok(None)
    }
}
