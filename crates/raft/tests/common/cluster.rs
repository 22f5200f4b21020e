//! The cluster: nodes, wires between them, and the verbs with which a test plays fate.
//! Nothing happens by itself: no message arrives, no write completes, no time passes unasked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater_raft::{
    Config, Effect, Incarnation, Index, Input, Instant, LogId, Message, NodeId, NotChanged,
    NotTaken, Options, Pull, Raft, ReadId, ReadLevel, ReadLost, RoleName, Term, TransferRefused,
    WriteId,
};

use super::clock::Clock;
use super::disk::Disk;
use super::truth::Truth;

/// One message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// One node: a core that may be down, and a disk that stays.
#[derive(Clone, Debug)]
pub struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub life: u64,
    /// Which of its disks this is; a wiped disk is another one.
    pub incarnation: Incarnation,
    /// What this life of the node takes for time.
    pub clock: Clock,
    /// A snapshot being received: what it covers, and whether it is durable yet.
    pub incoming: Option<LogId>,
    /// The commit index as the effects told it: what a driver writes beside a log write.
    told_commit: Index,
    /// The configuration in force as the effects told it.
    pub told_config: Config,
    /// Reads answered in this life.
    pub answers: BTreeMap<ReadId, Result<Index, ReadLost>>,
    /// When a snapshot was last offered to each peer.
    offered: BTreeMap<NodeId, Instant>,
    pub refused: Vec<&'static str>,
}

impl Node {
    pub fn raft(&self) -> &Raft {
        self.raft.as_ref().expect("the node is up")
    }
}

/// Some nodes, what is under way between them, and the witness.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub now: Instant,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, in the order sent.
    pub wire: VecDeque<Parcel>,
    /// Directions in which messages vanish.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub truth: Truth,
    /// All effects so far, for tests that look.
    pub seen: Vec<(NodeId, Effect)>,
    pub records: bool,
    /// Whether each step is a turn of its own: entries are pulled and sent, reads begun, after it.
    pub pulls: bool,
    /// How many entries fit one append.
    pub batch: u64,
    /// Whether every step compares the log in memory with the log its writes spell.
    pub thorough: bool,
    /// Whether nodes tell each other which disk they have, when one of them starts.
    pub tells_disks: bool,
    pub options: Options,
    /// The priorities with which nodes will start; the highest unless named here.
    pub priorities: BTreeMap<NodeId, u8>,
    /// Nodes whose disks do not answer.
    pub hung: BTreeSet<NodeId>,
    pub config: Config,
    next_read: u64,
}

impl Cluster {
    /// A new cluster of `count` voters with empty disks, all up, none leading.
    pub fn new(count: u64) -> Self {
        Self::with_disks((1..=count).map(|_| Disk::holding(0, &[])).collect())
    }

    /// A cluster whose nodes find these logs: `(latest term, terms of the entries)` each.
    pub fn with_logs(logs: &[(u64, &[u64])]) -> Self {
        Self::with_disks(
            logs.iter()
                .map(|&(term, log)| Disk::holding(term, log))
                .collect(),
        )
    }

    /// A cluster whose nodes find these disks, all of voters.
    pub fn with_disks(disks: Vec<Disk>) -> Self {
        Self::with_options(Options::default(), disks)
    }

    /// The same, with these options.
    pub fn with_options(options: Options, disks: Vec<Disk>) -> Self {
        let config = Config::of_voters((1..=disks.len() as u64).map(NodeId));
        Self::of(options, config, disks)
    }

    /// A new cluster of this configuration, whose members count from 1.
    pub fn with_config(config: Config) -> Self {
        let count = config.peers_of(NodeId(0)).len();
        let disks = (0..count).map(|_| Disk::holding(0, &[])).collect();
        Self::of(Options::default(), config, disks)
    }

    fn of(options: Options, config: Config, disks: Vec<Disk>) -> Self {
        let mut cluster = Self {
            now: Instant(0),
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            truth: Truth::new(config.clone()),
            seen: Vec::new(),
            records: true,
            pulls: true,
            batch: u64::MAX,
            thorough: true,
            tells_disks: false,
            options,
            priorities: BTreeMap::new(),
            hung: BTreeSet::new(),
            config,
            next_read: 1,
        };
        for disk in disks {
            cluster.add(disk);
        }
        cluster
    }

