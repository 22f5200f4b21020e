//! What every service stands on: this member's node, its place in the cluster, its limits.
//! Never knows who asks or over which protocol.
//!
//! # Source
//! Dissertation §6.3 (what a client may repeat); the etcd v3 API's response header.

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::auth::Asker;
use headwater_kv::request::{Command, KvError, Outcome, Query};
use headwater_runtime::{
    Config, Handle, NodeId, ProposeError, ReadError, ReadLevel, ReconfigureError, Status,
    TransferError,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::auth::door::Doorkeeper;
use crate::census::Ending;
use crate::config::{Cluster, Limits};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::generated::etcdserverpb::ResponseHeader;
use crate::outlook::Outlook;
use crate::pressure::Answers;
use crate::tally::Tally;

/// This member as its services see it.
pub struct Backend {
    node: Handle<Store>,
    desk: Desk,
    door: Doorkeeper,
    outlook: Outlook,
    tally: Tally,
    answers: Answers,
    cluster: Cluster,
    limits: Limits,
    ending: Ending,
    /// Held by who changes the members.
    changing: Mutex<()>,
}

impl Backend {
    /// The services' view of a running `node`, with the way to its company.
    pub fn new(
        node: Handle<Store>,
        (desk, door): (Desk, Doorkeeper),
        cluster: Cluster,
        limits: Limits,
        ending: Ending,
    ) -> Self {
        Self {
            node,
            desk,
            door,
            outlook: Outlook::new(),
            tally: Tally::default(),
            answers: Answers::new(limits.request_timeout),
            cluster,
            limits,
            ending,
            changing: Mutex::default(),
        }
    }

    /// The cluster, and this member's place in it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The bounds on what a request may ask.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The way to watches and leases.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Who knows who a request comes from.
    pub fn door(&self) -> &Doorkeeper {
        &self.door
    }

    /// What may end a stream.
    pub fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// What this server counts of itself.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The room for answers.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// Whether this member knows of a leader.
    pub fn has_leader(&self) -> bool {
        self.leader().is_some()
    }

    /// The leader, as far as this member knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.node.leader()
    }

    /// Says something to the company of another member.
    pub fn note(&self, to: NodeId, number: u64, bytes: Bytes) {
        self.node.note(to, number, bytes);
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

    /// Has the cluster carry out `command`, which this server wants on its own. The node holds it while no leader is known; what an
    /// election surely lost is proposed again until the request's time is up.
    ///
    /// # Errors
    /// See [`Failure`]; after `TimedOut` and `LeaderLost` the command may yet be carried out.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, Failure> {
        self.propose_by(self.door.server().as_ref(), command).await
    }

    /// The same for a client, which may not be known. The future holds the command's bytes alone.
    ///
    /// # Errors
    /// See [`Self::propose`].
    pub fn propose_by<'a>(
        &'a self,
        asker: Option<&Asker>,
        command: &Command,
    ) -> impl Future<Output = Result<Outcome, Failure>> + use<'a> {
        self.propose_bytes(command.encode_by(asker))
    }

    async fn propose_bytes(&self, bytes: Bytes) -> Result<Outcome, Failure> {
        if bytes.len() > self.limits.request_bytes_max {
            return Err(Failure::TooLarge);
        }
        let deadline = Instant::now() + self.limits.request_timeout;
        loop {
            return Err(match self.node.propose(bytes.clone()).await {
                Ok(applied) => return Ok(applied.reply),
                // Surely not applied, now or ever: as if it had never been proposed.
                Err(ProposeError::Lost) if Instant::now() < deadline => continue,
                Err(ProposeError::Lost) => Failure::LeaderChanged,
                Err(ProposeError::NoLeader) => Failure::NoLeader,
                Err(ProposeError::DiskSlow) => Failure::TimedOut,
                Err(ProposeError::Busy) => Failure::Busy,
                Err(ProposeError::NoSpace) => Failure::Kv(KvError::NoSpace),
                Err(ProposeError::TooLarge(_)) => Failure::TooLarge,
                Err(ProposeError::Stopped) => Failure::Stopped,
                // Both leave the outcome open; only the time that passed tells why.
                Err(_) if Instant::now() >= deadline => Failure::TimedOut,
                Err(_) => Failure::LeaderLost,
            });
        }
    }

    /// Answers `query` at the asked level, for this server itself.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn query(&self, query: Query, level: ReadLevel) -> Result<Outcome, Failure> {
        self.query_by(Some(Asker::Server), query, level).await
    }

    /// The same for a client, which may not be known.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn query_by(
        &self,
        asker: Option<Asker>,
        query: Query,
        level: ReadLevel,
    ) -> impl Future<Output = Result<Outcome, Failure>> {
        let query = match asker {
            Some(asker) => Query::By(asker, Box::new(query)),
            None => query,
        };
        let asked = (level == ReadLevel::Linearizable).then(Instant::now);
        let answer = self.node.query(query, level);
        async move {
            let answer = answer.await;
            if let Some(asked) = asked {
                self.tally.on_read(asked.elapsed(), answer.is_ok());
            }
            answer.map_err(|error| match error {
                ReadError::NoLeader => Failure::NoLeader,
                ReadError::LeaderChanged => Failure::LeaderChanged,
                ReadError::Busy => Failure::Busy,
                ReadError::Stopped => Failure::Stopped,
                _ => Failure::TimedOut,
            })
        }
    }

    /// The configuration in force here.
    pub fn config(&self) -> Config {
        self.node.members()
    }

    /// The incarnation of this member's data directory.
    pub fn disk(&self) -> u128 {
        self.node.disk().0
    }

    /// Whether this member has no vote until somebody gives it one.
    pub fn is_learner(&self) -> bool {
        self.config().learners().contains(&self.cluster.me)
    }

    /// Waits for whoever changes the members, and keeps the others waiting while it is held.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Changes the configuration, if this member leads, and tells the store in the same entry.
    ///
    /// # Errors
    /// As [`Handle::reconfigure`].
    pub async fn reconfigure(
        &self,
        expect: Config,
        target: Config,
        command: Bytes,
    ) -> Result<(), ReconfigureError> {
        let node = &self.node;
        node.reconfigure_telling(expect, target, !self.limits.strict_reconfig, command)
            .await
    }

    /// Has the server end, for this reason.
    pub fn end(&self, why: String) {
        // If nobody takes it, the server ends already.
        let _ = self.ending.send(why);
    }

    /// Hands leadership over to a member, if this one leads.
    ///
    /// # Errors
    /// See [`Failure`]; after `TransferTimedOut` the member may yet take over.
    pub async fn move_leader(&self, to: NodeId) -> Result<(), Failure> {
        match self.node.transfer_leadership(Some(to)).await {
            Ok(_) | Err(TransferError::Itself) => Ok(()),
            Err(TransferError::NotLeader(_)) => Err(Failure::NotLeader),
            Err(TransferError::NotVoter) => Err(Failure::BadTransferee),
            Err(TransferError::TimedOut) => Err(Failure::TransferTimedOut),
            Err(TransferError::LeadershipLost) => Err(Failure::LeaderChanged),
            Err(TransferError::Stopped) => Err(Failure::Stopped),
            Err(_) => Err(Failure::Busy),
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
