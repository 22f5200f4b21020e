//! Our log as a server has it: on real files, with a thread that has the next segment ready.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use headwater_raft::{Config, HardState, Index, LogId, NodeId, Term, WriteId};
use headwater_replica::machine::{Malformed, StateMachine};
use headwater_replica::recovery::{Expect, Recovered, open};
use headwater_replica::wal::{Wal, WalOptions};
use headwater_replica::{Disk, DiskError, Entry, EntryKind, LogOrder, LogWrite};
use headwater_runtime::file::{FileDisk, Use};

use crate::Log;

/// The log, and the thread that makes its next segment.
pub struct Ours {
    disk: FileDisk,
    wal: Wal,
    last: u64,
    spare: Option<JoinHandle<Result<u64, DiskError>>>,
}

impl Ours {
    /// An empty log.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(dir: &Path) -> Result<Self> {
        Self::of_segments(dir, WalOptions::default())
    }

    /// An empty log in segments of another size.
    ///
    /// # Errors
    /// The disk refused.
    pub fn of_segments(dir: &Path, options: WalOptions) -> Result<Self> {
        let mut disk = FileDisk::new(dir.to_owned(), Use::Log, Arc::default());
        let (_, wal) = opened(&mut disk, &options)?;
        Ok(Self {
            disk,
            wal,
            last: 0,
            spare: None,
        })
    }

    /// Lets all entries go but the last `kept`, as after a snapshot.
    ///
    /// # Errors
    /// The disk refused.
    pub fn release(&mut self, kept: u64) -> Result<()> {
        let upto = Index(self.last.saturating_sub(kept));
        let done = self.wal.run(&mut self.disk, &[LogOrder::Release { upto }]);
        done.map_err(|error| anyhow!("{error:?}"))?;
        Ok(())
    }

    /// How many segments were begun in the files of released ones.
    pub fn recycled(&self) -> u64 {
        self.wal.recycled()
    }
}

impl Log for Ours {
    fn append(&mut self, entries: &[Bytes]) -> Result<()> {
        if let Some(maker) = self.spare.take_if(|maker| maker.is_finished()) {
            let made = maker.join().map_err(|_| anyhow!("a thread panicked"))?;
            self.wal
                .spare_ready(made.map_err(|error| anyhow!("{error:?}"))?);
        }
        let entry = |(at, body): (u64, &Bytes)| {
            let id = LogId::new(Term(1), Index(at));
            Entry::new(id, EntryKind::Command, body.clone())
        };
        let entries: Vec<Entry> = (self.last + 1..).zip(entries).map(entry).collect();
        let before = Index(self.last);
        self.last += entries.len() as u64;
        let order = LogOrder::Write(LogWrite {
            id: WriteId(self.last),
            hard: HardState {
                term: Term(1),
                voted_for: Some(NodeId(1)),
            },
            commit: before,
            truncate_from: None,
            entries,
        });
        let done = self.wal.run(&mut self.disk, &[order]);
        done.map_err(|error| anyhow!("{error:?}"))?
            .context("a write is told of")?;
        if self.spare.is_none()
            && let Some((name, length)) = self.wal.spare_wanted()
        {
            let mut disk = self.disk.another(Use::Spare);
            self.spare = Some(std::thread::spawn(move || {
                disk.create_zeroed(&name, length)?;
                disk.sync(&name)?;
                Ok(length)
            }));
        }
        Ok(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Some(maker) = self.spare.take() {
            let _ = maker.join();
        }
    }
}

/// Opens a log again, and reads and checks all of it: how many entries there are.
///
/// # Errors
/// It is not whole.
pub fn recover(dir: &Path) -> Result<u64> {
    let mut disk = FileDisk::new(dir.to_owned(), Use::Log, Arc::default());
    let (found, _) = opened(&mut disk, &WalOptions::default())?;
    Ok(found.entries.len() as u64)
}

fn opened(disk: &mut FileDisk, options: &WalOptions) -> Result<(Recovered<Nothing>, Wal)> {
    let expect = Expect {
        cluster: 1,
        node: NodeId(1),
        fresh_incarnation: 7,
        first_config: Config::of_voters([NodeId(1)]),
    };
    let opened = open::<Nothing>(disk, options, expect);
    let (found, wal, _) = opened.map_err(|error| anyhow!("{error}"))?;
    Ok((found, wal))
}

/// A state machine that has no state.
#[derive(Debug, Default)]
struct Nothing;

impl StateMachine for Nothing {
    type Reply = ();
    type Query = ();
    type Answer = ();
    type Walk = ();

    fn apply(&mut self, _: LogId, _: &Bytes) {}

    fn query(&self, (): ()) {}

    fn begin_snapshot(&mut self) {}

    fn next_chunk(&mut self, (): &mut (), _: usize) -> Option<Bytes> {
        None
    }

    fn load_chunk(&mut self, _: Bytes) -> Result<(), Malformed> {
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
