//! `headwater certs`: what it makes, and what it leaves alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use x509_parser::parse_x509_crl;
use x509_parser::pem::parse_x509_pem;

use crate::support::run;

fn certs(dir: &Path, flags: &str) -> (Option<i32>, String) {
    let dir = dir.to_str().expect("a name in UTF-8");
    let flags = flags.split_whitespace();
    let arguments: Vec<&str> = ["certs", "--dir", dir].into_iter().chain(flags).collect();
    let (status, said, complaint) = run(&arguments);
    (status.code(), said + &complaint)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn a_ca_is_made_once_and_used_from_then_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let (code, said) = certs(dir, "--name n1 --host localhost --host 10.0.0.1");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the server n1 at localhost, 10.0.0.1"),
        "{said}"
    );
    assert!(said.contains("--peer-trusted-ca-file"), "{said}");
    let ca = fs::read(dir.join("ca.crt")).expect("it is there");
    let (code, said) = certs(dir, "--name n2 --host localhost --client alice");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read(dir.join("ca.crt")).expect("it is there"), ca);
    let pairs = ["alice", "ca", "client", "n1", "n2"].map(|name| {
        let key = fs::metadata(dir.join(format!("{name}.key"))).expect("a key");
        assert_eq!(key.permissions().mode() & 0o777, 0o600, "{name}");
        [format!("{name}.crt"), format!("{name}.key")]
    });
    let mut expected = pairs.concat();
    expected.insert(3, "ca.crl".to_owned());
    expected.sort();
    assert_eq!(names(dir), expected);
}

#[test]
fn what_is_there_is_replaced_only_if_that_is_wanted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let again = "--name n1 --host localhost";
    assert_eq!(certs(dir, again).0, Some(0));
    let cert = || fs::read(dir.join("n1.crt")).expect("it is there");
    let first = cert();
    let (code, said) = certs(dir, again);
    assert_eq!(code, Some(1));
    assert!(said.contains("--renew replaces it"), "{said}");
    assert_eq!(cert(), first);
    assert_eq!(certs(dir, "--name n1 --host localhost --renew").0, Some(0));
    assert_ne!(cert(), first);
}

#[test]
fn the_list_of_what_is_revoked_grows() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let list = || {
        let file = fs::read(dir.join("ca.crl")).expect("it is there");
        let (_, pem) = parse_x509_pem(&file).expect("PEM");
        let (_, list) = parse_x509_crl(&pem.contents).expect("a list");
        list.iter_revoked_certificates().count()
    };
    assert_eq!(certs(dir, "--client alice").0, Some(0));
    assert_eq!(list(), 0);
    let (code, said) = certs(dir, "--revoke alice");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("alice.crt: it is in"), "{said}");
    assert_eq!(list(), 1);
    // Who gets a new certificate for the old one is let in again.
    let renewed = "--revoke client --client client --renew";
    assert_eq!(certs(dir, renewed).0, Some(0));
    assert_eq!(list(), 2);
    assert_eq!(certs(dir, "--revoke alice").0, Some(0));
    assert_eq!(list(), 2, "it is in the list already");
    let (code, said) = certs(dir, "--revoke nobody");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody.crt: No such file"), "{said}");
}

#[test]
fn a_ca_whose_key_is_not_there_signs_nothing() {
    let (one, two) = (tempfile::tempdir(), tempfile::tempdir());
    let (one, two) = (one.expect("a directory"), two.expect("a directory"));
    for dir in [&one, &two] {
        assert_eq!(certs(dir.path(), "").0, Some(0));
    }
    fs::copy(one.path().join("ca.crt"), two.path().join("ca.crt")).expect("copied");
    let (code, said) = certs(two.path(), "--client bob");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ca.key is not its key"), "{said}");
    assert!(!two.path().join("bob.crt").exists());
    let (code, said) = certs(two.path(), "--revoke client");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not signed by the CA"), "{said}");
}
