//! Requests that wait for their one outcome (rule R11).
//! Never asks the core; it is told what was committed, lost, or timed out.
//!
//! A proposal whose leader was deposed is *not* lost yet: its entry may survive on another node
//! and be committed by a later leader. Its fate is sealed when its index is committed: by this
//! entry or by another.
//!
//! # Source
//! Raft paper §8; dissertation §6.3 for what a client may conclude.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::{Index, Instant, LogId, NodeId, ReadId, ReadLevel, Term};

use crate::bodies::OVERHEAD_BYTES;
use crate::codec::NotForwarded;
use crate::interface::{Output, ProposeFate, ReadFate, RequestId};
use crate::machine::StateMachine;

/// A command that no leader has taken yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) command: Bytes,
    pub(crate) deadline: Instant,
}

impl Waiting {
    /// What the command will weigh as an entry: one of no length takes its place, too.
    fn weight(&self) -> u64 {
        OVERHEAD_BYTES + self.command.len() as u64
    }
}

/// A query that has no read index yet.
#[derive(Debug)]
pub(crate) struct Asking<Q> {
    pub(crate) request: RequestId,
    pub(crate) query: Q,
    pub(crate) deadline: Instant,
}

/// Queries that share their way.
type Queries<Q> = Vec<Asking<Q>>;

/// A batch of commands on its way to the leader.
#[derive(Debug)]
struct Forwarded {
    to: NodeId,
    waiting: Vec<Waiting>,
    /// What they weigh.
    bytes: u64,
    /// No answer is expected any more after this: another leads.
    until: Option<Instant>,
}

/// A command that stands in the log.
#[derive(Debug)]
struct Logged {
    at: (Index, Term),
    request: RequestId,
    deadline: Instant,
}

/// All requests of one node's clients that have no outcome yet.
#[derive(Debug)]
pub(crate) struct Requests<M: StateMachine> {
    /// Commands for the next leader that can be reached.
    held: VecDeque<Waiting>,
    /// What the commands weigh that no leader is known to have taken: held, or on their way to one.
    waiting_bytes: u64,
    /// Room for those that leave together, used again.
    leaving: Vec<Waiting>,
    /// What held commands end as, should they wait too long.
    held_for: ProposeFate,
    /// No command is passed on before: the leader known here has just refused some.
    give_at: Instant,
    /// Commands sent to the leader, by batch.
    forwarded: BTreeMap<u64, Forwarded>,
    next_batch: u64,
    /// Commands in the log, in the order of their entries' identities.
    logged: VecDeque<Logged>,
    /// Queries for the next read of their level, and how many they are.
    asking: BTreeMap<ReadLevel, Queries<M::Query>>,
    asking_count: usize,
    /// Queries by the read that will confirm them; a read stays until the core ends it, even when
    /// its last query has timed out.
    reading: BTreeMap<ReadId, (ReadLevel, Queries<M::Query>)>,
    next_read: u64,
    /// No read is begun before: the leader known here has just said that it does not lead.
    read_at: Instant,
    /// Queries that wait until their index is applied.
    confirmed: BTreeMap<Index, Queries<M::Query>>,
    /// Proposals that ended otherwise than applied.
    pub(crate) failed: u64,
    /// When the deadlines are looked at next.
    check_at: Instant,
}

/// How often deadlines are looked at: a request may wait this much longer than its limit.
const CHECK_NS: u64 = 50_000_000;

/// How long the answer of a leader is waited for that leads no more. It answers at once if it
/// lives and is still connected, as after a transfer, and only its answer tells what was taken.
const LAST_ANSWER_NS: u64 = 250_000_000;

/// Reads under way, at most; further queries gather for the next one. Enough for a read per turn
/// over any link, few enough to be asked for again and again while a leader cannot answer.
const READS_MAX: usize = 64;

impl<M: StateMachine> Requests<M> {
    pub(crate) fn new() -> Self {
        Self {
            held: VecDeque::new(),
            waiting_bytes: 0,
            leaving: Vec::new(),
            held_for: ProposeFate::NoLeader,
            give_at: Instant(0),
            forwarded: BTreeMap::new(),
            next_batch: 1,
            logged: VecDeque::new(),
            asking: BTreeMap::new(),
            asking_count: 0,
            reading: BTreeMap::new(),
            next_read: 1,
            read_at: Instant(0),
            confirmed: BTreeMap::new(),
            failed: 0,
            check_at: Instant(0),
        }
    }

    /// Proposals without an outcome.
    pub(crate) fn pending(&self) -> u64 {
        let forwarded: usize = self
            .forwarded
            .values()
            .map(|batch| batch.waiting.len())
            .sum();
        (self.held.len() + forwarded + self.logged.len()) as u64
    }

