use std::sync::Arc;

use headwater_runtime::tls::PeerTls;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    SerialNumber,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::*;

/// What a member with this common name and host uses, of a CA that is the same for all.
fn member(issuer: &(Issuer<'static, KeyPair>, Vec<u8>), name: &str, allowed: Allowed) -> PeerTls {
    member_speaking(issuer, name, allowed, &Spoken::default())
}

fn member_speaking(
    issuer: &(Issuer<'static, KeyPair>, Vec<u8>),
    name: &str,
    allowed: Allowed,
    spoken: &Spoken,
) -> PeerTls {
    member_refusing(issuer, name, allowed, spoken, None)
}

/// The serial number of its certificate is its name.
fn member_refusing(
    issuer: &(Issuer<'static, KeyPair>, Vec<u8>),
    name: &str,
    allowed: Allowed,
    spoken: &Spoken,
    crl: Option<Vec<u8>>,
) -> PeerTls {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(name.as_bytes()));
    let key = KeyPair::generate().unwrap();
    let files = Files {
        prefix: "peer-",
        cert: "c".into(),
        key: "k".into(),
        ca: Some("a".into()),
        crl: crl.as_ref().map(|_| "r".into()),
        allowed,
    };
    let content = Content {
        cert: params
            .signed_by(&key, &issuer.0)
            .unwrap()
            .pem()
            .into_bytes(),
        key: key.serialize_pem().into_bytes(),
        ca: Some(issuer.1.clone()),
        crl,
    };
    for_peers(&files, &content, spoken).unwrap()
}

/// A CA, and its certificate in PEM.
pub fn authority() -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    (Issuer::new(params, key), pem)
}

/// The handshake of one that dials `name`; what the dialling and the accepting side say of it.
fn shake(dials: &PeerTls, accepts: &PeerTls, name: &str) -> Result<(), String> {
    cipher(dials, accepts, name).map(drop)
}

/// The same, and the cipher suite that they agree on.
fn cipher(dials: &PeerTls, accepts: &PeerTls, name: &str) -> Result<rustls::CipherSuite, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(&dials.client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&accepts.server)).unwrap();
    let text = |error| headwater_runtime::tls::explain(&std::io::Error::other(error));
    for _ in 0..5 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server
            .process_new_packets()
            .map_err(|error| format!("accepts: {}", text(error)))?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client
            .process_new_packets()
            .map_err(|error| format!("dials: {}", text(error)))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(client.negotiated_cipher_suite().unwrap().suite())
}

#[test]
fn members_of_one_ca_meet_and_others_do_not() {
    let ca = authority();
    let (a, b) = (
        member(&ca, "a", Allowed::Anyone),
        member(&ca, "b", Allowed::Anyone),
    );
    assert_eq!(shake(&a, &b, "b"), Ok(()));
    assert!(
        shake(&a, &b, "c").unwrap_err().contains("dials: "),
        "called by another name"
    );
    let stranger = member(&authority(), "b", Allowed::Anyone);
    let text = shake(&a, &stranger, "b").unwrap_err();
    assert!(text.contains("not trusted here"), "{text}");
}

#[test]
fn only_those_with_an_allowed_name_are_believed_on_either_side() {
    let ca = authority();
    for allowed in [Allowed::Names, Allowed::Hosts] {
        let allowed = allowed(vec!["x".to_owned(), "b".to_owned()]);
        let (a, b) = (member(&ca, "a", allowed), member(&ca, "b", Allowed::Anyone));
        assert_eq!(shake(&a, &b, "b"), Ok(()));
        assert_eq!(shake(&b, &a, "a"), Ok(()));
        let c = member(&ca, "c", Allowed::Anyone);
        let dials = shake(&a, &c, "c").unwrap_err();
        assert!(
            dials.starts_with("dials: ") && dials.contains("x, b"),
            "{dials}"
        );
        let accepts = shake(&c, &a, "a").unwrap_err();
        assert!(
            accepts.starts_with("accepts: ") && accepts.contains("x, b"),
            "{accepts}"
        );
    }
}

