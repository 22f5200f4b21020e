//! The one loop: takes in everything that has arrived, ends the turn once, carries out what
//! the replica wants. Never waits while it holds something to do, unless for its own record, and
//! never decides anything.
//!
//! # Source
//! Dissertation §10.2 (batching); ARCHITECTURE.md, "The driver and its three doors" (turns without
//! timers).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use headwater_raft::{Config, Instant, NodeId, ReadLevel, RoleName};
use headwater_replica::interface::{
    Input, MemberChange, Output, ProposeFate, ReadFate, ReconfigureFate, RequestId, TransferFate,
};
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::FileOrder;
use headwater_replica::{LogOrder, StateMachine, note, telling};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use crate::clock::Clock;
use crate::company::{Company, Stage};
use crate::counters::{Counters, SLOW_APPLY_NS};
use crate::event::{Event, REQUESTS_PENDING_MAX};
use crate::handle::{
    Applied, ProposeError, ReadError, ReconfigureError, StopReason, TransferError,
};
use crate::inbox::Inbox;
use crate::leadership::{Leadership, News};
use crate::leaving::Leaving;
use crate::link::{Link, PeerEvent};
use crate::links::Links;
use crate::name::Names;
use crate::outcome::{
    Pending, ProposalOutcome, QueryOutcome, ReconfigureOutcome, TransferOutcome, propose_error,
    read_error, reconfigure_error, transfer_error,
};
use crate::recorder::{self, Recorder};
use crate::status::StatusCell;
use crate::tcp::Network;
use crate::worker::Worker;
use crate::{mending, space};

/// How many nanoseconds a node that was asked to stop goes on for the sake of requests under way.
const GRACE_NS: u64 = 500_000_000;

/// What the loop is made of.
pub struct Parts<M: StateMachine> {
    /// The clock that the replica was started with.
    pub clock: Clock,
    /// The node.
    pub replica: Replica<M>,
    /// What stands beside its machine.
    pub company: Box<dyn Company<M>>,
    /// Where everything arrives.
    pub inbox: Arc<Inbox<Event<M>>>,
    /// The connections.
    pub network: Network,
    /// The log's thread.
    pub log: Worker<LogOrder>,
    /// The snapshots' thread.
    pub files: Worker<FileOrder>,
    /// Where the status is shown.
    pub status: Arc<StatusCell>,
    /// Where the configuration in force is shown.
    pub config: watch::Sender<Config>,
    /// What log lines call the nodes.
    pub names: Names,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// How often a leader is to be heard of.
    pub heartbeat_ns: u64,
    /// Who keeps a record, if anyone does.
    pub recorder: Option<Recorder>,
}

/// The loop.
pub struct Driver<M: StateMachine> {
    parts: Parts<M>,
    links: Links,
    leaving: Leaving,
    pending: HashMap<RequestId, Pending<M>>,
    next_request: u64,
    events: Vec<Event<M>>,
    outputs: Vec<Output<M>>,
    stop_by: Option<Instant>,
    halted: Option<String>,
    leadership: Leadership,
    /// The last refusal that was logged: a peer of another make repeats itself.
    refused: Option<(NodeId, String)>,
    /// Whether a peer has said that this node's disk is not that of the member of its name.
    is_disowned: bool,
}

impl<M: StateMachine> Driver<M> {
    /// A loop that has not begun.
    pub fn new(parts: Parts<M>) -> Self {
        let raft = parts.replica.raft();
        Self {
            leaving: Leaving::new(raft.config().peers_of(raft.me())),
            leadership: Leadership::new(parts.names.clone()),
            links: Links::new(parts.names.clone(), parts.counters.clone()),
            parts,
            pending: HashMap::new(),
            next_request: 0,
            events: Vec::new(),
            outputs: Vec::new(),
            stop_by: None,
            halted: None,
            refused: None,
            is_disowned: false,
        }
    }

    /// Runs the node until it is told to stop or cannot go on.
    pub async fn run(mut self) -> StopReason {
        let reason = self.turns().await;
        self.stop().await;
        reason
    }

