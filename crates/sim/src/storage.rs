//! Disks at work: the log and snapshot workers, how a node dies in the middle of it, and how it
//! starts again.
//! Never acknowledges what the worker has not.
//!
//! # Source
//! Pillai et al., OSDI'14 (what a crash leaves); ARCHITECTURE.md, "Durability".

use headwater_raft::{Config, Incarnation};
use headwater_replica::interface::{Input, Options};
use headwater_replica::recovery::{self, Expect, OpenError, Recovered};
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::telling::calls::{self, Start};
use headwater_replica::wal::{Wal, WalOptions};
use headwater_replica::{Disk, DiskError, DiskErrorKind, LogOrder};

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::node::{Crash, Live};
use crate::plan::{MS, Mark};
use crate::schedule::Event;
use crate::scrubber::gone;
use crate::waits::Waits;
use crate::witness::Watched;
use crate::world::World;

/// The cluster's name in all worlds.
pub(crate) const CLUSTER: u64 = 7;

/// How long it takes until a full disk is tried again.
const FULL_PAUSE: u64 = 5 * MS;

impl<A: Application> World<A> {
    fn disk_ns(&mut self, node: usize) -> u64 {
        let knobs = &self.plan.knobs;
        let spread_ns = self.nodes[node].disk_dice.below(knobs.disk_spread_ns + 1);
        let ns = knobs.disk_ns + spread_ns;
        let slow = self.nodes[node].slow;
        if slow.until > self.schedule.now() {
            ns * slow.factor
        } else {
            ns
        }
    }

    /// All orders that wait become the next batch, unless one is under way.
    pub(crate) fn start_log(&mut self, node: usize) {
        let after = self.disk_ns(node);
        let life = self.nodes[node].life;
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        if live.log_batch.is_none() && !live.log_queue.is_empty() {
            live.log_batch = Some(std::mem::take(&mut live.log_queue));
            self.schedule.after(after, Event::Log { node, life });
        }
    }

    pub(crate) fn start_file(&mut self, node: usize) {
        let after = self.disk_ns(node);
        let life = self.nodes[node].life;
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        if !live.file_busy && !live.file_queue.is_empty() {
            live.file_busy = true;
            self.schedule.after(after, Event::File { node, life });
        }
    }

    /// A batch is done: all of it is on the disk, or the disk gave out in the middle.
    pub(crate) fn on_log(&mut self, at: usize, life: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let Some(live) = node.live.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        let mut batch = live.log_batch.take().unwrap_or_default();
        if live.wal.waiting() > 0 {
            batch.append(&mut live.log_queue);
        }
        let orders = live.wal.waiting() + batch.len();
        let recycled = live.wal.recycled();
        let result = live.wal.run(&mut node.disk, &batch);
        self.stats.recycled += live.wal.recycled() - recycled;
        let upto = match result {
            Ok(upto) => upto,
            Err(error) => return self.on_disk_error(at, &error),
        };
        let waiting = live.wal.waiting();
        self.stats.full += u64::from(waiting > 0);
        self.stats.syncs += 1;
        let now = self.schedule.now();
        self.trace.tell(now, Some(at), "durable", |object| {
            object.maybe("write", upto.map(|upto| upto.0))
        });
        let (wants_spare, is_idle) = (live.wal.spare_wanted().is_some(), live.log_queue.is_empty());
        let (spare_due, idle_due) = (live.spare_due, live.idle_due);
        let done = node.issued.iter().take(orders - waiting);
        let repaired = done.map(|order| match order {
            LogOrder::Repair { entries, .. } => entries.len() as u64,
            _ => 0,
        });
        self.stats.repaired += repaired.sum::<u64>();
        node.on_durable(orders - waiting);
        if let Some(upto) = upto {
            self.give_durable(at, upto)?;
        }
        self.tell_space(at);
        if waiting > 0 {
            self.try_log_again(at);
            return Ok(());
        }
        self.start_log(at);
        let knobs = &self.plan.knobs;
        if knobs.spares && wants_spare && !spare_due {
            let after = self.disk_ns(at);
            self.schedule.after(after, Event::Spare { node: at, life });
            self.set_due(at, true, idle_due);
        } else if knobs.witnesses && is_idle && !idle_due {
            self.schedule.after(5 * MS, Event::Idle { node: at, life });
            self.set_due(at, spare_due, true);
        }
        Ok(())
    }

