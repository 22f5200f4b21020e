//! From what a lost quorum has left behind to the first directory of a new cluster.
//! Never changes the directory that it reads, and never judges which of several is the best.
//!
//! All entries count, committed or not: a client may have been told of any of them by a leader that
//! is gone. The new directory holds them as a snapshot, so that nothing in it speaks of the members
//! that are lost. Its terms and indices go on where the old ones ended.
//!
//! # Source
//! docs/format.md, "Recovery"; dissertation §4 (a cluster whose majority is gone cannot be saved by
//! the algorithm, only by an operator who gives up what may be missing).

use alloc::format;

use headwater_raft::{HardState, LogId};

use crate::entry::{EntryKind, LogOrder, SnapshotMeta};
use crate::machine::StateMachine;
use crate::port::{Disk, DiskError, DiskErrorKind};
use crate::recovery::{Expect, Judged, OpenError, identity_of, open};
use crate::snapshot_file::{FileDone, FileOrder, SNAPSHOT_DIR};
use crate::wal::WalOptions;

/// Bytes of state per chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// All that one directory holds.
#[derive(Debug)]
pub struct Salvaged<M> {
    /// The last entry.
    pub last: LogId,
    /// How many entries there are behind the last one that are of no use, because the first of them
    /// cannot be read.
    pub unusable: u64,
    /// Term and vote.
    pub hard: HardState,
    /// The state machine after the last entry.
    pub machine: M,
}

/// Reads all that a directory holds, committed or not; `None` if it is empty or was never used.
///
/// # Errors
/// A node would not start with it either.
pub fn salvage<M: StateMachine>(disk: &mut dyn Disk) -> Result<Option<Salvaged<M>>, OpenError> {
    let Some((identity, first_config)) = identity_of(disk)? else {
        return Ok(None);
    };
    let Judged { replay, found, .. } = Judged::<M>::of(disk, &identity, first_config)?;
    let base = found.meta.base;
    let mut machine = found.into_machine();
    let (mut last, mut unusable) = (base, 0);
    // A log that does not reach the snapshot is void.
    if replay.id_at(base.index) == Some(base) {
        for entry in replay
            .entries
            .iter()
            .filter(|entry| entry.id.index > base.index)
            .take_while(|entry| entry.kind != EntryKind::Unreadable)
        {
            if let Some(command) = entry.command() {
                machine.apply(entry.id, &command);
            }
            last = entry.id;
        }
        unusable = replay.runs.last().index.0 - last.index.0;
    }
    let hard = replay.hard;
    Ok(Some(Salvaged {
        last,
        unusable,
        hard,
        machine,
    }))
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
