//! Damage to the disk of a node that is down, and what recovery makes of it.
//! Never damages what no cluster survives the loss of; nor the last sync before it has a witness,
//! which docs/format.md names as the one damage that passes for a crash; nor the end of the log
//! together with all that would tell of it.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery", FAST'18; docs/format.md, "Recovery".

use headwater_replica::recovery::{self, OpenError, Recovered};
use headwater_replica::wal::WalOptions;

use crate::application::Application;
use crate::check::Violation;
use crate::dice::Dice;
use crate::disk::{Damage, SECTOR_BYTES, SimDisk, used};
use crate::fault::Rot;
use crate::node::{Crash, indices};
use crate::witness::Watched;
use crate::world::World;

impl<A: Application> World<A> {
    /// A node dies, and while it is down its disk is damaged. What recovery will say is tried on a
    /// copy first.
    pub(crate) fn strike_rot(
        &mut self,
        at: usize,
        kind: Rot,
        crash: Crash,
        dice: &mut Dice,
    ) -> Result<(), Violation> {
        if self.nodes[at].incarnation.is_none() || !self.may_lose_disk(at) {
            return Ok(());
        }
        self.crash(at, crash)?;
        let mut damaged = self.nodes[at].disk.clone();
        damaged.restart();
        let Some(damage) = damage(&mut damaged, kind, dice, |_| true) else {
            return Ok(());
        };
        let now = self.schedule.now();
        self.trace
            .note(now, Some(at), || format!("{kind:?} in {}", damage.place));
        match self.try_open(&mut damaged.clone(), at) {
            Err(OpenError::Disk(error)) => {
                return Err(Violation::new("rot", format!("{error} on a healthy disk")));
            }
            Err(_) => {
                self.stats.rotten += 1;
                self.nodes[at].disk = damaged;
                self.lose_content(at);
            }
            Ok(found) => {
                let mended = !found.mended.is_empty();
                if !self.keeps_all(at, &found, Some(&damage), "rot")? {
                    return Ok(());
                }
                self.stats.rotten += 1;
                self.stats.rot_mended += u64::from(mended);
                self.stats.rot_harmless += u64::from(!mended);
                let node = &mut self.nodes[at];
                node.is_rotten = true;
                node.durable.unreadable = indices(&found.unreadable).collect();
                self.stats.rot_named += node.durable.unreadable.len() as u64;
                self.nodes[at].disk = damaged;
            }
        }
        Ok(())
    }

    /// What recovery makes of a copy of a node's disk.
    pub(crate) fn try_open(
        &self,
        copy: &mut SimDisk,
        at: usize,
    ) -> Result<Recovered<Watched<A>>, OpenError> {
        copy.set_quota(None);
        let options = WalOptions {
            segment_bytes: self.plan.knobs.segment_bytes,
            spare_bytes: self.plan.knobs.spare_bytes,
        };
        let (found, ..) = recovery::open::<Watched<A>>(copy, &options, self.expect(at))?;
        Ok(found)
    }
}

/// Damages one of these files where it holds something; the place, if there is any.
pub(crate) fn damage(
    disk: &mut SimDisk,
    kind: Rot,
    dice: &mut Dice,
    is_one: impl Fn(&str) -> bool,
) -> Option<Damage> {
    let files = disk.contents().into_iter().filter(|(name, _)| is_one(name));
    let files = files.map(|(name, content)| {
        let used = used(&name, &content);
        (name, content, used)
    });
    let files: Vec<_> = files.filter(|(.., used)| *used > 0).collect();
    if files.is_empty() {
        return None;
    }
    let (name, content, used) = &files[dice.below(files.len() as u64) as usize];
    let offset = dice.below(*used as u64) as usize;
    let sector = offset / SECTOR_BYTES * SECTOR_BYTES;
    let end = (sector + SECTOR_BYTES).min(content.len());
    match kind {
        Rot::Bits => {
            // In one place: two could damage a frame and the only one that knows of it.
            for _ in 0..dice.between(1, 3) {
                disk.flip_bit(name, offset as u64, dice.below(8) as u8);
            }
        }
        Rot::Zeros => disk.damage(name, sector as u64, &vec![0; end - sector]),
        Rot::Astray => {
            let (_, other, used) = &files[dice.below(files.len() as u64) as usize];
            let from = dice.below(*used as u64) as usize / SECTOR_BYTES * SECTOR_BYTES;
            let upto = (from + end - sector).min(other.len());
            disk.damage(name, sector as u64, &other[from..upto]);
        }
        Rot::Cut => disk.cut(name, offset as u64),
    }
    Some(match kind {
        Rot::Bits | Rot::Cut => Damage::new(name, offset, false),
        Rot::Zeros | Rot::Astray => Damage::of_sector(name, sector, *used),
    })
}
