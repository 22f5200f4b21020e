//! TLS towards the servers: from the flags to what connections use.
//! Never dials.
//!
//! # Source
//! RFC 8446; etcdctl's flags `--cacert`, `--cert`, `--key`, `--insecure-skip-tls-verify`.

use std::fs;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::failure::{Failure, Result};
use crate::flags::Options;

/// Where Linux distributions keep the CAs that the machine trusts.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Which files TLS is made of.
#[derive(Clone, Default, Debug)]
pub struct Files {
    /// The CA of the servers.
    pub cacert: Option<String>,
    /// The certificate to show.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// Whether any certificate is believed.
    pub believes_anyone: bool,
}

impl Files {
    /// Those that the flags name.
    pub fn of(options: &Options) -> Self {
        let named = |file: &Option<String>| file.clone().filter(|name| !name.is_empty());
        Self {
            cacert: named(&options.cacert),
            cert: named(&options.cert),
            key: named(&options.key),
            believes_anyone: options.insecure_skip_tls_verify,
        }
    }

    /// What connections use.
    ///
    /// # Errors
    /// A file cannot be used; the text says which and why.
    pub fn load(&self) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::error(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates("--cert", cert)?;
                let bytes = read("--key", key)?;
                let private = PrivateKeyDer::from_pem_slice(&bytes);
                let private = private.map_err(|error| unusable("--key", key, &error))?;
                let config = builder.with_client_auth_cert(chain, private);
                config.map_err(|error| unusable("--cert", cert, &error))?
            }
            _ => return Err(Failure::arguments("--cert and --key belong together")),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>> {
        if self.believes_anyone {
            return Ok(Arc::new(Anyone(provider())));
        }
        let found = match &self.cacert {
            Some(file) => certificates("--cacert", file)?,
            None => trusted()?,
        };
        let mut roots = RootCertStore::empty();
        let (good, _) = roots.add_parsable_certificates(found);
        if good == 0 {
            let file = self.cacert.as_deref().unwrap_or("");
            return Err(unusable("--cacert", file, &"it holds no CA"));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build();
        Ok(verifier.map_err(|error| Failure::error(error.to_string()))?)
    }
}

/// TLS that believes anyone, to try what somebody speaks.
pub fn any() -> Arc<ClientConfig> {
    let files = Files {
        believes_anyone: true,
        ..Files::default()
    };
    files.load().expect("it needs no file")
}

/// The CAs that the machine trusts.
fn trusted() -> Result<Vec<CertificateDer<'static>>> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let known = TRUSTED.iter().map(|path| (*path).to_owned());
    let mut files = named.into_iter().chain(known);
    let file = files.find(|file| fs::exists(file).unwrap_or(false));
    let file = file.ok_or_else(|| {
        Failure::error(
            "this machine has no list of CAs that it trusts: name the servers' with --cacert",
        )
    })?;
    certificates("SSL_CERT_FILE", &file)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(flag: &str, file: &str) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| unusable(flag, file, &error))
}

fn certificates(flag: &str, file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(flag, file)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Err(error) => Err(unusable(flag, file, &error)),
        Ok(found) if found.is_empty() => Err(unusable(flag, file, &"it holds no certificate")),
        Ok(found) => Ok(found),
    }
}

fn unusable(flag: &str, file: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::error(format!("{flag} {file}: {why}"))
}

/// Believes every certificate whose owner has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
