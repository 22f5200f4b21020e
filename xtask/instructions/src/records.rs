//! Entries as bytes and back, as they go to the disk and over the wire.

use anyhow::{Result, ensure};
use bytes::Bytes;
use headwater_raft::{Index, LogId, Term};
use headwater_replica::record::{decode_entries, encode_entries};
use headwater_replica::{Entry, EntryKind};

use crate::measured;
use crate::stores::put;

/// Entries of a block.
const ENTRIES: u64 = 64;

/// Blocks that are counted.
const BLOCKS: u64 = 32;

/// Checksums, encodes, decodes and checks blocks; gives the number of entries.
pub fn there_and_back() -> Result<u64> {
    let commands: Vec<Bytes> = (0..ENTRIES).map(|number| put(number).encode()).collect();
    let block = || -> Result<()> {
        let entry = |(at, command): (usize, &Bytes)| {
            let id = LogId::new(Term(1), Index(at as u64 + 1));
            Entry::new(id, EntryKind::Command, command.clone())
        };
        let entries: Vec<Entry> = commands.iter().enumerate().map(entry).collect();
        let mut bytes = Vec::new();
        encode_entries(&entries, &mut bytes);
        let read = decode_entries(LogId::default(), Bytes::from(bytes));
        let read = read.map_err(|why| anyhow::Error::msg(format!("{why:?}")))?;
        ensure!(read == entries, "other entries came back");
        Ok(())
    };
    block()?;
    measured(|| (0..BLOCKS).try_for_each(|_| block()))?;
    Ok(BLOCKS * ENTRIES)
}
