//! Writes past the kernel's cache, to files that go there sector by sector: what is written again with
//! the next write is one sector and not a page, and nobody copies, marks and cleans pages on the way.
//! Never makes anything durable: that takes a sync as always.
//!
//! # Source
//! open(2), `O_DIRECT`; statx(2), `STATX_DIOALIGN` (Linux 6.1).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};

/// Bytes that are copied to where the disk may take them from, and written, at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Memory that begins where one of these does suits every disk.
const PAGE_BYTES: usize = 4096;

/// A file's other door, and what may go through it.
#[derive(Debug)]
pub(crate) struct Direct {
    file: File,
    /// Offsets and lengths are multiples of this.
    align: u64,
}

impl Direct {
    /// The door to the file at `path`, which is `same` too; `None` where there is none: the file system
    /// has no such thing, or does not say what it takes.
    pub(crate) fn open(same: &File, path: &Path) -> Option<Self> {
        let said = statx(same, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
        let (memory, align) = (said.stx_dio_mem_align, said.stx_dio_offset_align);
        let is_known = said.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && align > 0;
        if !is_known || memory as usize > PAGE_BYTES {
            return None;
        }
        let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
        let mut options = OpenOptions::new();
        let file = options.write(true).custom_flags(flags).open(path).ok()?;
        Some(Self {
            file,
            align: u64::from(align),
        })
    }

    /// Whether these bytes begin and end where the disk's sectors do.
    pub(crate) fn takes(&self, offset: u64, data: &[u8]) -> bool {
        offset.is_multiple_of(self.align) && (data.len() as u64).is_multiple_of(self.align)
    }

    /// Writes all of `data`, which it [takes](Self::takes), at `offset`, from `room`.
    pub(crate) fn write(&self, offset: u64, data: &[u8], room: &mut Room) -> io::Result<()> {
        let mut offset = offset;
        for piece in data.chunks(PIECE_BYTES) {
            self.file.write_all_at(room.hold(piece), offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}

/// Memory from which a disk can take what is written.
#[derive(Debug, Default)]
pub(crate) struct Room(Vec<u8>);

impl Room {
    /// A copy of `data` that begins where a page does.
    fn hold(&mut self, data: &[u8]) -> &[u8] {
        if self.0.len() < data.len() + PAGE_BYTES {
            self.0 = vec![0; data.len().next_power_of_two() + PAGE_BYTES];
        }
        let start = self.0.as_ptr().align_offset(PAGE_BYTES);
        let held = &mut self.0[start..][..data.len()];
        held.copy_from_slice(data);
        held
    }
}
