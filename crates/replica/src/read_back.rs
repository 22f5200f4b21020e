//! Entries of the log that is being written to, read from its files for peers that are far behind.
//! Never changes anything, and never trusts a place: an entry is the wanted one by its term and index,
//! whatever was cut or written again around it (Log Matching), and its body by its checksum.
//!
//! What is wanted is durable and in the log. So it was appended after the last segment was begun whose
//! head says that the log ended before it, if there is one; from there frames are read in the order in which they were
//! written. An entry stands in no frame before that of its predecessor: so one pass finds them in order,
//! and the next read goes on where this one ended.
//!
//! # Source
//! Raft paper, Figure 3 (Log Matching); docs/format.md, "The log".

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use headwater_raft::{Entries, Index, NodeId};

use crate::entry::{Entry, EntryKind};
use crate::port::Disk;
use crate::record::{FrameRead, decode_readable};
use crate::scrub::Damage;
use crate::segment_head::SEGMENT_HEAD_BYTES;
use crate::segments::Segment;
use crate::snapshot_record::Unloadable;
use crate::wal::{WAL_DIR, segment_name, segment_seq};
use crate::window::{BLOCK_AT, Window};

/// Who reads, and where it goes on for each peer.
#[derive(Debug, Default)]
pub(crate) struct ReadBack {
    places: BTreeMap<NodeId, Place>,
}

/// The entry `next` stands in the frame at `offset` of segment `seq`, or behind it.
#[derive(Clone, Copy, Debug)]
struct Place {
    next: Index,
    seq: u64,
    offset: u64,
    chain: u32,
}

/// A read under way.
struct Reading<'a> {
    wanted: &'a Entries,
    found: Vec<Entry>,
    at: Place,
    /// The segment and place of a body that fails its check. It may stand again in a later frame.
    bad: Option<(u64, Unloadable)>,
}

impl ReadBack {
    /// The first of the wanted entries, which is durable and in the log, and as many of those behind it
    /// as can be read; or what damage is in the way. Neither, if their segment was released meanwhile.
    pub(crate) fn read(
        &mut self,
        disk: &mut dyn Disk,
        peer: NodeId,
        wanted: &Entries,
    ) -> (Vec<Entry>, Option<Damage>) {
        let place = self.places.remove(&peer);
        if let Some(at) = place.filter(|place| place.next == wanted.first()) {
            let (found, _) = self.read_from(disk, peer, wanted, at);
            if !found.is_empty() {
                return (found, None);
            }
            // Mark: where a reading ended is released.
        }
        match Place::before(disk, wanted.first()) {
            Ok((at, is_sure)) => {
                let (found, damage) = self.read_from(disk, peer, wanted, at);
                (found, damage.filter(|_| is_sure))
            }
            Err((seq, why)) => (Vec::new(), damage(disk, seq, why)),
        }
    }

    fn read_from(
        &mut self,
        disk: &mut dyn Disk,
        peer: NodeId,
        wanted: &Entries,
        at: Place,
    ) -> (Vec<Entry>, Option<Damage>) {
        let mut reading = Reading {
            wanted,
            found: Vec::new(),
            at,
            bad: None,
        };
        match reading.run(disk) {
            Ok(()) => {
                self.places.insert(peer, reading.at);
                (reading.found, None)
            }
            // What is in the way is met again by the next read.
            Err(_) if !reading.found.is_empty() => (reading.found, None),
            Err(why) => {
                let (seq, why) = reading.bad.unwrap_or((reading.at.seq, why));
                (Vec::new(), damage(disk, seq, why))
            }
        }
    }
}

/// What is in the way in a segment, if that is there still. A sector that cannot be read is damage like
/// one that reads as something else.
fn damage(disk: &mut dyn Disk, seq: u64, why: Unloadable) -> Option<Damage> {
    let file = segment_name(seq);
    if !matches!(disk.size(&file), Ok(Some(_))) {
        return None;
    }
    let offset = match &why {
        Unloadable::Damaged(offset, _) => *offset,
        _ => 0,
    };
    let what = why.text();
    Some(Damage { file, offset, what })
}

