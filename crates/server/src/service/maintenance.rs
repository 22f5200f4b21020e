//! Care for one member: how it is, and chores.
//! Never pretends: a chore that is not built in says so.
//!
//! # Source
//! The etcd v3 API, service `Maintenance`.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park_timeout};
use std::time::{Duration, Instant};

use futures_util::stream::{Stream, unfold};
use headwater_kv::auth::Right;
use headwater_kv::request::{
    Alarm, AlarmKind, AlarmRequest, HashRequest, HashResponse, KvError, Query,
    Response as KvResponse, StoreStatus,
};
use headwater_runtime::behind::{Behind, spawn_behind};
use headwater_runtime::{NodeId, ReadLevel};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};

use crate::alarms;
use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::client::Client;
use crate::etcd_db::{self, Moment};
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::maintenance_server::Maintenance;
use crate::outlook::Terms;
use crate::service::{not_yet, until_end};

/// What tools read as the version of the files; they are Headwater's own.
pub const STORAGE_VERSION: &str = "3.6.0";

/// How many clients may be on the way through a snapshot: what it shows stays in memory for them.
const SNAPSHOTS_MAX: usize = 4;

/// Pieces of a snapshot that wait for the client: one that is on its way, and the next.
const PIECES_AHEAD: usize = 2;

/// How long a client may take nothing of a snapshot: what it shows stays in memory meanwhile, and its place is one
/// of few.
const PATIENCE: Duration = Duration::from_secs(300);

const BROKEN_OFF: Failure = Failure::Internal("a snapshot broke off");

/// The service, on a backend shared with the others.
pub struct MaintenanceService {
    backend: Arc<Backend>,
    snapshots: Arc<Semaphore>,
}

impl MaintenanceService {
    /// The service of `backend`.
    pub fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend,
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)),
        }
    }

    /// Refuses who may not do everything.
    async fn demand_all<T>(&self, request: &Request<T>) -> Result<(), Failure> {
        let client = Client::of(&self.backend, request);
        client.demand(Right::All, ReadLevel::Local).await
    }
}

/// The pieces of a snapshot, a few ahead of what the client has taken, from a thread that leaves the
/// processor to others while they want it. `place` is kept until the last one is made.
fn written_aside(
    moment: Moment,
    place: OwnedSemaphorePermit,
) -> Result<Receiver<(Vec<u8>, u64)>, Failure> {
    let (to, pieces) = channel(PIECES_AHEAD);
    let made = move || {
        let _place = place;
        send_all(etcd_db::pieces(moment.into_plan()), &to, PATIENCE);
    };
    match spawn_behind(Behind::Others, "snapshot-out", made) {
        Ok(_) => Ok(pieces),
        Err(_) => Err(Failure::Busy),
    }
}

/// Sends what there is, as it is taken; ends when a client is gone, or has taken nothing for so long.
fn send_all<T>(all: impl Iterator<Item = T>, to: &Sender<T>, patience: Duration) {
    for one in all {
        if !matches!(wait_for(to.send(one), patience), Some(Ok(()))) {
            return;
        }
    }
}

/// What comes of something within so long. It is this thread that waits: a runtime that ends has no timers.
fn wait_for<T>(something: impl Future<Output = T>, patience: Duration) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut context = Context::from_waker(&waker);
    let mut something = pin!(something);
    let end = Instant::now() + patience;
    loop {
        if let Poll::Ready(outcome) = something.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        park_timeout(left);
    }
}

/// A thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The messages of a snapshot, from its pieces, each with how many bytes come after it.
fn messages(
    header: api::ResponseHeader,
    pieces: Receiver<(Vec<u8>, u64)>,
) -> impl Stream<Item = Result<api::SnapshotResponse, Status>> {
    unfold((pieces, None), move |(mut pieces, left)| async move {
        let message = |(blob, left_bytes): (Vec<u8>, u64)| api::SnapshotResponse {
            header: Some(header),
            remaining_bytes: left_bytes,
            blob: blob.into(),
            version: STORAGE_VERSION.to_owned(),
        };
        match (pieces.recv().await, left) {
            (Some(piece), _) => {
                let left = Some(piece.1);
                Some((Ok(message(piece)), (pieces, left)))
            }
            (None, Some(0)) => None,
            // Without an error this would pass for all of it.
            (None, _) => Some((Err(BROKEN_OFF.into()), (pieces, Some(0)))),
        }
    })
}

