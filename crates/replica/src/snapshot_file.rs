//! Snapshot files: orders to write, receive, serve and load them, and the worker that obeys; it also
//! reads the log for peers that need old entries of it.
//! Never decides when: the replica does. Never holds more of a file than one chunk.
//!
//! # Source
//! Raft paper §7, Figure 13; dissertation §5.1, §5.4; docs/format.md, "Snapshots".

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{Config, Entries, Index, LogId, NodeId, Term};

use crate::arrival::Receiving;
use crate::entry::{Entry, SnapshotMeta};
use crate::inspect::SnapshotReport;
use crate::machine::StateMachine;
use crate::port::{Disk, DiskError, DiskErrorKind};
use crate::read_back::ReadBack;
use crate::recovery::OpenError;
use crate::scrub::Damage;
use crate::snapshot_record::{SnapshotWriter, Unloadable, Unsynced, load};

/// One order to the snapshot worker; carried out in the order given, apart from the log.
#[derive(Clone, Debug)]
pub enum FileOrder {
    /// Start writing an own snapshot (any unfinished one is dropped).
    Begin(SnapshotMeta),
    /// The next chunk of the own snapshot, as the state machine gave it. Answer:
    /// [`FileDone::Wrote`].
    Chunk(Bytes),
    /// The own snapshot is whole: make it durable, drop older ones. Answer: [`FileDone::Taken`].
    Finish,
    /// Bytes of a leader's snapshot file, from `offset`; offset 0 starts the file anew, any other
    /// offset must be where the file ends so far (else the order is ignored and answered with
    /// where it ends). Answer: [`FileDone::Received`], and once `offset + bytes` reaches
    /// `total_bytes`, the file is checked, made durable, its state machine loaded:
    /// [`FileDone::Loaded`] or [`FileDone::Refused`].
    Receive {
        /// What the snapshot covers.
        base: LogId,
        /// The file's whole size.
        total_bytes: u64,
        /// Where `bytes` go.
        offset: u64,
        /// A piece of the file.
        bytes: Bytes,
    },
    /// Read a piece of the newest own snapshot file for a follower. Answer: [`FileDone::Piece`].
    Read {
        /// For whom.
        to: NodeId,
        /// Which snapshot the follower has begun to receive; `None` to start with the newest.
        base: Option<LogId>,
        /// From where.
        offset: u64,
        /// How much at most.
        len: usize,
    },
    /// See that so many bytes of the disk are set aside for a snapshot that finds no other room. No
    /// own one is in the making any more. Answer: [`FileDone::Reserved`]; none while one is being
    /// received.
    Reserve {
        /// How many.
        bytes: u64,
    },
    /// Drop all snapshots but the newest. No answer.
    KeepNewest,
    /// Read entries of the log, which have left memory. Answer: [`FileDone::LogRead`].
    ReadLog {
        /// For whom.
        to: NodeId,
        /// Which.
        wanted: Entries,
    },
}

