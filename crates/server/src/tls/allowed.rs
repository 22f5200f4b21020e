//! Whose certificates are enough, beside that a CA has signed them.
//! Never looks at signatures: that is for the libraries.
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
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::parse_x509_certificate;

use super::Revoked;

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

/// What is demanded of others' certificates, beside that a CA has signed them.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Whose they are.
    pub allowed: Allowed,
    /// Those that have been taken back.
    pub revoked: Arc<Revoked>,
}

impl Demands {
    /// Adds this to what `inner` demands of those that dial.
    pub fn of_clients(self, inner: OfClients) -> OfClients {
        Arc::new(Clients(inner, self))
    }

    /// Adds this to what `inner` demands of those that are dialled.
    pub fn of_servers(self, inner: OfServers) -> OfServers {
        Arc::new(Servers(inner, self))
    }

    /// Whether a certificate is enough that is known to be genuine, and comes with these others.
    fn check(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        self.revoked.check(leaf)?;
        others.iter().try_for_each(|one| self.revoked.check(one))?;
        self.allowed.check(leaf)
    }
}

/// The common name in a certificate's subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    String::from_utf8(name.as_slice().to_vec()).ok()
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
struct Clients(OfClients, Demands);

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
        self.1.check(end_entity, intermediates)?;
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
struct Servers(OfServers, Demands);

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
        self.1.check(end_entity, intermediates)?;
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
}
