//! The flags of TLS, and what they mean together.
//! Never touches files: whether certificates are any good is seen in `tls`.
//!
//! # Source
//! etcd's flags for transport security.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use headwater_ctl::quantity;

use crate::tls::{Allowed, Files, Source};
use crate::url::Url;

/// Flags of TLS for clients and between the servers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS for clients (https:// in --listen-client-urls)")]
pub struct ClientTlsArgs {
    /// This server's certificate, and those between it and its CA, in PEM; read anew when it changes
    #[arg(long, value_name = "FILE")]
    pub cert_file: Option<String>,

    /// The private key of that certificate
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<String>,

    /// The CAs whose clients are let in, in PEM; clients without a certificate are not
    #[arg(long, value_name = "FILE")]
    pub trusted_ca_file: Option<String>,

    /// Lists of certificates that are refused although they are good otherwise, in PEM or DER
    #[arg(long, value_name = "FILE")]
    pub client_crl_file: Option<String>,

    /// A client is the user whom the common name of its certificate names; needs --trusted-ca-file
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean,
          default_value_t = false, default_missing_value = "true", hide_default_value = true)]
    pub client_cert_auth: bool,

    /// Host names of which a client's certificate must have one, comma-separated
    #[arg(long, value_name = "HOSTS")]
    pub client_cert_allowed_hostname: Option<String>,

    /// Make a certificate where none is given; clients cannot tell whose it is
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean,
          default_value_t = false, default_missing_value = "true", hide_default_value = true)]
    pub auto_tls: bool,
}

/// Flags of TLS between the servers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS between servers (https:// in peer URLs)")]
pub struct PeerTlsArgs {
    /// The certificate that this server shows to the others, in PEM; read anew when it changes
    #[arg(long, value_name = "FILE")]
    pub peer_cert_file: Option<String>,

    /// The private key of that certificate
    #[arg(long, value_name = "FILE")]
    pub peer_key_file: Option<String>,

    /// The CAs whose servers are believed, in PEM
    #[arg(long, value_name = "FILE")]
    pub peer_trusted_ca_file: Option<String>,

    /// Lists of servers' certificates that are refused although they are good otherwise
    #[arg(long, value_name = "FILE")]
    pub peer_crl_file: Option<String>,

    /// Taken for etcd's sake: with certificates from files, servers always ask each other for one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean,
          default_value_t = true, default_missing_value = "true", hide_default_value = true)]
    pub peer_client_cert_auth: bool,

    /// Common names of which the others' certificates must have one, comma-separated
    #[arg(long, value_name = "NAMES")]
    pub peer_cert_allowed_cn: Option<String>,

    /// Host names of which the others' certificates must have one, comma-separated
    #[arg(long, value_name = "HOSTS")]
    pub peer_cert_allowed_hostname: Option<String>,

    /// Make a certificate where none is given: nobody can listen in, but anybody can take part
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean,
          default_value_t = false, default_missing_value = "true", hide_default_value = true)]
    pub peer_auto_tls: bool,
}

/// Flags that belong together, those for clients or those for peers.
struct Flags<'a> {
    /// What their names begin with.
    prefix: &'static str,
    cert: &'a Option<String>,
    key: &'a Option<String>,
    ca: &'a Option<String>,
    crl: &'a Option<String>,
    auto: bool,
}

