//! Leases: keys that go when nobody says any more that they should stay.
//! Never counts time: the leader's lessor does.
//!
//! # Source
//! The etcd v3 API, service `Lease`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use headwater_kv::auth::Right;
use headwater_kv::check::check;
use headwater_kv::request::{
    Command, KvError, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, Outcome,
    Query, Response as KvResponse,
};
use headwater_runtime::ReadLevel;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::company::Call;
use crate::failure::Failure;
use crate::front::wants_leader;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::lease_server::Lease;
use crate::leases::{Answer, Question, ask};
use crate::service::unreadable;

/// How many renewals of one stream are under way at most.
const RENEWALS_MAX: usize = 64;

/// The service, on a backend shared with the others.
pub struct LeaseService(pub Arc<Backend>);

/// Grants a lease; an id of zero lets the server choose.
///
/// # Errors
/// See [`Failure`].
pub async fn grant(
    client: &Client,
    request: &api::LeaseGrantRequest,
) -> Result<api::LeaseGrantResponse, Failure> {
    loop {
        let id = if request.id == 0 {
            drawn_id()
        } else {
            request.id
        };
        let ttl = request.ttl.max(client.limits().lease_ttl_min);
        let command = Command::LeaseGrant(LeaseGrantRequest { id, ttl });
        check(&command, usize::MAX).map_err(Failure::Kv)?;
        let Outcome { revision, result } = client.propose(&command).await?;
        return match result {
            Ok(KvResponse::LeaseGrant(granted)) => Ok(api::LeaseGrantResponse {
                header: Some(client.header(revision)),
                id: granted.id,
                ttl: granted.ttl,
                error: String::new(),
            }),
            Ok(_) => Err(Failure::MISMATCH),
            Err(KvError::LeaseExists) if request.id == 0 => continue,
            Err(error) => Err(Failure::Kv(error)),
        };
    }
}

/// An id that is most likely nobody's: positive, as all that etcd draws.
fn drawn_id() -> i64 {
    let random = RandomState::new().hash_one(0u8);
    (random >> 1).max(1).cast_signed()
}

impl LeaseService {
    async fn revoke(client: &Client, id: i64) -> Result<api::LeaseRevokeResponse, Failure> {
        let command = Command::LeaseRevoke(LeaseRevokeRequest { id, ended: None });
        let Outcome { revision, result } = client.propose(&command).await?;
        result.map_err(Failure::Kv)?;
        Ok(api::LeaseRevokeResponse {
            header: Some(client.header(revision)),
        })
    }

    /// What there is of a lease; of one that is not there, that it has less than nothing left.
    async fn time_to_live(
        client: &Client,
        request: api::LeaseTimeToLiveRequest,
    ) -> Result<api::LeaseTimeToLiveResponse, Failure> {
        let api::LeaseTimeToLiveRequest { id, keys } = request;
        let query = Query::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys });
        let outcome = client.query(query, ReadLevel::Linearizable).await?;
        let gone = api::LeaseTimeToLiveResponse {
            header: Some(client.header(outcome.revision)),
            id,
            ttl: -1,
            ..Default::default()
        };
        let lease = match outcome.result {
            Ok(KvResponse::LeaseTimeToLive(lease)) => lease,
            Ok(_) => return Err(Failure::MISMATCH),
            Err(KvError::LeaseNotFound) => return Ok(gone),
            Err(error) => return Err(Failure::Kv(error)),
        };
        Ok(match ask(client, Question::TimeLeft(id)).await? {
            Answer::Seconds(ttl) => api::LeaseTimeToLiveResponse {
                ttl,
                granted_ttl: lease.granted_ttl,
                keys: lease.keys,
                ..gone
            },
            _ => gone,
        })
    }

    /// All leases, the next to end first; on a member that does not lead, by id.
    async fn leases(client: &Client) -> Result<api::LeaseLeasesResponse, Failure> {
        let outcome = client
            .query(Query::LeaseLeases, ReadLevel::Linearizable)
            .await?;
        let ids = match outcome.result {
            Ok(KvResponse::LeaseLeases(ids)) => ids,
            Ok(_) => return Err(Failure::MISMATCH),
            Err(error) => return Err(Failure::Kv(error)),
        };
        let by_end = client.desk().call(Call::InOrderOfEnd).await?;
        let by_end = if by_end.is_empty() { ids } else { by_end };
        Ok(api::LeaseLeasesResponse {
            header: Some(client.header(outcome.revision)),
            leases: by_end
                .into_iter()
                .map(|id| api::LeaseStatus { id })
                .collect(),
        })
    }
}

