//! Disks that lie to a running node or to recovery: what strikes, and what comes to light when the
//! node starts again.
//! Never lets a disk lie whose loss the cluster would not survive; nor judges recovery by the last
//! sync before a witness of it, which docs/format.md names as the one loss that passes for a crash:
//! a disk that has lost that is replaced.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery", FAST'18; docs/format.md, "Recovery".

use headwater_replica::recovery::{OpenError, Recovered};

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::{Damage, SimDisk, Stray};
use crate::fault::{Fault, Rot};
use crate::node::{Crash, indices};
use crate::schedule::Event;
use crate::witness::Watched;
use crate::world::World;

/// A read that goes wrong: which, how (it fails if this does not say), and chance.
pub(crate) type BadRead = (u64, Option<Rot>, Dice);

impl<A: Application> World<A> {
    /// A disk begins to lie, or is imaged to be set back.
    pub(crate) fn strike_lie(
        &mut self,
        fault: Fault,
        marked: Option<usize>,
        dice: &mut Dice,
    ) -> Result<(), Violation> {
        match fault {
            Fault::ReadFails {
                whom,
                nth,
                starts,
                down_ns,
            } => {
                let at = self.whom(whom, marked);
                self.strike_reads(at, (nth, None), (starts, down_ns), dice)
            }
            Fault::Misread {
                whom,
                nth,
                kind,
                starts,
                down_ns,
            } => {
                let at = self.whom(whom, marked);
                self.strike_reads(at, (nth, Some(kind)), (starts, down_ns), dice)
            }
            Fault::WriteStrays {
                whom,
                nth,
                lands,
                cached,
                for_ns,
                down_ns,
            } => {
                let at = self.whom(whom, marked);
                let stray = Stray {
                    lands,
                    cached,
                    dice: dice.clone(),
                };
                self.strike_stray(at, (nth, stray), for_ns, down_ns);
                Ok(())
            }
            Fault::Rollback {
                whom,
                age_ns,
                down_ns,
            } => {
                self.strike_rollback(self.whom(whom, marked), (age_ns, down_ns), dice);
                Ok(())
            }
            _ => unreachable!("carried out elsewhere"),
        }
    }

