//! One node: the real core, a pretend disk, and a driver that does at once whatever it may.
//! Never decides what happens next; and no other room makes the core do anything.
//!
//! # How time is modelled
//!
//! A node's clock is its own and moves only when [`Step::Tick`] moves it. An election timeout is
//! one nanosecond and a heartbeat none, so a tick is "at least an election timeout has passed",
//! a leader's heartbeat may be due at any moment, and the dice have one side: every delay they
//! are asked for is below one. A follower's deadline may come at any moment, too: [`Step::Deadline`]
//! first moves the clock to it. The clock of a candidate stands still until it stops being one, so
//! its own vote took no time. Real delays only choose among these orders of events.
//!
//! # Source
//! `crates/raft`, "How to drive it"; rules R1, R2 and R4 of ARCHITECTURE.md.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headwater_raft::{
    AppendResult, Config, Effect, Index, Input, Instant, LogId, Message, NodeId, Options, Pull,
    Raft, ReadId, ReadLevel, RoleName, Term,
};

use crate::common::Parcel;
use crate::common::disk::Disk;

/// How many nodes there are; their ids count from one.
pub const NODES: usize = 3;

/// Where every clock starts: far enough from zero that an hour before it is no special moment.
const START: Instant = Instant(1 << 40);

/// One node. Its whole state is in its `Debug` text: that is what states are told apart by.
#[derive(Clone, Debug)]
pub struct Node {
    raft: Raft,
    disk: Disk,
    now: Instant,
    life: u64,
    /// The commit index as the effects told it: what a driver writes beside a log write.
    told_commit: Index,
    /// A snapshot being received, then durable but not yet loaded: what it covers.
    incoming: Option<LogId>,
    arrived: Option<LogId>,
    setup: Setup,
}

/// How a node's surroundings are, and what its disk holds when all begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Whether writes take time; if not, each is durable at once.
    pub is_slow: bool,
    /// How many entries fit one append.
    pub batch: u64,
    /// Seeds the dice of the first life, and with its number those of each later one.
    pub seed: u64,
    /// The term on the disk.
    pub term: u64,
    /// The terms of the entries on the disk.
    pub log: &'static [u64],
    /// Which of these cannot be read, by their indices.
    pub lost: &'static [u64],
}

/// What can happen to one node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// A message arrives: the place of the parcel in the list of all that were ever sent.
    Deliver(u16),
    /// The deadline comes: an election, or a leader's heartbeat.
    Deadline,
    /// An election timeout passes, but the deadline is not told yet.
    Tick,
    /// An election timeout passes in which nobody was heard, and then the deadline comes.
    Silence,
    /// The connection to this node is up anew: what was sent may be lost.
    Link(u8),
    /// This many of the oldest writes become durable together.
    Persist(u8),
    /// The process dies, and of its writes under way this many are on the disk; it starts again.
    /// How long it is down is a matter of what else happens before its next step.
    Crash(u8),
    /// A client proposes one command.
    Propose,
    /// The leader is asked to hand over to this node.
    Transfer(u8),
    /// A client asks for a read of this name.
    Read(u8),
    /// A snapshot of everything committed becomes durable, and the log forgets it.
    Compact,
    /// The snapshot being received becomes durable.
    Arrive,
    /// The durable snapshot is loaded.
    Install,
}

/// What a step showed to those outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// The node leads now.
    Leads(Term),
    /// Entries up to here are committed.
    Commits(Index),
    /// A read may be served after this index; none if it was lost.
    Answers(u8, Option<Index>),
    /// Entries were cut off the log.
    Truncates,
    /// A crash lost this many writes.
    Loses(usize),
    /// A message was sent whose promise is not durable.
    Lies(String),
    /// The node's own checks failed, it refused a correct peer, or it panicked.
    Breaks(String),
}

/// What comes of a step.
pub struct Outcome {
    /// The node afterwards.
    pub node: Node,
    /// What it sent.
    pub said: Vec<Parcel>,
    /// What else it did.
    pub told: Vec<Told>,
}

