//! A running cluster's members change, by `etcdctl` alone: machines are replaced, learners promoted,
//! members moved and removed, and nothing that was acknowledged is lost.

use headwater_etcd_tests::cluster::{Cluster, Member, STOP_LIMIT, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::judge::{agreed_state, judge};
use headwater_etcd_tests::workload::{Load, Reads};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use tokio::time::sleep;

/// How long the load may go without service while members change.
const SERVICE_LIMIT: Duration = Duration::from_secs(20);

async fn cluster(size: usize) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, size, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    cluster
}

/// What `etcdctl` prints that asks this member; etcd lets members change only after five seconds
/// in which all were connected.
async fn etcdctl(cluster: &Cluster, number: usize, arguments: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let command = format!(
            "export ETCDCTL_ENDPOINTS=$EP{}\netcdctl {arguments}",
            number + 1
        );
        let printed = shell(cluster, &command).expect("a shell");
        let may_pass = printed.contains("unhealthy cluster") && cluster.server.is_etcd;
        if !may_pass || Instant::now() > deadline {
            return printed;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn told(cluster: &Cluster, number: usize, arguments: &str) -> String {
    let printed = etcdctl(cluster, number, arguments).await;
    assert!(!printed.contains("[exit"), "etcdctl {arguments}: {printed}");
    printed
}

/// The id of a member, as this one tells it.
async fn id_of(cluster: &Cluster, number: usize, member: &Member) -> String {
    let listed = told(cluster, number, "member list").await;
    let line = listed
        .lines()
        .find(|line| line.contains(&member.peer_url()));
    let line = line.unwrap_or_else(|| panic!("{} is not in {listed}", member.name));
    line.split(',').next().expect("an id").to_string()
}

/// Adds a member that is laid out, asking `asked`, and starts it with what `etcdctl` prints.
async fn add(cluster: &mut Cluster, asked: usize, number: usize, learner: &str) {
    let member = &cluster.members[number];
    let (name, url) = (member.name.clone(), member.peer_url());
    let request = format!("member add {name} {learner} --peer-urls={url}");
    let printed = told(cluster, asked, &request).await;
    let mut command = Command::new(&cluster.server.program);
    for line in printed.lines() {
        if let Some((variable, value)) = line.split_once('=')
            && variable.starts_with("ETCD_")
        {
            command.env(variable, value.trim_matches('"'));
        }
    }
    let flags = cluster.flags(number);
    let is_printed = |flag: &&String| flag.starts_with("--initial") || flag.starts_with("--name");
    command.args(flags.iter().filter(|flag| !is_printed(flag)));
    cluster.spawn_command(number, command).expect("it starts");
}

async fn remove(cluster: &Cluster, asked: usize, number: usize) {
    let id = id_of(cluster, asked, &cluster.members[number]).await;
    told(cluster, asked, &format!("member remove {id}")).await;
}

/// Waits until a member has left by itself; what it printed.
async fn leaves(cluster: &mut Cluster, number: usize) -> String {
    let deadline = Instant::now() + 2 * STOP_LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = cluster.exited(number) {
            assert!(!status.success(), "{status}");
            return cluster.members[number].printed();
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("it runs on:\n{}", cluster.members[number].printed());
}

/// Waits until so many members vote, as this one tells it.
async fn voters(cluster: &Cluster, number: usize, count: usize) {
    let deadline = Instant::now() + STOP_LIMIT;
    loop {
        let listed = told(cluster, number, "member list").await;
        let votes = |line: &&str| line.contains(", started,") && line.ends_with("false");
        if listed.lines().filter(votes).count() == count {
            return;
        }
        assert!(Instant::now() < deadline, "not {count} voters: {listed}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn put(cluster: &Cluster, number: usize, key: &str) {
    let printed = told(cluster, number, &format!("put {key} value")).await;
    assert_eq!(printed.trim(), "OK");
}

#[test]
fn a_dead_machine_is_replaced_under_load_and_nothing_acknowledged_is_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    LocalSet::new().block_on(&runtime.expect("tokio starts"), async {
        let mut cluster = cluster(3).await;
        let urls: Vec<String> = cluster.members.iter().map(Member::client_url).collect();
        let load = Load::start(&urls, 1, Reads::Linearizable).await;
        let load = load.expect("a load");
        sleep(Duration::from_millis(500)).await;
        let dead = cluster.wait_for_leader().await.expect("a leader");
        let asked = (dead + 1) % 3;
        cluster.kill(dead);
        let since_ns = load.recorder.now_ns();
        let served = load.served_since(since_ns, SERVICE_LIMIT).await;
        served.expect("the others go on");
        // The order that etcd wants: a member that is dead counts for the majority until it goes.
        remove(&cluster, asked, dead).await;
        let new = cluster.lay_out().expect("ports");
        add(&mut cluster, asked, new, "").await;
        cluster.ready().await.expect("the new one serves");
        let since_ns = load.recorder.now_ns();
        let served = load.served_since(since_ns, SERVICE_LIMIT).await;
        served.expect("three go on");
        voters(&cluster, new, 3).await;
        // Another dies, and so the new one's vote is needed.
        cluster.kill(asked);
        let since_ns = load.recorder.now_ns();
        let served = load.served_since(since_ns, SERVICE_LIMIT).await;
        served.expect("two of three, one of them new");
        let (mut history, recorder) = load.stop().await;
        cluster.spawn(asked).expect("it starts again");
        cluster.ready().await.expect("all serve");
        let end_ns = recorder.now_ns();
        // The dead one is no member any more.
        cluster.members.remove(dead);
        let state = agreed_state(&cluster).await.expect("all agree");
        let counts = judge(&mut history, end_ns, &state);
        let counts = counts.unwrap_or_else(|why| panic!("{:?}: {why:#}", cluster.keep()));
        println!("measured: {} operations answered", counts.answered);
        assert!(counts.answered > 300, "too few to mean anything");
    });
}

#[tokio::test]
async fn a_wiped_directory_is_refused_until_its_member_is_replaced() {
    let mut cluster = cluster(3).await;
    put(&cluster, 0, "before").await;
    cluster.kill(1);
    std::fs::remove_dir_all(&cluster.members[1].data_dir).expect("its directory");
    if !cluster.server.is_etcd {
        cluster.spawn(1).expect("it starts");
        let printed = leaves(&mut cluster, 1).await;
        let id = id_of(&cluster, 0, &cluster.members[1]).await;
        let advice = format!("etcdctl member remove {id}");
        assert!(printed.contains(&advice), "{printed}");
        assert!(!cluster.members[1].data_dir.exists(), "nothing was begun");
    }
    remove(&cluster, 0, 1).await;
    add(&mut cluster, 2, 1, "").await;
    cluster.ready().await.expect("it serves as a new one");
    voters(&cluster, 1, 3).await;
    cluster.kill(0);
    put(&cluster, 1, "after").await;
    let read = told(&cluster, 1, "get before").await;
    assert_eq!(read, "before\nvalue\n");
}

/// An operator who waits for that may switch off another.
#[tokio::test]
async fn who_is_listed_as_started_votes() {
    let mut cluster = cluster(2).await;
    let new = cluster.lay_out().expect("ports");
    add(&mut cluster, 0, new, "").await;
    let mut client = cluster.client(0, STOP_LIMIT).await.expect("a client");
    let deadline = Instant::now() + STOP_LIMIT;
    loop {
        let list = client.member_list().await.expect("a list");
        if list
            .members()
            .iter()
            .all(|member| !member.name().is_empty())
        {
            break;
        }
        assert!(Instant::now() < deadline, "it does not start");
    }
    cluster.kill(1);
    put(&cluster, new, "after").await;
}

#[tokio::test]
async fn whoever_is_removed_stops_and_says_why() {
    let mut cluster = cluster(5).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let [follower, away, asked] = [1, 2, 3].map(|step| (leader + step) % 5);
    let what = "removed from the cluster";
    // A follower that runs, and one that is away.
    remove(&cluster, asked, follower).await;
    let printed = leaves(&mut cluster, follower).await;
    assert!(printed.contains(what), "{printed}");
    cluster.kill(away);
    remove(&cluster, asked, away).await;
    // The leader itself, asked for by itself.
    remove(&cluster, leader, leader).await;
    let printed = leaves(&mut cluster, leader).await;
    assert!(printed.contains(what), "{printed}");
    put(&cluster, asked, "two go on").await;
    voters(&cluster, asked, 2).await;
    for gone in [away, follower] {
        cluster.spawn(gone).expect("it starts again");
        let printed = leaves(&mut cluster, gone).await;
        assert!(printed.contains(what), "{printed}");
    }
}

#[tokio::test]
async fn a_learner_learns_and_is_promoted() {
    let mut cluster = cluster(1).await;
    put(&cluster, 0, "before").await;
    let new = cluster.lay_out().expect("ports");
    add(&mut cluster, 0, new, "--learner").await;
    let id = id_of(&cluster, 0, &cluster.members[new]).await;
    let deadline = Instant::now() + STOP_LIMIT;
    let behind = "can only promote a learner member which is in sync with leader";
    loop {
        let printed = etcdctl(&cluster, 0, &format!("member promote {id}")).await;
        if !printed.contains(behind) {
            assert!(printed.contains("promoted in cluster"), "{printed}");
            break;
        }
        assert!(Instant::now() < deadline, "{printed}");
        sleep(Duration::from_millis(50)).await;
    }
    cluster.ready().await.expect("it serves");
    voters(&cluster, new, 2).await;
    let again = etcdctl(&cluster, 0, &format!("member promote {id}")).await;
    assert!(
        again.contains("can only promote a learner member"),
        "{again}"
    );
    put(&cluster, new, "both needed").await;
    let status = told(&cluster, new, "endpoint status").await;
    assert!(
        status.contains(", false, false, "),
        "no leader, no learner: {status}"
    );
}

#[tokio::test]
async fn members_from_disk_win_over_flags() {
    let mut cluster = cluster(3).await;
    let new = cluster.lay_out().expect("ports");
    add(&mut cluster, 0, new, "").await;
    cluster.ready().await.expect("it serves");
    voters(&cluster, 0, 4).await;
    remove(&cluster, new, 0).await;
    leaves_if_headwater(&mut cluster, 0).await;
    for number in 1..4 {
        cluster.kill(number);
    }
    // The first three name themselves and nobody else; the fourth says that it begins a cluster.
    for number in 1..4 {
        cluster.spawn(number).expect("it starts again");
    }
    cluster.ready().await.expect("all serve");
    voters(&cluster, 2, 3).await;
    put(&cluster, new, "after").await;
}

/// etcd's removed members stop too, but with a code of success.
async fn leaves_if_headwater(cluster: &mut Cluster, number: usize) {
    if cluster.server.is_etcd {
        cluster.kill(number);
    } else {
        leaves(cluster, number).await;
    }
}

#[tokio::test]
async fn a_member_that_moves_is_found_by_its_peers() {
    let mut cluster = cluster(3).await;
    let id = id_of(&cluster, 0, &cluster.members[2]).await;
    cluster.terminate(2).await.expect("it leaves");
    let port = headwater_etcd_tests::port::Port::reserve().expect("a port");
    cluster.members[2].peer_port = port;
    let url = cluster.members[2].peer_url();
    told(
        &cluster,
        1,
        &format!("member update {id} --peer-urls={url}"),
    )
    .await;
    let mut command = Command::new(&cluster.server.program);
    let flags = cluster.flags(2).into_iter();
    command.args(flags.filter(|flag| !flag.starts_with("--initial-cluster-state")));
    command.arg("--initial-cluster-state=existing");
    cluster.spawn_command(2, command).expect("it starts");
    cluster.ready().await.expect("all serve");
    cluster.kill(0);
    put(&cluster, 2, "two go on").await;
    let listed = told(&cluster, 1, "member list").await;
    assert!(listed.contains(&url), "{listed}");
}

#[tokio::test]
async fn who_was_away_while_members_changed_finds_the_new_ones() {
    let mut cluster = cluster(3).await;
    if cluster.server.is_etcd {
        println!("etcd adds nobody while a member is away");
        return;
    }
    cluster.kill(2);
    let new = cluster.lay_out().expect("ports");
    add(&mut cluster, 0, new, "").await;
    cluster.ready().await.expect("it serves");
    voters(&cluster, new, 4).await;
    remove(&cluster, 1, 0).await;
    leaves(&mut cluster, 0).await;
    // Only the new one can tell it of itself.
    let leader = cluster.wait_for_leader().await.expect("a leader");
    if leader != new {
        let id = id_of(&cluster, leader, &cluster.members[new]).await;
        told(&cluster, leader, &format!("move-leader {id}")).await;
    }
    cluster.spawn(2).expect("it starts again");
    cluster.ready().await.expect("it serves");
    cluster.kill(1);
    put(&cluster, 2, "two go on").await;
}

#[tokio::test]
async fn changes_that_come_at_once_all_happen_one_after_the_other() {
    let mut cluster = cluster(3).await;
    if cluster.server.is_etcd {
        println!("etcd wants all that were added to start before more are");
        return;
    }
    let learner = cluster.lay_out().expect("ports");
    let voter = cluster.lay_out().expect("ports");
    let url = |number: usize| cluster.members[number].peer_url();
    let together = format!(
        "member add m4 --learner --peer-urls={} > /dev/null & etcdctl member add m5 --peer-urls={} \
         > /dev/null; code=$?; wait $! && exit $code",
        url(learner),
        url(voter)
    );
    told(&cluster, 1, &together).await;
    let listed = told(&cluster, 2, "member list").await;
    assert!(listed.contains(&url(learner)), "{listed}");
    assert!(listed.contains(&url(voter)), "{listed}");
    // Those who have started must be a majority of all that are to vote.
    let one_more = etcdctl(&cluster, 0, "member add m6 --peer-urls=http://127.0.0.1:1").await;
    assert!(!one_more.contains("[exit"), "three of five: {one_more}");
    let too_many = etcdctl(&cluster, 0, "member add m7 --peer-urls=http://127.0.0.1:2").await;
    let refusal = "re-configuration failed due to not enough started members";
    assert!(too_many.contains(refusal), "{too_many}");
}

#[tokio::test]
async fn removed_machines_that_begin_anew_fool_no_member_that_starts() {
    let mut cluster = cluster(3).await;
    if cluster.server.is_etcd {
        println!("etcd's removed members begin a cluster of the same id");
        return;
    }
    let first_flags = [1, 2].map(|number| (number, cluster.flags(number)));
    // Two of three are replaced by others, and their machines emptied.
    for gone in [1, 2] {
        let new = cluster.lay_out().expect("ports");
        add(&mut cluster, 0, new, "").await;
        cluster.ready().await.expect("it serves");
        voters(&cluster, 0, 4).await;
        remove(&cluster, 0, gone).await;
        leaves(&mut cluster, gone).await;
        voters(&cluster, 0, 3).await;
    }
    // That a write is committed stands on the disk with the next one.
    for key in ["kept", "last"] {
        put(&cluster, 0, key).await;
    }
    for number in [0, 3, 4] {
        cluster.kill(number);
    }
    for (gone, flags) in first_flags {
        std::fs::remove_dir_all(&cluster.members[gone].data_dir).expect("emptied");
        let mut command = Command::new(&cluster.server.program);
        command.args(flags);
        let starts = cluster.spawn_command(gone, command);
        starts.expect("it starts as if the cluster were new");
    }
    // They are a majority of the three that once began, and serve.
    let deadline = Instant::now() + STOP_LIMIT;
    while etcdctl(&cluster, 1, "put false value").await.trim() != "OK" {
        assert!(
            Instant::now() < deadline,
            "{}",
            cluster.members[1].printed()
        );
        sleep(Duration::from_millis(100)).await;
    }
    // A member that starts among them does not follow them.
    cluster.spawn(0).expect("it starts again");
    sleep(Duration::from_secs(3)).await;
    let read = etcdctl(&cluster, 0, "get --consistency=s --keys-only --prefix \"\"").await;
    let printed = cluster.members[0].printed();
    assert!(
        read.contains("kept") && !read.contains("false"),
        "{read}{printed}"
    );
    for number in [3, 4] {
        cluster.spawn(number).expect("it starts again");
    }
    put(&cluster, 0, "after").await;
    let read = told(&cluster, 4, "get --keys-only --prefix \"\"").await;
    assert_eq!(
        read.split_whitespace().collect::<Vec<_>>(),
        ["after", "kept", "last"]
    );
}

#[tokio::test]
async fn without_the_strict_check_members_that_have_not_started_do_not_hinder() {
    let mut cluster = cluster(1).await;
    let add = |name: &str| format!("member add {name} --peer-urls=http://{name}.invalid:2380");
    told(&cluster, 0, &add("m2")).await;
    let printed = etcdctl(&cluster, 0, &add("m3")).await;
    let why = "not enough started members";
    assert!(printed.contains(why), "{printed}");
    cluster.terminate(0).await.expect("it leaves");
    let mut command = Command::new(&cluster.server.program);
    command.args(cluster.flags(0));
    command.arg("--strict-reconfig-check=false");
    cluster.spawn_command(0, command).expect("it starts");
    if cluster.server.is_etcd {
        println!("with a second voter that there is not it has no leader");
        return;
    }
    cluster.ready().await.expect("it serves");
    told(&cluster, 0, &add("m3")).await;
    put(&cluster, 0, "those who never came have no vote").await;
}
