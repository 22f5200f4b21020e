//! Directories that no server would start with: what can be read of them begins a new cluster, and what
//! cannot is said before.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_etcd_tests::cluster::{Cluster, Server};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(5);

/// Beside the data: the log's first segment.
const SEGMENT: &str = "wal/0000000000000001.wal";

fn server() -> Server {
    Server::from_env().expect("a server to test")
}

async fn put_all(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    for number in numbers {
        let put = client.put(key(number), number.to_string(), None).await;
        put.expect("a put");
    }
}

fn key(number: usize) -> String {
    format!("salvaged-{number:04}")
}

/// The keys that are there, in order.
async fn keys(cluster: &Cluster) -> Vec<String> {
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    let options = etcd_client::GetOptions::new().with_prefix();
    let found = client
        .get("salvaged-", Some(options))
        .await
        .expect("a read");
    let keys = found.kvs().iter();
    keys.map(|kv| kv.key_str().expect("text").to_owned())
        .collect()
}

fn first(count: usize) -> Vec<String> {
    (0..count).map(key).collect()
}

/// Turns bytes of a file over.
fn flip(path: &Path, places: &[usize]) {
    let mut bytes = std::fs::read(path).expect("readable");
    for &at in places {
        bytes[at] ^= 0x20;
    }
    std::fs::write(path, bytes).expect("writable");
}

/// The same in the log of a directory, in the middle of a key.
fn spoil(data_dir: &Path, number: usize) {
    let path = data_dir.join(SEGMENT);
    let bytes = std::fs::read(&path).expect("readable");
    let needle = key(number);
    let mut windows = bytes.windows(needle.len());
    let at = windows.position(|part| part == needle.as_bytes());
    flip(&path, &[at.expect("the key is in the log") + 10]);
}

