//! Faults strike, and calm comes: after it the cluster must serve on every node, and agree.
//! Never decides what goes wrong: the plan does.
//!
//! # Source
//! TigerBeetle's VOPR (a phase for safety, a phase for liveness).

use headwater_raft::RoleName;

use crate::application::{Application, Model, Want};
use crate::check::Violation;
use crate::dice::Dice;
use crate::errands::unfinished;
use crate::harm::Noise;
use crate::node::{Crash, Slow};
use crate::plan::{Fault, Mark, Place, When, Whom};
use crate::schedule::Event;
use crate::workload::Probe;
use crate::world::World;

impl<A: Application> World<A> {
    pub(crate) fn schedule_faults(&mut self) {
        for (fault, planned) in self.plan.faults.iter().enumerate() {
            if let When::At(at) = planned.when {
                self.schedule.at(at, Event::Fault { fault });
            }
        }
    }

    /// Something notable happened at a node: faults that waited for it strike.
    pub(crate) fn mark(&mut self, mark: Mark, node: usize) -> Result<(), Violation> {
        let count = self.marks.entry(mark).or_default();
        *count += 1;
        let when = When::Mark(mark, *count);
        let waiting = self.plan.faults.iter().enumerate();
        let struck: Vec<usize> = waiting
            .filter(|(_, planned)| planned.when == when)
            .map(|(fault, _)| fault)
            .collect();
        for fault in struck {
            self.strike(fault, Some(node))?;
        }
        Ok(())
    }

    pub(crate) fn whom(&self, whom: Whom, marked: Option<usize>) -> usize {
        match whom {
            Whom::Node(node) => node,
            Whom::Marked => marked.unwrap_or(0),
            Whom::Leader => self.leader().unwrap_or(0),
        }
    }

