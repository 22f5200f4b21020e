//! The files of a log: which of them make it up, and what their heads say.
//! Never reads a frame, nor removes a file.
//!
//! # Source
//! docs/format.md, "Recovery".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::entry::Identity;
use crate::inspect::SegmentReport;
use crate::port::{Disk, DiskError};
use crate::record::{FrameHead, HeadError};
use crate::recovery::OpenError;
use crate::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead, Witnessed};
use crate::snapshot_record::Unloadable;
use crate::wal::{WAL_DIR, segment_name, segment_seq};
use crate::window::Window;

/// A segment whose head has been checked.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) head: SegmentHead,
    /// The checksum of its head: its frames' chain begins with it.
    pub(crate) crc: u32,
    pub(crate) witnessed: Witnessed,
    /// Where a copy of the head is damaged, and what belongs there.
    pub(crate) damaged_copy: Option<(usize, Vec<u8>)>,
}

impl Segment {
    /// Reads how segment `seq` begins; whose it is is the caller's question.
    pub(crate) fn read(disk: &mut dyn Disk, seq: u64) -> Result<Self, Unloadable> {
        let name = segment_name(seq);
        let size = disk.size(&name)?.unwrap_or(0);
        let block = disk.read(&name, 0, SEGMENT_HEAD_BYTES)?;
        let (head, crc) = SegmentHead::decode(&block).map_err(|error| match error {
            HeadError::Newer(version) => Unloadable::Newer(version),
            HeadError::Malformed(why) => Unloadable::Damaged(0, why.0),
        })?;
        if head.seq != seq {
            let why = format!("it is segment {:016x} under another's name", head.seq);
            return Err(Unloadable::Damaged(0, why));
        }
        if size < head.length || head.length < SEGMENT_HEAD_BYTES as u64 {
            let why = format!("the file ends here; its head says {} bytes", head.length);
            return Err(Unloadable::Damaged(size, why));
        }
        Ok(Self {
            witnessed: Witnessed::decode(&block, seq),
            damaged_copy: head.damaged_copy(&block),
            name,
            head,
            crc,
        })
    }

    /// Whether a whole frame that lies where it says was written to this segment, after frames of
    /// `life` or of the one that began it. In a file that was used before, bytes of clients may look like one that comes
    /// later; a life that nobody was told is what they cannot name.
    pub(crate) fn is_own(&self, frame: &FrameHead, life: u64) -> bool {
        let told = &self.witnessed;
        let is_believed = !self.head.is_recycled
            || frame.life == life
            || told.lives.contains(&frame.life)
            || told.is_unclear;
        frame.seq == self.head.seq && is_believed
    }
}

/// The segments that make up the log, oldest first, and the files that crashes left beside them.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) log: Vec<Segment>,
    pub(crate) leftovers: Vec<String>,
    /// The damage behind which the log begins. It harms nobody if a snapshot covers all up to there.
    pub(crate) amiss: Option<OpenError>,
}

impl Segments {
    /// Finds the newest segments that follow each other without a gap and checks their heads.
    pub(crate) fn find(disk: &mut dyn Disk, identity: &Identity) -> Result<Self, OpenError> {
        let mut seqs = Vec::new();
        let mut found = Self {
            log: Vec::new(),
            leftovers: Vec::new(),
            amiss: None,
        };
        for name in disk.list(WAL_DIR)? {
            match segment_seq(&name) {
                Some(seq) => seqs.push(seq),
                None if name.ends_with(".tmp") => {
                    found.leftovers.push(format!("{WAL_DIR}/{name}"));
                }
                // Not ours to touch.
                None => {}
            }
        }
        let first = first_of_newest_run(&seqs);
        let released = seqs[..first].iter().map(|&seq| segment_name(seq));
        found.leftovers.extend(released);
        for &seq in &seqs[first..] {
            match read_segment(disk, identity, seq) {
                Ok(segment) => found.log.push(segment),
                Err(why @ OpenError::Damaged(_)) if Some(&seq) != seqs.last() => {
                    found.give_up(found.log.len(), why);
                    found.leftovers.push(segment_name(seq));
                }
                Err(why) => return Err(why),
            }
        }
        Ok(found)
    }

    /// Of the log's segments, the first `count` are not whole, or lie before one that is not.
    pub(crate) fn give_up(&mut self, count: usize, why: OpenError) {
        let names = self.log.drain(..count).map(|segment| segment.name);
        self.leftovers.extend(names);
        self.amiss = Some(why);
    }
}

/// Every segment that is there, whole or not.
pub(crate) fn segments_of(
    disk: &mut dyn Disk,
    identity: &Identity,
) -> Result<Vec<SegmentReport>, DiskError> {
    let names = disk.list(WAL_DIR)?;
    let mut all = Vec::new();
    for seq in names.iter().filter_map(|name| segment_seq(name)) {
        let name = segment_name(seq);
        all.push(SegmentReport {
            bytes: disk.size(&name)?.unwrap_or(0),
            begins: match read_segment(disk, identity, seq) {
                Ok(segment) => Ok((segment.head.prev, segment.head.next_write)),
                Err(OpenError::Disk(error)) => return Err(error),
                Err(why) => Err(why.what()),
            },
            name,
        });
    }
    Ok(all)
}

/// Where in `seqs`, which are in order, the last stretch without a gap begins.
fn first_of_newest_run(seqs: &[u64]) -> usize {
    let gap = seqs.windows(2).rposition(|pair| pair[1] != pair[0] + 1);
    gap.map_or(0, |at| at + 1)
}

fn read_segment(disk: &mut dyn Disk, identity: &Identity, seq: u64) -> Result<Segment, OpenError> {
    let name = segment_name(seq);
    let segment = Segment::read(disk, seq).map_err(|error| match error {
        Unloadable::Disk(error) => OpenError::Disk(error),
        Unloadable::Newer(version) => OpenError::newer(&name, version),
        Unloadable::Damaged(offset, why) => OpenError::damaged(&name, offset, &why),
        Unloadable::Foreign(why) => OpenError::Foreign(why),
    })?;
    let found = &segment.head.identity;
    if found != identity {
        return Err(OpenError::Foreign(format!(
            "{name} belongs to {}, this directory to {}",
            identity_text(found),
            identity_text(identity)
        )));
    }
    Ok(segment)
}

/// Both ids and the incarnation, as error texts name them.
fn identity_text(identity: &Identity) -> String {
    format!(
        "cluster {:x} node {:x} incarnation {:x}",
        identity.cluster, identity.node.0, identity.incarnation
    )
}

/// Whether a log of these segments was never written to: what an unfinished formatting leaves.
pub(crate) fn is_unused(disk: &mut dyn Disk) -> Result<bool, DiskError> {
    let names = disk.list(WAL_DIR)?;
    let mut seqs = names.iter().filter_map(|name| segment_seq(name));
    match (seqs.next(), seqs.next()) {
        (None, _) => Ok(true),
        (Some(1), None) => {
            let name = segment_name(1);
            let end = disk.size(&name)?.unwrap_or(0);
            let mut window = Window::new(disk, &name, end);
            let tail = window.survey(SEGMENT_HEAD_BYTES as u64, |_, _| {})?;
            Ok(tail == SEGMENT_HEAD_BYTES as u64)
        }
        _ => Ok(false),
    }
}
