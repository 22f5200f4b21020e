//! The log of TiKV, without compression: what is measured cannot be compressed.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::Log;

/// The engine, and the one group that it serves.
pub struct RaftEngine {
    engine: Engine,
    last: u64,
}

#[derive(Clone)]
struct Raft;

impl MessageExt for Raft {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

impl RaftEngine {
    /// An empty log.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(dir: &Path) -> Result<Self> {
        let config = Config {
            dir: dir.join("engine").to_string_lossy().into_owned(),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        Ok(Self {
            engine: Engine::open(config)?,
            last: 0,
        })
    }
}

impl Log for RaftEngine {
    fn append(&mut self, entries: &[Bytes]) -> Result<()> {
        let entry = |(index, body): (u64, &Bytes)| Entry {
            term: 1,
            index,
            data: body.to_vec().into(),
            ..Entry::default()
        };
        let entries: Vec<Entry> = (self.last + 1..).zip(entries).map(entry).collect();
        self.last += entries.len() as u64;
        let mut batch = LogBatch::default();
        batch.add_entries::<Raft>(1, &entries)?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}
