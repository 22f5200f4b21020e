//! `headwater ctl` beside etcdctl: the same commands to the same server print the same bytes, and what
//! etcdctl does not have does what it says.

use headwater_etcd_tests::cluster::{Cluster, STOP_LIMIT, Server};
use headwater_etcd_tests::golden::{self, shell};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tokio::time::{Duration, sleep};

/// Our own program, whatever server is under test.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    target.join("debug/headwater")
}

async fn cluster(size: usize) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, size, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    cluster
}

/// What a client prints on both streams, without its own log, and its exit code unless zero.
fn printed(cluster: &Cluster, client: &str, arguments: &str) -> String {
    // A transaction comes on the standard input.
    let command = match arguments.strip_prefix("txn ") {
        Some(lines) => format!("printf {lines} | {client} txn"),
        None => format!("{client} {arguments}"),
    };
    let printed = shell(cluster, &command).expect("a shell");
    let lines = printed
        .lines()
        .filter(|line| !line.starts_with("{\"level\""));
    lines.collect::<Vec<_>>().join("\n")
}

fn ctl(cluster: &Cluster, arguments: &str) -> String {
    printed(cluster, &format!("{} ctl", program().display()), arguments)
}

/// Commands that print the same whoever asks first.
const COMMANDS: &str = r#"
put a 'one "two"'
put '<b>' 'три'
put c ''
put -- -dash -value
put '' x
put
put a b --lease=xyz
put a b --lease=77
put absent --ignore-value
get a
get a b
get a --prefix --limit=2
get '' --prefix
get '' --from-key --keys-only
get '' --prefix --order=DESCEND --sort-by=MODIFY
get '' --prefix --print-value-only
get a --hex
get '' --prefix -w json
get '' --prefix -w fields
get '' --prefix -w protobuf | od -c
get nothing -w json
get a --rev=1
get a --rev=1000
get a --consistency=s
get a --consistency=x
get a --order=x
get a --sort-by=x
get a --prefix --from-key
get
del nothing
del nothing -w json
del nothing -w fields
del ''
del
txn 'val("a") != "x"\n\nput a 1\nget a\ndel none\n\n\n'
txn 'ver("a") = "0"\n\nput a 2\n\nget a --prefix --limit=1\n\n'
txn 'size("a") = "0"\n\n\n\n'
txn 'mod("a") = "word"\n\n\n\n'
txn '\nput d 1\nput d 2\n\n\n'
txn '\nput "q r" "s t"\n\n\n'
compaction
compaction word
compaction 1000
member list
member list -w table
member list -w json
member list -w fields
member add
member add x
member add x --peer-urls=nonsense
member add x --peer-urls=http://127.0.0.1
member add x --peer-urls=http://127.0.0.1:1/path
member remove
member remove xyz
member remove 1234
member update 1234 --peer-urls=http://127.0.0.1:1
member promote 1234
endpoint status
endpoint status -w table
endpoint status -w fields
endpoint hashkv
endpoint hashkv -w table
endpoint hashkv -w fields
lease grant
lease grant 9000000001
lease revoke 77
lease revoke xyz
lease timetolive 77
lease timetolive 77 -w json
lease timetolive 77 -w fields
lease list
lease list -w json
alarm list
alarm list -w json
alarm list -w fields
alarm disarm
defrag
move-leader
move-leader xyz
"#;

