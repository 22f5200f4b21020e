//! Whose certificates are enough, beside that a CA has signed them.
//! Never looks at signatures: that is for the library.
//!
//! # Source
//! etcd's `--peer-cert-allowed-cn`, `--peer-cert-allowed-hostname`, `--client-cert-allowed-hostname`
//! and `--peer-auto-tls`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

/// The number of the common name among the parts of a subject, 2.5.4.3, in DER.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// A judge of the certificates of those that accept.
pub type OfServers = Arc<dyn ServerCertVerifier>;

/// A judge of the certificates of those that dial.
pub type OfClients = Arc<dyn ClientCertVerifier>;

/// Who may connect, of those whom a CA vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// All of them.
    Anyone,
    /// Those with one of these common names.
    Names(Vec<String>),
    /// Those who may call themselves by one of these host names.
    Hosts(Vec<String>),
}

impl Allowed {
    /// From lists of which at most one is not empty.
    pub fn from_lists(names: Vec<String>, hosts: Vec<String>) -> Self {
        match (names.is_empty(), hosts.is_empty()) {
            (true, true) => Self::Anyone,
            (false, _) => Self::Names(names),
            (true, false) => Self::Hosts(hosts),
        }
    }

    /// Adds this to what `inner` demands of those that dial.
    pub fn of_clients(&self, inner: OfClients) -> OfClients {
        match self {
            Self::Anyone => inner,
            _ => Arc::new(Clients(inner, self.clone())),
        }
    }

    /// Adds this to what `inner` demands of those that are dialled.
    pub fn of_servers(&self, inner: OfServers) -> OfServers {
        match self {
            Self::Anyone => inner,
            _ => Arc::new(Servers(inner, self.clone())),
        }
    }

    /// Whether this certificate, which is known to be genuine, is enough.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match self {
            Self::Anyone => Ok(()),
            Self::Names(names) => {
                let found = common_name(certificate).unwrap_or_default();
                if names.contains(&found) {
                    return Ok(());
                }
                let names = names.join(", ");
                Err(refused(format!(
                    "the common name of the other side's certificate is \"{found}\", not {names}"
                )))
            }
            Self::Hosts(hosts) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                let fits = |host: &String| {
                    let name = ServerName::try_from(host.as_str());
                    name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
                };
                if hosts.iter().any(fits) {
                    return Ok(());
                }
                let hosts = hosts.join(", ");
                Err(refused(format!(
                    "the other side's certificate is not for the host {hosts}"
                )))
            }
        }
    }
}

/// The common name in a certificate's subject, which the library hands out as it stands there.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let mut sets = roots.roots.first()?.subject.as_ref();
    while let Some((mut pairs, others)) = element(sets) {
        sets = others;
        while let Some((pair, others)) = element(pairs) {
            pairs = others;
            let (name, value) = element(pair)?;
            if name == COMMON_NAME {
                let (text, _) = element(value)?;
                return String::from_utf8(text.to_vec()).ok();
            }
        }
    }
    None
}

/// What the first element in these bytes of DER holds, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn refused(why: String) -> Error {
    let why = OtherError(Arc::new(std::io::Error::other(why)));
    Error::InvalidCertificate(CertificateError::Other(why))
}

/// Believes every certificate; only that its key is there is seen to.
pub fn anyone(provider: Arc<CryptoProvider>) -> OfServers {
    Arc::new(Anyone(provider))
}

#[derive(Debug)]
struct Clients(OfClients, Allowed);

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        self.1.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Servers(OfServers, Allowed);

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let inner = &self.0;
        let verified =
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.1.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn the_common_name_is_found_among_others() {
        let of = |parts: &[(DnType, &str)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let key = KeyPair::generate().unwrap();
            common_name(params.self_signed(&key).unwrap().der())
        };
        let long = "x".repeat(300);
        let parts = [
            (DnType::OrganizationName, long.as_str()),
            (DnType::CommonName, "n1"),
        ];
        assert_eq!(of(&parts).as_deref(), Some("n1"));
        assert_eq!(of(&[(DnType::CommonName, &long)]), Some(long));
        assert_eq!(of(&[(DnType::OrganizationName, "n1")]), None);
    }

    #[test]
    fn der_that_ends_too_early_holds_nothing() {
        for der in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x82, 1],
            &[4, 0x83, 0, 0, 0],
            &[4, 0x80],
        ] {
            assert_eq!(element(der), None, "{der:?}");
        }
        assert_eq!(element(&[4, 1, 7, 9]), Some((&[7][..], &[9][..])));
    }
}
