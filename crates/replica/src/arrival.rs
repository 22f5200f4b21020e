//! A leader's snapshot on its way into a file, piece by piece; after a restart of either side it
//! goes on where it was.
//! Never adds to a file but what is of the same writing, and never believes what an earlier life
//! has left before it has checked it and written it again.
//!
//! # Source
//! Raft paper, Figure 13; docs/format.md, "Snapshots"; Rebello et al., ATC'20 (what a failed sync
//! leaves in memory).

use alloc::format;
use alloc::string::String;

use headwater_raft::LogId;

use crate::machine::StateMachine;
use crate::port::{Disk, DiskError};
use crate::snapshot_file::{FileDone, SNAPSHOT_DIR, SnapshotStore, file_name};
use crate::snapshot_record::{Unloadable, Unsynced, keep_whole_chunks, load, writing_of};

/// A snapshot being received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Receiving {
    pub(crate) base: LogId,
    total_bytes: u64,
    upto: u64,
    unsynced: Unsynced,
    /// Whether its name is durable.
    has_name: bool,
}

impl Receiving {
    pub(crate) fn new(base: LogId, total_bytes: u64, upto: u64, sync_bytes: u64) -> Self {
        Self {
            base,
            total_bytes,
            upto,
            unsynced: Unsynced::new(sync_bytes),
            has_name: false,
        }
    }

    fn name(&self) -> String {
        file_name(self.base, "part")
    }
}

impl SnapshotStore {
    /// Takes in a piece; `piece.upto` is where it begins.
    pub(crate) fn receive<M: StateMachine>(
        &mut self,
        disk: &mut dyn Disk,
        piece: Receiving,
        bytes: &[u8],
    ) -> Result<FileDone<M>, DiskError> {
        let base = piece.base;
        if piece.upto == 0 {
            let here = self.part_of(disk, piece, bytes)?;
            self.receiving = Some(here.unwrap_or(piece));
        }
        let current = self.receiving.filter(|at| at.base == base);
        let Some(mut at) = current.filter(|at| at.upto == piece.upto) else {
            let upto = current.map_or(0, |at| at.upto);
            return Ok(FileDone::Received { base, upto });
        };
        let upto = at.upto + bytes.len() as u64;
        if upto > at.total_bytes || piece.total_bytes != at.total_bytes {
            return self.refuse(disk, base, "its pieces do not add up to its size".into());
        }
        disk.write(&at.name(), at.upto, bytes)?;
        at.upto = upto;
        self.receiving = Some(at);
        if upto == at.total_bytes {
            return self.complete(disk, &at.name(), at);
        }
        if at.unsynced.add(disk, &at.name(), bytes.len())? && !at.has_name {
            // A power cut leaves no more than is found by its name.
            at.has_name = true;
            disk.sync_dir(SNAPSHOT_DIR)?;
            disk.sync_dir("")?;
        }
        self.receiving = Some(at);
        Ok(FileDone::Received { base, upto })
    }

    /// How far the very file that begins with `first` is here already; if it is not, what is here of
    /// another makes way.
    fn part_of(
        &mut self,
        disk: &mut dyn Disk,
        piece: Receiving,
        first: &[u8],
    ) -> Result<Option<Receiving>, DiskError> {
        let (here, left) = (self.receiving.take(), self.left.take());
        let name = piece.name();
        if let Some(mut at) = here.filter(|at| at.base == piece.base).or_else(|| {
            let is_left = left == Some(piece.base);
            is_left.then_some(Receiving { upto: 0, ..piece })
        }) && is_of_one_writing(disk, &name, first)?
        {
            if here.is_none() {
                // Mark: a snapshot goes on after a restart.
                at.upto = keep_whole_chunks(disk, &name, self.cluster, &mut at.unsynced)?;
            }
            let is_ahead = (first.len() as u64..at.total_bytes).contains(&at.upto);
            if is_ahead && at.total_bytes == piece.total_bytes {
                return Ok(Some(at));
            }
        }
        for old in here.map(|at| at.base).into_iter().chain(left) {
            disk.remove(&file_name(old, "part"))?;
        }
        disk.remove(&name)?;
        Ok(None)
    }

    /// What is being received is of no use any more once there is a snapshot that covers as much.
    pub(crate) fn drop_overtaken(
        &mut self,
        disk: &mut dyn Disk,
        base: LogId,
    ) -> Result<(), DiskError> {
        let left = self.left.take_if(|left| left.index <= base.index);
        let here = self.receiving.take_if(|at| at.base.index <= base.index);
        for old in here.map(|at| at.base).into_iter().chain(left) {
            // Mark: a snapshot that is being received is overtaken.
            disk.remove(&file_name(old, "part"))?;
        }
        Ok(())
    }

    /// The received file is whole: only now is it known whether it is what it should be.
    fn complete<M: StateMachine>(
        &mut self,
        disk: &mut dyn Disk,
        name: &str,
        at: Receiving,
    ) -> Result<FileDone<M>, DiskError> {
        disk.sync(name)?;
        match load(disk, name, self.cluster) {
            Ok((meta, machine)) if meta.base == at.base => {
                self.receiving = None;
                self.adopt(disk, name, meta.base, at.total_bytes)?;
                Ok(FileDone::Loaded { meta, machine })
            }
            Ok((meta, _)) => {
                let why = format!("it covers {}, not {}", meta.base, at.base);
                self.refuse(disk, at.base, why)
            }
            Err(Unloadable::Disk(error)) => Err(error),
            Err(why) => self.refuse(disk, at.base, why.text()),
        }
    }

    fn refuse<M>(
        &mut self,
        disk: &mut dyn Disk,
        base: LogId,
        why: String,
    ) -> Result<FileDone<M>, DiskError> {
        self.receiving = None;
        disk.remove(&file_name(base, "part"))?;
        Ok(FileDone::Refused { base, why })
    }
}

/// Whether a file begins with these bytes, and they say of which writing both are.
fn is_of_one_writing(disk: &mut dyn Disk, name: &str, first: &[u8]) -> Result<bool, DiskError> {
    if writing_of(first).is_none() || disk.size(name)?.is_none() {
        return Ok(false);
    }
    let here = disk.read(name, 0, first.len())?;
    Ok(here == first)
}
