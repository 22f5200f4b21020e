//! Damage to files at rest while their node runs, and who finds it: the reading again by production's checks,
//! one file after the other, as the runtime's thread makes them, and the reading back for a peer.
//! Never damages a disk whose loss the cluster would not survive, nor what is being written to.
//!
//! # Source
//! Bairavasundaram et al., FAST'08 (latent errors are found by whoever looks); docs/format.md,
//! "Recovery".

use std::collections::VecDeque;

use headwater_replica::inspect::{Report, inspect};
use headwater_replica::interface::Input;
use headwater_replica::scrub::{Damage, at_rest, check};
use headwater_replica::snapshot_file::FileDone;
use headwater_replica::{DiskError, DiskErrorKind, Entry};

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::fault::Rot;
use crate::rot::damage;
use crate::schedule::Event;
use crate::storage::CLUSTER;
use crate::witness::Watched;
use crate::world::World;

/// A round over all files at rest.
#[derive(Debug, Default)]
pub(crate) struct Round {
    files: VecDeque<String>,
    /// Whether nothing was damaged so far.
    is_clean: bool,
}

impl<A: Application> World<A> {
    /// Files at rest of a running node are damaged; it runs on.
    pub(crate) fn strike_decay(&mut self, at: usize, kind: Rot, places: u64, dice: &mut Dice) {
        let node = &self.nodes[at];
        if node.live.is_none() || node.incarnation.is_none() || !self.may_lose_disk(at) {
            return;
        }
        let node = &mut self.nodes[at];
        let files = at_rest(&mut node.disk).unwrap_or_default();
        for _ in 0..places {
            let Some(damage) = damage(&mut node.disk, kind, dice, |name| {
                files.iter().any(|file| file == name)
            }) else {
                return;
            };
            let now = self.schedule.now();
            self.trace
                .note(now, Some(at), || format!("{kind:?} in {}", damage.place));
            self.stats.decayed += 1;
            (node.decays, node.is_rotten) = (true, true);
            if let Some(live) = &mut node.live {
                live.round = Round::default();
            }
        }
    }

    /// Has the next file looked at, if anybody looks at all.
    pub(crate) fn scrub_later(&mut self, node: usize, after_ns: u64) {
        let life = self.nodes[node].life;
        if self.plan.knobs.scrub_ns > 0 {
            self.schedule.after(after_ns, Event::Scrub { node, life });
        }
    }

    /// One file at rest is read again; before the first of a round they are listed.
    pub(crate) fn on_scrub(&mut self, at: usize, life: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let Some(live) = node.live.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        let (round, disk) = (&mut live.round, &mut node.disk);
        let mut found = None;
        if let Some(file) = round.files.pop_front() {
            // Another file may just have taken its name, or a read have brought something else.
            found = look(disk, &file).and_then(|_| look(disk, &file));
            round.is_clean &= found.is_none();
            self.stats.misreads += u64::from(disk.take_misread().is_some());
        } else {
            let files = at_rest(disk);
            round.is_clean = files.is_ok();
            round.files = files.unwrap_or_default().into();
            self.stats.scrubs += 1;
        }
        if disk.is_down() {
            return self.on_disk_error(at, &gone("files were read again"));
        }
        let knobs = &self.plan.knobs;
        let mut after = knobs.disk_ns + knobs.disk_spread_ns;
        if round.files.is_empty() {
            after = knobs.scrub_ns;
            node.decays &= !round.is_clean;
        }
        if let Some(damage) = found {
            self.stats.scrub_found += 1;
            let now = self.schedule.now();
            self.trace
                .note(now, Some(at), || format!("finds {damage:?}"));
            self.give(at, Input::FileDone(FileDone::Damaged(damage)));
        }
        self.scrub_later(at, after);
        Ok(())
    }

    /// Entries of the log were read for a peer, or damage was met: there must be a reason for that.
    pub(crate) fn check_read_back(
        &mut self,
        at: usize,
        entries: &[Entry],
        damage: Option<&Damage>,
    ) -> Result<(), Violation> {
        self.stats.read_back += entries.len() as u64;
        let node = &self.nodes[at];
        // A call that fails, as was asked for, is no end here.
        let failed = damage.filter(|_| node.sync_armed.is_some());
        let is_read = failed.is_some_and(|damage| damage.what.starts_with("read "));
        self.stats.failed_reads += u64::from(is_read);
        let is_whole = !node.is_rotten && failed.is_none() && !self.has_spoilt();
        ensure(damage.is_none() || !is_whole, "read back", || {
            format!("n{} finds {damage:?} in a log that is whole", at + 1)
        })
    }

    /// What is still damaged on the disk of a node whose files at rest are read again: in the words of
    /// recovery, which knows nothing of who reads them.
    pub(crate) fn decayed(&self, at: usize) -> Option<String> {
        let node = &self.nodes[at];
        if self.plan.knobs.scrub_ns == 0 {
            return None;
        }
        let mut copy = node.disk.clone();
        copy.restart();
        let report = inspect::<Watched<A>>(&mut copy);
        let Report {
            segments,
            snapshots,
            log,
            ..
        } = report.ok()??;
        let log = match log {
            Ok(log) => log,
            Err(why) => return Some(why.what()),
        };
        if log.unreadable > 0 {
            return Some(format!("{} entries cannot be read", log.unreadable));
        }
        let (_, at_rest) = segments.split_last()?;
        let is_at_rest = |what: &&String| at_rest.iter().any(|one| what.contains(&one.name));
        let mended = log.mended.iter().find(is_at_rest).cloned();
        let mut snapshots = snapshots.into_iter();
        mended.or_else(|| snapshots.find_map(|one| Some(format!("{}: {}", one.name, one.damage?))))
    }
}

/// A disk gave out in the midst of what does not stop at errors.
pub(crate) fn gone(during: &str) -> DiskError {
    DiskError {
        what: format!("the power went while {during}"),
        kind: DiskErrorKind::Failed,
    }
}

/// What is wrong with a file. A sector that cannot be read is damage like one that reads otherwise.
fn look(disk: &mut SimDisk, file: &str) -> Option<Damage> {
    check(disk, CLUSTER, file).unwrap_or_else(|error| {
        Some(Damage {
            file: file.into(),
            offset: 0,
            what: error.to_string(),
        })
    })
}
