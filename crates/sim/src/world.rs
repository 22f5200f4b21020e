//! The world: nodes, network and clients on one thread, moved by one queue of events.
//! Never reads a clock or throws dice that are not the seed's.
//!
//! What runs in it is what runs in production: the replica, the log, the snapshot files, recovery
//! and the store.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors"; FoundationDB and TigerBeetle for the idea.

use std::collections::BTreeMap;

use headwater_raft::{NodeId, RoleName};
use headwater_replica::interface::{Input, Output, TransferFate};
use headwater_replica::snapshot_file::FileOrder;
use headwater_replica::{LogOrder, message_of};

use crate::check::history::History;
use crate::check::raft::Cluster;
use crate::check::{Violation, ensure, promise};
use crate::dice::Dice;
use crate::network::Network;
use crate::node::Node;
use crate::plan::{Mark, Plan};
use crate::schedule::{Event, Schedule};
use crate::trace::{Stats, Trace};
use crate::witness::Witness;
use crate::workload::Workload;

/// More events than any plan needs: a storm.
const EVENTS_MAX: u64 = 5_000_000;

/// A world in motion.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cluster: Cluster,
    pub(crate) history: History,
    pub(crate) workload: Workload,
    pub(crate) marks: BTreeMap<Mark, u64>,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    /// When the faults ended.
    pub(crate) calm_at: Option<u64>,
    pub(crate) done: bool,
}

