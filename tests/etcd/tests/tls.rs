//! TLS: who is let in, who is not, and that nothing is lost when certificates or leaders change.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::port::Port;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something may take that does not happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, unless it is etcd: the certificates here are made by Headwater.
fn headwater() -> Option<Server> {
    Server::unless_etcd("the certificates are made by headwater")
}

/// A CA of its own, and certificates by it.
struct Authority {
    folder: TempDir,
    program: PathBuf,
}

impl Authority {
    /// A CA with a certificate for servers on this machine, called `server`.
    fn new(server: &Server) -> Authority {
        let authority = Authority {
            folder: tempfile::tempdir().expect("a folder"),
            program: server.program.clone(),
        };
        let made = authority.make("--name server --host 127.0.0.1 --host localhost");
        assert!(made.contains("client.crt"), "{made}");
        authority
    }

    fn make(&self, flags: &str) -> String {
        let mut command = Command::new(&self.program);
        command.arg("certs").arg("--dir").arg(self.folder.path());
        let output = command.args(flags.split(' ')).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        assert!(output.status.success(), "{said}");
        said
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What a server needs for TLS with everybody.
    fn flags(&self) -> Vec<String> {
        let sides = ["", "peer-"].map(|side| {
            [
                format!("--{side}cert-file={}", self.file("server.crt")),
                format!("--{side}key-file={}", self.file("server.key")),
                format!("--{side}trusted-ca-file={}", self.file("ca.crt")),
                format!("--{side}client-cert-auth"),
            ]
        });
        sides.concat()
    }

    /// What makes etcdctl a client that is let in.
    fn client(&self) -> String {
        format!(
            "export ETCDCTL_CACERT={} ETCDCTL_CERT={} ETCDCTL_KEY={}\n",
            self.file("ca.crt"),
            self.file("client.crt"),
            self.file("client.key")
        )
    }

    /// Takes over all files of another one.
    fn become_another(&self, other: &Authority) {
        for name in ["ca.crt", "ca.key", "server.crt", "server.key"] {
            std::fs::copy(other.file(name), self.file(name)).expect("copied");
        }
    }
}

/// A cluster whose members all have these flags; it is not started.
fn laid_out(server: &Server, size: usize, flags: &[String]) -> Cluster {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let folder = std::env::temp_dir();
    let mut cluster = Cluster::new(server, size, &folder, &flags).expect("ports and a folder");
    for member in &mut cluster.members {
        (member.client_scheme, member.peer_scheme) = ("https", "https");
    }
    cluster
}

/// Runs `command` until what it prints has `part`; gives that back.
fn until(cluster: &Cluster, command: &str, part: &str) -> String {
    let begin = Instant::now();
    loop {
        let printed = shell(cluster, command).expect("a shell");
        if printed.contains(part) {
            return printed;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "no \"{part}\" by {command}: {printed}{}",
            said(cluster)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a member has printed `part`.
fn until_said(cluster: &Cluster, number: usize, part: &str) {
    let begin = Instant::now();
    while !cluster.members[number].printed().contains(part) {
        assert!(
            begin.elapsed() < PATIENCE,
            "no \"{part}\":{}",
            said(cluster)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn said(cluster: &Cluster) -> String {
    let all = cluster
        .members
        .iter()
        .map(|member| format!("\n{}:\n{}", member.name, member.printed()));
    all.collect()
}

fn start(cluster: &mut Cluster) {
    for number in 0..cluster.members.len() {
        cluster.spawn(number).expect("it starts");
    }
}

/// The member that leads, as the members say.
fn leader(cluster: &Cluster, client: &str) -> usize {
    let command = format!("{client} etcdctl endpoint status");
    let status = until(cluster, &command, ", true, false,");
    let line = status
        .lines()
        .find(|line| line.contains(", true, false,"))
        .expect("it has one");
    let leads = |number: &usize| line.starts_with(&cluster.members[*number].client_url());
    (0..cluster.members.len())
        .find(leads)
        .unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn three_members_and_their_clients_speak_nothing_but_tls() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let mut cluster = laid_out(&server, 3, &authority.flags());
    start(&mut cluster);
    let client = authority.client();
    let run = |cluster: &Cluster, command: &str| {
        shell(cluster, &format!("{client}{command}")).expect("a shell")
    };
    until(&cluster, &format!("{client}etcdctl put before yes"), "OK");
    for endpoint in ["$EP1", "$EP2", "$EP3"] {
        let got = run(
            &cluster,
            &format!("ETCDCTL_ENDPOINTS={endpoint} etcdctl get before --print-value-only"),
        );
        assert_eq!(got.trim(), "yes", "{}", said(&cluster));
    }
    let own = server.program.display();
    let nobody = format!(
        "ETCDCTL_CACERT={} {own} ctl put a b",
        authority.file("ca.crt")
    );
    let refused = shell(&cluster, &nobody).expect("a shell");
    assert!(refused.contains("--cert FILE --key FILE"), "{refused}");
    let healthy = run(&cluster, "etcdctl endpoint health");
    assert_eq!(healthy.matches("is healthy").count(), 3, "{healthy}");
    let members = run(&cluster, "etcdctl member list");
    assert_eq!(members.matches("started").count(), 3, "{members}");
    assert_eq!(members.matches("https://").count(), 6, "{members}");
    let page = run(
        &cluster,
        "curl -s --http1.1 --cacert $ETCDCTL_CACERT --cert $ETCDCTL_CERT --key $ETCDCTL_KEY $EP1/health",
    );
    assert!(page.contains("\"health\":\"true\""), "{page}");

    // Nothing is lost with a leader.
    let leads = leader(&cluster, &client);
    cluster.kill(leads);
    let others: Vec<String> = (1..=3)
        .filter(|n| n - 1 != leads)
        .map(|n| format!("$EP{n}"))
        .collect();
    let others = format!("{client}export ETCDCTL_ENDPOINTS={}\n", others.join(","));
    until(&cluster, &format!("{others}etcdctl put after yes"), "OK");
    cluster.spawn(leads).expect("it starts again");
    let here = format!("{client}ETCDCTL_ENDPOINTS=$EP{} etcdctl get", leads + 1);
    until(
        &cluster,
        &format!("{here} before --print-value-only"),
        "yes",
    );
    until(&cluster, &format!("{here} after --print-value-only"), "yes");
    let learnt = run(
        &cluster,
        "etcdctl endpoint hashkv | cut -d, -f2 | sort -u | wc -l",
    );
    assert_eq!(learnt.trim(), "1", "all members agree");
}

#[test]
fn who_has_no_certificate_of_the_ca_is_turned_away() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let mut cluster = laid_out(&server, 1, &authority.flags());
    start(&mut cluster);
    let client = authority.client();
    until(&cluster, &format!("{client}etcdctl put a b"), "OK");

    let refused = |client: &str| {
        let command = format!("{client}etcdctl --dial-timeout 1s --command-timeout 2s get a");
        let printed = shell(&cluster, &command).expect("a shell");
        assert!(printed.contains("[exit "), "{printed}");
    };
    refused(&format!("{client}unset ETCDCTL_CERT ETCDCTL_KEY\n"));
    until_said(&cluster, 0, "the other side shows no certificate");
    refused(&Authority::new(&server).client());
    // A certificate of another CA, whose holder believes the server.
    let stranger = Authority::new(&server);
    let believes = format!("export ETCDCTL_CACERT={}\n", authority.file("ca.crt"));
    refused(&format!("{}{believes}", stranger.client()));
    until_said(&cluster, 0, "is of a CA that is not trusted here");
    let got = shell(
        &cluster,
        &format!("{client}etcdctl get a --print-value-only"),
    );
    assert_eq!(got.expect("a shell").trim(), "b");

    // Without TLS: said once in a while, and to the client each time.
    let plain = "for _ in 1 2 3 4 5; do curl -s http://127.0.0.1:${EP1##*:}/health; done";
    let heard = shell(&cluster, plain).expect("a shell");
    assert_eq!(heard.matches("TLS is spoken here").count(), 5, "{heard}");
    let told = cluster.members[0]
        .printed()
        .matches("it speaks no TLS")
        .count();
    assert!((1..5).contains(&told), "{}", said(&cluster));
}

#[test]
fn a_client_with_tls_at_a_port_without_is_told_of() {
    let Some(server) = headwater() else { return };
    let mut cluster = laid_out(&server, 1, &[]);
    let member = &mut cluster.members[0];
    (member.client_scheme, member.peer_scheme) = ("http", "http");
    start(&mut cluster);
    until(&cluster, "etcdctl put a b", "OK");
    shell(&cluster, "curl -s -k https://127.0.0.1:${EP1##*:}/health").expect("a shell");
    until_said(&cluster, 0, "it speaks TLS, and this port does not");
}

#[test]
fn a_peer_of_another_ca_is_refused_until_its_certificate_is_replaced() {
    let Some(server) = headwater() else { return };
    let (authority, another) = (Authority::new(&server), Authority::new(&server));
    let mut cluster = laid_out(&server, 3, &authority.flags());
    cluster.spawn(0).expect("it starts");
    cluster.spawn(1).expect("it starts");
    let identity = cluster
        .flags(2)
        .into_iter()
        .filter(|flag| !flag.contains("-file="));
    let mut command = Command::new(&server.program);
    command.args(
        identity.chain(
            another
                .flags()
                .into_iter()
                .filter(|flag| flag.contains("-file=")),
        ),
    );
    cluster.spawn_command(2, command).expect("it starts");
    let client = authority.client();
    until(
        &cluster,
        &format!("{client}ETCDCTL_ENDPOINTS=$EP1 etcdctl put a b"),
        "OK",
    );
    until_said(&cluster, 2, "not trust");
    until_said(&cluster, 2, "no leader yet");
    let refused = cluster.members[..2]
        .iter()
        .any(|member| member.printed().contains("not trust"));
    assert!(refused, "{}", said(&cluster));

    another.become_another(&authority);
    let theirs = format!("{client}ETCDCTL_ENDPOINTS=$EP3 etcdctl get a --print-value-only");
    until(&cluster, &theirs, "b");
}

#[test]
fn certificates_and_cas_are_replaced_without_a_restart() {
    let Some(server) = headwater() else { return };
    let (authority, next) = (Authority::new(&server), Authority::new(&server));
    // The client's files stay as they are.
    let old = Authority::new(&server);
    old.become_another(&authority);
    let mut cluster = laid_out(&server, 1, &authority.flags());
    start(&mut cluster);
    let client = authority.client();
    until(&cluster, &format!("{client}etcdctl put a b"), "OK");

    std::fs::write(authority.file("server.crt"), "no certificate").expect("written");
    until_said(
        &cluster,
        0,
        "the new certificates are no good, the old ones go on",
    );
    let get = "etcdctl get a --print-value-only";
    until(&cluster, &format!("{client}{get}"), "b");

    authority.become_another(&next);
    until_said(&cluster, 0, "new connections use what the files hold now");
    until(&cluster, &format!("{}{get}", next.client()), "b");
    // The old client does not believe the server, and would not be believed.
    let believes = format!("export ETCDCTL_CACERT={}\n", next.file("ca.crt"));
    for client in [
        format!("{client}export ETCDCTL_CACERT={}\n", old.file("ca.crt")),
        client + &believes,
    ] {
        let command = format!("{client}etcdctl --dial-timeout 1s --command-timeout 2s get a");
        let printed = shell(&cluster, &command).expect("a shell");
        assert!(printed.contains("[exit "), "{printed}");
    }
}

#[test]
fn a_client_whose_certificate_is_revoked_is_turned_away_from_then_on() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    authority.make("--client alice");
    let mut flags = authority.flags();
    let list = authority.file("ca.crl");
    flags.extend(["client", "peer"].map(|side| format!("--{side}-crl-file={list}")));
    let mut cluster = laid_out(&server, 2, &flags);
    start(&mut cluster);
    let client = authority.client();
    let alice = client.replace("/client.", "/alice.");
    until(&cluster, &format!("{client}etcdctl put a b"), "OK");
    let get = "etcdctl --dial-timeout 1s --command-timeout 2s get a --print-value-only";
    until(&cluster, &format!("{alice}{get}"), "b");

    let said = authority.make("--revoke alice");
    assert!(said.contains("revoked"), "{said}");
    for number in 0..2 {
        until_said(
            &cluster,
            number,
            "new connections use what the files hold now",
        );
    }
    let refused = |cluster: &Cluster| {
        let printed = shell(cluster, &format!("{alice}{get}")).expect("a shell");
        assert!(printed.contains("[exit "), "{printed}");
    };
    refused(&cluster);
    until_said(&cluster, 0, "the other side's certificate has been revoked");
    until(&cluster, &format!("{client}{get}"), "b");

    // A list that is no good takes nothing back of what the old one said.
    std::fs::write(&list, "no list").expect("written");
    until_said(&cluster, 0, "the old ones go on: --client-crl-file");
    refused(&cluster);
    // Members go on, also with new connections.
    cluster.kill(1);
    std::fs::remove_file(&list).expect("removed");
    authority.make("--revoke alice");
    cluster.spawn(1).expect("it starts");
    until(&cluster, &format!("{client}{get}"), "b");
}

#[tokio::test]
async fn certificates_of_ones_own_are_kept_with_the_data() {
    let Some(server) = headwater() else { return };
    let flags = ["--auto-tls", "--peer-auto-tls"].map(str::to_owned);
    let mut cluster = laid_out(&server, 3, &flags);
    start(&mut cluster);
    let blind = "export ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true ETCDCTL_INSECURE_TRANSPORT=false\n";
    until(&cluster, &format!("{blind}etcdctl put a b"), "OK");
    let own = cluster.members[0].data_dir.join("tls/client.crt");
    let first = std::fs::read(&own).expect("it is kept");
    let by_own = format!(
        "ETCDCTL_ENDPOINTS=$EP1 etcdctl --cacert {} get a",
        own.display()
    );
    until(&cluster, &by_own, "b");
    assert_eq!(mode(&own.with_extension("key")), 0o600);
    cluster.terminate(0).await.expect("it leaves");
    cluster.spawn(0).expect("it starts");
    until(&cluster, &by_own, "b");
    assert_eq!(std::fs::read(&own).expect("it is kept"), first);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

#[test]
fn names_that_are_allowed_keep_others_out() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let mut flags = authority.flags();
    flags.push("--peer-cert-allowed-cn=server".to_owned());
    let mut cluster = laid_out(&server, 2, &flags);
    authority.make("--name other --host 127.0.0.1");
    let theirs = cluster.flags(1).into_iter().map(|flag| {
        let is_peer = flag.starts_with("--peer-");
        if is_peer {
            flag.replace("/server.", "/other.")
        } else {
            flag
        }
    });
    let mut command = Command::new(&server.program);
    command.args(theirs.collect::<Vec<_>>());
    cluster.spawn(0).expect("it starts");
    cluster.spawn_command(1, command).expect("it starts");
    until_said(
        &cluster,
        0,
        "the common name of the other side's certificate is \\\"other\\\", not server",
    );
    // With one it may have, it is a member like any other.
    cluster.kill(1);
    cluster.spawn(1).expect("it starts");
    until(
        &cluster,
        &format!("{}etcdctl put a b", authority.client()),
        "OK",
    );
}

#[test]
fn metrics_have_a_port_of_their_own() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let port = Port::reserve().expect("a port");
    let mut flags = authority.flags();
    flags.push(format!(
        "--listen-metrics-urls=http://127.0.0.1:{}",
        port.number
    ));
    let mut cluster = laid_out(&server, 1, &flags);
    start(&mut cluster);
    let url = format!("http://127.0.0.1:{}", port.number);
    until(
        &cluster,
        &format!("curl -s {url}/metrics"),
        "etcd_server_has_leader 1",
    );
    until(&cluster, &format!("curl -s {url}/health"), "true");
    let call =
        format!("ETCDCTL_ENDPOINTS={url} etcdctl --dial-timeout 1s --command-timeout 2s get a");
    let printed = shell(&cluster, &call).expect("a shell");
    assert!(printed.contains("[exit "), "{printed}");
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let Some(server) = headwater() else { return };
    let (authority, another) = (Authority::new(&server), Authority::new(&server));
    let with = |flag: &str, value: &str| {
        let flags = authority.flags().into_iter().map(|given| {
            let name = given.split('=').next().unwrap_or_default();
            if name == flag {
                format!("{flag}={value}")
            } else {
                given.clone()
            }
        });
        flags.collect::<Vec<_>>()
    };
    let no_list = format!("--client-crl-file={}", authority.file("ca.crt"));
    let cases = [
        (Vec::new(), "asks for TLS, which needs --cert-file"),
        (
            with("--cert-file", "/nowhere"),
            "--cert-file /nowhere: No such file",
        ),
        (
            with("--key-file", &another.file("server.key")),
            "not that of the certificate",
        ),
        (
            with("--key-file", &authority.file("ca.crt")),
            "holds no private key",
        ),
        (
            with("--peer-trusted-ca-file", &authority.file("ca.key")),
            "holds no certificate",
        ),
        (
            [authority.flags(), vec![no_list]].concat(),
            "holds no list of revoked certificates",
        ),
    ];
    for (flags, part) in cases {
        let cluster = laid_out(&server, 1, &flags);
        let mut command = Command::new(&server.program);
        let output = command.args(cluster.flags(0)).output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(part),
            "{flags:?}: {said}"
        );
        assert!(!cluster.members[0].data_dir.exists(), "nothing was begun");
    }
}

/// Starts a member with its own flags, but these in the place of those of the same name.
fn spawn_with(cluster: &mut Cluster, number: usize, flags: &[String]) {
    let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = flags.iter().map(|flag| name(flag)).collect();
    let own = cluster.flags(number).into_iter();
    let own = own.filter(|flag| !replaced.contains(&name(flag)));
    let mut command = Command::new(&cluster.server.program);
    command.args(own.chain(flags.iter().cloned()));
    cluster.spawn_command(number, command).expect("it starts");
}

#[test]
fn a_member_that_is_added_asks_for_its_place_over_tls() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let mut cluster = laid_out(&server, 1, &authority.flags());
    start(&mut cluster);
    let client = authority.client();
    until(&cluster, &format!("{client}etcdctl put a b"), "OK");
    let second = cluster.lay_out().expect("ports");
    let member = &mut cluster.members[second];
    (member.client_scheme, member.peer_scheme) = ("https", "https");
    let url = member.peer_url();
    let add = format!("{client}ETCDCTL_ENDPOINTS=$EP1 etcdctl member add m2 --peer-urls={url}");
    until(&cluster, &add, "added to cluster");
    spawn_with(
        &mut cluster,
        second,
        &["--initial-cluster-state=existing".to_owned()],
    );
    let theirs = format!("{client}ETCDCTL_ENDPOINTS=$EP2 etcdctl get a --print-value-only");
    until(&cluster, &theirs, "b");
}

#[tokio::test]
async fn a_cluster_goes_from_plain_to_tls_member_by_member() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let ports: Vec<_> = (0..3).map(|_| Port::reserve().expect("a port")).collect();
    let secured = ports
        .iter()
        .map(|port| format!("https://127.0.0.1:{}", port.number));
    let secured: Vec<String> = secured.collect();
    let flags = authority
        .flags()
        .into_iter()
        .filter(|flag| flag.starts_with("--peer-"));
    let mut cluster = laid_out(&server, 3, &flags.collect::<Vec<_>>());
    for member in &mut cluster.members {
        (member.client_scheme, member.peer_scheme) = ("http", "http");
    }
    for (number, secured) in secured.iter().enumerate() {
        let both = format!("{},{secured}", cluster.members[number].peer_url());
        spawn_with(
            &mut cluster,
            number,
            &[format!("--listen-peer-urls={both}")],
        );
    }
    until(&cluster, "etcdctl put a b", "OK");
    for (number, secured) in secured.iter().enumerate() {
        let plain = cluster.members[number].peer_url();
        let listed = shell(&cluster, "etcdctl member list").expect("a shell");
        let line = listed
            .lines()
            .find(|line| line.contains(&plain))
            .expect("it is a member");
        let id = line.split(',').next().expect("an id").to_owned();
        cluster.terminate(number).await.expect("it leaves");
        let asked = (number + 1) % 3 + 1;
        let update = format!(
            "ETCDCTL_ENDPOINTS=$EP{asked} etcdctl member update {id} --peer-urls={secured}"
        );
        until(&cluster, &update, "updated in cluster");
        let moved = [
            format!("--listen-peer-urls={plain},{secured}"),
            format!("--initial-advertise-peer-urls={secured}"),
            cluster
                .flags(number)
                .iter()
                .find(|flag| flag.starts_with("--initial-cluster="))
                .expect("it has one")
                .replace(&plain, secured),
            "--initial-cluster-state=existing".to_owned(),
        ];
        spawn_with(&mut cluster, number, &moved);
        let theirs = format!("ETCDCTL_ENDPOINTS=$EP{} etcdctl", number + 1);
        until(&cluster, &format!("{theirs} put a b{number}"), "OK");
        until(
            &cluster,
            &format!("{theirs} get a --print-value-only"),
            &format!("b{number}"),
        );
    }
    let listed = shell(&cluster, "etcdctl member list").expect("a shell");
    assert_eq!(listed.matches("https://").count(), 3, "{listed}");
    let dialled = said(&cluster).contains("address=\"tls://127.0.0.1:");
    assert!(
        dialled,
        "members dial each other by their new URLs:{}",
        said(&cluster)
    );
}

/// Such a client holds a connection, but no place among those that are let in one after the other.
#[tokio::test]
async fn clients_that_never_finish_their_hello_keep_no_other_out() {
    let Some(server) = headwater() else { return };
    let authority = Authority::new(&server);
    let mut cluster = laid_out(&server, 1, &authority.flags());
    start(&mut cluster);
    let put = format!("{}etcdctl put a b", authority.client());
    until(&cluster, &put, "OK");
    let port = cluster.members[0].client_port.number;
    let beginning = [0x16, 3, 1, 2, 0, 1];
    let mute: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            stream.write_all(&beginning).expect("it listens");
            stream
        })
        .collect();
    let begin = Instant::now();
    let printed = shell(&cluster, &put).expect("a shell");
    let took = begin.elapsed();
    println!(
        "measured: among 400 clients that do not finish their hello one is let in in {took:?}"
    );
    assert!(printed.contains("OK"), "{printed}{}", said(&cluster));
    assert!(took < Duration::from_secs(3), "it takes {took:?}");
    drop(mute);
}
