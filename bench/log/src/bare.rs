//! What the disk can do: the same bytes as our log's, written in sequence into a file of zeros, each
//! batch with its own fdatasync. Never checks, names or finds anything again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use headwater_raft::{Index, LogId, Term};
use headwater_replica::record::frame_bytes;
use headwater_replica::{Entry, EntryKind};

use crate::Log;

/// The size of the file, which is written again from its beginning.
const FILE_BYTES: u64 = 64 << 20;

/// A file.
pub struct Bare {
    file: File,
    offset: u64,
    buffer: Vec<u8>,
}

impl Bare {
    /// Fills a file with zeros.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(dir: &Path) -> Result<Self> {
        let file = File::create(dir.join("bare"))?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            offset: 0,
            buffer: Vec::new(),
        })
    }
}

impl Log for Bare {
    fn append(&mut self, entries: &[Bytes]) -> Result<()> {
        let id = LogId::new(Term(1), Index(1));
        let entry = |body: &Bytes| Entry::new(id, EntryKind::Command, body.clone());
        let entries: Vec<Entry> = entries.iter().map(entry).collect();
        let bytes = frame_bytes(&entries) as usize;
        self.buffer.clear();
        self.buffer
            .extend(entries.iter().flat_map(|entry| &entry.body));
        self.buffer.resize(bytes, 1);
        if self.offset + bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += bytes as u64;
        self.file.sync_data()?;
        Ok(())
    }
}
