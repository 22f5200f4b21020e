//! A client of one server, and how the server says it is.
//! Never waits long: a server that does not answer is shown so.
//!
//! # Source
//! The etcd v3 API, `Maintenance.Status`.

use std::time::Duration;

use anyhow::{Context, Result};
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

/// A connection to the server at `port`, made when first used, and made anew when broken.
///
/// # Errors
/// Never, unless `port` made no address.
pub fn channel(port: u16) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"));
    let endpoint = endpoint.context("making an address")?;
    Ok(endpoint
        .connect_timeout(LOOK_TIME)
        .tcp_nodelay(true)
        .connect_lazy())
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
