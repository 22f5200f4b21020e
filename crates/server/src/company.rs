//! The store's company in the node's loop: who watches it, and when its leases end.
//! Never waits and never decides: `kv` does, and here it is told of time, turns and calls.
//!
//! Everyone who calls waits for an answer, so as many calls are under way as requests and streams
//! of clients; and of each stream there is at most one word on its way, so a client that does not
//! read costs no more than that.
//!
//! # Source
//! ARCHITECTURE.md, "Threads"; etcd's watchable store and lessor.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::auth::{Asker, Auth};
use headwater_kv::lessor::Lessor;
use headwater_kv::request::{Command, KeyValue};
use headwater_kv::stream::{Said, StreamId, Streams, Word};
use headwater_kv::tally::Tallied;
use headwater_kv::watch::{Event, WatchRequest};
use headwater_runtime::{Company, Instant, NodeId, Stage, Term};
use tokio::sync::{mpsc, oneshot, watch};

use crate::agreeing::Agreeing;
use crate::census::Census;
use crate::leases::{Answer, Question, Says};
use crate::once::{Alike, Told};
use crate::renewals::{Renew, Renewals};
use crate::round_trips::{RoundTrips, Times};
use crate::voice::Voice;

/// About how many bytes of events one word holds.
const WORD_BYTES: usize = 64 << 10;

/// How much is said in one turn, about; what is left waits for the next, so that the loop has time
/// for everyone else.
const TURN_BYTES: usize = 1 << 20;

/// What a word counts for beside its keys and values, and a watcher that had none for a look.
const WORD_COST_BYTES: usize = 1 << 10;

/// What an event counts for beside its keys and values.
const EVENT_COST_BYTES: usize = 64;

/// How often it is written down what a lease has left, if it has more than that; etcd's interval.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

/// Questions to other members under way before it is looked for those that nobody waits for.
const ASKED_MIN: usize = 1 << 10;

/// How many leases are revoked in one turn.
const ENDED_MAX: usize = 500;

/// What a service wants of the company.
#[derive(Debug)]
pub enum Call {
    /// A client, known or not, begins to watch; what it is told may be said there.
    Open(StreamId, Option<Asker>, Option<Voice>),
    /// A client wants something changed in what it watches; answered once it may ask for more.
    Watch(StreamId, Wish, oneshot::Sender<()>),
    /// What is a client to be told next? Answered once there is something, and no room to say it.
    Next(StreamId, oneshot::Sender<Told>),
    /// A client watches no more.
    Close(StreamId),
    /// A lease is to be renewed.
    Renew(Renew),
    /// How many seconds has a lease left, if this node leads?
    TimeLeft(i64, oneshot::Sender<Option<i64>>),
    /// All leases, the next to end first; none if this node does not lead.
    InOrderOfEnd(oneshot::Sender<Vec<i64>>),
    /// The leader is asked what only it knows.
    Ask(NodeId, Question, oneshot::Sender<Answer>),
    /// On the leader: up to which entry does a member hold the log, of how many?
    Progress(NodeId, oneshot::Sender<Option<(u64, u64)>>),
    /// How many there are of everything?
    Count(oneshot::Sender<Counts>),
}

/// What a client of a stream wants.
#[derive(Debug)]
pub enum Wish {
    /// To watch, under a number of its own or under any.
    Create(i64, WatchRequest),
    /// To watch no more.
    Cancel(i64),
    /// To know how far it is.
    Progress,
}

/// The company in numbers.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Streams of watches.
    pub streams: usize,
    /// Watchers.
    pub watchers: usize,
    /// Of these, those that are behind.
    pub watchers_behind: usize,
    /// Events told.
    pub events: u64,
    /// Leases found to have ended.
    pub leases_ended: u64,
    /// Leases renewed.
    pub leases_renewed: u64,
    /// How often this member has compared what it wrote with a leader.
    pub compared: u64,
    /// How often it turned out to have parted from it.
    pub partings: u64,
    /// The revision of users and roles.
    pub auth_revision: u64,
    /// What was done to the keys.
    pub tallied: Tallied,
    /// How long the way to each other member and back takes.
    pub round_trips: Vec<(NodeId, Times)>,
}

/// A question of another member, and its number.
pub type Asked = (NodeId, u64, Question);

/// Who is at the other end of a stream.
#[derive(Debug, Default)]
struct Listening {
    /// Waits for the next word, or for the next that there is no room to say.
    waits: Option<oneshot::Sender<Told>>,
    /// How it is said.
    voice: Option<Voice>,
    /// Has asked for so much that the answers come first.
    held_back: Option<oneshot::Sender<()>>,
}

impl Listening {
    /// Somebody who has asked for nothing yet.
    fn by(voice: Option<Voice>) -> Self {
        Self {
            voice,
            ..Self::default()
        }
    }
}