/// What the snapshot worker did.
#[derive(Debug)]
pub enum FileDone<M> {
    /// A chunk of the own snapshot is written, not yet durable: room for the next.
    Wrote,
    /// An own snapshot is durable.
    Taken(SnapshotMeta),
    /// A received snapshot has grown to `upto` bytes.
    Received {
        /// Which.
        base: LogId,
        /// Its size so far.
        upto: u64,
    },
    /// A received snapshot is whole, checked, durable, and loaded.
    Loaded {
        /// What it covers.
        meta: SnapshotMeta,
        /// The state machine in it.
        machine: M,
    },
    /// A received snapshot was not what it should be and has been dropped.
    Refused {
        /// Which.
        base: LogId,
        /// What was wrong with it.
        why: String,
    },
    /// A piece of an own snapshot, to be sent.
    Piece {
        /// To whom.
        to: NodeId,
        /// Of which snapshot; may be newer than the one asked for, then `offset` is 0.
        base: LogId,
        /// The file's whole size.
        total_bytes: u64,
        /// From where.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A file at rest was found damaged. What it held is in memory.
    Damaged(Damage),
    /// Entries of the log were read.
    LogRead {
        /// For whom.
        to: NodeId,
        /// The first of those that were wanted, or all; none if there is damage, or if they are in the log
        /// no more.
        entries: Vec<Entry>,
        /// What is in the way, if it is damage.
        damage: Option<Damage>,
    },
    /// Whether the reserve is there; if not, the disk is full.
    Reserved(bool),
    /// The disk was full, so what was being written or received is gone, and so is the reserve:
    /// there is room for another attempt.
    NoRoom,
}

/// The directory of snapshots.
pub const SNAPSHOT_DIR: &str = "snap";
/// How many whole snapshots are kept unless it is said: the newest, and one to fall back on.
const SNAPSHOTS_KEPT: usize = 2;
/// After how many bytes a file that grows is synced, unless it is said.
const SYNC_BYTES: u64 = 1 << 20;
/// The reserve. Its content is nothing, and recovery drops it like all that is unfinished.
const RESERVE_FILE: &str = "snap/reserve.tmp";

/// The worker: carries out orders about snapshot files, one after the other.
#[derive(Debug)]
pub struct SnapshotStore {
    pub(crate) cluster: u64,
    /// Whole and durable, oldest first, with their sizes.
    held: Vec<(LogId, u64)>,
    own: Option<SnapshotWriter>,
    /// The number of the next writing: that of this life, and one more for each.
    writing: u64,
    pub(crate) receiving: Option<Receiving>,
    /// What an earlier life was receiving, not looked at yet.
    pub(crate) left: Option<LogId>,
    /// What was being received when the reserve was ordered last.
    reserve_saw: Option<Receiving>,
    /// What was read for a follower since the last snapshot came to be.
    read: BTreeSet<LogId>,
    /// Whether the directory's own name is known to be durable.
    dir_durable: bool,
    kept: usize,
    sync_bytes: u64,
    log: ReadBack,
}

impl SnapshotStore {
    /// From now on the `kept` newest snapshots are kept, all of them if it is zero; 2 unless this is
    /// called.
    pub fn keep(&mut self, kept: usize) {
        self.kept = if kept == 0 { usize::MAX } else { kept };
    }

    /// From now on a file that grows is synced after every so many bytes; 1 MiB unless this is called.
    ///
    /// # Panics
    /// If it is zero.
    pub fn sync_every(&mut self, bytes: u64) {
        assert!(bytes > 0, "a sync for nothing");
        self.sync_bytes = bytes;
    }

    /// Carries out one order; `None` if it has no answer: a beginning, a piece wanted of a snapshot
    /// when there is none, or the rest of a snapshot whose beginning failed.
    ///
    /// # Errors
    /// The disk refused otherwise than for lack of room. The file being written or received is given
    /// up; those that are whole are untouched, and later orders are carried out.
    pub fn run<M: StateMachine>(
        &mut self,
        disk: &mut dyn Disk,
        order: FileOrder,
    ) -> Result<Option<FileDone<M>>, DiskError> {
        let result = self.carry_out(disk, order);
        let Err(error) = &result else {
            return result;
        };
        // After a failed write or sync nothing more is added to a file, let alone believed.
        self.own = None;
        self.receiving = None;
        if error.kind != DiskErrorKind::Full {
            return result;
        }
        // Mark: a snapshot finds no room.
        for name in disk.list(SNAPSHOT_DIR)? {
            if [".tmp", ".part"].iter().any(|end| name.ends_with(end)) {
                disk.remove(&format!("{SNAPSHOT_DIR}/{name}"))?;
            }
        }
        Ok(Some(FileDone::NoRoom))
    }

