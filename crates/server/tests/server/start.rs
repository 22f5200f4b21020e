//! How a server starts, what it says when it cannot, and how it ends.

use crate::support::{Server, free_port, headwater, run};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn the_version_is_printed_as_etcd_prints_it() {
    for spelling in ["--version", "-version", "version"] {
        let (status, text, _) = run(&[spelling]);
        assert!(status.success());
        let first = text.lines().next().expect("it says something");
        assert!(first.starts_with("etcd Version: 3.6."), "{text}");
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
        "--snapshot-count",
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
    let url = format!("--listen-client-urls=http://127.0.0.1:{}", free_port());
    let (status, _, text) = run(&[&url, "--data-dir", &file.display().to_string()]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("a-file") && text.contains("--data-dir"),
        "{text}"
    );
}

#[test]
fn data_of_another_cluster_are_refused() {
    let dir = dir();
    let mut server = Server::start(dir.path(), &[]);
    server.signal("TERM");
    server.wait();
    let url = format!("--listen-client-urls=http://127.0.0.1:{}", free_port());
    let data_flag = format!("--data-dir={}", dir.path().display());
    let (status, _, text) = run(&[&url, &data_flag, "--initial-cluster-token=another"]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("belongs to another member or cluster"),
        "{text}"
    );
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = dir();
    let _server = Server::start(dir.path(), &[]);
    let url = format!("--listen-client-urls=http://127.0.0.1:{}", free_port());
    let (status, _, text) = run(&[&url, &format!("--data-dir={}", dir.path().display())]);
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
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(said(None, None).contains("etcd://x:1"));
    assert!(said(Some("own"), None).contains("own://x:1"));
    assert!(said(Some("own"), Some("flag")).contains("flag://x:1"));
}

#[test]
fn a_flag_of_etcds_that_would_be_missed_is_refused() {
    let (status, _, text) = run(&["--cert-file", "server.pem"]);
    assert_eq!(status.code(), Some(2));
    assert!(text.contains("TLS"), "{text}");
    let (status, _, text) = run(&["--no-such-flag"]);
    assert_eq!(status.code(), Some(2));
    assert!(text.contains("--no-such-flag"), "{text}");
    let (status, _, text) = run(&["--log-level", "loud"]);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("error, warn, info"), "{text}");
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
}