impl Node {
    /// A node that starts for the first time.
    pub fn new(me: usize, setup: Setup) -> Self {
        let mut disk = Disk::holding(setup.term, setup.log);
        disk.config = config();
        for &index in setup.lost {
            assert!(disk.rot(Index(index)), "an entry of the log");
        }
        let raft = start(me, 0, setup.seed, START, &mut disk);
        Self {
            raft,
            disk,
            now: START,
            life: 0,
            told_commit: Index(0),
            incoming: None,
            arrived: None,
            setup,
        }
    }

    /// The core and its disk, to be looked at.
    pub fn inside(&self) -> (&Raft, &Disk) {
        (&self.raft, &self.disk)
    }

    /// Which node it is, from zero.
    pub fn place(&self) -> usize {
        place(self.raft.me())
    }

    /// What its clock shows.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The last write that is durable: of ids up to here the core only knows that they are past.
    pub fn persisted(&self) -> u64 {
        self.disk.safe.next.0 - 1
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.raft.term()
    }

    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        self.raft.role() == RoleName::Leader
    }

    /// Whether entries of its log cannot be read.
    pub fn cannot_read(&self) -> bool {
        self.raft.unreadable().next().is_some()
    }

    /// Whether it follows a leader that it knows.
    pub fn has_leader(&self) -> bool {
        self.raft.leader().is_some()
    }

    /// Writes under way.
    pub fn writes(&self) -> usize {
        self.disk.queue.len()
    }

    /// Whether a snapshot is being received, and whether one waits to be loaded.
    pub fn snapshots(&self) -> (bool, bool) {
        (self.incoming.is_some(), self.arrived.is_some())
    }

    /// Its commit index.
    pub fn commit(&self) -> Index {
        self.raft.commit()
    }

    /// The index before the first entry of its log, and the entries' terms.
    pub fn log(&self) -> (Index, Vec<Term>) {
        let (base, last) = (self.raft.base().index, self.raft.last().index);
        let term = |index| self.raft.term_at(Index(index)).expect("inside the log");
        (base, (base.0 + 1..=last.0).map(term).collect())
    }

    /// How much of each other node's log it counts as durable there, if it leads.
    pub fn matched(&self) -> Option<[Index; NODES]> {
        let peer = |at: usize| self.raft.matched(NodeId(at as u64 + 1));
        self.is_leader()
            .then(|| [0, 1, 2].map(|at| peer(at).unwrap_or_default()))
    }

    /// Whether this very entry would survive a crash now.
    pub fn holds(&self, id: LogId) -> bool {
        self.disk.holds(id)
    }

    /// Takes one step. `parcel` is the one that [`Step::Deliver`] names.
    pub fn take(&self, step: &Step, parcel: Option<&Parcel>) -> Outcome {
        let mut outcome = Outcome {
            node: self.clone(),
            said: Vec::new(),
            told: Vec::new(),
        };
        let caught = catch_unwind(AssertUnwindSafe(|| {
            outcome.run(step, parcel);
            let raft = &outcome.node.raft;
            raft.audit().and_then(|()| raft.audit_log())
        }));
        match caught {
            Ok(Ok(())) => {}
            Ok(Err(why)) => outcome.told.push(Told::Breaks(why)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
                outcome.told.push(Told::Breaks(text.unwrap_or_default()));
            }
        }
        outcome
    }
}

