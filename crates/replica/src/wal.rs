//! The durable log: one queue of changes, appended to segments, made durable together.
//! Never reads: what is on disk is recovery's to judge, and what is in force is the core's.
//!
//! A segment gets its final name only after its head is durable, and a frame goes into it only
//! after everything in the segment before is. So a crash leaves unsynced frames in the last
//! segment alone, and all of them of one call to [`Wal::run`].
//!
//! # Source
//! Raft paper, Figure 2, persistent state; dissertation §10.2.1 (writing to disk in parallel);
//! docs/format.md, "The log".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use headwater_raft::{HardState, Index, LogId, WriteId};

use crate::batch::Batch;
use crate::entry::{Entry, Identity, LogOrder, LogWrite};
use crate::port::{Disk, DiskError, DiskErrorKind};
use crate::record::{FrameHead, FrameKind, frame_bytes};
use crate::runs::Runs;
use crate::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead, WITNESS_OFFSETS, encode_witness};
use crate::spares::{SPARE_FILE, Spare, Spares};

/// The directory of the log.
pub const WAL_DIR: &str = "wal";
const NEXT_FILE: &str = "wal/next.tmp";
/// Segments are whole numbers of these, as file systems allocate.
const SEGMENT_ALIGN: u64 = 4096;

/// Numbers that shape the log on disk; may differ from one start to the next.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The size of a segment; one is made larger when a single write needs it.
    pub segment_bytes: u64,
    /// Files of released segments are kept for the next ones until they weigh so much; two in any case.
    pub spare_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_bytes: 128 << 20,
        }
    }
}

/// The log's writer.
#[derive(Debug)]
pub struct Wal {
    options: WalOptions,
    identity: Identity,
    life: u64,
    /// Oldest first; the last is the one written to.
    segments: Vec<Held>,
    /// The current segment's size, and where its next frame goes.
    length: u64,
    is_recycled: bool,
    offset: u64,
    chain: u32,
    runs: Runs,
    hard: HardState,
    commit: Index,
    last_write: WriteId,
    durable: WriteId,
    witnessed: WriteId,
    witness_slot: usize,
    spares: Spares,
    /// How many segments were begun in files of released ones.
    recycled: u64,
    /// Whether something else has found the disk full since this segment was begun.
    is_sparing: bool,
    /// Whether the last spare segment could not be made because the disk is full.
    spare_lacks: bool,
    /// Orders for which there is no segment, in order: the disk is full.
    waiting: Vec<LogOrder>,
    batch: Batch,
    poisoned: Option<DiskError>,
}

/// A segment on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) seq: u64,
    /// The log's last index when the segment was begun.
    pub(crate) prev: Index,
    /// The file's size in bytes.
    pub(crate) length: u64,
}

/// Where and after what the log goes on.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) segments: Vec<Held>,
    pub(crate) length: u64,
    pub(crate) is_recycled: bool,
    pub(crate) offset: u64,
    pub(crate) chain: u32,
    pub(crate) runs: Runs,
    pub(crate) hard: HardState,
    pub(crate) commit: Index,
    pub(crate) last_write: WriteId,
}

impl Wal {
    /// The writer of a log that recovery has read to its end and made durable up to there.
    ///
    /// `life`: a number no other opening of this log has used.
    pub(crate) fn resume(options: WalOptions, identity: Identity, life: u64, at: Position) -> Self {
        assert!(!at.segments.is_empty(), "a log without a segment");
        assert!(at.offset <= at.length, "a log that ends beyond its file");
        Self {
            options,
            identity,
            life,
            segments: at.segments,
            length: at.length,
            is_recycled: at.is_recycled,
            offset: at.offset,
            chain: at.chain,
            runs: at.runs,
            hard: at.hard,
            commit: at.commit,
            last_write: at.last_write,
            durable: at.last_write,
            witnessed: WriteId(0),
            witness_slot: 0,
            spares: Spares::default(),
            recycled: 0,
            is_sparing: false,
            spare_lacks: false,
            waiting: Vec::new(),
            batch: Batch::default(),
            poisoned: None,
        }
    }

