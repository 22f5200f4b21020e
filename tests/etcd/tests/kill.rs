//! Servers are killed and paused under load: nothing acknowledged is lost, nothing stale is read.
//!
//! `SERVER_BIN` names another server that must pass too, `SEED` another run.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::history::{Operation, Outcome};
use headwater_etcd_tests::judge::{agreed_state, judge, lines, time_without_service};
use headwater_etcd_tests::workload::{Load, Reads};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::sleep;

/// How long the cluster may be without service after a fault; a test of its own measures how
/// short that can be.
const SERVICE_LIMIT: Duration = Duration::from_secs(20);

/// Each run wants the machine for itself: it measures times.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What is done to a member, again and again.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillLeader,
    KillFollower,
    PauseLeader,
}

/// What members speak with each other.
#[derive(Clone, Copy, Debug)]
enum Between {
    Plain,
    Tls,
}

#[test]
fn nothing_is_lost_or_stale_when_leaders_are_killed() {
    must_stand(Fault::KillLeader, 10, Between::Plain);
}

#[test]
fn nor_when_members_speak_tls() {
    must_stand(Fault::KillLeader, 3, Between::Tls);
}

#[test]
fn nothing_is_lost_or_stale_when_followers_are_killed() {
    must_stand(Fault::KillFollower, 3, Between::Plain);
}

#[test]
fn a_leader_that_was_paused_serves_nothing_stale() {
    must_stand(Fault::PauseLeader, 2, Between::Plain);
}

#[test]
fn the_judges_notice_stale_reads_where_reads_may_be_stale() {
    let verdict = with_cluster(Between::Plain, async |cluster| {
        under_faults(cluster, Fault::PauseLeader, 1, Reads::Serializable).await
    });
    let complaint = verdict
        .expect_err("a paused member's own view is old")
        .to_string();
    println!("as it should be: {complaint}");
    assert!(
        complaint.contains("the revisions contradict each other"),
        "one judge is blind"
    );
    assert!(
        complaint.contains("is not linearizable"),
        "one judge is blind"
    );
}

#[test]
fn the_judges_notice_a_write_that_is_gone() {
    let verdict = with_cluster(Between::Plain, async |cluster| {
        let endpoints: Vec<String> = cluster.members.iter().map(|m| m.client_url()).collect();
        let load = Load::start(&endpoints, 1, Reads::Linearizable).await?;
        sleep(Duration::from_secs(2)).await;
        let (mut history, recorder) = load.stop().await;
        let own = |operation: &&Operation| {
            operation.key.starts_with("own/") && operation.outcome == Outcome::Put
        };
        let victim = history
            .iter()
            .find(own)
            .expect("beats are puts")
            .key
            .clone();
        let mut client = cluster.client(0, Duration::from_secs(5)).await?;
        client.delete(victim, None).await?;
        let state = agreed_state(cluster).await?;
        judge(&mut history, recorder.now_ns(), &state)
    });
    let complaint = verdict.expect_err("a write is gone").to_string();
    println!("as it should be: {complaint}");
    assert!(complaint.starts_with("1 acknowledged writes are lost"));
}

/// Runs a fault that the server must stand.
fn must_stand(fault: Fault, rounds: usize, between: Between) {
    with_cluster(between, async |cluster| {
        if let Err(error) = under_faults(cluster, fault, rounds, Reads::Linearizable).await {
            let folder = cluster.keep().display().to_string();
            panic!("{fault:?}: {error:#}\nthe whole history: {folder}/history.txt");
        }
    });
}

async fn start(server: &Server, between: Between) -> anyhow::Result<Cluster> {
    let folder = std::env::temp_dir();
    let mut cluster = match between {
        Between::Plain => return Cluster::start(server, 3, &[]).await,
        Between::Tls => Cluster::new(server, 3, &folder, &["--peer-auto-tls"])?,
    };
    for member in &mut cluster.members {
        member.peer_scheme = "https";
    }
    for number in 0..3 {
        cluster.spawn(number)?;
    }
    cluster.ready().await?;
    Ok(cluster)
}

/// Does something with three members that run, alone on the machine.
fn with_cluster<T>(between: Between, what: impl AsyncFnOnce(&mut Cluster) -> T) -> T {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("tokio starts");
    LocalSet::new().block_on(&runtime, async {
        let server = Server::from_env().expect("a server to test");
        let mut cluster = start(&server, between).await.expect("a cluster");
        what(&mut cluster).await
    })
}

async fn under_faults(
    cluster: &mut Cluster,
    fault: Fault,
    rounds: usize,
    reads: Reads,
) -> anyhow::Result<()> {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let endpoints: Vec<String> = cluster
        .members
        .iter()
        .map(|member| member.client_url())
        .collect();
    let load = Load::start(&endpoints, seed, reads).await?;
    let mut faults_ns = Vec::new();
    for round in 0..rounds {
        sleep(Duration::from_millis(700)).await;
        let leader = cluster.wait_for_leader().await?;
        let follower = (leader + 1 + round % 2) % cluster.members.len();
        let since_ns = load.recorder.now_ns();
        faults_ns.push(since_ns);
        match fault {
            Fault::KillLeader | Fault::KillFollower => {
                let victim = if matches!(fault, Fault::KillLeader) {
                    leader
                } else {
                    follower
                };
                cluster.kill(victim);
                load.served_since(since_ns, SERVICE_LIMIT).await?;
                sleep(Duration::from_millis(500)).await;
                cluster.spawn(victim)?;
                cluster.ready().await?;
            }
            Fault::PauseLeader => {
                cluster.pause(leader);
                let served = load.served_since(since_ns, SERVICE_LIMIT).await;
                sleep(Duration::from_secs(3)).await;
                cluster.resume(leader);
                served?;
                cluster.ready().await?;
            }
        }
    }
    sleep(Duration::from_millis(700)).await;
    let (mut history, recorder) = load.stop().await;
    let end_ns = recorder.now_ns();
    std::fs::write(cluster.folder.join("history.txt"), lines(&history))?;
    let state = agreed_state(cluster).await?;
    let outages: Vec<Duration> = faults_ns
        .iter()
        .filter_map(|&at| time_without_service(&history, at))
        .collect();
    let counts = judge(&mut history, end_ns, &state)?;
    report(fault, &outages, end_ns);
    println!(
        "measured: {} operations answered, {} of unknown outcome, {} surely failed, {} keys",
        counts.answered,
        counts.unknown,
        counts.failed,
        state.pairs.len(),
    );
    assert!(
        counts.answered > 1_000,
        "too few operations to mean anything"
    );
    Ok(())
}

fn report(fault: Fault, outages: &[Duration], end_ns: u64) {
    let mut ms: Vec<u128> = outages.iter().map(Duration::as_millis).collect();
    let seconds = end_ns / 1_000_000_000;
    println!(
        "measured: {fault:?}, {} times in {seconds} s",
        outages.len()
    );
    print!("measured: ms without service each time {ms:?}");
    ms.sort_unstable();
    println!(
        ", median {}, longest {}",
        ms[ms.len() / 2],
        ms[ms.len() - 1]
    );
}