    fn carry_out<M: StateMachine>(
        &mut self,
        disk: &mut dyn Disk,
        order: FileOrder,
    ) -> Result<Option<FileDone<M>>, DiskError> {
        match order {
            FileOrder::Begin(meta) => {
                if let Some(own) = self.own.take() {
                    disk.remove(own.name())?;
                }
                let name = file_name(meta.base, "tmp");
                let (writing, unsynced) = (self.writing, Unsynced::new(self.sync_bytes));
                self.writing = writing.wrapping_add(1).max(1);
                let own =
                    SnapshotWriter::begin(disk, name, (self.cluster, writing), meta, unsynced)?;
                self.own = Some(own);
                Ok(None)
            }
            FileOrder::Chunk(chunk) => {
                if let Some(own) = &mut self.own {
                    own.chunk(disk, &chunk)?;
                }
                Ok(Some(FileDone::Wrote))
            }
            FileOrder::Finish => self.finish(disk),
            FileOrder::Receive {
                base,
                total_bytes,
                offset,
                bytes,
            } => {
                let piece = Receiving::new(base, total_bytes, offset, self.sync_bytes);
                self.receive(disk, piece, &bytes).map(Some)
            }
            FileOrder::Read {
                to,
                base,
                offset,
                len,
            } => self.piece(disk, to, (base, offset), len),
            FileOrder::Reserve { bytes } => self.reserve(disk, bytes),
            FileOrder::KeepNewest => self.keep_newest(disk).map(|()| None),
            FileOrder::ReadLog { to, wanted } => {
                let (entries, damage) = self.log.read(disk, to, &wanted);
                Ok(Some(FileDone::LogRead {
                    to,
                    entries,
                    damage,
                }))
            }
        }
    }

    /// Sets the reserve aside. What an older snapshot takes up is given for it: that is there for
    /// the case that the newest is damaged, and a full disk is worse.
    fn reserve<M>(
        &mut self,
        disk: &mut dyn Disk,
        bytes: u64,
    ) -> Result<Option<FileDone<M>>, DiskError> {
        if let Some(own) = self.own.take() {
            disk.remove(own.name())?;
        }
        if let Some(at) = self.receiving {
            if self.reserve_saw != Some(at) {
                self.reserve_saw = Some(at);
                return Ok(None);
            }
            // Mark: nobody sends the rest of a snapshot.
            self.receiving = None;
            disk.remove(&file_name(at.base, "part"))?;
        }
        loop {
            match disk.reserve(RESERVE_FILE, bytes) {
                Ok(()) => return Ok(Some(FileDone::Reserved(true))),
                Err(error) if error.kind == DiskErrorKind::Full => disk.remove(RESERVE_FILE)?,
                Err(error) => return Err(error),
            }
            if let Some(left) = self.left.take() {
                disk.remove(&file_name(left, "part"))?;
                continue;
            }
            if self.held.len() < 2 {
                return Ok(Some(FileDone::Reserved(false)));
            }
            let (oldest, _) = self.held.remove(0);
            disk.remove(&file_name(oldest, "snap"))?;
        }
    }

    fn finish<M>(&mut self, disk: &mut dyn Disk) -> Result<Option<FileDone<M>>, DiskError> {
        let Some(own) = self.own.take() else {
            return Ok(None);
        };
        let (name, meta, size) = own.finish(disk)?;
        self.adopt(disk, &name, meta.base, size)?;
        Ok(Some(FileDone::Taken(meta)))
    }

    /// Gives a whole and synced file its final name, durably, then drops what is too old.
    pub(crate) fn adopt(
        &mut self,
        disk: &mut dyn Disk,
        name: &str,
        base: LogId,
        size: u64,
    ) -> Result<(), DiskError> {
        disk.rename(name, &file_name(base, "snap"))?;
        // Under its name it is no attempt any more that could be given up.
        let fatal = |error| DiskError {
            kind: DiskErrorKind::Failed,
            ..error
        };
        disk.sync_dir(SNAPSHOT_DIR).map_err(fatal)?;
        if !self.dir_durable {
            disk.sync_dir("").map_err(fatal)?;
            self.dir_durable = true;
        }
        self.held.retain(|&(held, _)| held != base);
        self.held.push((base, size));
        self.held.sort_unstable();
        self.drop_overtaken(disk, base)?;
        // A follower that is sent an older one may finish; who has stopped asking for it has had a
        // whole generation's time.
        let read = core::mem::take(&mut self.read);
        let surplus = self.held.len().saturating_sub(self.kept);
        let (old, _) = self.held.split_at(surplus);
        for &(old, _) in old.iter().filter(|(old, _)| !read.contains(old)) {
            disk.remove(&file_name(old, "snap"))?;
        }
        let mut place = 0;
        self.held.retain(|(held, _)| {
            place += 1;
            place > surplus || read.contains(held)
        });
        Ok(())
    }

