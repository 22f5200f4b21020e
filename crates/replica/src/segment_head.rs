//! How a segment begins: whose it is, where the log was, and how far it is known to be durable.
//! Never in one place alone: the head stands in its block twice, and a witness has two slots.
//!
//! # Source
//! docs/format.md, "The log".

use alloc::vec::Vec;
use headwater_raft::{HardState, Index, LogId, NodeId, WriteId};

use crate::checksum::crc32c;
use crate::entry::Identity;
use crate::record::{
    HeadError, Reader, check_counts, check_prologue, malformed, patch_u32, put_hard, put_log_id,
    put_prologue, put_u32, put_u64,
};

/// A segment's head block; frames follow it.
pub const SEGMENT_HEAD_BYTES: usize = 4096;
/// How a log segment begins.
pub const SEGMENT_MAGIC: &[u8; 8] = b"HWLOGSEG";
const WITNESS_MAGIC: &[u8; 4] = b"HWWT";
const SEGMENT_CHECKED_BYTES: usize = 512;
/// Where in the block the head stands, and where it stands again, two sectors later.
const SEGMENT_HEAD_OFFSETS: [usize; 2] = [0, 1024];
const WITNESS_BYTES: usize = 32;
/// Where the two witness slots lie in a segment's head block: one sector each, far apart.
pub const WITNESS_OFFSETS: [usize; 2] = [2048, 3072];

/// What a segment says of itself and of the log before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHead {
    /// CRC-32C of the last frame's head before this segment (of the segment's head if that had no
    /// frames); zero in the first segment.
    pub chain: u32,
    /// Whose log it is.
    pub identity: Identity,
    /// Its number: segments are numbered from one without gaps.
    pub seq: u64,
    /// The file's whole size in bytes.
    pub length: u64,
    /// Above every write in earlier segments; all of those are durable.
    pub next_write: WriteId,
    /// Term and vote when it was begun.
    pub hard: HardState,
    /// Commit hint when it was begun.
    pub commit: Index,
    /// The log's last entry when it was begun.
    pub prev: LogId,
    /// From this index to `prev`, all entries are of `prev`'s term.
    pub prev_run_first: Index,
    /// The life that began it: see [`FrameHead::life`].
    pub life: u64,
    /// Whether its file was an earlier segment's, whose bytes lie behind its frames.
    pub is_recycled: bool,
}

