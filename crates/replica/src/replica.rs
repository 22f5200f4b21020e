//! One node: drives the core, keeps the log's bodies, feeds the state machine.
//! Never waits: inputs in, outputs out, like the core it drives.
//!
//! A turn is any number of [`Replica::step`]s, then [`Replica::settle`] and [`Replica::apply`], which
//! [`Replica::end_turn`] joins: whatever arrives together is proposed, logged, sent and applied together
//! (natural batching).
//!
//! # Source
//! Dissertation §10.2 (batching, pipelining, writing to disk in parallel).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::{
    Effect, Entries, Holding, Incarnation, Index, Input as CoreInput, Instant, LogChange, LogId,
    Message, NodeId, Pull, Raft, RoleName, Term, Write,
};

use crate::bodies::Bodies;
use crate::brief::BriefFrames;
use crate::calls::{Core, Taken};
use crate::codec::{Frame, encode_message};
use crate::config_record::{config_entry, identities};
use crate::entry::{Entry, EntryKind, LogOrder, LogWrite};
use crate::interface::{Input, Options, Output, ProposeFate, RequestId, Status};
use crate::machine::StateMachine;
use crate::recall::Recall;
use crate::reconfigure::Changing;
use crate::recovery::Recovered;
use crate::request::Requests;
use crate::snapshots::Snapshots;
use crate::space::Space;

/// The pause between two bits of a machine's tidying: clients have most of the time.
const TIDY_PAUSE_NS: u64 = 1_000_000;

/// How many entries a turn may apply before what is old leaves memory: in a node's first turn they are
/// most of its log.
const LET_GO_EVERY: u64 = 1024;

/// One node without an operating system.
pub struct Replica<M: StateMachine> {
    pub(crate) options: Options,
    pub(crate) now: Instant,
    pub(crate) raft: Core,
    pub(crate) machine: M,
    pub(crate) applied: LogId,
    /// When the machine may do the next bit of tidying, and whether it has one to do.
    tidy_at: Instant,
    is_untidy: bool,
    pub(crate) bodies: Bodies,
    pub(crate) recall: Recall,
    pub(crate) snapshots: Snapshots<M::Walk>,
    pub(crate) space: Space,
    pub(crate) links: BTreeSet<NodeId>,
    pub(crate) requests: Requests<M>,
    pub(crate) changing: Vec<Changing>,
    /// The command of the change that is being written down, and its place.
    pub(crate) change_command: Option<(LogId, Bytes)>,
    /// Effects of the core not yet carried out, and the entries that its writes refer to.
    pub(crate) effects: Vec<Effect>,
    pub(crate) source: Vec<Entry>,
    brief: BriefFrames,
    /// The last append encoded: followers in step get the same bytes.
    last_append: Option<(Message, Bytes)>,
    /// Of peers that passed commands on: the last of those in the log, until they are told of it.
    pub(crate) awaited: BTreeMap<NodeId, Index>,
    /// The client's transfer of leadership that is under way.
    pub(crate) transfer: Option<RequestId>,
    /// The last leader known, for counting changes.
    last_leader: Option<NodeId>,
    halted: bool,
    pub(crate) proposals: u64,
    leader_changes: u64,
    repaired: u64,
}

