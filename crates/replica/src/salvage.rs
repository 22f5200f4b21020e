//! From what a lost cluster has left behind to the first directory of a new one.
//! Never changes a directory that it reads, and never leaves out an entry in the middle.
//!
//! No two entries of a cluster share a name (term and index), so what one directory cannot give back is
//! taken from another that has it: together they hold one log, and of that the longest beginning that can
//! be read is kept. Which log that is, the highest name tells that any of them knows: its leader had all
//! that was committed before. Where a change of terms is lost, so that this name does not lead back to what
//! can be read, the highest of the names before that is believed in its turn, and said to be a guess.
//!
//! All entries count, committed or not: a client may have been told of any of them by a leader that
//! is gone. The new directory holds them as a snapshot, so that nothing in it speaks of the members
//! that are lost. Its terms and indices go on where the old ones ended.
//!
//! # Source
//! docs/format.md, "Salvage"; Raft paper, Figure 3 (Log Matching, Leader Completeness) and §5.4.1;
//! dissertation §4 (a cluster whose majority is gone cannot be saved by the algorithm, only by an operator
//! who gives up what may be missing).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use headwater_raft::{Config, HardState, Index, LogId, Term};

use crate::config_record::decode_change;
use crate::entry::{Entry, EntryKind, LogOrder, SnapshotMeta};
use crate::machine::StateMachine;
use crate::port::{Disk, DiskError, DiskErrorKind};
use crate::recovery::{Expect, OpenError, identity_of, open};
use crate::remains::{Known, Remains};
use crate::snapshot_file::{FileDone, FileOrder, SNAPSHOT_DIR, file_name};
use crate::snapshot_record::{Unloadable, load};
use crate::wal::WalOptions;

/// Bytes of state per chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// What several directories of one cluster hold together.
#[derive(Debug)]
pub struct Found {
    /// The last entry that can be kept: from a snapshot on, all up to it can be read.
    pub kept: LogId,
    /// The last entry of the same log that is known by name.
    pub known_to: LogId,
    /// Entries behind `kept` that can be read, in ranges: of no use without those before them.
    pub readable_behind: Vec<(Index, Index)>,
    /// An index that was committed for certain; more may be.
    pub committed: Index,
    /// Whether `kept` is certain to lead to `known_to`; if not, names between them are lost.
    pub is_certain: bool,
    /// The members as of `kept`, if that is known.
    pub config: Option<Config>,
    /// The snapshot that is kept: which of the directories has it, and what it covers.
    pub snapshot: Option<(usize, LogId)>,
    /// The entries behind the snapshot up to `kept`.
    entries: Vec<Entry>,
    term: Term,
}

/// A state to begin a new cluster with.
#[derive(Debug)]
pub struct Salvaged<M> {
    /// The last entry in it.
    pub last: LogId,
    /// Term and vote.
    pub hard: HardState,
    /// The state machine after the last entry.
    pub machine: M,
}

impl Found {
    /// Puts together what these hold; `None` if there are none of them.
    pub fn in_all<'a>(remains: impl IntoIterator<Item = &'a Remains>) -> Option<Self> {
        let remains: Vec<&Remains> = remains.into_iter().collect();
        Pool::of(&remains).found(&remains)
    }

    /// The state after the last entry that can be kept. `disk`: that of the directory which has the
    /// snapshot; any, if none does.
    ///
    /// # Errors
    /// The snapshot is not what it was, or the disk refused.
    pub fn salvage<M: StateMachine>(
        &self,
        disk: &mut dyn Disk,
        cluster: u64,
    ) -> Result<Salvaged<M>, OpenError> {
        let mut machine = M::default();
        if let Some((_, base)) = self.snapshot {
            let name = file_name(base, "snap");
            let loaded = load(disk, &name, cluster).map_err(|why| match why {
                Unloadable::Disk(error) => OpenError::Disk(error),
                why => OpenError::Damaged(format!("{name}, {}", why.text())),
            })?;
            (_, machine) = loaded;
        }
        for entry in &self.entries {
            if let Some(command) = entry.command() {
                machine.apply(entry.id, &command);
            }
        }
        let hard = HardState {
            term: self.term,
            voted_for: None,
        };
        Ok(Salvaged {
            last: self.kept,
            hard,
            machine,
        })
    }
}

