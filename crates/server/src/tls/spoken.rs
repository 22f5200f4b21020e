//! Which TLS is spoken: the versions, and the cipher suites of TLS 1.2.
//! Never offers what is not safe.
//!
//! # Source
//! RFC 5246, RFC 8446; etcd's `--cipher-suites`, `--tls-min-version` and `--tls-max-version`.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use clap::Args;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

/// Flags for clients and peers alike.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS for both")]
pub struct SpokenArgs {
    /// The oldest that is spoken: TLS1.2 or TLS1.3
    #[arg(long, value_name = "VERSION", default_value = "TLS1.2")]
    tls_min_version: String,

    /// The newest that is spoken: TLS1.2 or TLS1.3 [default: the newest that there is]
    #[arg(long, value_name = "VERSION")]
    tls_max_version: Option<String>,

    /// Which cipher suites TLS 1.2 may use, comma-separated [default: all that are safe]
    #[arg(long, value_name = "NAMES")]
    cipher_suites: Option<String>,
}

/// Which TLS is spoken.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// The cipher suites of TLS 1.2; none: all.
    suites: Option<Vec<CipherSuite>>,
}

impl Default for Spoken {
    fn default() -> Self {
        Self {
            versions: vec![&TLS13, &TLS12],
            suites: None,
        }
    }
}

impl Spoken {
    /// The cryptography for it.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(chosen) = &self.suites {
            let is_chosen = |suite: &SupportedCipherSuite| {
                suite.tls13().is_some() || chosen.contains(&suite.suite())
            };
            provider.cipher_suites.retain(is_chosen);
        }
        Arc::new(provider)
    }
}

impl SpokenArgs {
    /// What the flags say together.
    ///
    /// # Errors
    /// They leave nothing to speak, or name what there is not.
    pub fn spoken(&self, warnings: &mut Vec<String>) -> Result<Spoken> {
        let min = version("tls-min-version", &self.tls_min_version)?.unwrap_or(12);
        let max = self.tls_max_version.as_deref().unwrap_or_default();
        let max = version("tls-max-version", max)?.unwrap_or(13);
        ensure!(
            min <= max,
            "--tls-min-version is newer than --tls-max-version: no TLS is left"
        );
        let is_spoken = |number: u32| (min..=max).contains(&number);
        let versions = [(13, &TLS13), (12, &TLS12)].into_iter();
        let versions = versions.filter(|(number, _)| is_spoken(*number));
        let names = self.cipher_suites.as_deref().unwrap_or_default();
        let suites = suites(names, warnings)?;
        ensure!(
            suites.is_none() || is_spoken(12),
            "--cipher-suites are those of TLS 1.2, which --tls-min-version excludes: leave one out"
        );
        Ok(Spoken {
            versions: versions.map(|(_, version)| version).collect(),
            suites,
        })
    }
}

/// 12 for TLS 1.2; `None` if nothing is said.
fn version(flag: &str, text: &str) -> Result<Option<u32>> {
    Ok(match text {
        "" => None,
        "TLS1.2" => Some(12),
        "TLS1.3" => Some(13),
        _ => bail!("--{flag} \"{text}\" is none of TLS1.2, TLS1.3"),
    })
}

/// The cipher suites of these names, as Go has them; those of TLS 1.3 are always spoken with it.
fn suites(names: &str, warnings: &mut Vec<String>) -> Result<Option<Vec<CipherSuite>>> {
    let known = rustls::crypto::ring::default_provider().cipher_suites;
    let called =
        |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13", "TLS");
    let (mut chosen, mut strange) = (Vec::new(), Vec::new());
    for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let full = match name.strip_suffix("POLY1305") {
            Some(_) => format!("{name}_SHA256"),
            None => name.to_owned(),
        };
        match known.iter().find(|suite| called(suite) == full) {
            Some(suite) => chosen.push(*suite),
            None => strange.push(name),
        }
    }
    if chosen.is_empty() && strange.is_empty() {
        return Ok(None);
    }
    chosen.retain(|suite| suite.tls13().is_none());
    let all = known.iter().filter(|suite| suite.tls13().is_none());
    let all: Vec<String> = all.map(called).collect();
    ensure!(
        !chosen.is_empty(),
        "--cipher-suites names none that TLS 1.2 speaks here; there are {}",
        all.join(", ")
    );
    if !strange.is_empty() {
        warnings.push(format!(
            "--cipher-suites: {} are not spoken here: not safe, or not known",
            strange.join(", ")
        ));
    }
    Ok(Some(
        chosen.iter().map(SupportedCipherSuite::suite).collect(),
    ))
}