    async fn turns(&mut self) -> StopReason {
        let mut timer = Box::pin(sleep_until(tokio::time::Instant::now()));
        let mut armed = Instant(0);
        // What was committed before is applied, and the company says who may not connect.
        self.end_turn().await;
        self.take_in();
        self.parts.network.open();
        loop {
            // Handlers of requests that came with one read of the network are queued before this
            // task, which the first of them wakes; so they share the turn without being waited for.
            self.take_in();
            self.end_turn().await;
            if let Some(text) = self.halted.take() {
                return StopReason::Halted(text);
            }
            if self.may_stop() {
                return StopReason::Shutdown;
            }
            let due = self.parts.replica.next_deadline();
            let company = self.parts.company.next_deadline();
            let others = [self.links.next_deadline(), self.stop_by, company];
            let due = others.into_iter().flatten().fold(due, Instant::min);
            if due <= self.parts.clock.now() {
                // A timer that is over would not let others run.
                tokio::task::yield_now().await;
                continue;
            }
            // A timer set too early costs an idle turn; setting it anew costs something each turn.
            if due < armed || timer.is_elapsed() {
                timer.as_mut().reset(self.parts.clock.timer_at(due));
                armed = due;
            }
            let awaits_disk = self.parts.replica.raft().awaits_own_disk();
            self.parts.inbox.want_all(awaits_disk);
            self.wait(timer.as_mut()).await;
        }
    }

    async fn wait(&mut self, timer: Pin<&mut Sleep>) {
        tokio::select! {
            biased;
            () = self.parts.inbox.wait() => {}
            () = timer => {}
        }
    }

    fn take_in(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        if self.parts.inbox.take(&mut events) {
            let now = self.parts.clock.now();
            self.parts.counters.inputs.add(events.len() as u64);
            for event in events.drain(..) {
                self.on_event(now, event);
            }
        }
        self.events = events;
    }

    fn on_event(&mut self, now: Instant, event: Event<M>) {
        match event {
            Event::Propose(command, outcome) => self.on_propose(now, command, outcome),
            Event::Query(query, level, outcome) => {
                self.on_query(now, query, level, outcome);
            }
            Event::Reconfigure(change, outcome) => self.on_reconfigure(now, change, outcome),
            Event::PeerAddress(peer, address) => self.parts.network.add(peer, address),
            Event::Refuse(peer) => self.on_refuse(now, peer),
            Event::Card(card) => self.parts.network.set_card(card),
            Event::Transfer(to, outcome) => self.on_transfer(now, to, outcome),
            Event::Note(to, number, bytes) => self.links.send(to, note(number, bytes), false),
            Event::Peer(PeerEvent::Up(link)) => self.on_link_up(now, link),
            Event::Peer(PeerEvent::Frames(link, frames)) => self.on_frames(now, &link, frames),
            Event::Peer(PeerEvent::Down(link)) => self.on_link_down(now, &link),
            Event::LogDone(upto) => self.step(now, Input::LogDone { upto }),
            Event::LogSpace(short) => self.step(now, Input::LogSpace { short }),
            Event::FileDone(done) => self.step(now, Input::FileDone(done)),
            Event::WorkerFailed(text) => self.halt(text),
            Event::Shutdown => {
                self.parts.network.stop_accepting();
                let stop_by = now.after(GRACE_NS);
                self.stop_by.get_or_insert(stop_by);
            }
        }
    }

    fn on_propose(&mut self, now: Instant, command: Bytes, outcome: ProposalOutcome<M::Reply>) {
        // A client that has gone away is answered by nobody; a failed send is no loss.
        if self.stop_by.is_some() {
            let _ = outcome.send(Err(ProposeError::Stopped));
        } else if self.pending.len() >= REQUESTS_PENDING_MAX {
            let _ = outcome.send(Err(ProposeError::Busy));
        } else {
            let request = self.name(Pending::Proposal(command.len(), outcome));
            self.step(now, Input::Propose { request, command });
        }
    }