/// The store in numbers and its revision, as this member has them or as the cluster does.
///
/// # Errors
/// See [`Failure`].
pub async fn store_status(backend: &Backend, level: ReadLevel) -> Result<StoreStatus, Failure> {
    match backend.query(Query::Status, level).await?.result {
        Ok(KvResponse::Status(status)) => Ok(status),
        Ok(_) => Err(Failure::Internal(
            "the store did not answer with its status",
        )),
        Err(error) => Err(Failure::Kv(error)),
    }
}

/// How many bytes of the store are hashed before others have their turn.
const HASH_PIECE_BYTES: usize = 256 * 1024;

/// The hash of this member's versions up to `revision`; zero or less for the current one.
async fn hash(
    backend: &Backend,
    revision: i64,
    with_auth: bool,
) -> Result<api::HashKvResponse, Failure> {
    let begun = Instant::now();
    let mut request = HashRequest {
        revision,
        so_far: None,
        piece_bytes: HASH_PIECE_BYTES,
        with_auth,
    };
    loop {
        let query = Query::Hash(request.clone());
        let outcome = backend.query(query, ReadLevel::Local).await?;
        match outcome.result {
            Ok(KvResponse::Hash(HashResponse::Part(part))) => request.so_far = Some(part),
            Ok(KvResponse::Hash(HashResponse::Whole {
                hash,
                revision,
                compact_revision,
            })) => {
                backend.tally().on_hash(begun.elapsed(), with_auth);
                return Ok(api::HashKvResponse {
                    header: Some(backend.header(outcome.revision)),
                    hash,
                    compact_revision,
                    hash_revision: revision,
                });
            }
            Ok(_) => return Err(Failure::Internal("the store did not answer with a hash")),
            // A compaction has overtaken the present, as it was when the first piece was hashed.
            Err(KvError::Compacted) if revision <= 0 => request.so_far = None,
            Err(error) => return Err(Failure::Kv(error)),
        }
    }
}

fn refuse<T>(method: &str) -> Result<Response<T>, Status> {
    let text = not_yet("etcdserverpb.Maintenance", method);
    Err(Status::unimplemented(text))
}