    fn keep_newest(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let surplus = self.held.len().saturating_sub(1);
        for (old, _) in self.held.drain(..surplus) {
            disk.remove(&file_name(old, "snap"))?;
        }
        Ok(())
    }

    fn piece<M>(
        &mut self,
        disk: &mut dyn Disk,
        to: NodeId,
        (wanted, offset): (Option<LogId>, u64),
        len: usize,
    ) -> Result<Option<FileDone<M>>, DiskError> {
        let begun = wanted.and_then(|base| self.held.iter().find(|held| held.0 == base));
        let offset = if begun.is_some() { offset } else { 0 };
        let Some(&(base, total_bytes)) = begun.or(self.held.last()) else {
            return Ok(None);
        };
        self.read.insert(base);
        let len = len.min(usize::try_from(total_bytes.saturating_sub(offset)).unwrap_or(len));
        let bytes = disk.read(&file_name(base, "snap"), offset, len)?;
        Ok(Some(FileDone::Piece {
            to,
            base,
            total_bytes,
            offset,
            bytes,
        }))
    }

    /// Whether a directory holds any snapshot.
    pub(crate) fn has_files(disk: &mut dyn Disk) -> Result<bool, DiskError> {
        let names = disk.list(SNAPSHOT_DIR)?;
        Ok(names.iter().any(|name| file_base(name, "snap").is_some()))
    }
}

/// The newest snapshot that is whole, loaded; and what recovery must still do about the others.
#[derive(Debug)]
pub(crate) struct Found<M> {
    pub(crate) meta: SnapshotMeta,
    machine: M,
    held: Vec<(LogId, u64)>,
    /// Newer ones that fail their checks, newest first: what, and why.
    damaged: Vec<(LogId, String)>,
    /// What was being received.
    parts: Vec<LogId>,
    /// What else crashes left, and what an earlier recovery set aside.
    unfinished: Vec<String>,
}

impl<M: StateMachine> Found<M> {
    /// Loads the newest whole snapshot; without one, the state before the first entry.
    pub(crate) fn newest(
        disk: &mut dyn Disk,
        cluster: u64,
        first_config: Config,
    ) -> Result<Self, OpenError> {
        let mut held = Vec::new();
        let (mut parts, mut unfinished) = (Vec::new(), Vec::new());
        for name in disk.list(SNAPSHOT_DIR)? {
            if let Some(base) = file_base(&name, "snap") {
                let size = disk.size(&file_name(base, "snap"))?.unwrap_or(0);
                held.push((base, size));
            } else if let Some(base) = file_base(&name, "part") {
                parts.push(base);
            } else if [".tmp", ".part", ".bad"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                unfinished.push(format!("{SNAPSHOT_DIR}/{name}"));
            }
        }
        held.sort_unstable();
        let mut found = Self {
            meta: SnapshotMeta {
                base: LogId::default(),
                config: first_config,
            },
            machine: M::default(),
            held,
            damaged: Vec::new(),
            parts,
            unfinished,
        };
        while let Some(&(base, _)) = found.held.last() {
            let name = file_name(base, "snap");
            let why = match load::<M>(disk, &name, cluster) {
                Ok((meta, machine)) if meta.base == base => {
                    (found.meta, found.machine) = (meta, machine);
                    break;
                }
                Ok((meta, _)) => format!("it covers {} under another's name", meta.base),
                Err(Unloadable::Disk(error)) => return Err(error.into()),
                Err(Unloadable::Newer(version)) => return Err(OpenError::newer(&name, version)),
                Err(Unloadable::Foreign(text)) => {
                    return Err(OpenError::Foreign(format!("{name}: {text}")));
                }
                Err(why) => why.text(),
            };
            found.damaged.push((base, format!("{name}, {why}")));
            found.held.pop();
        }
        Ok(found)
    }

    /// What the newest of those that fail their checks covers, by its name.
    pub(crate) fn newest_bad(&self) -> Option<LogId> {
        self.damaged.first().map(|&(base, _)| base)
    }