impl<M: StateMachine> Replica<M> {
    /// A node as its disk remembers it.
    ///
    /// # Errors
    /// What the disk remembers contradicts itself; the text says how.
    ///
    /// # Panics
    /// If `options` would let the group rest.
    pub fn new(now: Instant, options: Options, disk: Recovered<M>) -> Result<Self, String> {
        assert!(!options.core.rests, "a replica does not rest");
        let core = headwater_raft::Recovered {
            me: disk.identity.node,
            hard: disk.hard,
            log: identities(disk.log_base, &disk.entries).map_err(|malformed| malformed.0)?,
            applied: disk.base,
            config: disk.config,
            disk: Some(Incarnation(disk.identity.incarnation)),
            unreadable: disk.unreadable,
            commit_hint: disk.commit,
            next_write: disk.next_write,
        };
        let raft = Raft::recover(now, options.core.clone(), core)?;
        let bodies = Bodies::new(disk.log_base, disk.entries);
        let state_bytes = disk.machine.size_bytes();
        let weight = bodies.weight(disk.base.index);
        let snapshots = Snapshots::new(disk.base, weight, state_bytes);
        Ok(Self {
            options,
            now,
            raft: Core::new(raft),
            machine: disk.machine,
            applied: disk.base,
            tidy_at: now,
            is_untidy: false,
            bodies,
            recall: Recall::default(),
            snapshots,
            space: Space::default(),
            links: BTreeSet::new(),
            requests: Requests::new(),
            changing: Vec::new(),
            change_command: None,
            effects: Vec::new(),
            source: Vec::new(),
            brief: BriefFrames::new(),
            last_append: None,
            awaited: BTreeMap::new(),
            transfer: None,
            last_leader: None,
            halted: false,
            proposals: 0,
            leader_changes: 0,
            repaired: 0,
        })
    }

    /// Takes in one event. Effects that can be shared with others of the turn wait for its end.
    pub fn step(&mut self, now: Instant, input: Input<M>, out: &mut Vec<Output<M>>) {
        self.now = self.now.max(now);
        match input {
            Input::Propose { request, command } => self.on_propose(request, command, out),
            Input::Query {
                request,
                query,
                level,
            } => self.on_query(request, query, level, out),
            Input::Transfer { request, to } => self.on_transfer(request, to, out),
            Input::Frame { from, frame } => self.on_frame(from, &frame, out),
            Input::Met { peer, disk, life } => {
                // What this turn said so far was for whoever was there before.
                out.retain(|output| !matches!(output, Output::Frame { to, .. } if *to == peer));
                self.core(CoreInput::Met { peer, disk, life }, out);
            }
            Input::Link { peer, up } => self.on_link(peer, up, out),
            Input::Reconfigure { request, change } => self.on_reconfigure(request, &change, out),
            Input::LogDone { upto } => self.core(CoreInput::Persisted { upto }, out),
            Input::LogSpace { short } => self.on_log_space(short, out),
            Input::FileDone(done) => self.on_file_done(done, out),
        }
    }

    /// Ends the turn: proposes what was gathered, sends, logs, applies.
    pub fn end_turn(&mut self, now: Instant, out: &mut Vec<Output<M>>) {
        self.settle(now, out);
        self.apply(out, &mut |_| {});
    }

    /// The first half of a turn's end: all but to apply, for which neither peers nor disk need wait.
    pub fn settle(&mut self, now: Instant, out: &mut Vec<Output<M>>) {
        self.now = self.now.max(now);
        if self.halted {
            return;
        }
        if self.now >= self.raft.next_deadline() {
            self.core(CoreInput::Deadline, out);
            if self.halted {
                return;
            }
        }
        self.propose_held(out);
        self.begin_reads(out);
        self.send_appends(out);
        self.send_pieces(out);
        self.raft.end_turn(&mut self.effects);
        self.carry_out(out);
    }

    /// The second half: applies what is committed, before someone who sees the machine after each
    /// command.
    pub fn apply(&mut self, out: &mut Vec<Output<M>>, onlooker: &mut dyn FnMut(&M)) {
        if self.halted {
            return;
        }
        self.apply_committed(out, onlooker);
        self.walk_snapshot(out);
        self.tidy();
        self.keep_reserve(out);
        self.requests.expire(self.now, out);
        self.expire_changes(out);
    }