/// Renews a lease; one that is gone has no time left, and that is no error.
async fn renew(client: &Client, id: i64) -> Result<api::LeaseKeepAliveResponse, Failure> {
    client.demand(Right::Renew(id), ReadLevel::Local).await?;
    let backend = client.backend();
    // As in etcd, the revision is that of before the renewal, and this member's own.
    let before = backend.query(Query::Status, ReadLevel::Local).await?;
    let ttl = match ask(backend, Question::Renew(id)).await? {
        Answer::Seconds(ttl) => ttl,
        _ => 0,
    };
    Ok(api::LeaseKeepAliveResponse {
        header: Some(backend.header(before.revision)),
        id,
        ttl,
    })
}

type Renewals = mpsc::Sender<JoinHandle<Result<api::LeaseKeepAliveResponse, Failure>>>;

/// Begins each renewal as it is asked for; how it ends is told in the same order.
async fn hear(
    client: &Client,
    mut inbound: Streaming<api::LeaseKeepAliveRequest>,
    renewals: Renewals,
) -> Option<Status> {
    loop {
        let request = match inbound.message().await {
            Ok(Some(request)) => request,
            Ok(None) => return None,
            Err(status) => return Some(unreadable(status)),
        };
        let client = client.clone();
        let renewal = tokio::spawn(async move { renew(&client, request.id).await });
        if renewals.send(renewal).await.is_err() {
            return None;
        }
    }
}

/// Tells the client of its renewals; `None` once it has asked for the last.
async fn tell(
    mut renewals: mpsc::Receiver<JoinHandle<Result<api::LeaseKeepAliveResponse, Failure>>>,
    told: &mpsc::Sender<Result<api::LeaseKeepAliveResponse, Status>>,
) -> Option<Status> {
    while let Some(renewal) = renewals.recv().await {
        let failure = match renewal.await {
            Ok(Ok(response)) => match told.send(Ok(response)).await {
                Ok(()) => continue,
                Err(_) => return None,
            },
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Internal("a renewal broke off"),
        };
        return Some(failure.into());
    }
    None
}

async fn keep_alive(
    client: Client,
    request: Request<Streaming<api::LeaseKeepAliveRequest>>,
    told: mpsc::Sender<Result<api::LeaseKeepAliveResponse, Status>>,
) {
    let wants_leader = wants_leader(request.metadata().as_ref());
    let (begun, renewals) = mpsc::channel(RENEWALS_MAX);
    let hearing = async {
        match hear(&client, request.into_inner(), begun).await {
            Some(status) => Some(status),
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        end = tell(renewals, &told) => end,
        end = hearing => end,
        end = client.outlook().end(wants_leader) => Some(end.into()),
        () = told.closed() => None,
    };
    if let Some(end) = end {
        // Who is gone does not hear it.
        let _ = told.send(Err(end)).await;
    }
}

#[async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = BoxStream<api::LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<api::LeaseGrantRequest>,
    ) -> Result<Response<api::LeaseGrantResponse>, Status> {
        Ok(grant(&Client::of(&self.0, &request), request.get_ref())
            .await?
            .into())
    }

    async fn lease_revoke(
        &self,
        request: Request<api::LeaseRevokeRequest>,
    ) -> Result<Response<api::LeaseRevokeResponse>, Status> {
        Ok(
            Self::revoke(&Client::of(&self.0, &request), request.get_ref().id)
                .await?
                .into(),
        )
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<api::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (told, tells) = mpsc::channel(1);
        tokio::spawn(keep_alive(
            Client::of_stream(&self.0, &request),
            request,
            told,
        ));
        Ok(Response::new(Box::pin(ReceiverStream::new(tells))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<api::LeaseTimeToLiveRequest>,
    ) -> Result<Response<api::LeaseTimeToLiveResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let answer = Self::time_to_live(&client, request.into_inner()).await?;
        Ok(client.answers().fit(answer).await?)
    }

    async fn lease_leases(
        &self,
        request: Request<api::LeaseLeasesRequest>,
    ) -> Result<Response<api::LeaseLeasesResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let answer = Self::leases(&client).await?;
        Ok(client.answers().fit(answer).await?)
    }
}
