//! The doors to the world: disk, network, clock.
//! Never opened from inside: the world hands its disk to the log's and the files' workers, carries
//! frames, and says what time it is.
//!
//! The disk is a trait with plain calls, because the code behind it (`wal`,
//! `snapshot_file`) runs where waiting is allowed: on a thread of its own in the real
//! world, at a moment of the dice's choosing in the simulated one. The network and the clock are
//! data: frames and instants that go in and out of the replica.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors"; Pillai et al., OSDI'14, for what a file system
//! promises.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// One directory of a disk, as little as a log needs and no more than POSIX promises.
///
/// Names are relative, with at most one `/` (`wal/0000000000000001.wal`); the directories are
/// created when first written to, and `""` is the directory that holds them. Nothing is durable before the matching sync: of a file its
/// content, of a directory the names in it.
pub trait Disk {
    /// The names in a directory (without the directory), in order; none if it does not exist.
    ///
    /// # Errors
    /// The disk refused.
    fn list(&mut self, dir: &str) -> Result<Vec<String>, DiskError>;

    /// The size of a file in bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// The disk refused.
    fn size(&mut self, name: &str) -> Result<Option<u64>, DiskError>;

    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// No such file, or the disk refused.
    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Bytes, DiskError>;

    /// Makes a file of `len` zero bytes, written and not merely reserved (so that later syncs need
    /// not change its extents), replacing any file of that name. Not yet durable.
    ///
    /// # Errors
    /// The disk refused; a partial file may remain.
    fn create_zeroed(&mut self, name: &str, len: u64) -> Result<(), DiskError>;

    /// Makes a file that takes up the room of `len` bytes, whatever they are, replacing any file of
    /// that name: room set aside for later. Not yet durable.
    ///
    /// # Errors
    /// The disk refused; a partial file may remain.
    fn reserve(&mut self, name: &str, len: u64) -> Result<(), DiskError>;

    /// Writes all of `data` at `offset`, growing the file if need be; the file is created if
    /// there is none.
    ///
    /// # Errors
    /// The disk refused; any part of the range may have been written.
    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// Makes a file's content and size durable (fdatasync).
    ///
    /// # Errors
    /// Nothing is known about what is durable: the caller must not sync again and believe it.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As for [`Disk::sync`].
    fn sync_dir(&mut self, dir: &str) -> Result<(), DiskError>;

    /// Renames a file within its directory, replacing any file of the new name.
    ///
    /// # Errors
    /// The disk refused.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file; no error if there is none.
    ///
    /// # Errors
    /// The disk refused.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// As [`Disk::remove`], of a file whose room nobody waits for: its name goes at once, but its room
    /// may be given back a little later, where that takes long.
    ///
    /// # Errors
    /// The disk refused.
    fn discard(&mut self, name: &str) -> Result<(), DiskError> {
        self.remove(name)
    }
}

/// What a disk said instead of doing it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskError {
    /// What was tried, on which file.
    pub what: String,
    /// What kind of refusal; decides what the caller can do.
    pub kind: DiskErrorKind,
}

/// The kinds of refusal that call for different deeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DiskErrorKind {
    /// No space left: nothing is damaged; free some and start again.
    Full,
    /// Not allowed, or read-only.
    Denied,
    /// No such file.
    NotFound,
    /// The device failed or the process is being killed: trust nothing since the last sync.
    Failed,
}

impl core::fmt::Display for DiskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.what)
    }
}

impl core::error::Error for DiskError {}
