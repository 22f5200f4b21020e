use std::time::SystemTime;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

use super::*;

fn files() -> Files {
    Files {
        prefix: "peer-",
        cert: "c.pem".into(),
        key: "k.pem".into(),
        ca: None,
        crl: None,
        allowed: Allowed::Anyone,
    }
}

/// A certificate that `change` has a say in, and its key.
fn pair(change: impl FnOnce(&mut CertificateParams)) -> Content {
    let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Content {
        cert: params.self_signed(&key).unwrap().pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        ca: None,
        crl: None,
    }
}

fn complaint(content: &Content) -> String {
    format!(
        "{:#}",
        files().check(content).expect_err("should be refused")
    )
}

#[test]
fn a_certificate_and_its_key_are_taken() {
    let content = pair(|_| {});
    assert_eq!(files().check(&content).unwrap().chain.len(), 1);
    // One file may hold both.
    let both = [&content.cert[..], &content.key[..]].concat();
    let one_file = Content {
        cert: both.clone(),
        key: both,
        ca: None,
        crl: None,
    };
    files().check(&one_file).unwrap();
}

#[test]
fn what_is_no_good_is_named_with_its_flag_and_why() {
    let good = pair(|_| {});
    let text = complaint(&Content {
        key: pair(|_| {}).key,
        ..good.clone()
    });
    assert!(text.contains("not that of the certificate"), "{text}");
    assert!(text.contains("--peer-key-file k.pem"), "{text}");
    let text = complaint(&Content {
        cert: good.key.clone(),
        ..good.clone()
    });
    assert!(text.contains("--peer-cert-file c.pem"), "{text}");
    assert!(text.contains("holds no certificate"), "{text}");
    let text = complaint(&Content {
        key: good.cert.clone(),
        ..good.clone()
    });
    assert!(text.contains("holds no private key"), "{text}");
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                      -----END ENCRYPTED PRIVATE KEY-----\n";
    let text = complaint(&Content {
        key: encrypted.to_vec(),
        ..good.clone()
    });
    assert!(text.contains("encrypted"), "{text}");
    let cut = good.cert[..good.cert.len() / 2].to_vec();
    let text = complaint(&Content { cert: cut, ..good });
    assert!(text.contains("--peer-cert-file c.pem"), "{text}");
}

#[test]
fn a_certificate_is_good_between_its_dates() {
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let expired = pair(|params| {
        params.not_before = (SystemTime::now() - hours(2)).into();
        params.not_after = (SystemTime::now() - hours(1)).into();
    });
    assert!(complaint(&expired).contains("has expired, 1 h ago"));
    let early = pair(|params| params.not_before = (SystemTime::now() + hours(1)).into());
    assert!(complaint(&early).contains("clock"));
    let good = pair(|params| params.not_after = (SystemTime::now() + hours(2)).into());
    assert!(!files().ends_within(&good, hours(1)));
    assert!(files().ends_within(&good, hours(3)));
}

#[test]
fn a_member_cannot_dial_with_a_certificate_for_servers_alone() {
    let of = |usages: &[ExtendedKeyUsagePurpose]| {
        let content = pair(|params| params.extended_key_usages = usages.to_vec());
        let material = files().check(&content).unwrap();
        files()
            .check_dials(&material)
            .map_err(|error| error.to_string())
    };
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    assert_eq!(of(&[]), Ok(()));
    assert_eq!(of(&[ServerAuth, ClientAuth]), Ok(()));
    assert!(
        of(&[ServerAuth])
            .unwrap_err()
            .contains("client authentication")
    );
}
