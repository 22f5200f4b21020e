//! Mistakes that operators make, and what they do every day: each ends clearly, and nothing that
//! was acknowledged is lost.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::judge::agreed_state;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(5);

fn server() -> Server {
    Server::from_env().expect("a server to test")
}

fn laid_out(size: usize) -> Cluster {
    let folder = std::env::temp_dir();
    Cluster::new(&server(), size, &folder, &[]).expect("ports and a folder")
}

/// Waits until a member leaves by itself; gives back its exit code and what it printed.
async fn ends(cluster: &mut Cluster, number: usize) -> (Option<i32>, String) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = cluster.exited(number) {
            return (status.code(), cluster.members[number].printed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it runs on:\n{}", cluster.members[number].printed());
}

async fn put_all(cluster: &Cluster, prefix: &str, count: usize) {
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    for number in 0..count {
        client
            .put(format!("{prefix}{number:04}"), number.to_string(), None)
            .await
            .expect("a put");
    }
}

async fn count_of(cluster: &Cluster, member: usize, prefix: &str) -> i64 {
    let mut client = cluster.client(member, LIMIT).await.expect("a client");
    let options = etcd_client::GetOptions::new()
        .with_prefix()
        .with_count_only();
    client
        .get(prefix, Some(options))
        .await
        .expect("a count")
        .count()
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let mut cluster = laid_out(1);
    let port = cluster.members[0].client_port.number;
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("it is reserved for us");
    cluster.spawn(0).expect("it starts");
    let (code, printed) = ends(&mut cluster, 0).await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(printed.contains(&port.to_string()), "{printed}");
    let lower = printed.to_lowercase();
    assert!(lower.contains("address already in use"), "{printed}");
}

#[tokio::test]
async fn a_data_directory_has_one_owner() {
    let mut cluster = laid_out(1);
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("it serves");
    let mut second = laid_out(1);
    second.members[0].data_dir = cluster.members[0].data_dir.clone();
    second.spawn(0).expect("it starts");
    if second.server.is_etcd {
        // etcd waits in silence for the first to end.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!second.serves(0).await);
    } else {
        let (code, printed) = ends(&mut second, 0).await;
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        assert!(printed.contains("in use by another process"), "{printed}");
        let folder = cluster.members[0].data_dir.display().to_string();
        assert!(printed.contains(&folder), "{printed}");
    }
    assert!(cluster.serves(0).await, "the owner is not disturbed");
}

#[tokio::test]
async fn the_data_of_another_cluster_is_refused() {
    let mut cluster = laid_out(1);
    if cluster.server.is_etcd {
        println!("etcd ignores the flags that say so once there is data");
        return;
    }
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("it serves");
    put_all(&cluster, "k", 1).await;
    cluster.terminate(0).await.expect("it leaves");
    // The last of two equal flags would have to win, so the first goes.
    let flags = cluster.flags(0);
    let flags = flags
        .iter()
        .filter(|flag| !flag.starts_with("--initial-cluster-token"));
    let mut command = Command::new(&cluster.server.program);
    command.args(flags).arg("--initial-cluster-token=another");
    cluster.spawn_command(0, command).expect("it starts");
    let (code, printed) = ends(&mut cluster, 0).await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    let last = printed.lines().last().unwrap_or_default();
    assert!(
        last.contains("cluster") && last.contains("director"),
        "{printed}"
    );
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("the data was not touched");
    assert_eq!(count_of(&cluster, 0, "k").await, 1);
}

#[tokio::test]
async fn the_data_of_another_program_are_refused_and_left_alone() {
    let mut cluster = laid_out(1);
    if cluster.server.is_etcd {
        println!("etcd puts its own beside them");
        return;
    }
    let data_dir = cluster.members[0].data_dir.clone();
    for (file, named) in [
        (
            "member/wal/0000000000000000-0000000000000000.wal",
            "etcd's data",
        ),
        ("member/snap/db", "etcd's data"),
        ("notes.txt", "notes.txt"),
    ] {
        let path = data_dir.join(file);
        let folder = path.parent().expect("it has one");
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(&path, "theirs").expect("a file");
        cluster.spawn(0).expect("it starts");
        let (code, printed) = ends(&mut cluster, 0).await;
        assert_eq!(code, Some(1), "{printed}");
        let last = printed.lines().last().unwrap_or_default();
        assert!(
            last.contains(named) && last.contains("--data-dir"),
            "{printed}"
        );
        let left = std::fs::read_dir(&data_dir).expect("a folder").count();
        assert_eq!(left, 1, "something was left behind");
        std::fs::remove_dir_all(&data_dir).expect("removed");
    }
    // What a file system leaves in a fresh volume is nobody's data.
    std::fs::create_dir_all(data_dir.join("lost+found")).expect("a folder");
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("it serves");
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_named() {
    let mut cluster = laid_out(1);
    let mut command = Command::new(&cluster.server.program);
    command
        .args(cluster.flags(0))
        .env("ETCD_DATADIR", "/nowhere");
    cluster.spawn_command(0, command).expect("it starts");
    cluster.ready().await.expect("it serves all the same");
    let printed = cluster.members[0].printed();
    let told = printed.lines().filter(|line| line.contains("ETCD_DATADIR"));
    assert_eq!(told.count(), 1, "{printed}");
}

#[tokio::test]
async fn the_log_tells_once_who_leads_and_that_nobody_does() {
    let mut cluster = Cluster::start(&server(), 3, &[]).await.expect("a cluster");
    if cluster.server.is_etcd {
        println!("etcd has words of its own for it");
        return;
    }
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let name = cluster.members[leader].name.clone();
    let before = cluster.members[other].printed();
    assert!(before.contains(&format!("follows {name} (")), "{before}");
    // The other follower first, or it might lead for a moment.
    cluster.kill(one);
    cluster.kill(leader);
    let news = || cluster.members[other].printed()[before.len()..].to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !news().contains(&format!("WARN no leader since {name} (")) {
        assert!(Instant::now() < deadline, "{}", news());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Elections come to nothing now, again and again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = news().matches("no leader since").count();
    assert_eq!(told, 1, "{}", news());
}

#[test]
fn bad_flags_are_named() {
    let server = server();
    for (flags, word) in [
        (&["--no-such-flag"][..], "no-such-flag"),
        (&["--listen-client-urls=nonsense"], "nonsense"),
        (
            &["--listen-client-urls=http://127.0.0.1:notaport"],
            "notaport",
        ),
        (&["--heartbeat-interval=word"], "word"),
        (
            &["--election-timeout=200", "--heartbeat-interval=100"],
            "election-timeout",
        ),
        (
            &["--name=x", "--initial-cluster=y=http://127.0.0.1:2380"],
            "initial",
        ),
        (&["--initial-cluster-state=nonsense"], "nonsense"),
        (&["bogus"], "bogus"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(&server.program);
        command.args(flags).current_dir(folder.path());
        let output = command.output().expect("it runs");
        let mut printed = String::from_utf8_lossy(&output.stderr).into_owned();
        printed += &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{flags:?} were taken");
        assert!(printed.contains(word), "{flags:?}: {printed}");
        assert!(!printed.contains("panic"), "{flags:?}: {printed}");
    }
}

#[tokio::test]
async fn a_server_leaves_in_peace_when_asked() {
    let mut cluster = laid_out(1);
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("it serves");
    put_all(&cluster, "k", 5).await;
    let status = cluster.terminate(0).await.expect("it leaves");
    // etcd cleans up and then lets the signal end it.
    assert!(
        cluster.server.is_etcd || status.code() == Some(0),
        "{status}"
    );
    cluster.spawn(0).expect("it starts again");
    cluster.ready().await.expect("it serves again");
    assert_eq!(count_of(&cluster, 0, "k").await, 5);
}

#[tokio::test]
async fn the_environment_counts_as_flags() {
    let mut cluster = laid_out(1);
    let mut command = Command::new(&cluster.server.program);
    for flag in cluster.flags(0) {
        let (name, value) = flag.split_once('=').expect("flags have values");
        let name = name
            .trim_start_matches('-')
            .to_uppercase()
            .replace('-', "_");
        command.env(format!("ETCD_{name}"), value);
    }
    cluster.spawn_command(0, command).expect("it starts");
    cluster
        .ready()
        .await
        .expect("it serves where the environment says");
    let listed = shell(&cluster, "etcdctl member list").expect("a shell");
    assert!(listed.contains(", m1, "), "{listed}");
}

#[tokio::test]
async fn etcds_single_dashes_and_separate_values_are_understood() {
    let mut cluster = laid_out(1);
    let mut command = Command::new(&cluster.server.program);
    for flag in cluster.flags(0) {
        let (name, value) = flag.split_once('=').expect("flags have values");
        command
            .arg(
                name.trim_start_matches('-')
                    .to_string()
                    .replacen("", "-", 1),
            )
            .arg(value);
    }
    cluster.spawn_command(0, command).expect("it starts");
    cluster
        .ready()
        .await
        .expect("it serves where the flags say");
}

#[tokio::test]
async fn members_that_agree_have_one_hash() {
    let cluster = Cluster::start(&server(), 3, &[]).await.expect("a cluster");
    put_all(&cluster, "k", 300).await;
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    client.delete("k0007", None).await.expect("a deletion");
    client.compact(200, None).await.expect("a compaction");
    client.put("k0001", "again", None).await.expect("a put");
    let revision = client.status().await.expect("a status");
    let revision = revision.header().expect("a header").revision();
    let mut hashes = Vec::new();
    for member in 0..3 {
        let mut client = cluster.client(member, LIMIT).await.expect("a client");
        // A linearizable read of a member waits until that has everything.
        client.get("k0001", None).await.expect("a read");
        let answer = client.hash_kv(revision).await.expect("a hash");
        assert_eq!(answer.compact_version(), 200);
        hashes.push(answer.hash());
        let earlier = client.hash_kv(revision - 1).await.expect("a hash");
        assert_ne!(earlier.hash(), answer.hash(), "a put changes it");
        let refusal = |answer: Result<_, etcd_client::Error>| answer.err().map(|e| e.to_string());
        let compacted = refusal(client.hash_kv(199).await.map(drop)).expect("it is compacted");
        let text = "etcdserver: mvcc: required revision has been compacted";
        assert!(compacted.contains(text), "{compacted}");
        let future = refusal(client.hash_kv(9999).await.map(drop)).expect("it is to come");
        let text = "etcdserver: mvcc: required revision is a future revision";
        assert!(future.contains(text), "{future}");
        client.hash().await.expect("a hash of everything");
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let endpoints: Vec<String> = cluster.members.iter().map(|m| m.client_url()).collect();
    let printed = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", endpoints.join(",")))
        .args(["endpoint", "hashkv", "-w", "json"])
        .output()
        .expect("etcdctl runs");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let hash = format!("\"hash\":{},", hashes[0]);
    assert_eq!(printed.matches(&hash).count(), 3, "{printed}");
}

/// Runs `headwater disk recover` with `answer` on its standard input; how it ended, what it printed.
fn recover(server: &Server, words: &[&str], answer: &str) -> (Option<i32>, String) {
    let mut child = Command::new(&server.program)
        .args(["disk", "recover"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    // It may have ended without a question.
    let _ = input.write_all(answer.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.code(), printed)
}

/// Turns a byte over in a log, in the middle of `needle`.
fn spoil(data_dir: &std::path::Path, needle: &[u8]) {
    let wal = data_dir.join("wal");
    for file in std::fs::read_dir(wal).expect("a log") {
        let path = file.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("readable");
        let found = bytes.windows(needle.len()).position(|part| part == needle);
        if let Some(at) = found {
            bytes[at + needle.len() / 2] ^= 0x20;
            return std::fs::write(&path, bytes).expect("writable");
        }
    }
    panic!("{} is in no segment", String::from_utf8_lossy(needle));
}

#[tokio::test]
async fn a_member_gets_back_from_the_others_what_its_disk_cannot_give_back() {
    let mut cluster = Cluster::start(&server(), 3, &[]).await.expect("a cluster");
    if cluster.server.is_etcd {
        return;
    }
    put_all(&cluster, "k", 200).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    // First a follower, then whoever led.
    for victim in [(leader + 1) % 3, leader] {
        cluster.terminate(victim).await.expect("it ends");
        let directory = cluster.members[victim].data_dir.clone();
        for needle in [b"k0020".as_slice(), b"k0021", b"k0100"] {
            spoil(&directory, needle);
        }
        let verify = Command::new(&cluster.server.program)
            .args(["disk", "verify"])
            .arg(&directory)
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&verify.stdout).into_owned();
        assert!(
            !verify.status.success() && told.contains("cannot be read"),
            "{told}"
        );
        cluster.spawn(victim).expect("it starts");
        cluster.ready().await.expect("all serve");
        let since = Instant::now();
        loop {
            let page = shell(
                &cluster,
                &format!(
                    "curl -s {}/metrics | grep '^headwater_log_'",
                    cluster.members[victim].client_url()
                ),
            );
            let page = page.expect("a shell");
            let is_whole = page.contains("headwater_log_unreadable_entries 0");
            if is_whole && page.contains("headwater_log_repaired_entries_total 3\n") {
                break;
            }
            assert!(since.elapsed() < 2 * LIMIT, "{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let printed = cluster.members[victim].printed();
        assert!(
            printed.contains("entries cannot be read: they are asked"),
            "{printed}"
        );
        assert!(
            printed.contains("no entry is missing any more"),
            "{printed}"
        );
        assert_eq!(count_of(&cluster, victim, "k").await, 200);
        put_all(&cluster, "more", 3).await;
    }
    agreed_state(&cluster).await.expect("they agree");
    let victims = [(leader + 1) % 3, leader];
    for number in 0..3 {
        cluster.terminate(number).await.expect("it ends");
    }
    let directory = |number: usize| cluster.members[number].data_dir.clone();
    let server = &cluster.server;
    for victim in victims {
        // The bad places are still there, and what they held is elsewhere.
        let (code, told) = disk(server, "verify", &[&directory(victim)]);
        assert_eq!(code, Some(4), "{told}");
        assert!(told.contains("made up for"), "{told}");
        assert!(told.contains("written again since"), "{told}");
        spoil(&directory(victim), b"k0150");
        let (code, told) = disk(server, "verify", &[&directory(victim)]);
        assert_eq!(code, Some(3), "{told}");
    }
    let both = victims.map(directory);
    let (code, told) = disk(server, "recover", &[&both[0], &both[1]]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("what none of them can read"), "{told}");
    assert!(!told.contains("nothing is lost"), "{told}");
    let (_, told) = disk(
        server,
        "recover",
        &[&both[0], &both[1], Path::new("--json")],
    );
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let found = told["directories"].as_array().expect("a list");
    assert!(found.iter().all(|one| one["unreadable"] == 1), "{told}");
    let best = found.iter().filter(|one| one["is_best"] == true);
    let best: Vec<_> = best.map(|one| &one["directory"]).collect();
    assert_eq!(best, [&told["best"]]);
}

/// Runs `headwater disk`: how it ended, and what it printed on its standard output.
fn disk(server: &Server, deed: &str, words: &[&Path]) -> (Option<i32>, String) {
    let mut command = Command::new(&server.program);
    let output = command.args(["disk", deed]).args(words).output();
    let output = output.expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), told)
}

#[tokio::test]
async fn a_cluster_without_a_quorum_begins_anew_from_what_is_left() {
    let mut cluster = Cluster::start(&server(), 3, &[]).await.expect("a cluster");
    if cluster.server.is_etcd {
        println!("etcd has --force-new-cluster instead");
        return;
    }
    put_all(&cluster, "k", 200).await;
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    client
        .get("k0199", None)
        .await
        .expect("a read waits for all of them");
    // The disks of the others are enough for an answer; one that leaves in peace has all on its own.
    cluster.terminate(0).await.expect("it leaves");
    cluster.kill(1);
    cluster.kill(2);
    let dirs: Vec<String> = cluster
        .members
        .iter()
        .map(|m| m.data_dir.display().to_string())
        .collect();
    let server = cluster.server.clone();
    let (code, printed) = recover(&server, &[&dirs[0], &dirs[1]], "");
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("These are a quorum, and nothing is lost"),
        "{printed}"
    );

    let mut alone = laid_out(1);
    let into = alone.members[0].data_dir.display().to_string();
    let (name, urls) = (alone.members[0].name.clone(), alone.members[0].peer_url());
    let made = [
        dirs[0].as_str(),
        "--into",
        &into,
        "--name",
        &name,
        "--initial-advertise-peer-urls",
        &urls,
        "--initial-cluster-token",
        "after-the-flood",
    ];
    let flags = cluster.flags(0);
    let token = flags
        .iter()
        .find_map(|flag| flag.strip_prefix("--initial-cluster-token="));
    let mut as_before = made;
    as_before[4] = &cluster.members[0].name;
    let url = cluster.members[0].peer_url();
    as_before[6] = &url;
    as_before[8] = token.expect("the tests give one");
    let (code, printed) = recover(&server, &as_before, "");
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains("the token of the lost cluster"),
        "{printed}"
    );
    let (code, printed) = recover(&server, &made, "yes\n");
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains("that was not it; nothing was changed"),
        "{printed}"
    );
    assert!(
        printed.contains("nobody can say how many there were"),
        "{printed}"
    );
    assert_eq!(count_of_files(&alone), 0, "{printed}");
    let old = printed
        .split("Type ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let old = old.expect("it asks for an id").to_owned();
    let (code, printed) = recover(&server, &made, &format!("{old}\n"));
    assert_eq!(code, Some(0), "{printed}");
    let (code, again) = recover(&server, &made, &format!("{old}\n"));
    assert_eq!(code, Some(1), "{again}");
    assert!(again.contains("it is not empty"), "{again}");

    let flags = alone.flags(0);
    let token = |flag: &&String| !flag.starts_with("--initial-cluster-token");
    let mut command = Command::new(&server.program);
    command
        .args(flags.iter().filter(token))
        .arg("--initial-cluster-token=after-the-flood");
    alone.spawn_command(0, command).expect("it starts");
    alone.ready().await.expect("it serves alone");
    assert_eq!(count_of(&alone, 0, "k").await, 200);
    put_all(&alone, "later", 20).await;
    alone.kill(0);
    let mut command = Command::new(&server.program);
    command
        .args(flags.iter().filter(token))
        .arg("--initial-cluster-token=after-the-flood");
    alone.spawn_command(0, command).expect("it starts");
    alone.ready().await.expect("it serves again");
    assert_eq!(count_of(&alone, 0, "later").await, 20);
    assert_eq!(count_of(&alone, 0, "k").await, 200);
}

/// How many files a member's data directory holds.
fn count_of_files(cluster: &Cluster) -> usize {
    std::fs::read_dir(&cluster.members[0].data_dir).map_or(0, Iterator::count)
}

#[tokio::test]
async fn all_may_be_killed_at_once() {
    let mut cluster = Cluster::start(&server(), 3, &[]).await.expect("a cluster");
    put_all(&cluster, "k", 300).await;
    (0..3).for_each(|number| cluster.kill(number));
    for number in 0..3 {
        cluster.spawn(number).expect("it starts again");
    }
    cluster.ready().await.expect("they serve again");
    let state = agreed_state(&cluster).await.expect("they agree");
    assert_eq!((state.pairs.len(), state.revision), (300, 301));
    put_all(&cluster, "more", 10).await;
    agreed_state(&cluster).await.expect("they still agree");
}

#[tokio::test]
async fn a_member_that_missed_the_log_catches_up() {
    let server = server();
    let often = if server.is_etcd {
        "--snapshot-count=100"
    } else {
        "--snapshot-log-bytes=65536"
    };
    let mut cluster = Cluster::start(&server, 3, &[often])
        .await
        .expect("a cluster");
    put_all(&cluster, "before", 10).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let follower = (leader + 1) % 3;
    let writer = (leader + 2) % 3;
    cluster.kill(follower);
    // etcd keeps five thousand entries for slow followers, so it takes more than that.
    let mut client = cluster.client(writer, LIMIT).await.expect("a client");
    for round in 0..60 {
        let operations: Vec<etcd_client::TxnOp> = (0..100)
            .map(|number| {
                let value = (round * 100 + number).to_string();
                etcd_client::TxnOp::put(format!("churn{number}"), value, None)
            })
            .collect();
        let txn = etcd_client::Txn::new().and_then(operations);
        let revision = client
            .txn(txn)
            .await
            .expect("a txn")
            .header()
            .expect("a head")
            .revision();
        for number in 0..100 {
            let value = number.to_string();
            client
                .put(format!("single{number}"), value, None)
                .await
                .expect("a put");
        }
        client.compact(revision, None).await.expect("a compaction");
    }
    cluster.spawn(follower).expect("it starts again");
    cluster.ready().await.expect("it serves again");
    let state = agreed_state(&cluster).await.expect("it caught up");
    assert_eq!(state.pairs.len(), 210);
    // What it got is also what it keeps.
    cluster.kill(follower);
    cluster.spawn(follower).expect("it starts once more");
    cluster.ready().await.expect("it serves once more");
    agreed_state(&cluster).await.expect("it remembers");
}
