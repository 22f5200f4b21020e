use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio::time::timeout;

use super::*;
use crate::tls::Allowed;
use crate::tls::revoked::tests::list;
use crate::tls::tests::authority;

type Ca = Issuer<'static, KeyPair>;

const SECOND: Duration = Duration::from_secs(1);

fn renew(directory: &Path, ca: &Ca) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = params.signed_by(&key, ca).unwrap().pem();
    fs::write(directory.join("cert"), cert).unwrap();
    fs::write(directory.join("key"), key.serialize_pem()).unwrap();
}

fn write_list(directory: &Path, ca: &Ca, until: SystemTime) {
    let list = list(ca, &[], until).pem().unwrap();
    fs::write(directory.join("crl"), list).unwrap();
}

#[tokio::test]
async fn a_list_that_comes_of_age_keeps_no_renewed_certificate_out_and_ends_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (ca, ca_pem) = authority();
    fs::write(directory.join("ca"), ca_pem).unwrap();
    renew(directory, &ca);
    write_list(directory, &ca, SystemTime::now() + 2 * SECOND);
    let files = Files {
        prefix: "",
        cert: directory.join("cert"),
        key: directory.join("key"),
        ca: Some(directory.join("ca")),
        crl: Some(directory.join("crl")),
        allowed: Allowed::Anyone,
    };
    let make = |files: &Files, content: &Content| {
        files.check(content)?;
        Ok(content.clone())
    };
    let mut used = keep(&files, make).unwrap();
    tokio::time::sleep(3 * SECOND).await;
    let error = keep(&files, make).err().expect("the list is late");
    assert!(error.to_string().contains("should have been replaced"));
    renew(directory, &ca);
    let changed = timeout(20 * SECOND, used.changed()).await;
    changed.expect("the certificate is taken").unwrap();
    let now = used.borrow().cert.clone();
    assert_eq!(now, fs::read(directory.join("cert")).unwrap());
    // But no other list that is late.
    write_list(directory, &ca, SystemTime::now());
    let changed = timeout(4 * SECOND, used.changed()).await;
    assert!(changed.is_err(), "the list is late");
}