#[test]
fn a_revoked_certificate_is_refused_on_either_side() {
    let ca = authority();
    let list = revoked::tests::pem(&ca.0, &[b"b"]);
    for allowed in [
        Allowed::Anyone,
        Allowed::Names(vec!["b".to_owned(), "c".to_owned()]),
    ] {
        let a = member_refusing(&ca, "a", allowed, &Spoken::default(), Some(list.clone()));
        let (b, c) = (
            member(&ca, "b", Allowed::Anyone),
            member(&ca, "c", Allowed::Anyone),
        );
        assert_eq!(shake(&a, &c, "c"), Ok(()));
        assert_eq!(shake(&c, &a, "a"), Ok(()));
        assert_eq!(shake(&c, &b, "b"), Ok(()), "who has no list believes it");
        let text = "the other side's certificate has been revoked";
        for (side, shaken) in [
            ("dials", shake(&a, &b, "b")),
            ("accepts", shake(&b, &a, "a")),
        ] {
            let said = shaken.unwrap_err();
            assert!(said.starts_with(&format!("{side}: {text}")), "{said}");
        }
    }
}

#[test]
fn self_made_certificates_wrap_without_proving_anything() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name| SelfMade::load_or_make(dir.path(), name, &["h".to_owned()]).unwrap();
    let of = |made: &SelfMade| for_anyone(made.material().unwrap(), &Spoken::default()).unwrap();
    let (one, two) = (made("one"), made("two"));
    assert_eq!(shake(&of(&one), &of(&two), "anybody"), Ok(()));
    one.save().unwrap();
    let again = made("one").material().unwrap();
    assert_eq!(again.chain, one.material().unwrap().chain, "it is kept");
    assert_ne!(again.chain, two.material().unwrap().chain);
}

/// What flags like `--tls-min-version=TLS1.3` mean, and the warnings.
fn spoken(flags: &[&str]) -> anyhow::Result<(Spoken, Vec<String>)> {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mut warnings = Vec::new();
    let spoken = crate::cli::serve_args(&flags)?
        .spoken
        .spoken(&mut warnings)?;
    Ok((spoken, warnings))
}

#[test]
fn versions_and_cipher_suites_are_those_of_the_flags() {
    let ca = authority();
    let member = |flags: &[&str]| {
        let (spoken, _) = spoken(flags).unwrap();
        member_speaking(&ca, "a", Allowed::Anyone, &spoken)
    };
    let by_default = member(&[]);
    let old = member(&["--tls-max-version=TLS1.2"]);
    let new = member(&["--tls-min-version=TLS1.3"]);
    let chosen = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
    let one = member(&[&format!(
        "--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,{chosen}"
    )]);
    let agreed = |accepts| cipher(&old, accepts, "a").map(|suite| format!("{suite:?}"));
    assert_eq!(agreed(&one), Ok(format!("{chosen}_SHA256")));
    assert!(
        agreed(&by_default)
            .unwrap()
            .starts_with("TLS_ECDHE_ECDSA_WITH_AES_")
    );
    assert!(agreed(&new).is_err(), "TLS 1.2 is not spoken");
    assert_eq!(
        shake(&new, &one, "a"),
        Ok(()),
        "they choose for TLS 1.2 alone"
    );
    assert_eq!(shake(&by_default, &new, "a"), Ok(()));
}

#[test]
fn what_cannot_be_spoken_is_refused() {
    for (flags, part) in [
        (&["--tls-min-version=TLS1.1"][..], "none of TLS1.2, TLS1.3"),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "no TLS is left",
        ),
        (
            &[
                "--tls-min-version=TLS1.3",
                "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ],
            "leave one out",
        ),
        (
            &["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
            "there are TLS_ECDHE_",
        ),
    ] {
        let error = spoken(flags).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let list = "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA";
    let (_, warnings) = spoken(&[list]).unwrap();
    assert!(
        warnings[0].contains("TLS_RSA_WITH_AES_128_CBC_SHA are not spoken"),
        "{warnings:?}"
    );
    assert!(
        spoken(&["--cipher-suites=", "--tls-max-version="])
            .unwrap()
            .1
            .is_empty()
    );
}
