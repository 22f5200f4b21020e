//! The bytes of the log: prologues, segment heads, frames, identifiers, configurations.
//! Never touches a disk: bytes in, values out, and every reading is total.
//!
//! All numbers are little-endian. Drawn byte by byte in docs/format.md; the block of entries is
//! the same on disk and on the wire.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18 (identifiers
//! apart from bodies); docs/format.md.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{HardState, Index, LogId, NodeId, Term, WriteId};

use crate::checksum::crc32c;
use crate::entry::{Entry, EntryKind};
use crate::machine::Malformed;

/// The version of every file this code writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Every file begins with this many bytes of the same shape, in every version.
pub const PROLOGUE_BYTES: usize = 16;
/// A frame's head, the head of its block of entries included.
pub const FRAME_HEAD_BYTES: usize = 128;
/// The head of a block of entries.
pub const BLOCK_HEAD_BYTES: usize = 16;
/// One identifier in a block of entries.
pub const IDENTIFIER_BYTES: usize = 20;
/// Frames begin at multiples of this.
pub const FRAME_ALIGN: usize = 8;

/// How a frame begins.
pub const FRAME_MAGIC: &[u8; 4] = b"HWFR";

/// An error that says `what`.
pub(crate) fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

/// No count that starts at one and grows by one gets here; sums below it cannot overflow.
const COUNT_MAX: u64 = 1 << 62;

pub(crate) fn check_counts<const N: usize>(counts: [u64; N]) -> Result<(), Malformed> {
    if counts.iter().any(|&count| count > COUNT_MAX) {
        return Err(malformed("a number beyond all counting"));
    }
    Ok(())
}

/// Reads numbers off the front of a slice; running out is an error, never a panic.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if self.0.len() < len {
            return Err(malformed(format!(
                "{len} bytes expected, {} left",
                self.0.len()
            )));
        }
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        let term = Term(self.u64()?);
        Ok(LogId::new(term, Index(self.u64()?)))
    }

    pub(crate) fn hard(&mut self) -> Result<HardState, Malformed> {
        let term = Term(self.u64()?);
        let vote = self.u64()?;
        Ok(HardState {
            term,
            voted_for: (vote != 0).then_some(NodeId(vote)),
        })
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    put_u64(out, id.term.0);
    put_u64(out, id.index.0);
}

pub(crate) fn put_hard(out: &mut Vec<u8>, hard: HardState) {
    put_u64(out, hard.term.0);
    put_u64(out, hard.voted_for.map_or(0, |node| node.0));
}

/// Writes `number` over four bytes already in `out`.
pub(crate) fn patch_u32(out: &mut [u8], at: usize, number: u32) {
    out[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Why a file's head cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeadError {
    /// A later version of Headwater wrote it.
    Newer(u32),
    /// It fails its checks.
    Malformed(Malformed),
}

impl From<Malformed> for HeadError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Begins a file: what it is and in which version, with a checksum of its own, so that a later
/// version is told apart from damage by any version.
pub(crate) fn put_prologue(magic: &[u8; 8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(magic);
    put_u32(out, FORMAT_VERSION);
    let crc = crc32c(&out[start..]);
    put_u32(out, crc);
}

/// Checks how a file begins.
pub(crate) fn check_prologue(magic: &[u8; 8], reader: &mut Reader<'_>) -> Result<(), HeadError> {
    let bytes = reader.take(PROLOGUE_BYTES)?;
    let mut fields = Reader(bytes);
    let found = fields.take(8)?;
    let version = fields.u32()?;
    if fields.u32()? != crc32c(&bytes[..12]) {
        return Err(malformed("the first 16 bytes fail their check").into());
    }
    if found != magic {
        return Err(malformed("it is a file of another kind").into());
    }
    if version > FORMAT_VERSION {
        return Err(HeadError::Newer(version));
    }
    if version == 0 {
        return Err(malformed("version 0 was never written").into());
    }
    Ok(())
}

/// What names an entry and proves its body, apart from the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identifier {
    /// The entry's identity.
    pub id: LogId,
    /// What it is for.
    pub kind: EntryKind,
    /// The length of its body in bytes.
    pub body_bytes: u32,
    /// CRC-32C of its body.
    pub crc: u32,
}

/// How many bytes [`encode_entries`] appends for these entries.
pub fn entries_bytes<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> usize {
    let bytes = |entry: &Entry| IDENTIFIER_BYTES + entry.body.len();
    BLOCK_HEAD_BYTES + entries.into_iter().map(bytes).sum::<usize>()
}

/// Appends a block of entries: its head, the table of identifiers, the bodies.
///
/// # Panics
/// If there are 2^32 entries or a body has 2^32 bytes: far beyond every limit on proposals.
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a Entry> + Clone, out: &mut Vec<u8>) {
    out.reserve(entries_bytes(entries.clone()));
    encode_table(entries.clone(), out);
    for entry in entries {
        out.extend_from_slice(&entry.body);
    }
}