    /// When [`Requests::expire`] is due; `None` while nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self.pending() == 0
            && self.asking.is_empty()
            && self.reading.is_empty()
            && self.confirmed.is_empty();
        (!idle).then_some(self.check_at)
    }

    // Proposals.

    pub(crate) fn hold(&mut self, waiting: Waiting) {
        self.waiting_bytes += waiting.weight();
        self.held.push_back(waiting);
    }

    /// What the commands weigh that no leader is known to have taken.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    pub(crate) fn hold_all(&mut self, waiting: Vec<Waiting>) {
        for waiting in waiting {
            self.hold(waiting);
        }
    }

    /// The leader here takes no commands now.
    pub(crate) fn refused(&mut self, fate: ProposeFate) {
        self.held_for = fate;
    }

    /// The leader known here takes no commands, and would say so again at once. Not for long: it may
    /// have said so before it led, and if it stays it takes them soon.
    pub(crate) fn pause(&mut self, now: Instant, why: NotForwarded) {
        self.give_at = now.after(CHECK_NS);
        self.held_for = match why {
            NotForwarded::DiskSlow => ProposeFate::DiskSlow,
            _ => ProposeFate::NoLeader,
        };
    }

    /// Whether commands had better not be passed on yet.
    pub(crate) fn are_paused(&self, now: Instant) -> bool {
        now < self.give_at
    }

    /// The commands that have waited longest, up to about `bytes`; `None` if there are none.
    pub(crate) fn take_held(&mut self, bytes: u64) -> Option<Vec<Waiting>> {
        let mut weight = 0;
        let fits = self.held.iter().take_while(|waiting| {
            let fits = weight < bytes;
            if fits {
                weight += waiting.weight();
            }
            fits
        });
        let count = fits.count();
        if count == 0 {
            return None;
        }
        self.waiting_bytes -= weight;
        let mut leaving = core::mem::take(&mut self.leaving);
        leaving.extend(self.held.drain(..count));
        Some(leaving)
    }

    /// Remembers a batch that leaves for the leader; returns its number.
    pub(crate) fn forward(&mut self, to: NodeId, waiting: Vec<Waiting>) -> u64 {
        let batch = self.next_batch;
        self.next_batch += 1;
        let forwarded = Forwarded {
            to,
            bytes: waiting.iter().map(Waiting::weight).sum(),
            waiting,
            until: None,
        };
        self.waiting_bytes += forwarded.bytes;
        self.forwarded.insert(batch, forwarded);
        batch
    }

    /// The batch that a leader answers, if it was sent to that leader and still waits.
    pub(crate) fn take_forwarded(&mut self, batch: u64, from: NodeId) -> Option<Vec<Waiting>> {
        if self.forwarded.get(&batch)?.to != from {
            return None;
        }
        self.remove_forwarded(batch)
    }

    fn remove_forwarded(&mut self, batch: u64) -> Option<Vec<Waiting>> {
        let forwarded = self.forwarded.remove(&batch)?;
        self.waiting_bytes -= forwarded.bytes;
        Some(forwarded.waiting)
    }

    /// The leader is another: who led before has little time left to say what it took.
    pub(crate) fn hurry_forwarded(&mut self, now: Instant, leader: Option<NodeId>) {
        for batch in self.forwarded.values_mut() {
            if Some(batch.to) != leader {
                batch.until.get_or_insert(now.after(LAST_ANSWER_NS));
            }
        }
    }

    /// The link to `peer` broke: what was sent over it may or may not have been taken.
    pub(crate) fn lose_forwarded(&mut self, peer: NodeId, out: &mut Vec<Output<M>>) {
        self.lose_batches(|batch| batch.to == peer, out);
    }

    fn lose_batches(&mut self, is_lost: impl Fn(&Forwarded) -> bool, out: &mut Vec<Output<M>>) {
        let batches = self.forwarded.iter();
        let lost: Vec<u64> = batches
            .filter(|(_, batch)| is_lost(batch))
            .map(|(&number, _)| number)
            .collect();
        for number in lost {
            for waiting in self.remove_forwarded(number).unwrap_or_default() {
                self.fail(waiting.request, ProposeFate::Unknown, out);
            }
        }
    }

    /// The commands stand in the log from `first` on, or will once this node learns of it.
    pub(crate) fn logged(&mut self, first: LogId, mut all: Vec<Waiting>, out: &mut Vec<Output<M>>) {
        self.held_for = ProposeFate::NoLeader;
        for (place, waiting) in all.drain(..).enumerate() {
            let logged = Logged {
                at: (Index(first.index.0 + place as u64), first.term),
                request: waiting.request,
                deadline: waiting.deadline,
            };
            if let Some(other) = self.log(logged) {
                // A leader has named one place twice: no telling which command stands there.
                self.fail(other.request, ProposeFate::Unknown, out);
            }
        }
        self.leaving = all;
    }

    /// Remembers a command in its place, which is nearly always the last; returns the one that
    /// was there.
    fn log(&mut self, logged: Logged) -> Option<Logged> {
        if self.logged.back().is_none_or(|last| last.at < logged.at) {
            self.logged.push_back(logged);
            return None;
        }
        let place = self.logged.partition_point(|other| other.at < logged.at);
        match self.logged.get_mut(place) {
            Some(other) if other.at == logged.at => Some(core::mem::replace(other, logged)),
            _ => {
                self.logged.insert(place, logged);
                None
            }
        }
    }

    /// The entry `at` is applied: the request that waits for it, if any. Requests that waited for
    /// another entry of that index are lost for good.
    pub(crate) fn applied(&mut self, at: LogId, out: &mut Vec<Output<M>>) -> Option<RequestId> {
        let mut found = None;
        let is_settled = |logged: &Logged| logged.at.0 <= at.index;
        while self.logged.front().is_some_and(is_settled)
            && let Some(logged) = self.logged.pop_front()
        {
            let ((index, term), request) = (logged.at, logged.request);
            if (index, term) == (at.index, at.term) {
                found = Some(request);
            } else if index == at.index {
                self.fail(request, ProposeFate::Lost, out);
            } else {
                // A snapshot passed over this index: what it held is not known.
                self.fail(request, ProposeFate::Unknown, out);
            }
        }
        found
    }

    pub(crate) fn fail(&mut self, request: RequestId, fate: ProposeFate, out: &mut Vec<Output<M>>) {
        self.failed += 1;
        out.push(Output::Proposed {
            request,
            result: Err(fate),
        });
    }

    // Queries.

    pub(crate) fn ask(&mut self, level: ReadLevel, asking: Asking<M::Query>) {
        self.asking.entry(level).or_default().push(asking);
        self.asking_count += 1;
    }

    pub(crate) fn queries(&self) -> usize {
        self.asking_count
    }

    /// All queries of a level that wait, under one new read; `None` once no level may have one.
    ///
    /// `reachable`: whether a leader can be asked. `known`: whether none need be.
    pub(crate) fn begin_read(
        &mut self,
        now: Instant,
        reachable: bool,
        known: impl Fn(ReadLevel) -> bool,
    ) -> Option<(ReadId, ReadLevel)> {
        if self.reading.len() >= READS_MAX {
            return None;
        }
        let asks = reachable && now >= self.read_at;
        let mut levels = self.asking.keys().copied();
        let level = levels.find(|&level| asks || known(level))?;
        let queries = self.asking.remove(&level)?;
        let id = ReadId(self.next_read);
        self.next_read += 1;
        self.asking_count -= queries.len();
        self.reading.insert(id, (level, queries));
        Some((id, level))
    }

    /// A read has its index: its queries wait until that is applied. Without one they ask again,
    /// but whoever answers so would answer the same at once.
    pub(crate) fn read_done(&mut self, now: Instant, id: ReadId, at: Option<Index>) {
        let Some((level, queries)) = self.reading.remove(&id) else {
            return;
        };
        match at {
            Some(index) => self.confirmed.entry(index).or_default().extend(queries),
            None => {
                self.asking_count += queries.len();
                self.asking.entry(level).or_default().extend(queries);
                self.read_at = now.after(CHECK_NS);
            }
        }
    }

    /// The leader, or the way to it, is another: it may be asked at once.
    pub(crate) fn ask_at_once(&mut self) {
        self.read_at = Instant(0);
        self.give_at = Instant(0);
        self.held_for = ProposeFate::NoLeader;
    }

    /// The queries that can be answered once everything up to `applied` is applied.
    pub(crate) fn take_answerable(&mut self, applied: Index) -> Queries<M::Query> {
        let mut ready = Vec::new();
        while let Some(entry) = self.confirmed.first_entry() {
            if *entry.key() > applied {
                break;
            }
            ready.extend(entry.remove());
        }
        ready
    }

    // Deadlines.

    /// Ends the requests that have waited too long.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<Output<M>>) {
        if now < self.check_at {
            return;
        }
        self.check_at = now.after(CHECK_NS);
        for waiting in self.take_held(u64::MAX).unwrap_or_default() {
            if waiting.deadline <= now {
                self.fail(waiting.request, self.held_for, out);
            } else {
                self.hold(waiting);
            }
        }
        let too_late = |batch: &Forwarded| {
            let expired = batch.waiting.iter().all(|waiting| waiting.deadline <= now);
            expired || batch.until.is_some_and(|until| until <= now)
        };
        self.lose_batches(too_late, out);
        let mut late = Vec::new();
        self.logged.retain(|logged| {
            if logged.deadline <= now {
                late.push(logged.request);
            }
            logged.deadline > now
        });
        for request in late {
            self.fail(request, ProposeFate::Unknown, out);
        }
        self.expire_queries(now, out);
    }

    fn expire_queries(&mut self, now: Instant, out: &mut Vec<Output<M>>) {
        let mut end = |queries: &mut Queries<M::Query>, fate: ReadFate| {
            queries.retain(|query| {
                if query.deadline <= now {
                    out.push(Output::Answered {
                        request: query.request,
                        result: Err(fate),
                    });
                }
                query.deadline > now
            });
        };
        for queries in self.asking.values_mut() {
            end(queries, ReadFate::NoLeader);
        }
        let reading = self.reading.values_mut().map(|(_, queries)| queries);
        for queries in reading.chain(self.confirmed.values_mut()) {
            end(queries, ReadFate::Timeout);
        }
        self.asking.retain(|_, queries| !queries.is_empty());
        self.asking_count = self.asking.values().map(Vec::len).sum();
        self.confirmed.retain(|_, queries| !queries.is_empty());
    }
}
