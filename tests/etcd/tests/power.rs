//! Real file systems that lose their power, and system calls that fail: nothing that was acknowledged is
//! lost, and a server that cannot keep its promise says so and takes no part.
//!
//! Mounting needs root, and making system calls fail needs leave to trace: where either is refused, that
//! is said and nothing is tried.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::history::{Operation, Outcome};
use headwater_etcd_tests::judge::{agreed_state, judge};
use headwater_etcd_tests::loop_disk::LoopDisk;
use headwater_etcd_tests::workload::{Load, Reads};
use tokio::task::LocalSet;
use tokio::time::sleep;

/// How long the cluster may be without service after a fault.
const SERVICE_LIMIT: Duration = Duration::from_secs(20);

/// Room for a log's first segments, of 16 MiB each, and a snapshot's reserve.
const DISK_MEGABYTES: u64 = 300;

/// As on a kernel that does not say what may go past its cache: then nothing does. A loop device has no
/// cache of its own, so what went past the kernel's would be safe before its sync.
const CACHE: &str = "statx:error=ENOSYS";

/// Each run wants the machine for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Three members, each with its data on a disk of its own.
struct Machines {
    // They go first, so that nothing is mounted any more where the cluster removes its folder.
    disks: Vec<LoopDisk>,
    cluster: Cluster,
    /// Whether the kernel's cache is all that they write to.
    by_cache: bool,
}

impl Machines {
    /// `None` if this machine does not let anybody mount disks.
    async fn start() -> Option<Self> {
        let server = Server::from_env().expect("a server to test");
        let folder = std::env::temp_dir();
        let mut cluster = Cluster::new(&server, 3, &folder, &[]).expect("ports and a folder");
        let mut disks = Vec::new();
        for member in &mut cluster.members {
            match LoopDisk::new(&cluster.folder, &member.name, DISK_MEGABYTES) {
                Ok(disk) => {
                    member.data_dir = disk.folder().join("data");
                    disks.push(disk);
                }
                Err(why) => {
                    let text = format!("{why:#}");
                    let may_not = ["permission", "permitted", "superuser", "loop device"];
                    let may_not = may_not.iter().any(|word| text.contains(word));
                    assert!(may_not, "no disk of its own, for no good reason: {text}");
                    println!("measured: not tried, for nobody may mount disks here: {text}");
                    return None;
                }
            }
        }
        for number in 0..3 {
            cluster.spawn(number).expect("a process");
        }
        cluster.ready().await.expect("it serves");
        Some(Self {
            cluster,
            disks,
            by_cache: false,
        })
    }

    /// The same without disks of their own, and which of them leads.
    async fn start_on_one_disk() -> (Self, usize) {
        let server = Server::from_env().expect("a server to test");
        let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
        let leader = cluster.wait_for_leader().await.expect("a leader");
        let disks = Vec::new();
        let machines = Self {
            disks,
            cluster,
            by_cache: false,
        };
        (machines, leader)
    }

    fn endpoints(&self) -> Vec<String> {
        let urls = self.cluster.members.iter();
        urls.map(|member| member.client_url()).collect()
    }

    /// All lose their power at once; it comes back, and they start again.
    async fn lose_power(&mut self) -> anyhow::Result<()> {
        LoopDisk::cut(&self.disks)?;
        for number in 0..3 {
            self.cluster.kill(number);
        }
        for number in 0..3 {
            self.disks[number].restore()?;
            if self.by_cache {
                self.spawn_with(number, &[CACHE])?;
            } else {
                self.cluster.spawn(number)?;
            }
        }
        self.cluster.ready().await
    }

    /// Starts a member anew, with this done to its system calls.
    async fn start_with(&mut self, number: usize, injections: &[&str]) {
        let status = self.cluster.terminate(number).await.expect("it ends");
        assert!(status.success(), "{status}");
        let spawned = self.spawn_with(number, injections);
        spawned.expect("strace is installed");
    }

