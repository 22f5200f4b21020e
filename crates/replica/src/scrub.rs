//! Files at rest, read again: whether each is still what was written.
//! Never changes anything, and never looks at what is being written to.
//!
//! # Source
//! Bairavasundaram et al., FAST'08 (latent errors are found by whoever looks); docs/format.md,
//! "Recovery".

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::LogId;

use crate::machine::{Malformed, StateMachine};
use crate::port::{Disk, DiskError, DiskErrorKind};
use crate::record::decode_entries;
use crate::segment_head::SEGMENT_HEAD_BYTES;
use crate::segments::Segment;
use crate::snapshot_file::snapshot_names;
use crate::snapshot_record::{Unloadable, load};
use crate::wal::{WAL_DIR, segment_name, segment_seq};
use crate::window::{Framed, Window};

/// A place that does not hold what was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Damage {
    /// The file's name in the directory.
    pub file: String,
    /// From which byte on it cannot be read.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    /// Whether a segment of the log is damaged, not a snapshot.
    pub(crate) fn is_in_log(&self) -> bool {
        segment_of(&self.file).is_some()
    }
}

/// The number of the segment that a file is, if it is one.
fn segment_of(file: &str) -> Option<u64> {
    segment_seq(file.strip_prefix(WAL_DIR)?.strip_prefix('/')?)
}

/// The files that nobody writes to any more: all segments but the last, and the snapshots.
///
/// # Errors
/// The disk refused.
pub fn at_rest(disk: &mut dyn Disk) -> Result<Vec<String>, DiskError> {
    let names = disk.list(WAL_DIR)?;
    let mut seqs: Vec<u64> = names.iter().filter_map(|name| segment_seq(name)).collect();
    seqs.pop();
    let segments = seqs.into_iter().map(segment_name);
    Ok(segments.chain(snapshot_names(disk)?).collect())
}

/// Reads one of [`at_rest`] to its end, and checks all that can be checked; the first thing that is
/// wrong. A file that was removed meanwhile has nothing wrong with it.
///
/// # Errors
/// The disk refused.
pub fn check(disk: &mut dyn Disk, cluster: u64, file: &str) -> Result<Option<Damage>, DiskError> {
    let checked = match segment_of(file) {
        Some(seq) => check_segment(disk, seq),
        None => check_snapshot(disk, cluster, file),
    };
    match checked {
        Ok(()) => Ok(None),
        Err(Unloadable::Disk(error)) if error.kind == DiskErrorKind::NotFound => Ok(None),
        Err(Unloadable::Disk(error)) => Err(error),
        // Removed between two looks at it.
        Err(_) if disk.size(file)?.is_none() => Ok(None),
        Err(why) => {
            let offset = match &why {
                Unloadable::Damaged(offset, _) => *offset,
                _ => 0,
            };
            Ok(Some(Damage {
                file: file.to_string(),
                offset,
                what: why.text(),
            }))
        }
    }
}

fn check_segment(disk: &mut dyn Disk, seq: u64) -> Result<(), Unloadable> {
    let segment = Segment::read(disk, seq)?;
    if let Some((at, _)) = segment.damaged_copy {
        let why = "a copy of the segment's head is damaged";
        return Err(Unloadable::Damaged(at as u64, why.into()));
    }
    // What the next one's head says of this one's end; that head is looked at in its own turn.
    let next = match Segment::read(disk, seq + 1) {
        Ok(next) => next.head,
        Err(Unloadable::Disk(error)) => return Err(error.into()),
        Err(_) => return Ok(()),
    };
    let (mut chain, mut next_write) = (segment.crc, segment.head.next_write);
    let mut offset = SEGMENT_HEAD_BYTES as u64;
    let mut window = Window::new(disk, &segment.name, segment.head.length);
    while (chain, next_write) != (next.chain, next.next_write) {
        let damaged = |why: Malformed| Unloadable::Damaged(offset, why.0);
        let found = window.frame(seq, offset, chain)?;
        let Framed { frame, block, .. } = found.map_err(damaged)?;
        decode_entries(frame.before(), block).map_err(damaged)?;
        (chain, next_write) = (frame.crc, frame.head.id.next());
        offset += frame.length();
    }
    Ok(())
}

fn check_snapshot(disk: &mut dyn Disk, cluster: u64, file: &str) -> Result<(), Unloadable> {
    load::<Unread>(disk, file, cluster).map(|_| ())
}

/// A machine that takes anything: the file has checks of its own.
#[derive(Default)]
struct Unread;

impl StateMachine for Unread {
    type Reply = ();
    type Query = ();
    type Answer = ();
    type Walk = ();

    fn apply(&mut self, _at: LogId, _command: &Bytes) {}

    fn query(&self, (): ()) {}

    fn begin_snapshot(&mut self) {}

    fn next_chunk(&mut self, (): &mut (), _max_bytes: usize) -> Option<Bytes> {
        None
    }

    fn load_chunk(&mut self, _chunk: Bytes) -> Result<(), Malformed> {
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
