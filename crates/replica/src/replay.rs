//! Reading the log back: every frame checked, the end judged torn or damaged.
//! Never changes a byte before the whole directory has been judged.
//!
//! # Source
//! docs/format.md, "Recovery"; Alagappan et al., FAST'18 (a crash is not corruption).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{HardState, Index, LogId, WriteId};

use crate::entry::{Entry, EntryKind};
use crate::machine::Malformed;
use crate::port::{Disk, DiskError};
use crate::record::{FRAME_HEAD_BYTES, FrameHead, FrameKind, FrameRead, decode_entries};
use crate::recovery::OpenError;
use crate::runs::Runs;
use crate::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead, WITNESS_OFFSETS, encode_witness};
use crate::segments::{Segment, Segments};
use crate::wal::{Held, Position, WAL_DIR};
use crate::window::{BLOCK_AT, Framed, READ_AHEAD_BYTES, WINDOW_BYTES, Window};

/// The log as read so far.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) base: LogId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard: HardState,
    pub(crate) commit: Index,
    pub(crate) last_write: WriteId,
    pub(crate) torn_bytes: u64,
    /// The entries whose bodies cannot be read, and whether each may be a configuration.
    pub(crate) unreadable: BTreeMap<Index, bool>,
    /// Where that was seen, and which entries it is about.
    pub(crate) damage: Vec<(String, Index, Index)>,
    pub(crate) runs: Runs,
    pub(crate) chain: u32,
    /// Where the next frame would begin.
    pub(crate) offset: u64,
    /// The life that wrote the last frame, or began the segment.
    pub(crate) life: u64,
    /// Lost frames were passed, and no whole one has been read since: what is to be said if none is.
    pub(crate) untold: Option<OpenError>,
    /// Damage was passed in the last segment: what lies behind it shows that it is none of a crash.
    pub(crate) is_proven_by_its_end: bool,
    /// Frames of the current segment that nothing proves durable.
    unproven: VecDeque<Unproven>,
}

/// A whole frame that may be in memory only.
#[derive(Debug)]
struct Unproven {
    id: WriteId,
    offset: u64,
    /// Its bytes as they were checked: up to its block of entries, and that.
    head: Bytes,
    block: Bytes,
}

/// A place where the log does not go on.
pub(crate) struct Stop {
    pub(crate) why: Malformed,
    /// The frame there, if its head is whole and continues the log.
    pub(crate) frame: Option<FrameRead>,
}

impl Replay {
    /// Reads all segments, of which there is at least one. A damaged one that another follows is
    /// given up, and the log begins behind it.
    pub(crate) fn run(disk: &mut dyn Disk, segments: &mut Segments) -> Result<Self, OpenError> {
        let mut replay = Self::begin(&segments.log[0].head);
        let mut at = 0;
        while let Some(segment) = segments.log.get(at) {
            replay.chain = segment.crc;
            // Zero: an earlier program's, which says nothing of it.
            if segment.head.life != 0 {
                replay.life = segment.head.life;
            }
            replay.offset = SEGMENT_HEAD_BYTES as u64;
            replay.unproven.clear();
            let end = segment.head.length;
            let mut window = Window::ahead(disk, &segment.name, end, READ_AHEAD_BYTES);
            let Some(next) = segments.log.get(at + 1) else {
                replay.read_last(&mut window, segment)?;
                break;
            };
            match replay.read_full(&mut window, segment, next) {
                Ok(()) => at += 1,
                Err(why @ OpenError::Damaged(_)) => {
                    segments.give_up(at + 1, why);
                    replay = Self::begin(&segments.log[0].head);
                    at = 0;
                }
                Err(why) => return Err(why),
            }
        }
        Ok(replay)
    }

    /// A log as the head of its first segment tells.
    fn begin(head: &SegmentHead) -> Self {
        Self {
            base: head.prev,
            entries: Vec::new(),
            hard: head.hard,
            commit: head.commit,
            last_write: WriteId(head.next_write.0.saturating_sub(1)),
            torn_bytes: 0,
            unreadable: BTreeMap::new(),
            damage: Vec::new(),
            runs: Runs::after(head.prev, head.prev_run_first),
            chain: 0,
            offset: 0,
            life: head.life,
            untold: None,
            is_proven_by_its_end: false,
            unproven: VecDeque::new(),
        }
    }

    /// Reads a segment that another follows: all of it was durable before the other was begun.
    fn read_full(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        next: &Segment,
    ) -> Result<(), OpenError> {
        let end = (next.head.chain, next.head.next_write);
        while (self.chain, self.last_write.next()) != end {
            if let Some(stop) = self.read_frame(window, segment)? {
                // Mark: a segment that another follows is damaged.
                let proof = format!("{} was begun after it was synced", next.name);
                self.pass(window, segment, stop, &proof, Some(&next.head))?;
            }
        }
        if self.runs.last() != next.head.prev {
            let why = "it does not continue the segment before it";
            return Err(OpenError::damaged(&next.name, 0, why));
        }
        Ok(())
    }

