//! The bytes of a snapshot file: written chunk by chunk, checked and loaded chunk by chunk.
//! Never interprets a chunk: the state machine does.
//!
//! # Source
//! Dissertation §5.1; docs/format.md, "Snapshots".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::LogId;

use crate::checksum::crc32c;
use crate::config_record::{decode_config, encode_config};
use crate::entry::SnapshotMeta;
use crate::machine::{Malformed, StateMachine};
use crate::port::{Disk, DiskError};
use crate::record::{
    HeadError, PROLOGUE_BYTES, Reader, check_counts, check_prologue, malformed, patch_u32,
    put_log_id, put_prologue, put_u32, put_u64,
};

const MAGIC: &[u8; 8] = b"HWSNAPSH";
/// The head without its configuration.
const HEAD_BYTES: usize = 56;
/// Where it says which writing the file is.
const WRITING_AT: usize = 48;
const CONFIG_BYTES_MAX: u32 = 1 << 20;
const CHUNK_HEAD_BYTES: usize = 8;
const FOOTER_BYTES: usize = 32;
/// Where a chunk would have its length, the footer has this.
const FOOTER_MARK: u32 = u32::MAX;
/// The largest chunk a file may hold: a reader takes one into memory at a time.
pub const CHUNK_BYTES_MAX: u32 = 1 << 30;

/// Sums up everything's checksums, in order.
#[derive(Clone, Copy, Debug)]
struct Tally {
    crc: u32,
    chunks: u64,
    bytes: u64,
}

impl Tally {
    fn new(head_crc: u32) -> Self {
        Self {
            crc: head_crc,
            chunks: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, chunk_bytes: u32, crc: u32) {
        let mut link = Vec::with_capacity(12);
        put_u32(&mut link, self.crc);
        put_u32(&mut link, chunk_bytes);
        put_u32(&mut link, crc);
        self.crc = crc32c(&link);
        self.chunks += 1;
        self.bytes += u64::from(chunk_bytes);
    }

    fn footer(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        put_u32(&mut out, FOOTER_MARK);
        put_u32(&mut out, 0);
        put_u64(&mut out, self.chunks);
        put_u64(&mut out, self.bytes);
        put_u32(&mut out, self.crc);
        put_u32(&mut out, 0);
        let crc = crc32c(&out[8..]);
        patch_u32(&mut out, 4, crc);
        out
    }
}

fn encode_head(cluster: u64, meta: &SnapshotMeta, writing: u64) -> (Vec<u8>, u32) {
    let mut config = Vec::new();
    encode_config(&meta.config, &mut config);
    let config_bytes = u32::try_from(config.len()).expect("a configuration is below 4 GiB");
    assert!(
        config_bytes <= CONFIG_BYTES_MAX,
        "a configuration too large"
    );
    let mut out = Vec::with_capacity(HEAD_BYTES + config.len());
    put_prologue(MAGIC, &mut out);
    put_u32(&mut out, 0);
    put_u32(&mut out, config_bytes);
    put_u64(&mut out, cluster);
    put_log_id(&mut out, meta.base);
    put_u64(&mut out, writing);
    out.extend_from_slice(&config);
    let crc = crc32c(&out[PROLOGUE_BYTES + 4..]);
    patch_u32(&mut out, PROLOGUE_BYTES, crc);
    (out, crc)
}

/// A chunk as it stands in a file.
fn with_head(chunk: &[u8], crc: u32) -> Vec<u8> {
    let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
    assert!(
        length <= CHUNK_BYTES_MAX,
        "a chunk far beyond what was asked for"
    );
    let mut out = Vec::with_capacity(CHUNK_HEAD_BYTES + chunk.len());
    put_u32(&mut out, length);
    put_u32(&mut out, crc);
    out.extend_from_slice(chunk);
    out
}

/// Which writing of a snapshot a file is, by its first bytes; `None` if they do not say. No other
/// writing has that number, so files of one are alike in every byte that they have.
pub(crate) fn writing_of(first: &[u8]) -> Option<u64> {
    let number = first.get(WRITING_AT..HEAD_BYTES)?;
    let number = u64::from_le_bytes(number.try_into().ok()?);
    (number != 0).then_some(number)
}

/// An own snapshot being written under a temporary name.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    name: String,
    meta: SnapshotMeta,
    offset: u64,
    tally: Tally,
    unsynced: Unsynced,
}

/// Syncs a file that grows from time to time, so that its last sync, and the log's beside it, need
/// not wait for all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsynced {
    bytes: u64,
    bytes_max: u64,
}