    fn spawn_with(&mut self, number: usize, injections: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("strace");
        command
            // Beside the server, which stays the child of this process.
            .args([
                "--daemonize",
                "--quiet=all",
                "--follow-forks",
                "--seccomp-bpf",
            ])
            .args(["--trace=fdatasync,fsync,pwrite64,statx"])
            .arg("--output=/dev/null")
            .args(injections.iter().map(|what| format!("--inject={what}")))
            .arg(&self.cluster.server.program)
            .args(self.cluster.flags(number));
        self.cluster.spawn_command(number, command)
    }
}

fn alone<T>(what: impl AsyncFnOnce() -> T) -> T {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("tokio starts");
    LocalSet::new().block_on(&runtime, what())
}

/// Whether system calls can be made to fail here.
fn can_inject() -> bool {
    let mut command = Command::new("strace");
    let output = command
        .args(["--quiet=all", "--seccomp-bpf", "--follow-forks"])
        .args(["--output=/dev/null", "true"])
        .output();
    let is_possible = output.as_ref().is_ok_and(|output| output.status.success());
    if !is_possible {
        println!("measured: not tried, for nobody may trace processes here: {output:?}");
    }
    is_possible
}

/// Load, and so many cuts of everybody's power; what the judges say of it.
async fn under_cuts(machines: &mut Machines, cuts: u32) -> anyhow::Result<usize> {
    let load = Load::start(&machines.endpoints(), 1, Reads::Linearizable).await?;
    let mut lost_power = Ok(());
    for _ in 0..cuts {
        sleep(Duration::from_millis(1500)).await;
        lost_power = machines.lose_power().await;
        if lost_power.is_err() {
            break;
        }
        let since_ns = load.recorder.now_ns();
        load.served_since(since_ns, SERVICE_LIMIT).await?;
    }
    let (mut history, recorder) = load.stop().await;
    lost_power?;
    let state = agreed_state(&machines.cluster).await?;
    Ok(judge(&mut history, recorder.now_ns(), &state)?.answered)
}

#[test]
fn nothing_is_lost_when_all_members_lose_their_power() {
    nothing_is_lost(false);
}

#[test]
fn nor_where_all_is_written_to_the_kernels_cache() {
    if can_inject() {
        nothing_is_lost(true);
    }
}

fn nothing_is_lost(by_cache: bool) {
    alone(async || {
        let Some(mut machines) = Machines::start().await else {
            return;
        };
        machines.by_cache = by_cache;
        if by_cache {
            for number in 0..3 {
                machines.start_with(number, &[CACHE]).await;
            }
        }
        machines.cluster.ready().await.expect("they serve");
        let answered = under_cuts(&mut machines, 3).await;
        let answered = answered.unwrap_or_else(|why| {
            machines.cluster.keep();
            panic!("{why:#}")
        });
        println!("measured: {answered} operations answered around 3 cuts of all power");
        assert!(answered > 300, "too few operations to mean anything");
    });
}

#[test]
fn servers_whose_syncs_do_nothing_are_found_out() {
    if !can_inject() {
        return;
    }
    alone(async || {
        let Some(mut machines) = Machines::start().await else {
            return;
        };
        for number in 0..3 {
            let injections = ["fdatasync,fsync:retval=0", CACHE];
            machines.start_with(number, &injections).await;
        }
        machines.cluster.ready().await.expect("they serve");
        let verdict = under_cuts(&mut machines, 1).await;
        let complaint = verdict.expect_err("it was all in memory").to_string();
        println!(
            "as it should be: {}",
            complaint.lines().next().unwrap_or("?")
        );
        // The judges miss what was acknowledged, or a server misses what it had.
        let of_loss = [
            "acknowledged writes are lost",
            "contradict",
            "not linearizable",
            " left: ",
        ];
        let is_of_loss = of_loss.iter().any(|word| complaint.contains(word));
        // Or the members find it out before anybody asks, and take nothing in.
        let mut members = machines.cluster.members.iter();
        let have_parted = members.any(|one| one.printed().contains("have not written the same"));
        assert!(is_of_loss || have_parted, "{complaint}");
    });
}

#[test]
fn a_member_whose_sync_fails_takes_no_part_and_says_why() {
    must_end_and_say_why("fdatasync:error=EIO:when=150+");
}