impl ClientTlsArgs {
    /// Where the certificate for clients comes from, if there is one. `urls`: where they connect.
    ///
    /// # Errors
    /// Flags contradict each other or the URLs; the text says which and what to do.
    pub fn source(
        &self,
        urls: &[(&str, &Url)],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Source>> {
        let flags = Flags {
            prefix: "",
            cert: &self.cert_file,
            key: &self.key_file,
            ca: &self.trusted_ca_file,
            crl: &self.client_crl_file,
            auto: self.auto_tls,
        };
        let has_ca = given(&self.trusted_ca_file).is_some();
        ensure!(
            !self.client_cert_auth || has_ca,
            "--client-cert-auth needs --trusted-ca-file: the CAs whose clients are let in"
        );
        let hosts = list(&self.client_cert_allowed_hostname);
        ensure!(
            hosts.is_empty() || has_ca,
            "--client-cert-allowed-hostname needs --trusted-ca-file"
        );
        ensure!(
            given(&self.client_crl_file).is_none() || has_ca,
            "--client-crl-file needs --trusted-ca-file: without it nobody shows a certificate"
        );
        flags.source(urls, Allowed::from_lists(Vec::new(), hosts), warnings)
    }
}

impl PeerTlsArgs {
    /// Where the certificate for peers comes from, if there is one. `urls`: where they connect.
    ///
    /// # Errors
    /// Flags contradict each other or the URLs; the text says which and what to do.
    pub fn source(
        &self,
        urls: &[(&str, &Url)],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Source>> {
        let flags = Flags {
            prefix: "peer-",
            cert: &self.peer_cert_file,
            key: &self.peer_key_file,
            ca: &self.peer_trusted_ca_file,
            crl: &self.peer_crl_file,
            auto: self.peer_auto_tls,
        };
        let names = list(&self.peer_cert_allowed_cn);
        let hosts = list(&self.peer_cert_allowed_hostname);
        ensure!(
            names.is_empty() || hosts.is_empty(),
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname: give one of them"
        );
        let is_checked = given(&self.peer_trusted_ca_file).is_some();
        ensure!(
            is_checked || given(&self.peer_cert_file).is_none(),
            "--peer-cert-file needs --peer-trusted-ca-file: the CAs whose servers are believed"
        );
        ensure!(
            is_checked || names.is_empty() && hosts.is_empty(),
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname need --peer-trusted-ca-file"
        );
        ensure!(
            given(&self.peer_crl_file).is_none() || is_checked,
            "--peer-crl-file needs --peer-trusted-ca-file: without it no certificate is looked at"
        );
        flags.source(urls, Allowed::from_lists(names, hosts), warnings)
    }
}

impl Flags<'_> {
    fn source(
        &self,
        urls: &[(&str, &Url)],
        allowed: Allowed,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Source>> {
        let prefix = self.prefix;
        let secured: Vec<_> = urls.iter().filter(|(_, url)| url.is_tls()).collect();
        let source = match (given(self.cert), given(self.key)) {
            (Some(cert), Some(key)) => Source::Files(Files {
                prefix,
                cert,
                key,
                ca: given(self.ca),
                crl: given(self.crl),
                allowed,
            }),
            (Some(_), None) => bail!("--{prefix}cert-file needs --{prefix}key-file, its key"),
            (None, Some(_)) => bail!("--{prefix}key-file needs --{prefix}cert-file"),
            (None, None) if given(self.ca).is_some() => {
                bail!("--{prefix}trusted-ca-file needs --{prefix}cert-file and --{prefix}key-file")
            }
            (None, None) if self.auto => Source::SelfMade {
                hosts: hosts(&secured),
            },
            (None, None) => match secured.first() {
                None => return Ok(None),
                Some((flag, url)) => bail!(
                    "--{flag}: {url} asks for TLS, which needs --{prefix}cert-file and \
                     --{prefix}key-file (`headwater certs --help` makes some to try), or \
                     --{prefix}auto-tls"
                ),
            },
        };
        if secured.is_empty() {
            let flags: Vec<&str> = urls.iter().map(|(flag, _)| *flag).collect();
            let flag = flags.first().copied().unwrap_or_default();
            warnings.push(format!(
                "--{prefix}cert-file or --{prefix}auto-tls is given, but no URL begins with \
                 https://, so there is no TLS: see --{flag}"
            ));
        }
        Ok(Some(source))
    }
}

/// The hosts of these URLs, and this machine's own names.
fn hosts(urls: &[&(&str, &Url)]) -> Vec<String> {
    let named = urls
        .iter()
        .map(|(_, url)| url)
        .filter(|url| !url.is_wildcard());
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut hosts: Vec<String> = named.map(|url| url.host().to_owned()).chain(own).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// A file's path; an empty one asks for nothing.
fn given(path: &Option<String>) -> Option<PathBuf> {
    path.as_ref()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn list(text: &Option<String>) -> Vec<String> {
    let parts = text.iter().flat_map(|text| text.split(','));
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
