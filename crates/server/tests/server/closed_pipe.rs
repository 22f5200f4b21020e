//! Whoever reads what a command prints may leave before it is printed: `headwater version | true`.

use std::process::{Command, Stdio};

use crate::support::headwater;

/// The exit code and the complaints of a command whose output nobody reads.
fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program is there");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), complaint)
}

#[test]
fn a_command_that_nobody_reads_does_its_work_without_a_word() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().to_str().expect("a name in UTF-8");
    let (keys, pages) = (format!("{dir}/keys"), format!("{dir}/pages"));
    let snapshot = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/etcd-3.4.23.db");
    let commands = [
        vec!["--version"],
        vec!["version"],
        vec!["--help"],
        vec!["completion", "bash"],
        vec!["sim", "--seed", "1", "--dump"],
        vec!["man", &pages],
        vec!["certs", "--dir", &keys, "--name", "n1", "--host", "::1"],
    ];
    for arguments in commands {
        let ended = unread(headwater().args(&arguments));
        assert_eq!(ended, (Some(0), String::new()), "{arguments:?}");
    }
    assert!(std::fs::exists(format!("{keys}/n1.crt")).expect("a look"));
    let (code, said) = unread(headwater().args(["snapshot", "status", snapshot]));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