    /// One more node, not a member yet, with an empty disk; its id.
    pub fn spare(&mut self) -> u64 {
        self.config = Config::default();
        self.add(Disk::holding(0, &[]))
    }

    fn add(&mut self, mut disk: Disk) -> u64 {
        let id = NodeId(self.nodes.len() as u64 + 1);
        disk.config = self.config.clone();
        let terms: Vec<u64> = disk.safe.terms.iter().map(|term| term.0).collect();
        self.truth
            .see_entries(&super::entries(disk.safe.base, &terms));
        let node = Node {
            raft: None,
            disk,
            life: 0,
            incarnation: Incarnation(u128::from(id.0) * 1000),
            clock: Clock::default(),
            incoming: None,
            told_commit: Index(0),
            told_config: Config::default(),
            answers: BTreeMap::new(),
            offered: BTreeMap::new(),
            refused: Vec::new(),
        };
        self.nodes.insert(id, node);
        self.restart(id.0);
        id.0
    }

    pub fn node(&self, at: u64) -> &Node {
        &self.nodes[&NodeId(at)]
    }

    pub fn node_mut(&mut self, at: u64) -> &mut Node {
        self.nodes
            .get_mut(&NodeId(at))
            .expect("a node of the cluster")
    }

    pub fn raft(&self, at: u64) -> &Raft {
        self.node(at).raft()
    }

    pub fn is_up(&self, at: u64) -> bool {
        self.node(at).raft.is_some()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().map(|id| id.0).collect()
    }

