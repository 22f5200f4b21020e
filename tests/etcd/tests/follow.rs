//! Watchers and leases while leaders are killed and paused: no event is lost, doubled or out of
//! order, no revision is split, and no lease ends before its client was told.
//!
//! `SERVER_BIN=etcd` has etcd itself judged.

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{
    Client, ConnectOptions, EventType, PutOptions, Txn, TxnOp, WatchOptions, WatchResponse,
};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

/// How often the leader is killed or paused.
const ROUNDS: usize = 6;

/// How long a call may take before another member is tried.
const LIMIT: Duration = Duration::from_millis(1_500);

/// How long everyone may take to see everything, once all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// The life of each tenant's lease. A pause of the leader and an election take less.
const TTL: Duration = Duration::from_secs(6);

/// How often a lease is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(400);

/// An event in words, and its revision.
type Told = (i64, String);

/// The members' URLs, and which one a client uses.
struct Way {
    endpoints: Vec<String>,
    at: usize,
}

impl Way {
    fn new(cluster: &Cluster, at: usize) -> Way {
        let endpoints = cluster.members.iter().map(|member| member.client_url());
        Way {
            endpoints: endpoints.collect(),
            at,
        }
    }

    async fn client(&self) -> Result<Client> {
        let options = ConnectOptions::new().with_connect_timeout(LIMIT);
        Ok(Client::connect([&self.endpoints[self.at]], Some(options)).await?)
    }

    async fn turn(&mut self) {
        self.at = (self.at + 1) % self.endpoints.len();
        sleep(Duration::from_millis(20)).await;
    }
}

/// One client that watches everything, wherever it can, and goes on after the last it saw.
struct Follower {
    way: Way,
    told: RefCell<Vec<Told>>,
    /// When the key of this name was seen to go.
    gone: RefCell<BTreeMap<String, Instant>>,
    resumed: Cell<usize>,
    wrong: RefCell<Option<String>>,
}

impl Follower {
    fn new(way: Way) -> Rc<Follower> {
        Rc::new(Follower {
            way,
            told: RefCell::default(),
            gone: RefCell::default(),
            resumed: Cell::new(0),
            wrong: RefCell::default(),
        })
    }

    fn last(&self) -> i64 {
        self.told
            .borrow()
            .last()
            .map_or(1, |(revision, _)| *revision)
    }

    /// Follows for ever; at each broken stream it goes to the next member.
    async fn run(self: Rc<Follower>) {
        let mut way = Way {
            endpoints: self.way.endpoints.clone(),
            at: self.way.at,
        };
        loop {
            // Whatever ends a stream, it is taken up elsewhere.
            let _ = self.follow(&way).await;
            self.resumed.set(self.resumed.get() + 1);
            way.turn().await;
        }
    }

    async fn follow(&self, way: &Way) -> Result<()> {
        let mut client = way.client().await?;
        let from = self.last() + 1;
        let options = WatchOptions::new()
            .with_all_keys()
            .with_start_revision(from);
        let opened = timeout(LIMIT, client.watch("", Some(options))).await??;
        let (requests, mut stream) = opened.split();
        loop {
            // A member that is paused says nothing, and so does an idle one: none is idle here.
            let said = timeout(LIMIT, stream.message()).await??;
            self.take(&said.context("the stream has ended")?);
            let _ = &requests;
        }
    }

    fn take(&self, said: &WatchResponse) {
        let last = self.last();
        let mut told = self.told.borrow_mut();
        for event in said.events() {
            let kv = event.kv().expect("an event of a key");
            let (key, revision) = (kv.key_str().expect("text"), kv.mod_revision());
            let kind = event.event_type();
            if revision <= last {
                let complaint = format!("{kind:?} {key} at {revision} after revision {last}");
                self.wrong.borrow_mut().get_or_insert(complaint);
            }
            if kind == EventType::Delete {
                let now = Instant::now();
                self.gone.borrow_mut().entry(key.to_string()).or_insert(now);
            }
            let value = kv.value_str().expect("text");
            told.push((revision, format!("{kind:?} {key} {value}")));
        }
        let in_order = told.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        if !in_order {
            let complaint = String::from("a word whose revisions are not in order");
            self.wrong.borrow_mut().get_or_insert(complaint);
        }
    }
}

