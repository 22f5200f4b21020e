//! `headwater disk`: what it tells of a directory, and what its exit status says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Server, run};

/// The directory of a server that made itself known, and stopped.
fn used() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::start(dir.path(), &[]);
    server.signal("TERM");
    assert!(server.wait().success());
    dir
}

fn disk(deed: &str, dir: &Path, flags: &[&str]) -> (i32, String, String) {
    let dir = dir.to_str().expect("a name in UTF-8");
    let (status, text, complaint) = run(&[&["disk", deed, dir], flags].concat());
    (status.code().expect("it ends by itself"), text, complaint)
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            all.push((path, bytes));
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn a_whole_directory_is_told_and_left_alone() {
    let dir = used();
    let before = contents(dir.path());
    let (code, text, _) = disk("inspect", dir.path(), &[]);
    assert_eq!(code, 0);
    for part in [
        "cluster ",
        "member    default (",
        "voted for default (",
        "members   default (",
        "holds     revision 1, 0 keys, with all entries up to ",
        "wal/0000000000000001.wal",
        "\nwhole\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let (code, text, _) = disk("inspect", dir.path(), &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, 0);
    assert!(told["log"]["entries"].as_u64() > Some(1), "{text}");
    assert_eq!(told["log"]["voters"][0], told["member"]);
    assert_eq!(told["refused"], serde_json::Value::Null);
    let member = told["member"].as_str().expect("an id");
    assert_eq!(told["holds"]["names"][member], "default");
    assert_eq!(told["holds"]["revision"], 1);
    assert_eq!(told["holds"]["keys"], 0);
    assert_eq!(told["holds"]["upto"], told["log"]["last"]);
    let (code, text, _) = disk("verify", dir.path(), &[]);
    assert_eq!((code, text.as_str()), (0, "whole\n"));
    assert_eq!(before, contents(dir.path()));
}

#[test]
fn damage_is_named_and_refused() {
    let dir = used();
    let segment = dir.path().join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&segment).expect("a segment");
    // The head stands twice: one alone is made good by the other.
    bytes[20] ^= 1;
    fs::write(&segment, &bytes).expect("it can be written");
    let (code, text, _) = disk("verify", dir.path(), &[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("a copy of the segment's head"), "{text}");
    bytes[1024 + 20] ^= 1;
    fs::write(&segment, &bytes).expect("it can be written");
    let (code, text, _) = disk("verify", dir.path(), &[]);
    assert_eq!(code, 1);
    assert!(
        text.starts_with("refused: damaged: wal/0000000000000001.wal"),
        "{text}"
    );
    let (code, text, _) = disk("inspect", dir.path(), &[]);
    assert_eq!(code, 0);
    assert!(text.contains("refused: damaged:"), "{text}");
}

#[test]
fn what_is_no_data_of_a_stopped_server_is_said_to_be_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (code, _, complaint) = disk("verify", &dir.path().join("nowhere"), &[]);
    assert_eq!(code, 1);
    assert!(complaint.contains("no such directory"), "{complaint}");
    let (code, _, complaint) = disk("verify", dir.path(), &[]);
    assert_eq!(code, 1);
    assert!(complaint.contains("holds no data"), "{complaint}");
    fs::write(dir.path().join("letter"), "dear").expect("it can be written");
    let (code, _, complaint) = disk("inspect", dir.path(), &[]);
    assert_eq!(code, 1);
    assert!(complaint.contains("it holds letter"), "{complaint}");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let _server = Server::start(dir.path(), &[]);
    let (code, _, complaint) = disk("inspect", dir.path(), &[]);
    assert_eq!(code, 1);
    assert!(complaint.contains("in use by a server"), "{complaint}");
}
