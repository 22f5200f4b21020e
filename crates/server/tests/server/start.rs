//! How a server starts, what it says when it cannot, and how it ends.

use crate::support::{Server, free_port, headwater, listen_flags, run};
use std::path::Path;
use std::process::ExitStatus;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// How a server on ports of its own ends that must not run with these data, and what it says.
fn refused(data_dir: &Path, flags: &[&str]) -> (ExitStatus, String) {
    let ports = [free_port(), free_port()];
    let [client, peer] = listen_flags(&ports);
    let data_dir = format!("--data-dir={}", data_dir.display());
    let (status, _, text) = run(&[&[client.as_str(), &peer, &data_dir], flags].concat());
    (status, text)
}

#[test]
fn the_version_is_our_own_and_then_what_etcd_prints() {
    for spelling in ["--version", "-version", "version"] {
        let (status, text, _) = run(&[spelling]);
        assert!(status.success());
        let own = concat!("Headwater Version: ", env!("CARGO_PKG_VERSION"));
        assert!(text.starts_with(own), "{text}");
        assert!(text.contains("speaks etcd's API 3.6"), "{text}");
        assert!(text.contains("\netcd Version: 3.6."), "{text}");
    }
}

#[test]
fn the_help_shows_how_to_begin() {
    let (status, text, _) = run(&["--help"]);
    assert!(status.success());
    assert!(text.contains("headwater dev"), "{text}");
    let (_, text, _) = run(&["serve", "--help"]);
    for part in [
        "--initial-cluster",
        "ETCD_DATA_DIR",
        "--snapshot-log-bytes",
        "Examples:",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn a_server_asked_to_stop_stops_in_good_order() {
    for signal in ["TERM", "INT"] {
        let dir = dir();
        let mut server = Server::start(dir.path(), &[]);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "after SIG{signal}");
    }
}

#[test]
fn a_server_of_a_parent_ends_with_it() {
    let dir = dir();
    let mut server = Server::start(dir.path(), &["--exit-with-parent"]);
    server.end_input();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named_and_leaves_no_data_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let dir = dir();
    let data = dir.path().join("data");
    let url = format!("--listen-client-urls=http://127.0.0.1:{port}");
    let data_flag = format!("--data-dir={}", data.display());
    let (status, _, text) = run(&[&url, &data_flag]);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(text.contains("--listen-client-urls"), "{text}");
    assert!(!data.exists());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = dir();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("a file");
    let (status, text) = refused(&file, &[]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("Choose another --data-dir") && text.contains("a-file is a file"),
        "{text}"
    );
}

#[test]
fn a_directory_with_data_of_etcd_or_anyone_is_refused_and_left_as_it_is() {
    for (file, named) in [
        (
            "member/wal/0000000000000000-0000000000000000.wal",
            "etcd's data",
        ),
        ("thesis.tex", "thesis.tex"),
    ] {
        let dir = dir();
        let file = dir.path().join(file);
        std::fs::create_dir_all(file.parent().expect("it has one")).expect("made");
        std::fs::write(&file, "precious").expect("written");
        let (status, text) = refused(dir.path(), &[]);
        assert_eq!(status.code(), Some(1));
        let last = text.lines().last().expect("it says why");
        assert!(last.ends_with(". Choose another --data-dir"), "{text}");
        assert!(last.contains(named), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
        assert_eq!(std::fs::read(&file).expect("read"), b"precious");
    }
}

#[test]
fn data_of_another_cluster_are_refused() {
    let dir = dir();
    let mut server = Server::start(dir.path(), &[]);
    server.signal("TERM");
    server.wait();
    let (status, text) = refused(dir.path(), &["--initial-cluster-token=another"]);
    assert_eq!(status.code(), Some(1));
    let last = text.lines().last().expect("it says why");
    assert!(last.contains(": not this node's data: "), "{text}");
    for part in [
        "Check --name, --initial-cluster and --initial-cluster-token",
        "the directory belongs to node ",
        "this is node default (",
    ] {
        assert!(last.contains(part), "{text}");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = dir();
    let _server = Server::start(dir.path(), &[]);
    let (status, text) = refused(dir.path(), &[]);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("in use by another process"), "{text}");
}

#[test]
fn the_environment_is_heard_after_the_command_line_and_ours_before_etcds() {
    let url = |scheme: &str| format!("{scheme}://x:1");
    let said = |own: Option<&str>, flag: Option<&str>| {
        let mut command = headwater();
        command.env("ETCD_LISTEN_CLIENT_URLS", url("etcd"));
        own.map(|scheme| command.env("HEADWATER_LISTEN_CLIENT_URLS", url(scheme)));
        flag.map(|scheme| command.arg(format!("-listen-client-urls={}", url(scheme))));
        let output = command.output().expect("the program is there");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(said(None, None).contains("etcd://x:1"));
    assert!(said(Some("own"), None).contains("own://x:1"));
    assert!(said(Some("own"), Some("flag")).contains("flag://x:1"));
}

#[test]
fn a_flag_of_etcds_that_would_be_missed_is_refused() {
    let (status, _, text) = run(&["--host-whitelist", "a.example"]);
    assert_eq!(status.code(), Some(2));
    assert!(
        text.contains("--host-whitelist: host whitelists are not built in"),
        "{text}"
    );
}

#[test]
fn all_mistakes_in_settings_are_complained_of_alike() {
    for (arguments, part) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--heartbeat-interval", "word"], "word"),
        (&["--log-level", "loud"], "error, warn, info"),
        (&["--name", "a,b"], "must not contain"),
        (&["--cert-file", "server.pem"], "--key-file"),
        (&["server"], "did you mean \"serve\"?"),
        (
            &["bogus"],
            "dev, sim, certs, disk, snapshot, completion, man, version, ctl, import",
        ),
        (&["dev", "--nodes", "0"], "--nodes"),
    ] {
        let (status, out, text) = run(arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert!(text.starts_with("headwater: "), "{text}");
        assert!(text.contains(part), "{text}");
        assert_eq!(out, "");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_warned_of() {
    let mut command = headwater();
    command.env("ETCD_DATADIR", "/d").env("ETCD_NAME", "n");
    let dir = dir();
    // So that it ends at once.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    command
        .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
        .arg(format!("--data-dir={}", dir.path().display()));
    let output = command.output().expect("the program is there");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    let warnings: Vec<&str> = text.lines().filter(|l| l.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{text}");
    assert!(
        warnings[0]
            .contains("ETCD_DATADIR is no setting and is ignored; did you mean ETCD_DATA_DIR?"),
        "{text}"
    );
}

#[test]
fn the_log_tells_who_leads() {
    let dir = dir();
    let server = Server::start(dir.path(), &["--name=solo"]);
    let told = server
        .said
        .iter()
        .filter(|line| line.contains("leads in term 1"));
    let told: Vec<&String> = told.collect();
    assert_eq!(told.len(), 1, "{:?}", server.said);
    assert!(told[0].contains("node=solo ("), "{told:?}");
}

#[test]
fn the_pages_answer_over_plain_http() {
    let dir = dir();
    let server = Server::start(dir.path(), &[]);
    let health = server.http("GET", "/health");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(
        health.ends_with(r#"{"health":"true","reason":""}"#),
        "{health}"
    );
    assert!(server.http("POST", "/health").starts_with("HTTP/1.1 405"));
    assert!(
        server
            .http("GET", "/version")
            .contains(r#""etcdserver":"3.6."#)
    );
    assert!(server.http("GET", "/readyz").ends_with("ok\n"));
    let verbose = server.http("GET", "/readyz?verbose");
    assert!(verbose.contains("[+]linearizable_read ok"), "{verbose}");
    let metrics = server.http("GET", "/metrics");
    assert!(
        metrics.contains("\netcd_server_has_leader 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("process_resident_memory_bytes "),
        "{metrics}"
    );
    assert!(
        server
            .http("GET", "/no-such-page")
            .starts_with("HTTP/1.1 404")
    );
    let old = server.http("GET", "/v2/keys/");
    assert!(old.starts_with("HTTP/1.1 404"), "{old}");
    assert!(old.contains("v2 API is not served"), "{old}");
}

#[test]
fn metrics_come_in_openmetrics_only_when_asked_for() {
    let dir = dir();
    let server = Server::start(dir.path(), &[]);
    let plain = server.http("GET", "/metrics");
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4"),
        "{plain}"
    );
    assert!(plain.contains("\n# TYPE etcd_server_leader_changes_seen_total counter\n"));
    assert!(!plain.contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let open = server.http_accepting("GET", "/metrics", accept);
    assert!(
        open.contains("content-type: application/openmetrics-text"),
        "{open}"
    );
    assert!(open.contains("\n# TYPE etcd_server_leader_changes_seen counter\n"));
    assert!(open.ends_with("# EOF\n"), "{open}");
}