    /// The leader of the highest term, if it is up.
    pub fn leader(&self) -> Option<u64> {
        let up = self
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((id.0, node.raft.as_ref()?)));
        let leading = up.filter(|(_, raft)| raft.role() == RoleName::Leader);
        leading
            .max_by_key(|(_, raft)| raft.term())
            .map(|(id, _)| id)
    }

    /// What a node takes for now.
    pub fn now_at(&self, at: u64) -> Instant {
        self.node(at).clock.shows(self.now)
    }

    /// When a node that is up wants to be woken, by the world's clock.
    pub fn due(&self, at: u64) -> Instant {
        let node = self.node(at);
        node.clock.moment_of(node.raft().next_deadline())
    }

    /// Gives one input to a node that is up; a node that is down hears nothing.
    pub fn step(&mut self, at: u64, input: Input) {
        let now = self.now_at(at);
        let Some(raft) = &mut self.node_mut(at).raft else {
            return;
        };
        let mut fx = Vec::new();
        raft.step(now, input, &mut fx);
        self.absorb(at, fx);
    }

    /// Carries out what a node wants done, then lets it send the entries it has.
    fn absorb(&mut self, at: u64, fx: Vec<Effect>) {
        self.truth.now = self.now;
        self.carry_out(at, fx);
        if self.pulls {
            self.pull_all(at);
        }
        self.truth.check(&self.nodes, NodeId(at));
        if self.thorough {
            self.truth.check_writes(&self.nodes, NodeId(at));
        }
    }

    fn carry_out(&mut self, at: u64, fx: Vec<Effect>) {
        let me = NodeId(at);
        for effect in fx {
            if let Effect::Refused { why, .. } = effect {
                self.node_mut(at).refused.push(why);
            } else {
                self.truth.see(&self.nodes, me, &effect);
            }
            if std::env::var_os("TRACE").is_some()
                && matches!(
                    effect,
                    Effect::Config { .. }
                        | Effect::Role { .. }
                        | Effect::Refused { .. }
                        | Effect::Persist(..)
                )
            {
                eprintln!(
                    "{} {}",
                    self.now.0 / 1000000,
                    super::words::effect(at, &effect)
                );
            }
            if self.records {
                self.seen.push((me, effect.clone()));
            }
            match effect {
                Effect::Send { to, message } => {
                    if !self.cut.contains(&(me, to)) {
                        self.wire.push_back(Parcel {
                            from: me,
                            to,
                            message,
                        });
                    }
                }
                Effect::Persist(write) => {
                    let node = self.node_mut(at);
                    node.disk.enqueue(write, node.told_commit);
                }
                Effect::Commit { upto } => self.node_mut(at).told_commit = upto,
                Effect::Read { id, result } => {
                    self.node_mut(at).answers.insert(id, result);
                }
                Effect::Install { base, .. } => {
                    let node = self.node_mut(at);
                    let newer = node.incoming.is_none_or(|old| old.index < base.index);
                    if newer && base.index > node.disk.snapshot.index {
                        node.incoming = Some(base);
                    }
                }
                Effect::Config { config, .. } => self.node_mut(at).told_config = config,
                Effect::Role { .. }
                | Effect::Transferred { .. }
                | Effect::Refused { .. }
                | Effect::Disowned { .. }
                | Effect::Halt { .. } => {}
            }
        }
    }

    /// Ends a node's turn: sends every peer what the core says it should be sent.
    pub fn pull_all(&mut self, at: u64) {
        let Some(raft) = &self.node(at).raft else {
            return;
        };
        for peer in raft.peers() {
            while self.pull(at, peer.0) {}
        }
        let mut fx = Vec::new();
        if let Some(raft) = &mut self.node_mut(at).raft {
            raft.end_turn(&mut fx);
        }
        self.carry_out(at, fx);
    }

    /// Sends one append, or offers a snapshot; whether there was an append to send.
    pub fn pull(&mut self, at: u64, peer: u64) -> bool {
        let (now, here) = (self.now, self.now_at(at));
        let (batch, to) = (self.batch, NodeId(peer));
        let heartbeat_ns = self.options.heartbeat_ns;
        let node = self.node_mut(at);
        let Some(raft) = &mut node.raft else {
            return false;
        };
        match raft.pull(to) {
            Pull::Nothing => false,
            Pull::Append { first, last } => {
                let upto = last.min(Index(first.0.saturating_add(batch) - 1));
                let message = raft.sent(here, to, upto);
                self.carry_out(at, vec![Effect::Send { to, message }]);
                true
            }
            Pull::Snapshot => {
                let base = node.disk.snapshot;
                assert!(
                    base.index >= raft.base().index,
                    "the log forgot what no snapshot has"
                );
                let term = raft.term();
                let due = node
                    .offered
                    .get(&to)
                    .is_none_or(|t| now.since(*t) >= heartbeat_ns);
                if due {
                    node.offered.insert(to, now);
                    let message = Message::Snapshot { term, base };
                    self.carry_out(at, vec![Effect::Send { to, message }]);
                }
                false
            }
        }
    }

    // Time.

    pub fn advance(&mut self, ns: u64) {
        self.now = self.now.after(ns);
    }

    /// Lets time pass until a node's deadline, and tells it.
    pub fn deadline(&mut self, at: u64) {
        self.now = self.now.max(self.due(at));
        self.step(at, Input::Deadline);
    }

    /// Lets time pass as it does in peace: deadlines are told when due, and all settles at once.
    pub fn live(&mut self, ns: u64) {
        let end = self.now.after(ns);
        loop {
            let up = self.ids().into_iter().filter(|&at| self.is_up(at));
            let next = up.map(|at| (self.due(at), at)).min();
            match next.filter(|(due, _)| *due <= end) {
                Some((_, at)) => self.deadline(at),
                None => break,
            }
            self.settle();
        }
        self.now = end;
    }

    // Disks.

    /// Makes everything a node has issued durable.
    pub fn persist(&mut self, at: u64) {
        if let Some((write, _)) = self.node(at).disk.queue.back() {
            self.persist_upto(at, write.id.0);
        }
    }

    /// Makes a node's writes up to `upto` durable.
    pub fn persist_upto(&mut self, at: u64, upto: u64) {
        self.node_mut(at).disk.persist(WriteId(upto));
        self.step(
            at,
            Input::Persisted {
                upto: WriteId(upto),
            },
        );
    }

    /// Loses a node, its memory, and all but the first `kept` of its unacknowledged writes.
    pub fn crash(&mut self, at: u64, kept: usize) {
        self.truth.see_crash(NodeId(at));
        let node = self.node_mut(at);
        node.raft = None;
        node.incoming = None;
        node.disk.crash(kept);
    }

    /// Starts a node from what its disk holds.
    pub fn restart(&mut self, at: u64) {
        let (now, mut options) = (self.now_at(at), self.options.clone());
        let tells_disks = self.tells_disks;
        if let Some(&priority) = self.priorities.get(&NodeId(at)) {
            options.priority = priority;
        }
        let node = self.node_mut(at);
        assert!(node.raft.is_none(), "a crash comes before a restart");
        if std::env::var_os("TRACE").is_some() {
            eprintln!("RESTART n{at}");
        }
        node.life += 1;
        options.life = node.life;
        options.seed = options
            .seed
            .wrapping_mul(1000)
            .wrapping_add(at * 100 + node.life);
        let mut disk = node.disk.recover(NodeId(at));
        disk.disk = tells_disks.then_some(node.incarnation);
        let raft = Raft::recover(now, options, disk).expect("a disk it wrote itself");
        node.told_commit = raft.commit();
        node.told_config = raft.config().clone();
        node.answers.clear();
        node.offered.clear();
        node.raft = Some(raft);
        self.truth.check(&self.nodes, NodeId(at));
        for other in self.ids().into_iter().filter(|&other| other != at) {
            self.introduce(at, other);
        }
    }

    /// Two nodes tell each other which disks they have, if disks are told apart here.
    pub fn introduce(&mut self, one: u64, other: u64) {
        if self.tells_disks {
            self.meet(one, other);
            self.meet(other, one);
        }
    }

    fn meet(&mut self, at: u64, peer: u64) {
        let (disk, life) = (self.node(peer).incarnation, self.node(peer).life);
        if self.is_up(peer) {
            let peer = NodeId(peer);
            self.step(at, Input::Met { peer, disk, life });
        }
    }

    /// A node that is down loses its disk, and will start with an empty one and what its operator
    /// took for the members when the cluster was new.
    pub fn wipe(&mut self, at: u64) {
        let first = self.truth.config_as_of(Index(0));
        let lost = (self.node(at).incarnation, self.node(at).disk.clone());
        self.truth.see_wipe(NodeId(at), lost);
        let node = self.node_mut(at);
        assert!(node.raft.is_none(), "a crash comes before a wiped disk");
        eprintln!("WIPE n{at}");
        node.disk = Disk::holding(0, &[]);
        node.disk.config = first;
        node.incarnation.0 += 1;
    }

    /// A node that is down gets an older image of its disk.
    pub fn set_back(&mut self, at: u64, image: Disk) {
        let lost = (self.node(at).incarnation, self.node(at).disk.clone());
        self.truth.see_wipe(NodeId(at), lost);
        self.node_mut(at).disk = image;
    }

    // Wires.

    /// Hands a message to a node, as if it had come over the wire.
    pub fn receive(&mut self, from: u64, to: u64, message: Message) {
        self.step(
            to,
            Input::Receive {
                from: NodeId(from),
                message,
            },
        );
    }

    /// Takes the oldest message on a wire.
    pub fn take(&mut self, from: u64, to: u64) -> Option<Message> {
        let on = |p: &Parcel| (p.from, p.to) == (NodeId(from), NodeId(to));
        let place = self.wire.iter().position(on)?;
        self.wire.remove(place).map(|parcel| parcel.message)
    }

    /// Delivers the oldest message on a wire; whether there was one.
    pub fn deliver(&mut self, from: u64, to: u64) -> bool {
        let message = self.take(from, to);
        message
            .map(|message| self.receive(from, to, message))
            .is_some()
    }

    /// The oldest message on a wire falls behind the others there.
    pub fn defer(&mut self, from: u64, to: u64) {
        if let Some(message) = self.take(from, to) {
            let (from, to) = (NodeId(from), NodeId(to));
            self.wire.push_back(Parcel { from, to, message });
        }
    }

    /// Delivers all that is on a wire now.
    pub fn deliver_wire(&mut self, from: u64, to: u64) {
        let count = self.on_wire(from, to).len();
        (0..count).for_each(|_| {
            self.deliver(from, to);
        });
    }

    /// What is on a wire, oldest first.
    pub fn on_wire(&self, from: u64, to: u64) -> Vec<Message> {
        let on = |p: &&Parcel| (p.from, p.to) == (NodeId(from), NodeId(to));
        self.wire
            .iter()
            .filter(on)
            .map(|parcel| parcel.message.clone())
            .collect()
    }

    /// Loses everything under way.
    pub fn drop_all(&mut self) {
        self.wire.clear();
    }

    /// Delivers and persists until nothing is left to do but for hung disks. No time passes.
    pub fn settle(&mut self) {
        self.settle_but(|_, _, _| false);
    }

    /// The same, but loses the messages that `lost` names.
    pub fn settle_but(&mut self, lost: impl Fn(u64, u64, &Message) -> bool) {
        for _ in 0..100_000 {
            if let Some(parcel) = self.wire.pop_front() {
                if !lost(parcel.from.0, parcel.to.0, &parcel.message) {
                    self.receive(parcel.from.0, parcel.to.0, parcel.message);
                }
            } else if let Some(at) = self.disk_at_work() {
                self.persist(at);
            } else {
                return;
            }
        }
        panic!("the cluster never falls silent");
    }

    fn disk_at_work(&self) -> Option<u64> {
        let busy = |node: &Node| node.raft.is_some() && !node.disk.queue.is_empty();
        self.nodes
            .iter()
            .find(|(id, node)| busy(node) && !self.hung.contains(id))
            .map(|(id, _)| id.0)
    }

    /// From now on nothing gets from `from` to `to`; what is under way is lost.
    pub fn cut_one_way(&mut self, from: u64, to: u64) {
        let pair = (NodeId(from), NodeId(to));
        self.cut.insert(pair);
        self.wire.retain(|parcel| (parcel.from, parcel.to) != pair);
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, at: u64) {
        for other in self.ids().into_iter().filter(|&other| other != at) {
            self.cut_one_way(at, other);
            self.cut_one_way(other, at);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    // Clients, elections, snapshots.

    pub fn propose(&mut self, at: u64, count: u64) -> Result<LogId, NotTaken> {
        let now = self.now_at(at);
        let mut fx = Vec::new();
        let raft = self.node_mut(at).raft.as_mut().expect("the node is up");
        let taken = raft.propose(now, count, &mut fx);
        self.absorb(at, fx);
        taken
    }

    /// Changes the members, believing in those the node has now.
    pub fn change(&mut self, at: u64, target: &Config, force: bool) -> Result<LogId, NotChanged> {
        let now = self.now_at(at);
        let mut fx = Vec::new();
        let raft = self.node_mut(at).raft.as_mut().expect("the node is up");
        let expect = raft.config().clone();
        let taken = raft.reconfigure(now, &expect, target, force, &mut fx);
        self.absorb(at, fx);
        taken
    }

    /// Asks a leader to hand over; to whom it will.
    pub fn transfer(&mut self, at: u64, to: Option<u64>) -> Result<NodeId, TransferRefused> {
        let now = self.now_at(at);
        let mut fx = Vec::new();
        let raft = self.node_mut(at).raft.as_mut().expect("the node is up");
        let begun = raft.transfer(now, to.map(NodeId), &mut fx);
        if let Ok(to) = begun {
            self.truth.see_transfer(NodeId(at), to);
        }
        self.absorb(at, fx);
        begun
    }

    /// Asks for a linearizable read; its name.
    pub fn read(&mut self, at: u64) -> ReadId {
        self.read_as(at, ReadLevel::Linearizable)
    }

    /// Asks for a read of this level; its name.
    pub fn read_as(&mut self, at: u64, level: ReadLevel) -> ReadId {
        let (now, id) = (self.now_at(at), ReadId(self.next_read));
        self.next_read += 1;
        // What a bounded read may miss was committed within its bound, as this node's clock runs.
        let before = match level {
            ReadLevel::Bounded { max_lag_ns } => {
                let then = Instant(now.0.saturating_sub(max_lag_ns));
                Some(self.node(at).clock.moment_of(then))
            }
            ReadLevel::Linearizable | ReadLevel::Lease => None,
        };
        let life = self.node(at).life;
        self.truth.see_asked(NodeId(at), life, id, before);
        let mut fx = Vec::new();
        self.node_mut(at)
            .raft
            .as_mut()
            .expect("the node is up")
            .read(now, id, level, &mut fx);
        self.absorb(at, fx);
        id
    }

    /// A leader gives its lease up, as it does before it hands leadership over.
    pub fn void_lease(&mut self, at: u64) {
        let raft = self.node_mut(at).raft.as_mut().expect("the node is up");
        raft.void_lease();
    }

    /// The next read bears this name, which only another life may have used.
    pub fn reuse_read(&mut self, id: ReadId) {
        self.next_read = id.0;
    }

    /// The outcome of a read, if there is one yet.
    pub fn answer(&self, at: u64, id: ReadId) -> Option<Result<Index, ReadLost>> {
        self.node(at).answers.get(&id).copied()
    }

    /// Lets everyone's patience run out, and this node stand first.
    pub fn stand(&mut self, at: u64) {
        self.advance(3 * self.options.election_ns);
        self.step(at, Input::Deadline);
    }

    /// Makes a node leader and settles.
    pub fn elect(&mut self, at: u64) {
        self.stand(at);
        self.settle();
        assert_eq!(
            self.raft(at).role(),
            RoleName::Leader,
            "{at} was not elected"
        );
    }

    /// A snapshot of everything committed becomes durable at a node; nothing is forgotten yet.
    pub fn snapshot(&mut self, at: u64) -> LogId {
        let raft = self.raft(at);
        let index = raft.commit();
        let base = LogId::new(
            raft.term_at(index).expect("the commit index is here"),
            index,
        );
        let config = self.truth.config_as_of(index);
        let node = self.node_mut(at);
        if base.index > node.disk.snapshot.index {
            node.disk.snapshot(base, config);
        }
        base
    }

    /// A node forgets its log up to `upto`, which a snapshot covers.
    pub fn compact(&mut self, at: u64, upto: u64) {
        self.snapshot(at);
        let term = self
            .raft(at)
            .term_at(Index(upto))
            .expect("only what is here is forgotten");
        let base = LogId::new(term, Index(upto));
        self.node_mut(at).disk.release(base);
        self.step(at, Input::Compacted { base });
    }

    /// The snapshot a node is receiving becomes durable: what it covers.
    pub fn snapshot_arrives(&mut self, at: u64) -> Option<LogId> {
        let base = self.node_mut(at).incoming.take()?;
        let config = self.truth.config_as_of(base.index);
        let node = self.node_mut(at);
        if base.index > node.disk.snapshot.index {
            node.disk.snapshot(base, config);
        }
        Some(base)
    }

    /// Tells a node that a received snapshot is durable and loaded.
    pub fn installed(&mut self, at: u64, base: LogId) {
        let config = self.truth.config_as_of(base.index);
        self.step(at, Input::Installed { base, config });
    }

    /// Both at once.
    pub fn install(&mut self, at: u64) {
        let base = self.snapshot_arrives(at).expect("a snapshot is under way");
        self.installed(at, base);
    }

    /// The terms of a node's log after its base.
    pub fn terms(&self, at: u64) -> Vec<u64> {
        let raft = self.raft(at);
        let range = raft.base().index.0 + 1..=raft.last().index.0;
        range
            .map(|index| raft.term_at(Index(index)).map_or(0, |Term(term)| term))
            .collect()
    }

    /// Whether an effect was seen since `from`.
    pub fn saw(&self, from: usize, at: u64, test: impl Fn(&Effect) -> bool) -> bool {
        self.seen[from..]
            .iter()
            .any(|(node, effect)| *node == NodeId(at) && test(effect))
    }
}