    fn on_query(
        &mut self,
        now: Instant,
        query: M::Query,
        level: Option<ReadLevel>,
        outcome: QueryOutcome<M::Answer>,
    ) {
        if self.stop_by.is_some() {
            let _ = outcome.send(Err(ReadError::Stopped));
        } else if self.pending.len() >= REQUESTS_PENDING_MAX {
            let _ = outcome.send(Err(ReadError::Busy));
        } else {
            let request = self.name(Pending::Query(outcome));
            self.step(
                now,
                Input::Query {
                    request,
                    query,
                    level,
                },
            );
        }
    }

    fn on_reconfigure(&mut self, now: Instant, change: MemberChange, outcome: ReconfigureOutcome) {
        if self.stop_by.is_some() {
            let _ = outcome.send(Err(ReconfigureError::Stopped));
        } else if self.pending.len() >= REQUESTS_PENDING_MAX {
            let _ = outcome.send(Err(ReconfigureError::Busy));
        } else {
            let request = self.name(Pending::Reconfigure(outcome));
            self.step(now, Input::Reconfigure { request, change });
        }
    }

    fn on_transfer(&mut self, now: Instant, to: Option<NodeId>, outcome: TransferOutcome) {
        if self.stop_by.is_some() {
            let _ = outcome.send(Err(TransferError::Stopped));
        } else if self.pending.len() >= REQUESTS_PENDING_MAX {
            let _ = outcome.send(Err(TransferError::Busy));
        } else {
            let request = self.name(Pending::Transfer(outcome));
            self.step(now, Input::Transfer { request, to });
        }
    }

