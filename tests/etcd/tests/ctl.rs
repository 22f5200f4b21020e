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
    // A transaction comes on the standard input, and so do passwords.
    let command = match (
        arguments.strip_prefix("txn "),
        arguments.split_once(" <<< "),
    ) {
        (Some(lines), _) => format!("printf {lines} | {client} txn"),
        (None, Some((arguments, word))) => format!("echo {word} | {client} {arguments}"),
        (None, None) => format!("{client} {arguments}"),
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
const COMMANDS: &str = include_str!("../golden/ctl/commands.txt");

/// Commands that change what is there: each client has a user and a role of its own, `USER` and `ROLE`.
const CHANGES: &str = include_str!("../golden/ctl/changes.txt");

/// What etcdctl says in Go's words or of sockets that nobody has here, and how we say it.
const OWN_WORDS: [(&str, &str); 6] = [
    (
        "strconv.ParseUint: parsing \"xyz\": invalid syntax), expecting ID in Hex",
        "\"xyz\" is no hexadecimal number), expecting ID in Hex\n  and no single member is called so: `headwater \
         ctl member list` shows ids and names",
    ),
    (
        "strconv.ParseUint: parsing \"xyz\": invalid syntax\n",
        "bad member ID arg (\"xyz\" is no hexadecimal number), expecting ID in Hex\n  and no single member is \
         called so: `headwater ctl member list` shows ids and names\n",
    ),
    (
        "strconv.ParseUint: parsing \"xyz\": invalid syntax",
        "\"xyz\" is no hexadecimal number",
    ),
    (
        "strconv.ParseInt: parsing \"xyz\": invalid syntax",
        "\"xyz\" is no hexadecimal number",
    ),
    (
        "strconv.ParseInt: parsing \"word\": invalid syntax",
        "\"word\" is no number",
    ),
    (
        "URL scheme must be http, https, unix, or unixs: ",
        "a peer URL begins with http:// or https://: ",
    ),
];

/// Also with one of etcdctl 3.5.1, if `ETCDCTL` names it.
#[tokio::test]
async fn the_same_commands_print_the_same() {
    let etcdctl = std::env::var("ETCDCTL").unwrap_or_else(|_| "etcdctl".to_owned());
    let cluster = cluster(1).await;
    let commands = COMMANDS.trim().lines();
    let differences: Vec<String> = commands
        .filter_map(|command| {
            let theirs = printed(&cluster, &etcdctl, command);
            let own = |text: String, (go, own): &(&str, &str)| text.replace(go, own);
            let theirs = OWN_WORDS.iter().fold(theirs, own);
            let ours = ctl(&cluster, command);
            (theirs != ours).then(|| format!("$ {command}\n--- etcdctl\n{theirs}\n--- ctl\n{ours}"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let file = file.path().display();
    let saved = ctl(&cluster, &format!("snapshot save {file}"));
    assert_eq!(saved, format!("Snapshot saved at {file}"));
    for format in ["simple", "json", "fields", "table"] {
        let command = format!("snapshot status {file} -w {format}");
        let theirs = printed(&cluster, &etcdctl, &command);
        assert_eq!(ctl(&cluster, &command), theirs, "{command}");
    }
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

/// Most of it is waiting: they wait together.
#[test]
fn what_etcdctl_was_told_we_are_told() {
    let files: [(&str, &[&str]); 4] = [
        ("watch.txt", &[]),
        ("lease.txt", &[]),
        ("lock.txt", &[]),
        ("auth.txt", &["--bcrypt-cost=4"]),
    ];
    std::thread::scope(|scope| {
        for (name, options) in files {
            scope.spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().expect("a runtime");
                runtime.block_on(golden_file(name, options));
            });
        }
    });
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
async fn a_lock_is_given_back_though_the_member_that_gave_it_is_gone() {
    is_given_back_by_another(|cluster| cluster.kill(0)).await;
}

#[tokio::test]
async fn a_lock_is_given_back_though_the_member_that_gave_it_is_silent() {
    is_given_back_by_another(|cluster| cluster.pause(0)).await;
}

/// A lock that the first member gave, which then goes, while a command runs.
async fn is_given_back_by_another(goes: impl FnOnce(&mut Cluster)) {
    let mut cluster = cluster(3).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (held, enough) = (
        directory.path().join("held"),
        directory.path().join("enough"),
    );
    let work = format!(
        "touch {}; until [ -e {} ]; do sleep 0.05; done; exit 7",
        held.display(),
        enough.display()
    );
    let urls: Vec<String> = cluster.members.iter().map(|m| m.client_url()).collect();
    let mut lock = Command::new(program())
        .args(["ctl", "--command-timeout=2s", "--endpoints"])
        .args([&urls.join(","), "lock", "--ttl=60"])
        .args(["nightly", "--", "sh", "-c", &work])
        .spawn()
        .expect("a lock");
    let end = Instant::now() + STOP_LIMIT;
    while !held.exists() {
        assert!(Instant::now() < end, "it is not held");
        sleep(Duration::from_millis(50)).await;
    }
    goes(&mut cluster);
    std::fs::write(&enough, "").expect("a file");
    let status = lock.wait().expect("it ends");
    assert_eq!(status.code(), Some(7), "the status is the command's");
    let others = "--endpoints=$EP2,$EP3";
    let left = ctl(
        &cluster,
        &format!("{others} get nightly --prefix --keys-only"),
    );
    assert_eq!(left, "", "the lock is held no more");
}

#[tokio::test]
async fn a_lock_that_was_lost_is_not_said_to_have_been_held() {
    let cluster = cluster(1).await;
    // The command itself ends the lease that holds the lock, and ends before anybody asks after that.
    let ctl_too = format!("{} ctl --endpoints=$EP1", program().display());
    let work = format!("{ctl_too} lease list | tail -1 | xargs {ctl_too} lease revoke");
    let lost = ctl(
        &cluster,
        &format!("--endpoints=$EP1 lock --ttl=60 nightly -- sh -c '{work}'; echo status $?"),
    );
    assert!(lost.contains("lease not found"), "{lost}");
    assert!(lost.ends_with("status 1"), "{lost}");
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_told_so() {
    let (one, other) = (cluster(1).await, cluster(1).await);
    let both = format!("--endpoints=$EP1,{}", other.members[0].client_url());
    let status = ctl(&one, &format!("{both} status"));
    let words = format!("{} is of another cluster", other.members[0].client_url());
    assert!(status.contains(&words), "{status}");
    let status = ctl(&one, "--endpoints=$EP1 status");
    assert!(status.contains("All is well"), "{status}");
}

#[tokio::test]
async fn users_and_roles_are_changed_in_the_same_words() {
    let cluster = cluster(1).await;
    let ours = format!("{} ctl", program().display());
    let ask = |client: &str, mark: &str, command: &str| {
        let names = [
            ("USER", format!("{mark}user")),
            ("ROLE", format!("{mark}role")),
        ];
        let renamed = |text: &str, (from, to): (&str, &str)| text.replace(from, to);
        let forth = names.iter().map(|(name, own)| (*name, own.as_str()));
        let command = forth.fold(command.to_owned(), |text, pair| renamed(&text, pair));
        let printed = printed(&cluster, client, &command);
        let back = names.iter().map(|(name, own)| (own.as_str(), *name));
        back.fold(printed, |text, pair| renamed(&text, pair))
    };
    // Those of the other client are not listed: it has deleted them.
    let told = |client: &str, mark: &str| -> Vec<String> {
        let commands = CHANGES.trim().lines();
        let told = commands.map(|command| format!("$ {command}\n{}", ask(client, mark, command)));
        let told = told.collect();
        for rest in [
            "user delete USER3",
            "user delete USER4",
            "role delete ROLE2",
            "role delete ROLE3",
        ] {
            ask(client, mark, rest);
        }
        told
    };
    let (theirs, ours) = (told("etcdctl", "a"), told(&ours, "b"));
    let differences = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours);
    let differences: Vec<String> = differences
        .map(|(theirs, ours)| format!("--- etcdctl {theirs}\n--- ctl {ours}"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn a_user_comes_with_a_password() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 1, &["--bcrypt-cost=4"]).await;
    let cluster = cluster.expect("a cluster");
    assert_eq!(ctl(&cluster, "user add root:secret"), "User root created");
    // The role root, which its user needs, is made on the way.
    assert_eq!(ctl(&cluster, "auth enable"), "Authentication Enabled");
    let stranger = ctl(&cluster, "put a 1");
    assert!(stranger.contains("--user NAME"), "{stranger}");
    assert_eq!(ctl(&cluster, "--user=root:secret put a 1"), "OK");
    assert_eq!(ctl(&cluster, "--user=root --password=secret put a 2"), "OK");
    assert_eq!(ctl(&cluster, "--user=root put a 3 <<< secret"), "OK");
    let variables = format!(
        "ETCDCTL_USER=root ETCDCTL_PASSWORD=secret {} ctl get a",
        program().display()
    );
    assert_eq!(shell(&cluster, &variables).expect("a shell").trim(), "a\n3");
    let wrong = ctl(&cluster, "--user=root --password=wrong put a 4");
    assert!(wrong.contains("invalid user ID or password"), "{wrong}");
    let status = ctl(&cluster, "--user=root:secret auth status");
    assert!(status.contains("Authentication Status: true"), "{status}");
}

#[tokio::test]
async fn a_mirror_follows_and_a_small_load_is_borne() {
    let (original, copy) = tokio::join!(cluster(1), cluster(1));
    for number in 0..3 {
        assert_eq!(ctl(&original, &format!("put p/{number} old")), "OK");
    }
    let mut mirroring = Command::new(program())
        .args(["ctl", "make-mirror", "--prefix=p/", "--dest-prefix=q/"])
        .arg(format!("--endpoints={}", original.members[0].client_url()))
        .arg(copy.members[0].client_url())
        .spawn()
        .expect("a mirror");
    let end = Instant::now() + STOP_LIMIT;
    let until = async |wanted: &str| {
        while ctl(&copy, "get '' --prefix") != wanted {
            assert!(Instant::now() < end, "not {wanted}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    until("q/0\nold\nq/1\nold\nq/2\nold").await;
    ctl(&original, "del p/1");
    ctl(&original, "put other x");
    ctl(&original, "put p/2 new");
    until("q/0\nold\nq/2\nnew").await;
    mirroring.kill().expect("it ends");
    mirroring.wait().expect("it has ended");
    let told = ctl(&copy, "check perf --duration=1s");
    // Whether the machine is fast enough now is not for a test; that each is judged is.
    let judged = |line: &&str| line.starts_with("PASS: ") || line.starts_with("FAIL: ");
    assert_eq!(told.lines().filter(judged).count(), 3, "{told}");
    let left = ctl(&copy, "get /etcdctl-check-perf/ --prefix --keys-only");
    assert_eq!(left, "", "it leaves nothing");
    let told = ctl(
        &copy,
        "check datascale --keys=2000 --auto-compact --auto-defrag",
    );
    let url = copy.members[0].client_url();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "Start data scale check for work load [2000 key-value pairs, 1024 bytes per key-value, 50 concurrent \
         clients]."
    );
    assert!(lines[1].starts_with("Compacting with revision "), "{told}");
    assert!(lines[2].starts_with("Compacted with revision "), "{told}");
    assert_eq!(lines[3], format!("Defragmenting {url:?}"));
    assert_eq!(lines[4], format!("Defragmented {url:?}"));
    let used = lines[5].strip_prefix("PASS: Approximate system memory used : ");
    let used = used.and_then(|used| used.strip_suffix(" MB.")?.parse::<f64>().ok());
    // The keys and values alone are 2 MB; some of it may have been there.
    assert!(used.is_some_and(|used| used > 0.5), "{told}");
    let left = ctl(&copy, "get /etcdctl-check --prefix --keys-only");
    assert_eq!(left, "", "it leaves nothing");
    let foreign = ctl(&copy, "check perf --duration=1s --prefix=q/");
    assert!(foreign.contains("has keys"), "{foreign}");
}

#[test]
fn what_is_done_elsewhere_says_where() {
    for (command, instead) in [
        ("ctl completion bash", "headwater completion bash"),
        ("ctl backup --data-dir x", "snapshot save"),
        ("ctl migrate --data-dir=x", "headwater import"),
        ("ctl downgrade enable 3.5", "snapshot save"),
        ("ctl defrag --data-dir x", "disk inspect"),
        (
            "ctl snapshot restore f --name n",
            "headwater snapshot restore f --name n",
        ),
        ("snapshot restore f --wal-dir x", "--data-dir"),
    ] {
        let output = Command::new(program()).args(command.split(' ')).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{command}");
        assert!(said.contains(instead), "{command}: {said}");
    }
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
async fn who_was_added_and_has_not_started_is_told_to_start_and_counts_for_nothing() {
    let cluster = cluster(1).await;
    if cluster.server.is_etcd {
        // There it counts at once, and nothing is written.
        return;
    }
    let only = &cluster.members[0];
    let (name, url) = (&only.name, only.peer_url());
    let updated = ctl(&cluster, &format!("member update {name} --peer-urls={url}"));
    assert!(updated.contains("updated in cluster"), "{updated}");
    let added = ctl(&cluster, "member add m2 --peer-urls=http://127.0.0.1:1");
    assert!(added.contains("added to cluster"), "{added}");
    let status = ctl(&cluster, "status");
    assert!(status.contains("has never been started"), "{status}");
    let settings = format!("ETCD_INITIAL_CLUSTER=\"{name}={url},NAME=http://127.0.0.1:1\"");
    let other_order = format!("ETCD_INITIAL_CLUSTER=\"NAME=http://127.0.0.1:1,{name}={url}\"");
    assert!(
        status.contains(&settings) || status.contains(&other_order),
        "{status}"
    );
    for wrong in ["voters answer", "disk recover", "nothing is written"] {
        assert!(!status.contains(wrong), "{status}");
    }
    let json = ctl(&cluster, "status -w json");
    assert!(json.starts_with("{\"members\":[{"), "{json}");
    assert!(json.contains("\"is_well\":false}"), "{json}");
    assert_eq!(ctl(&cluster, "put a b"), "OK", "and it is true");
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
    let name = cluster.members[2].name.clone();
    let alive = ctl(&cluster, &format!("member replace {name}"));
    assert!(alive.contains("it is not dead"), "{alive}");
    let well = ctl(&cluster, "status");
    assert!(well.contains("All is well."), "nothing was changed: {well}");
    cluster.kill(2);
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

#[tokio::test]
async fn leadership_moves_to_the_member_that_is_called_so() {
    let cluster = cluster(3).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let next = (leader + 1) % 3;
    let name = &cluster.members[next].name;
    let said = ctl(&cluster, &format!("move-leader {name}"));
    assert!(said.contains("Leadership transferred from"), "{said}");
    assert_eq!(cluster.wait_for_leader().await.expect("a leader"), next);
    let said = ctl(&cluster, "move-leader nobody");
    assert!(said.contains("no single member is called so"), "{said}");
}