    /// When [`Replica::end_turn`] must be called at the latest, were nothing else to happen.
    pub fn next_deadline(&self) -> Instant {
        let core = self.raft.next_deadline();
        let others = [
            self.requests.deadline(),
            self.change_deadline(),
            self.space_deadline(),
            self.snapshot_deadline(),
            self.is_untidy.then_some(self.tidy_at),
        ];
        others.into_iter().flatten().fold(core, Instant::min)
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        Status {
            node: self.raft.me(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            role: self.raft.role().as_str(),
            last: self.raft.last(),
            commit: self.raft.commit(),
            applied: self.applied.index,
            snapshot: self.snapshots.newest(),
            unreadable: self.raft.unreadable().count() as u64,
            repaired: self.repaired,
            proposals: self.proposals,
            proposals_failed: self.requests.failed,
            proposals_pending: self.requests.pending(),
            leader_changes: self.leader_changes,
            short_of_space: self.is_short(),
        }
    }

    /// The term in which this node leads, once it has applied an entry of that term.
    pub fn reigns_in(&self) -> Option<Term> {
        let term = self.raft.term();
        let leads = self.raft.role() == RoleName::Leader;
        (leads && self.applied.term == term).then_some(term)
    }

    /// The state machine, for reading only.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The core, for reading only.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// From now on the calls of the core are kept for [`Replica::take_calls`], or not.
    pub fn keep_calls(&mut self, keep: bool) {
        self.raft.keep_calls(keep);
    }

    /// The calls of the core since the last time this was asked, in order.
    pub fn take_calls(&mut self) -> Vec<Taken> {
        self.raft.take_calls()
    }

    // The core and its effects.

    /// One input to the core, and what it wants done.
    pub(crate) fn core(&mut self, input: CoreInput, out: &mut Vec<Output<M>>) {
        self.raft.step(self.now, input, &mut self.effects);
        self.carry_out(out);
    }

    pub(crate) fn carry_out(&mut self, out: &mut Vec<Output<M>>) {
        let mut effects = core::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => self.send(to, message, out),
                Effect::Persist(write) => self.on_persist(write, out),
                // Applied at the end of the turn, up to the core's commit index.
                Effect::Commit { .. } => {}
                Effect::Read { id, result } => self.requests.read_done(self.now, id, result.ok()),
                Effect::Install { from, base } => self.on_install(from, base, out),
                Effect::Config { config, committed } => {
                    out.push(Output::Config { config, committed });
                }
                Effect::Role { leader, .. } => self.on_role(leader),
                Effect::Transferred { to, result } => self.on_transferred(to, result, out),
                Effect::Disowned { by } => out.push(Output::Disowned { by }),
                Effect::Refused { from, why } => {
                    let why = why.into();
                    out.push(Output::Refused { from, why });
                }
                Effect::Halt { why } => {
                    self.halted = true;
                    out.push(Output::Halt(why));
                }
            }
        }
        // Keep the buffer: a turn has many effects.
        self.effects = effects;
    }

    /// Sends a message at once; of entries that another cannot read, what fits, unless they are to be read
    /// back first.
    fn send(&mut self, to: NodeId, message: Message, out: &mut Vec<Output<M>>) {
        let can_wait = !self.tells_awaited(to, &message);
        let frame = match message {
            Message::RepairTell {
                term,
                holding: Holding::Has(entries),
            } => {
                let (first, limit) = (entries.first(), self.options.message_bytes_max as u64);
                if first <= self.bodies.on_disk() {
                    return self.read_back((to, Some(term)), first, entries.last, out);
                }
                let upto = self.bodies.fit(first, entries.last, limit);
                let holding = Holding::Has(entries.upto(upto));
                let message = Message::RepairTell { term, holding };
                encode_message(&message, self.bodies.range(first, upto))
            }
            message => self.brief.encode(&message),
        };
        out.push(Output::Frame {
            to,
            frame,
            can_wait,
        });
    }

    /// Tells `to` something that is awaited there: all but what is committed, unless that node passed it on,
    /// and then until it has been told. Says whether it is.
    fn tells_awaited(&mut self, to: NodeId, message: &Message) -> bool {
        let Message::Commit { commit, .. } = message else {
            return true;
        };
        let Some(&awaited) = self.awaited.get(&to) else {
            return false;
        };
        if awaited <= *commit {
            self.awaited.remove(&to);
        }
        true
    }

    fn on_role(&mut self, leader: Option<NodeId>) {
        self.awaited.clear();
        if leader.is_some() && leader != self.last_leader {
            self.last_leader = leader;
            self.leader_changes += 1;
        }
        self.requests.ask_at_once();
        self.requests.hurry_forwarded(self.now, leader);
    }

    /// The leader, if it is this node or connected.
    pub(crate) fn reachable_leader(&self) -> Option<NodeId> {
        let linked = |id: &NodeId| *id == self.raft.me() || self.links.contains(id);
        self.raft.leader().filter(linked)
    }

    /// Turns a write of the core into an order to the log, with the entries' bodies.
    fn on_persist(&mut self, write: Write, out: &mut Vec<Output<M>>) {
        if let LogChange::Reset(base) = write.log {
            self.bodies.reset(base);
            let order = LogOrder::Reset {
                id: write.id,
                base,
                hard: write.hard,
            };
            return out.push(Output::Log(order));
        }
        let commit = self.commit_hint();
        if let LogChange::Repair(lost) = write.log {
            let again = self.source.iter().filter(|entry| {
                let index = entry.id.index;
                index >= lost.first() && index <= lost.last
            });
            let entries: Vec<Entry> = again.cloned().collect();
            assert_eq!(
                entries.len() as u64,
                lost.count(),
                "a repair without bodies"
            );
            self.bodies.restore(&entries);
            self.repaired += entries.len() as u64;
            return out.push(Output::Log(LogOrder::Repair {
                id: write.id,
                hard: write.hard,
                commit,
                entries,
            }));
        }
        let truncate_from = write.truncate_from();
        if let Some(from) = truncate_from {
            self.bodies.truncate(from);
        }
        let entries = match write.append() {
            None => Vec::new(),
            // The log is only cut.
            Some(entries) if entries.is_empty() => Vec::new(),
            Some(entries) if write.is_internal() => [self.internal_entry(entries)].into(),
            Some(entries) => self.take_source(entries),
        };
        self.bodies.append(entries.iter().cloned());
        out.push(Output::Log(LogOrder::Write(LogWrite {
            id: write.id,
            hard: write.hard,
            commit,
            truncate_from,
            entries,
        })));
    }

    /// What the log is told of the commit index. Not the core's: that may already count on a write
    /// still to come of the same step, and be read back beside the entries which that one was to
    /// replace.
    fn commit_hint(&self) -> Index {
        self.applied.index
    }

    /// The tail of the message or batch at hand that the core wants appended.
    fn take_source(&mut self, entries: &Entries) -> Vec<Entry> {
        let mut source = core::mem::take(&mut self.source);
        let surplus = source.len().saturating_sub(entries.count() as usize);
        source.drain(..surplus);
        let matches = source.first().map(|entry| entry.id.index) == Some(entries.first())
            && source.last().map(|entry| entry.id) == Some(entries.last_id());
        assert!(matches, "the core appends only what it was just given");
        source
    }

    /// The entry that a leader makes itself: a configuration, or the empty first one of its term.
    fn internal_entry(&self, entries: &Entries) -> Entry {
        let id = entries.last_id();
        let command = self.change_command.as_ref().filter(|(at, _)| *at == id);
        match entries.configs.first() {
            Some((_, config)) => config_entry(id, config, command.map_or(&[], |(_, bytes)| bytes)),
            None => Entry::new(id, EntryKind::Noop, Bytes::new()),
        }
    }

    // Peers.

    fn on_frame(&mut self, from: NodeId, frame: &Bytes, out: &mut Vec<Output<M>>) {
        let frame = match Frame::decode(frame) {
            Ok(frame) => frame,
            // The transport has checked the frame's checksum, so the peer is of another make.
            Err(malformed) => {
                let why = malformed.0;
                return out.push(Output::Refused { from, why });
            }
        };
        match frame {
            Frame::Raft(message, entries) => {
                self.source = entries;
                self.core(CoreInput::Receive { from, message }, out);
                self.source.clear();
            }
            Frame::Piece {
                term,
                base,
                total_bytes,
                offset,
                bytes,
            } => {
                self.snapshots.piece = Some((total_bytes, offset, bytes));
                let message = Message::Snapshot { term, base };
                self.core(CoreInput::Receive { from, message }, out);
                self.snapshots.piece = None;
            }
            Frame::PieceReply { base, upto } => self.on_piece_reply(from, base, upto),
            Frame::Forward { batch, commands } => self.on_forward(from, batch, commands, out),
            Frame::ForwardReply { batch, result } => {
                self.on_forward_reply(from, batch, result, out);
            }
            Frame::Note { number, bytes } => out.push(Output::Note {
                from,
                number,
                bytes,
            }),
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, out: &mut Vec<Output<M>>) {
        if up {
            self.links.insert(peer);
            self.requests.ask_at_once();
        } else {
            self.links.remove(&peer);
            self.snapshots.sending.remove(&peer);
            self.requests.lose_forwarded(peer, out);
        }
        self.core(CoreInput::Link { peer, up }, out);
    }

    /// Sends each follower what its link and window have room for, once it is in memory.
    fn send_appends(&mut self, out: &mut Vec<Output<M>>) {
        if self.raft.role() != RoleName::Leader {
            return self.recall.end_turn();
        }
        let links = core::mem::take(&mut self.links);
        for &peer in &links {
            while let Pull::Append { first, last } = self.raft.pull(peer) {
                // Of a follower not yet found nothing is known to be held, but nothing is under way
                // to it either: the window is no bound on a probe.
                let held = self.raft.flowing_after(peer).unwrap_or(first.prev());
                let waiting = self.bodies.weight(first.prev()) - self.bodies.weight(held);
                if waiting > self.options.window_bytes_max {
                    break;
                }
                let Some(upto) = self.at_hand(peer, first, last, out) else {
                    break;
                };
                let message = self.raft.sent(self.now, peer, upto);
                let frame = self.encode_append(message, peer, (first, upto));
                out.push(Output::urgent(peer, frame));
            }
        }
        self.links = links;
        self.last_append = None;
        self.recall.end_turn();
    }

    fn encode_append(
        &mut self,
        message: Message,
        peer: NodeId,
        (first, upto): (Index, Index),
    ) -> Bytes {
        if let Some((last, frame)) = &self.last_append
            && *last == message
        {
            return frame.clone();
        }
        let frame = match self.recall.of(peer, first) {
            _ if upto < first => encode_message(&message, &[]),
            Some(read) => encode_message(&message, read),
            None => encode_message(&message, self.bodies.range(first, upto)),
        };
        self.last_append = Some((message, frame.clone()));
        frame
    }

    // Applying.

    fn apply_committed(&mut self, out: &mut Vec<Output<M>>, onlooker: &mut dyn FnMut(&M)) {
        let commit = self.raft.commit();
        while self.applied.index < commit {
            let next = self.applied.index.next();
            let entry = self
                .bodies
                .get(next)
                .expect("committed entries are at hand");
            let (id, kind, command) = (entry.id, entry.kind, entry.command());
            self.applied = id;
            let request = self.requests.applied(id, out);
            let reply = command.map(|command| {
                let reply = self.machine.apply(id, &command);
                onlooker(&self.machine);
                reply
            });
            match (request, reply, kind) {
                (Some(request), Some(reply), EntryKind::Command) => out.push(Output::Proposed {
                    request,
                    result: Ok((id, reply)),
                }),
                // Only a leader that names a wrong place for a command brings us here.
                (Some(request), ..) => self.requests.fail(request, ProposeFate::Unknown, out),
                (None, ..) => {}
            }
            self.on_applied(id, kind, out);
            if id.index.0.is_multiple_of(LET_GO_EVERY) {
                self.let_go();
            }
        }
        self.let_go();
        for asking in self.requests.take_answerable(self.applied.index) {
            let answer = self.machine.query(asking.query);
            out.push(Output::Answered {
                request: asking.request,
                result: Ok(answer),
            });
        }
    }

    /// Has the machine do a bit of tidying, if it has paused since the last one.
    fn tidy(&mut self) {
        if self.now >= self.tidy_at {
            self.is_untidy = self.machine.tidy();
            self.tidy_at = self.now.after(TIDY_PAUSE_NS);
        }
    }

    /// Everything up to `base` came with a snapshot: requests in between have no known outcome.
    pub(crate) fn skip_requests(&mut self, base: LogId, out: &mut Vec<Output<M>>) {
        if let Some(request) = self.requests.applied(base, out) {
            self.requests.fail(request, ProposeFate::Unknown, out);
        }
    }
}
