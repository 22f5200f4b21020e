//! The certificates of a local cluster that speaks TLS: made with it, kept with its data.
//! Never leaves the cluster's directory.
//!
//! # Source
//! RFC 8446; `headwater certs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use headwater_ctl::Files;
use rustls::ClientConfig;

use crate::certs::{self, CertsArgs};

/// The directory of the certificates, in the cluster's.
const DIRECTORY: &str = "certs";

/// By what names the servers are called.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A new start makes new ones, so this is how long one run may last.
const DAYS: u32 = 365;

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
    /// What connections to the servers use.
    pub client: Arc<ClientConfig>,
}

impl Secrets {
    /// Whether a cluster's directory has some.
    pub fn are_in(cluster: &Path) -> bool {
        cluster.join(DIRECTORY).exists()
    }

    /// Makes certificates for these servers and for a client, of the CA that is there or a new one.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn make<'a>(cluster: &Path, servers: impl Iterator<Item = &'a str>) -> Result<Self> {
        let dir = cluster.join(DIRECTORY);
        let of = |name: Option<&str>, client: Option<&str>| CertsArgs {
            dir: dir.clone(),
            host: name.map_or(Vec::new(), |_| HOSTS.map(str::to_owned).to_vec()),
            name: name.map(str::to_owned),
            client: client.map(str::to_owned),
            revoke: None,
            days: DAYS,
            renew: true,
        };
        certs::make(&of(None, Some("client"))).context("making certificates")?;
        for server in servers {
            certs::make(&of(Some(server), None)).context("making certificates")?;
        }
        let file = |name: &str| Some(dir.join(name).display().to_string());
        let client = Files {
            cacert: file("ca.crt"),
            cert: file("client.crt"),
            key: file("client.key"),
            believes_anyone: false,
        };
        let client = client.load().map_err(|why| anyhow!("{why}"))?;
        Ok(Self { dir, client })
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The flags of a server.
    pub fn flags(&self, server: &str) -> Vec<(String, String)> {
        let of = |prefix: &str| {
            [
                (format!("--{prefix}cert-file"), format!("{server}.crt")),
                (format!("--{prefix}key-file"), format!("{server}.key")),
                (format!("--{prefix}trusted-ca-file"), "ca.crt".to_owned()),
            ]
        };
        let flags = of("").into_iter().chain(of("peer-"));
        flags.map(|(flag, file)| (flag, self.file(&file))).collect()
    }

    /// The variables by which etcdctl and `headwater ctl` use them.
    pub fn variables(&self) -> String {
        format!(
            "ETCDCTL_CACERT={} ETCDCTL_CERT={} ETCDCTL_KEY={}",
            self.file("ca.crt"),
            self.file("client.crt"),
            self.file("client.key"),
        )
    }
}