    /// Names never come again, so an answer can never reach the wrong client.
    fn name(&mut self, pending: Pending<M>) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.pending.insert(request, pending);
        request
    }

    fn on_refuse(&mut self, now: Instant, peer: NodeId) {
        self.parts.network.refuse(peer);
        let raft = self.parts.replica.raft();
        self.leaving.refuse(now, raft.me(), raft.config(), peer);
    }

    fn on_link_up(&mut self, now: Instant, link: Arc<Link>) {
        let (peer, met) = (link.peer(), link.met());
        if self.links.put(link) {
            self.step(now, Input::Link { peer, up: false });
        }
        let (disk, life) = (met.disk, met.life);
        self.step(now, Input::Met { peer, disk, life });
        self.step(now, Input::Link { peer, up: true });
    }

    fn on_frames(&mut self, now: Instant, link: &Arc<Link>, frames: Vec<Bytes>) {
        link.taken(&frames);
        // What an older connection still brings in comes out of order.
        if !self.links.is_current(link) {
            return;
        }
        let from = link.peer();
        for frame in frames {
            self.step(now, Input::Frame { from, frame });
        }
    }

    fn on_link_down(&mut self, now: Instant, link: &Arc<Link>) {
        if self.links.remove(link) {
            let peer = link.peer();
            self.step(now, Input::Link { peer, up: false });
        }
    }

    fn step(&mut self, now: Instant, input: Input<M>) {
        // Nothing may be decided on behalf of a disk that can no longer keep it.
        if self.halted.is_some() {
            return;
        }
        let Parts {
            replica, recorder, ..
        } = &mut self.parts;
        let told = recorder.as_ref().map(|_| telling::input(&input, None));
        replica.step(now, input, &mut self.outputs);
        if let (Some(recorder), Some(told)) = (recorder, told) {
            recorder.step(told, &replica.take_calls());
        }
    }

    fn halt(&mut self, text: String) {
        self.halted.get_or_insert(text);
    }

    async fn end_turn(&mut self) {
        if self.halted.is_some() {
            return;
        }
        let now = self.parts.clock.now();
        let raft = self.parts.replica.raft();
        let late_at = raft.next_deadline().after(self.parts.heartbeat_ns);
        if now > late_at && raft.role() == RoleName::Leader {
            self.parts.counters.late_heartbeats.add(1);
        }
        let replica = &mut self.parts.replica;
        replica.settle(now, &mut self.outputs);
        // Peers and disk need not wait until this turn's commands are applied; a record is of whole
        // turns.
        if self.parts.recorder.is_none() {
            self.carry_out(now);
        }
        self.apply();
        self.parts.counters.turns.add(1);
        self.record().await;
        let now = self.parts.clock.now();
        self.carry_out(now);
        self.part_with_leaving();
        let status = self.parts.replica.status();
        let node = || self.parts.names.of(status.node);
        match self.leadership.news(now, &status) {
            Some(News::Leader(text)) => tracing::info!(node = %node(), "{text}"),
            Some(News::NoLeader(text)) => tracing::warn!(node = %node(), "{text}"),
            None => {}
        }
        let before = self.parts.status.read();
        space::tell(node, before, status);
        mending::tell(node, before, status);
        self.parts.status.write(status);
        self.attend(now);
    }

    fn apply(&mut self) {
        let before = self.parts.clock.now();
        let Parts {
            replica, company, ..
        } = &mut self.parts;
        let mut is_applying = false;
        let mut onlooker = |machine: &M| {
            is_applying = true;
            company.after_command(machine);
        };
        replica.apply(&mut self.outputs, &mut onlooker);
        if is_applying && self.parts.clock.now() > before.after(SLOW_APPLY_NS) {
            self.parts.counters.slow_applies.add(1);
        }
    }

    /// What anyone may see of this turn is recorded first.
    async fn record(&mut self) {
        let Parts {
            replica, recorder, ..
        } = &mut self.parts;
        if let Some(recorder) = recorder {
            let frames = self.outputs.iter().filter_map(|output| match output {
                Output::Frame { to, frame, .. } => Some((*to, self.links.is_linked(*to), frame)),
                _ => None,
            });
            recorder.turn(&replica.take_calls(), frames);
        }
        recorder::written(recorder, replica).await;
    }

    /// The company sees how things stand.
    fn attend(&mut self, now: Instant) {
        let Parts {
            replica,
            company,
            names,
            inbox,
            ..
        } = &mut self.parts;
        company.after_turn(&Stage {
            now,
            machine: replica.machine(),
            raft: replica.raft(),
            reign: replica.reigns_in(),
            applied: replica.status().applied,
            names,
            inbox,
        });
    }

    fn carry_out(&mut self, now: Instant) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let (mut log_orders, mut file_orders) = (Vec::new(), Vec::new());
        for output in outputs.drain(..) {
            match output {
                Output::Frame {
                    to,
                    frame,
                    can_wait,
                } => self.links.send(to, frame, can_wait),
                Output::Log(order) => log_orders.push(order),
                Output::File(order) => file_orders.push(order),
                Output::Proposed { request, result } => self.on_proposed(request, result),
                Output::Answered { request, result } => self.on_answered(request, result),
                Output::Config { config, committed } => self.on_config(config, committed),
                Output::Reconfigured { request, result } => self.on_reconfigured(request, result),
                Output::Transferred { request, result } => self.on_transferred(request, result),
                Output::Note {
                    from,
                    number,
                    bytes,
                } => self.parts.company.on_note(from, number, bytes),
                Output::Refused { from, why } => self.on_refused(from, why),
                Output::Disowned { by } => self.on_disowned(by),
                Output::Halt(text) => self.halt(text),
            }
        }
        self.outputs = outputs;
        // Peers first: their way to a durable copy is the longer one.
        self.links.flush(now);
        if !log_orders.is_empty() {
            self.parts.log.give(log_orders);
        }
        if !file_orders.is_empty() {
            self.parts.files.give(file_orders);
        }
    }

    /// Another configuration is in force. Who was a member of a committed one and is no more has
    /// nothing to say here.
    fn on_config(&mut self, config: Config, committed: bool) {
        if committed {
            let (now, me) = (self.parts.clock.now(), self.parts.replica.raft().me());
            self.leaving.on_config(now, me, &config);
        }
        self.parts.config.send_replace(config);
    }

    fn part_with_leaving(&mut self) {
        let (now, raft) = (self.parts.clock.now(), self.parts.replica.raft());
        for peer in self.leaving.take_due(now, || raft.peers()) {
            self.parts.network.forget(peer);
            self.links.close(peer);
        }
    }

    fn on_reconfigured(&mut self, request: RequestId, result: Result<(), ReconfigureFate>) {
        let Some(Pending::Reconfigure(outcome)) = self.pending.remove(&request) else {
            panic!("a second outcome, or one for a change never asked for: {request:?}");
        };
        let _ = outcome.send(result.map_err(reconfigure_error));
    }

    /// This node's data directory was lost; told once, although every connection tells of it.
    fn on_disowned(&mut self, by: NodeId) {
        if !self.is_disowned {
            self.is_disowned = true;
            let peer = self.parts.names.of(by);
            tracing::error!(
                %peer,
                "not heard: this data directory is not that of the member of this node's name. If \
                 that one was lost, remove the member and add it again as a new one; if this was \
                 done just now, it passes"
            );
        }
    }

    fn on_refused(&mut self, from: NodeId, why: String) {
        let refusal = Some((from, why));
        if self.refused != refusal {
            self.refused = refusal;
            if let Some((from, why)) = &self.refused {
                let peer = self.parts.names.of(*from);
                tracing::warn!(%peer, %why, "a peer was not heard");
            }
        }
    }

    fn on_proposed(
        &mut self,
        request: RequestId,
        result: Result<(headwater_raft::LogId, M::Reply), ProposeFate>,
    ) {
        let Some(Pending::Proposal(bytes, outcome)) = self.pending.remove(&request) else {
            panic!("a second outcome, or one for a request never made: {request:?}");
        };
        let result = result
            .map(|(at, reply)| Applied { at, reply })
            .map_err(|fate| propose_error(fate, bytes));
        let _ = outcome.send(result);
    }

    fn on_answered(&mut self, request: RequestId, result: Result<M::Answer, ReadFate>) {
        let Some(Pending::Query(outcome)) = self.pending.remove(&request) else {
            panic!("a second answer, or one for a query never made: {request:?}");
        };
        let _ = outcome.send(result.map_err(read_error));
    }

    fn on_transferred(&mut self, request: Option<RequestId>, result: Result<NodeId, TransferFate>) {
        let Some(request) = request else {
            let (names, what) = (&self.parts.names, "this node's disk is slow or full");
            match result.map(|to| names.of(to)).map_err(transfer_error) {
                Ok(to) => tracing::warn!(%to, "{what}: handed leadership over"),
                Err(why) => tracing::warn!(%why, "{what}: did not hand leadership over"),
            }
            return;
        };
        let Some(Pending::Transfer(outcome)) = self.pending.remove(&request) else {
            panic!("a second outcome, or one for a transfer never asked for: {request:?}");
        };
        let _ = outcome.send(result.map_err(transfer_error));
    }

    fn may_stop(&self) -> bool {
        self.stop_by
            .is_some_and(|stop_by| self.pending.is_empty() || self.parts.clock.now() >= stop_by)
    }

    async fn stop(self) {
        for event in self.parts.inbox.close() {
            match event {
                Event::Propose(_, outcome) => drop(outcome.send(Err(ProposeError::Stopped))),
                Event::Query(_, _, outcome) => drop(outcome.send(Err(ReadError::Stopped))),
                Event::Reconfigure(_, outcome) => {
                    drop(outcome.send(Err(ReconfigureError::Stopped)));
                }
                Event::Transfer(_, outcome) => drop(outcome.send(Err(TransferError::Stopped))),
                _ => {}
            }
        }
        // Who still waits has a command under way: its channel breaks, which the handle takes for
        // an unknown outcome.
        drop(self.pending);
        self.links.finish();
        drop(self.parts.network);
        let (log, files) = tokio::join!(self.parts.log.finish(), self.parts.files.finish());
        if !log || !files {
            tracing::error!("a disk thread did not end: the data directory stays locked");
        }
    }
}
