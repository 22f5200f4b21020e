//! An etcd is taken over, running or from a file: keys at all revisions, leases, users and roles; and
//! back. What cannot be taken over leaves nothing behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions, GetOptions, LeaseTimeToLiveOptions, PutOptions};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::program::{run, said};
use headwater_etcd_tests::rival::rival;

const LIMIT: Duration = Duration::from_secs(10);
const COMPACTED: i64 = 40;
const ROOT: (&str, &str) = ("root", "rpw");

/// Root, and ann, who may do everything with keys from "k" to "l".
const USERS: &str = "
etcdctl user add root:rpw && etcdctl user grant-role root root && etcdctl role add k &&
etcdctl role grant-permission k readwrite k l && etcdctl user add ann:apw &&
etcdctl user grant-role ann k && etcdctl auth enable
";

/// Ours, and the programs of an etcd; none if an etcd is under test.
fn both() -> Option<(Server, Server)> {
    let ours = Server::from_env().expect("a server to test");
    let folder = rival().expect("an etcd");
    let etcd = Server::at(folder.join("etcd")).expect("an etcd");
    (!ours.is_etcd).then_some((ours, etcd))
}

fn laid_out(server: &Server, size: usize, options: &[&str]) -> Cluster {
    Cluster::new(server, size, &std::env::temp_dir(), options).expect("ports and a folder")
}

