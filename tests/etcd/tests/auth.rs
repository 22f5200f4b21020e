//! Users: their tokens are good at every member whatever becomes of the others, their certificates count,
//! and nothing of it is lost.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long something may take that does not happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Passwords are used often here, so they are cheap.
const CHEAP: &str = "--bcrypt-cost=4";

/// Root, and ann, who has all rights on keys from "a" to "b".
const USERS: &str = "
etcdctl user add root:rpw && etcdctl user grant-role root root && etcdctl role add a &&
etcdctl role grant-permission a readwrite a b && etcdctl user add ann:apw &&
etcdctl user grant-role ann a && etcdctl auth enable
";

/// What stands before commands that use tokens.
const TOKENS: &str = r#"
token() { curl --silent "$1/v3/auth/authenticate" -d "{\"name\":\"$2\",\"password\":\"$3\"}" | sed 's/.*"token":"\([^"]*\)".*/\1/'; }
put() { curl --silent "$1/v3/kv/put" -H "Authorization: $2" -d '{"key":"YQ==","value":"dg=="}'; echo; }
"#;

fn headwater() -> Option<Server> {
    Server::unless_etcd("an etcd's tokens are known to members that were there")
}

fn run(cluster: &Cluster, command: &str) -> String {
    shell(cluster, &format!("{TOKENS}\n{command}")).expect("a shell")
}

