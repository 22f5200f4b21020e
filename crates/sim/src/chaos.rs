//! Faults strike, and calm comes: after it the cluster must serve on every node, and agree.
//! Never decides what goes wrong: the plan does.
//!
//! # Source
//! TigerBeetle's VOPR (a phase for safety, a phase for liveness).

use headwater_raft::RoleName;

use crate::check::Violation;
use crate::check::history::Want;
use crate::dice::Dice;
use crate::node::{Crash, Slow};
use crate::plan::{Fault, Mark, Place, When, Whom};
use crate::schedule::Event;
use crate::workload::Probe;
use crate::world::World;

impl World {
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

    fn whom(&self, whom: Whom, marked: Option<usize>) -> usize {
        match whom {
            Whom::Node(node) => node,
            Whom::Marked => marked.unwrap_or(0),
            Whom::Leader => self.leader().unwrap_or(0),
        }
    }

    /// The leader of the highest term.
    fn leader(&self) -> Option<usize> {
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
        self.stats.faults += 1;
        let now = self.schedule.now();
        let planned = &self.plan.faults[fault];
        // Its own line is a fault's name: what it does hangs on no other.
        let mut dice = Dice::of(self.plan.seed, &planned.to_string(), &[]);
        let fault = planned.fault.clone();
        self.trace.note(now, marked, || format!("FAULT {fault}"));
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
            }
            Fault::SlowDisk {
                whom,
                factor,
                for_ns,
            } => {
                let node = self.whom(whom, marked);
                let until = now + for_ns;
                self.nodes[node].slow = Slow { factor, until };
            }
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
            Fault::SyncFails { whom, nth, down_ns } => {
                self.strike_sync(self.whom(whom, marked), (nth, dice), down_ns);
            }
            Fault::Reset { a, b } => {
                if a != b {
                    let tells = [dice.chance(3, 4), dice.chance(3, 4)];
                    let pair = (a.min(b), a.max(b));
                    self.network.close(&mut self.schedule, pair, tells);
                }
            }
        }
        Ok(())
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

    fn directions(&self, cut: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
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
    pub(crate) fn on_calm(&mut self) {
        let now = self.schedule.now();
        self.calm_at = Some(now);
        self.trace.note(now, None, || "CALM".to_string());
        self.network.calm(&self.plan.knobs);
        let cut = self.directions(|_, _| true);
        self.network.unblock_all(&mut self.schedule, &cut);
        let knobs = &mut self.plan.knobs;
        knobs.disk_ns = knobs.disk_ns.min(knobs.heartbeat_ns / 20);
        knobs.disk_spread_ns = knobs.disk_spread_ns.min(knobs.heartbeat_ns / 10);
        knobs.turn_ns = knobs.turn_ns.min(knobs.heartbeat_ns / 20);
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
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
        self.schedule.after(knobs.election_ns, Event::Probe);
    }

    /// How long after the calm the cluster may take to serve on every node and agree.
    fn bound_ns(&self) -> u64 {
        let knobs = &self.plan.knobs;
        // A hop there and back with a write at each end; entries and chunks may go one by one.
        let hop_ns = 4 * (knobs.heartbeat_ns / 3 + knobs.disk_ns + knobs.disk_spread_ns);
        let state = self.cluster.content_bytes();
        let steps = self.cluster.commit().0 + state / knobs.chunk_bytes;
        40 * knobs.election_ns + 4 * knobs.request_timeout_ns + steps * hop_ns
    }

    /// Asks every node to write and to read until it has, then waits for all to agree.
    pub(crate) fn on_probe(&mut self) -> Result<(), Violation> {
        let calm_at = self.calm_at.expect("probes begin with the calm");
        for node in 0..self.nodes.len() {
            let want = match self.workload.probes[node] {
                Probe::Write => Want::Write(self.workload.probe_write()),
                Probe::Read => self.workload.probe_read(),
                Probe::Asked(_) | Probe::Done => continue,
            };
            let stage = self.workload.probes[node];
            let op = self.history.begin(want);
            self.workload.probing.insert(op, (node, stage));
            self.workload.probes[node] = Probe::Asked(op);
            self.on_ask(op, node);
        }
        match self.unsettled() {
            None => {
                self.stats.calm_ns = self.schedule.now() - calm_at;
                self.done = true;
                self.check_all_content()
            }
            Some(why) if self.schedule.now() > calm_at + self.bound_ns() => {
                let bound_ms = self.bound_ns() / 1_000_000;
                let what = format!("{bound_ms} ms after the faults ended, {why}");
                Err(Violation::new("liveness", what))
            }
            Some(_) => {
                let every = self.plan.knobs.election_ns / 4;
                self.schedule.after(every, Event::Probe);
                Ok(())
            }
        }
    }

    /// What is not yet as it should be.
    fn unsettled(&self) -> Option<String> {
        let commit = self.cluster.commit();
        for (at, node) in self.nodes.iter().enumerate() {
            let name = at + 1;
            let Some(live) = &node.live else {
                return Some(format!("n{name} is down"));
            };
            let status = live.replica.status();
            if self.workload.probes[at] != Probe::Done {
                return Some(format!(
                    "n{name} has not served a write and a read: {status:?}"
                ));
            }
            if status.applied != commit {
                return Some(format!("n{name} has not applied {commit}: {status:?}"));
            }
            if let Some(op) = live.pending.first() {
                return Some(format!("n{name} still owes request {op} an outcome"));
            }
        }
        None
    }

    fn check_all_content(&self) -> Result<(), Violation> {
        let live = self.nodes.iter().filter_map(|node| node.live.as_ref());
        let machines = live.map(|live| live.replica.machine());
        for machine in machines.clone() {
            self.cluster.check_content(self.cluster.commit(), machine)?;
        }
        self.cluster.check_counts(machines)
    }
}
