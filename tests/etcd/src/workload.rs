//! Clients that write, read and swap without pause, and record all they see.
//! Never judge it, and never touch the servers' processes.
//!
//! Workers do one operation after the other on a handful of hot keys, where operations meet. Beats
//! come at fixed times whether or not the last one has returned: a put of a key of its own, which
//! shows whether a write was lost and when the service was away, and a read of a hot key at every
//! member, which asks a member that was cut off or paused what it still believes.

use crate::history::{Action, NEVER, Operation, Outcome, Stamp, Value};
use crate::random::Random;
use anyhow::Result;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, KeyValue, Txn, TxnOp,
    TxnOpResponse,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, spawn_local};

/// How many keys the workers share.
pub const HOT_KEYS: u64 = 5;

/// Workers at each member.
const WORKERS_EACH: u64 = 5;

/// How long a worker waits for an answer before it asks another member.
const WORKER_LIMIT: Duration = Duration::from_millis(1_500);

/// How long a beat waits: longer than any pause in a test, so that an answer which a paused member
/// gives after it wakes is seen.
const BEAT_LIMIT: Duration = Duration::from_secs(6);

/// How often each member is sent a beat.
const BEAT_EVERY: Duration = Duration::from_millis(20);

/// All operations of a test, while they happen.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    history: RefCell<Vec<Operation>>,
    values: Cell<Value>,
    last_write_ns: Cell<u64>,
    reads: Reads,
}

/// What reads ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The newest value, as every read should.
    Linearizable,
    /// Whatever the member has, to see that the judges notice.
    Serializable,
}

impl Recorder {
    fn new(reads: Reads) -> Recorder {
        Recorder {
            reads,
            begin: Instant::now(),
            history: RefCell::default(),
            values: Cell::new(0),
            last_write_ns: Cell::new(0),
        }
    }

    /// Nanoseconds since the history began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("tests are short")
    }

    /// When the latest acknowledged write was sent.
    pub fn last_write_ns(&self) -> u64 {
        self.last_write_ns.get()
    }

    /// A value that no other write has.
    fn value(&self) -> Value {
        self.values.set(self.values.get() + 1);
        self.values.get()
    }

    /// Does an operation and records it; gives back what it saw or wrote.
    async fn record(
        &self,
        client: &mut Client,
        process: u32,
        key: &str,
        action: Action,
        limit: Duration,
    ) -> Outcome {
        let invoked_ns = self.now_ns();
        let answer = tokio::time::timeout(limit, perform(client, key, action, self.reads)).await;
        let returned_ns = self.now_ns();
        let (outcome, stamp) = match answer {
            Ok(Ok((outcome, stamp))) => (outcome, Some(stamp)),
            Ok(Err(error)) if surely_failed(&error) => (Outcome::Failed, None),
            Ok(Err(_)) | Err(_) => (Outcome::Unknown, None),
        };
        if matches!(outcome, Outcome::Put | Outcome::Swapped) {
            self.last_write_ns
                .set(self.last_write_ns.get().max(invoked_ns));
        }
        let returned_ns = if outcome == Outcome::Unknown {
            NEVER
        } else {
            returned_ns
        };
        let key = key.to_string();
        let operation = Operation {
            process,
            key,
            action,
            outcome,
            invoked_ns,
            returned_ns,
            stamp,
        };
        self.history.borrow_mut().push(operation);
        outcome
    }
}

/// Asks a member to carry out an action, and translates its answer.
async fn perform(
    client: &mut Client,
    key: &str,
    action: Action,
    reads: Reads,
) -> Result<(Outcome, Stamp), Error> {
    match action {
        Action::Put(value) => {
            let response = client.put(key, value.to_string(), None).await?;
            let revision = response.header().map_or(0, |header| header.revision());
            Ok((Outcome::Put, wrote_at(revision)))
        }
        Action::Get => {
            let serializable = || GetOptions::new().with_serializable();
            let options = (reads == Reads::Serializable).then(serializable);
            let response = client.get(key, options).await?;
            let revision = response.header().map_or(0, |header| header.revision());
            let (seen, stamp) = saw_at(revision, response.kvs());
            Ok((Outcome::Got(seen), stamp))
        }
        Action::Cas { expected, value } => {
            let condition = match expected {
                Some(value) => Compare::value(key, CompareOp::Equal, value.to_string()),
                None => Compare::create_revision(key, CompareOp::Equal, 0),
            };
            let put = TxnOp::put(key, value.to_string(), None);
            let txn = Txn::new().when([condition]).and_then([put]);
            let response = client.txn(txn.or_else([TxnOp::get(key, None)])).await?;
            let revision = response.header().map_or(0, |header| header.revision());
            if response.succeeded() {
                return Ok((Outcome::Swapped, wrote_at(revision)));
            }
            let Some(TxnOpResponse::Get(found)) = response.op_responses().into_iter().next() else {
                return Ok((Outcome::RefusedBlind, wrote_at(revision)));
            };
            let (seen, stamp) = saw_at(revision, found.kvs());
            Ok((Outcome::Refused(seen), stamp))
        }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).expect("revisions and versions are not negative")
}

fn wrote_at(revision: i64) -> Stamp {
    Stamp {
        revision: unsigned(revision),
        mod_revision: unsigned(revision),
        version: 0,
    }
}