    /// Reads the segment that was being written to, and judges how it ends.
    fn read_last(&mut self, window: &mut Window<'_>, segment: &Segment) -> Result<(), OpenError> {
        while !self.read_to_end(window, segment)? {}
        Ok(())
    }

    /// Reads on until a frame is not whole. Whether the log ends there: damage was passed otherwise.
    fn read_to_end(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
    ) -> Result<bool, OpenError> {
        let stop = loop {
            if let Some(stop) = self.read_frame(window, segment)? {
                break stop;
            }
        };
        if let Some(witness) = segment.witnessed.durable {
            // Mark: a witness says how far a log was synced.
            self.prove(witness);
        }
        // A whole head speaks for its frame's extent; what lies inside is somebody's data.
        let skip = stop.frame.as_ref().map_or(0, FrameRead::length);
        let from = self.offset.saturating_add(skip).min(segment.head.length);
        let last = self.last_write;
        let mut proof = segment
            .witnessed
            .durable
            .filter(|&durable| durable > last)
            .map(|w| format!("a witness says that write {w} was synced"));
        let mut end = from;
        let used = window.survey(from, |offset, frame| {
            if !segment.is_own(&frame.head, self.life) {
                return;
            }
            end = end.max(offset.saturating_add(frame.length()));
            if frame.head.durable > last && proof.is_none() {
                // Mark: a later frame proves that what is missing was durable.
                let (id, durable) = (frame.head.id, frame.head.durable);
                proof = Some(format!(
                    "write {id} at byte {offset} was made after write {durable} was synced"
                ));
            }
        })?;
        if let Some(proof) = proof {
            self.pass(window, segment, stop, &proof, None)?;
            return Ok(false);
        }
        if let Some(refused) = self.untold.take() {
            return Err(refused);
        }
        if segment.head.is_recycled {
            // Mark: a log ends in a segment that was used before.
            // What lies behind may be of that use; of this one only frames with whole heads are known.
            self.torn_bytes = end.min(segment.head.length) - self.offset;
        } else if used > self.offset {
            // Mark: a log ends in a torn tail.
            self.torn_bytes = used - self.offset;
        }
        Ok(true)
    }

    /// Reads and applies the frame at the current place, or says why there is none.
    fn read_frame(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
    ) -> Result<Option<Stop>, OpenError> {
        let framed = window.frame(segment.head.seq, self.offset, self.chain)?;
        let Framed {
            frame,
            bytes,
            block,
        } = match framed {
            Ok(framed) => framed,
            Err(why) => return Ok(Some(Stop { why, frame: None })),
        };
        let entries = match decode_entries(frame.before(), block.clone()) {
            Ok(entries) => entries,
            Err(why) => {
                let frame = Some(frame);
                return Ok(Some(Stop { why, frame }));
            }
        };
        if let Err(why) = self.apply(&frame.head, entries) {
            return Err(OpenError::damaged(&segment.name, self.offset, why));
        }
        self.unproven.push_back(Unproven {
            id: frame.head.id,
            offset: self.offset,
            head: bytes,
            block,
        });
        self.step_over(&frame);
        Ok(None)
    }

    /// The frame at the current place has been applied.
    pub(crate) fn step_over(&mut self, frame: &FrameRead) {
        self.prove(frame.head.durable);
        self.chain = frame.crc;
        self.life = frame.head.life;
        self.untold = None;
        self.offset += frame.length();
    }

