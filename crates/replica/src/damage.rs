//! Damage to what was durable: which entries it has cost, and where the log goes on behind it.
//! Never guesses a name: entries that cannot be named are not passed over.
//!
//! Of a frame whose head and table are whole, bodies that fail their checks are known by name. Where
//! more is lost, the frame behind it, or the next segment's head, names the log's last entry before
//! itself, and that is enough in two cases:
//!
//! * It is an entry of the log as read so far: then what was lost has only cut the log, for logs that
//!   share an entry share all before it (Log Matching).
//! * It is later than the last one read, and of the same term. One leader made both, and it made the
//!   later one with the earlier one in its log: so the earlier one is there still, and all between them
//!   are of that term.
//!
//! Otherwise a change of terms lies in what was lost, and with it names. A frame behind lost heads is
//! believed only if the life that wrote the last whole one, or began the segment, wrote it too: a body
//! can hold bytes that look like a frame, but that number is drawn anew whenever a directory is opened.
//!
//! # Source
//! Alagappan et al., FAST'18, §3.3 (identifiers apart from bodies); Raft paper, Figure 3 (Log
//! Matching); docs/format.md, "Recovery".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use headwater_raft::{Config, Index, LogId, NodeId, Unreadable, WriteId};

use crate::config_record::decode_change;
use crate::entry::{Entry, EntryKind};
use crate::port::DiskError;
use crate::record::{
    FRAME_ALIGN, FRAME_HEAD_BYTES, FrameKind, FrameRead, IDENTIFIER_BYTES, Identifier,
    decode_frame_head, decode_readable, decode_table,
};
use crate::recovery::OpenError;
use crate::replay::{Replay, Stop};
use crate::segment_head::SegmentHead;
use crate::segments::Segment;
use crate::window::{BLOCK_AT, Window};

impl Replay {
    /// Goes on behind damage to what `proof` shows to have been durable.
    ///
    /// `next`: the head of the segment behind this one.
    ///
    /// # Errors
    /// It is not known what was lost; or the disk refused.
    pub(crate) fn pass(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        stop: Stop,
        proof: &str,
        next: Option<&SegmentHead>,
    ) -> Result<(), OpenError> {
        let (at, first) = (self.offset, self.runs.last().index.next());
        let lost = match &stop.frame {
            Some(frame) => self.pass_bodies(window, segment, frame)?,
            None => None,
        };
        let (first, last) = match lost {
            Some(lost) => lost,
            None => {
                // Mark: frames are lost whose entries can be named.
                let refused = self.refusal(window, segment, &stop, proof, next);
                if !self.pass_frames(window, segment, next)? {
                    return Err(refused);
                }
                // Where no segment follows, a frame behind is what tells of the lost ones: there must
                // be a whole one, or nothing would once the end is dropped as torn.
                self.untold = next.is_none().then_some(refused);
                (first, self.runs.last().index)
            }
        };
        self.is_proven_by_its_end |= next.is_none();
        let what = format!("{}, byte {at}: {} though {proof}", segment.name, stop.why);
        self.damage.push((what, first, last));
        Ok(())
    }

    /// Steps over a frame of which bodies alone are damaged: the first and the last of these entries.
    fn pass_bodies(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        frame: &FrameRead,
    ) -> Result<Option<(Index, Index)>, OpenError> {
        let block = window.take(self.offset + BLOCK_AT, frame.block_bytes)?;
        let Ok((entries, bad)) = decode_readable(frame.before(), block) else {
            return Ok(None);
        };
        if let Err(why) = self.apply(&frame.head, entries) {
            return Err(OpenError::damaged(&segment.name, self.offset, why));
        }
        let next = self.runs.last().index.next();
        self.step_over(frame);
        if frame.head.kind != FrameKind::Repair {
            for identifier in &bad {
                // Mark: a body in the log cannot be read.
                let is_config = identifier.kind == EntryKind::Config;
                self.unreadable.insert(identifier.id.index, is_config);
            }
        }
        let index = |identifier: Option<&Identifier>| identifier.map(|bad| bad.id.index);
        let (first, last) = (index(bad.first()), index(bad.last()));
        // None, if the disk has read better this time.
        Ok(Some((first.unwrap_or(next), last.unwrap_or(next.prev()))))
    }