    /// A full disk is tried again after a while; what is ordered meanwhile comes behind.
    fn try_log_again(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if let Some(live) = &mut self.nodes[node].live {
            live.log_batch = Some(Vec::new());
            self.schedule.after(FULL_PAUSE, Event::Log { node, life });
        }
    }

    /// Tells a node that its log is short of room, or no more.
    fn tell_space(&mut self, at: usize) {
        let Some(live) = &mut self.nodes[at].live else {
            return;
        };
        let short = live.wal.is_short();
        if std::mem::replace(&mut live.is_short, short) != short {
            let now = self.schedule.now();
            self.trace
                .note(now, Some(at), || format!("log is short of room: {short}"));
            self.give(at, Input::LogSpace { short });
        }
    }

    fn set_due(&mut self, at: usize, spare: bool, idle: bool) {
        if let Some(live) = &mut self.nodes[at].live {
            (live.spare_due, live.idle_due) = (spare, idle);
        }
    }

    pub(crate) fn on_idle(&mut self, at: usize, life: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let Some(live) = node.live.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        live.idle_due = false;
        if live.log_batch.is_some() {
            return Ok(());
        }
        match live.wal.idle(&mut node.disk) {
            Ok(()) => Ok(()),
            Err(error) => self.on_disk_error(at, &error),
        }
    }

    /// A spare segment has been made by a helper of the log worker.
    pub(crate) fn on_spare(&mut self, at: usize, life: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let Some(live) = node.live.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        live.spare_due = false;
        let Some((name, length)) = live.wal.spare_wanted() else {
            return Ok(());
        };
        let made = node.disk.create_zeroed(&name, length);
        match made.and_then(|()| node.disk.sync(&name)) {
            Ok(()) => live.wal.spare_ready(length),
            Err(error) if error.kind == DiskErrorKind::Full => {
                let removed = node.disk.remove(&name);
                live.wal.spare_failed(&error);
                live.spare_due = true;
                self.stats.full += 1;
                let spare = Event::Spare { node: at, life };
                self.schedule.after(FULL_PAUSE, spare);
                if let Err(error) = removed {
                    return self.on_disk_error(at, &error);
                }
            }
            Err(error) => return self.on_disk_error(at, &error),
        }
        self.tell_space(at);
        Ok(())
    }

