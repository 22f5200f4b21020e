//! Writes past the kernel's cache, to files that go there sector by sector: what is written again with
//! the next write is one sector and not a page, and nobody copies, marks and cleans pages on the way.
//! Never makes anything durable: that takes a sync as always. Never alone: what is no whole sector goes through
//! the cache. One thread writes a file, so what is written one way is never under way in the other; the kernel
//! drops what its cache has of what goes past it, and those who read never ask for what is being written.
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
/// The log is written in multiples of this.
const SECTOR_BYTES: u32 = 512;
/// Memory that begins where one of these does suits every disk.
const PAGE_BYTES: usize = 4096;

/// A file's other door, which is opened when it is first of use.
#[derive(Debug)]
pub(crate) enum Direct {
    /// Nobody has looked for it.
    Unknown,
    /// There is none: the file system has no such thing, or does not say what it takes, or not sectors.
    None,
    /// Whole sectors may go here.
    Open(File),
}

impl Direct {
    /// Writes all of `data` at `offset` of the file at `path`, which is `same` too, from `aligned`; `false` if
    /// that is not for this door, or there is none.
    pub(crate) fn write(
        &mut self,
        (same, path): (&File, &Path),
        offset: u64,
        data: &[u8],
        aligned: &mut Aligned,
    ) -> io::Result<bool> {
        let sector = u64::from(SECTOR_BYTES);
        if !offset.is_multiple_of(sector) || !(data.len() as u64).is_multiple_of(sector) {
            return Ok(false);
        }
        if matches!(self, Self::Unknown) {
            *self = open(same, path).map_or(Self::None, Self::Open);
        }
        let Self::Open(file) = self else {
            return Ok(false);
        };
        let mut at = offset;
        for piece in data.chunks(PIECE_BYTES) {
            match file.write_all_at(aligned.hold(piece), at) {
                Ok(()) => at += piece.len() as u64,
                // The file system has said more than it keeps.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    *self = Self::None;
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// Opens a file for sectors alone, if they go there.
fn open(same: &File, path: &Path) -> Option<File> {
    let said = statx(same, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let (memory, sector) = (said.stx_dio_mem_align, said.stx_dio_offset_align);
    let is_known = said.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    if !is_known || !(1..=SECTOR_BYTES).contains(&sector) || memory as usize > PAGE_BYTES {
        return None;
    }
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).ok()
}

/// Memory from which a disk can take what is written.
#[derive(Debug, Default)]
pub(crate) struct Aligned(Vec<u8>);

impl Aligned {
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