    /// Steps over lost frames to the next whole one, or to the end of the segment.
    fn pass_frames(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        next: Option<&SegmentHead>,
    ) -> Result<bool, DiskError> {
        let mut behind = None;
        let from = (self.offset + FRAME_ALIGN as u64).min(segment.head.length);
        let (life, last_write) = (self.life, self.last_write);
        window.survey(from, |offset, frame| {
            let head = &frame.head;
            if segment.is_own(head, life) && head.id > last_write && behind.is_none() {
                behind = Some(offset);
            }
        })?;
        if let Some(offset) = behind {
            let bytes = window.take(offset, FRAME_HEAD_BYTES as u64)?;
            let Ok(FrameRead { head, .. }) = decode_frame_head(&bytes) else {
                return Ok(false);
            };
            let goes_on = self.life != 0 && self.life == head.life;
            let lost_bytes = offset - self.offset;
            let is_reset = head.kind == FrameKind::Reset;
            if goes_on && (is_reset || self.meet(head.prev, lost_bytes)) {
                (self.offset, self.chain) = (offset, head.chain);
                self.last_write = WriteId(head.id.0.saturating_sub(1));
                return Ok(true);
            }
        }
        let lost_bytes = segment.head.length - self.offset;
        let is_later = |next: &&SegmentHead| next.next_write > last_write;
        let next = next.filter(is_later);
        let Some(next) = next.filter(|next| self.meet(next.prev, lost_bytes)) else {
            return Ok(false);
        };
        self.hard = next.hard;
        self.commit = self.commit.max(next.commit);
        self.chain = next.chain;
        self.last_write = WriteId(next.next_write.0.saturating_sub(1));
        Ok(true)
    }

    /// The log, some frames later, ends in `prev`: makes it so, if it is known what lies between.
    /// `lost_bytes`: what these frames took; no more entries are believed than fit there.
    fn meet(&mut self, prev: LogId, lost_bytes: u64) -> bool {
        let last = self.runs.last();
        if self.id_at(prev.index) == Some(prev) {
            if prev != last {
                self.cut(prev.index.next(), prev, prev.index);
            }
            return true;
        }
        let follows = prev.term == last.term
            && prev.index > last.index
            && prev.index.0 - last.index.0 <= lost_bytes / IDENTIFIER_BYTES as u64;
        if !follows {
            return false;
        }
        for index in (last.index.0 + 1..=prev.index.0).map(Index) {
            let id = LogId::new(prev.term, index);
            self.runs.push(id);
            self.entries.push(Entry::unreadable(id));
            self.unreadable.insert(index, true);
        }
        true
    }

    /// What cannot be read of the log behind `base`, in ranges.
    pub(crate) fn gaps(&self, base: Index) -> Vec<Unreadable> {
        let mut gaps = Vec::<Unreadable>::new();
        for (&index, &may_hold_config) in self.unreadable.range(base.next()..) {
            match gaps.last_mut() {
                Some(gap) if gap.last.next() == index && gap.may_hold_config == may_hold_config => {
                    gap.last = index;
                }
                _ => gaps.push(Unreadable {
                    first: index,
                    last: index,
                    may_hold_config,
                }),
            }
        }
        gaps
    }

    /// The log without its beginning, as far as there are entries in it that cannot be read but that a
    /// snapshot up to `base` covers: the entry before the first one left, and those.
    pub(crate) fn readable_before(self, base: Index) -> (LogId, Vec<Entry>) {
        let log_base = self.log_base(base);
        let mut entries = self.entries;
        if log_base != self.base {
            entries.retain(|entry| entry.id.index > log_base.index);
        }
        (log_base, entries)
    }

