//! Leases: keys that go when nobody says any more that they should stay.
//! Never counts time: the leader's lessor does.
//!
//! # Source
//! The etcd v3 API, service `Lease`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headwater_kv::auth::Right;
use headwater_kv::check::check;
use headwater_kv::lessor::Renewal;
use headwater_kv::request::{
    Command, KvError, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, Outcome,
    Query, Response as KvResponse,
};
use headwater_runtime::ReadLevel;
use tokio::sync::{mpsc, oneshot};
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::company::Call;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::lease_server::Lease;
use crate::inbound::Inbound;
use crate::leases::{Answer, Question, ask};
use crate::outlook::Terms;
use crate::renewals::{Renew, Renewed};
use crate::service::unreadable;
use crate::sink::Sink;

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

/// A renewal on its way.
enum Renewing {
    /// This member leads, as far as it knows.
    Here(i64, oneshot::Receiver<Renewed>),
    /// It does not, or not yet: whoever leads is asked.
    Elsewhere(Pin<Box<dyn Future<Output = Result<api::LeaseKeepAliveResponse, Failure>> + Send>>),
    /// What is told of it. One that is gone has no time left, and that is no error.
    Done(Result<api::LeaseKeepAliveResponse, Failure>),
}

impl Renewing {
    /// Has a lease renewed.
    fn begin(client: &Client, id: i64) -> Self {
        let backend = client.backend();
        if backend.leader() != Some(backend.cluster().me) {
            return Self::begin_elsewhere(client, id);
        }
        let asker = client.asker().cloned();
        let renew = |answer| Call::Renew(Renew { id, asker, answer });
        Self::Here(id, backend.desk().ask(renew))
    }

    fn begin_elsewhere(client: &Client, id: i64) -> Self {
        let client = client.clone();
        Self::Elsewhere(Box::pin(async move { renew_elsewhere(&client, id).await }))
    }

    /// Takes it as far as it goes now.
    fn advance(&mut self, client: &Client, context: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match self {
                Self::Here(id, renewed) => {
                    let renewed = ready!(Pin::new(renewed).poll(context));
                    let told = renewed.map_err(|_| Failure::Stopped);
                    match told.and_then(|told| Ok((told.result?, told.revision))) {
                        Ok((Renewal::Renewed(ttl), revision)) => {
                            Self::Done(Ok(kept(client, (*id, ttl), revision)))
                        }
                        Ok((Renewal::Gone, revision)) => {
                            Self::Done(Ok(kept(client, (*id, 0), revision)))
                        }
                        Ok((Renewal::First(_) | Renewal::NotLeading, _)) => {
                            Self::begin_elsewhere(client, *id)
                        }
                        Err(failure) => Self::Done(Err(failure)),
                    }
                }
                Self::Elsewhere(ended) => Self::Done(ready!(ended.as_mut().poll(context))),
                Self::Done(_) => return Poll::Ready(()),
            };
        }
    }
}

/// Has whoever leads renew a lease.
async fn renew_elsewhere(client: &Client, id: i64) -> Result<api::LeaseKeepAliveResponse, Failure> {
    client.demand(Right::Renew(id), ReadLevel::Local).await?;
    // As in etcd, the revision is that of before the renewal, and this member's own.
    let before = client
        .backend()
        .query(Query::Status, ReadLevel::Local)
        .await?;
    let ttl = match ask(client, Question::Renew(id)).await? {
        Answer::Seconds(ttl) => ttl,
        _ => 0,
    };
    Ok(kept(client, (id, ttl), before.revision))
}

fn kept(client: &Client, (id, ttl): (i64, i64), revision: i64) -> api::LeaseKeepAliveResponse {
    api::LeaseKeepAliveResponse {
        header: Some(client.header(revision)),
        id,
        ttl,
    }
}

/// Serves one stream of renewals until it ends: each begins as it is asked for, and how they end is told in
/// the same order.
pub async fn serve(
    client: Client,
    mut inbound: Inbound<'_, api::LeaseKeepAliveRequest>,
    terms: Terms,
    sink: Sink<api::LeaseKeepAliveResponse>,
) {
    // A future of its own, which is looked at when it has something to say, not with each renewal.
    let mut ends: FuturesUnordered<_> = [client.outlook().end(terms)].into_iter().collect();
    let mut renewals = VecDeque::new();
    let mut asks = true;
    while asks || !renewals.is_empty() {
        let may_ask = asks && renewals.len() < RENEWALS_MAX;
        let is_heard = may_ask && sink.inbound_tells_gone();
        let renewal = tokio::select! {
            biased;
            renewal = first(&mut renewals, &client) => renewal,
            request = inbound.message(), if may_ask => {
                match request {
                    Ok(Some(request)) => renewals.push_back(Renewing::begin(&client, request.id)),
                    Ok(None) => asks = false,
                    Err(status) => return sink.end(Some(unreadable(status))).await,
                }
                continue;
            }
            Some(end) = ends.next() => return sink.end(Some(end.into())).await,
            () = sink.gone(), if !is_heard => return,
        };
        let response = match renewal {
            Ok(response) => response,
            Err(failure) => return sink.end(Some(failure.into())).await,
        };
        tokio::select! {
            biased;
            () = sink.tell(response) => {}
            Some(end) = ends.next() => return sink.end(Some(end.into())).await,
            // The others go on meanwhile; this never ends.
            () = poll_fn(|context| advance(&mut renewals, &client, context)) => {}
        }
    }
    sink.end(None).await;
}

/// Takes all as far as they go now; never ends.
fn advance(
    renewals: &mut VecDeque<Renewing>,
    client: &Client,
    context: &mut Context<'_>,
) -> Poll<()> {
    for renewing in renewals {
        let _ = renewing.advance(client, context);
    }
    Poll::Pending
}

/// The renewal that was asked for first, once it is done; without any never. All are taken as far as they go.
async fn first(
    renewals: &mut VecDeque<Renewing>,
    client: &Client,
) -> Result<api::LeaseKeepAliveResponse, Failure> {
    poll_fn(|context| {
        let _ = advance(renewals, client, context);
        match renewals.pop_front() {
            Some(Renewing::Done(ended)) => return Poll::Ready(ended),
            Some(renewing) => renewals.push_front(renewing),
            None => {}
        }
        Poll::Pending
    })
    .await
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
        let terms = Terms::of(request.metadata().as_ref())?;
        let client = Client::of_stream(&self.0, &request);
        let (told, tells) = mpsc::channel(1);
        let sink = Sink::Channel(told);
        tokio::spawn(serve(client, request.into_inner().into(), terms, sink));
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
