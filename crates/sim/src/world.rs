//! The world: nodes, network and clients on one thread, moved by one queue of events.
//! Never reads a clock or throws dice that are not the seed's.
//!
//! What runs in it is what runs in production: the replica, the log, the snapshot files, recovery
//! and the store.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors"; FoundationDB and TigerBeetle for the idea.

use std::collections::BTreeMap;

use headwater_raft::{Config, NodeId, RoleName};
use headwater_replica::LogOrder;
use headwater_replica::interface::{Input, Output};
use headwater_replica::snapshot_file::FileOrder;
use headwater_replica::telling;

use crate::application::{Application, Hearsay};
use crate::check::bounded::Bounds;
use crate::check::history::History;
use crate::check::peace::Peace;
use crate::check::raft::Cluster;
use crate::check::{Violation, ensure};
use crate::company::Company;
use crate::cover::Cover;
use crate::dice::Dice;
use crate::errands::Errands;
use crate::network::Network;
use crate::node::Node;
use crate::plan::{Mark, Plan};
use crate::schedule::{Event, Schedule};
use crate::setback::Setbacks;
use crate::trace::{Stats, Trace};
use crate::witness::Watched;
use crate::workload::Workload;

/// More events than any plan needs: a storm.
const EVENTS_MAX: u64 = 5_000_000;

/// A world in motion.
pub(crate) struct World<A: Application> {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node<A>>,
    pub(crate) cluster: Cluster<A>,
    pub(crate) history: History<A>,
    pub(crate) workload: Workload<A>,
    pub(crate) company: Box<dyn Company<A>>,
    pub(crate) hearsay: Box<dyn Hearsay<A::Machine>>,
    pub(crate) errands: Errands,
    pub(crate) setbacks: Setbacks,
    pub(crate) bounds: Bounds,
    pub(crate) peace: Peace,
    pub(crate) marks: BTreeMap<Mark, u64>,
    pub(crate) trace: Trace,
    pub(crate) cover: Cover,
    pub(crate) stats: Stats,
    /// When the faults ended.
    pub(crate) calm_at: Option<u64>,
    pub(crate) done: bool,
    /// The first claim of the plan that did not hold.
    pub(crate) unmet: Option<String>,
}

