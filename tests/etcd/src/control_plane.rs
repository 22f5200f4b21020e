//! API servers of Kubernetes at work: each with its caches, its controllers and its part in compaction, at
//! whichever member it can reach.
//! Never judges: what was told and done is there for a test to compare.

use crate::apiserver::{Compactor, Floor, Refusal, Storage};
use crate::cluster::Cluster;
use crate::random::Random;
use crate::watch_cache::{Cache, Expired, Told};
use anyhow::{Context, Result, anyhow, ensure};
use etcd_client::{Client, ConnectOptions};
use std::cell::{Cell, RefCell};
use std::ops::Add;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// Where its pods are.
pub const PODS: &str = "/registry/pods/";

/// Where its events are.
pub const EVENTS: &str = "/registry/events/";

/// How long a request may take before another member is asked.
const LIMIT: Duration = Duration::from_millis(1_500);

/// What the parts of a server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// All that they can.
    Busy,
    /// Nobody changes anything any more.
    Quiet,
    /// Nothing.
    Over,
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// An object was not what its controller had seen.
    pub refused: usize,
    /// A request ended without an answer.
    pub unknown: usize,
    /// The caches were watched anew.
    pub watches: usize,
    /// This server compacted.
    pub compactions: usize,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            watches: self.watches + other.watches,
            compactions: self.compactions + other.compactions,
        }
    }
}

/// The name of a pod.
pub fn pod(number: u64) -> String {
    format!("{PODS}default/p{number:04}")
}

/// One API server among several: its storage at the member it can reach, and its caches.
pub struct ApiServer {
    endpoints: Vec<String>,
    first: usize,
    floor: Floor,
    /// The cache of the objects that its controllers fight over.
    pub pods: RefCell<Cache>,
    /// The cache of what they leave behind.
    pub events: RefCell<Cache>,
    /// What its controllers were told that they had done.
    pub done: RefCell<Vec<Told>>,
    counts: Cell<Counts>,
    phase: Rc<Cell<Phase>>,
}

impl ApiServer {
    /// One that begins at this member.
    pub fn new(
        cluster: &Cluster,
        first: usize,
        floor: &Floor,
        phase: &Rc<Cell<Phase>>,
    ) -> Rc<ApiServer> {
        let endpoints = cluster.members.iter().map(|member| member.client_url());
        Rc::new(ApiServer {
            endpoints: endpoints.collect(),
            first,
            floor: floor.clone(),
            pods: RefCell::new(Cache::new(PODS)),
            events: RefCell::new(Cache::new(EVENTS)),
            done: RefCell::default(),
            counts: Cell::default(),
            phase: phase.clone(),
        })
    }

    /// Starts its parts: what ends when it is quiet, and what goes on until all is over.
    pub fn start(self: &Rc<Self>) -> (Vec<JoinHandle<()>>, JoinHandle<()>) {
        let mut busy = vec![spawn_local(self.clone().compact())];
        for name in [2 * self.first, 2 * self.first + 1] {
            busy.push(spawn_local(self.clone().control(name)));
        }
        (busy, spawn_local(self.clone().keep_caches()))
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts.get()
    }

    fn count(&self, more: Counts) {
        self.counts.set(self.counts.get() + more);
    }

    fn is_busy(&self) -> bool {
        self.phase.get() == Phase::Busy
    }

    async fn client(&self, at: usize) -> Result<Client> {
        let options = ConnectOptions::new()
            .with_connect_timeout(LIMIT)
            .with_require_leader(true);
        let endpoint = &self.endpoints[at % self.endpoints.len()];
        Ok(Client::connect([endpoint], Some(options)).await?)
    }

    async fn storage(&self, at: usize) -> Result<Storage> {
        Ok(Storage::new(self.client(at).await?, self.floor.clone()))
    }