/// A client that writes without pause: keys of its own, several at once, and deletions.
async fn write(
    mut way: Way,
    name: usize,
    acknowledged: Rc<RefCell<Vec<Told>>>,
    stop: Rc<Cell<bool>>,
) {
    let mut number = 0;
    while !stop.get() {
        let Ok(mut client) = way.client().await else {
            way.turn().await;
            continue;
        };
        loop {
            number += 1;
            let written = timeout(LIMIT, write_one(&mut client, name, number)).await;
            let Ok(Ok(written)) = written else { break };
            acknowledged.borrow_mut().extend(written);
            sleep(Duration::from_millis(2)).await;
            if stop.get() {
                return;
            }
        }
        way.turn().await;
    }
}

/// Writes once; what must be told of it.
async fn write_one(client: &mut Client, name: usize, number: usize) -> Result<Vec<Told>> {
    let (key, twin) = (format!("w{name}/a"), format!("w{name}/b"));
    let value = number.to_string();
    let put = |key: &str| format!("Put {key} {value}");
    match number % 5 {
        0 => {
            let deleted = client.delete(key.clone(), None).await?;
            let revision = deleted.header().context("a header")?.revision();
            let was_there = deleted.deleted() > 0;
            Ok(Vec::from_iter(
                was_there.then(|| (revision, format!("Delete {key} "))),
            ))
        }
        1 => {
            let both = [&twin, &key].map(|key| TxnOp::put(key.clone(), value.clone(), None));
            let written = client.txn(Txn::new().and_then(both)).await?;
            let revision = written.header().context("a header")?.revision();
            Ok(vec![(revision, put(&twin)), (revision, put(&key))])
        }
        _ => {
            let written = client.put(key.clone(), value.clone(), None).await?;
            let revision = written.header().context("a header")?.revision();
            Ok(vec![(revision, put(&key))])
        }
    }
}

/// A client that lives by a lease: until when it was told that it has it.
struct Tenant {
    key: String,
    held_until: Cell<Instant>,
    renewed: Cell<usize>,
}

impl Tenant {
    /// Takes a lease with a key, and keeps it alive through any member until it is to stop.
    async fn run(self: Rc<Tenant>, mut way: Way, stop: Rc<Cell<bool>>) {
        let id = loop {
            match timeout(LIMIT, self.begin(&way)).await {
                Ok(Ok(id)) => break id,
                _ => way.turn().await,
            }
        };
        while !stop.get() {
            let asked = Instant::now();
            match timeout(LIMIT, self.renew(&way, id)).await {
                Ok(Ok(())) => {
                    self.held_until.set(asked + TTL);
                    self.renewed.set(self.renewed.get() + 1);
                    sleep(RENEW_EVERY).await;
                }
                _ => way.turn().await,
            }
        }
    }

    async fn begin(&self, way: &Way) -> Result<i64> {
        let mut client = way.client().await?;
        let asked = Instant::now();
        let id = client.lease_grant(TTL.as_secs() as i64, None).await?.id();
        let put = PutOptions::new().with_lease(id);
        client.put(self.key.clone(), "held", Some(put)).await?;
        self.held_until.set(asked + TTL);
        Ok(id)
    }

    async fn renew(&self, way: &Way, id: i64) -> Result<()> {
        // It asks once for itself, and takes a lease without time for an error.
        way.client().await?.lease_keep_alive(id).await?;
        Ok(())
    }
}

