//! A thread that reads files at rest again, slowly, for what the disk has lost of them.
//! Never writes, and never holds up who does: so many bytes a second, and no more.
//!
//! # Source
//! Bairavasundaram et al., FAST'08 (latent errors are found by whoever looks).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use headwater_replica::scrub::{Damage, at_rest, check};
use headwater_replica::{Disk, DiskError, DiskErrorKind};

use crate::behind::{Behind, spawn_behind};
use crate::counters::Counters;
use crate::file::{FileDisk, Use};

/// The pause between two rounds over all files.
const ROUND_PAUSE: Duration = Duration::from_secs(5);

/// The thread; it ends with this.
#[derive(Debug)]
pub(crate) struct Scrubber {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Starts reading `disk`, of a node of `cluster`, at most so many bytes a second.
    ///
    /// `found`: told, once a round, of each file that is damaged.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub(crate) fn start(
        disk: &FileDisk,
        cluster: u64,
        bytes_per_second: u64,
        found: impl Fn(Damage) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let (disk, counters) = (disk.another(Use::Scrubbing), disk.counters());
        // Where standing back is not granted, the rate alone bounds what this costs.
        let thread = spawn_behind(Behind::All, "scrub", move || {
            let mut round = Round {
                slow: Slow {
                    disk,
                    bytes_per_second,
                    stopped,
                    counters,
                },
                cluster,
                known: BTreeSet::new(),
            };
            while round.slow.pause(ROUND_PAUSE).is_ok() {
                round.run(&found);
            }
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Rounds over all files.
struct Round {
    slow: Slow,
    cluster: u64,
    /// What the last round found: said once, however often it is met.
    known: BTreeSet<Damage>,
}

impl Round {
    fn run(&mut self, found: &impl Fn(Damage)) {
        let files = at_rest(&mut self.slow.disk).unwrap_or_default();
        let mut met = BTreeSet::new();
        for file in files {
            let mut damage = self.check(&file);
            if damage.is_some() {
                // Another file may just have taken its name.
                damage = self.check(&file);
            }
            if self.slow.pause(Duration::ZERO).is_err() {
                return;
            }
            if let Some(damage) = damage {
                if !self.known.contains(&damage) {
                    tell(&self.slow.counters, &damage);
                }
                met.insert(damage.clone());
                found(damage);
            }
        }
        self.known = met;
        self.slow.counters.scrub_rounds.add(1);
    }

    fn check(&mut self, file: &str) -> Option<Damage> {
        let checked = check(&mut self.slow, self.cluster, file);
        // No file stays open: one that is removed would keep its space.
        self.slow.disk = self.slow.disk.another(Use::Scrubbing);
        checked.unwrap_or_else(|error| {
            // A sector that cannot be read is damage like one that reads as something else.
            Some(Damage {
                file: file.into(),
                offset: 0,
                what: error.to_string(),
            })
        })
    }
}

/// Tells the operator of damage.
pub(crate) fn tell(counters: &Counters, damage: &Damage) {
    counters.scrub_damage.add(1);
    let Damage { file, offset, what } = damage;
    tracing::error!(
        file,
        offset,
        what,
        "damage at rest: a snapshot of what is in memory replaces it; look at the disk"
    );
}

/// A disk that is read at a bounded rate, until it is told to stop.
struct Slow {
    disk: FileDisk,
    bytes_per_second: u64,
    stopped: Receiver<()>,
    counters: Arc<Counters>,
}

impl Slow {
    fn pause(&self, time: Duration) -> Result<(), DiskError> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(refused("it is to stop")),
        }
    }
}

fn refused(what: &str) -> DiskError {
    DiskError {
        what: what.into(),
        kind: DiskErrorKind::Denied,
    }
}

impl Disk for Slow {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(dir)
    }

    fn size(&mut self, name: &str) -> Result<Option<u64>, DiskError> {
        self.disk.size(name)
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let bytes = self.disk.read(name, offset, len)?;
        self.counters.scrub_bytes.add(bytes.len() as u64);
        let seconds = bytes.len() as f64 / self.bytes_per_second as f64;
        self.pause(Duration::from_secs_f64(seconds))?;
        Ok(bytes)
    }

    fn create_zeroed(&mut self, _name: &str, _len: u64) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn reserve(&mut self, _name: &str, _len: u64) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn write(&mut self, _name: &str, _offset: u64, _data: &[u8]) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn sync(&mut self, _name: &str) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn sync_dir(&mut self, _dir: &str) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn rename(&mut self, _from: &str, _to: &str) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }

    fn remove(&mut self, _name: &str) -> Result<(), DiskError> {
        Err(refused("who scrubs does not write"))
    }
}