/// All names that the directories know.
struct Pool<'a> {
    known: BTreeMap<LogId, Name<'a>>,
    /// Where a log can begin: what whole snapshots cover, and the beginning.
    roots: BTreeMap<LogId, Option<(usize, &'a SnapshotMeta)>>,
    /// The committed entries that are known by name.
    committed: BTreeMap<Index, LogId>,
}

/// What all of them together say of one entry.
#[derive(Default)]
struct Name<'a> {
    before: Option<LogId>,
    run_first: Index,
    entry: Option<&'a Entry>,
    /// All that knew it have cut it off.
    is_cut: bool,
    /// What is committed contradicts it.
    is_void: bool,
    /// It, and all before it from a root on, can be read.
    is_whole: bool,
}

impl<'a> Pool<'a> {
    fn of(remains: &[&'a Remains]) -> Self {
        let mut pool = Self {
            known: BTreeMap::new(),
            roots: BTreeMap::from([(LogId::default(), None)]),
            committed: BTreeMap::new(),
        };
        for (at, one) in remains.iter().enumerate() {
            for (id, known) in &one.known {
                pool.add(*id, known);
            }
            for meta in &one.snapshots {
                pool.roots.insert(meta.base, Some((at, meta)));
            }
        }
        for one in remains {
            for covered in &one.covered {
                pool.commit(*covered);
            }
            let (tip, commit) = one.committed;
            let mut at = Some(tip);
            while let Some(id) = at.filter(|id| id.index > commit) {
                at = pool.step(id);
            }
            if let Some(id) = at.filter(|id| id.index == commit) {
                pool.commit(id);
            }
        }
        pool.judge();
        pool
    }

    fn add(&mut self, id: LogId, known: &'a Known) {
        let name = self.known.entry(id).or_insert_with(|| Name {
            run_first: known.run_first,
            is_cut: true,
            ..Name::default()
        });
        name.before = name.before.or(known.before);
        name.run_first = name.run_first.min(known.run_first);
        name.entry = name.entry.or(known.entry.as_ref());
        name.is_cut &= known.is_cut;
    }

    /// An entry before another that is certain to be in the same log: the last such that is known.
    fn step(&self, id: LogId) -> Option<LogId> {
        let before = self.known.get(&id).and_then(|name| name.before);
        let of_term = LogId::new(id.term, Index(0))..id;
        let mut of_term = self.known.range(of_term).rev();
        before.or_else(|| of_term.next().map(|(&id, _)| id))
    }

    /// This is committed, and so is all before it.
    fn commit(&mut self, id: LogId) {
        let mut at = Some(id);
        while let Some(id) = at.filter(|id| !self.committed.contains_key(&id.index)) {
            self.committed.insert(id.index, id);
            at = self.step(id);
        }
    }

    /// Which names can be of use.
    fn judge(&mut self) {
        let ids: Vec<LogId> = self.known.keys().copied().collect();
        for id in ids {
            let before = self.known[&id].before;
            let other = self.committed.get(&id.index).is_some_and(|&it| it != id);
            let behind = before.and_then(|before| self.known.get(&before));
            let is_void = other || behind.is_some_and(|before| before.is_void);
            let begins = before.is_some_and(|before| self.roots.contains_key(&before));
            let goes_on = begins || behind.is_some_and(|before| before.is_whole);
            let is_root = self.roots.contains_key(&id);
            if let Some(name) = self.known.get_mut(&id) {
                name.is_void = is_void;
                name.is_whole = !is_void && (is_root || (goes_on && name.entry.is_some()));
            }
        }
    }

    /// The highest name of use that `may_be` the one.
    fn highest(&self, may_be: impl Fn(&LogId) -> bool) -> LogId {
        let names = self.known.iter().rev();
        let mut names = names.filter(|(id, name)| !name.is_void && !name.is_cut && may_be(id));
        names.next().map_or(LogId::default(), |(&id, _)| id)
    }

    fn is_whole(&self, id: LogId) -> bool {
        self.known.get(&id).is_some_and(|name| name.is_whole) || self.roots.contains_key(&id)
    }

    fn found(&self, remains: &[&Remains]) -> Option<Found> {
        let known_to = self.highest(|_| true);
        let (mut at, mut is_certain) = (known_to, true);
        let mut readable_behind: Vec<(Index, Index)> = Vec::new();
        while !self.is_whole(at) {
            let name = self.known.get(&at);
            if name.is_some_and(|name| name.entry.is_some()) {
                match readable_behind.last_mut() {
                    Some((first, _)) if *first == at.index.next() => *first = at.index,
                    _ => readable_behind.push((at.index, at.index)),
                }
            }
            at = self.step(at).unwrap_or_else(|| {
                let run_first = name.map_or(at.index, |name| name.run_first);
                let next = self.highest(|id| id.term < at.term && id.index < run_first);
                is_certain &= self.committed.get(&next.index) == Some(&next);
                next
            });
        }
        readable_behind.reverse();
        let kept = at;
        let mut entries = Vec::new();
        while !matches!(self.roots.get(&at), Some(Some(_))) && at != LogId::default() {
            let name = self.known.get(&at)?;
            entries.push(name.entry?.clone());
            at = name.before?;
        }
        entries.reverse();
        let snapshot = self.roots.get(&at).copied().flatten();
        let is_config = |entry: &&Entry| entry.kind == EntryKind::Config;
        let mut configs = entries.iter().rev().filter(is_config);
        let newest = configs.find_map(|entry| Some(decode_change(&entry.body).ok()?.0));
        let first = || remains.iter().find_map(|one| one.first_config.clone());
        let before = snapshot.map(|(_, meta)| meta.config.clone());
        let (committed, _) = self.committed.last_key_value().unzip();
        Some(Found {
            kept,
            known_to,
            readable_behind,
            committed: committed.copied().unwrap_or(Index(0)),
            is_certain,
            config: newest.or(before).or_else(first),
            snapshot: snapshot.map(|(at, meta)| (at, meta.base)),
            entries,
            term: remains.iter().map(|one| one.term).max()?.max(kept.term),
        })
    }
}

/// Makes the first directory of a new cluster from what was salvaged; `disk` must be empty, and is
/// worthless until this has succeeded. `expect` names the new cluster and node, and with
/// `first_config` who votes in it.
///
/// # Errors
/// The disk is not empty, or refused.
pub fn found_anew<M: StateMachine>(
    disk: &mut dyn Disk,
    options: &WalOptions,
    expect: Expect,
    salvaged: Salvaged<M>,
) -> Result<(), OpenError> {
    if identity_of(disk)?.is_some() {
        let why = "the directory for what was salvaged is in use already";
        return Err(OpenError::Occupied(why.into()));
    }
    let Salvaged {
        last: base,
        hard,
        mut machine,
        ..
    } = salvaged;
    let config = expect.first_config.clone();
    let (recovered, mut wal, mut snapshots) = open::<M>(disk, options, expect)?;
    let mut walk = machine.begin_snapshot();
    let meta = SnapshotMeta { base, config };
    snapshots.run::<M>(disk, FileOrder::Begin(meta))?;
    while let Some(chunk) = machine.next_chunk(&mut walk, CHUNK_BYTES) {
        snapshots.run::<M>(disk, FileOrder::Chunk(chunk))?;
    }
    let done = snapshots.run::<M>(disk, FileOrder::Finish)?;
    if !matches!(done, Some(FileDone::Taken(_))) {
        // The worker gives up what finds no room.
        let (what, kind) = (
            format!("no room for a snapshot in {SNAPSHOT_DIR}"),
            DiskErrorKind::Full,
        );
        return Err(DiskError { what, kind }.into());
    }
    // Last: a log that begins after a snapshot that is not there would be damage.
    let hard = HardState {
        term: hard.term.max(base.term),
        voted_for: None,
    };
    let id = recovered.next_write;
    wal.run_now(disk, &[LogOrder::Reset { id, base, hard }])?;
    Ok(())
}
