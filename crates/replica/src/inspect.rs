//! What a data directory holds, told to people and their tools.
//! Never changes anything, and never judges otherwise than recovery does.
//!
//! # Source
//! docs/format.md, "Recovery".

use alloc::string::String;
use alloc::vec::Vec;
use headwater_raft::{Config, HardState, Index, LogId, WriteId};

use crate::config_record::decode_change;
use crate::entry::{Entry, EntryKind, Identity};
use crate::machine::StateMachine;
use crate::port::Disk;
use crate::recovery::{Judged, OpenError, damaged_identity, identity_of, mended};
use crate::segments::segments_of;
use crate::snapshot_file::snapshots_of;

/// A data directory as it is.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose it is.
    pub identity: Identity,
    /// The files of the log, oldest first.
    pub segments: Vec<SegmentReport>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// What a node would begin with, or why it would not.
    pub log: Result<LogReport, OpenError>,
}

/// One file of the log.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What its head says, or what is wrong with that: the entry that it begins after, and its
    /// first write.
    pub begins: Result<(LogId, WriteId), String>,
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotReport {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The last entry that it covers, as its name says.
    pub covers: LogId,
    /// What is wrong with it, if anything is.
    pub damage: Option<String>,
}

/// Log and snapshot together, as recovery would find them.
#[derive(Clone, Debug)]
pub struct LogReport {
    /// Term and vote.
    pub hard: HardState,
    /// The last entry that the snapshot covers from which a node would begin.
    pub base: LogId,
    /// The entry just before the first one held.
    pub begins_after: LogId,
    /// The last entry.
    pub last: LogId,
    /// How many entries are held, and the bytes of their commands.
    pub entries: (u64, u64),
    /// How many of these cannot be read.
    pub unreadable: u64,
    /// The last entry before the first of those; the last one of all if there are none.
    pub readable_to: LogId,
    /// A commit index that was true once; more may be committed.
    pub commit: Index,
    /// The members as of the last entry.
    pub config: Config,
    /// The last write.
    pub last_write: WriteId,
    /// Bytes of an unfinished, never acknowledged write, which the next start drops.
    pub torn_bytes: u64,
    /// What is damaged and can be done without.
    pub mended: Vec<String>,
}

/// Looks at a data directory with the state machine that was kept in it; `None` if it is empty, or
/// was never used. Reads all of it.
///
/// # Errors
/// It has no identity that can be read, although it was used; or it is somebody else's; or the disk
/// refused.
pub fn inspect<M: StateMachine>(disk: &mut dyn Disk) -> Result<Option<Report>, OpenError> {
    let Some((identity, first_config)) = identity_of(disk)? else {
        return Ok(None);
    };
    let segments = segments_of(disk, &identity)?;
    let snapshots = snapshots_of::<M>(disk, identity.cluster)?;
    let log = match Judged::<M>::of(disk, &identity, first_config.clone()) {
        Ok(judged) => {
            let mut report = log_report(&judged);
            let identity_file = damaged_identity(disk, &identity, &first_config)?;
            report.mended.extend(identity_file);
            Ok(report)
        }
        Err(OpenError::Disk(error)) => return Err(error.into()),
        Err(why) => Err(why),
    };
    Ok(Some(Report {
        identity,
        segments,
        snapshots,
        log,
    }))
}

fn log_report<M: StateMachine>(judged: &Judged<M>) -> LogReport {
    let (replay, meta) = (&judged.replay, &judged.found.meta);
    let is_behind = replay.id_at(meta.base.index) != Some(meta.base);
    let log_base = replay.log_base(meta.base.index);
    let left_out = (log_base.index.0 - replay.base.index.0) as usize;
    let (begins_after, entries) = match is_behind {
        true => (meta.base, &[][..]),
        false => (log_base, &replay.entries[left_out..]),
    };
    let is_readable = |entry: &&Entry| entry.kind != EntryKind::Unreadable;
    let unreadable = entries.iter().filter(|entry| !is_readable(entry));
    let readable = entries.iter().take_while(is_readable);
    let bytes = entries.iter().map(|entry| entry.body.len() as u64);
    let configs = entries
        .iter()
        .rev()
        .filter(|entry| entry.kind == EntryKind::Config);
    let mut configs = configs.filter_map(|entry| Some(decode_change(&entry.body).ok()?.0));
    LogReport {
        hard: replay.hard,
        base: meta.base,
        begins_after,
        last: entries.last().map_or(begins_after, |entry| entry.id),
        entries: (entries.len() as u64, bytes.sum()),
        unreadable: unreadable.count() as u64,
        readable_to: readable.last().map_or(begins_after, |entry| entry.id),
        commit: replay.commit.max(meta.base.index),
        config: configs.next().unwrap_or_else(|| meta.config.clone()),
        last_write: replay.last_write,
        torn_bytes: replay.torn_bytes,
        mended: mended(&judged.segments, &judged.replay, &judged.found),
    }
}