#[test]
fn nor_does_one_whose_write_fails() {
    must_end_and_say_why("pwrite64:error=EIO:when=150+");
}

/// The first calls of each thread go well: the member recovers, lays its reserve aside and joins in.
fn must_end_and_say_why(injection: &'static str) {
    if !can_inject() {
        return;
    }
    alone(async || {
        let (mut machines, victim) = Machines::start_on_one_disk().await;
        machines.start_with(victim, &[injection]).await;
        let endpoints = machines.endpoints();
        let cluster = &mut machines.cluster;
        cluster.ready().await.expect("they serve");
        let load = Load::start(&endpoints, 1, Reads::Linearizable)
            .await
            .expect("clients");
        let deadline = Instant::now() + SERVICE_LIMIT;
        let status = loop {
            let status = cluster.exited(victim);
            if status.is_some() || Instant::now() > deadline {
                break status;
            }
            sleep(Duration::from_millis(50)).await;
        };
        let since_ns = load.recorder.now_ns();
        let served = load.served_since(since_ns, SERVICE_LIMIT).await;
        served.expect("two of three have good disks");
        let said = cluster.members[victim].printed();
        let has_failed = status.is_some_and(|status| !status.success());
        assert!(has_failed, "{status:?}: {said}");
        cluster.spawn(victim).expect("a process");
        cluster.ready().await.expect("its disk is good again");
        let (mut history, recorder) = load.stop().await;
        let state = agreed_state(cluster).await.expect("they agree");
        let verdict = judge(&mut history, recorder.now_ns(), &state);
        verdict.expect("nothing is lost");
        assert!(said.contains("Input/output error"), "{said}");
    });
}

#[test]
fn a_leader_whose_syncs_hang_does_not_hold_up_the_others() {
    if !can_inject() {
        return;
    }
    alone(async || {
        let (mut machines, victim) = Machines::start_on_one_disk().await;
        // From then on each sync takes four seconds.
        let injection = "fdatasync:delay_enter=4000000:when=60+";
        machines.start_with(victim, &[injection]).await;
        let endpoints = machines.endpoints();
        let cluster = &mut machines.cluster;
        cluster.ready().await.expect("they serve");
        let load = Load::start(&endpoints, 1, Reads::Linearizable)
            .await
            .unwrap();
        // It is to lead while its disk is still good.
        let mut client = cluster
            .client(victim, SERVICE_LIMIT)
            .await
            .expect("a client");
        let me = client
            .status()
            .await
            .expect("a status")
            .header()
            .map(|header| header.member_id());
        let others = (0..3).filter(|&number| number != victim);
        for number in others {
            let mut client = cluster
                .client(number, SERVICE_LIMIT)
                .await
                .expect("a client");
            // Only the leader hands over; the other one refuses.
            let _ = client.move_leader(me.expect("an id")).await;
        }
        sleep(Duration::from_secs(6)).await;
        let (mut history, recorder) = load.stop().await;
        let outage = longest_outage(&history, recorder.now_ns());
        println!(
            "measured: at most {} ms without a write while a disk hung",
            outage.as_millis()
        );
        let said = cluster.members[victim].printed();
        let led = said.matches("leads in term").count();
        assert!(
            led >= 2,
            "it did not lead when its disk began to hang: {said}"
        );
        cluster.kill(victim);
        cluster.spawn(victim).expect("a process");
        cluster.ready().await.expect("its disk is good again");
        let state = agreed_state(cluster).await.expect("they agree");
        let verdict = judge(&mut history, recorder.now_ns(), &state);
        verdict.expect("nothing is lost");
        assert!(
            outage < Duration::from_secs(3),
            "{outage:?} without a write"
        );
    });
}

/// The longest time in which no write was acknowledged.
fn longest_outage(history: &[Operation], end_ns: u64) -> Duration {
    let puts = history.iter();
    let puts = puts.filter(|operation| operation.outcome == Outcome::Put);
    let mut ends: Vec<u64> = puts.map(|operation| operation.returned_ns).collect();
    ends.push(end_ns);
    ends.sort_unstable();
    let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_nanos(gaps.max().unwrap_or(u64::MAX))
}
