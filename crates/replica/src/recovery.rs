//! From a data directory to a node: identity, newest whole snapshot, log.
//! Never guesses: what is neither whole nor torn is an error that names the place.
//!
//! Judging comes first and changes nothing; mending comes after, in steps of which each may be
//! the last before a power cut.
//!
//! # Source
//! Raft paper §7; docs/format.md, "Recovery".

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use headwater_raft::{Config, HardState, Index, LogId, NodeId, Unreadable, WriteId};

use crate::entry::{Entry, Identity, LogOrder, life};
use crate::identity::{
    IDENTITY_FILE, IDENTITY_TEMPORARY, decode_identity, is_damaged, read_identity, write_identity,
};
use crate::machine::StateMachine;
use crate::port::{Disk, DiskError};
use crate::record::HeadError;
use crate::replay::Replay;
use crate::segments::{Segments, is_unused};
use crate::snapshot_file::{Found, SNAPSHOT_DIR, SnapshotStore};
use crate::wal::{WAL_DIR, Wal, WalOptions, format_log, segment_seq};

/// The file by whose lock the world keeps a directory to one process.
pub const LOCK_FILE: &str = "lock";

/// A node as its disk remembers it.
#[derive(Debug)]
pub struct Recovered<M> {
    /// Whose directory it is.
    pub identity: Identity,
    /// Term and vote.
    pub hard: HardState,
    /// The last entry that the newest snapshot covers; zero without a snapshot.
    pub base: LogId,
    /// The configuration as of `base`.
    pub config: Config,
    /// The state machine as of `base`.
    pub machine: M,
    /// The entry just before the first of `entries`; at or before `base`.
    pub log_base: LogId,
    /// The log after `log_base`, contiguous; it may start before `base` and always reaches it.
    pub entries: Vec<Entry>,
    /// A commit index that was true once; never more than a hint.
    pub commit: Index,
    /// What of `entries` cannot be read: in order, all after `base`.
    pub unreadable: Vec<Unreadable>,
    /// The last write that the log held; before `next_write` there is one more if the log was void
    /// and opening has begun it anew.
    pub found_write: WriteId,
    /// The next write's place in the queue.
    pub next_write: WriteId,
    /// Bytes of an unfinished, never acknowledged write that were dropped.
    pub torn_bytes: u64,
    /// What was damaged and could be done without, for the operator; empty on a good day.
    pub mended: Vec<String>,
}

impl<M: Default> Recovered<M> {
    /// A node that remembers nothing but who it is and whom it began with.
    pub fn blank(identity: Identity, config: Config) -> Self {
        Self {
            identity,
            hard: HardState::default(),
            base: LogId::default(),
            config,
            machine: M::default(),
            log_base: LogId::default(),
            entries: Vec::new(),
            commit: Index(0),
            unreadable: Vec::new(),
            found_write: WriteId(0),
            next_write: WriteId(1),
            torn_bytes: 0,
            mended: Vec::new(),
        }
    }
}

/// Who the caller takes the directory to belong to.
#[derive(Clone, Debug)]
pub struct Expect {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: NodeId,
    /// Drawn at random for every opening, not only the first: an empty directory is given it as
    /// its incarnation, and the frames written after this opening bear a part of it.
    pub fresh_incarnation: u128,
    /// The configuration that an empty directory begins with; one in use keeps its own.
    pub first_config: Config,
}

/// Why a directory was not opened; nothing in it was changed, unless the disk itself failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It belongs to another cluster, node or life: the text names both.
    Foreign(String),
    /// What was once durable is not whole: the text names the file, the place, and what is
    /// concerned.
    Damaged(String),
    /// A later version wrote it: start that version.
    NewerFormat(String),
    /// It is nobody's, and holds what no Headwater wrote: the text names it. Choose another.
    Occupied(String),
    /// The disk refused.
    Disk(DiskError),
}

impl OpenError {
    /// What is wrong, without advice.
    pub fn what(&self) -> String {
        match self {
            Self::Foreign(text) => format!("not this node's data: {text}"),
            Self::Damaged(text) => format!("damaged: {text}"),
            Self::NewerFormat(text) | Self::Occupied(text) => text.clone(),
            Self::Disk(error) => format!("disk: {error}"),
        }
    }

    pub(crate) fn damaged(file: &str, offset: u64, what: &str) -> Self {
        Self::Damaged(format!("{file}, byte {offset}: {what}"))
    }

