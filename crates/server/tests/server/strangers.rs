//! A server whose flags begin a cluster, where its members should be and another cluster runs.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Port, Server, free_port, headwater, listen_flags, run};

/// A process that must not outlive its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn peer_url(ports: &[Port; 2]) -> String {
    format!("http://127.0.0.1:{}", ports[1].number)
}

/// The flags of a member of a cluster that begins.
fn flags(name: &str, ports: &[Port; 2], dir: &Path, cluster: &str) -> Vec<String> {
    let own = [
        format!("--name={name}"),
        format!("--data-dir={}", dir.display()),
        format!("--initial-advertise-peer-urls={}", peer_url(ports)),
        format!("--initial-cluster={cluster}"),
    ];
    own.into_iter().chain(listen_flags(ports)).collect()
}

#[test]
fn who_finds_another_cluster_says_so_and_begins_none_beside_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (of_a, of_b) = ([free_port(), free_port()], [free_port(), free_port()]);
    let (at_a, a_alone) = (peer_url(&of_a), format!("a={}", peer_url(&of_a)));
    let both = format!("{a_alone},b={}", peer_url(&of_b));
    let log = dir.path().join("b.log");
    let begun = headwater()
        .args(flags("b", &of_b, &dir.path().join("b"), &both))
        .stdin(Stdio::null())
        .stderr(File::create(&log).expect("a file"))
        .spawn();
    let begun = Ends(begun.expect("the program is there"));
    let mut alone = headwater();
    alone.args(flags("a", &of_a, &dir.path().join("a"), &a_alone));
    let _a = Server::run(alone, of_a);

    let wanted = format!("reach each other; a at {at_a} belongs to cluster ");
    let since = Instant::now();
    loop {
        let said = std::fs::read_to_string(&log).expect("a log");
        let mut lines = said.lines();
        if lines.any(|line| line.contains("no leader yet") && line.contains(&wanted)) {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{wanted}: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(begun);

    let blank = dir.path().join("blank");
    let again = flags("b", &of_b, &blank, &both);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let (status, _, text) = run(&again);
    assert_eq!(status.code(), Some(1), "{text}");
    let wanted = format!("headwater: a at {at_a} belongs to cluster ");
    assert!(text.contains(&wanted), "{text}");
    assert!(text.contains("--initial-cluster-state existing"), "{text}");
    assert!(!blank.exists(), "it has begun a cluster");
}
