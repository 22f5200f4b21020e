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

fn encode_head(cluster: u64, meta: &SnapshotMeta) -> (Vec<u8>, u32) {
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
    put_u64(&mut out, 0);
    out.extend_from_slice(&config);
    let crc = crc32c(&out[PROLOGUE_BYTES + 4..]);
    patch_u32(&mut out, PROLOGUE_BYTES, crc);
    (out, crc)
}

/// An own snapshot being written under a temporary name.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    name: String,
    meta: SnapshotMeta,
    offset: u64,
    tally: Tally,
}

impl SnapshotWriter {
    pub(crate) fn begin(
        disk: &mut dyn Disk,
        name: String,
        cluster: u64,
        meta: SnapshotMeta,
    ) -> Result<Self, DiskError> {
        let (head, crc) = encode_head(cluster, &meta);
        // A longer file of an earlier, failed try would leave its end behind the footer.
        disk.remove(&name)?;
        disk.write(&name, 0, &head)?;
        Ok(Self {
            name,
            meta,
            offset: head.len() as u64,
            tally: Tally::new(crc),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn chunk(&mut self, disk: &mut dyn Disk, chunk: &Bytes) -> Result<(), DiskError> {
        let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        assert!(
            length <= CHUNK_BYTES_MAX,
            "a chunk far beyond what was asked for"
        );
        let crc = crc32c(chunk);
        let mut out = Vec::with_capacity(CHUNK_HEAD_BYTES + chunk.len());
        put_u32(&mut out, length);
        put_u32(&mut out, crc);
        out.extend_from_slice(chunk);
        disk.write(&self.name, self.offset, &out)?;
        self.offset += out.len() as u64;
        self.tally.add(length, crc);
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
    let (meta, head_crc) = file.head(cluster)?;
    let mut tally = Tally::new(head_crc);
    let mut machine = M::default();
    loop {
        let at = file.offset;
        let head = file.take(CHUNK_HEAD_BYTES as u64)?;
        let mut reader = Reader(&head);
        let (length, crc) = reader
            .u32()
            .and_then(|length| Ok((length, reader.u32()?)))
            .map_err(|why| Unloadable::Damaged(at, why.0))?;
        if length == FOOTER_MARK {
            file.offset = at;
            file.footer(&tally)?;
            break;
        }
        if length > CHUNK_BYTES_MAX {
            return Err(Unloadable::Damaged(at, "a chunk beyond all sizes".into()));
        }
        let chunk = file.take(u64::from(length))?;
        if crc32c(&chunk) != crc {
            return Err(Unloadable::Damaged(at, "a chunk fails its check".into()));
        }
        tally.add(length, crc);
        let loaded = machine.load_chunk(chunk);
        loaded.map_err(|why| Unloadable::Damaged(at, why.0))?;
    }
    let at = file.offset;
    let finished = machine.finish_load();
    finished.map_err(|why| Unloadable::Damaged(at, why.0))?;
    Ok((meta, machine))
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

    fn head(&mut self, cluster: u64) -> Result<(SnapshotMeta, u32), Unloadable> {
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
        if of != cluster {
            let text = format!("a snapshot of cluster {of:x}, not of {cluster:x}");
            return Err(Unloadable::Foreign(text));
        }
        let config = decode_config(&config).map_err(damaged)?;
        Ok((SnapshotMeta { base, config }, crc))
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
