//! What can still be read of a data directory, whole or not: entries and where they belong.
//! Never changes it, and never makes a node of it: what is missing would be missed by nobody.
//!
//! Recovery refuses a directory as soon as it is not certain what was lost. This goes on behind the
//! damage all the same, because an entry that is whole bears its name, and a name is enough to put it
//! in its place once the entries before it have come from elsewhere.
//!
//! # Source
//! docs/format.md, "Recovery", "Salvage".

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use headwater_raft::{Config, Index, LogId, Term, WriteId};

use crate::entry::{Entry, EntryKind, Identity, SnapshotMeta};
use crate::identity::{IDENTITY_FILE, decode_identity, read_identity};
use crate::machine::{Malformed, StateMachine};
use crate::port::{Disk, DiskError};
use crate::record::{FRAME_ALIGN, FrameKind, FrameRead, HeadError, decode_readable, malformed};
use crate::recovery::OpenError;
use crate::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead, Witnessed};
use crate::snapshot_file::{covered_by, snapshot_names};
use crate::snapshot_record::{Unloadable, cluster_of, load};
use crate::wal::{WAL_DIR, segment_name, segment_seq};
use crate::window::{BLOCK_AT, Window};

/// All that can be read of one data directory.
#[derive(Debug)]
pub struct Remains {
    /// Whose it is, if its identity or a segment's head can be read.
    pub identity: Option<Identity>,
    /// The cluster that it belongs to.
    pub cluster: u64,
    /// What is not whole, with the place, for people.
    pub damage: Vec<String>,
    /// Whether the log may have gone on behind all that is known of it.
    pub has_open_end: bool,
    /// The members when it was formatted, if its identity can be read.
    pub(crate) first_config: Option<Config>,
    /// The snapshots that are whole.
    pub(crate) snapshots: Vec<SnapshotMeta>,
    /// What is known of entries, whether or not they can be read.
    pub(crate) known: BTreeMap<LogId, Known>,
    /// A log, by its last entry, and how far it was committed: once true, always true.
    pub(crate) committed: (LogId, Index),
    /// What snapshots cover, or covered when they were whole.
    pub(crate) covered: Vec<LogId>,
    /// The highest term that is spoken of.
    pub(crate) term: Term,
}

/// What one directory says of one entry.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The entry before it.
    pub(crate) before: Option<LogId>,
    /// From this index to it, all entries are of its term.
    pub(crate) run_first: Index,
    /// The entry, if its body is whole.
    pub(crate) entry: Option<Entry>,
    /// Whether the log was cut before it since.
    pub(crate) is_cut: bool,
}

/// A segment that is there, as far as its head can be read.
struct Piece {
    seq: u64,
    name: String,
    bytes: u64,
    head: Option<(SegmentHead, u32)>,
    witnessed: Witnessed,
}

/// Where in a segment reading has come to.
struct Place {
    offset: u64,
    /// What the next frame's chain must be; not known behind damage.
    chain: Option<u32>,
    last_write: WriteId,
    /// The log's last entry.
    tip: LogId,
}

impl Remains {
    /// Reads all of a directory; `None` if nothing in it is a node's.
    ///
    /// # Errors
    /// A later version wrote it, or the disk refused to list it.
    pub fn of<M: StateMachine>(disk: &mut dyn Disk) -> Result<Option<Self>, OpenError> {
        let mut remains = Self {
            identity: None,
            cluster: 0,
            damage: Vec::new(),
            has_open_end: false,
            first_config: None,
            snapshots: Vec::new(),
            known: BTreeMap::new(),
            committed: (LogId::default(), Index(0)),
            covered: Vec::new(),
            term: Term(0),
        };
        remains.read_identity(disk)?;
        let pieces = remains.pieces(disk)?;
        let mut snapshots = snapshot_names(disk)?.into_iter();
        let cluster = match remains.identity {
            Some(identity) => Some(identity.cluster),
            None => snapshots.find_map(|name| cluster_of(disk, &name)),
        };
        let Some(cluster) = cluster else {
            return Ok(None);
        };
        remains.cluster = cluster;
        remains.read_log(disk, &pieces);
        remains.read_snapshots::<M>(disk)?;
        Ok(Some(remains))
    }

    fn read_identity(&mut self, disk: &mut dyn Disk) -> Result<(), OpenError> {
        let why = match read_identity(disk)?.map(|bytes| decode_identity(&bytes)) {
            Some(Ok((identity, first_config))) => {
                (self.identity, self.first_config) = (Some(identity), Some(first_config));
                return Ok(());
            }
            Some(Err(HeadError::Newer(version))) => {
                return Err(OpenError::newer(IDENTITY_FILE, version));
            }
            Some(Err(HeadError::Malformed(why))) => why.0,
            None => "missing".into(),
        };
        self.damage.push(format!("{IDENTITY_FILE}: {why}"));
        Ok(())
    }