impl World {
    /// The world as `plan` has it, before the first event.
    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let (seed, drift) = (plan.seed, plan.knobs.drift);
        let network = Network::new(seed, &plan.knobs);
        let workload = Workload::new(seed, &plan.knobs);
        let nodes = (0..plan.knobs.nodes as usize).map(|at| Node::new(seed, at, drift));
        let mut world = Self {
            schedule: Schedule::default(),
            network,
            nodes: nodes.collect(),
            cluster: Cluster::new(plan.knobs.nodes as usize),
            history: History::default(),
            workload,
            marks: BTreeMap::new(),
            trace,
            stats: Stats::default(),
            calm_at: None,
            done: false,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            let after = Dice::of(self.plan.seed, "boot", &[node as u64]).below(20_000_000);
            self.schedule.after(after, Event::Start { node });
            for peer in 0..node {
                self.network
                    .close(&mut self.schedule, (peer, node), [false; 2]);
            }
        }
        self.schedule_faults();
        self.begin_workload();
        self.schedule.at(self.plan.knobs.faults_ns, Event::Calm);
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        while !self.done {
            let Some(event) = self.schedule.next() else {
                return Err(Violation::new("liveness", "nothing is left to happen"));
            };
            self.stats.events += 1;
            self.trace.mix(self.schedule.now());
            self.happen(event)?;
            ensure(self.stats.events < EVENTS_MAX, "storm", || {
                format!("{EVENTS_MAX} events, and no end")
            })?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Frame {
                from,
                to,
                epoch,
                frame,
            } => self.on_frame(from, to, epoch, frame),
            Event::Link {
                node,
                peer,
                epoch,
                up,
            } => self.on_link(node, peer, epoch, up),
            Event::Connect { a, b } => {
                let alive = self.nodes[a].live.is_some() && self.nodes[b].live.is_some();
                self.network.connect(&mut self.schedule, (a, b), alive);
            }
            Event::Turn { node, life } => return self.on_turn(node, life),
            Event::Timer { node, life } => {
                let now = self.schedule.now();
                if let Some(live) = self.nodes[node].living(life)
                    && live.timer_at <= now
                {
                    live.timer_at = u64::MAX;
                    self.wake(node);
                }
            }
            Event::Log { node, life } => return self.on_log(node, life),
            Event::Idle { node, life } => return self.on_idle(node, life),
            Event::Spare { node, life } => return self.on_spare(node, life),
            Event::File { node, life } => return self.on_file(node, life),
            Event::Start { node } => return self.on_start(node),
            Event::Client { client } => self.on_client(client),
            Event::Ask { op, node } => self.on_ask(op, node),
            Event::Fault { fault } => return self.strike(fault, None),
            Event::Heal { blocked } => self.network.unblock(&mut self.schedule, &blocked),
            Event::Calm => self.on_calm(),
            Event::Probe => return self.on_probe(),
        }
        Ok(())
    }

    fn on_frame(&mut self, from: usize, to: usize, epoch: u64, frame: bytes::Bytes) {
        self.trace
            .mix(u64::from(headwater_replica::checksum::crc32c(&frame)));
        let Some(live) = &mut self.nodes[to].live else {
            return;
        };
        if live.links.get(&from) != Some(&epoch) {
            // No frame comes before its connection, but some outlive it.
            let met = live.met.get(&from).is_some_and(|&newest| epoch <= newest);
            if !met || !self.network.outlives((from, to), &frame) {
                return;
            }
        }
        self.stats.frames += 1;
        let now = self.schedule.now();
        self.trace.note(now, Some(to), || {
            format!("<- n{} {}", from + 1, describe(&frame))
        });
        let from = self.nodes[from].id;
        self.give(to, Input::Frame { from, frame });
    }

    fn on_link(&mut self, node: usize, peer: usize, epoch: u64, up: bool) {
        let from = self.nodes[peer].id;
        let other = self.nodes[peer].live.as_ref();
        let disk = other.and_then(|live| live.replica.raft().disk());
        let life = self.nodes[peer].life;
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        let known = live.links.get(&peer).copied();
        if up && !self.network.is_current((node, peer), epoch) {
            // It broke before this end had heard of it.
            return;
        }
        if up {
            // The peer would not have connected anew if the old connection worked.
            if known.is_some() {
                live.inbox.push(Input::Link {
                    peer: from,
                    up: false,
                });
            }
            // What the handshake says. A peer that has died since will be heard to be gone.
            if let Some(disk) = disk {
                live.inbox.push(Input::Met {
                    peer: from,
                    disk,
                    life,
                });
            }
            live.links.insert(peer, epoch);
            live.met.insert(peer, epoch);
        } else if known == Some(epoch) {
            live.links.remove(&peer);
        } else {
            return;
        }
        let now = self.schedule.now();
        let word = if up { "up" } else { "down" };
        self.trace
            .note(now, Some(node), || format!("link to n{} {word}", peer + 1));
        self.give(node, Input::Link { peer: from, up });
    }

    /// Puts something into a node's inbox.
    pub(crate) fn give(&mut self, node: usize, input: Input<Witness>) {
        if let Some(live) = &mut self.nodes[node].live {
            live.inbox.push(input);
            self.wake(node);
        }
    }

    /// Lets a node's next turn come, unless it is coming already.
    pub(crate) fn wake(&mut self, node: usize) {
        let turn_ns = self.plan.knobs.turn_ns;
        let after = 1000 + self.nodes[node].turn_dice.below(turn_ns);
        let life = self.nodes[node].life;
        if let Some(live) = &mut self.nodes[node].live
            && !live.turn_due
        {
            live.turn_due = true;
            self.schedule.after(after, Event::Turn { node, life });
        }
    }

    fn on_turn(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let now = self.schedule.now();
        let (paused_until, clock) = (self.nodes[node].paused_until, self.nodes[node].clock);
        let Some(live) = self.nodes[node].living(life) else {
            return Ok(());
        };
        if paused_until > now {
            self.schedule.at(paused_until, Event::Turn { node, life });
            return Ok(());
        }
        self.stats.turns += 1;
        live.turn_due = false;
        let instant = clock.at(now);
        let mut outputs = Vec::new();
        for input in std::mem::take(&mut live.inbox) {
            live.replica.step(instant, input, &mut outputs);
        }
        live.replica.end_turn(instant, &mut outputs);
        let mut marks = Vec::new();
        for output in &outputs {
            if let Output::Log(order) = output {
                live.log_image.obey(order);
                self.cluster.on_order(&live.log_image, order)?;
                if matches!(order, LogOrder::Write(write) if write.truncate_from.is_some()) {
                    marks.push(Mark::Truncation);
                }
            }
            if let Output::File(FileOrder::Receive { .. }) = output {
                marks.push(Mark::SnapshotPiece);
            }
        }
        self.look(node, &mut marks)?;
        self.carry_out(node, outputs)?;
        for mark in marks {
            self.mark(mark, node)?;
        }
        self.set_timer(node);
        Ok(())
    }

    /// The oracles look at a node whose turn has ended, before anyone hears of it.
    fn look(&mut self, node: usize, marks: &mut Vec<Mark>) -> Result<(), Violation> {
        let is_new = self.cluster.after_turn(&self.nodes, node)?;
        self.history.on_committed(&self.cluster)?;
        let now = self.schedule.now();
        let Some(live) = &mut self.nodes[node].live else {
            return Ok(());
        };
        let raft = live.replica.raft();
        let election_ns = self.plan.knobs.election_ns;
        self.cluster.check_office(raft, now, election_ns)?;
        live.commit_seen = raft.commit();
        let (term, role, commit, last) = (raft.term(), raft.role(), raft.commit(), raft.last());
        if is_new {
            self.stats.elections += 1;
            marks.push(Mark::Leader);
        }
        if role == RoleName::Candidate {
            marks.push(Mark::Candidate);
        }
        for part in [node as u64, term.0, role as u64, commit.0, last.index.0] {
            self.trace.mix(part);
        }
        self.trace.note(now, Some(node), || {
            format!(
                "turn: {} {term:?} last {last} commit {commit}",
                role.as_str()
            )
        });
        Ok(())
    }

    fn carry_out(&mut self, node: usize, outputs: Vec<Output<Witness>>) -> Result<(), Violation> {
        let Some(live) = &mut self.nodes[node].live else {
            return Ok(());
        };
        let crash = live.crash_in_turn.take();
        let kept = crash.map_or(u64::MAX, |(kept, _)| kept);
        for (place, output) in outputs.into_iter().enumerate() {
            if place as u64 >= kept {
                break;
            }
            self.carry_out_one(node, output)?;
        }
        self.start_log(node);
        self.start_file(node);
        if let Some((_, crash)) = crash {
            return self.crash(node, crash);
        }
        Ok(())
    }

    fn carry_out_one(&mut self, node: usize, output: Output<Witness>) -> Result<(), Violation> {
        let now = self.schedule.now();
        match output {
            Output::Frame { to, frame } => {
                if let Some(message) = message_of(&frame) {
                    promise::check(&self.nodes[node], to, &message)?;
                }
                self.trace.note(now, Some(node), || {
                    format!("-> {to:?} {}", describe(&frame))
                });
                let to = to.0 as usize - 1;
                let link = self.nodes[node].live.as_ref();
                if let Some(&epoch) = link.and_then(|live| live.links.get(&to)) {
                    self.network
                        .send(&mut self.schedule, (node, to), epoch, frame);
                }
            }
            Output::Log(order) => {
                self.trace.note(now, Some(node), || {
                    format!("log {}", describe_order(&order))
                });
                self.nodes[node].issued.push_back(order.clone());
                if let Some(live) = &mut self.nodes[node].live {
                    live.told_image.obey(&order);
                    live.log_queue.push(order);
                }
            }
            Output::File(order) => {
                if let Some(live) = &mut self.nodes[node].live {
                    live.file_queue.push_back(order);
                }
            }
            Output::Proposed { request, result } => {
                self.trace.note(now, Some(node), || {
                    format!(
                        "write {} ends: {:?}",
                        request.0,
                        result.as_ref().map(|r| r.0)
                    )
                });
                self.settle(node, request.0)?;
                self.history
                    .on_proposed(&self.cluster, request.0, &result)?;
                self.on_outcome(request.0, result.map(|(_, outcome)| outcome).ok());
            }
            Output::Answered { request, result } => {
                self.trace.note(now, Some(node), || {
                    let revision = result.as_ref().map(|r| r.revision);
                    format!("read {} ends: {revision:?}", request.0)
                });
                self.settle(node, request.0)?;
                let live = self.nodes[node].live.as_mut();
                let seen = &mut live.expect("it has just answered").revision_seen;
                self.history
                    .on_answered(&self.cluster, request.0, seen, &result)?;
                self.on_outcome(request.0, result.ok());
            }
            Output::Config { .. } => {}
            Output::Reconfigured { request, .. } => self.settle(node, request.0)?,
            Output::Transferred { result, .. } => self.note_transfer(node, result),
            // All nodes here are of one make, and no byte is changed on its way.
            Output::Refused { from, why } => {
                let text = format!("n{} did not hear {from:?}: {why}", node + 1);
                return Err(Violation::new("refused", text));
            }
            Output::Halt(why) => {
                return Err(Violation::new("halt", format!("n{}: {why}", node + 1)));
            }
        }
        Ok(())
    }

    /// No client here asks for a transfer; a node with a slow disk begins it by itself.
    fn note_transfer(&mut self, node: usize, result: Result<NodeId, TransferFate>) {
        let what = || format!("hands over: {result:?}");
        self.trace.note(self.schedule.now(), Some(node), what);
    }

    /// Every request ends once (rule R11).
    fn settle(&mut self, node: usize, op: u64) -> Result<(), Violation> {
        let live = self.nodes[node].live.as_mut();
        let waited = live.is_some_and(|live| live.pending.remove(&op));
        ensure(waited, "outcome", || {
            format!("n{} ends request {op} twice, or one never made", node + 1)
        })
    }

    fn set_timer(&mut self, node: usize) {
        let (life, clock) = (self.nodes[node].life, self.nodes[node].clock);
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        let at = clock.when(live.replica.next_deadline());
        if at < live.timer_at {
            live.timer_at = at;
            self.schedule.at(at, Event::Timer { node, life });
        }
    }
}

/// A frame in words.
fn describe(frame: &bytes::Bytes) -> String {
    match message_of(frame) {
        Some(message) => format!("{message:?}"),
        None => format!(
            "kind {} of {} bytes",
            frame.first().copied().unwrap_or_default(),
            frame.len()
        ),
    }
}

fn describe_order(order: &LogOrder) -> String {
    match order {
        LogOrder::Write(write) => {
            let ends = write.entries.first().zip(write.entries.last());
            let entries = ends.map(|(first, last)| (first.id, last.id));
            format!(
                "{:?} {:?} truncate {:?} entries {entries:?}",
                write.id, write.hard, write.truncate_from
            )
        }
        order => format!("{order:?}"),
    }
}
