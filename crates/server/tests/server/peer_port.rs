//! What clients hear that have come to the port for peers.

use crate::support::{Server, http_at, run};

#[test]
fn a_client_at_the_port_for_peers_is_told_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), &[]);
    let page = http_at(server.peer_port, "GET", "/health", "*/*");
    assert!(page.starts_with("HTTP/1.1 421 "), "{page}");
    assert!(page.contains("for the members of the cluster"), "{page}");
    let endpoint = format!("--endpoints=127.0.0.1:{}", server.peer_port);
    for command in [
        &["put", "k", "v"][..],
        &["get", "k"],
        &["endpoint", "status"],
    ] {
        for _ in 0..5 {
            let (status, said, text) = run(&[&["ctl", &endpoint], command].concat());
            assert!(!status.success());
            let text = said + &text;
            assert!(text.contains("for the members among themselves"), "{text}");
            assert!(!text.contains("may have been carried out"), "{text}");
        }
    }
    // It is there for whom it is meant.
    let page = http_at(server.port, "GET", "/health", "*/*");
    assert!(page.contains("true"), "{page}");
}
