//! What every service stands on: this member's node, its place in the cluster, its limits.
//! Never knows who asks or over which protocol.
//!
//! # Source
//! Dissertation §6.3 (what a client may repeat); the etcd v3 API's response header.

use std::future::Future;
use std::time::Duration;

use headwater_kv::Store;
use headwater_kv::request::{Command, Outcome, Query};
use headwater_runtime::{Handle, ProposeError, ReadError, ReadLevel, Status};
use tokio::time::Instant;

use crate::config::{Cluster, Limits};
use crate::failure::Failure;
use crate::generated::etcdserverpb::ResponseHeader;

/// How long to wait before asking again while an election runs. Elections take some tens of
/// milliseconds; shorter waits would only burn the processor that the election needs.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// This member as its services see it.
pub struct Backend {
    node: Handle<Store>,
    cluster: Cluster,
    limits: Limits,
}

impl Backend {
    /// The services' view of a running `node`.
    pub fn new(node: Handle<Store>, cluster: Cluster, limits: Limits) -> Self {
        Self {
            node,
            cluster,
            limits,
        }
    }

    /// The members, as configured.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The bounds on what a request may ask.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// Whether this member knows of a leader.
    pub fn has_leader(&self) -> bool {
        self.node.leader().is_some()
    }

    /// The header of an answer given at `revision`.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster.id,
            member_id: self.cluster.me.0,
            revision,
            raft_term: self.node.term().0,
        }
    }

    /// Has the cluster carry out `command`. What was surely not carried out for want of a leader
    /// is tried again until the request's time is up.
    ///
    /// # Errors
    /// See [`Failure`]; after `TimedOut` and `LeaderLost` the command may yet be carried out.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, Failure> {
        let bytes = command.encode();
        if bytes.len() > self.limits.request_bytes_max {
            return Err(Failure::TooLarge);
        }
        let started = Instant::now();
        self.retry(|| {
            let proposed = self.node.propose(bytes.clone());
            async move {
                match proposed.await {
                    Ok(applied) => Attempt::Done(Ok(applied.reply)),
                    Err(error) => self.after_propose_error(&error, started),
                }
            }
        })
        .await
    }

    fn after_propose_error(
        &self,
        error: &ProposeError,
        started: Instant,
    ) -> Attempt<Result<Outcome, Failure>> {
        match error {
            ProposeError::NoLeader => Attempt::Again(Failure::NoLeader),
            // Surely not applied, now or ever: as if it had never been proposed.
            ProposeError::Lost => Attempt::Again(Failure::LeaderChanged),
            ProposeError::Busy => Attempt::Done(Err(Failure::Busy)),
            ProposeError::TooLarge(_) => Attempt::Done(Err(Failure::TooLarge)),
            ProposeError::Stopped => Attempt::Done(Err(Failure::Stopped)),
            // Both leave the outcome open; only the time that passed tells why.
            _ if started.elapsed() >= self.limits.request_timeout => {
                Attempt::Done(Err(Failure::TimedOut))
            }
            _ => Attempt::Done(Err(Failure::LeaderLost)),
        }
    }

    /// Answers `query` at the asked level; asks again until the request's time is up.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn query(&self, query: Query, level: ReadLevel) -> Result<Outcome, Failure> {
        self.retry(|| {
            let answer = self.node.query(query.clone(), level);
            async move {
                match answer.await {
                    Ok(outcome) => Attempt::Done(Ok(outcome)),
                    Err(ReadError::NoLeader) => Attempt::Again(Failure::NoLeader),
                    Err(ReadError::LeaderChanged) => Attempt::Again(Failure::LeaderChanged),
                    Err(ReadError::Busy) => Attempt::Done(Err(Failure::Busy)),
                    Err(ReadError::Stopped) => Attempt::Done(Err(Failure::Stopped)),
                    Err(_) => Attempt::Done(Err(Failure::TimedOut)),
                }
            }
        })
        .await
    }

    async fn retry<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Attempt<Result<T, Failure>>>,
    {
        let deadline = Instant::now() + self.limits.request_timeout;
        loop {
            match attempt().await {
                Attempt::Done(result) => return result,
                Attempt::Again(failure) if Instant::now() + RETRY_PAUSE >= deadline => {
                    return Err(failure);
                }
                Attempt::Again(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Lets the node finish what it writes, and stops it.
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }

    /// Waits until the node no longer runs.
    pub async fn stopped(&self) -> headwater_runtime::StopReason {
        self.node.stopped().await
    }
}

/// What came of one try.
enum Attempt<T> {
    /// This, for good or ill.
    Done(T),
    /// Nothing, and nothing ever will: it may be tried again.
    Again(Failure),
}