    /// Carries out orders in the order given. When it returns, all of them are durable, with one
    /// sync for the whole slice and a few for each change of segment; but for those that wait for
    /// room on a full disk ([`Wal::waiting`]), which come first at the next call.
    ///
    /// Returns the highest write that has become durable; `None` if there is none to acknowledge.
    ///
    /// # Errors
    /// The disk refused. Nothing of this slice is acknowledged, and every later call fails too: a
    /// disk that could not say what is durable is not asked again before a new start (rule R2).
    ///
    /// # Panics
    /// If an order contradicts those before it: a gap, a term that goes down, an id used twice.
    pub fn run(
        &mut self,
        disk: &mut dyn Disk,
        orders: &[LogOrder],
    ) -> Result<Option<WriteId>, DiskError> {
        self.guarded(|wal| {
            let mut upto = None;
            let waiting = core::mem::take(&mut wal.waiting);
            let mut orders = waiting.iter().chain(orders);
            while let Some(order) = orders.next() {
                if !wal.make_room(disk, order)? {
                    wal.waiting = core::iter::once(order).chain(orders).cloned().collect();
                    wal.release_early(disk)?;
                    break;
                }
                upto = wal.carry_out(disk, order)?.or(upto);
            }
            wal.settle(disk)?;
            assert!(
                upto <= Some(wal.durable),
                "an unsynced write is not durable"
            );
            Ok(upto)
        })
    }

    /// The same where nobody can wait: an error if the disk has no room.
    pub(crate) fn run_now(
        &mut self,
        disk: &mut dyn Disk,
        orders: &[LogOrder],
    ) -> Result<(), DiskError> {
        self.run(disk, orders)?;
        if self.waiting() > 0 {
            return Err(DiskError {
                what: format!("no room for another segment in {WAL_DIR}"),
                kind: DiskErrorKind::Full,
            });
        }
        Ok(())
    }

    /// Work for a moment when nothing else is to do, without a sync: leaves a witness of how far
    /// the log is durable, so that later damage to its last frames is known for what it is.
    ///
    /// # Errors
    /// As for [`Wal::run`].
    pub fn idle(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.guarded(|wal| {
            if wal.witnessed == wal.durable || wal.offset == SEGMENT_HEAD_BYTES as u64 {
                return Ok(());
            }
            let seq = wal.current();
            let at = WITNESS_OFFSETS[wal.witness_slot] as u64;
            let witness = encode_witness(seq, wal.durable, wal.life);
            disk.write(&segment_name(seq), at, &witness)?;
            wal.witness_slot = (wal.witness_slot + 1) % WITNESS_OFFSETS.len();
            wal.witnessed = wal.durable;
            Ok(())
        })
    }

    /// The name and size of a zero-filled file that the next change of segment could use; `None`
    /// while there is one, or no hurry.
    ///
    /// Another thread may make it, through its own handle on the directory, while this one works:
    /// [`Disk::create_zeroed`], [`Disk::sync`], then [`Wal::spare_ready`] here. The caller starts
    /// one at a time.
    pub fn spare_wanted(&self) -> Option<(String, u64)> {
        let head = SEGMENT_HEAD_BYTES as u64;
        let half_full = self.offset - head >= (self.length - head) / 2;
        let wanted = half_full && self.spares.is_empty() && self.poisoned.is_none();
        wanted.then(|| (String::from(SPARE_FILE), self.segment_bytes(0)))
    }

    /// The file that [`Wal::spare_wanted`] named exists, is `length` bytes of zeros, and is synced.
    pub fn spare_ready(&mut self, length: u64) {
        self.spares.made(length);
        self.spare_lacks = false;
    }

    /// The file that [`Wal::spare_wanted`] named could not be made, and nothing is left of it.
    pub fn spare_failed(&mut self, why: &DiskError) {
        self.spare_lacks = why.kind == DiskErrorKind::Full;
    }