fn saw_at(revision: i64, kvs: &[KeyValue]) -> (Option<Value>, Stamp) {
    let revision = unsigned(revision);
    let Some(kv) = kvs.first() else {
        return (
            None,
            Stamp {
                revision,
                mod_revision: 0,
                version: 0,
            },
        );
    };
    let mod_revision = unsigned(kv.mod_revision());
    (
        Some(value_of(kv)),
        Stamp {
            revision,
            mod_revision,
            version: unsigned(kv.version()),
        },
    )
}

/// The value that stands in a pair.
///
/// # Panics
/// If none of our clients can have written it.
pub fn value_of(kv: &KeyValue) -> Value {
    let text = String::from_utf8_lossy(kv.value());
    text.parse()
        .unwrap_or_else(|_| panic!("{:?} holds {text:?}", kv.key()))
}

/// Whether an error means that the operation took no effect and never will. In doubt it does not.
fn surely_failed(error: &Error) -> bool {
    // No connection, so nothing was sent; the client sends nothing twice by itself.
    error.to_string().contains("tcp connect error")
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    /// What they have seen so far.
    pub recorder: Rc<Recorder>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts workers and beats against all members; needs a `tokio::task::LocalSet`.
    ///
    /// # Errors
    /// If an endpoint is not a URL.
    pub async fn start(endpoints: &[String], seed: u64, reads: Reads) -> Result<Load> {
        let recorder = Rc::new(Recorder::new(reads));
        let stop = Rc::new(Cell::new(false));
        let mut tasks = Vec::new();
        let members = endpoints.len() as u64;
        for number in 0..members * WORKERS_EACH {
            let worker = Worker {
                process: u32::try_from(number).expect("few workers"),
                clients: connect(endpoints).await?,
                member: usize::try_from(number % members).expect("few members"),
                random: Random::new(seed ^ number << 32),
                recorder: Rc::clone(&recorder),
            };
            tasks.push(spawn_local(worker.run(Rc::clone(&stop))));
        }
        for (member, client) in connect(endpoints).await?.into_iter().enumerate() {
            let process = 1_000 + u32::try_from(member).expect("few members");
            let beats = beat(client, process, Rc::clone(&recorder), Rc::clone(&stop));
            tasks.push(spawn_local(beats));
        }
        Ok(Load {
            recorder,
            stop,
            tasks,
        })
    }

    /// Waits until a write succeeds that was sent after `since_ns`.
    ///
    /// # Errors
    /// If none does within `limit`.
    pub async fn served_since(&self, since_ns: u64, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.recorder.last_write_ns() <= since_ns {
            anyhow::ensure!(
                Instant::now() < deadline,
                "no write succeeded within {limit:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends the load, waits for what is still under way, and hands out the history.
    pub async fn stop(self) -> (Vec<Operation>, Rc<Recorder>) {
        self.stop.set(true);
        for task in self.tasks {
            task.await.expect("a client panicked");
        }
        (self.recorder.history.take(), self.recorder)
    }
}

async fn connect(endpoints: &[String]) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let options = ConnectOptions::new().with_connect_timeout(WORKER_LIMIT);
        clients.push(Client::connect([endpoint], Some(options)).await?);
    }
    Ok(clients)
}

struct Worker {
    process: u32,
    clients: Vec<Client>,
    member: usize,
    random: Random,
    recorder: Rc<Recorder>,
}

impl Worker {
    async fn run(mut self, stop: Rc<Cell<bool>>) {
        // What this worker believes each hot key holds, so that some of its swaps succeed.
        let mut beliefs = vec![None; usize::try_from(HOT_KEYS).expect("a handful")];
        while !stop.get() {
            let key = self.random.below(HOT_KEYS);
            let belief = &mut beliefs[usize::try_from(key).expect("a handful")];
            let value = self.recorder.value();
            let action = match self.random.below(10) {
                0..4 => Action::Get,
                4..7 => Action::Put(value),
                _ => Action::Cas {
                    expected: *belief,
                    value,
                },
            };
            let client = &mut self.clients[self.member];
            let key = hot_key(key);
            let done = self
                .recorder
                .record(client, self.process, &key, action, WORKER_LIMIT)
                .await;
            match done {
                Outcome::Put | Outcome::Swapped => *belief = Some(value),
                Outcome::Got(seen) | Outcome::Refused(seen) => *belief = seen,
                Outcome::RefusedBlind => {}
                Outcome::Failed | Outcome::Unknown => {
                    self.member = (self.member + 1) % self.clients.len();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(1 + self.random.below(15))).await;
        }
    }
}

fn hot_key(number: u64) -> String {
    format!("hot/{number}")
}

async fn beat(client: Client, process: u32, recorder: Rc<Recorder>, stop: Rc<Cell<bool>>) {
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    let mut under_way = tokio::task::JoinSet::new();
    let mut count = 0;
    while !stop.get() {
        ticks.tick().await;
        count += 1;
        let (mut writer, mut reader) = (client.clone(), client.clone());
        let (write_recorder, read_recorder) = (Rc::clone(&recorder), Rc::clone(&recorder));
        let value = recorder.value();
        under_way.spawn_local(async move {
            let key = format!("own/{value}");
            let put = Action::Put(value);
            write_recorder
                .record(&mut writer, process, &key, put, BEAT_LIMIT)
                .await;
        });
        under_way.spawn_local(async move {
            let key = hot_key(count % HOT_KEYS);
            let get = Action::Get;
            read_recorder
                .record(&mut reader, process + 1_000, &key, get, BEAT_LIMIT)
                .await;
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}