/// The same without the bodies, which follow.
fn encode_table<'a>(entries: impl IntoIterator<Item = &'a Entry>, out: &mut Vec<u8>) {
    let start = out.len();
    put_u32(out, 0);
    put_u32(out, 0);
    put_u64(out, 0);
    let (mut count, mut bodies) = (0u32, 0u64);
    for entry in entries {
        assert_ne!(
            entry.kind,
            EntryKind::Unreadable,
            "there is nothing to write"
        );
        put_u64(out, entry.id.term.0);
        put_u32(out, u32::try_from(entry.body.len()).expect("bounded body"));
        put_u32(out, entry.crc);
        out.extend_from_slice(&[entry.kind as u8, 0, 0, 0]);
        count = count.checked_add(1).expect("a bounded batch");
        bodies += entry.body.len() as u64;
    }
    patch_u32(out, start + 4, count);
    out[start + 8..start + 16].copy_from_slice(&bodies.to_le_bytes());
    let crc = crc32c(&out[start + 4..]);
    patch_u32(out, start, crc);
}

/// The rows of the table of a block of entries, whole and checked.
fn table_rows(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader(bytes);
    let crc = reader.u32()?;
    let count = reader.u32()? as usize;
    let body_bytes = reader.u64()?;
    let table = reader.take(count.saturating_mul(IDENTIFIER_BYTES))?;
    if crc != crc32c(&bytes[4..BLOCK_HEAD_BYTES + table.len()]) {
        return Err(malformed("the table of identifiers fails its check"));
    }
    if body_bytes != reader.0.len() as u64 {
        return Err(malformed("a block of entries of the wrong length"));
    }
    Ok(table)
}

/// Reads the table of a block of entries that follow `before`; the bodies are not looked at.
///
/// # Errors
/// The table fails its check, or the block has not the length its head says.
pub fn decode_table(before: LogId, bytes: &[u8]) -> Result<Vec<Identifier>, Malformed> {
    let table = table_rows(bytes)?;
    let mut identifiers = Vec::with_capacity(table.len() / IDENTIFIER_BYTES);
    let (mut last, mut sum) = (before, (BLOCK_HEAD_BYTES + table.len()) as u64);
    for row in table.chunks_exact(IDENTIFIER_BYTES) {
        let identifier = decode_identifier(last, row)?;
        last = identifier.id;
        sum += u64::from(identifier.body_bytes);
        identifiers.push(identifier);
    }
    if sum != bytes.len() as u64 {
        return Err(malformed(OTHER_LENGTHS));
    }
    Ok(identifiers)
}

const OTHER_LENGTHS: &str = "bodies of other lengths than the table says";

fn decode_identifier(before: LogId, row: &[u8]) -> Result<Identifier, Malformed> {
    let mut reader = Reader(row);
    let term = Term(reader.u64()?);
    let body_bytes = reader.u32()?;
    let crc = reader.u32()?;
    let kind = match reader.take(4)? {
        &[kind, 0, 0, 0] => EntryKind::from_byte(kind),
        _ => None,
    };
    let kind = kind.ok_or_else(|| malformed("an entry of an unknown kind"))?;
    let index = before.index.0.checked_add(1);
    let index = index.ok_or_else(|| malformed("an index beyond all numbers"))?;
    if term < before.term || term == Term(0) {
        return Err(malformed("terms of entries go down"));
    }
    Ok(Identifier {
        id: LogId::new(term, Index(index)),
        kind,
        body_bytes,
        crc,
    })
}