    /// Applies a whole frame that continues the chain. Only a wrong writer makes this fail.
    pub(crate) fn apply(
        &mut self,
        head: &FrameHead,
        entries: Vec<Entry>,
    ) -> Result<(), &'static str> {
        if head.id <= self.last_write {
            return Err("a whole frame repeats an earlier write");
        }
        if head.kind == FrameKind::Repair {
            self.repair(entries)?;
        } else {
            self.write(head, entries)?;
        }
        self.hard = head.hard;
        self.commit = self.commit.max(head.commit);
        self.last_write = head.id;
        Ok(())
    }

    fn write(&mut self, head: &FrameHead, entries: Vec<Entry>) -> Result<(), &'static str> {
        if head.kind == FrameKind::Reset {
            // Mark: a log was reset.
            self.entries.clear();
            self.unreadable.clear();
            self.base = head.prev;
            self.runs = Runs::after(head.prev, head.prev_run_first);
        }
        if let Some(from) = head.truncate_from {
            // Mark: a log was cut.
            self.cut(from, head.prev, head.prev_run_first);
        }
        if self.runs.last() != head.prev {
            return Err("a whole frame does not continue the log");
        }
        for entry in &entries {
            self.runs.push(entry.id);
        }
        self.entries.extend(entries);
        Ok(())
    }

    /// Entries stand in their places again that could not be read.
    fn repair(&mut self, entries: Vec<Entry>) -> Result<(), &'static str> {
        for entry in entries {
            let index = entry.id.index;
            if index <= self.base.index || entry.kind == EntryKind::Unreadable {
                continue;
            }
            if self.id_at(index) != Some(entry.id) {
                return Err("a whole frame repairs what is not in the log");
            }
            // Mark: an entry that could not be read was written again.
            self.unreadable.remove(&index);
            let place = index.0 - self.base.index.0 - 1;
            self.entries[place as usize] = entry;
        }
        Ok(())
    }

    /// The entries from `from` on are void, and the log ends in `prev`.
    pub(crate) fn cut(&mut self, from: Index, prev: LogId, prev_run_first: Index) {
        self.unreadable.split_off(&from);
        if from > self.base.index {
            self.runs.truncate(from);
            let kept = from.0 - self.base.index.0 - 1;
            self.entries
                .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        } else {
            // Mark: a log was cut before the first segment that is kept.
            // The segments before were released while this truncation of what they ended with
            // lay in the first one kept: the frame itself knows what remained.
            self.entries.clear();
            self.base = prev;
            self.runs = Runs::after(prev, prev_run_first);
        }
    }

    fn prove(&mut self, durable: WriteId) {
        while self
            .unproven
            .front()
            .is_some_and(|frame| frame.id <= durable)
        {
            self.unproven.pop_front();
        }
    }

    /// Makes the end of the log what it was judged to be, durably: what no frame proves durable
    /// is written again, because after a failed sync the bytes that were read may be in memory only;
    /// as it was checked, because a second read may bring something else. What is torn, and
    /// the place of the next frame's head, become zeros, so that nothing can come back behind new frames.
    ///
    /// `life`: of this opening. In a segment that was used before, a witness tells of it before any
    /// frame bears it.
    pub(crate) fn mend(
        &self,
        disk: &mut dyn Disk,
        segments: &[Segment],
        life: u64,
    ) -> Result<(), DiskError> {
        let last = segments.last().expect("a log has a segment");
        if self.is_proven_by_its_end && self.torn_bytes > 0 {
            // Mark: a torn frame that proves damage gets a witness in its place.
            let witness = encode_witness(last.head.seq, self.last_write, life);
            disk.write(&last.name, WITNESS_OFFSETS[0] as u64, &witness)?;
            disk.sync(&last.name)?;
        }
        for frame in &self.unproven {
            // Mark: what no frame proves durable is written again.
            disk.write(&last.name, frame.offset, &frame.head)?;
            disk.write(&last.name, frame.offset + BLOCK_AT, &frame.block)?;
        }
        for segment in segments {
            if let Some((at, bytes)) = &segment.damaged_copy {
                // Mark: a damaged copy of a segment's head is written again.
                disk.write(&segment.name, *at as u64, bytes)?;
                disk.sync(&segment.name)?;
            }
        }
        let mut at = self.offset;
        // The place of the next frame's head in any case: what went past the kernel's cache and failed may be
        // on the disk, though what was read lacks it.
        let place = self.offset + FRAME_HEAD_BYTES as u64;
        let end = (self.offset + self.torn_bytes).max(place);
        let end = end.min(last.head.length);
        while at < end {
            let len = WINDOW_BYTES.min(end - at);
            disk.write(&last.name, at, &vec![0; len as usize])?;
            at += len;
        }
        disk.sync(&last.name)?;
        if last.head.is_recycled {
            // Mark: whose frames may follow stands in a segment that was used before.
            let witness = encode_witness(last.head.seq, self.last_write, life);
            for at in WITNESS_OFFSETS {
                disk.write(&last.name, at as u64, &witness)?;
            }
            disk.sync(&last.name)?;
        }
        disk.sync_dir(WAL_DIR)
    }

    /// Where the log's writer goes on.
    pub(crate) fn position(&self, segments: &[Segment]) -> Position {
        let held = |segment: &Segment| Held {
            seq: segment.head.seq,
            prev: segment.head.prev.index,
            length: segment.head.length,
        };
        let last = segments.last().expect("a log has a segment");
        Position {
            segments: segments.iter().map(held).collect(),
            length: last.head.length,
            is_recycled: last.head.is_recycled,
            offset: self.offset,
            chain: self.chain,
            runs: self.runs.clone(),
            hard: self.hard,
            commit: self.commit,
            last_write: self.last_write,
        }
    }

    /// The identity of the entry at `index`, if the log reaches it.
    pub(crate) fn id_at(&self, index: Index) -> Option<LogId> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        let entry = self.entries.get(usize::try_from(at).ok()?)?;
        Some(entry.id)
    }
}