    /// One of the next reads of a node goes wrong; of its next start if it is to die first.
    fn strike_reads(
        &mut self,
        at: usize,
        (nth, kind): (u64, Option<Rot>),
        (starts, down_ns): (bool, u64),
        dice: &mut Dice,
    ) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        if starts && (node.ails || node.decays) {
            // What recovery makes of two lies at once is not tried.
            return Ok(());
        }
        if starts {
            node.bad_start = Some((nth, kind, dice.clone()));
            let power = dice.chance(1, 2);
            return self.crash(at, Crash::new(power, down_ns, dice));
        }
        if node.live.is_some() {
            arm(&mut node.disk, &(nth, kind, dice.clone()));
            // A process that saw a read fail ends.
            node.sync_armed = kind.is_none().then_some(down_ns).or(node.sync_armed);
        }
        Ok(())
    }

    /// A write to a node's disk will not be made, though the disk says so; after a while the node
    /// dies, and starts on what is there.
    fn strike_stray(&mut self, at: usize, (nth, stray): (u64, Stray), for_ns: u64, down_ns: u64) {
        let may = self.may_lose_disk(at);
        let node = &mut self.nodes[at];
        if !may || node.incarnation.is_none() || node.live.is_none() {
            return;
        }
        node.ails = true;
        node.disk.stray(nth, stray);
        let die = Event::Die {
            node: at,
            life: node.life,
            down_ns,
        };
        self.schedule.after(for_ns, die);
    }

    /// A node whose disk may have lied is about to start: what recovery will say is tried on a
    /// copy first.
    pub(crate) fn examine(&mut self, at: usize) -> Result<(), Violation> {
        if !self.nodes[at].ails && !self.nodes[at].decays {
            return Ok(());
        }
        let mut copy = self.nodes[at].disk.clone();
        copy.restart();
        let stray = self.nodes[at].disk.stray_done().cloned();
        self.stats.strays += u64::from(stray.is_some());
        let now = self.schedule.now();
        self.trace.note(now, Some(at), || {
            format!("its disk may have lied: {stray:?}")
        });
        match self.try_open(&mut copy, at) {
            Err(OpenError::Disk(error)) => {
                let what = format!("n{}: {error} on a healthy disk", at + 1);
                return Err(Violation::new("stray", what));
            }
            Err(_) => {
                self.stats.strays_refused += u64::from(self.nodes[at].ails);
                self.lose_content(at);
            }
            Ok(found) if self.keeps_all(at, &found, stray.as_ref(), "stray")? => {
                let node = &mut self.nodes[at];
                node.ails = node.disk.is_hiding();
                node.is_rotten = true;
                node.durable.unreadable = indices(&found.unreadable).collect();
            }
            Ok(_) => self.lose_disk(at, false),
        }
        Ok(())
    }

    /// Whether a disk of this world may have spoilt a snapshot.
    pub(crate) fn has_spoilt(&self) -> bool {
        let may_stray = self.nodes.iter().any(|node| node.ails);
        may_stray || self.stats.misreads + self.stats.strays + self.stats.decayed > 0
    }

    /// Whether recovery found all that a node's disk must hold. If not, it must have lost no more
    /// than the last sync, or the end of the log with all that would tell of it.
    pub(crate) fn keeps_all(
        &mut self,
        at: usize,
        found: &Recovered<Watched<A>>,
        damage: Option<&Damage>,
        oracle: &'static str,
    ) -> Result<bool, Violation> {
        let node = &self.nodes[at];
        let Err(why) = node.recovers(found, true) else {
            return Ok(true);
        };
        let last = found.found_write;
        // Whoever finds the last write cannot have lost the end.
        let is_cut = last < node.durable.last_write;
        let passes = damage.is_some_and(|damage| damage.takes_end || last >= node.before_last);
        let passes = is_cut && passes;
        self.stats.rot_last_sync += 1;
        ensure(passes, oracle, || {
            format!("n{} goes on after {damage:?}: {why}", at + 1)
        })
        .map(|()| false)
    }

    /// What goes wrong with the reads of a start. What recovery makes of it is tried on a copy: a
    /// refusal changes nothing, and what it goes on with is all there is, also the next time.
    pub(crate) fn prepare_start(&mut self, at: usize) -> Result<(), Violation> {
        let Some(bad) = self.nodes[at].bad_start.take() else {
            return Ok(());
        };
        if self.calm_at.is_some() || self.nodes[at].incarnation.is_none() {
            return Ok(());
        }
        let mut copy = self.nodes[at].disk.clone();
        let before = copy.contents();
        arm(&mut copy, &bad);
        let first = self.try_open(&mut copy, at);
        let misread = copy.take_misread();
        if bad.1.is_some() && misread.is_none() {
            return Ok(());
        }
        let has_gaps = |found: &Recovered<_>| !found.unreadable.is_empty();
        if first.as_ref().is_ok_and(has_gaps) && !self.may_lose_disk(at) {
            // What it cannot read now it could read the next time, but others may need it before.
            return Ok(());
        }
        let goes_on = match &first {
            Ok(found) => {
                let keeps = self.keeps_all(at, found, misread.as_ref(), "misread")?;
                let whole = self.try_open(&mut self.nodes[at].disk.clone(), at);
                if whole.is_ok_and(|whole| whole.next_write > found.next_write) {
                    // Nobody was told of the write that it misses, but a later start may find it.
                    return Ok(());
                }
                keeps
            }
            Err(_) => false,
        };
        match first {
            Err(OpenError::Disk(_)) => {}
            Err(why) => ensure(copy.contents() == before, "misread", || {
                format!("n{} is refused ({why}), and its disk was changed", at + 1)
            })?,
            Ok(_) if !goes_on => return Ok(()),
            Ok(_) => {
                copy.restart();
                let again = self.try_open(&mut copy, at);
                let whole = again.is_ok_and(|found| self.nodes[at].recovers(&found, true).is_ok());
                ensure(whole, "misread", || {
                    format!("n{} writes down what it misread: {misread:?}", at + 1)
                })?;
            }
        }
        self.stats.misread_starts += u64::from(misread.is_some());
        let now = self.schedule.now();
        self.trace.note(now, Some(at), || {
            format!("recovery misreads {misread:?} and goes on: {goes_on}")
        });
        let node = &mut self.nodes[at];
        node.is_rotten |= goes_on;
        node.misreads = !goes_on;
        arm(&mut node.disk, &bad);
        Ok(())
    }

    /// The faults are over: what a disk hides comes to light, and a disk set back is replaced.
    pub(crate) fn calm_disks(&mut self) -> Result<(), Violation> {
        for at in 0..self.nodes.len() {
            self.take_away(at)?;
            if self.nodes[at].ails {
                let mut dice = Dice::of(self.plan.seed, "light", &[at as u64]);
                self.crash(at, Crash::new(true, 1, &mut dice))?;
                self.nodes[at].disk.power_cut(&mut dice);
            }
        }
        Ok(())
    }
}

fn arm(disk: &mut SimDisk, (nth, kind, dice): &BadRead) {
    match kind {
        None => disk.fail_read(*nth),
        Some(kind) => disk.misread(*nth, *kind, dice.clone()),
    }
}