impl Unsynced {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes = 0;
        Self { bytes, bytes_max }
    }

    /// So many bytes were written; whether the file was synced for it.
    pub(crate) fn add(
        &mut self,
        disk: &mut dyn Disk,
        name: &str,
        bytes: usize,
    ) -> Result<bool, DiskError> {
        self.bytes += bytes as u64;
        if self.bytes < self.bytes_max {
            return Ok(false);
        }
        // Mark: a snapshot is synced before it is whole.
        self.bytes = 0;
        disk.sync(name)?;
        Ok(true)
    }
}

impl SnapshotWriter {
    pub(crate) fn begin(
        disk: &mut dyn Disk,
        name: String,
        (cluster, writing): (u64, u64),
        meta: SnapshotMeta,
        unsynced: Unsynced,
    ) -> Result<Self, DiskError> {
        let (head, crc) = encode_head(cluster, &meta, writing);
        // A longer file of an earlier, failed try would leave its end behind the footer.
        disk.remove(&name)?;
        disk.write(&name, 0, &head)?;
        Ok(Self {
            name,
            meta,
            offset: head.len() as u64,
            tally: Tally::new(crc),
            unsynced,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn chunk(&mut self, disk: &mut dyn Disk, chunk: &Bytes) -> Result<(), DiskError> {
        let crc = crc32c(chunk);
        let out = with_head(chunk, crc);
        disk.write(&self.name, self.offset, &out)?;
        self.offset += out.len() as u64;
        self.tally.add(chunk.len() as u32, crc);
        self.unsynced.add(disk, &self.name, out.len())?;
        Ok(())
    }

    /// Ends the file and makes its content durable; its name, what it covers, its size.
    pub(crate) fn finish(
        self,
        disk: &mut dyn Disk,
    ) -> Result<(String, SnapshotMeta, u64), DiskError> {
        let footer = self.tally.footer();
        disk.write(&self.name, self.offset, &footer)?;
        disk.sync(&self.name)?;
        let size = self.offset + footer.len() as u64;
        Ok((self.name, self.meta, size))
    }
}

/// Why a file gave no state machine.
#[derive(Debug)]
pub(crate) enum Unloadable {
    /// The disk refused.
    Disk(DiskError),
    /// A later version wrote it.
    Newer(u32),
    /// It is another cluster's.
    Foreign(String),
    /// It fails a check at this byte.
    Damaged(u64, String),
}

impl Unloadable {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Disk(error) => format!("{error}"),
            Self::Newer(version) => format!("it has format version {version}"),
            Self::Foreign(text) => text.clone(),
            Self::Damaged(offset, what) => format!("byte {offset}: {what}"),
        }
    }
}

impl From<DiskError> for Unloadable {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Checks a whole file and loads the state machine in it.
pub(crate) fn load<M: StateMachine>(
    disk: &mut dyn Disk,
    name: &str,
    cluster: u64,
) -> Result<(SnapshotMeta, M), Unloadable> {
    let mut file = File {
        size: disk.size(name)?.unwrap_or(0),
        disk,
        name,
        offset: 0,
    };
    let (meta, head_crc, _) = file.head(cluster)?;
    let mut tally = Tally::new(head_crc);
    let mut machine = M::default();
    let mut at = file.offset;
    while let Some((crc, chunk)) = file.chunk()? {
        tally.add(chunk.len() as u32, crc);
        let loaded = machine.load_chunk(chunk);
        loaded.map_err(|why| Unloadable::Damaged(at, why.0))?;
        at = file.offset;
    }
    file.footer(&tally)?;
    let at = file.offset;
    let finished = machine.finish_load();
    finished.map_err(|why| Unloadable::Damaged(at, why.0))?;
    Ok((meta, machine))
}

/// How much of a file that was being received is whole, chunk by chunk. All of that is written again
/// with the bytes that were checked: a failed sync may have left it in memory alone, where it counts
/// as clean.
pub(crate) fn keep_whole_chunks(
    disk: &mut dyn Disk,
    name: &str,
    cluster: u64,
    unsynced: &mut Unsynced,
) -> Result<u64, DiskError> {
    let mut file = File {
        size: disk.size(name)?.unwrap_or(0),
        disk,
        name,
        offset: 0,
    };
    let mut upto = 0;
    loop {
        let whole = match file.next_whole(cluster) {
            Ok(Some(bytes)) => bytes,
            Err(Unloadable::Disk(error)) => return Err(error),
            Ok(None) | Err(_) => return Ok(upto),
        };
        file.disk.write(name, upto, &whole)?;
        unsynced.add(file.disk, name, whole.len())?;
        upto = file.offset;
    }
}

/// A file read from front to back.
struct File<'a> {
    disk: &'a mut dyn Disk,
    name: &'a str,
    size: u64,
    offset: u64,
}

impl File<'_> {
    fn take(&mut self, len: u64) -> Result<Bytes, Unloadable> {
        let at = self.offset;
        if len > self.size - at {
            return Err(Unloadable::Damaged(at, "the file ends too early".into()));
        }
        let bytes = self.disk.read(self.name, at, len as usize)?;
        if bytes.len() as u64 != len {
            return Err(Unloadable::Damaged(at, "the file ends too early".into()));
        }
        self.offset += len;
        Ok(bytes)
    }