    /// The segments, oldest first. Those of another directory are left out.
    fn pieces(&mut self, disk: &mut dyn Disk) -> Result<Vec<Piece>, OpenError> {
        let names = disk.list(WAL_DIR)?;
        let mut pieces = Vec::new();
        for seq in names.iter().filter_map(|name| segment_seq(name)) {
            let name = segment_name(seq);
            let bytes = disk.size(&name)?.unwrap_or(0);
            let block = disk.read(&name, 0, SEGMENT_HEAD_BYTES).unwrap_or_default();
            let head = match SegmentHead::decode(&block) {
                Ok(head) if head.0.seq == seq => Some(head),
                Ok(_) => {
                    self.damage.push(format!("{name}: another's name"));
                    continue;
                }
                Err(HeadError::Newer(version)) => return Err(OpenError::newer(&name, version)),
                Err(HeadError::Malformed(why)) => {
                    self.damage.push(format!("{name}, byte 0: {}", why.0));
                    None
                }
            };
            if let Some((head, _)) = &head {
                if *self.identity.get_or_insert(head.identity) != head.identity {
                    self.damage.push(format!("{name}: of another directory"));
                    continue;
                }
                let length = head.length;
                if bytes < length {
                    let why = format!("{name}, byte {bytes}: the file ends here, not at {length}");
                    self.damage.push(why);
                }
            }
            pieces.push(Piece {
                witnessed: Witnessed::decode(&block, seq),
                seq,
                name,
                bytes,
                head,
            });
        }
        Ok(pieces)
    }

    fn read_log(&mut self, disk: &mut dyn Disk, pieces: &[Piece]) {
        // A frame behind lost ones is believed if a life wrote it that whole heads tell of: a body can
        // hold bytes that look like one, but not that number.
        let lives = pieces
            .iter()
            .filter_map(|piece| Some(piece.head.as_ref()?.0.life));
        let mut lives: BTreeSet<u64> = lives.collect();
        lives.extend(self.identity.map(|identity| identity.first_life()));
        lives.extend(pieces.iter().flat_map(|piece| &piece.witnessed.lives));
        lives.remove(&0);
        for (at, piece) in pieces.iter().enumerate() {
            let next = pieces.get(at + 1);
            if let Err(error) = self.read_piece(disk, piece, next, &mut lives) {
                self.damage.push(format!("{}: {error}", piece.name));
                self.has_open_end = true;
            }
        }
    }

    fn read_piece(
        &mut self,
        disk: &mut dyn Disk,
        piece: &Piece,
        next: Option<&Piece>,
        lives: &mut BTreeSet<u64>,
    ) -> Result<(), DiskError> {
        let mut place = Place {
            offset: SEGMENT_HEAD_BYTES as u64,
            chain: None,
            last_write: WriteId(0),
            tip: LogId::default(),
        };
        if let Some((head, crc)) = &piece.head {
            self.name(head.prev, head.prev_run_first);
            self.learn(head.prev, head.commit, head.hard.term);
            place.chain = Some(*crc);
            place.last_write = WriteId(head.next_write.0.saturating_sub(1));
            place.tip = head.prev;
        }
        // The first frame's place is certain, so its life need not be.
        let mut is_certain = true;
        let mut window = Window::new(disk, &piece.name, piece.bytes);
        loop {
            let found = window.frame_head(piece.seq, place.offset, place.chain)?;
            let stop = match found {
                Ok((frame, _)) if is_certain || lives.contains(&frame.head.life) => {
                    lives.insert(frame.head.life);
                    self.take(&mut window, piece, &frame, &mut place)?;
                    is_certain = true;
                    continue;
                }
                Ok(_) => malformed("a frame that nothing vouches for"),
                Err(why) => why,
            };
            let Some(offset) = self.go_on(&mut window, piece, next, &place, lives, &stop)? else {
                return Ok(());
            };
            (place.offset, place.chain, is_certain) = (offset, None, false);
        }
    }

    /// Where behind a place that is not whole the next frame is; `None` where the segment ends.
    fn go_on(
        &mut self,
        window: &mut Window<'_>,
        piece: &Piece,
        next: Option<&Piece>,
        place: &Place,
        lives: &BTreeSet<u64>,
        stop: &Malformed,
    ) -> Result<Option<u64>, DiskError> {
        if let Some((next, _)) = next.and_then(|next| next.head.as_ref())
            && (place.chain, place.last_write.next()) == (Some(next.chain), next.next_write)
        {
            return Ok(None);
        }
        let (last, is_last) = (place.last_write, next.is_none());
        let (mut behind, mut is_damage) = (None, !is_last || piece.head.is_none());
        let from = (place.offset + FRAME_ALIGN as u64).min(piece.bytes);
        let used = window.survey(from, |offset, frame| {
            let head = &frame.head;
            let is_ours = head.seq == piece.seq && lives.contains(&head.life);
            if is_ours && head.id > last {
                behind.get_or_insert(offset);
                is_damage |= head.durable > last;
            }
        })?;
        let witness = piece.witnessed.durable.filter(|&durable| durable > last);
        let is_cut = (piece.head.as_ref()).is_some_and(|(head, _)| piece.bytes < head.length);
        is_damage |= witness.is_some() || is_cut;
        // In a file that was used before, what is no frame of this use says nothing.
        let is_recycled = (piece.head.as_ref()).is_some_and(|(head, _)| head.is_recycled);
        let is_blank = behind.is_none() && (used == from || is_recycled);
        let is_end = is_blank && witness.is_none() && !is_cut;
        // What follows a torn write was never acknowledged either.
        if !is_damage || (is_end && (piece.head.is_some() || place.chain.is_some())) {
            return Ok(None);
        }
        let (name, at) = (&piece.name, place.offset);
        self.damage.push(format!("{name}, byte {at}: {}", stop.0));
        self.has_open_end = behind.is_none();
        Ok(behind)
    }