/// Also with one of etcdctl 3.5.1, if `ETCDCTL` names it.
#[tokio::test]
async fn the_same_commands_print_the_same() {
    let etcdctl = std::env::var("ETCDCTL").unwrap_or_else(|_| "etcdctl".to_owned());
    let cluster = cluster(1).await;
    let commands = COMMANDS.trim().lines();
    let differences: Vec<String> = commands
        .filter_map(|command| {
            let theirs = printed(&cluster, &etcdctl, command);
            let ours = ctl(&cluster, command);
            (theirs != ours).then(|| format!("$ {command}\n--- etcdctl\n{theirs}\n--- ctl\n{ours}"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What an etcd told etcdctl, told to us.
async fn golden_file(name: &str, options: &[&str]) {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, options).await;
    let cluster = cluster.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("etcdctl");
    let text = format!("#!/bin/sh\nexec '{}' ctl \"$@\"\n", program().display());
    std::fs::write(&script, text).expect("a script");
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, permissions).expect("it can be run");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let client = Some(directory.path());
    let differences = golden::run_with(&cluster, &file.join(name), client).await;
    let differences = differences.expect("a golden file and a shell");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn changes_are_watched() {
    golden_file("watch.txt", &[]).await;
}

#[tokio::test]
async fn leases_are_kept_alive() {
    golden_file("lease.txt", &[]).await;
}

#[tokio::test]
async fn locks_and_leaderships_are_held() {
    golden_file("lock.txt", &[]).await;
}

#[tokio::test]
async fn users_have_roles_which_have_rights() {
    golden_file("auth.txt", &["--bcrypt-cost=4"]).await;
}

#[tokio::test]
async fn a_watch_goes_on_by_another_member() {
    let mut cluster = cluster(3).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut watch = Command::new(program())
        .args(["ctl", "watch", "k", "--endpoints"])
        .arg(format!(
            "{},{}",
            cluster.members[0].client_url(),
            cluster.members[1].client_url()
        ))
        .stdout(file.reopen().expect("the same file"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a watch");
    let end = Instant::now() + STOP_LIMIT;
    let seen = || std::fs::read_to_string(file.path()).expect("what it printed");
    // It has begun when something comes.
    let mut before = 0;
    while seen().is_empty() {
        before += 1;
        assert_eq!(ctl(&cluster, &format!("put k before{before}")), "OK");
        assert!(Instant::now() < end, "nothing comes");
        sleep(Duration::from_millis(100)).await;
    }
    cluster.kill(0);
    for number in 1..=3 {
        let put = format!("--endpoints=$EP2,$EP3 put k after{number}");
        while ctl(&cluster, &put) != "OK" {
            assert!(Instant::now() < end, "no leader");
        }
    }
    while !seen().contains("after3") {
        assert!(Instant::now() < end, "{}", seen());
        sleep(Duration::from_millis(100)).await;
    }
    watch.kill().expect("it ends");
    watch.wait().expect("it has ended");
    let seen = seen();
    let after = seen.lines().filter(|line| line.starts_with("after"));
    let mut after: Vec<&str> = after.collect();
    // A put whose answer was lost may have been done twice.
    after.dedup();
    assert_eq!(after, ["after1", "after2", "after3"], "{seen}");
}

#[tokio::test]
async fn an_error_names_its_cause() {
    let mut cluster = cluster(3).await;
    let one = "--endpoints=http://127.0.0.1:1";
    let refused = ctl(&cluster, &format!("{one} get a"));
    assert!(
        refused.contains("http://127.0.0.1:1: connection refused"),
        "{refused}"
    );
    let over = ctl(&cluster, &format!("{one},$EP1 put a 1"));
    assert_eq!(over, "OK");
    let secure = "$(echo $EP1 | sed s/http/https/)";
    let scheme = ctl(&cluster, &format!("--endpoints={secure} get a"));
    assert!(scheme.contains("http:// may be right"), "{scheme}");
    cluster.kill(1);
    cluster.kill(2);
    let alone = ctl(&cluster, "--endpoints=$EP1 --command-timeout=1s get a");
    assert!(alone.contains("ctl status"), "{alone}");
    let status = ctl(&cluster, "--endpoints=$EP1 status");
    assert!(status.contains("Only 1 of 3 voters answer"), "{status}");
    assert!(
        status.contains("m2: ") && status.contains("connection refused"),
        "{status}"
    );
}

#[tokio::test]
async fn a_member_whose_data_are_gone_comes_back_by_one_command() {
    let mut cluster = cluster(3).await;
    if cluster.server.is_etcd {
        // It adds nobody while another is away.
        return;
    }
    assert_eq!(ctl(&cluster, "put kept value"), "OK");
    let well = ctl(&cluster, "status");
    assert!(well.contains("All is well."), "{well}");
    cluster.kill(2);
    let name = cluster.members[2].name.clone();
    std::fs::remove_dir_all(&cluster.members[2].data_dir).expect("its data go");
    let told = ctl(
        &cluster,
        &format!("--endpoints=$EP1,$EP2 member replace {name}"),
    );
    let mut command = Command::new(&cluster.server.program);
    for line in told.lines() {
        if let Some((variable, value)) =
            line.strip_prefix("export ").and_then(|l| l.split_once('='))
        {
            command.env(variable, value.trim_matches('"'));
        }
    }
    let flags = cluster.flags(2);
    let is_told = |flag: &&String| flag.starts_with("--initial") || flag.starts_with("--name");
    command.args(flags.iter().filter(|flag| !is_told(flag)));
    cluster.spawn_command(2, command).expect("it starts");
    let end = Instant::now() + STOP_LIMIT;
    loop {
        let status = ctl(&cluster, "--endpoints=$EP1 status");
        if status.contains("All is well.") {
            break;
        }
        assert!(Instant::now() < end, "{told}\n{status}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ctl(&cluster, "--endpoints=$EP3 get kept"), "kept\nvalue");
}