impl Outcome {
    fn run(&mut self, step: &Step, parcel: Option<&Parcel>) {
        let node = &mut self.node;
        match *step {
            Step::Deliver(_) => {
                let parcel = parcel.expect("a delivery delivers something").clone();
                let (from, message) = (parcel.from, parcel.message);
                self.step(Input::Receive { from, message });
            }
            Step::Deadline => {
                node.now = node.now.max(node.raft.next_deadline());
                if node.cannot_read() {
                    // It waits for a tick more than others, and asks when its time has come.
                    node.now = node.now.after(2);
                }
                self.step(Input::Deadline);
            }
            Step::Silence => {
                node.now = node.now.after(1);
                self.step(Input::Deadline);
            }
            Step::Link(to) => {
                let peer = NodeId(u64::from(to) + 1);
                self.step(Input::Link { peer, up: true });
            }
            Step::Tick => node.now = node.now.after(1),
            Step::Persist(count) => {
                let write = &node.disk.queue[usize::from(count) - 1].0;
                let upto = write.id;
                node.disk.persist(upto);
                self.step(Input::Persisted { upto });
            }
            Step::Crash(kept) => self.crash(kept.into()),
            Step::Propose => {
                let mut fx = Vec::new();
                // While it hands over, a leader takes none.
                let _ = node.raft.propose(node.now, 1, &mut fx);
                self.absorb(fx);
            }
            Step::Transfer(to) => {
                let (mut fx, to) = (Vec::new(), NodeId(u64::from(to) + 1));
                // Another transfer may be under way.
                let _ = node.raft.transfer(node.now, Some(to), &mut fx);
                self.absorb(fx);
            }
            Step::Read(id) => {
                let mut fx = Vec::new();
                let (id, level) = (ReadId(id.into()), ReadLevel::Linearizable);
                node.raft.read(node.now, id, level, &mut fx);
                self.absorb(fx);
            }
            Step::Compact => self.compact(),
            Step::Arrive => {
                let base = node.incoming.take().expect("a snapshot is under way");
                if base.index > node.disk.snapshot.index {
                    node.disk.snapshot(base, config());
                }
                node.arrived = Some(base);
            }
            Step::Install => {
                let base = node.arrived.take().expect("a snapshot is durable");
                let config = config();
                self.step(Input::Installed { base, config });
            }
        }
    }

    fn crash(&mut self, kept: usize) {
        let node = &mut self.node;
        let lost = node.disk.queue.len() - kept;
        if lost > 0 {
            self.told.push(Told::Loses(lost));
        }
        node.disk.crash(kept);
        node.life += 1;
        let (me, seed) = (place(node.raft.me()), node.setup.seed);
        node.raft = start(me, node.life, seed, node.now, &mut node.disk);
        node.told_commit = node.raft.commit();
        (node.incoming, node.arrived) = (None, None);
    }

    fn compact(&mut self) {
        let node = &mut self.node;
        let commit = node.raft.commit();
        let term = node.raft.term_at(commit).expect("the commit index is here");
        let base = LogId::new(term, commit);
        if base.index > node.disk.snapshot.index {
            node.disk.snapshot(base, config());
        }
        node.disk.release(base);
        self.step(Input::Compacted { base });
    }

    fn step(&mut self, input: Input) {
        let mut fx = Vec::new();
        self.node.raft.step(self.node.now, input, &mut fx);
        self.absorb(fx);
    }

    /// Carries out what the core wants, lets it send what it has, and ends the turn.
    fn absorb(&mut self, fx: Vec<Effect>) {
        self.carry_out(fx);
        for to in self.node.raft.peers() {
            while let Some(message) = self.pull(to) {
                self.carry_out(vec![Effect::Send { to, message }]);
                if self.node.raft.pull(to) == Pull::Snapshot {
                    break;
                }
            }
        }
        let mut fx = Vec::new();
        self.node.raft.end_turn(&mut fx);
        self.carry_out(fx);
        if !self.node.setup.is_slow
            && let Some((write, _)) = self.node.disk.queue.back()
        {
            let upto = write.id;
            self.node.disk.persist(upto);
            self.step(Input::Persisted { upto });
        }
    }

    fn pull(&mut self, to: NodeId) -> Option<Message> {
        let node = &mut self.node;
        match node.raft.pull(to) {
            Pull::Nothing => None,
            Pull::Append { first, last } => {
                let upto = last.0.min(first.0.saturating_add(node.setup.batch) - 1);
                Some(node.raft.sent(node.now, to, Index(upto)))
            }
            Pull::Snapshot => {
                let term = node.raft.term();
                let base = node.disk.snapshot;
                Some(Message::Snapshot { term, base })
            }
        }
    }

