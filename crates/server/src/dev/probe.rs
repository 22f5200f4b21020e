//! A client of one server, and how the server says it is.
//! Never waits long: a server that does not answer is shown so.
//!
//! # Source
//! The etcd v3 API, `Maintenance.Status`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::generated::etcdserverpb::StatusRequest;
use crate::generated::etcdserverpb::maintenance_client::MaintenanceClient;

/// How long a server has to say how it is.
const LOOK_TIME: Duration = Duration::from_millis(300);

/// How a server says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its id.
    pub member: u64,
    /// The leader it knows of; zero for none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub commit: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// Its revision.
    pub revision: i64,
}

impl Seen {
    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        self.leader == self.member
    }
}

/// A connection to the server at `port`, with TLS if there is what it takes, made when first used, and made anew when broken.
///
/// # Errors
/// Never, unless `port` made no address.
pub fn channel(port: u16, tls: Option<Arc<ClientConfig>>) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"));
    let endpoint = endpoint.context("making an address")?;
    let endpoint = endpoint.connect_timeout(LOOK_TIME).tcp_nodelay(true);
    let Some(tls) = tls else {
        return Ok(endpoint.connect_lazy());
    };
    let dial = tower::service_fn(move |_: http::Uri| {
        let tls = TlsConnector::from(Arc::clone(&tls));
        async move {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            socket.set_nodelay(true)?;
            let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let stream = tls.connect(name, socket).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(dial))
}

/// How the server behind `channel` is, if it answers.
pub async fn look(channel: &Channel) -> Option<Seen> {
    let mut client = MaintenanceClient::new(channel.clone());
    let answer = tokio::time::timeout(LOOK_TIME, client.status(StatusRequest {})).await;
    let status = answer.ok()?.ok()?.into_inner();
    let header = status.header?;
    Some(Seen {
        member: header.member_id,
        leader: status.leader,
        term: status.raft_term,
        commit: status.raft_index,
        applied: status.raft_applied_index,
        revision: header.revision,
    })
}