    /// Takes what a frame holds, and steps behind it.
    fn take(
        &mut self,
        window: &mut Window<'_>,
        piece: &Piece,
        frame: &FrameRead,
        place: &mut Place,
    ) -> Result<(), DiskError> {
        let head = &frame.head;
        self.name(head.prev, head.prev_run_first);
        if head.kind == FrameKind::Write && head.truncate_from.is_some() {
            self.cut_off(place.tip, head.prev.index);
        }
        let block = window.take(place.offset + BLOCK_AT, frame.block_bytes)?;
        let mut tip = head.prev;
        match decode_readable(frame.before(), block) {
            Ok((entries, bad)) => {
                for entry in entries {
                    let before = (head.kind != FrameKind::Repair).then_some(tip);
                    if head.kind != FrameKind::Repair {
                        tip = entry.id;
                    }
                    self.entry(entry, before);
                }
                for identifier in bad {
                    let (name, at) = (&piece.name, place.offset);
                    let id = identifier.id;
                    let what = format!("{name}, byte {at}: the body of entry {id} fails its check");
                    self.damage.push(what);
                }
            }
            Err(why) => {
                let (name, at, count) = (&piece.name, place.offset, frame.count);
                let prev = head.prev;
                let what = format!("{name}, byte {at}: {count} entries after {prev}: {}", why.0);
                self.damage.push(what);
                tip = LogId::default();
            }
        }
        self.learn(tip.max(head.prev), head.commit, head.hard.term);
        // The next frame would name what this one does not.
        self.has_open_end = tip < head.prev;
        *place = Place {
            offset: place.offset + frame.length(),
            chain: Some(frame.crc),
            last_write: head.id,
            tip,
        };
        Ok(())
    }

    fn name(&mut self, id: LogId, run_first: Index) {
        if id == LogId::default() {
            return;
        }
        self.term = self.term.max(id.term);
        let known = self.known.entry(id).or_insert_with(|| Known {
            before: None,
            run_first: id.index,
            entry: None,
            is_cut: false,
        });
        known.run_first = known.run_first.min(run_first.max(Index(1)));
        known.is_cut = false;
    }

    /// A log that ended in `tip` was committed up to `commit`, and the term was `term`.
    fn learn(&mut self, tip: LogId, commit: Index, term: Term) {
        self.has_open_end = false;
        self.term = self.term.max(term);
        if commit > self.committed.1 && commit <= tip.index {
            self.committed = (tip, commit);
        }
    }

    fn entry(&mut self, entry: Entry, before: Option<LogId>) {
        self.name(entry.id, entry.id.index);
        if let Some(known) = self.known.get_mut(&entry.id) {
            known.before = known.before.or(before);
            if entry.kind != EntryKind::Unreadable {
                known.entry = Some(entry);
            }
        }
    }

    /// The log that ended in `tip` was cut behind `kept`.
    fn cut_off(&mut self, tip: LogId, kept: Index) {
        let mut at = tip;
        while at.index > kept
            && let Some(known) = self.known.get_mut(&at)
        {
            known.is_cut = true;
            let Some(before) = known.before else { return };
            at = before;
        }
    }

    fn read_snapshots<M: StateMachine>(&mut self, disk: &mut dyn Disk) -> Result<(), OpenError> {
        for name in snapshot_names(disk)? {
            let covers = covered_by(&name).unwrap_or_default();
            // It had its name, so it was whole once, and what it covers was committed.
            self.covered.push(covers);
            self.name(covers, covers.index);
            let why = match load::<M>(disk, &name, self.cluster) {
                Ok((meta, _)) if meta.base == covers => {
                    self.snapshots.push(meta);
                    continue;
                }
                Ok((meta, _)) => format!("it covers {} under another's name", meta.base),
                Err(Unloadable::Newer(version)) => return Err(OpenError::newer(&name, version)),
                Err(why) => why.text(),
            };
            self.damage.push(format!("{name}, {why}"));
        }
        Ok(())
    }
}