impl Place {
    /// The beginning of the last segment that was begun when the log ended before `first`, or else of the
    /// first one of all: `first` is surely behind the former, and behind the latter if that was cut before
    /// its beginning. Or the segment that cannot be read, and why.
    fn before(disk: &mut dyn Disk, first: Index) -> Result<(Self, bool), (u64, Unloadable)> {
        let names = disk.list(WAL_DIR).map_err(|error| (0, error.into()))?;
        let seqs = names.iter().filter_map(|name| segment_seq(name));
        let mut oldest = None;
        for seq in seqs.rev() {
            let segment = Segment::read(disk, seq).map_err(|why| (seq, why))?;
            let place = Self {
                next: first,
                seq,
                offset: SEGMENT_HEAD_BYTES as u64,
                chain: segment.crc,
            };
            if segment.head.prev.index < first {
                return Ok((place, true));
            }
            oldest = Some(place);
        }
        // Mark: what is read back stands before the first segment's beginning.
        let none = || Unloadable::Damaged(0, "there is no log".into());
        oldest
            .map(|place| (place, false))
            .ok_or_else(|| (0, none()))
    }
}

impl Reading<'_> {
    /// Reads until all is found.
    fn run(&mut self, disk: &mut dyn Disk) -> Result<(), Unloadable> {
        while self.at.next <= self.wanted.last {
            let name = segment_name(self.at.seq);
            let end = disk.size(&name)?.unwrap_or(0);
            let mut window = Window::new(disk, &name, end);
            self.read_segment(&mut window)?;
            if self.at.next > self.wanted.last {
                break;
            }
            // Mark: reading back goes on in the next segment.
            let next = Segment::read(disk, self.at.seq + 1);
            let next = next.map_err(|_| self.damaged("the log ends, or a frame is not whole"))?;
            if next.head.chain != self.at.chain {
                return Err(self.damaged("a frame is not whole"));
            }
            self.at.seq += 1;
            self.at.offset = SEGMENT_HEAD_BYTES as u64;
            self.at.chain = next.crc;
        }
        Ok(())
    }

    /// Reads on in the present segment, until all is found or no frame follows.
    fn read_segment(&mut self, window: &mut Window<'_>) -> Result<(), Unloadable> {
        let Place { seq, .. } = self.at;
        while let Ok((frame, _)) = window.frame_head(seq, self.at.offset, Some(self.at.chain))? {
            let before = frame.before().index;
            let last = Index(before.0 + u64::from(frame.count));
            if before < self.at.next && self.at.next <= last {
                self.take(window, &frame)?;
            }
            if self.at.next > self.wanted.last {
                // What comes next may be in this very frame.
                break;
            }
            self.at.offset += frame.length();
            self.at.chain = frame.crc;
        }
        Ok(())
    }

    /// Takes from a frame what is wanted next.
    fn take(&mut self, window: &mut Window<'_>, frame: &FrameRead) -> Result<(), Unloadable> {
        let block = window.take(self.at.offset + BLOCK_AT, frame.block_bytes)?;
        let entries = match decode_readable(frame.before(), block) {
            Ok((entries, _)) => entries,
            Err(why) => return Err(self.damaged(&why.0)),
        };
        for entry in entries {
            if entry.id.index != self.at.next {
                continue;
            }
            if Some(entry.id.term) != self.wanted.term_at(self.at.next) {
                // Mark: what is read back was cut and written anew.
                return Ok(());
            }
            if entry.kind == EntryKind::Unreadable {
                // Mark: what is read back fails its check.
                let why = self.damaged(&format!("the body of entry {} fails its check", entry.id));
                self.bad.get_or_insert((self.at.seq, why));
                return Ok(());
            }
            self.at.next = entry.id.index.next();
            self.found.push(entry);
            if self.at.next > self.wanted.last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Unloadable {
        Unloadable::Damaged(self.at.offset, what.into())
    }
}