fn to_i64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = BoxStream<api::SnapshotResponse>;

    async fn status(
        &self,
        _request: Request<api::StatusRequest>,
    ) -> Result<Response<api::StatusResponse>, Status> {
        let store = store_status(&self.backend, ReadLevel::Local).await?;
        let node = self.backend.status();
        let mut errors = Vec::new();
        if node.leader.is_none() {
            errors.push(Failure::NoLeader.code_and_text().1);
        }
        for alarm in alarms::raised(&self.backend, None, ReadLevel::Local).await? {
            let (member, kind) = (alarm.member, alarms::name(alarm.kind));
            errors.push(format!("memberID:{member} alarm:{kind} "));
        }
        Ok(Response::new(api::StatusResponse {
            header: Some(self.backend.header(store.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: to_i64(store.size_bytes),
            leader: node.leader.map_or(0, |leader| leader.0),
            raft_index: node.commit.0,
            raft_term: node.term.0,
            raft_applied_index: node.applied.0,
            errors,
            db_size_in_use: to_i64(store.size_in_use_bytes),
            is_learner: self.backend.is_learner(),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: self.backend.limits().quota_bytes,
            downgrade_info: Some(api::DowngradeInfo::default()),
        }))
    }

    async fn alarm(
        &self,
        request: Request<api::AlarmRequest>,
    ) -> Result<Response<api::AlarmResponse>, Status> {
        let client = Client::of(&self.backend, &request);
        let request = request.get_ref();
        let kind = match request.alarm() {
            api::AlarmType::None => None,
            api::AlarmType::Nospace => Some(AlarmKind::NoSpace),
            api::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
        };
        let is_raised = request.action() == api::alarm_request::AlarmAction::Activate;
        let alarms = match (request.action(), kind) {
            (api::alarm_request::AlarmAction::Get, kind) => {
                alarms::raised(&self.backend, kind, ReadLevel::Linearizable).await?
            }
            (_, None) => Vec::new(),
            (_, Some(kind)) => {
                client.demand(Right::All, ReadLevel::Linearizable).await?;
                let member = request.member_id;
                let alarm = Alarm { kind, member };
                alarms::change(&self.backend, AlarmRequest { alarm, is_raised }).await?
            }
        };
        let store = store_status(&self.backend, ReadLevel::Local).await?;
        Ok(Response::new(api::AlarmResponse {
            header: Some(self.backend.header(store.revision)),
            alarms: alarms.into_iter().map(alarms::message).collect(),
        }))
    }

    async fn defragment(
        &self,
        request: Request<api::DefragmentRequest>,
    ) -> Result<Response<api::DefragmentResponse>, Status> {
        self.demand_all(&request).await?;
        // The store lives in memory and its files are written whole: no space lies between.
        Ok(Response::new(api::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        request: Request<api::HashRequest>,
    ) -> Result<Response<api::HashResponse>, Status> {
        self.demand_all(&request).await?;
        // The whole of the store are its versions and its users: there are no pages of a file to hash.
        let api::HashKvResponse { header, hash, .. } = hash(&self.backend, 0, true).await?;
        Ok(Response::new(api::HashResponse { header, hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<api::HashKvRequest>,
    ) -> Result<Response<api::HashKvResponse>, Status> {
        self.demand_all(&request).await?;
        let revision = request.get_ref().revision;
        Ok(Response::new(hash(&self.backend, revision, false).await?))
    }

    async fn snapshot(
        &self,
        request: Request<api::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.demand_all(&request).await?;
        let terms = Terms::of(request.metadata().as_ref())?;
        let place = Arc::clone(&self.snapshots).try_acquire_owned();
        let place = place.map_err(|_| Failure::Busy)?;
        let moment = Moment::of(&self.backend).await?;
        let header = self.backend.header(moment.revision);
        let pieces = written_aside(moment, place)?;
        let outlook = self.backend.outlook().clone();
        let messages = until_end(messages(header, pieces), outlook, terms);
        Ok(Response::new(messages))
    }

    async fn move_leader(
        &self,
        request: Request<api::MoveLeaderRequest>,
    ) -> Result<Response<api::MoveLeaderResponse>, Status> {
        self.demand_all(&request).await?;
        let to = NodeId(request.get_ref().target_id);
        self.backend.move_leader(to).await?;
        Ok(Response::new(api::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<api::DowngradeRequest>,
    ) -> Result<Response<api::DowngradeResponse>, Status> {
        self.demand_all(&request).await?;
        refuse("Downgrade")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::task::spawn_blocking;
    use tokio::time::timeout;

    use super::*;

    /// How many bytes each message brings, or `None` for an error, of pieces that say what is left.
    async fn told(pieces: &[(usize, u64)]) -> Vec<Option<usize>> {
        let (to, from) = channel(pieces.len().max(1));
        for &(bytes, left) in pieces {
            to.send((vec![0; bytes], left)).await.expect("room");
        }
        drop(to);
        let messages = messages(api::ResponseHeader::default(), from);
        let bytes = messages.map(|message| message.ok().map(|message| message.blob.len()));
        bytes.collect().await
    }

    #[tokio::test]
    async fn a_snapshot_that_nobody_takes_ends() {
        let patience = Duration::from_secs(1);
        let (to, mut taken) = channel(PIECES_AHEAD);
        let sending = spawn_blocking(move || send_all(0.., &to, patience));
        // There is no end of it as long as somebody does.
        for number in 0..1000 {
            assert_eq!(taken.recv().await, Some(number));
        }
        let ended = timeout(Duration::from_secs(10), sending).await;
        ended.expect("it waits for ever").expect("no panic");
        let rest = [taken.recv().await, taken.recv().await, taken.recv().await];
        assert_eq!(rest, [Some(1000), Some(1001), None]);
    }

    #[tokio::test]
    async fn a_snapshot_that_breaks_off_does_not_pass_for_a_whole_one() {
        assert_eq!(told(&[(5, 3), (3, 0)]).await, [Some(5), Some(3)]);
        assert_eq!(told(&[(5, 3)]).await, [Some(5), None], "three are missing");
        assert_eq!(told(&[]).await, [None], "nothing came at all");
    }
}