/// Runs `headwater disk` with answers on its standard input: its status, and all that it printed.
fn disk(words: &[&str], answers: &str) -> (Option<i32>, String) {
    let mut child = Command::new(&server().program)
        .arg("disk")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    // It may have ended without a question.
    let _ = input.write_all(answers.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

fn survey(directories: &[String]) -> Value {
    let mut words = vec!["recover", "--json"];
    words.extend(directories.iter().map(String::as_str));
    let mut command = Command::new(&server().program);
    let output = command.arg("disk").args(words).output().expect("it runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn directories(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members.iter();
    let named = members.map(|member| member.data_dir.display().to_string());
    named.collect()
}

/// Begins a new cluster with what these directories hold, and starts it. `is_abandoned`: they could go on
/// as they are, so it asks twice.
async fn begun_anew(directories: &[String], is_abandoned: bool) -> Cluster {
    let mut alone = Cluster::new(&server(), 1, &std::env::temp_dir(), &[]).expect("a folder");
    let member = &alone.members[0];
    let (into, urls) = (member.data_dir.display().to_string(), member.peer_url());
    let mut words = vec!["recover", "--into", &into, "--name", &member.name];
    words.extend(["--initial-advertise-peer-urls", &urls]);
    words.extend(["--initial-cluster-token", "salvaged"]);
    words.extend(directories.iter().map(String::as_str));
    let cluster = survey(directories)["cluster"].as_str().map(str::to_owned);
    let cluster = cluster.expect("it has a name");
    let wrongs = ["", "yes\n", "abandon\nyes\n"];
    // Once is enough: each reads all there is.
    let wrongs = wrongs.iter().filter(|_| is_abandoned);
    for wrong in wrongs {
        let (code, printed) = disk(&words, wrong);
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("nothing was changed"), "{printed}");
        assert!(
            !member.data_dir.exists()
                || member.data_dir.read_dir().expect("there").next().is_none()
        );
    }
    let mut answers = format!("{cluster}\n");
    if is_abandoned {
        let (code, printed) = disk(&words, &answers);
        assert_eq!(code, Some(1), "{printed}");
        answers = format!("abandon\n{answers}");
    }
    let (code, printed) = disk(&words, &answers);
    assert_eq!(code, Some(0), "{printed}");
    let flags = alone.flags(0);
    let token = |flag: &&String| !flag.starts_with("--initial-cluster-token");
    let mut command = Command::new(&server().program);
    command.args(flags.iter().filter(token));
    command.arg("--initial-cluster-token=salvaged");
    alone.spawn_command(0, command).expect("it starts");
    alone.ready().await.expect("it serves");
    alone
}

async fn refuses_to_start(cluster: &mut Cluster, number: usize) {
    cluster.spawn(number).expect("it starts");
    let since = Instant::now();
    let status = loop {
        if let Some(status) = cluster.exited(number) {
            break status;
        }
        assert!(since.elapsed() < 2 * LIMIT, "it runs on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let printed = cluster.members[number].printed();
    assert!(
        !status.success() && printed.contains("damaged"),
        "{printed}"
    );
    assert!(printed.contains("headwater disk recover"), "{printed}");
}

#[tokio::test]
async fn a_server_alone_keeps_what_lies_before_the_damage() {
    let mut cluster = Cluster::start(&server(), 1, &[]).await.expect("it starts");
    if cluster.server.is_etcd {
        return;
    }
    put_all(&cluster, 0..60).await;
    assert!(cluster.terminate(0).await.expect("it ends").success());
    let data_dir = cluster.members[0].data_dir.clone();
    spoil(&data_dir, 40);
    refuses_to_start(&mut cluster, 0).await;

    let directories = directories(&cluster);
    let told = survey(&directories);
    assert_eq!(told["keys"], 40, "{told}");
    assert_eq!(told["revision"], 41, "{told}");
    assert_eq!(told["has_quorum"], false, "{told}");
    assert_eq!(told["may_lose_acknowledged_writes"], true, "{told}");
    let lost = &told["lost"];
    let number = |value: &Value| value.as_u64().expect("a number");
    let (from, to) = (number(&lost["first_index"]), number(&lost["last"]["index"]));
    assert_eq!(from, number(&told["kept"]["index"]) + 1);
    assert!((20..25).contains(&(to + 1 - from)), "{told}");
    assert_eq!(number(&lost["readable"][0][0]), from + 1, "{told}");
    assert_eq!(lost["is_certain"], true, "{told}");
    let (code, printed) = disk(&["recover", &directories[0]], "");
    assert_eq!(code, Some(0), "{printed}");
    for part in [
        "revision 41, 40 keys",
        "of no use without",
        "are lost, and some of them were committed",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let anew = begun_anew(&directories, false).await;
    assert_eq!(keys(&anew).await, first(40));
    put_all(&anew, 40..45).await;
}

#[tokio::test]
async fn members_that_are_all_damaged_have_everything_together() {
    let mut cluster = Cluster::start(&server(), 3, &[]).await.expect("they start");
    if cluster.server.is_etcd {
        return;
    }
    put_all(&cluster, 0..60).await;
    // A linearizable read of a member waits until that has everything.
    for number in 0..3 {
        let mut client = cluster.client(number, LIMIT).await.expect("a client");
        client.get(key(0), None).await.expect("a read");
    }
    for number in 0..3 {
        assert!(cluster.terminate(number).await.expect("it ends").success());
    }
    let folders: Vec<PathBuf> = cluster.members.iter().map(|m| m.data_dir.clone()).collect();
    flip(&folders[0].join("identity"), &[30, 4096 + 30]);
    spoil(&folders[0], 10);
    spoil(&folders[0], 50);
    flip(&folders[1].join(SEGMENT), &[30, 1024 + 30]);
    spoil(&folders[1], 20);
    spoil(&folders[2], 30);
    refuses_to_start(&mut cluster, 0).await;
    refuses_to_start(&mut cluster, 1).await;

    let directories = directories(&cluster);
    let told = survey(&directories);
    assert_eq!(
        (&told["keys"], &told["lost"]),
        (&Value::from(60), &Value::Null),
        "{told}"
    );
    assert_eq!(told["may_lose_acknowledged_writes"], false, "{told}");
    let told = survey(&directories[..2]);
    assert_eq!(told["keys"], 60, "{told}");
    let told = survey(&directories[1..]);
    assert_eq!(told["keys"], 60, "{told}");
    let (_, printed) = disk(
        &["recover", &directories[0], &directories[1], &directories[2]],
        "",
    );
    assert!(
        printed.contains("No acknowledged write is lost"),
        "{printed}"
    );
    let anew = begun_anew(&directories, false).await;
    assert_eq!(keys(&anew).await, first(60));
}

#[tokio::test]
async fn a_quorum_that_could_go_on_is_abandoned_only_by_who_says_so_twice() {
    let mut cluster = Cluster::start(&server(), 1, &[]).await.expect("it starts");
    if cluster.server.is_etcd {
        return;
    }
    put_all(&cluster, 0..5).await;
    assert!(cluster.terminate(0).await.expect("it ends").success());
    let anew = begun_anew(&directories(&cluster), true).await;
    assert_eq!(keys(&anew).await, first(5));
}