/// Kills the leader, or pauses it for longer than an election, again and again.
async fn trouble(cluster: &mut Cluster) -> Result<()> {
    for round in 0..ROUNDS {
        sleep(Duration::from_millis(1_200)).await;
        let leader = cluster.wait_for_leader().await?;
        if round % 3 == 2 {
            cluster.pause(leader);
            sleep(Duration::from_millis(2_500)).await;
            cluster.resume(leader);
        } else {
            cluster.kill(leader);
            sleep(Duration::from_millis(700)).await;
            cluster.spawn(leader)?;
        }
        cluster.ready().await?;
    }
    sleep(Duration::from_millis(700)).await;
    Ok(())
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let since = Instant::now();
    while !holds() {
        ensure!(since.elapsed() < PATIENCE, "{what}: not in time");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Everything that ever happened, as one member tells it from the first revision on.
async fn everything(cluster: &Cluster, revision: i64) -> Result<Vec<Told>> {
    let follower = Follower::new(Way::new(cluster, 0));
    let runs = spawn_local(Rc::clone(&follower).run());
    let seen = until("all of history", || follower.last() >= revision).await;
    runs.abort();
    seen?;
    Ok(follower.told.take())
}

fn judge(
    history: &[Told],
    followers: &[Rc<Follower>],
    tenants: &[Rc<Tenant>],
    acknowledged: &[Told],
) -> Result<()> {
    for (number, follower) in followers.iter().enumerate() {
        if let Some(wrong) = follower.wrong.borrow().as_ref() {
            bail!("follower {number}: {wrong}");
        }
        let told = follower.told.borrow();
        let differs = told.iter().zip(history).find(|(told, real)| told != real);
        if let Some((told, real)) = differs {
            bail!("follower {number} was told {told:?} where it was {real:?}");
        }
        ensure!(
            told.len() >= history.len(),
            "follower {number} was told {} of {} events",
            told.len(),
            history.len()
        );
        for tenant in tenants {
            if let Some(gone) = follower.gone.borrow().get(&tenant.key) {
                let left = tenant.held_until.get().saturating_duration_since(*gone);
                ensure!(left.is_zero(), "{} ended {left:?} too early", tenant.key);
            }
        }
    }
    for told in acknowledged {
        ensure!(
            history.contains(told),
            "{told:?} was acknowledged and nobody was told"
        );
    }
    Ok(())
}

async fn run(cluster: &mut Cluster) -> Result<()> {
    let members = cluster.members.len();
    let stop = Rc::new(Cell::new(false));
    let acknowledged = Rc::new(RefCell::new(Vec::new()));
    let followers: Vec<_> = (0..2 * members)
        .map(|number| Follower::new(Way::new(cluster, number % members)))
        .collect();
    let mut runs: Vec<_> = followers
        .iter()
        .map(|follower| spawn_local(Rc::clone(follower).run()))
        .collect();
    let tenants: Vec<_> = (0..members)
        .map(|number| {
            Rc::new(Tenant {
                key: format!("tenant/{number}"),
                held_until: Cell::new(Instant::now()),
                renewed: Cell::new(0),
            })
        })
        .collect();
    for (number, tenant) in tenants.iter().enumerate() {
        let way = Way::new(cluster, number);
        runs.push(spawn_local(Rc::clone(tenant).run(way, Rc::clone(&stop))));
        let (written, stop) = (Rc::clone(&acknowledged), Rc::clone(&stop));
        let way = Way::new(cluster, number);
        runs.push(spawn_local(write(way, number, written, stop)));
    }
    let troubled = trouble(cluster).await;
    let alive = |tenant: &Rc<Tenant>| !followers[0].gone.borrow().contains_key(&tenant.key);
    let kept = tenants.iter().filter(|tenant| alive(tenant)).count();
    stop.set(true);
    troubled?;
    // Nobody renews the leases any more, so they end, and those are the last events.
    until("the end of the leases", || !tenants.iter().any(&alive)).await?;
    let mut client = cluster.client(0, PATIENCE).await?;
    let read = client.get("k", None).await?;
    let revision = read.header().context("a header")?.revision();
    until("all that is told", || {
        followers.iter().all(|follower| follower.last() >= revision)
    })
    .await?;
    runs.iter().for_each(|run| run.abort());
    let history = everything(cluster, revision).await?;
    let acknowledged = acknowledged.take();
    judge(&history, &followers, &tenants, &acknowledged)?;
    let resumed: usize = followers
        .iter()
        .map(|follower| follower.resumed.get())
        .sum();
    let renewed: usize = tenants.iter().map(|tenant| tenant.renewed.get()).sum();
    println!(
        "measured: {} events, {} acknowledged, told to {} followers that went elsewhere {resumed} \
         times; {kept} of {members} leases kept by {renewed} renewals",
        history.len(),
        acknowledged.len(),
        followers.len()
    );
    ensure!(
        kept == members,
        "a lease that was renewed in time has ended"
    );
    ensure!(
        acknowledged.len() > 500 && resumed >= ROUNDS,
        "too little happened to mean anything"
    );
    Ok(())
}

#[test]
fn followers_see_everything_once_and_leases_last_whatever_becomes_of_leaders() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("tokio starts");
    LocalSet::new().block_on(&runtime, async {
        let server = Server::from_env().expect("a server to test");
        let mut cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
        if let Err(error) = run(&mut cluster).await {
            let folder = cluster.keep().display().to_string();
            panic!("{error:#}\nwhat the members said: {folder}");
        }
    });
}