    /// Why there is no better snapshot, for an error's text.
    pub(crate) fn shortfall(&self) -> String {
        let mut text = format!("the newest whole snapshot covers {}", self.meta.base);
        for (_, what) in &self.damaged {
            text.push_str("; ");
            text.push_str(what);
        }
        text
    }

    /// What is damaged, where it is not the newest whole snapshot: what to tell the operator.
    pub(crate) fn mended(&self) -> Vec<String> {
        self.damaged.iter().map(|(_, what)| what.clone()).collect()
    }

    /// Clears away what is unfinished, sets aside what is damaged, and starts the worker.
    pub(crate) fn settle(
        mut self,
        disk: &mut dyn Disk,
        (cluster, life): (u64, u64),
    ) -> Result<(SnapshotMeta, M, SnapshotStore), DiskError> {
        for name in &self.unfinished {
            disk.remove(name)?;
        }
        // Mark: a snapshot was being received.
        // The leader goes on with the newest, if with any.
        self.parts.sort_unstable_by_key(|base| base.index);
        let left = self.parts.pop_if(|base| base.index > self.meta.base.index);
        for &base in &self.parts {
            disk.remove(&file_name(base, "part"))?;
        }
        for (base, _) in &self.damaged {
            disk.rename(&file_name(*base, "snap"), &file_name(*base, "bad"))?;
        }
        if !self.held.is_empty() || !self.damaged.is_empty() {
            disk.sync_dir(SNAPSHOT_DIR)?;
        }
        let store = SnapshotStore {
            cluster,
            held: self.held,
            own: None,
            writing: life.max(1),
            receiving: None,
            left,
            reserve_saw: None,
            read: BTreeSet::new(),
            dir_durable: false,
            kept: SNAPSHOTS_KEPT,
            sync_bytes: SYNC_BYTES,
            log: ReadBack::default(),
        };
        Ok((self.meta, self.machine, store))
    }
}

/// Every snapshot that has its name, whole or not, oldest first.
pub(crate) fn snapshots_of<M: StateMachine>(
    disk: &mut dyn Disk,
    cluster: u64,
) -> Result<Vec<SnapshotReport>, DiskError> {
    let mut all = Vec::new();
    for covers in disk
        .list(SNAPSHOT_DIR)?
        .iter()
        .filter_map(|name| file_base(name, "snap"))
    {
        let name = file_name(covers, "snap");
        all.push(SnapshotReport {
            bytes: disk.size(&name)?.unwrap_or(0),
            covers,
            damage: match load::<M>(disk, &name, cluster) {
                Ok((meta, _)) if meta.base == covers => None,
                Ok((meta, _)) => Some(format!("it covers {} under another's name", meta.base)),
                Err(Unloadable::Disk(error)) => return Err(error),
                Err(why) => Some(why.text()),
            },
            name,
        });
    }
    all.sort_unstable_by_key(|snapshot| snapshot.covers);
    Ok(all)
}

/// The names in the directory of all snapshots that have theirs.
pub(crate) fn snapshot_names(disk: &mut dyn Disk) -> Result<Vec<String>, DiskError> {
    let names = disk.list(SNAPSHOT_DIR)?;
    let bases = names.iter().filter_map(|name| file_base(name, "snap"));
    Ok(bases.map(|base| file_name(base, "snap")).collect())
}

pub(crate) fn file_name(base: LogId, kind: &str) -> String {
    format!(
        "{SNAPSHOT_DIR}/{:016x}-{:016x}.{kind}",
        base.term.0, base.index.0
    )
}

/// What a name in the directory says it covers, if it is of that kind.
fn file_base(name: &str, kind: &str) -> Option<LogId> {
    let stem = name.strip_suffix(kind)?.strip_suffix('.')?;
    let (term, index) = stem.split_once('-')?;
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    let base = LogId::new(Term(number(term)?), Index(number(index)?));
    (file_name(base, kind).strip_prefix("snap/") == Some(name)).then_some(base)
}

/// What a snapshot's name in the directory says it covers.
pub(crate) fn covered_by(name: &str) -> Option<LogId> {
    file_base(name.strip_prefix(SNAPSHOT_DIR)?.strip_prefix('/')?, "snap")
}
