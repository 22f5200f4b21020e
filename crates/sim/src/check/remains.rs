//! What an operator could keep if all that a world leaves behind were damaged: production's salvage of
//! copies of the disks, beside what is known to be committed.
//! Never touches the disks themselves; nor asks that a loss be told of, for damage to all of a log's end
//! passes for a crash.
//!
//! # Source
//! docs/format.md, "Salvage".

use headwater_replica::remains::Remains;
use headwater_replica::salvage::Found;

use super::{Violation, ensure};
use crate::application::Application;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::fault::ROTS;
use crate::rot::damage;
use crate::storage::CLUSTER;
use crate::witness::Watched;
use crate::world::World;

/// In how many places each of the disks is damaged, in one try after the other.
const PLACES: [u64; 4] = [0, 1, 5, 20];

impl<A: Application> World<A> {
    /// In the calm of a world in which disks rot: tries what can be kept of its members' disks.
    pub(crate) fn check_salvage(&mut self) -> Result<(), Violation> {
        if self.plan.knobs.scrub_ns == 0 {
            return Ok(());
        }
        let mut dice = Dice::of(self.plan.seed, "salvage", &[]);
        for places in PLACES {
            let (mut disks, mut remains) = (Vec::<SimDisk>::new(), Vec::new());
            for at in self.present_members() {
                let mut disk = self.nodes[at].disk.clone();
                disk.restart();
                for _ in 0..places {
                    damage(&mut disk, dice.pick(ROTS), &mut dice, |_| true);
                }
                // One that gives nothing is left at home.
                if let Ok(Some(one)) = Remains::of::<Watched<A>>(&mut disk) {
                    disks.push(disk);
                    remains.push(one);
                }
            }
            let Some(found) = Found::in_all(&remains) else {
                continue;
            };
            self.check_found(&found, &remains, &mut disks)?;
            let kept = found.kept;
            ensure(
                places > 0 || kept.index >= self.cluster.commit(),
                "salvage",
                || format!("of whole disks only what is up to {kept} is kept"),
            )?;
        }
        Ok(())
    }

    fn check_found(
        &mut self,
        found: &Found,
        remains: &[Remains],
        disks: &mut [SimDisk],
    ) -> Result<(), Violation> {
        let (kept, commit) = (found.kept, self.cluster.commit());
        ensure(found.committed <= commit, "salvage", || {
            format!("{} is said to be committed, {commit} is", found.committed)
        })?;
        let is_short = kept.index < commit;
        self.stats.salvaged += 1;
        self.stats.salvaged_short += u64::from(is_short);
        let is_open = remains.iter().all(|one| one.has_open_end);
        if is_open || !found.is_certain || kept.index > commit {
            return Ok(());
        }
        let from = found.snapshot.map_or(0, |(which, _)| which);
        let state = found.salvage::<Watched<A>>(&mut disks[from], CLUSTER);
        let state = state.map_err(|why| Violation::new("salvage", why.what()))?;
        let id = self.cluster.id_at(kept.index);
        ensure(kept.index.0 == 0 || id == Some(kept), "salvage", || {
            format!("{kept} is kept where {id:?} was committed: {remains:?}")
        })?;
        self.cluster.check_content(kept.index, &state.machine)
    }
}