    /// How many orders, the last ones given, wait for a segment because the disk is full. Nothing of
    /// them is written.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the disk has no room for the next segment: what is left of this one is the reserve.
    pub fn is_short(&self) -> bool {
        self.spare_lacks || self.waiting() > 0
    }

    /// How many segments this writer has begun in files of released ones.
    pub fn recycled(&self) -> u64 {
        self.recycled
    }

    /// Whether the segment that is written to is in the file of a released one.
    pub fn is_recycled(&self) -> bool {
        self.is_recycled
    }

    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        if let Some(first) = &self.poisoned {
            return Err(DiskError {
                what: format!("the log stopped at an earlier error: {}", first.what),
                kind: first.kind,
            });
        }
        let result = work(self);
        if let Err(error) = &result {
            self.poisoned = Some(error.clone());
        }
        result
    }

    fn carry_out(
        &mut self,
        disk: &mut dyn Disk,
        order: &LogOrder,
    ) -> Result<Option<WriteId>, DiskError> {
        match order {
            LogOrder::Write(write) => {
                self.add_write(disk, write)?;
                Ok(Some(write.id))
            }
            LogOrder::Repair {
                id,
                hard,
                commit,
                entries,
            } => {
                self.add_repair(disk, (*id, *hard, *commit), entries)?;
                Ok(Some(*id))
            }
            LogOrder::Reset { id, base, hard } => {
                self.add_reset(disk, *id, *base, *hard)?;
                Ok(Some(*id))
            }
            LogOrder::Release { upto } => {
                self.release(disk, *upto)?;
                Ok(None)
            }
            LogOrder::GiveRoom => {
                // Mark: spare segments go where their room is needed.
                self.give_room(disk)?;
                Ok(None)
            }
        }
    }

    fn add_write(&mut self, disk: &mut dyn Disk, write: &LogWrite) -> Result<(), DiskError> {
        if let Some(from) = write.truncate_from {
            assert!(from > Index(0), "no entry has index zero");
            assert!(
                self.runs.truncate(from),
                "a truncation into what a snapshot covers"
            );
        }
        self.hard = write.hard;
        self.commit = self.commit.max(write.commit);
        self.add_frame(
            disk,
            (write.id, FrameKind::Write, write.truncate_from),
            &write.entries,
        )?;
        for entry in &write.entries {
            self.runs.push(entry.id);
        }
        Ok(())
    }

    fn add_repair(
        &mut self,
        disk: &mut dyn Disk,
        (id, hard, commit): (WriteId, HardState, Index),
        entries: &[Entry],
    ) -> Result<(), DiskError> {
        let in_order = entries.windows(2).all(|pair| {
            let [one, next] = [pair[0].id, pair[1].id];
            next.index == one.index.next()
        });
        let first = entries.first().map(|entry| entry.id.index);
        let last = entries.last().map(|entry| entry.id.index);
        let is_inside = last.is_some() && last <= Some(self.runs.last().index);
        assert!(in_order && is_inside, "a repair of what is not in the log");
        self.hard = hard;
        self.commit = self.commit.max(commit);
        self.add_frame(disk, (id, FrameKind::Repair, first), entries)
    }

    fn add_reset(
        &mut self,
        disk: &mut dyn Disk,
        id: WriteId,
        base: LogId,
        hard: HardState,
    ) -> Result<(), DiskError> {
        self.runs = Runs::after(base, base.index);
        self.hard = hard;
        self.commit = self.commit.max(base.index);
        self.add_frame(disk, (id, FrameKind::Reset, None), &[])
    }

    fn add_frame(
        &mut self,
        disk: &mut dyn Disk,
        (id, kind, truncate_from): (WriteId, FrameKind, Option<Index>),
        entries: &[Entry],
    ) -> Result<(), DiskError> {
        assert!(
            id > self.last_write,
            "a write out of its place in the queue"
        );
        let head = FrameHead {
            seq: self.current(),
            offset: self.offset,
            id,
            durable: self.durable,
            life: self.life,
            hard: self.hard,
            commit: self.commit,
            truncate_from,
            prev: self.runs.last(),
            prev_run_first: self.runs.run_first(),
            kind,
            chain: self.chain,
        };
        self.chain = self.batch.add(disk, &head, entries)?;
        self.offset += frame_bytes(entries);
        self.last_write = id;
        assert!(self.offset <= self.length, "a frame beyond its segment");
        Ok(())
    }

    /// Begins another segment if an order needs one; `false` if the disk has no room for it.
    fn make_room(&mut self, disk: &mut dyn Disk, order: &LogOrder) -> Result<bool, DiskError> {
        let frame = match order {
            LogOrder::Write(write) => frame_bytes(&write.entries),
            LogOrder::Repair { entries, .. } => frame_bytes(entries),
            LogOrder::Reset { .. } => frame_bytes(&[]),
            LogOrder::Release { .. } | LogOrder::GiveRoom => return Ok(true),
        };
        if frame <= self.length - self.offset {
            return Ok(true);
        }
        // The next head says that all writes before it are durable.
        self.settle(disk)?;
        let Some(file) = self.next_file(disk, self.segment_bytes(frame))? else {
            // Mark: the log waits for room on its disk.
            return Ok(false);
        };
        self.change_segment(disk, &file)?;
        Ok(true)
    }

    /// A spare of at least `needed` bytes, or a file made now; `None` if the disk has no room for it, not even
    /// that of the spares, which are too short.
    fn next_file(&mut self, disk: &mut dyn Disk, needed: u64) -> Result<Option<Spare>, DiskError> {
        if let Some(spare) = self.spares.take(disk, needed)? {
            return Ok(Some(spare));
        }
        loop {
            match disk.create_zeroed(NEXT_FILE, needed) {
                Ok(()) => {
                    return Ok(Some(Spare {
                        name: NEXT_FILE.into(),
                        length: needed,
                        is_recycled: false,
                    }));
                }
                Err(error) if error.kind == DiskErrorKind::Full => {
                    // What there is of the file stands in the way of whoever makes room.
                    disk.remove(NEXT_FILE)?;
                    if !self.spares.keep_at_most(disk, 0)? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn change_segment(&mut self, disk: &mut dyn Disk, file: &Spare) -> Result<(), DiskError> {
        let length = file.length;
        let head = SegmentHead {
            chain: self.chain,
            identity: self.identity,
            seq: self.current() + 1,
            length,
            next_write: self.last_write.next(),
            hard: self.hard,
            commit: self.commit,
            prev: self.runs.last(),
            prev_run_first: self.runs.run_first(),
            life: self.life,
            is_recycled: file.is_recycled,
        };
        self.chain = install_segment(disk, &file.name, &head)?;
        if file.is_recycled {
            // Mark: a released segment is used again.
            self.recycled += 1;
        }
        self.spare_lacks = false;
        self.is_sparing = false;
        self.segments.push(Held {
            seq: head.seq,
            prev: head.prev.index,
            length,
        });
        self.length = length;
        self.is_recycled = file.is_recycled;
        self.offset = SEGMENT_HEAD_BYTES as u64;
        Ok(())
    }

    fn segment_bytes(&self, frame: u64) -> u64 {
        let least = SEGMENT_HEAD_BYTES as u64 + frame.max(frame_bytes(&[]));
        let bytes = self.options.segment_bytes.max(least);
        bytes.next_multiple_of(SEGMENT_ALIGN)
    }

    /// Writes what is gathered and makes it durable.
    fn settle(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.batch.settle(disk)?;
        self.durable = self.last_write;
        Ok(())
    }

    /// Lets the segments go before the last one that begins at or before `upto`: some become spares,
    /// if they are as long as segments are now.
    fn release(&mut self, disk: &mut dyn Disk, upto: Index) -> Result<(), DiskError> {
        self.runs.forget(upto);
        let keep = self.segments.iter().rposition(|held| held.prev <= upto);
        let usual = self.segment_bytes(0);
        let short = self.is_short() || self.is_sparing;
        let spare_bytes = self.options.spare_bytes;
        let mut is_kept = false;
        // Oldest first, so that what a crash leaves begins later but has no hole that matters.
        for held in self.segments.drain(..keep.unwrap_or(0)) {
            if held.length == usual && self.spares.has_place(spare_bytes, short) {
                self.spares.keep(disk, held.seq, held.length)?;
                // The next segment has a file again.
                self.spare_lacks = false;
                is_kept = true;
            } else if short {
                disk.remove(&segment_name(held.seq))?;
            } else {
                // Writes wait behind this.
                disk.discard(&segment_name(held.seq))?;
            }
        }
        if is_kept {
            // A power cut must not bring back the name of a file that is written into again.
            disk.sync_dir(WAL_DIR)?;
        }
        Ok(())
    }

    /// Room that something else needs is given, and not taken again before the next segment is begun.
    fn give_room(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.is_sparing = true;
        self.spares.keep_at_most(disk, 1).map(|_| ())
    }

    /// Segments that nobody needs go at once, though writes before that order wait: theirs is the
    /// room that is waited for. Not beyond what those writes leave as it is.
    fn release_early(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let mut kept = self.runs.last().index;
        let mut upto = None;
        for order in &self.waiting {
            match order {
                LogOrder::Write(write) => {
                    kept = write
                        .truncate_from
                        .map_or(kept, |from| kept.min(from.prev()));
                }
                LogOrder::Repair { .. } => {}
                LogOrder::Reset { .. } => break,
                LogOrder::Release { upto: released } if *released <= kept => upto = Some(*released),
                LogOrder::Release { .. } | LogOrder::GiveRoom => {}
            }
        }
        upto.map_or(Ok(()), |upto| self.release(disk, upto))
    }

    fn current(&self) -> u64 {
        let last = self.segments.last();
        last.expect("a log always has a segment to write to").seq
    }
}

/// Turns a file that is nobody's into the segment that `head` describes; returns its chain.
pub(crate) fn install_segment(
    disk: &mut dyn Disk,
    file: &str,
    head: &SegmentHead,
) -> Result<u32, DiskError> {
    let (bytes, chain) = head.encode();
    disk.write(file, 0, &bytes)?;
    // Only a whole segment may bear a segment's name: recovery takes a bad head for damage.
    disk.sync(file)?;
    disk.rename(file, &segment_name(head.seq))?;
    disk.sync_dir(WAL_DIR)?;
    Ok(chain)
}

/// Makes the first segment of an empty log.
pub(crate) fn format_log(
    disk: &mut dyn Disk,
    options: &WalOptions,
    identity: Identity,
) -> Result<(), DiskError> {
    let least = SEGMENT_HEAD_BYTES as u64 + frame_bytes(&[]);
    let length = options.segment_bytes.max(least);
    let length = length.next_multiple_of(SEGMENT_ALIGN);
    disk.create_zeroed(NEXT_FILE, length)?;
    let head = SegmentHead {
        chain: 0,
        identity,
        seq: 1,
        length,
        next_write: WriteId(1),
        hard: HardState::default(),
        commit: Index(0),
        prev: LogId::default(),
        prev_run_first: Index(0),
        life: identity.first_life(),
        is_recycled: false,
    };
    install_segment(disk, NEXT_FILE, &head)?;
    Ok(())
}

/// The file of segment `seq`.
pub fn segment_name(seq: u64) -> String {
    format!("{WAL_DIR}/{seq:016x}.wal")
}

/// The segment that a name in the log's directory stands for.
pub(crate) fn segment_seq(name: &str) -> Option<u64> {
    let seq = u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()?;
    (segment_name(seq).strip_prefix("wal/") == Some(name)).then_some(seq)
}

/// An error in what a disk gave back rather than in what it said.
pub(crate) fn failed(what: String) -> DiskError {
    DiskError {
        what,
        kind: DiskErrorKind::Failed,
    }
}