/// Runs a command until what it prints has `part`.
fn until(cluster: &Cluster, command: &str, part: &str) -> String {
    let begin = Instant::now();
    loop {
        let printed = run(cluster, command);
        if printed.contains(part) {
            return printed;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "no \"{part}\" by {command}: {printed}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn with_users(server: &Server, options: &[&str]) -> Cluster {
    let cluster = Cluster::start(server, 3, options).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let made = run(&cluster, USERS);
    assert!(made.contains("Authentication Enabled"), "{made}");
    cluster
}

#[tokio::test]
async fn a_token_is_good_at_every_member_whatever_becomes_of_the_one_that_gave_it() {
    let Some(server) = headwater() else { return };
    let mut cluster = with_users(&server, &[CHEAP]).await;
    // Made by one member and used at once at the others, which may not know of the change yet.
    for round in 0..5 {
        let user = format!("ann{round}");
        let used = run(
            &cluster,
            &format!(
                "etcdctl --user root:rpw user add {user}:p && etcdctl --user root:rpw user grant-role {user} a
                T=$(token $EP1 {user} p); put $EP2 $T; put $EP3 $T; put $EP1 $T"
            ),
        );
        assert_eq!(used.matches("\"revision\"").count(), 3, "{used}");
    }
    let token = run(&cluster, "token $EP1 ann apw").trim().to_owned();
    let leader = cluster.wait_for_leader().await.expect("a leader");
    cluster.kill(leader);
    for number in (0..3).filter(|number| *number != leader) {
        until(
            &cluster,
            &format!("put $EP{} {token}", number + 1),
            "\"revision\"",
        );
    }
    // After all were killed at once, too.
    for number in (0..3).filter(|number| *number != leader) {
        cluster.kill(number);
    }
    for number in 0..3 {
        cluster.spawn(number).expect("a process");
    }
    for number in 1..=3 {
        until(
            &cluster,
            &format!("put $EP{number} {token}"),
            "\"revision\"",
        );
        let unknown = run(&cluster, &format!("put $EP{number} {token}x"));
        assert!(unknown.contains("invalid auth token"), "{unknown}");
        let nobody = run(
            &cluster,
            &format!("ETCDCTL_ENDPOINTS=$EP{number} etcdctl get a"),
        );
        assert!(nobody.contains("user name is empty"), "{nobody}");
    }
    let changed =
        "printf 'new\nnew\n' | etcdctl --user root:rpw user passwd ann --interactive=false";
    assert!(run(&cluster, changed).contains("Password updated"));
    for number in 1..=3 {
        until(
            &cluster,
            &format!("put $EP{number} {token}"),
            "invalid auth token",
        );
    }
    for member in &cluster.members {
        let printed = member.printed();
        assert!(
            !printed.contains(&token) && !printed.contains("apw"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn a_member_that_catches_up_by_a_snapshot_knows_the_users() {
    let Some(server) = headwater() else { return };
    let options = [CHEAP, "--snapshot-log-bytes=65536"];
    let mut cluster = Cluster::start(&server, 3, &options)
        .await
        .expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let away = (leader + 1) % 3;
    cluster.kill(away);
    assert!(run(&cluster, USERS).contains("Authentication Enabled"));
    let much = format!(
        "export ETCDCTL_ENDPOINTS=$EP{}; head -c 400000 /dev/zero | tr '\\0' x >big.$$
        for n in 1 2 3 4 5 6; do etcdctl --user root:rpw put big <big.$$; done; rm big.$$",
        leader + 1
    );
    assert_eq!(run(&cluster, &much).matches("OK").count(), 6);
    // Its log begins behind what the other has.
    let taken = format!(
        "curl --silent $EP{}/metrics | grep -E '^headwater_snapshot_index [1-9]'",
        leader + 1
    );
    until(&cluster, &taken, "headwater_snapshot_index");
    cluster.spawn(away).expect("a process");
    let read = |flags: &str| {
        format!(
            "ETCDCTL_ENDPOINTS=$EP{} etcdctl {flags} get big --keys-only",
            away + 1
        )
    };
    until(&cluster, &read("--user root:rpw"), "big");
    assert!(run(&cluster, &read("")).contains("user name is empty"));
    assert!(run(&cluster, &read("--user ann:apw")).contains("permission denied"));
    let hashes = "for e in $EP1 $EP2 $EP3; do T=$(token $e root rpw)
        curl --silent $e/v3/maintenance/hashkv -H \"Authorization: $T\" -d '{}' | sed 's/.*\"hash\"/hash/'; done";
    until(&cluster, &format!("{{ {hashes}; }} | sort -u | wc -l"), "1");
}

#[tokio::test]
async fn the_name_of_a_certificate_is_a_user_but_not_by_json() {
    let Some(server) = headwater() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display();
    let make = |flags: &str| {
        let mut command = Command::new(&server.program);
        command.arg("certs").arg("--dir").arg(folder.path());
        ok(command.args(flags.split(' ')));
    };
    make("--name server --host 127.0.0.1");
    make("--client root");
    make("--client ann");
    let file = |name: &str| format!("{dir}/{name}");
    let flags = [
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".to_owned(),
        CHEAP.to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let temporary = std::env::temp_dir();
    let mut cluster = Cluster::new(&server, 1, &temporary, &flags).expect("ports and a folder");
    cluster.members[0].client_scheme = "https";
    cluster.spawn(0).expect("a process");
    let by = |name: &str, command: &str| {
        let (cert, key) = (file(&format!("{name}.crt")), file(&format!("{name}.key")));
        format!("etcdctl --cacert {dir}/ca.crt --cert {cert} --key {key} {command}")
    };
    until(&cluster, &by("root", "put x 1"), "OK");
    let users = [
        "user add root --no-password",
        "user grant-role root root",
        "auth enable",
    ];
    for command in users {
        let made = run(&cluster, &by("root", command));
        assert!(!made.contains("Error"), "{made}");
    }
    assert!(run(&cluster, &by("root", "put x 2")).contains("OK"));
    let nobody = run(&cluster, &by("ann", "get x"));
    assert!(nobody.contains("permission denied"), "{nobody}");
    let added = [
        "user add ann:apw",
        "role add r",
        "role grant-permission r read x",
        "user grant-role ann r",
    ];
    for command in added {
        let made = run(&cluster, &by("root", command));
        assert!(!made.contains("Error"), "{made}");
    }
    assert!(run(&cluster, &by("ann", "get x")).contains('2'));
    assert!(run(&cluster, &by("ann", "put x 3")).contains("permission denied"));
    // A token goes before the certificate, and by JSON the certificate is nobody.
    assert!(run(&cluster, &by("root", "--user ann:apw put x 3")).contains("permission denied"));
    let json = format!(
        "curl --silent --cacert {dir}/ca.crt --cert {dir}/root.crt --key {dir}/root.key \
         $EP1/v3/kv/range -d '{{\"key\":\"eA==\"}}'"
    );
    assert!(run(&cluster, &json).contains("user name is empty"));
}

#[tokio::test]
async fn tokens_by_keys_end_with_a_change_and_are_checked_by_who_cannot_sign() {
    let Some(server) = headwater() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display();
    let keys = format!(
        "cd {dir} && openssl genrsa -out key.pem 2048 2>/dev/null && openssl rsa -in key.pem -pubout -out pub.pem 2>/dev/null"
    );
    ok(Command::new("sh").arg("-c").arg(keys));
    let signs = format!(
        "--auth-token=jwt,sign-method=RS256,pub-key={dir}/pub.pem,priv-key={dir}/key.pem,ttl=1m"
    );
    let checks = format!("--auth-token=jwt,sign-method=RS256,pub-key={dir}/pub.pem");
    let temporary = std::env::temp_dir();
    let mut cluster = Cluster::new(&server, 3, &temporary, &[CHEAP]).expect("ports and a folder");
    for number in 0..3 {
        let token = if number == 2 { &checks } else { &signs };
        let mut command = Command::new(&server.program);
        command.args(cluster.flags(number)).arg(token);
        cluster.spawn_command(number, command).expect("a process");
    }
    cluster.ready().await.expect("it serves");
    let made = run(&cluster, USERS);
    assert!(made.contains("Authentication Enabled"), "{made}");
    let token = run(&cluster, "token $EP1 ann apw").trim().to_owned();
    for number in 1..=3 {
        until(
            &cluster,
            &format!("put $EP{number} {token}"),
            "\"revision\"",
        );
    }
    let verify_only = run(&cluster, "token $EP3 ann apw");
    assert!(verify_only.contains("verify-only"), "{verify_only}");
    let changed = run(
        &cluster,
        "export ETCDCTL_ENDPOINTS=$EP1; etcdctl --user root:rpw role add more",
    );
    assert!(changed.contains("created"), "{changed}");
    let old = run(&cluster, &format!("put $EP1 {token}"));
    assert!(old.contains("revision of auth store is old"), "{old}");
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// A real etcd, with its tools.
fn rival() -> std::path::PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/rival.sh");
    let output = ok(Command::new("bash").arg(script));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// A server alone, on what a snapshot restored.
fn on(server: &Server, restore: impl FnOnce(&Cluster) -> Command) -> Cluster {
    let temporary = std::env::temp_dir();
    let mut cluster = Cluster::new(server, 1, &temporary, &[CHEAP]).expect("ports and a folder");
    ok(&mut restore(&cluster));
    cluster.spawn(0).expect("a process");
    cluster
}

#[tokio::test]
async fn a_snapshot_takes_users_to_an_etcd_and_back() {
    let Some(server) = headwater() else { return };
    let rival = rival();
    let etcd = Server::at(rival.join("etcd")).expect("an etcd");
    let folder = tempfile::tempdir().expect("a folder");
    let saved = |name: &str| folder.path().join(name);
    let save = |cluster: &Cluster, name: &str| {
        let to = saved(name);
        let save = format!(
            "ETCDCTL_ENDPOINTS=$EP1 etcdctl --user root:rpw snapshot save {}",
            to.display()
        );
        until(cluster, &save, "Snapshot saved");
        to
    };
    let place = |cluster: &Cluster, command: &mut Command| {
        let member = &cluster.members[0];
        command
            .arg(format!("--name={}", member.name))
            .arg(format!("--data-dir={}", member.data_dir.display()))
            .arg(format!(
                "--initial-advertise-peer-urls={}",
                member.peer_url()
            ))
            .arg(format!(
                "--initial-cluster={}={}",
                member.name,
                member.peer_url()
            ))
            .arg("--initial-cluster-token=black-box");
    };
    let check = |cluster: &Cluster| {
        until(cluster, "etcdctl --user ann:apw put a 1", "OK");
        assert!(run(cluster, "etcdctl get a").contains("user name is empty"));
        assert!(run(cluster, "etcdctl --user ann:apw get b").contains("permission denied"));
        assert!(run(cluster, "etcdctl --user ann:bad get a").contains("authentication failed"));
        let told = run(cluster, "etcdctl --user root:rpw role get a");
        assert!(told.contains("[a, b)"), "{told}");
    };
    let first = with_users(&server, &[CHEAP]).await;
    let file = save(&first, "ours");
    let of_etcd = on(&etcd, |cluster| {
        let mut command = Command::new(rival.join("etcdutl"));
        command.arg("snapshot").arg("restore").arg(&file);
        place(cluster, &mut command);
        command
    });
    check(&of_etcd);
    let file = save(&of_etcd, "etcds");
    let again = on(&server, |cluster| {
        let mut command = Command::new(&server.program);
        command.arg("snapshot").arg("restore").arg(&file);
        place(cluster, &mut command);
        command
    });
    check(&again);
}
