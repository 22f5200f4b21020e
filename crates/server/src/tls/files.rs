//! Certificates and keys in files: read, understood, and judged before anyone else does.
//! Never makes connections, and keeps nothing.
//!
//! # Source
//! RFC 7468 (PEM), RFC 5280 (certificates).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::revoked::{self, Revoked};
use super::{Allowed, provider};

const BROKEN: &str = "it holds a broken certificate";

/// Files that belong together, and who may connect by them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// What the names of their flags begin with.
    pub prefix: &'static str,
    /// The certificate, and those between it and the CA.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CAs that others' certificates must come from, if they must have one.
    pub ca: Option<PathBuf>,
    /// Lists of those that are not believed any more.
    pub crl: Option<PathBuf>,
    /// Who may connect.
    pub allowed: Allowed,
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    pub ca: Option<Vec<u8>>,
    pub crl: Option<Vec<u8>>,
}

/// What the files mean.
#[derive(Debug)]
pub struct Material {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: Option<Arc<RootCertStore>>,
    pub revoked: Arc<Revoked>,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// One cannot be read: which, and by what flag.
    pub fn read(&self) -> Result<Content> {
        let read = |flag, path: &Path| fs::read(path).with_context(|| self.called(flag, path));
        let (ca, crl) = (self.ca.as_deref(), self.crl.as_deref());
        Ok(Content {
            cert: read("cert-file", &self.cert)?,
            key: read("key-file", &self.key)?,
            ca: ca.map(|path| read("trusted-ca-file", path)).transpose()?,
            crl: crl.map(|path| read(self.crl_flag(), path)).transpose()?,
        })
    }

    /// What they mean.
    ///
    /// # Errors
    /// They are no certificates or keys, do not belong together, or have expired.
    pub fn check(&self, content: &Content) -> Result<Material> {
        let cert = self.called("cert-file", &self.cert);
        let chain = certificates(&content.cert).context(cert.clone())?;
        check_time(&chain[0], UnixTime::now()).context(cert.clone())?;
        let key = private_key(&content.key).with_context(|| self.called("key-file", &self.key))?;
        check_pair(&chain, &key)
            .with_context(|| format!("{} and {cert}", self.called("key-file", &self.key)))?;
        let roots = match (&self.ca, &content.ca) {
            (Some(path), Some(bytes)) => {
                let roots = roots(bytes);
                Some(roots.with_context(|| self.called("trusted-ca-file", path))?)
            }
            _ => None,
        };
        let revoked = match (&self.crl, &content.crl) {
            (Some(path), Some(bytes)) => {
                let cas = content.ca.as_deref().map(certificates).transpose()?;
                let revoked = Revoked::from_file(bytes, &cas.unwrap_or_default());
                revoked.with_context(|| self.called(self.crl_flag(), path))?
            }
            _ => Revoked::default(),
        };
        Ok(Material {
            chain,
            key,
            roots,
            revoked: Arc::new(revoked),
        })
    }

    /// The flag of the lists of revoked certificates, without the prefix.
    fn crl_flag(&self) -> &'static str {
        match self.prefix {
            "" => "client-crl-file",
            _ => "crl-file",
        }
    }

    /// Which of the lists, if there are any, should have been replaced by now.
    pub fn late_lists(&self, content: &Content) -> Option<String> {
        let (path, bytes) = (self.crl.as_ref()?, content.crl.as_ref()?);
        let late = revoked::late(bytes)?;
        Some(format!("{}: {late}", self.called(self.crl_flag(), path)))
    }

    /// Whether the certificate may also be shown by one that dials, as members do to each other.
    ///
    /// # Errors
    /// It is for servers alone.
    pub fn check_dials(&self, material: &Material) -> Result<()> {
        let verdict = verify_as_client(&material.chain[0], &as_root(&material.chain[0])?)?;
        ensure!(
            !matches!(
                verdict,
                Err(Error::InvalidCertificate(
                    CertificateError::InvalidPurpose
                        | CertificateError::InvalidPurposeContext { .. }
                ))
            ),
            "{}: it is for servers alone (extended key usage), and members also dial each other: it \
             must be for client authentication too",
            self.called("cert-file", &self.cert)
        );
        Ok(())
    }

    /// Whether the certificate is good for no longer than this.
    pub fn ends_within(&self, content: &Content, time: Duration) -> bool {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        let then = UnixTime::since_unix_epoch(now + time);
        let chain = certificates(&content.cert);
        chain.is_ok_and(|chain| check_time(&chain[0], then).is_err())
    }

    /// A file with its flag, for texts.
    pub fn called(&self, flag: &str, path: &Path) -> String {
        format!("--{}{flag} {}", self.prefix, path.display())
    }
}

/// The certificates in a file of PEM; at least one.
///
/// # Errors
/// There is none.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| anyhow!("it is no PEM: {error}"))?;
    ensure!(
        !found.is_empty(),
        "it holds no certificate (\"-----BEGIN CERTIFICATE-----\")"
    );
    Ok(found)
}

/// The private key in a file of PEM.
fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) if is_encrypted(bytes) => {
            bail!("the key is encrypted, and nobody is here to type a password: decrypt it first")
        }
        Err(PemError::NoItemsFound) => {
            bail!("it holds no private key (\"-----BEGIN PRIVATE KEY-----\")")
        }
        Err(error) => bail!("it is no PEM: {error}"),
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains("BEGIN ENCRYPTED PRIVATE KEY")
}

/// Whether a certificate is good at this time.
fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<()> {
    let parsed = ParsedCertificate::try_from(certificate).context(BROKEN)?;
    let algorithms = provider().signature_verification_algorithms.all;
    let roots = as_root(certificate)?;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms) {
        Err(Error::InvalidCertificate(error)) => match error {
            CertificateError::ExpiredContext { time, not_after } => bail!(
                "the certificate has expired, {} ago",
                period(time.as_secs() - not_after.as_secs())
            ),
            CertificateError::NotValidYetContext { time, not_before } => bail!(
                "the certificate will be good only in {}: is this machine's clock right?",
                period(not_before.as_secs() - time.as_secs())
            ),
            // Who vouches for it, and for what, the other side will ask.
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The library judges certificates by those that vouch for them; where that is not the question,
/// each may vouch for itself.
fn as_root(certificate: &CertificateDer<'_>) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate.clone().into_owned())
        .context(BROKEN)?;
    Ok(Arc::new(roots))
}

/// What a server that trusts `roots` says of a client with this certificate.
pub fn verify_as_client(
    certificate: &CertificateDer<'_>,
    roots: &Arc<RootCertStore>,
) -> Result<Result<(), Error>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
    let verifier = verifier.build()?;
    let verdict = verifier.verify_client_cert(certificate, &[], UnixTime::now());
    Ok(verdict.map(drop))
}

/// A time in words.
pub fn period(seconds: u64) -> String {
    match seconds / 3600 {
        0 => format!("{} min", seconds / 60),
        hours @ 1..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

fn check_pair(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<()> {
    let key = any_supported_type(key).context("a key of a kind that is not known here")?;
    let pair = CertifiedKey::new(chain.to_vec(), key);
    match pair.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            bail!("the key is not that of the certificate")
        }
        _ => Ok(()),
    }
}

/// The CAs in a file of PEM.
pub fn roots(bytes: &[u8]) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes)? {
        roots.add(certificate).context(BROKEN)?;
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests;
