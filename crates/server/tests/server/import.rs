//! What an etcd of another release leaves is taken over. One that runs is for the black-box tests.

use std::fs;

use crate::support::{Server, run};

/// Saved by `etcdctl snapshot save` of release 3.4.23 at an etcd of that release: keys written, deleted
/// and written again, compacted at revision 9; two leases, one with a key; root, and ann, whose role may
/// write keys from "k" to "l".
const OF_3_4: &[u8] = include_bytes!("etcd-3.4.23.db");

#[test]
fn a_snapshot_of_an_etcd_3_4_is_taken_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, data) = (dir.path().join("etcd.db"), dir.path().join("data"));
    fs::write(&file, OF_3_4).expect("written");
    let (file, into) = (file.display(), data.display());
    let (status, text, complaint) =
        run(&["import", &file.to_string(), &format!("--data-dir={into}")]);
    assert!(status.success(), "{complaint}");
    for part in [
        "revisions     9 to 26,",
        "keys          5 (22 versions)",
        "leases        2 (with 1 keys)",
        "users, roles  2, 1 (requests need rights)",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let server = Server::start(&data, &[]);
    let endpoint = format!("--endpoints=127.0.0.1:{}", server.port);
    let ask = |words: &[&str]| {
        let (_, said, complaint) = run(&[&["ctl", &endpoint], words].concat());
        said + &complaint
    };
    let ann = "--user=ann:apw";
    assert_eq!(ask(&[ann, "get", "key-e"]), "key-e\nvalue-4\n");
    assert_eq!(ask(&[ann, "get", "key-c", "--rev=20"]), "");
    assert_eq!(ask(&[ann, "get", "key-b", "--rev=16"]), "key-b\nvalue-3\n");
    assert_eq!(ask(&[ann, "put", "key-a", "again"]), "OK\n");
    assert!(ask(&[ann, "get", "leased"]).contains("permission denied"));
    let leases = ask(&["--user=root:rpw", "lease", "list"]);
    assert!(leases.contains("found 2 leases"), "{leases}");
}