    /// One snapshot order is done.
    pub(crate) fn on_file(&mut self, at: usize, life: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let Some(live) = node.live.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        live.file_busy = false;
        let Some(order) = live.file_queue.pop_front() else {
            return Ok(());
        };
        let first = match &order {
            FileOrder::Receive {
                offset: 0, bytes, ..
            } => Some(bytes.len() as u64),
            _ => None,
        };
        let answer = live.store.run::<Watched<A>>(&mut node.disk, order);
        self.stats.misreads += u64::from(node.disk.take_misread().is_some());
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_disk_error(at, &error),
        };
        if node.disk.is_down() {
            return self.on_disk_error(at, &gone("the log was read back"));
        }
        let mut mark = None;
        match &answer {
            Some(FileDone::Taken(meta)) => {
                node.snapshot = node.snapshot.max(meta.base);
                self.stats.taken += 1;
                mark = Some(Mark::SnapshotTaken);
                self.cluster.check_snapshot(meta)?;
            }
            Some(FileDone::Loaded { meta, machine }) => {
                node.snapshot = node.snapshot.max(meta.base);
                self.stats.loaded += 1;
                mark = Some(Mark::SnapshotLoaded);
                self.cluster.check_snapshot(meta)?;
                self.cluster.check_content(meta.base.index, machine)?;
            }
            Some(FileDone::Received { upto, .. }) => {
                self.stats.resumed += u64::from(first.is_some_and(|bytes| *upto > bytes));
            }
            Some(FileDone::NoRoom | FileDone::Reserved(false)) => self.stats.full += 1,
            Some(FileDone::LogRead {
                entries, damage, ..
            }) => self.check_read_back(at, entries, damage.as_ref())?,
            Some(FileDone::Refused { .. }) if self.has_spoilt() => {
                self.stats.snapshots_spoilt += 1;
                self.nodes[at].count_spoilt();
            }
            Some(FileDone::Refused { base, why }) => {
                let what = format!("n{} refuses the snapshot {base}: {why}", at + 1);
                return Err(Violation::new("snapshot", what));
            }
            _ => {}
        }
        let now = self.schedule.now();
        if let Some(mark) = mark {
            self.trace.note(now, Some(at), || format!("{mark:?}"));
        }
        if let Some(done) = answer {
            self.give(at, Input::FileDone(done));
        }
        self.start_file(at);
        match mark {
            Some(mark) => self.mark(mark, at),
            None => Ok(()),
        }
    }

    pub(crate) fn on_disk_error(&mut self, at: usize, error: &DiskError) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        let sync_armed = node.sync_armed.take();
        if !node.disk.is_down()
            && let Some(down_ns) = sync_armed
        {
            // A process that saw a sync fail ends; its page cache says what the disk does not hold.
            self.stats.failed_syncs += u64::from(error.what.starts_with("sync"));
            self.stats.failed_reads += u64::from(error.what.starts_with("read"));
            let crash = Crash::new(false, down_ns, &mut node.disk_dice);
            return self.crash(at, crash);
        }
        ensure(node.disk.is_down(), "disk", || {
            format!("n{}: {error} on a healthy disk", at + 1)
        })?;
        self.stats.crashes_in_disk += 1;
        let crash = node.armed.take();
        let crash = crash.unwrap_or_else(|| Crash::new(true, MS, &mut node.disk_dice));
        self.crash(at, crash)
    }

    /// A node dies: what its disk was doing is done in part, all else is forgotten.
    pub(crate) fn crash(&mut self, at: usize, crash: Crash) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        (node.armed, node.sync_armed) = (None, None);
        let Some(mut live) = node.live.take() else {
            return Ok(());
        };
        self.forget_setbacks(at);
        let node = &mut self.nodes[at];
        self.company.on_life(at);
        let mut dice = Dice(crash.chance);
        let files_first = dice.chance(1, 2);
        for files in [files_first, !files_first] {
            if node.disk.is_down() {
                break;
            }
            node.disk.restart();
            node.disk.crash_after(dice.between(1, 12));
            if files && live.file_busy {
                if let Some(order) = live.file_queue.pop_front() {
                    let installs = matches!(order, FileOrder::Receive { .. });
                    self.stats.crashes_in_install += u64::from(installs);
                    // Whatever it was, nobody is told.
                    let _ = live.store.run::<Watched<A>>(&mut node.disk, order);
                }
            } else if let Some(batch) = live.log_batch.take().filter(|_| !files) {
                let orders = live.wal.waiting() + batch.len();
                if live.wal.run(&mut node.disk, &batch).is_ok() {
                    node.on_durable(orders - live.wal.waiting());
                }
            }
        }
        if crash.power {
            node.disk.power_cut(&mut dice);
        } else {
            node.disk.kill();
        }
        self.stats.crashes += 1;
        let now = self.schedule.now();
        let word = if crash.power {
            "loses power"
        } else {
            "is killed"
        };
        self.trace.note(now, Some(at), || word.to_string());
        self.lose_errands(&live.errands);
        self.trace.tell(now, Some(at), "crash", |object| {
            object.flag("power", crash.power)
        });
        for op in std::mem::take(&mut live.pending) {
            self.on_outcome(op, None);
        }
        for peer in (0..self.nodes.len()).filter(|&peer| peer != at) {
            // A dead process's kernel resets its connections; a machine without power is silent.
            let tell = !crash.power && !self.network.is_blocked(at, peer);
            let tells = if at < peer {
                [false, tell]
            } else {
                [tell, false]
            };
            let pair = (at.min(peer), at.max(peer));
            self.network.close(&mut self.schedule, pair, tells);
        }
        self.schedule
            .after(crash.down_ns, Event::Start { node: at });
        Ok(())
    }

    /// A node starts: recovery reads its disk, and must find what it was promised.
    pub(crate) fn on_start(&mut self, at: usize) -> Result<(), Violation> {
        if self.nodes[at].live.is_some() {
            return Ok(());
        }
        let now = self.schedule.now();
        let mut dice = Dice::of(self.plan.seed, "clock", &[at as u64, self.nodes[at].life]);
        self.nodes[at].clock.begin_anew(now, &mut dice);
        self.nodes[at].born_at = now;
        self.begin_life(at);
        let ails = self.nodes[at].ails;
        self.examine(at)?;
        let Some((found, wal, store)) = self.open(at)? else {
            // A power cut may have taken what told of the damage, and was not durable yet.
            self.nodes[at].ails |= ails;
            self.stats.broken_starts += 1;
            self.schedule.after(MS, Event::Start { node: at });
            return Ok(());
        };
        self.stats.torn += u64::from(found.torn_bytes > 0);
        self.stats.recycled_starts += u64::from(wal.is_recycled());
        let is_rotten = self.nodes[at].is_rotten;
        ensure(is_rotten || found.mended.is_empty(), "recovery", || {
            format!("what is whole is damaged: {:?}", found.mended)
        })?;
        let node = &mut self.nodes[at];
        node.check_recovered(&found, is_rotten)?;
        ensure(found.commit <= self.cluster.commit(), "recovery", || {
            format!("the commit hint {} is ahead of the truth", found.commit)
        })?;
        self.cluster
            .check_content(found.base.index, &found.machine)?;
        let now = self.schedule.now();
        self.trace.note(now, Some(at), || {
            let disk = found.identity.incarnation;
            format!(
                "starts: {:?} snapshot {} disk {disk:x}",
                found.hard, found.base
            )
        });
        let seed = Dice::of(self.plan.seed, "election", &[at as u64, node.life]).next();
        let options = replica_options(&self.plan.knobs, node.life, seed);
        let mut image = node.durable.clone();
        let replica = Replica::new(node.clock.at(now), options, found)
            .map_err(|why| Violation::new("recovery", why))?;
        let (hard, held) = (replica.raft().hard_state(), image.hard);
        let vouched = hard.term == node.snapshot.term && hard.term > held.term;
        image.hard = hard;
        let waits = Waits::new(&self.plan.knobs);
        let mut live = Live::new(replica, (wal, store), image, waits);
        if self.trace.has_file() {
            live.replica.keep_calls(true);
        }
        self.trace.tell(now, Some(at), "start", |object| {
            let start = Start {
                life: node.life,
                write: node.durable.last_write,
                leases: self.plan.knobs.leases,
                snapshot: node.snapshot,
            };
            calls::start(object, &start, live.replica.raft()).object("state", live.state())
        });
        // A trace has what is objected to.
        ensure(hard == held || vouched, "recovery", || {
            format!("n{} goes on with {hard:?} instead of {held:?}", at + 1)
        })?;
        node.live = Some(live);
        self.wake(at);
        self.scrub_later(at, self.plan.knobs.scrub_ns);
        Ok(())
    }

    /// Who the node is that is about to be opened.
    pub(crate) fn expect(&self, at: usize) -> Expect {
        let node = &self.nodes[at];
        let mut dice = Dice::of(self.plan.seed, "incarnation", &[at as u64, node.life]);
        Expect {
            cluster: CLUSTER,
            node: node.id,
            fresh_incarnation: u128::from(dice.next()) << 64 | u128::from(dice.next()),
            first_config: node.first_config.clone(),
        }
    }

    /// Opens a node's disk; nothing if it dies once more in the middle of that.
    fn open(&mut self, at: usize) -> Result<Option<Opened<A>>, Violation> {
        self.nodes[at].life += 1;
        self.nodes[at].disk.restart();
        self.prepare_start(at)?;
        let (knobs, expect) = (&self.plan.knobs, self.expect(at));
        let node = &mut self.nodes[at];
        let misreads = std::mem::take(&mut node.misreads);
        let mut dice = Dice::of(self.plan.seed, "start", &[at as u64, node.life]);
        let mut fails = false;
        // A power cut may bring back the segments that a damaged snapshot lacks.
        let may_break = self.calm_at.is_none() && !misreads && !node.is_refused;
        if may_break && dice.chance(knobs.broken_starts, 1000) {
            fails = dice.chance(1, 3);
            if fails {
                node.disk.fail_call(dice.between(1, 30));
            } else {
                node.disk.crash_after(dice.between(1, 30));
            }
        }
        let wal_options = WalOptions {
            segment_bytes: knobs.segment_bytes << dice.below(2),
            spare_bytes: knobs.spare_bytes,
        };
        match recovery::open::<Watched<A>>(&mut node.disk, &wal_options, expect) {
            Ok(mut opened) => {
                opened.2.keep(knobs.max_snapshots as usize);
                opened.2.sync_every(knobs.snapshot_sync_bytes);
                ensure(!node.is_refused, "recovery", || {
                    format!("n{} starts with a disk that it has refused", at + 1)
                })?;
                node.disk.restart();
                node.disk.take_misread();
                node.incarnation = Some(Incarnation(opened.0.identity.incarnation));
                Ok(Some(opened))
            }
            Err(_) if misreads => {
                // Nothing was changed, and the next start reads what is there.
                node.disk.take_misread();
                node.disk.kill();
                Ok(None)
            }
            Err(OpenError::Disk(_)) if node.disk.is_down() => {
                if dice.chance(1, 2) {
                    node.disk.power_cut(&mut dice);
                }
                Ok(None)
            }
            Err(OpenError::Disk(error)) if fails || error.kind == DiskErrorKind::Full => {
                self.stats.full += u64::from(error.kind == DiskErrorKind::Full);
                self.stats.failed_calls += u64::from(fails);
                node.disk.kill();
                Ok(None)
            }
            Err(why) if node.is_refused => {
                self.stats.rot_refused += 1;
                let now = self.schedule.now();
                self.trace
                    .note(now, Some(at), || format!("does not start: {why}"));
                self.nodes[at].lose_disk(Config::default());
                Ok(None)
            }
            Err(error) => {
                let what = format!("n{} does not start: {error}", at + 1);
                Err(Violation::new("recovery", what))
            }
        }
    }
}