/// Reads a whole block of entries that follow `before`, checking every body; bodies are slices of
/// `bytes`, not copies.
///
/// # Errors
/// The block is not what [`encode_entries`] writes, or a body fails its check.
pub fn decode_entries(before: LogId, bytes: Bytes) -> Result<Vec<Entry>, Malformed> {
    let (entries, bad) = decode_readable(before, bytes)?;
    match bad.first() {
        None => Ok(entries),
        Some(identifier) => Err(malformed(format!(
            "the body of entry {} fails its check",
            identifier.id
        ))),
    }
}

/// The same, but what fails its check is unreadable; and the identifiers of those entries.
///
/// # Errors
/// The block is not what [`encode_entries`] writes, its bodies aside.
pub fn decode_readable(
    before: LogId,
    bytes: Bytes,
) -> Result<(Vec<Entry>, Vec<Identifier>), Malformed> {
    let mut bad = Vec::new();
    let table = table_rows(&bytes)?;
    let mut at = BLOCK_HEAD_BYTES + table.len();
    let mut last = before;
    let mut entries = Vec::with_capacity(table.len() / IDENTIFIER_BYTES);
    for row in table.chunks_exact(IDENTIFIER_BYTES) {
        let identifier = decode_identifier(last, row)?;
        let Identifier {
            id,
            kind,
            body_bytes,
            crc,
        } = identifier;
        let end = at + body_bytes as usize;
        let body = bytes.get(at..end);
        let body = body.ok_or_else(|| malformed(OTHER_LENGTHS))?;
        if crc32c(body) == crc {
            entries.push(Entry {
                id,
                kind,
                body: bytes.slice(at..end),
                crc,
            });
        } else {
            entries.push(Entry::unreadable(id));
            bad.push(identifier);
        }
        (last, at) = (id, end);
    }
    if at != bytes.len() {
        return Err(malformed(OTHER_LENGTHS));
    }
    Ok((entries, bad))
}

/// What a frame does to the log before its entries are appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// Truncates if it says so.
    Write,
    /// Discards the log, which now begins after `prev`.
    Reset,
    /// Writes its entries again, whose bodies could not be read; the log ends where it did.
    Repair,
}

/// A frame's head, without the part that describes its block of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// The segment it belongs to: a frame of another is stale.
    pub seq: u64,
    /// Where in the segment it belongs: elsewhere it was misdirected.
    pub offset: u64,
    /// The write it carries.
    pub id: WriteId,
    /// All writes up to here were durable before this frame was written.
    pub durable: WriteId,
    /// Drawn anew whenever the log is opened, so that two lives never write equal heads.
    pub life: u64,
    /// Term and vote in force.
    pub hard: HardState,
    /// Commit hint.
    pub commit: Index,
    /// Entries from this index on are void; of a repair, the index of its first entry.
    pub truncate_from: Option<Index>,
    /// The log's last entry after the truncation, before the frame's entries.
    pub prev: LogId,
    /// From this index to `prev`, all entries are of `prev`'s term.
    pub prev_run_first: Index,
    /// What it does.
    pub kind: FrameKind,
    /// CRC-32C of the head before it: of the previous frame, or of the segment.
    pub chain: u32,
}

/// A frame's head as read, with what its block of entries should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRead {
    /// The head.
    pub head: FrameHead,
    /// The head's checksum: what the next frame's chain must be.
    pub crc: u32,
    /// How many entries.
    pub count: u32,
    /// The block of entries, its head included, in bytes.
    pub block_bytes: u64,
}

impl FrameRead {
    /// The entry before those of the frame; of a repair its term is not told.
    pub fn before(&self) -> LogId {
        match (self.head.kind, self.head.truncate_from) {
            (FrameKind::Repair, Some(first)) => LogId::new(Term(0), first.prev()),
            _ => self.head.prev,
        }
    }

    /// The frame's whole length, its padding included.
    pub fn length(&self) -> u64 {
        pad((FRAME_HEAD_BYTES - BLOCK_HEAD_BYTES) as u64 + self.block_bytes)
    }
}

