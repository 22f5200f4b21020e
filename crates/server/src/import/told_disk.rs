//! A disk that tells how many bytes go to it and come from it; zeros do not count.
//! Never does anything else than the disk below.
//!
//! # Source
//! `headwater_replica::port::Disk`.

use bytes::Bytes;
use headwater_ctl::progress::Progress;
use headwater_replica::port::{Disk, DiskError};

/// A disk, and who is told.
pub struct ToldDisk<'a> {
    disk: &'a mut dyn Disk,
    progress: &'a mut Progress,
}

impl<'a> ToldDisk<'a> {
    /// This disk, which tells this.
    pub fn new(disk: &'a mut dyn Disk, progress: &'a mut Progress) -> Self {
        Self { disk, progress }
    }
}

impl Disk for ToldDisk<'_> {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(dir)
    }

    fn size(&mut self, name: &str) -> Result<Option<u64>, DiskError> {
        self.disk.size(name)
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let bytes = self.disk.read(name, offset, len)?;
        self.progress.add(bytes.len() as u64);
        Ok(bytes)
    }

    fn create_zeroed(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.disk.create_zeroed(name, len)
    }

    fn reserve(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.disk.reserve(name, len)
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.disk.write(name, offset, data)?;
        self.progress.add(data.len() as u64);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.sync(name)
    }

    fn sync_dir(&mut self, dir: &str) -> Result<(), DiskError> {
        self.disk.sync_dir(dir)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.remove(name)
    }
}
