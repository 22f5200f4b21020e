use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};

use super::*;

type Ca = (Issuer<'static, KeyPair>, CertificateDer<'static>);

const HOUR: Duration = Duration::from_secs(3600);

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().der().clone();
    (Issuer::new(params, key), cert)
}

fn signed(ca: &Issuer<'_, KeyPair>, serial: &[u8]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial));
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, ca).unwrap().der().clone()
}

/// A list of these serial numbers that should be replaced at `until`.
pub fn list(
    ca: &Issuer<'_, KeyPair>,
    serials: &[&[u8]],
    until: SystemTime,
) -> rcgen::CertificateRevocationList {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: SystemTime::now().into(),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: (until - 2 * HOUR).into(),
        next_update: until.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap()
}

/// A list of these serial numbers in PEM, good for an hour.
pub fn pem(ca: &Issuer<'_, KeyPair>, serials: &[&[u8]]) -> Vec<u8> {
    let list = list(ca, serials, SystemTime::now() + HOUR);
    list.pem().unwrap().into_bytes()
}

fn complaint(bytes: &[u8], cas: &[CertificateDer<'_>]) -> String {
    let error = Revoked::from_file(bytes, cas).expect_err("should be refused");
    format!("{error:#}")
}

#[test]
fn what_a_list_names_is_refused_and_nothing_else() {
    let (issuer, cert) = ca("one");
    let revoked: [&[u8]; 2] = [&[7], &[0x91, 2]];
    let list = list(&issuer, &revoked, SystemTime::now() + HOUR);
    let is_revoked = |by: &Revoked, serial: &[u8]| match by.check(&signed(&issuer, serial)) {
        Ok(()) => false,
        Err(Error::InvalidCertificate(CertificateError::Revoked)) => true,
        Err(error) => panic!("{error}"),
    };
    for bytes in [list.pem().unwrap().into_bytes(), list.der().to_vec()] {
        let by = Revoked::from_file(&bytes, std::slice::from_ref(&cert)).unwrap();
        assert!(is_revoked(&by, &[7]) && is_revoked(&by, &[0x91, 2]));
        assert!(!is_revoked(&by, &[8]) && !is_revoked(&by, &[7, 7]));
    }
    let nobody = Revoked::from_file(&pem(&issuer, &[]), &[cert]).unwrap();
    assert!(!is_revoked(&nobody, &[7]));
}

#[test]
fn a_file_may_hold_the_lists_of_several_cas() {
    let (one, other, unknown) = (ca("one"), ca("other"), ca("unknown"));
    let all = [&one, &other, &unknown].map(|(issuer, _)| issuer);
    let lists = [(all[0], [1]), (all[1], [2]), (all[2], [3])];
    let bytes: Vec<u8> = lists
        .iter()
        .flat_map(|(issuer, serial)| pem(issuer, &[serial]))
        .collect();
    let by = Revoked::from_file(&bytes, &[one.1.clone(), other.1.clone()]).unwrap();
    for (issuer, serial) in lists {
        assert!(by.check(&signed(issuer, &serial)).is_err(), "{serial:?}");
    }
    assert_eq!(by.check(&signed(all[0], &[4])), Ok(()));
}

#[test]
fn what_is_no_list_or_damaged_or_of_another_ca_is_refused_with_why() {
    let (issuer, cert) = ca("one");
    let cas = &[cert];
    for nothing in [&b""[..], b"text", b"-----BEGIN CERTIFICATE-----\n"] {
        let text = complaint(nothing, cas);
        assert!(
            text.contains("it holds no list") || text.contains("neither PEM"),
            "{text}"
        );
    }
    let good = list(&issuer, &[&[7]], SystemTime::now() + HOUR);
    let der = good.der().to_vec();
    let cut = complaint(&der[..der.len() - 1], cas);
    assert!(cut.contains("damaged"), "{cut}");
    let longer = complaint(&[&der[..], b"x"].concat(), cas);
    assert!(longer.contains("damaged"), "{longer}");
    let place = der.windows(3).position(|bytes| bytes == [2, 1, 7]);
    let mut flipped = der.clone();
    flipped[place.expect("the serial number") + 2] = 8;
    let text = complaint(&flipped, cas);
    assert!(text.contains("CN=one is not signed"), "{text}");
    let (another, _) = ca("one");
    let text = complaint(&pem(&another, &[&[7]]), cas);
    assert!(text.contains("another CA's"), "{text}");
    let old = list(&issuer, &[], SystemTime::now() - 3 * HOUR);
    let text = late(old.der()).expect("it is three hours late");
    assert!(text.contains("should have been replaced 3 h ago"), "{text}");
    assert!(late(good.der()).is_none() && Revoked::from_file(old.der(), cas).is_ok());
}

/// While a CA gets a new key, there are two of its name.
#[test]
fn one_of_two_cas_of_one_name_is_enough() {
    let (old, new) = (ca("one"), ca("one"));
    let by = Revoked::from_file(&pem(&new.0, &[&[7]]), &[old.1, new.1]).unwrap();
    assert!(by.check(&signed(&old.0, &[7])).is_err());
    assert_eq!(by.check(&signed(&old.0, &[8])), Ok(()));
}