impl Counts {
    /// Counts what is said; how many bytes of keys and values it has, and what of a turn's budget it takes.
    fn charge(&mut self, said: &Said) -> (usize, usize) {
        let Word::Events { events, .. } = &said.word else {
            return (0, 0);
        };
        self.events += events.len() as u64;
        let bytes_of = |kv: &KeyValue| kv.key.len() + kv.value.len();
        let before = |event: &Event| event.prev_kv.as_ref().map_or(0, bytes_of);
        let bytes = events
            .iter()
            .map(|event| bytes_of(&event.kv) + before(event));
        let bytes = bytes.sum();
        (bytes, bytes + events.len() * EVENT_COST_BYTES)
    }
}

/// All that stands beside the store.
#[derive(Debug)]
pub struct StoreCompany {
    calls: mpsc::UnboundedReceiver<Call>,
    questions: mpsc::UnboundedSender<Asked>,
    /// Users and roles, for those at the door.
    auth: watch::Sender<Arc<Auth>>,
    streams: Streams,
    /// Who is at the other end of each stream.
    listeners: BTreeMap<StreamId, Listening>,
    /// Which of what they say is the same.
    alike: Alike,
    /// Streams that waited and have something to say since.
    woken: Vec<StreamId>,
    /// What may still be said in this turn.
    budget_bytes: usize,
    lessor: Lessor,
    renewals: Renewals,
    census: Census,
    agreeing: Agreeing,
    round_trips: RoundTrips,
    reign: Option<Term>,
    /// Who waits for an answer of another member, and the number of the last question.
    asked: BTreeMap<u64, oneshot::Sender<Answer>>,
    question: u64,
    /// From so many on those are looked for that wait no more.
    asked_max: usize,
    remind_every: Duration,
    remind_at: Instant,
    counts: Counts,
}

impl StoreCompany {
    /// A company that is called through `calls`, and passes on what other members ask.
    pub fn new(
        remind_every: Duration,
        (census, agreeing): (Census, Agreeing),
        (calls, questions): (mpsc::UnboundedReceiver<Call>, mpsc::UnboundedSender<Asked>),
        auth: watch::Sender<Arc<Auth>>,
    ) -> Self {
        Self {
            calls,
            questions,
            auth,
            streams: Streams::default(),
            alike: Alike::default(),
            listeners: BTreeMap::new(),
            woken: Vec::new(),
            budget_bytes: 0,
            lessor: Lessor::new(ns(CHECKPOINT_EVERY)),
            renewals: Renewals::default(),
            census,
            agreeing,
            round_trips: RoundTrips::new(RandomState::new().hash_one(1u8)),
            reign: None,
            asked: BTreeMap::new(),
            // An answer to a question of an earlier life means nothing.
            question: RandomState::new().hash_one(0u8),
            asked_max: ASKED_MIN,
            remind_every,
            remind_at: Instant(0).after(ns(remind_every)),
            counts: Counts::default(),
        }
    }

    fn on_call(&mut self, call: Call, stage: &Stage<'_, Store>) {
        let (now_ns, store) = (stage.now().0, stage.machine());
        // Whoever has gone away meanwhile is told nothing, and that is no loss.
        match call {
            Call::Open(stream, asker, voice) => {
                self.streams.open(stream, asker);
                self.listeners.insert(stream, Listening::by(voice));
            }
            Call::Watch(stream, wish, answer) => {
                match wish {
                    Wish::Create(id, request) => self.streams.create(stream, id, request, store),
                    Wish::Cancel(id) => self.streams.cancel(stream, id, store),
                    Wish::Progress => self.streams.progress(stream),
                }
                match self.listeners.get_mut(&stream) {
                    Some(listener) if self.streams.is_behind(stream) => {
                        listener.held_back = Some(answer);
                    }
                    _ => drop(answer.send(())),
                }
            }
            Call::Next(stream, answer) => {
                if let Some(listener) = self.listeners.get_mut(&stream) {
                    listener.waits = Some(answer);
                    // One that has nothing to say is woken when it has.
                    if self.streams.is_awake(stream) {
                        self.woken.push(stream);
                    }
                }
            }
            Call::Close(stream) => {
                self.streams.close(stream);
                self.listeners.remove(&stream);
            }
            Call::Renew(renew) => self.renewals.gather(renew),
            Call::TimeLeft(id, answer) => {
                let left = self.lessor.time_to_live(now_ns, id);
                // What has ended here, and is not revoked yet, has nothing left.
                let _ = answer.send(left.or(self.reign.map(|_| 0)));
            }
            Call::InOrderOfEnd(answer) => {
                let _ = answer.send(self.lessor.in_order_of_end().collect());
            }
            Call::Ask(leader, question, answer) => {
                self.forget_unasked();
                self.question = self.question.wrapping_add(1);
                self.asked.insert(self.question, answer);
                stage.note(leader, self.question, question.encode());
            }
            Call::Progress(member, answer) => {
                let progress = stage.progress(member);
                let _ = answer.send(progress.map(|(held, last)| (held.0, last.0)));
            }
            Call::Count(answer) => {
                let (compared, partings) = self.agreeing.counts();
                let _ = answer.send(Counts {
                    compared,
                    partings,
                    leases_renewed: self.renewals.renewed(),
                    streams: self.streams.len(),
                    watchers: self.streams.watchers(),
                    watchers_behind: self.streams.watchers_behind(),
                    auth_revision: store.auth().revision,
                    tallied: store.tallied(),
                    round_trips: self.round_trips.times(),
                    ..self.counts.clone()
                });
            }
        }
    }