/// A client of a member that serves `user`, sooner or later.
async fn client(cluster: &Cluster, number: usize, user: Option<(&str, &str)>) -> Client {
    let begin = Instant::now();
    loop {
        let mut options = ConnectOptions::new().with_timeout(LIMIT);
        if let Some((name, password)) = user {
            options = options.with_user(name, password);
        }
        let url = cluster.members[number].client_url();
        let why = match Client::connect([url], Some(options)).await {
            Ok(mut client) => match client.get("k", None).await {
                Ok(_) => return client,
                Err(why) => why,
            },
            Err(why) => why,
        };
        let printed = cluster.members[number].printed();
        assert!(begin.elapsed() < 3 * LIMIT, "{why}: {printed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts all members.
async fn up(cluster: &mut Cluster, user: Option<(&str, &str)>) -> Client {
    for number in 0..cluster.members.len() {
        cluster.spawn(number).expect("a process");
    }
    client(cluster, 0, user).await
}

/// Keys with a past: written again, deleted, made anew, with leases, compacted; and leases without keys.
async fn live(client: &mut Client) -> (i64, i64) {
    let answers = "it answers";
    let lease = client.lease_grant(3600, None).await.expect(answers).id();
    let bare = client.lease_grant(900, None).await.expect(answers).id();
    let ended = client.lease_grant(900, None).await.expect(answers).id();
    for round in 0..6 {
        for key in 0..12 {
            let value = format!("{round}").repeat(1 + key * 300);
            let key = format!("k{key:02}");
            client.put(key, value, None).await.expect(answers);
        }
        let key = format!("k{:02}", round * 2);
        client.delete(key, None).await.expect(answers);
    }
    for (key, lease) in [("leased1", lease), ("leased2", lease), ("brief", ended)] {
        let attached = PutOptions::new().with_lease(lease);
        client.put(key, "v", Some(attached)).await.expect(answers);
    }
    client.lease_revoke(ended).await.expect(answers);
    client
        .put("binary\0\u{7f}", vec![0, 255, 10], None)
        .await
        .expect(answers);
    client.compact(COMPACTED, None).await.expect(answers);
    (lease, bare)
}

type Keys = BTreeMap<Vec<u8>, (i64, i64, i64, i64, Vec<u8>)>;

/// All there is at a revision; zero for the newest.
async fn keys_at(client: &mut Client, revision: i64) -> (i64, Keys) {
    let options = GetOptions::new().with_all_keys().with_revision(revision);
    let found = client.get("", Some(options)).await.expect("a range");
    let fields = |kv: &etcd_client::KeyValue| {
        let numbers = (kv.create_revision(), kv.mod_revision());
        let rest = (
            numbers.0,
            numbers.1,
            kv.version(),
            kv.lease(),
            kv.value().to_vec(),
        );
        (kv.key().to_vec(), rest)
    };
    let keys = found.kvs().iter().map(fields).collect();
    (found.header().expect("a header").revision(), keys)
}

/// Both show the same at each revision, have the same leases with the same keys, and let the same in.
async fn assert_same(one: &mut Client, other: &mut Client, leases: (i64, i64)) {
    let (newest, keys) = keys_at(one, 0).await;
    assert_eq!(keys_at(other, 0).await, (newest, keys));
    for revision in COMPACTED..=newest {
        let (_, expected) = keys_at(one, revision).await;
        let (_, found) = keys_at(other, revision).await;
        assert!(found == expected, "revision {revision}");
    }
    for client in [&mut *one, &mut *other] {
        let options = GetOptions::new().with_revision(COMPACTED - 1);
        let error = client.get("k", Some(options)).await.expect_err("compacted");
        assert!(error.to_string().contains("compacted"), "{error}");
        for (lease, ttl, keys) in [(leases.0, 3600, 2), (leases.1, 900, 0)] {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let left = client.lease_time_to_live(lease, Some(options)).await;
            let left = left.expect("it answers");
            assert_eq!((left.granted_ttl(), left.keys().len()), (ttl, keys));
            assert!(
                (ttl - 300..=ttl).contains(&left.ttl()),
                "{} seconds left",
                left.ttl()
            );
        }
        assert_eq!(client.leases().await.expect("it answers").leases().len(), 2);
    }
}

/// Users come along: their passwords, roles and rights.
async fn assert_users(cluster: &Cluster) {
    let mut ann = client(cluster, 0, Some(("ann", "apw"))).await;
    ann.put("k01", "by ann", None).await.expect("she may");
    let error = ann.put("x", "by ann", None).await.expect_err("she may not");
    assert!(error.to_string().contains("permission denied"), "{error}");
    let told = shell(cluster, "etcdctl --user ann:no get k; etcdctl get k").expect("a shell");
    assert!(told.contains("invalid user ID or password"), "{told}");
    assert!(told.contains("user name is empty"), "{told}");
}

/// The flags of a member that say who it is.
fn identity(cluster: &Cluster, number: usize) -> Vec<String> {
    const FLAGS: [&str; 5] = [
        "name",
        "data-dir",
        "initial-cluster",
        "initial-cluster-token",
        "initial-advertise-peer-urls",
    ];
    let mut flags = cluster.flags(number);
    flags.retain(|flag| {
        let name = flag.trim_start_matches('-').split('=').next();
        name.is_some_and(|name| FLAGS.contains(&name))
    });
    flags
}

/// An import for a member, or for nobody in particular; its exit code and what it said.
fn import(server: &Server, arguments: &[&str], flags: &[String]) -> (i32, String) {
    let output = Command::new(&server.program)
        .arg("import")
        .args(arguments)
        .args(flags)
        .output()
        .expect("it starts");
    (output.status.code().expect("an exit"), said(&output))
}

#[tokio::test]
async fn a_running_etcd_becomes_a_cluster_of_three_and_goes_back() {
    let Some((server, etcd)) = both() else { return };
    let mut theirs = laid_out(&etcd, 1, &["--bcrypt-cost=4"]);
    let mut there = up(&mut theirs, None).await;
    let leases = live(&mut there).await;
    let told = shell(&theirs, USERS).expect("a shell");
    assert!(told.contains("Authentication Enabled"), "{told}");
    let mut there = client(&theirs, 0, Some(ROOT)).await;

    let url = theirs.members[0].client_url();
    let mut ours = laid_out(&server, 3, &[]);
    let kept = ours.folder.join("etcd.db");
    let file = kept.to_str().expect("a plain name");
    let from = ["--endpoints", url.as_str(), "--save", file, "--user"];
    for (user, words) in [
        ("ann:apw", "only root may have a snapshot"),
        ("root:no", "invalid user ID or password"),
        ("", "user name is empty"),
    ] {
        let (code, told) = import(&server, &[&from[..], &[user]].concat(), &identity(&ours, 0));
        assert!(code == 1 && told.contains(words), "{code} {told}");
        assert!(
            !kept.exists() && !ours.members[0].data_dir.exists(),
            "{told}"
        );
    }
    let (code, told) = import(
        &server,
        &[&from[..], &["root:rpw"]].concat(),
        &identity(&ours, 0),
    );
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("all the same") && told.contains("nothing is missing"),
        "{told}"
    );
    assert!(told.contains("leases        2 (with 2 keys)"), "{told}");
    for number in 1..3 {
        let (code, told) = import(&server, &[file], &identity(&ours, number));
        assert_eq!(code, 0, "{told}");
    }
    let mut here = up(&mut ours, Some(ROOT)).await;
    assert_same(&mut there, &mut here, leases).await;
    assert_users(&ours).await;

    go_back(&server, &ours, &mut here, leases).await;
}

/// Our snapshot, restored by an etcd's own tool.
async fn go_back(server: &Server, ours: &Cluster, here: &mut Client, leases: (i64, i64)) {
    let folder = rival().expect("an etcd");
    let etcd = Server::at(folder.join("etcd")).expect("an etcd");
    let file = ours.folder.join("back.db");
    run(Command::new(&server.program)
        .args(["ctl", "--user", "root:rpw", "--endpoints"])
        .arg(ours.members[0].client_url())
        .args(["snapshot", "save"])
        .arg(&file));
    let mut theirs = laid_out(&etcd, 1, &["--bcrypt-cost=4"]);
    run(Command::new(folder.join("etcdutl"))
        .args(["snapshot", "restore"])
        .arg(&file)
        .args(identity(&theirs, 0)));
    let mut there = up(&mut theirs, Some(ROOT)).await;
    assert_same(here, &mut there, leases).await;
    assert_users(&theirs).await;
}

#[tokio::test]
async fn an_etcd_that_is_written_meanwhile_is_told_of() {
    let Some((server, etcd)) = both() else { return };
    let mut theirs = laid_out(&etcd, 1, &[]);
    let mut there = up(&mut theirs, None).await;
    there.put("k", "v", None).await.expect("a put");
    let url = theirs.members[0].client_url();
    let writing = tokio::spawn(async move {
        loop {
            there.put("k", "again", None).await.expect("a put");
        }
    });
    let into = theirs.folder.join("imported");
    let flags = ["--data-dir".into(), into.display().to_string()];
    let program = server.clone();
    let importing =
        tokio::task::spawn_blocking(move || import(&program, &["--endpoints", &url], &flags));
    let (code, told) = importing.await.expect("it ends");
    writing.abort();
    assert!(code == 3 && told.contains("import again"), "{code} {told}");
    assert!(into.exists(), "{told}");
}

#[test]
fn an_etcd_with_tls_gives_its_keys_to_who_may_have_them() {
    let Some((server, etcd)) = both() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let certs = |folder: &str, flags: &str| {
        let dir = made.path().join(folder);
        run(Command::new(&server.program)
            .args(["certs", "--dir"])
            .arg(&dir)
            .args(flags.split(' ')));
        move |name: &str| dir.join(name).display().to_string()
    };
    let file = certs("ca", "--name server --host 127.0.0.1");
    let stranger = certs("another", "--client client");
    let flags = [
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".to_owned(),
    ];
    let mut theirs = laid_out(&etcd, 1, &flags.each_ref().map(String::as_str));
    theirs.members[0].client_scheme = "https";
    theirs.spawn(0).expect("a process");
    let ca = format!("--cacert={}", file("ca.crt"));
    let pair = |file: &dyn Fn(&str) -> String| {
        ["cert", "key"].map(|flag| {
            let ending = if flag == "cert" { "crt" } else { flag };
            format!("--{flag}={}", file(&format!("client.{ending}")))
        })
    };
    let [cert, key] = pair(&file);
    let put = format!("etcdctl {ca} {cert} {key} put k v");
    let begin = Instant::now();
    while !shell(&theirs, &put).expect("a shell").contains("OK") {
        assert!(
            begin.elapsed() < 3 * LIMIT,
            "{}",
            theirs.members[0].printed()
        );
        std::thread::sleep(Duration::from_millis(50));
    }

    let into = theirs.folder.join("imported");
    let flags = ["--data-dir".into(), into.display().to_string()];
    let from = format!("--endpoints={}", theirs.members[0].client_url());
    let [strange_cert, strange_key] = pair(&stranger);
    for (tls, words) in [
        (vec![], "is of a CA that is not trusted here"),
        (vec![ca.as_str()], "a certificate of a CA that it trusts"),
        (
            vec![&ca, &strange_cert, &strange_key],
            "a certificate of a CA that it trusts",
        ),
    ] {
        let (code, told) = import(&server, &[&[from.as_str()], &tls[..]].concat(), &flags);
        assert!(code == 1 && told.contains(words), "{code} {told}");
        assert!(!into.exists(), "{told}");
    }
    let plain = from.replace("https:", "http:");
    let (code, told) = import(&server, &[&plain], &flags);
    assert!(code == 1 && told.contains("speaks TLS"), "{code} {told}");
    let (code, told) = import(&server, &[&from, &ca, &cert, &key], &flags);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("nothing is missing"), "{told}");
    let held = run(Command::new(&server.program)
        .args(["disk", "inspect"])
        .arg(&into));
    assert!(held.contains("1 keys"), "{held}");
}

#[tokio::test]
async fn what_cannot_be_imported_leaves_nothing() {
    let Some((server, etcd)) = both() else { return };
    let mut theirs = laid_out(&etcd, 1, &["--enable-v2"]);
    let mut there = up(&mut theirs, None).await;
    let folder = theirs.folder.clone();
    let (into, bad) = (folder.join("into"), folder.join("bad.db"));
    let flags = ["--data-dir".into(), into.display().to_string()];
    let refused = |arguments: &[&str], words: &str| {
        let before = list(&folder);
        let (code, told) = import(&server, arguments, &flags);
        assert!(code == 1 && told.contains(words), "{code} {told}");
        assert_eq!(list(&folder), before, "{told}");
    };
    let url = theirs.members[0].client_url();
    let put = format!("curl --silent {url}/v2/keys/old -X PUT -d value=v");
    let told = shell(&theirs, &put).expect("a shell");
    assert!(told.contains("\"action\":\"set\""), "{told}");
    refused(&["--endpoints", &url], "etcd's old API (v2)");

    there.put("k", "v", None).await.expect("a put");
    let file = folder.join("whole.db");
    let file = file.to_str().expect("a plain name");
    run(Command::new(&server.program).args(["ctl", "--endpoints", &url, "snapshot", "save", file]));
    let whole = std::fs::read(file).expect("the snapshot");
    let broken = |bytes: &[u8], words: &str| {
        std::fs::write(&bad, bytes).expect("a file");
        refused(&[bad.to_str().expect("a plain name")], words);
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    broken(&flipped, "its checksum is another");
    broken(&whole[..whole.len() - 1], "its end is missing");
    broken(&whole[..whole.len() - 32], "it has no checksum at its end");
    broken(b"", "it is empty");
    refused(&["/nowhere/etcd.db"], "No such file");
    let data_dir = theirs.members[0].data_dir.display().to_string();
    refused(&[&data_dir], "it is an etcd's data directory");

    let save = ["--endpoints", &url, "--save", file];
    refused(&save, "there is such a file already");
    let three = "--initial-cluster=default=http://localhost:2380,b=http://b:1,c=http://c:1";
    refused(&["--endpoints", &url, three], "--save FILE keeps it");
    theirs.kill(0);
    refused(&["--endpoints", &url], "nobody listens there");

    // A copy of a stopped etcd's database has no checksum, and is taken if that is said.
    let database = Path::new(&data_dir)
        .join("member/snap/db")
        .display()
        .to_string();
    refused(&[&database], "it has no checksum at its end");
    let (code, told) = import(&server, &[&database, "--skip-hash-check"], &flags);
    assert_eq!(code, 0, "{told}");
    // And a directory that is there is left as it is.
    refused(&[file], "it is not empty");
    assert_no_room(&server, file, &folder);
}

/// On a disk that is too small nothing is left, either.
fn assert_no_room(server: &Server, file: &str, folder: &Path) {
    let small = folder.join("small");
    std::fs::create_dir(&small).expect("a folder");
    let script = "mount -t tmpfs -o size=20m none $2 && $0 import $1 --data-dir $2/into; echo exit $?; \
                  echo left: $(ls -A $2)";
    let told = run(Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(&server.program)
        .arg(file)
        .arg(&small));
    assert!(told.contains("exit 1\nleft:\n"), "{told}");
}

/// The names in a folder.
fn list(folder: &Path) -> Vec<std::ffi::OsString> {
    let names = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = names
        .map(|name| name.expect("a name").file_name())
        .collect();
    names.sort();
    names
}