/// The length of the frame that would carry these entries.
pub fn frame_bytes(entries: &[Entry]) -> u64 {
    pad((FRAME_HEAD_BYTES - BLOCK_HEAD_BYTES + entries_bytes(entries)) as u64)
}

fn pad(length: u64) -> u64 {
    length.next_multiple_of(FRAME_ALIGN as u64)
}

/// Appends a frame and returns its head's checksum.
pub fn encode_frame(head: &FrameHead, entries: &[Entry], out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    let crc = encode_frame_head(head, entries, out);
    for entry in entries {
        out.extend_from_slice(&entry.body);
    }
    out.resize(start + frame_bytes(entries) as usize, 0);
    crc
}

/// Appends what comes before the bodies of a frame: its head and the table of its entries. Returns the
/// head's checksum. After the bodies come zeros, until it is [`frame_bytes`] long.
pub(crate) fn encode_frame_head(head: &FrameHead, entries: &[Entry], out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.extend_from_slice(FRAME_MAGIC);
    put_u32(out, 0);
    put_u64(out, head.seq);
    put_u64(out, head.offset);
    put_u64(out, head.id.0);
    put_u64(out, head.durable.0);
    put_u64(out, head.life);
    put_hard(out, head.hard);
    put_u64(out, head.commit.0);
    put_u64(out, head.truncate_from.map_or(0, |index| index.0));
    put_log_id(out, head.prev);
    put_u64(out, head.prev_run_first.0);
    let kind = match head.kind {
        FrameKind::Write => 1,
        FrameKind::Reset => 2,
        FrameKind::Repair => 3,
    };
    put_u32(out, kind);
    put_u32(out, head.chain);
    assert_eq!(
        out.len() - start,
        FRAME_HEAD_BYTES - BLOCK_HEAD_BYTES,
        "a head of another shape than drawn"
    );
    encode_table(entries, out);
    let crc = crc32c(&out[start + 8..start + FRAME_HEAD_BYTES]);
    patch_u32(out, start + 4, crc);
    crc
}

/// Reads a frame's head; whether it continues the log is the caller's question.
///
/// # Errors
/// It is not a frame's head, or fails its check.
pub fn decode_frame_head(bytes: &[u8]) -> Result<FrameRead, Malformed> {
    let mut reader = Reader(bytes);
    let bytes = Reader(bytes).take(FRAME_HEAD_BYTES)?;
    if reader.take(4)? != FRAME_MAGIC {
        return Err(malformed("no frame begins here"));
    }
    let crc = reader.u32()?;
    if crc != crc32c(&bytes[8..]) {
        return Err(malformed("the frame's head fails its check"));
    }
    let head = FrameHead {
        seq: reader.u64()?,
        offset: reader.u64()?,
        id: WriteId(reader.u64()?),
        durable: WriteId(reader.u64()?),
        life: reader.u64()?,
        hard: reader.hard()?,
        commit: Index(reader.u64()?),
        truncate_from: match reader.u64()? {
            0 => None,
            index => Some(Index(index)),
        },
        prev: reader.log_id()?,
        prev_run_first: Index(reader.u64()?),
        kind: match reader.u32()? {
            1 => FrameKind::Write,
            2 => FrameKind::Reset,
            3 => FrameKind::Repair,
            _ => return Err(malformed("a frame of an unknown kind")),
        },
        chain: reader.u32()?,
    };
    let truncate_from = head.truncate_from.unwrap_or_default();
    check_counts([
        head.id.0,
        head.durable.0,
        head.prev.index.0,
        truncate_from.0,
    ])?;
    reader.u32()?;
    let count = reader.u32()?;
    let body_bytes = reader.u64()?;
    let table_bytes = u64::from(count) * IDENTIFIER_BYTES as u64 + BLOCK_HEAD_BYTES as u64;
    let block_bytes = body_bytes.checked_add(table_bytes);
    let block_bytes = block_bytes.filter(|&bytes| bytes < COUNT_MAX);
    Ok(FrameRead {
        head,
        crc,
        count,
        block_bytes: block_bytes.ok_or_else(|| malformed("a frame beyond all sizes"))?,
    })
}