    /// The entry before the first one of that log.
    pub(crate) fn log_base(&self, base: Index) -> LogId {
        let covered = self.unreadable.range(..=base).next_back();
        let last = covered.and_then(|(&last, _)| self.id_at(last));
        last.unwrap_or(self.base)
    }

    /// Whether node `me` is the only member that the log, or `before` it the snapshot, tells of.
    pub(crate) fn is_alone(&self, me: NodeId, before: &Config) -> bool {
        let configs = self.entries.iter().rev();
        let mut configs = configs.filter(|entry| entry.kind == EntryKind::Config);
        let newest = configs.find_map(|entry| Some(decode_change(&entry.body).ok()?.0));
        let config = newest.as_ref().unwrap_or(before);
        config.is_member(me) && config.peers_of(me).is_empty()
    }

    /// All damage that was passed, and what became of the entries, of which a snapshot covers those up
    /// to `base`: for people.
    pub(crate) fn passed(&self, base: Index) -> impl Iterator<Item = String> {
        self.damage.iter().map(move |(what, first, last)| {
            let behind = *first.max(&base.next());
            let is_lost = |index: &Index| self.unreadable.contains_key(index);
            let mut lost = (behind.0..=last.0).map(Index).filter(is_lost);
            let fate = match lost.next() {
                Some(one) => format!("{one} to {last} cannot be read, or not all of them"),
                None if last < first => "are not concerned".into(),
                None if *last <= base => {
                    format!("{first} to {last} are in a snapshot that covers them")
                }
                None => format!("{first} to {last} were written again since"),
            };
            format!("{what}; entries {fate}")
        })
    }

    /// Names what is damaged as far as it can be known.
    fn refusal(
        &self,
        window: &mut Window<'_>,
        segment: &Segment,
        stop: &Stop,
        proof: &str,
        next: Option<&SegmentHead>,
    ) -> OpenError {
        let named = match &stop.frame {
            Some(frame) => self.named_by_table(window, frame),
            None => self.named_by_neighbours(window, segment, next),
        };
        let why = match named {
            Ok(named) => format!("{} ({named}) though {proof}", stop.why),
            Err(error) => format!("{} though {proof}; reading on failed: {error}", stop.why),
        };
        OpenError::damaged(&segment.name, self.offset, &why)
    }

    fn named_by_table(
        &self,
        window: &mut Window<'_>,
        frame: &FrameRead,
    ) -> Result<String, DiskError> {
        let id = frame.head.id;
        let block = window.take(self.offset + BLOCK_AT, frame.block_bytes)?;
        let Ok(table) = decode_table(frame.before(), &block) else {
            return Ok(format!(
                "write {id}, {} entries after {}",
                frame.count, frame.head.prev
            ));
        };
        Ok(match (table.first(), table.last()) {
            (Some(first), Some(last)) => {
                format!("write {id}, entries {} to {}", first.id, last.id)
            }
            _ => format!("write {id}, no entries"),
        })
    }

    fn named_by_neighbours(
        &self,
        window: &mut Window<'_>,
        segment: &Segment,
        next: Option<&SegmentHead>,
    ) -> Result<String, DiskError> {
        let mut after = None;
        let from = self.offset + FRAME_ALIGN as u64;
        window.survey(from.min(segment.head.length), |_, frame| {
            let head = &frame.head;
            if segment.is_own(head, self.life) && head.id > self.last_write && after.is_none() {
                after = Some((head.prev, head.prev_run_first));
            }
        })?;
        let after = after.or(next.map(|head| (head.prev, head.prev_run_first)));
        let first = self.runs.last().index.next();
        Ok(match after {
            Some((prev, run_first)) if prev.index >= first => {
                let known = run_first.max(first);
                format!(
                    "after write {}: entries {first} to {}, from {known} on of term {}",
                    self.last_write, prev.index, prev.term
                )
            }
            _ => format!(
                "after write {} and entry {}",
                self.last_write,
                self.runs.last()
            ),
        })
    }
}