/// What recovery gives.
type Opened<A> = (Recovered<Watched<A>>, Wal, SnapshotStore);

fn replica_options(knobs: &crate::plan::Knobs, life: u64, seed: u64) -> Options {
    Options {
        core: headwater_raft::Options {
            seed,
            life,
            heartbeat_ns: knobs.heartbeat_ns,
            election_ns: knobs.election_ns,
            disk_slow_ns: knobs.election_ns / 2,
            priority: if knobs.priorities {
                [u8::MAX, 128, 0][seed as usize % 3]
            } else {
                u8::MAX
            },
            // The slowest clock beside the fastest.
            lease_drift_ppm: knobs.leases.then_some(2000 * knobs.drift as u32),
            ..headwater_raft::Options::default()
        },
        request_timeout_ns: knobs.request_timeout_ns,
        message_bytes_max: knobs.message_bytes_max as usize,
        window_bytes_max: knobs.window_bytes_max,
        snapshot_log_bytes: knobs.snapshot_log_bytes,
        log_keep_bytes: knobs.log_keep_bytes,
        log_memory_bytes: knobs.log_memory_bytes,
        chunk_bytes: knobs.chunk_bytes as usize,
        snapshot_write_bytes_per_second: knobs.snapshot_write_pace,
        snapshot_send_bytes_per_second: knobs.snapshot_send_pace,
        reserve_bytes: knobs.reserve_bytes,
        ..Options::default()
    }
}