impl<A: Application> World<A> {
    /// The world as `plan` has it, before the first event.
    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let (seed, drift) = (plan.seed, plan.knobs.drift);
        let network = Network::new(seed, &plan.knobs);
        let workload = Workload::new(seed, &plan.knobs);
        let first = Config::of_voters((1..=plan.knobs.nodes).map(NodeId));
        let machines = plan.knobs.nodes + plan.knobs.reserves;
        let nodes = (0..machines).map(|at| {
            let founds = at < plan.knobs.nodes;
            let config = if founds {
                first.clone()
            } else {
                Config::default()
            };
            Node::new(seed, at as usize, drift, config)
        });
        let mut world = Self {
            schedule: Schedule::default(),
            network,
            nodes: nodes.collect(),
            cluster: Cluster::new(first),
            errands: Errands::default(),
            setbacks: Setbacks::new(&plan.faults),
            bounds: Bounds::default(),
            peace: Peace::default(),
            history: History::default(),
            workload,
            company: A::company(seed, &plan.knobs),
            hearsay: A::hearsay(),
            marks: BTreeMap::new(),
            trace,
            cover: Cover::default(),
            stats: Stats::default(),
            calm_at: None,
            done: false,
            unmet: None,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let (plan, trace) = (&self.plan, &mut self.trace);
        trace.tell(0, None, "plan", |object| {
            object.text("plan", &plan.to_string())
        });
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
        self.begin_company();
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
        let verdict = self.hearsay.verdict();
        verdict.map_err(|why| Violation::new("hearsay", why))
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Frame {
                from,
                to,
                epoch,
                sending,
                wire,
            } => self.on_wire((from, to), epoch, sending, &wire),
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
            Event::Rest { node, life } => return self.on_rest(node, life),
            Event::Timer { node, life } => {
                let now = self.schedule.now();
                if let Some(live) = self.nodes[node].living(life)
                    && live.timer_at <= now
                {
                    live.timer_at = u64::MAX;
                    self.wake(node);
                }
            }
            Event::Log { node, .. }
            | Event::Idle { node, .. }
            | Event::Spare { node, .. }
            | Event::File { node, .. }
            | Event::Scrub { node, .. }
                if self.nodes[node].hung_until > self.schedule.now() =>
            {
                self.schedule.at(self.nodes[node].hung_until, event);
            }
            Event::Log { node, life } => return self.on_log(node, life),
            Event::Idle { node, life } => return self.on_idle(node, life),
            Event::Spare { node, life } => return self.on_spare(node, life),
            Event::File { node, life } => return self.on_file(node, life),
            Event::Scrub { node, life } => return self.on_scrub(node, life),
            Event::Start { node } => return self.on_start(node),
            Event::Client { client } => self.on_client(client),
            Event::Ask { op, node } => return self.on_ask(op, node),
            Event::Fault { fault } => return self.strike(fault, None),
            Event::Heal { blocked } => self.network.unblock(&mut self.schedule, &blocked),
            Event::Pace { node } => self.set_pace(node, None),
            Event::Room { node } => self.nodes[node].disk.set_quota(None),
            Event::Die {
                node,
                life,
                down_ns,
                // Whoever hung when the calm came has been killed by it.
            } if self.calm_at.is_none() => return self.on_die(node, life, down_ns),
            Event::Die { .. } => {}
            Event::SetBack { node, down_ns } => return self.on_set_back(node, down_ns),
            Event::TakeAway { node, witness } => return self.on_take_away(node, witness),
            Event::Company => return self.on_company(),
            Event::Operator => self.on_operator(),
            Event::Calm => return self.on_calm(),
            Event::Probe => return self.on_probe(),
        }
        Ok(())
    }

    pub(crate) fn on_link(&mut self, node: usize, peer: usize, epoch: u64, up: bool) {
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
                live.waits.put(Input::Link {
                    peer: from,
                    up: false,
                });
            }
            // What the handshake says. A peer that has died since will be heard to be gone.
            if let Some(disk) = disk {
                live.waits.put(Input::Met {
                    peer: from,
                    disk,
                    life,
                });
            }
            live.links.insert(peer, epoch);
            live.unread.remove(&peer);
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
    pub(crate) fn give(&mut self, node: usize, input: Input<Watched<A>>) {
        if let Some(live) = &mut self.nodes[node].live {
            live.waits.put(input);
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
        let (mut outputs, mut changes, mut has_heard) = (Vec::new(), Vec::new(), false);
        let trace = &mut self.trace;
        for input in live.waits.take(instant)? {
            let is_frame = matches!(input, Input::Frame { .. });
            let sending = is_frame.then(|| live.sendings.pop_front()).flatten();
            let told = trace.has_file().then(|| telling::input(&input, sending));
            match &input {
                Input::Frame { from, frame } => {
                    has_heard = true;
                    self.setbacks.on_heard(node, from.0 as usize - 1, frame);
                }
                Input::Met { peer, disk, .. } => {
                    self.setbacks.on_met(node, peer.0 as usize - 1, *disk);
                }
                Input::Reconfigure { request, .. } => changes.push(request.0),
                Input::Transfer { request, .. } => self.errands.on_taken(request.0, instant),
                _ => {}
            }
            live.replica.step(instant, input, &mut outputs);
            live.tell_calls(trace, (now, node), sending);
            if let Some(told) = told {
                trace.tell(now, Some(node), "step", |object| {
                    object.object("input", told).object("state", live.state())
                });
            }
        }
        live.replica.end_turn(instant, &mut outputs);
        live.tell_calls(trace, (now, node), None);
        trace.tell(now, Some(node), "turn", |object| {
            object.object("state", live.state())
        });
        let mut marks = Vec::new();
        for output in &outputs {
            if let Output::Log(order) = output {
                self.on_order(node, order, &mut marks)?;
            }
            if let Output::File(FileOrder::Receive { .. }) = output {
                marks.push(Mark::SnapshotPiece);
            }
        }
        self.after_changes(&changes, &outputs)?;
        self.look(node, &mut marks)?;
        self.company_after_turn(node)?;
        self.carry_out(node, outputs)?;
        for mark in marks {
            self.mark(mark, node)?;
        }
        self.set_timer(node);
        self.rest_soon(node)?;
        self.check_halted(node, has_heard)?;
        self.check_transfers(node, instant)
    }

    /// What the core has just ordered of its log.
    fn on_order(
        &mut self,
        node: usize,
        order: &LogOrder,
        marks: &mut Vec<Mark>,
    ) -> Result<(), Violation> {
        if let Some(live) = &mut self.nodes[node].live {
            live.log_image.obey(order);
        }
        if matches!(order, LogOrder::Write(write) if write.truncate_from.is_some()) {
            marks.push(Mark::Truncation);
        }
        self.cluster.on_order(&self.nodes[node], order)
    }

    /// The oracles look at a node whose turn has ended, before anyone hears of it.
    fn look(&mut self, node: usize, marks: &mut Vec<Mark>) -> Result<(), Violation> {
        let is_new = self.cluster.after_turn(&self.nodes, node)?;
        self.cover.see(&self.nodes);
        self.history.on_committed(&self.cluster)?;
        self.note_commit();
        self.check_peace()?;
        let now = self.schedule.now();
        let Some(live) = &mut self.nodes[node].live else {
            return Ok(());
        };
        let raft = live.replica.raft();
        let election_ns = self.plan.knobs.election_ns;
        self.cluster.check_office(raft, now, election_ns)?;
        live.commit_seen = raft.commit();
        if live.config_seen != *raft.config() {
            live.config_seen = raft.config().clone();
        }
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

    fn set_timer(&mut self, node: usize) {
        let (life, clock) = (self.nodes[node].life, self.nodes[node].clock);
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        let due = live.replica.next_deadline();
        let frames_due = live.waits.next_deadline().unwrap_or(due);
        let at = clock.when(due.min(frames_due));
        if at < live.timer_at {
            live.timer_at = at;
            self.schedule.at(at, Event::Timer { node, life });
        }
    }
}