    /// The leader of the highest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let terms = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let raft = node.live.as_ref()?.replica.raft();
            (raft.role() == RoleName::Leader).then_some((raft.term(), at))
        });
        terms.max().map(|(_, at)| at)
    }

    /// A fault strikes.
    pub(crate) fn strike(&mut self, fault: usize, marked: Option<usize>) -> Result<(), Violation> {
        if self.calm_at.is_some() {
            return Ok(());
        }
        let now = self.schedule.now();
        let planned = &self.plan.faults[fault];
        // Its own line is a fault's name: what it does hangs on no other.
        let mut dice = Dice::of(self.plan.seed, &planned.to_string(), &[]);
        let fault = planned.fault.clone();
        if fault.is_no_fault() {
            return self.strike_directed(&fault, marked);
        }
        self.stats.faults += 1;
        self.trace.note(now, marked, || format!("FAULT {fault}"));
        self.trace.tell(now, marked, "fault", |object| {
            object.text("fault", &fault.to_string())
        });
        match fault {
            Fault::Crash {
                whom,
                power,
                place,
                down_ns,
            } => {
                let crash = Crash::new(power, down_ns, &mut dice);
                return self.strike_crash(self.whom(whom, marked), crash, place);
            }
            Fault::Blackout { down_ns } => return self.strike_all(down_ns, &mut dice),
            Fault::Pause { whom, for_ns } => {
                let node = self.whom(whom, marked);
                self.nodes[node].paused_until = now + for_ns;
                self.stats.pauses += 1;
            }
            Fault::Change {
                ask,
                what,
                force,
                times,
            } => {
                let asked = self.whom(ask, marked);
                for _ in 0..times {
                    self.ask_change(asked, &what, force);
                }
            }
            Fault::Transfer { ask, to } => self.ask_transfer(self.whom(ask, marked), to),
            Fault::Pace { whom, pace, for_ns } => {
                let node = self.whom(whom, marked);
                self.set_pace(node, Some(pace));
                self.schedule.after(for_ns, Event::Pace { node });
            }
            Fault::Leap { whom, by_ns } => {
                let node = self.whom(whom, marked);
                if !self.plan.knobs.leases {
                    self.stats.leaps += 1;
                    self.nodes[node].clock.leap(now, by_ns);
                    self.wake(node);
                }
            }
            Fault::Hold { .. } => return self.strike_directed(&fault, marked),
            Fault::Split { .. }
            | Fault::Isolate { .. }
            | Fault::Partial { .. }
            | Fault::SlowLink { .. }
            | Fault::CorruptFrames { .. }
            | Fault::Reset { .. } => self.strike_link(&fault, marked, &mut dice),
            fault => return self.strike_disk(fault, marked, &mut dice),
        }
        Ok(())
    }

    /// What strikes disks.
    fn strike_disk(
        &mut self,
        fault: Fault,
        marked: Option<usize>,
        dice: &mut Dice,
    ) -> Result<(), Violation> {
        let now = self.schedule.now();
        match fault {
            Fault::SlowDisk {
                whom,
                factor,
                for_ns,
            } => {
                let node = self.whom(whom, marked);
                let until = now + for_ns;
                self.nodes[node].slow = Slow { factor, until };
                self.stats.slow_disks += 1;
            }
            Fault::SyncFails { whom, nth, down_ns } => {
                self.strike_sync(self.whom(whom, marked), (nth, dice.clone()), down_ns);
            }
            Fault::DiskFails { whom, nth, down_ns } => {
                let struck = self.whom(whom, marked);
                let struck = &mut self.nodes[struck];
                if struck.live.is_some() {
                    struck.disk.fail_call(nth);
                    struck.sync_armed = Some(down_ns);
                }
            }
            Fault::DiskFull { whom, room, for_ns } => {
                let node = self.whom(whom, marked);
                let disk = &mut self.nodes[node].disk;
                disk.set_quota(Some(disk.used_bytes() + room));
                self.schedule.after(for_ns, Event::Room { node });
            }
            Fault::DiskHangs {
                whom,
                for_ns,
                down_ns,
            } => {
                self.strike_hang(self.whom(whom, marked), for_ns, down_ns);
            }
            Fault::Rot {
                whom,
                kind,
                down_ns,
            } => {
                let node = self.whom(whom, marked);
                let crash = Crash::new(dice.chance(1, 2), down_ns, dice);
                return self.strike_rot(node, kind, crash, dice);
            }
            Fault::Decay { whom, kind, places } => {
                self.strike_decay(self.whom(whom, marked), kind, places, dice);
            }
            Fault::Wipe {
                whom,
                down_ns,
                founds,
                at_once,
            } => {
                let crash = Crash::new(true, down_ns, dice);
                return self.strike_wipe(self.whom(whom, marked), crash, (founds, at_once));
            }
            fault => return self.strike_lie(fault, marked, dice),
        }
        Ok(())
    }

    /// A disk answers nothing, until the process on it is killed.
    fn strike_hang(&mut self, node: usize, for_ns: u64, down_ns: u64) {
        let struck = &mut self.nodes[node];
        if struck.live.is_some() {
            struck.hung_until = self.schedule.now() + for_ns;
            let die = Event::Die {
                node,
                life: struck.life,
                down_ns,
            };
            self.schedule.after(for_ns, die);
        }
    }

    /// What strikes links.
    fn strike_link(&mut self, fault: &Fault, marked: Option<usize>, dice: &mut Dice) {
        let now = self.schedule.now();
        match *fault {
            Fault::Split {
                side,
                for_ns,
                resets,
            } => {
                let cut = self.directions(|from, to| side.has(from) != side.has(to));
                self.part(cut, for_ns, resets);
            }
            Fault::Isolate {
                whom,
                inbound,
                outbound,
                for_ns,
                resets,
            } => {
                let node = self.whom(whom, marked);
                let cut = self
                    .directions(|from, to| (inbound && to == node) || (outbound && from == node));
                self.part(cut, for_ns, resets);
            }
            Fault::Partial {
                shape,
                for_ns,
                resets,
            } => {
                let nodes = self.nodes.len();
                let cut = self.directions(|from, to| !shape.joins(from, to, nodes));
                self.stats.partials += u64::from(!cut.is_empty());
                self.part(cut, for_ns, resets);
            }
            Fault::SlowLink { a, b, pace, for_ns } => {
                if a != b {
                    self.stats.slow_links += 1;
                    self.network.narrow((a, b), now + for_ns, pace);
                }
            }
            Fault::CorruptFrames {
                a,
                b,
                harm,
                share,
                for_ns,
            } => {
                let noise = Noise {
                    until: now + for_ns,
                    harm,
                    share,
                    dice: dice.clone(),
                };
                self.network.disturb((a, b), noise);
            }
            Fault::Reset { a, b } => {
                if a != b {
                    let tells = [dice.chance(3, 4), dice.chance(3, 4)];
                    let pair = (a.min(b), a.max(b));
                    self.network.close(&mut self.schedule, pair, tells);
                }
            }
            _ => unreachable!("carried out elsewhere"),
        }
    }

    /// A node's clock runs at this pace from now on, or at its usual one: within the drift if
    /// leases rest on it.
    pub(crate) fn set_pace(&mut self, node: usize, pace: Option<u64>) {
        let (now, knobs) = (self.schedule.now(), &self.plan.knobs);
        let clock = &mut self.nodes[node].clock;
        let mut pace = pace.unwrap_or(clock.usual);
        if knobs.leases {
            pace = pace.clamp(1000 - knobs.drift, 1000 + knobs.drift);
        }
        if pace != clock.pace {
            self.stats.paces += 1;
            clock.run_at(now, pace);
            self.wake(node);
        }
    }

    /// A process that has hung is killed, unless it has died since.
    pub(crate) fn on_die(&mut self, node: usize, life: u64, down_ns: u64) -> Result<(), Violation> {
        let hung = std::mem::take(&mut self.nodes[node].hung_until) > 0;
        if self.nodes[node].living(life).is_none() {
            return Ok(());
        }
        self.stats.hangs += u64::from(hung);
        let power = true;
        let mut dice = Dice::of(self.plan.seed, "die", &[node as u64, life]);
        let crash = Crash::new(power, down_ns, &mut dice);
        self.crash(node, crash)
    }

    fn strike_crash(&mut self, node: usize, crash: Crash, place: Place) -> Result<(), Violation> {
        let struck = &mut self.nodes[node];
        let Some(live) = &mut struck.live else {
            return Ok(());
        };
        match place {
            Place::Now => self.crash(node, crash),
            Place::InTurn(kept) => {
                live.crash_in_turn = Some((kept, crash));
                Ok(())
            }
            Place::InDisk(calls) => {
                struck.disk.crash_after(calls);
                struck.armed = Some(crash);
                Ok(())
            }
        }
    }

    fn strike_all(&mut self, down_ns: u64, dice: &mut Dice) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            let down_ns = dice.between(1, down_ns);
            self.crash(node, Crash::new(true, down_ns, dice))?;
        }
        Ok(())
    }

    fn strike_sync(&mut self, node: usize, (nth, dice): (u64, Dice), down_ns: u64) {
        let struck = &mut self.nodes[node];
        if struck.live.is_some() {
            struck.disk.fail_sync(nth, dice);
            struck.sync_armed = Some(down_ns);
        }
    }

    pub(crate) fn directions(&self, cut: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
        let nodes = self.nodes.len();
        let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        all.filter(|&(from, to)| from != to && cut(from, to))
            .collect()
    }

    fn part(&mut self, cut: Vec<(usize, usize)>, for_ns: u64, resets: bool) {
        if resets {
            for &(from, to) in &cut {
                let pair = (from.min(to), from.max(to));
                self.network.close(&mut self.schedule, pair, [true; 2]);
            }
        }
        self.network.block(&cut);
        self.schedule.after(for_ns, Event::Heal { blocked: cut });
    }

    /// The faults end: partitions heal, what is paused goes on, what is down starts, and
    /// everything has become quick.
    pub(crate) fn on_calm(&mut self) -> Result<(), Violation> {
        let now = self.schedule.now();
        self.calm_at = Some(now);
        self.trace.note(now, None, || "CALM".to_string());
        self.trace.tell(now, None, "calm", |object| object);
        self.calm_disks()?;
        self.network.calm(&self.plan.knobs);
        let cut = self.directions(|_, _| true);
        self.network.unblock_all(&mut self.schedule, &cut);
        let knobs = &mut self.plan.knobs;
        knobs.disk_ns = knobs.disk_ns.min(knobs.heartbeat_ns / 20);
        knobs.disk_spread_ns = knobs.disk_spread_ns.min(knobs.heartbeat_ns / 10);
        knobs.turn_ns = knobs.turn_ns.min(knobs.heartbeat_ns / 20);
        for at in 0..self.nodes.len() {
            self.set_pace(at, None);
            if self.nodes[at].hung_until > now {
                let life = self.nodes[at].life;
                self.on_die(at, life, 1)?;
            }
            let node = &mut self.nodes[at];
            node.disk.set_quota(None);
            node.paused_until = now;
            node.slow = Slow::default();
            (node.armed, node.sync_armed) = (None, None);
            if let Some(live) = &mut node.live {
                node.disk.restart();
                live.crash_in_turn = None;
                if live.turn_due {
                    let life = node.life;
                    self.schedule.after(1, Event::Turn { node: at, life });
                }
            } else {
                self.schedule.after(1, Event::Start { node: at });
            }
        }
        let election_ns = self.plan.knobs.election_ns;
        self.schedule.after(election_ns, Event::Probe);
        self.schedule.after(election_ns, Event::Operator);
        Ok(())
    }

    /// How long after the calm the cluster may take to serve on every node and agree.
    fn bound_ns(&self) -> u64 {
        let knobs = &self.plan.knobs;
        // A hop there and back with a write at each end; entries and chunks may go one by one.
        let hop_ns = 4
            * (knobs.heartbeat_ns / 3
                + knobs.notice_wait_ns
                + knobs.disk_ns
                + knobs.disk_spread_ns);
        let state = self.cluster.content_bytes();
        let steps = self.cluster.commit().0 + state / knobs.chunk_bytes;
        // To all followers one after the other, once for what each has begun with and once for what
        // it then lacks.
        let sent = 2 * knobs.nodes * (state + knobs.chunk_bytes);
        let pace_ns = |pace: u64| (sent * 1_000_000_000).checked_div(pace).unwrap_or(0);
        // Whoever lost its disk leaves, comes back and catches up.
        let repairs = 40 * self.errands.losses.len() as u64;
        self.company.patience_ns()
            + (40 + repairs) * knobs.election_ns
            + 4 * knobs.request_timeout_ns
            + 20 * knobs.scrub_ns
            + steps * hop_ns
            + pace_ns(knobs.snapshot_send_pace)
            + pace_ns(knobs.snapshot_write_pace)
    }

    /// Asks every node to write and to read until it has, then waits for all to agree.
    pub(crate) fn on_probe(&mut self) -> Result<(), Violation> {
        let calm_at = self.calm_at.expect("probes begin with the calm");
        for node in self.present_members() {
            let want = match self.workload.probes[node] {
                Probe::Write => Want::Write(self.workload.probe_write()),
                Probe::Read => Want::Read(A::probe_read()),
                Probe::Asked(_) | Probe::Done => continue,
            };
            let stage = self.workload.probes[node];
            let op = self.history.begin(want);
            self.workload.probing.insert(op, (node, stage));
            self.workload.probes[node] = Probe::Asked(op);
            self.on_ask(op, node)?;
        }
        match self.unsettled().or_else(|| self.company_unsettled()) {
            None if self.is_quiet_long_enough() => {
                self.stats.calm_ns = self.schedule.now() - calm_at;
                self.done = true;
                self.check_all_content()?;
                self.check_salvage()?;
                self.check_claims()
            }
            Some(why) if self.schedule.now() > calm_at + self.bound_ns() => {
                let bound_ms = self.bound_ns() / 1_000_000;
                let what = format!("{bound_ms} ms after the faults ended, {why}");
                Err(Violation::new("liveness", what))
            }
            _ => {
                let every = self.plan.knobs.election_ns / 4;
                self.schedule.after(every, Event::Probe);
                Ok(())
            }
        }
    }

    /// The members by the last committed configuration.
    pub(crate) fn present_members(&self) -> Vec<usize> {
        let members = self.cluster.members.current().members();
        members.into_iter().map(|id| id.0 as usize - 1).collect()
    }

    /// What is not yet as it should be.
    fn unsettled(&self) -> Option<String> {
        let config = self.cluster.members.current();
        if let Some(why) = unfinished(config, &self.errands.losses) {
            return Some(why);
        }
        self.present_members()
            .into_iter()
            .find_map(|at| self.unsettled_member(at))
    }

    fn unsettled_member(&self, at: usize) -> Option<String> {
        let (commit, name) = (self.cluster.commit(), at + 1);
        let Some(live) = &self.nodes[at].live else {
            return Some(format!("n{name} is down"));
        };
        let status = live.replica.status();
        if status.short_of_space {
            return Some(format!("n{name} still takes its disk to be full"));
        }
        if self.workload.probes[at] != Probe::Done {
            return Some(format!(
                "n{name} has not served a write and a read: {status:?}"
            ));
        }
        if status.applied != commit {
            return Some(format!("n{name} has not applied {commit}: {status:?}"));
        }
        if let Some(lost) = live.replica.raft().unreadable().next() {
            return Some(format!("n{name} cannot read {lost}: {status:?}"));
        }
        let config = self.cluster.members.current();
        if live.replica.raft().config() != config {
            return Some(format!("n{name} does not know of {config:?}"));
        }
        let mut owed = live.pending.iter().chain(&live.errands);
        if let Some(op) = owed.next() {
            return Some(format!("n{name} still owes request {op} an outcome"));
        }
        self.decayed(at)
            .map(|what| format!("n{name} has not mended its disk: {what}"))
    }

    fn check_all_content(&self) -> Result<(), Violation> {
        let members = self.present_members();
        let live = members.iter().map(|&at| self.nodes[at].live.as_ref());
        let machines = live.map(|live| live.expect("all members are up").replica.machine());
        for machine in machines.clone() {
            self.cluster.check_content(self.cluster.commit(), machine)?;
        }
        let machines: Vec<_> = machines.map(|witness| witness.machine()).collect();
        let judged = self.cluster.model.judge_all(&machines);
        judged.map_err(|why| Violation::new("all alike", why))
    }
}
