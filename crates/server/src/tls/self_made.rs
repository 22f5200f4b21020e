//! A certificate that a server makes for itself and keeps beside its data.
//! Never proves who the server is: that takes a CA.
//!
//! # Source
//! etcd's `--auto-tls` and `--peer-auto-tls`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::Allowed;
use super::files::{Content, Files, Material};
use crate::certs::{validity, write_secret};

/// The folder in the data directory.
const FOLDER: &str = "tls";

/// Days for which it is good; a start after that makes another.
const DAYS: u32 = 3650;

/// A certificate of a server's own.
pub struct SelfMade {
    files: Files,
    content: Content,
    is_new: bool,
}

impl SelfMade {
    /// The one called `name` in the data directory if it is good, else a new one for `hosts`, which is
    /// not written yet.
    ///
    /// # Errors
    /// None can be made.
    pub fn load_or_make(data_dir: &Path, name: &str, hosts: &[String]) -> Result<Self> {
        let folder = data_dir.join(FOLDER);
        let path = |ending: &str| -> PathBuf { folder.join(format!("{name}.{ending}")) };
        let files = Files {
            prefix: "",
            cert: path("crt"),
            key: path("key"),
            ca: None,
            crl: None,
            allowed: Allowed::Anyone,
        };
        if let Ok(content) = files.read()
            && files.check(&content).is_ok()
        {
            let is_new = false;
            return Ok(Self {
                files,
                content,
                is_new,
            });
        }
        let content = make(hosts).context("making a certificate")?;
        let is_new = true;
        Ok(Self {
            files,
            content,
            is_new,
        })
    }

    /// What it means.
    ///
    /// # Errors
    /// It is no good after all.
    pub fn material(&self) -> Result<Material> {
        self.files.check(&self.content)
    }

    /// Writes it down if it is new.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<()> {
        if !self.is_new {
            return Ok(());
        }
        let folder = self.files.cert.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            .and_then(|()| write_secret(&self.files.key, &self.content.key))
            .and_then(|()| fs::write(&self.files.cert, &self.content.cert));
        written.with_context(|| format!("writing the certificate into {}", folder.display()))
    }
}

fn make(hosts: &[String]) -> Result<Content> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "headwater, self-made");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    (params.not_before, params.not_after) = validity(DAYS);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok(Content {
        cert: cert.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        ca: None,
        crl: None,
    })
}