impl SegmentHead {
    /// The head block, and its checksum: what the first frame's chain must be.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        put_prologue(SEGMENT_MAGIC, &mut out);
        put_u32(&mut out, 0);
        put_u32(&mut out, self.chain);
        put_u64(&mut out, self.identity.cluster);
        put_u64(&mut out, self.identity.node.0);
        out.extend_from_slice(&self.identity.incarnation.to_le_bytes());
        put_u64(&mut out, self.seq);
        put_u64(&mut out, self.length);
        put_u64(&mut out, self.next_write.0);
        put_hard(&mut out, self.hard);
        put_u64(&mut out, self.commit.0);
        put_log_id(&mut out, self.prev);
        put_u64(&mut out, self.prev_run_first.0);
        put_u64(&mut out, self.life);
        put_u64(&mut out, u64::from(self.is_recycled));
        out.resize(SEGMENT_HEAD_BYTES, 0);
        let crc = crc32c(&out[20..SEGMENT_CHECKED_BYTES]);
        patch_u32(&mut out, 16, crc);
        out.copy_within(..SEGMENT_CHECKED_BYTES, SEGMENT_HEAD_OFFSETS[1]);
        (out, crc)
    }

    /// Reads a head block, from whichever copy of the head is whole.
    ///
    /// # Errors
    /// Both fail their checks, or a later version wrote them.
    pub fn decode(block: &[u8]) -> Result<(Self, u32), HeadError> {
        if block.len() < SEGMENT_HEAD_BYTES {
            return Err(malformed("shorter than a segment's head").into());
        }
        let [first, second] = SEGMENT_HEAD_OFFSETS.map(|at| Self::decode_copy(&block[at..]));
        match first {
            Err(HeadError::Malformed(_)) if second.is_ok() => second,
            first => first,
        }
    }

    /// Where in a block the head stands damaged, or another one than where it is whole; with the bytes
    /// that belong there. Earlier programs wrote the head once.
    pub fn damaged_copy(&self, block: &[u8]) -> Option<(usize, Vec<u8>)> {
        let (right, _) = self.encode();
        let copies = SEGMENT_HEAD_OFFSETS.map(|at| at..at + SEGMENT_CHECKED_BYTES);
        let is_once = block[copies[1].clone()].iter().all(|byte| *byte == 0);
        let bad = copies
            .into_iter()
            .find(|copy| block[copy.clone()] != right[copy.clone()]);
        let bad = bad.filter(|copy| copy.start == 0 || !is_once)?;
        Some((bad.start, right[bad].to_vec()))
    }

    fn decode_copy(block: &[u8]) -> Result<(Self, u32), HeadError> {
        let mut reader = Reader(block);
        check_prologue(SEGMENT_MAGIC, &mut reader)?;
        let crc = reader.u32()?;
        if crc != crc32c(&block[20..SEGMENT_CHECKED_BYTES]) {
            return Err(malformed("the segment's head fails its check").into());
        }
        let head = Self {
            chain: reader.u32()?,
            identity: Identity {
                cluster: reader.u64()?,
                node: NodeId(reader.u64()?),
                incarnation: reader.u128()?,
            },
            seq: reader.u64()?,
            length: reader.u64()?,
            next_write: WriteId(reader.u64()?),
            hard: reader.hard()?,
            commit: Index(reader.u64()?),
            prev: reader.log_id()?,
            prev_run_first: Index(reader.u64()?),
            life: reader.u64()?,
            is_recycled: reader.u64()? != 0,
        };
        check_counts([head.seq, head.length, head.next_write.0, head.prev.index.0])?;
        Ok((head, crc))
    }
}

/// A witness: written some time after a sync, where no frame is, it says how far the segment is
/// known to be durable, so that damage to its last frames is not taken for a torn write; and in which
/// life, so that a frame of that life is known for one even behind bytes of an earlier use.
pub fn encode_witness(seq: u64, durable: WriteId, life: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(WITNESS_BYTES);
    put_u32(&mut out, 0);
    out.extend_from_slice(WITNESS_MAGIC);
    put_u64(&mut out, seq);
    put_u64(&mut out, durable.0);
    put_u64(&mut out, life);
    let crc = crc32c(&out[4..]);
    patch_u32(&mut out, 0, crc);
    out
}

/// What the witness slots of a head block tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Witnessed {
    /// The highest write that a whole witness knows to be durable.
    pub durable: Option<WriteId>,
    /// The lives that wrote the whole ones.
    pub lives: Vec<u64>,
    /// Whether a slot holds what is no witness, or one that names no life.
    pub is_unclear: bool,
}

impl Witnessed {
    /// Reads the slots of a head block of segment `seq`.
    pub fn decode(block: &[u8], seq: u64) -> Self {
        let mut told = Self::default();
        for at in WITNESS_OFFSETS {
            match block.get(at..at + WITNESS_BYTES) {
                None => {}
                Some(slot) if slot.iter().all(|&byte| byte == 0) => {}
                Some(slot) => told.hear(slot, seq),
            }
        }
        told
    }

    fn hear(&mut self, slot: &[u8], seq: u64) {
        let Some((durable, life)) = decode_witness(slot, seq) else {
            self.is_unclear = true;
            return;
        };
        self.durable = self.durable.max(Some(durable));
        // Zero: an earlier program's, which did not say it.
        self.is_unclear |= life == 0;
        self.lives.push(life);
    }
}

fn decode_witness(slot: &[u8], seq: u64) -> Option<(WriteId, u64)> {
    let mut reader = Reader(slot);
    let crc = reader.u32().ok()?;
    let magic = reader.take(4).ok()?;
    let of = reader.u64().ok()?;
    let durable = WriteId(reader.u64().ok()?);
    let life = reader.u64().ok()?;
    (crc == crc32c(&slot[4..]) && magic == WITNESS_MAGIC && of == seq).then_some((durable, life))
}