    /// Keeps the caches up, wherever it can.
    async fn keep_caches(self: Rc<Self>) {
        let mut at = self.first;
        while self.phase.get() < Phase::Over {
            // Whatever ends the watches, they are taken up elsewhere.
            let _ = self.watch(at).await;
            at += 1;
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Both caches hang on one stream, as they do with Go's client.
    async fn watch(&self, at: usize) -> Result<()> {
        let mut storage = self.storage(at).await?;
        for cache in [&self.pods, &self.events] {
            if cache.borrow().version == 0 {
                self.fill(cache, &mut storage).await?;
            }
        }
        let options = |cache: &RefCell<Cache>| Some(cache.borrow().options());
        let mut client = self.client(at).await?;
        let watching = client.watch(PODS, options(&self.pods));
        let mut stream = timeout(LIMIT, watching).await??;
        stream.watch(EVENTS, options(&self.events)).await?;
        self.count(Counts {
            watches: 1,
            ..Counts::default()
        });
        let (mut heard, mut asked) = (Instant::now(), Instant::now());
        while self.phase.get() < Phase::Over {
            if asked.elapsed() > Duration::from_millis(50) {
                stream.request_progress().await?;
                asked = Instant::now();
            }
            let Ok(said) = timeout(Duration::from_millis(20), stream.message()).await else {
                ensure!(heard.elapsed() < LIMIT, "it is silent");
                continue;
            };
            heard = Instant::now();
            let said = said?.context("the stream has ended")?;
            let [pods, events] = [(0, &self.pods), (1, &self.events)];
            for (id, cache) in [pods, events] {
                // What is said to no watch in particular is said to all.
                if [id, -1].contains(&said.watch_id())
                    && cache.borrow_mut().take(&said) == Err(Expired)
                {
                    return self.fill(cache, &mut storage).await;
                }
            }
        }
        Ok(())
    }

    async fn fill(&self, cache: &RefCell<Cache>, storage: &mut Storage) -> Result<()> {
        let prefix = cache.borrow().prefix.clone();
        let listed = timeout(LIMIT, storage.pages(&prefix, 5)).await?;
        let listed = listed.map_err(|refusal| anyhow!("{refusal:?}"))?;
        cache.borrow_mut().fill(&listed);
        Ok(())
    }

    /// A controller: it makes, changes and deletes what it sees in the cache.
    async fn control(self: Rc<Self>, name: usize) {
        let mut dice = Random::new(u64::try_from(name).expect("it fits"));
        let (mut at, mut number) = (self.first, 0);
        while self.is_busy() {
            let Ok(mut storage) = self.storage(at).await else {
                at += 1;
                continue;
            };
            loop {
                number += 1;
                let acting = self.act(&mut storage, &mut dice, name, number);
                match timeout(LIMIT, acting).await {
                    Ok(Ok(told)) => self.done.borrow_mut().extend(told),
                    Ok(Err(Refusal::Failed(_))) | Err(_) => {
                        self.count(Counts {
                            unknown: 1,
                            ..Counts::default()
                        });
                        break;
                    }
                    Ok(Err(_)) => self.count(Counts {
                        refused: 1,
                        ..Counts::default()
                    }),
                }
                sleep(Duration::from_millis(2)).await;
                if !self.is_busy() {
                    return;
                }
            }
            at += 1;
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn act(
        &self,
        storage: &mut Storage,
        dice: &mut Random,
        name: usize,
        number: usize,
    ) -> Result<Vec<Told>, Refusal> {
        let value = format!("{name}/{number}");
        let told = |version, key: &str, value: Option<String>| Told {
            version,
            key: key.to_string(),
            value,
        };
        if dice.chance(20) {
            let key = format!("{EVENTS}default/{value}");
            let ttl = Duration::from_secs(600);
            let version = storage.create_event(&key, "it happened", ttl).await?;
            return Ok(vec![told(version, &key, Some("it happened".into()))]);
        }
        let key = pod(dice.below(12));
        let known = self.pods.borrow().objects.get(&key).cloned();
        let deletes = dice.chance(30);
        match known {
            None => {
                let version = storage.create(&key, &value).await?;
                Ok(vec![told(version, &key, Some(value))])
            }
            Some(known) if deletes => {
                let version = storage.delete(&known).await?;
                Ok(vec![told(version, &key, None)])
            }
            known => {
                let now = storage.update(&key, known, |_| value.clone()).await?;
                Ok(vec![told(now.version, &key, Some(now.value))])
            }
        }
    }

    async fn compact(self: Rc<Self>) {
        let mut compactor = Compactor::default();
        let mut at = self.first;
        while self.is_busy() {
            sleep(Duration::from_millis(300)).await;
            let Ok(mut storage) = self.storage(at).await else {
                continue;
            };
            match timeout(LIMIT, compactor.turn(&mut storage)).await {
                Ok(Ok(Some(_))) => self.count(Counts {
                    compactions: 1,
                    ..Counts::default()
                }),
                Ok(Ok(None)) => (),
                // What was compacted or not shows the next time.
                _ => at += 1,
            }
        }
    }
}
