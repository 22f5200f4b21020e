use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, SerialNumber,
};
use tokio::time::timeout;

use super::*;
use crate::tls::Allowed;

type Ca = Issuer<'static, KeyPair>;

const SECOND: Duration = Duration::from_secs(1);

fn renew(directory: &Path, ca: &Ca) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = params.signed_by(&key, ca).unwrap().pem();
    fs::write(directory.join("cert"), cert).unwrap();
    fs::write(directory.join("key"), key.serialize_pem()).unwrap();
}

fn write_list(directory: &Path, ca: &Ca, good_for: Duration) {
    let now = std::time::SystemTime::now();
    let list = CertificateRevocationListParams {
        this_update: (now - 60 * SECOND).into(),
        next_update: (now + good_for).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(ca).unwrap().pem().unwrap();
    fs::write(directory.join("crl"), list).unwrap();
}

#[tokio::test]
async fn a_list_that_comes_of_age_keeps_no_renewed_certificate_out_and_ends_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(
        directory.join("ca"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    let ca = Issuer::new(params, key);
    renew(directory, &ca);
    write_list(directory, &ca, 2 * SECOND);
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
    write_list(directory, &ca, Duration::ZERO);
    let changed = timeout(4 * SECOND, used.changed()).await;
    assert!(changed.is_err(), "the list is late");
}
