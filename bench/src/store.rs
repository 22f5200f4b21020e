//! A store of many keys: the memory it takes, how soon it is back after a restart, and for how long
//! its clients hang while something is done to all of it.

use crate::cluster::{self, SIZE, leader_url, start, watched};
use crate::engine::Engine;
use crate::figures::Figures;
use crate::load::{self, Plan};
use crate::machine::{Disk, Watched, cpu_seconds, resident_mib};
use crate::work::{Shape, Work, fill};
use anyhow::{Result, bail};
use etcd_client::Client;
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Clients that put while something is done to the store.
const CLIENTS: usize = 16;

/// Seconds of puts around each thing that is done to the store, at least.
const STALL_SECONDS: f64 = 4.0;

/// How long a restarted server may take.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Fills a fresh cluster with `shape.keys` keys, and measures it.
///
/// # Errors
/// If it does not start, or does not serve any more.
pub async fn measure(server: &Server, dir: &Path, shape: Shape) -> Result<Figures> {
    let disk = Disk::under(dir)?;
    let mut cluster = start(server, dir, &[]).await?;
    let mut figures = Figures::from([("keys".to_string(), shape.keys as f64)]);
    let client = load::connect(&[leader_url(&cluster).await?], 1)
        .await?
        .remove(0);
    let begin = Instant::now();
    figures.insert("stall_fill_ms".into(), fill(&client, shape).await?);
    let per_s = shape.keys as f64 / begin.elapsed().as_secs_f64();
    figures.insert("fill_keys_per_s".into(), per_s);
    // What goes on in the background after a load settles.
    sleep(Duration::from_secs(1)).await;
    figures.insert("loaded_mib".into(), mean_mib(&cluster)?);
    restarts(&mut cluster, &mut figures).await?;
    figures.insert("restarted_mib".into(), mean_mib(&cluster)?);
    stalls(&cluster, &disk, shape, &mut figures).await?;
    Ok(figures)
}

/// Gives a fresh cluster as many puts as there are to be keys, from 64 clients: what reaches the disk with each
/// put, with whatever snapshots and cleaning up that brings.
///
/// # Errors
/// If it does not start, or does not serve any more.
pub async fn written(server: &Server, dir: &Path, puts: u64, shape: Shape) -> Result<Figures> {
    let disk = Disk::under(dir)?;
    let cluster = start(server, dir, &[]).await?;
    let leader = leader_url(&cluster).await?;
    let clients = 64;
    let plan = Plan {
        endpoints: vec![leader.clone()],
        engine: Engine::Lean,
        work: Work::Put,
        clients,
        conns: load::usual_conns(clients),
        rate: None,
        shape,
    };
    let all = async {
        let mut client = Client::connect([leader], None).await?;
        loop {
            let now = client.get("warm", None).await?;
            let revision = now.header().map_or(0, |header| header.revision());
            if u64::try_from(revision)? >= puts {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (figures, ()) = load::run_while(&plan, &watched(&cluster, &disk), all).await?;
    Ok(figures)
}

/// Mean of the memory that members have in use.
fn mean_mib(cluster: &Cluster) -> Result<f64> {
    let mut sum = 0.0;
    for number in 0..SIZE {
        sum += resident_mib(cluster::pid(cluster, number)?)?;
    }
    Ok(sum / SIZE as f64)
}

/// A follower is stopped in order and started again; then all are killed and started.
async fn restarts(cluster: &mut Cluster, figures: &mut Figures) -> Result<()> {
    let follower = (cluster.wait_for_leader().await? + 1) % SIZE;
    cluster.terminate(follower).await?;
    let begin = Instant::now();
    cluster::spawn(cluster, follower)?;
    until_serves(cluster, follower, begin).await?;
    figures.insert("restart_one_s".into(), begin.elapsed().as_secs_f64());
    let cpu = cpu_seconds(cluster::pid(cluster, follower)?)?;
    figures.insert("restart_one_cpu_s".into(), cpu);
    for number in 0..SIZE {
        cluster.kill(number);
    }
    let begin = Instant::now();
    for number in 0..SIZE {
        cluster::spawn(cluster, number)?;
    }
    for number in 0..SIZE {
        until_serves(cluster, number, begin).await?;
    }
    figures.insert("restart_all_s".into(), begin.elapsed().as_secs_f64());
    Ok(())
}

/// Waits until a member answers a linearizable read.
async fn until_serves(cluster: &Cluster, number: usize, begin: Instant) -> Result<()> {
    while begin.elapsed() < RESTART_LIMIT {
        // A server that is not ready lets calls wait; a short limit only makes us ask again.
        let mut client = cluster.client(number, Duration::from_millis(500)).await?;
        if client.get("is anybody there", None).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    bail!("member {number} does not serve")
}

/// Puts go on while a snapshot is saved, history is compacted, and the database is defragmented.
async fn stalls(cluster: &Cluster, disk: &Disk, shape: Shape, figures: &mut Figures) -> Result<()> {
    let leader = leader_url(cluster).await?;
    let plan = Plan {
        endpoints: vec![leader.clone()],
        engine: Engine::EtcdClient,
        work: Work::Put,
        clients: CLIENTS,
        conns: load::usual_conns(CLIENTS),
        rate: None,
        shape: Shape {
            seconds: STALL_SECONDS.min(2.0 * shape.seconds),
            ..shape
        },
    };
    let watched = watched(cluster, disk);
    let (longest, _) = during(&plan, &watched, async { Ok(()) }).await?;
    figures.insert("stall_steady_ms".into(), longest);
    let mut keep = |name: &str, (longest_ms, took_s): (f64, f64)| {
        figures.insert(format!("stall_{name}_ms"), longest_ms);
        figures.insert(format!("{name}_s"), took_s);
    };
    let saving = beside(&leader, async |mut client| {
        let mut stream = client.snapshot().await?;
        while stream.message().await?.is_some() {}
        Ok(())
    });
    keep("snapshot", during(&plan, &watched, saving).await?);
    let compacting = beside(&leader, async |mut client| {
        let now = client.get("warm", None).await?;
        let revision = now.header().map_or(1, |header| header.revision());
        let options = etcd_client::CompactionOptions::new().with_physical();
        client.compact(revision, Some(options)).await?;
        Ok(())
    });
    keep("compact", during(&plan, &watched, compacting).await?);
    let defragmenting = beside(&leader, async |mut client| {
        client.defragment().await?;
        Ok(())
    });
    keep("defragment", during(&plan, &watched, defragmenting).await?);
    Ok(())
}

/// What a client of its own does on a thread of its own: who takes in a whole store would hold up those
/// whose waiting is measured.
async fn beside(
    leader: &str,
    deed: impl AsyncFnOnce(Client) -> Result<()> + Send + 'static,
) -> Result<()> {
    let leader = leader.to_string();
    let there = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async { deed(Client::connect([leader], None).await?).await })
    };
    tokio::task::spawn_blocking(there).await?
}

/// The longest time that a put took while something was done, or that was under way then, in
/// milliseconds; and how long that took, in seconds.
async fn during(
    plan: &Plan,
    watched: &Watched,
    something: impl Future<Output = Result<()>>,
) -> Result<(f64, f64)> {
    let part = Duration::from_secs_f64(plan.shape.seconds / 4.0);
    let acted = async {
        sleep(part).await;
        let begin = Instant::now();
        something.await?;
        let took_s = begin.elapsed().as_secs_f64();
        sleep(part).await;
        Ok(took_s)
    };
    let (loaded, took_s) = load::run_while(plan, watched, acted).await?;
    Ok((loaded["max_ms"], took_s))
}
