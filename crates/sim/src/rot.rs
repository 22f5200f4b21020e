//! Damage to the disk of a node that is down, and what recovery makes of it.
//! Never damages what no cluster survives the loss of; nor the last sync before it has a witness,
//! which docs/format.md names as the one damage that passes for a crash; nor the end of the log
//! together with all that would tell of it.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery", FAST'18; docs/format.md, "Recovery".

use headwater_replica::recovery::{self, Expect, OpenError, Recovered};
use headwater_replica::wal::WalOptions;

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::{SECTOR_BYTES, SimDisk};
use crate::fault::Rot;
use crate::node::Crash;
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
        let Some(Damage { place, takes_end }) = damage(&mut damaged, kind, dice) else {
            return Ok(());
        };
        let now = self.schedule.now();
        self.trace
            .note(now, Some(at), || format!("{kind:?} in {place}"));
        match open_copy::<A>(
            damaged.clone(),
            self.expect(at),
            self.plan.knobs.segment_bytes,
        ) {
            Err(OpenError::Disk(error)) => {
                return Err(Violation::new("rot", format!("{error} on a healthy disk")));
            }
            Err(_) => {
                self.stats.rotten += 1;
                self.nodes[at].disk = damaged;
                self.lose_content(at);
            }
            Ok((found, mended)) => {
                let whole = self.nodes[at].recovers(&found, true);
                if let Err(why) = whole {
                    // The last write that is found: with all that came before the last sync?
                    let last = found.next_write.0.saturating_sub(1);
                    self.stats.rot_last_sync += 1;
                    // Whoever finds the last write cannot have lost the end.
                    let is_cut = last < self.nodes[at].durable.last_write.0;
                    return ensure(
                        is_cut && (takes_end || last >= self.nodes[at].before_last.0),
                        "rot",
                        || format!("n{} goes on after {kind:?} in {place}: {why}", at + 1),
                    );
                }
                self.stats.rotten += 1;
                self.stats.rot_mended += u64::from(mended);
                self.stats.rot_harmless += u64::from(!mended);
                self.nodes[at].is_rotten = true;
                self.nodes[at].disk = damaged;
            }
        }
        Ok(())
    }
}

/// What recovery makes of a copy of a disk, and whether it had to mend a snapshot.
fn open_copy<A: Application>(
    mut disk: SimDisk,
    expect: Expect,
    segment_bytes: u64,
) -> Result<(Recovered<Watched<A>>, bool), OpenError> {
    disk.set_quota(None);
    let options = WalOptions { segment_bytes };
    let (found, _, store) = recovery::open::<Watched<A>>(&mut disk, &options, expect)?;
    Ok((found, !store.mended().is_empty()))
}

/// More than most frames take.
const FRAME_BYTES: usize = 4096;

/// What was damaged.
struct Damage {
    place: String,
    /// Whether everything behind it is gone as well, and with it what would tell that something
    /// was there.
    takes_end: bool,
}

/// Damages a file where it holds something; the place, if there is any.
fn damage(disk: &mut SimDisk, kind: Rot, dice: &mut Dice) -> Option<Damage> {
    let used = |content: &Vec<u8>| content.iter().rposition(|&byte| byte != 0).map(|at| at + 1);
    let files = disk.contents();
    let files = files.into_iter().filter_map(|(name, content)| {
        let used = used(&content)?;
        Some((name, content, used))
    });
    let files: Vec<_> = files.collect();
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
    // A frame that begins in the sector may end behind it.
    let is_sector = matches!(kind, Rot::Zeros | Rot::Astray);
    let takes_end = is_sector && end + FRAME_BYTES >= *used;
    let place = format!("{name} at {offset}");
    Some(Damage { place, takes_end })
}
