//! TLS for clients and between servers: from files, or self-made, to what connections use.
//! Never accepts or dials: `doors` does for clients, the runtime for peers.
//!
//! Sessions are not resumed: what a certificate proves is proved at each connection, also after the
//! CA has been replaced.
//!
//! # Source
//! RFC 8446; etcd's flags for transport security.

mod allowed;
pub mod files;
mod fresh;
pub mod revoked;
mod self_made;
pub mod spoken;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use headwater_runtime::tls::{PeerTls, TlsSource};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use self::allowed::Demands;
pub use self::allowed::{Allowed, common_name};
pub use self::files::Files;
use self::files::{Content, Material};
use self::revoked::Revoked;
use self::self_made::SelfMade;
use self::spoken::Spoken;

/// What TLS may carry to clients: HTTP/2 for gRPC and HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where a certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// From files.
    Files(Files),
    /// This server makes its own, and keeps it.
    SelfMade {
        /// For whom it stands.
        hosts: Vec<String>,
    },
}

/// What connections of clients use; replaced when files change.
pub type ClientTls = watch::Receiver<Arc<ServerConfig>>;

/// The certificates of a server.
#[derive(Default)]
pub struct Tls {
    /// For clients.
    pub clients: Option<ClientTls>,
    /// For peers.
    pub peers: Option<TlsSource>,
    made: Vec<SelfMade>,
}

impl Tls {
    /// Reads or makes the certificates; files are read again whenever they change.
    ///
    /// # Errors
    /// They cannot be used; the text says which file, why, and what to do.
    pub fn load(
        clients: Option<&Source>,
        peers: Option<&Source>,
        spoken: &Spoken,
        data_dir: &Path,
    ) -> Result<Self> {
        let mut tls = Self::default();
        let (by_clients, by_peers) = (spoken.clone(), spoken.clone());
        tls.clients = match clients {
            None => None,
            Some(Source::Files(files)) => Some(fresh::keep(files, move |files, content| {
                for_clients(files, content, &by_clients)
            })?),
            Some(Source::SelfMade { hosts }) => {
                let material = tls.make(data_dir, "client", hosts)?;
                Some(watch::channel(accepting(material, &Allowed::Anyone, true, spoken)?).1)
            }
        };
        tls.peers = match peers {
            None => None,
            Some(Source::Files(files)) => Some(fresh::keep(files, move |files, content| {
                for_peers(files, content, &by_peers)
            })?),
            Some(Source::SelfMade { hosts }) => {
                let material = tls.make(data_dir, "peer", hosts)?;
                Some(watch::channel(for_anyone(material, spoken)?).1)
            }
        };
        Ok(tls)
    }

    fn make(&mut self, data_dir: &Path, name: &str, hosts: &[String]) -> Result<Material> {
        let made = SelfMade::load_or_make(data_dir, name, hosts)?;
        let material = made.material()?;
        self.made.push(made);
        Ok(material)
    }

    /// Writes down what was made, once the data directory is this server's.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<()> {
        self.made.iter().try_for_each(SelfMade::save)
    }
}

fn for_clients(files: &Files, content: &Content, spoken: &Spoken) -> Result<Arc<ServerConfig>> {
    accepting(files.check(content)?, &files.allowed, true, spoken)
}

fn for_peers(files: &Files, content: &Content, spoken: &Spoken) -> Result<PeerTls> {
    let material = files.check(content)?;
    files.check_dials(&material)?;
    let roots = material.roots.clone().context("there is no CA")?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
    Ok(PeerTls {
        client: dialling(
            &material,
            demands(&material, &files.allowed).of_servers(verifier),
            spoken,
        )?,
        server: accepting(material, &files.allowed, false, spoken)?,
    })
}

/// Peers that believe anyone: nobody can listen in, but who is there is not known.
fn for_anyone(material: Material, spoken: &Spoken) -> Result<PeerTls> {
    Ok(PeerTls {
        client: dialling(&material, allowed::anyone(provider()), spoken)?,
        server: accepting(material, &Allowed::Anyone, false, spoken)?,
    })
}

fn demands(material: &Material, allowed: &Allowed) -> Demands {
    Demands {
        allowed: allowed.clone(),
        revoked: Arc::clone(&material.revoked),
    }
}

fn accepting(
    material: Material,
    allowed: &Allowed,
    is_http: bool,
    spoken: &Spoken,
) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(spoken.provider());
    let builder = builder.with_protocol_versions(&spoken.versions)?;
    let demands = demands(&material, allowed);
    let builder = match material.roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(demands.of_clients(verifier.build()?))
        }
    };
    let mut config = builder.with_single_cert(material.chain, material.key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if is_http {
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    }
    Ok(Arc::new(config))
}

fn dialling(
    material: &Material,
    verifier: allowed::OfServers,
    spoken: &Spoken,
) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(spoken.provider());
    let builder = builder.with_protocol_versions(&spoken.versions)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config =
        builder.with_client_auth_cert(material.chain.clone(), material.key.clone_key())?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