    fn head(&mut self, cluster: u64) -> Result<(SnapshotMeta, u32, u64), Unloadable> {
        let damaged = |why: Malformed| Unloadable::Damaged(0, why.0);
        let fixed = self.take(HEAD_BYTES as u64)?;
        let mut reader = Reader(&fixed);
        check_prologue(MAGIC, &mut reader).map_err(|error| match error {
            HeadError::Newer(version) => Unloadable::Newer(version),
            HeadError::Malformed(why) => damaged(why),
        })?;
        let crc = reader.u32().map_err(damaged)?;
        let config_bytes = reader.u32().map_err(damaged)?;
        if config_bytes > CONFIG_BYTES_MAX {
            return Err(damaged(malformed("a configuration beyond all sizes")));
        }
        let config = self.take(u64::from(config_bytes))?;
        let mut checked = Vec::from(&fixed[PROLOGUE_BYTES + 4..]);
        checked.extend_from_slice(&config);
        if crc != crc32c(&checked) {
            return Err(damaged(malformed("the snapshot's head fails its check")));
        }
        let of = reader.u64().map_err(damaged)?;
        let base: LogId = reader.log_id().map_err(damaged)?;
        check_counts([base.index.0]).map_err(damaged)?;
        let writing = reader.u64().map_err(damaged)?;
        if of != cluster {
            let text = format!("a snapshot of cluster {of:x}, not of {cluster:x}");
            return Err(Unloadable::Foreign(text));
        }
        let config = decode_config(&config).map_err(damaged)?;
        Ok((SnapshotMeta { base, config }, crc, writing))
    }

    /// The bytes of the head, or of the chunk that follows, if they pass their checks; `None` before
    /// the footer.
    fn next_whole(&mut self, cluster: u64) -> Result<Option<Vec<u8>>, Unloadable> {
        if self.offset == 0 {
            let (meta, _, writing) = self.head(cluster)?;
            let (head, _) = encode_head(cluster, &meta, writing);
            return Ok(Some(head));
        }
        // Zeros that a power cut left in the place of a chunk pass for one without bytes.
        let chunk = self.chunk()?.filter(|(_, chunk)| !chunk.is_empty());
        Ok(chunk.map(|(crc, chunk)| with_head(&chunk, crc)))
    }

    /// The next chunk and its check, which it passes; `None` before the footer.
    fn chunk(&mut self) -> Result<Option<(u32, Bytes)>, Unloadable> {
        let at = self.offset;
        let head = self.take(CHUNK_HEAD_BYTES as u64)?;
        let mut reader = Reader(&head);
        let (length, crc) = reader
            .u32()
            .and_then(|length| Ok((length, reader.u32()?)))
            .map_err(|why| Unloadable::Damaged(at, why.0))?;
        if length == FOOTER_MARK {
            self.offset = at;
            return Ok(None);
        }
        if length > CHUNK_BYTES_MAX {
            return Err(Unloadable::Damaged(at, "a chunk beyond all sizes".into()));
        }
        let chunk = self.take(u64::from(length))?;
        if crc32c(&chunk) != crc {
            return Err(Unloadable::Damaged(at, "a chunk fails its check".into()));
        }
        Ok(Some((crc, chunk)))
    }

    fn footer(&mut self, tally: &Tally) -> Result<(), Unloadable> {
        let at = self.offset;
        let footer = self.take(FOOTER_BYTES as u64)?;
        if footer[..] != tally.footer()[..] {
            let what = "the footer does not sum up the chunks before it";
            return Err(Unloadable::Damaged(at, what.into()));
        }
        if self.offset != self.size {
            let what = "bytes follow the footer";
            return Err(Unloadable::Damaged(self.offset, what.into()));
        }
        Ok(())
    }
}

/// Whose snapshot a file says it is, if its head is whole.
pub(crate) fn cluster_of(disk: &mut dyn Disk, name: &str) -> Option<u64> {
    let size = disk.size(name).ok()??;
    let head = disk.read(name, 0, HEAD_BYTES).ok()?;
    let mut reader = Reader(head.get(PROLOGUE_BYTES + 8..)?);
    let cluster = reader.u64().ok()?;
    let mut file = File {
        size,
        disk,
        name,
        offset: 0,
    };
    file.head(cluster).ok().map(|_| cluster)
}