    /// Who asked and has gone away does not wait for an answer.
    fn forget_unasked(&mut self) {
        if self.asked.len() >= self.asked_max {
            self.asked.retain(|_, answer| !answer.is_closed());
            self.asked_max = ASKED_MIN.max(2 * self.asked.len());
        }
    }

    /// Lets streams speak that somebody listens to, one word each at a time, until enough is said.
    fn speak(&mut self, store: &Store) {
        self.woken.extend(self.streams.woken());
        let mut spoken = 0;
        while self.budget_bytes > 0
            && let Some(&stream) = self.woken.get(spoken)
        {
            spoken += 1;
            let Some(listener) = self.listeners.get_mut(&stream) else {
                continue;
            };
            if listener.waits.is_none() {
                continue;
            }
            self.budget_bytes = self.budget_bytes.saturating_sub(WORD_COST_BYTES);
            if let Some(said) = self.streams.next(stream, store, WORD_BYTES) {
                let (bytes, cost_bytes) = self.counts.charge(&said);
                self.budget_bytes = self.budget_bytes.saturating_sub(cost_bytes);
                let told = self.alike.tell(said);
                let voice = listener.voice.as_ref();
                if voice.is_some_and(|voice| voice.say(&told, bytes)) {
                    // Nobody asks for what it has to say besides.
                    if self.streams.is_awake(stream) {
                        self.woken.push(stream);
                    }
                } else if let Some(waits) = listener.waits.take() {
                    let _ = waits.send(told);
                }
            }
            if listener.held_back.is_some()
                && !self.streams.is_behind(stream)
                && let Some(held_back) = listener.held_back.take()
            {
                let _ = held_back.send(());
            }
        }
        self.woken.drain(..spoken);
        self.alike.forget();
        // Those who have looked far and found nothing yet, and go on in the next turn.
        self.woken.extend(self.streams.woken());
    }

    /// What the leader owes its leases.
    fn watch_over_leases(&mut self, stage: &Stage<'_, Store>) {
        let (now_ns, store) = (stage.now().0, stage.machine());
        if self.reign != stage.reign() {
            self.reign = stage.reign();
            match self.reign {
                Some(term) => self.lessor.lead(now_ns, term.0, store),
                None => self.lessor.follow(),
            }
        }
        self.lessor.observe(now_ns, store);
        for ended in self.lessor.ended(now_ns, ENDED_MAX) {
            self.counts.leases_ended += 1;
            stage.propose(Command::LeaseRevoke(ended).encode());
        }
        if let Some(checkpoint) = self.lessor.checkpoint(now_ns) {
            stage.propose(Command::LeaseCheckpoint(checkpoint).encode());
        }
    }
}

impl Company<Store> for StoreCompany {
    fn after_command(&mut self, store: &Store) {
        self.streams.advance(store);
        self.agreeing.after_command(store);
    }

    fn after_turn(&mut self, stage: &Stage<'_, Store>) {
        // What a snapshot brought is seen here.
        self.streams.advance(stage.machine());
        self.auth.send_if_modified(|known| {
            let is_new = !Arc::ptr_eq(known, stage.machine().auth());
            *known = Arc::clone(stage.machine().auth());
            is_new
        });
        self.watch_over_leases(stage);
        self.renewals.finish(&mut self.lessor, stage);
        self.census.after_turn(stage);
        self.agreeing.after_turn(stage);
        self.round_trips.after_turn(stage);
        if self.remind_at <= stage.now() {
            self.remind_at = stage.now().after(ns(self.remind_every));
            self.streams.remind();
        }
        while let Ok(call) = self.calls.try_recv() {
            self.on_call(call, stage);
        }
        self.renewals.ask(stage);
        self.budget_bytes = TURN_BYTES;
        self.speak(stage.machine());
    }

    fn on_note(&mut self, from: NodeId, number: u64, bytes: Bytes) {
        match Says::decode(bytes) {
            Some(Says::Answers(answer)) => {
                if let Some(asked) = self.asked.remove(&number) {
                    let _ = asked.send(answer);
                }
            }
            // Who should answer is gone when the server stops.
            Some(Says::Asks(question)) => drop(self.questions.send((from, number, question))),
            Some(Says::Claims(claim)) => self.agreeing.hear(from, claim),
            Some(Says::Pings) => self.round_trips.on_question(from, number),
            Some(Says::Pongs) => self.round_trips.on_answer(from, number),
            None => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        if !self.woken.is_empty() {
            return Some(Instant(0));
        }
        let lessor = self.lessor.next_deadline_ns().map(Instant);
        let remind = (!self.streams.is_empty()).then_some(self.remind_at);
        let agreeing = self.agreeing.next_deadline(self.reign.is_some());
        let ask = Some(self.round_trips.next_deadline());
        let renewals = self.renewals.next_deadline();
        let others = remind.into_iter().chain(agreeing).chain(ask);
        let others = others.chain(renewals);
        lessor.into_iter().chain(others).min()
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