    pub(crate) fn newer(file: &str, version: u32) -> Self {
        Self::NewerFormat(format!(
            "{file} has format version {version}, newer than this program knows; start the \
             program that wrote it"
        ))
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.what())?;
        match self {
            Self::Damaged(_) => f.write_str(
                ". Nothing was changed. If other members hold the data, remove this member, empty \
                 its directory, and add it again as a new one; if not, restore the directory from a \
                 backup, or see what can be kept of it: headwater disk recover",
            ),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for OpenError {}

/// Opens a data directory; formats it if it is empty.
///
/// Everything in the result is durable, so the core may build on it and acknowledge it.
///
/// # Errors
/// The directory is another's, damaged, of a later version, or the disk refused.
pub fn open<M: StateMachine>(
    disk: &mut dyn Disk,
    options: &WalOptions,
    expect: Expect,
) -> Result<(Recovered<M>, Wal, SnapshotStore), OpenError> {
    let life = life(expect.fresh_incarnation);
    let (identity, first_config) = identify(disk, options, expect)?;

    let Judged {
        segments,
        replay,
        found,
    } = Judged::<M>::of(disk, &identity, first_config.clone())?;

    replay.mend(disk, &segments.log, life)?;
    for name in &segments.leftovers {
        // Mark: a leftover is removed.
        disk.remove(name)?;
    }
    disk.remove(IDENTITY_TEMPORARY)?;
    disk.sync_dir("")?;
    let position = replay.position(&segments.log);
    let mut wal = Wal::resume(options.clone(), identity, life, position);
    let mut mended = mended(&segments, &replay, &found);
    if let Some(what) = damaged_identity(disk, &identity, &first_config)? {
        // Mark: a damaged copy of the identity is written again.
        write_identity(disk, &identity, &first_config)?;
        mended.push(what);
    }
    let (meta, machine, store) = found.settle(disk, (identity.cluster, life))?;

    let mut recovered = Recovered {
        identity,
        hard: replay.hard,
        base: meta.base,
        config: meta.config,
        machine,
        log_base: replay.base,
        commit: replay.commit.max(meta.base.index),
        found_write: replay.last_write,
        next_write: replay.last_write.next(),
        torn_bytes: replay.torn_bytes,
        mended,
        unreadable: Vec::new(),
        entries: Vec::new(),
    };
    if replay.id_at(meta.base.index) == Some(meta.base) {
        // Mark: a log is whole behind its snapshot.
        recovered.unreadable = replay.gaps(meta.base.index);
        (recovered.log_base, recovered.entries) = replay.readable_before(meta.base.index);
    } else {
        // Mark: a snapshot is ahead of its log.
        void_log(disk, &mut wal, &mut recovered)?;
    }
    Ok((recovered, wal, store))
}

/// A data directory that was looked at as a whole and found good enough to go on with.
pub(crate) struct Judged<M> {
    pub(crate) segments: Segments,
    pub(crate) replay: Replay,
    pub(crate) found: Found<M>,
}

impl<M: StateMachine> Judged<M> {
    /// Judges everything and changes nothing.
    pub(crate) fn of(
        disk: &mut dyn Disk,
        identity: &Identity,
        first_config: Config,
    ) -> Result<Self, OpenError> {
        let mut segments = Segments::find(disk, identity)?;
        if segments.log.is_empty() {
            let why = "the directory has an identity but no log";
            return Err(OpenError::damaged(WAL_DIR, 0, why));
        }
        let replay = Replay::run(disk, &mut segments)?;
        let found = Found::<M>::newest(disk, identity.cluster, first_config)?;
        if replay.base.index > found.meta.base.index {
            if let Some(why) = segments.amiss {
                return Err(why);
            }
            let why = format!(
                "the log begins after entry {}, and {}",
                replay.base,
                found.shortfall()
            );
            // Mark: the snapshot that the log begins after is not there.
            return Err(OpenError::damaged(WAL_DIR, 0, &why));
        }
        // It had its name, so it was durable, and what it covers may have been in it alone.
        if let Some(bad) = found.newest_bad()
            && replay.id_at(bad.index) != Some(bad)
        {
            let why = format!("the log lacks entry {bad}, and {}", found.shortfall());
            // Mark: a snapshot that was ahead of its log is damaged.
            return Err(OpenError::damaged(WAL_DIR, 0, &why));
        }
        if !replay.gaps(found.meta.base.index).is_empty()
            && replay.is_alone(identity.node, &found.meta.config)
        {
            // Mark: what cannot be read is nowhere else.
            let lost: Vec<String> = replay.passed(found.meta.base.index).collect();
            let lost = lost.join("; ");
            let why = format!("{lost}; there is no other member to fetch them from");
            return Err(OpenError::Damaged(why));
        }
        Ok(Self {
            segments,
            replay,
            found,
        })
    }
}

/// What is damaged and can be done without.
pub(crate) fn mended<M: StateMachine>(
    segments: &Segments,
    replay: &Replay,
    found: &Found<M>,
) -> Vec<String> {
    let mut mended = found.mended();
    if let Some(OpenError::Damaged(what)) = &segments.amiss {
        // Mark: what a snapshot covers is damaged in the log.
        mended.push(format!("{what}; a snapshot covers it"));
    }
    for segment in &segments.log {
        if let Some((at, _)) = &segment.damaged_copy {
            let name = &segment.name;
            mended.push(format!(
                "{name}, byte {at}: a copy of the segment's head is damaged; the other is whole"
            ));
        }
    }
    mended.extend(replay.passed(found.meta.base.index));
    mended
}

/// The snapshot is ahead of the log or contradicts it: a crash came between loading a received
/// snapshot and resetting the log, or before entries that an own snapshot covers were written. So
/// the reset is done now.
fn void_log<M>(
    disk: &mut dyn Disk,
    wal: &mut Wal,
    recovered: &mut Recovered<M>,
) -> Result<(), DiskError> {
    let reset = LogOrder::Reset {
        id: recovered.next_write,
        base: recovered.base,
        hard: recovered.hard,
    };
    wal.run_now(disk, &[reset])?;
    recovered.next_write = recovered.next_write.next();
    recovered.log_base = recovered.base;
    Ok(())
}

/// Whose directory it is; an empty one becomes the expected node's.
fn identify(
    disk: &mut dyn Disk,
    options: &WalOptions,
    expect: Expect,
) -> Result<(Identity, Config), OpenError> {
    let wanted = Identity {
        cluster: expect.cluster,
        node: expect.node,
        incarnation: expect.fresh_incarnation,
    };
    match identity_of(disk)? {
        Some((found, first_config)) => {
            if (found.cluster, found.node) != (wanted.cluster, wanted.node) {
                return Err(OpenError::Foreign(format!(
                    "the directory belongs to node {:x} of cluster {:x}, this is node {:x} of \
                     cluster {:x}",
                    found.node.0, found.cluster, wanted.node.0, wanted.cluster
                )));
            }
            Ok((found, first_config))
        }
        None => {
            // Mark: a directory is formatted.
            format_log(disk, options, wanted)?;
            // An identity without a log is damage, so the log's directory must outlive a power
            // cut before the identity can.
            disk.sync_dir("")?;
            write_identity(disk, &wanted, &expect.first_config)?;
            Ok((wanted, expect.first_config))
        }
    }
}

/// What is to be said of the identity's file, if one of its copies is damaged.
pub(crate) fn damaged_identity(
    disk: &mut dyn Disk,
    identity: &Identity,
    first_config: &Config,
) -> Result<Option<String>, DiskError> {
    let bytes = read_identity(disk)?;
    let is_bad = bytes.is_some_and(|bytes| is_damaged(&bytes, identity, first_config));
    Ok(is_bad.then(|| format!("{IDENTITY_FILE}: one of its two copies is damaged")))
}

/// Whose a directory is, and the configuration it began with; `None` if it may be formatted.
pub(crate) fn identity_of(disk: &mut dyn Disk) -> Result<Option<(Identity, Config)>, OpenError> {
    let Some(bytes) = read_identity(disk)? else {
        return check_formattable(disk).map(|()| None);
    };
    match decode_identity(&bytes) {
        Ok(found) => Ok(Some(found)),
        Err(HeadError::Newer(version)) => Err(OpenError::newer(IDENTITY_FILE, version)),
        Err(HeadError::Malformed(why)) => Err(OpenError::damaged(IDENTITY_FILE, 0, &why.0)),
    }
}

/// Whether a directory may be opened or formatted as far as its names tell, for a world that would
/// rather know before it puts its own lock file there. Changes nothing.
///
/// # Errors
/// The directory is damaged or occupied, or the disk refused.
pub fn check_names(disk: &mut dyn Disk) -> Result<(), OpenError> {
    match disk.size(IDENTITY_FILE)? {
        Some(_) => Ok(()),
        None => check_formattable(disk),
    }
}

/// Whether a directory without an identity is empty, or holds no more than an unfinished
/// formatting leaves.
fn check_formattable(disk: &mut dyn Disk) -> Result<(), OpenError> {
    // First, because etcd names its snapshots as we do.
    for (dir, name) in [("member", "wal"), ("member", "snap"), (SNAPSHOT_DIR, "db")] {
        if disk.list(dir)?.iter().any(|found| found == name) {
            return Err(OpenError::Occupied(format!(
                "it holds etcd's data ({dir}/{name}), which Headwater cannot serve; headwater \
                 import takes them over into another directory"
            )));
        }
    }
    // The identity is the last thing that formatting makes, so a used log or a snapshot without
    // one is a loss, never an empty directory.
    if !is_unused(disk)? || SnapshotStore::has_files(disk)? {
        let why = "missing, though there is a log or a snapshot";
        return Err(OpenError::damaged(IDENTITY_FILE, 0, why));
    }
    match stranger(disk)? {
        Some(name) => Err(OpenError::Occupied(format!(
            "it is not empty: it holds {name}, which is none of Headwater's files"
        ))),
        None => Ok(()),
    }
}

/// A name that neither an unfinished formatting nor the file system leaves.
fn stranger(disk: &mut dyn Disk) -> Result<Option<String>, DiskError> {
    let ours = [
        IDENTITY_TEMPORARY,
        LOCK_FILE,
        WAL_DIR,
        SNAPSHOT_DIR,
        "lost+found",
    ];
    for dir in ["", WAL_DIR, SNAPSHOT_DIR] {
        let is_ours = |name: &str| match dir {
            "" => ours.contains(&name),
            WAL_DIR => name.ends_with(".tmp") || segment_seq(name).is_some(),
            _ => false,
        };
        if let Some(name) = disk.list(dir)?.into_iter().find(|name| !is_ours(name)) {
            let slash = if dir.is_empty() { "" } else { "/" };
            return Ok(Some(format!("{dir}{slash}{name}")));
        }
    }
    Ok(None)
}