    fn carry_out(&mut self, fx: Vec<Effect>) {
        let from = self.node.raft.me();
        for effect in fx {
            let node = &mut self.node;
            match effect {
                Effect::Send { to, message } => {
                    if let Some(lie) = lie(node, to, &message) {
                        self.told.push(Told::Lies(lie));
                    }
                    let message = without_unread(message);
                    self.said.push(Parcel { from, to, message });
                }
                Effect::Persist(write) => {
                    if write.truncate_from().is_some() {
                        self.told.push(Told::Truncates);
                    }
                    node.disk.enqueue(write, node.told_commit);
                }
                Effect::Commit { upto } => {
                    node.told_commit = upto;
                    self.told.push(Told::Commits(upto));
                }
                Effect::Read { id, result } => {
                    let id = u8::try_from(id.0).expect("few reads are asked");
                    self.told.push(Told::Answers(id, result.ok()));
                }
                Effect::Install { base, .. } => node.incoming = Some(base),
                Effect::Role { role, term, .. } => {
                    if role == RoleName::Leader {
                        self.told.push(Told::Leads(term));
                    }
                }
                // The members stay the same; what comes of a transfer is seen in who leads.
                Effect::Config { .. } | Effect::Transferred { .. } | Effect::Disowned { .. } => {}
                Effect::Refused { from, why } => {
                    let why = format!("refuses {from:?}, who {why}");
                    self.told.push(Told::Breaks(why));
                }
                Effect::Halt { why } => self.told.push(Told::Breaks(why)),
            }
        }
    }
}

/// A core that finds this disk. A tick is an election timeout.
fn start(me: usize, life: u64, seed: u64, now: Instant, disk: &mut Disk) -> Raft {
    let options = Options {
        seed: seed + life,
        life,
        heartbeat_ns: 0,
        election_ns: 1,
        // No tick is long enough for a disk to count as slow.
        disk_slow_ns: u64::MAX,
        ..Options::default()
    };
    let disk = disk.recover(NodeId(me as u64 + 1));
    Raft::recover(now, options, disk).expect("a disk it wrote itself")
}

fn config() -> Config {
    Config::of_voters((1..=NODES as u64).map(NodeId))
}

/// The place of a node among all, from zero.
pub fn place(id: NodeId) -> usize {
    usize::try_from(id.0).expect("few nodes") - 1
}

/// Whether a message asks for a read: each one that arrives begins a round of its own.
pub fn is_question(parcel: &Parcel) -> bool {
    matches!(parcel.message, Message::ReadAsk { .. })
}

/// A leader tells what its own disk holds for those only who tell disks apart, which no driver does
/// here: nobody reads it, and worlds that differ in it alone are one.
fn without_unread(mut message: Message) -> Message {
    if let Message::Beat { durable, .. } | Message::Commit { durable, .. } = &mut message {
        *durable = Index(0);
    }
    message
}

/// The vote that a message casts: who votes, in which term, for whom.
pub fn vote(parcel: &Parcel) -> Option<(usize, Term, usize)> {
    let (from, to) = (place(parcel.from), place(parcel.to));
    match parcel.message {
        Message::Vote {
            term, pre: false, ..
        } => Some((from, term, from)),
        Message::VoteReply {
            term,
            pre: false,
            granted: true,
        } => Some((from, term, to)),
        _ => None,
    }
}

/// What in a message is not durable at its sender, though it must be (rules R1 and R4).
fn lie(node: &Node, to: NodeId, message: &Message) -> Option<String> {
    let hard = node.disk.safe.hard;
    let (said, is_true) = match *message {
        Message::Vote { pre: true, .. }
        | Message::VoteReply {
            pre: true,
            granted: true,
            ..
        }
        | Message::RepairAsk { .. }
        | Message::ReadAsk { .. }
        | Message::ReadTell { .. }
        | Message::Heard { .. }
        | Message::Disowned { .. } => return None,
        Message::Vote { term, .. } => (term, hard.voted_for == Some(node.raft.me())),
        Message::VoteReply {
            term,
            granted: true,
            ..
        } => (term, hard.voted_for == Some(to)),
        Message::AppendReply {
            term,
            result: AppendResult::Durable(upto),
        } => {
            let here = node.raft.term_at(upto);
            let held = here.is_none_or(|term| node.disk.holds(LogId::new(term, upto)));
            (term, held || upto == Index(0))
        }
        Message::VoteReply { term, .. }
        | Message::AppendReply { term, .. }
        | Message::Append { term, .. }
        | Message::Beat { term, .. }
        | Message::BeatReply { term, .. }
        | Message::RepairTell { term, .. }
        | Message::Commit { term, .. }
        | Message::Snapshot { term, .. }
        | Message::TimeoutNow { term }
        | Message::Rest { term, .. } => (term, true),
    };
    let is_true = is_true && node.disk.term() >= said;
    (!is_true).then(|| format!("sends {message:?} before it is durable"))
}
