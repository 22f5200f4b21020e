//! Elections among clients: who stands first under a name leads, for as long as its lease lives.
//! Never to be taken for those of the members.
//!
//! # Source
//! The etcd v3 API, service `v3electionpb.Election`; etcd's clientv3, package `concurrency`.

use std::sync::Arc;

use headwater_kv::request::KeyValue;
use headwater_kv::watch::EventKind;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::convert::key_value;
use crate::failure::Failure;
use crate::generated::v3electionpb as api;
use crate::generated::v3electionpb::election_server::Election;
use crate::outlook::Terms;
use crate::queue::{Place, Queue, Watched};
use crate::service::lock::lease_of;

/// The service, on a backend shared with the others.
pub struct ElectionService(pub Arc<Backend>);

const NO_LEADER: Failure = Failure::Unknown("election: no leader");
const NOT_LEADER: Failure = Failure::Unknown("election: not leader");
const NO_KEY: Failure = Failure::Unknown("\"leader\" field must be provided");

impl ElectionService {
    async fn stand(
        client: &Client,
        request: api::CampaignRequest,
    ) -> Result<api::CampaignResponse, Failure> {
        let lease = lease_of(client, request.lease).await?;
        let queue = Queue::new(&request.name);
        let taken = queue.take(client, lease, request.value.clone()).await?;
        let place = &taken.place;
        let shows_other = |before: &KeyValue| before.value != request.value;
        if taken.before.as_ref().is_some_and(shows_other)
            && !place.show(client, request.value).await?.0
        {
            return Err(NOT_LEADER);
        }
        queue.wait(client, place).await?;
        taken.hold.keep();
        Ok(api::CampaignResponse {
            header: Some(client.header(taken.at)),
            leader: Some(api::LeaderKey {
                name: request.name,
                key: taken.place.key,
                rev: taken.place.revision,
                lease,
            }),
        })
    }

    async fn show(
        client: &Client,
        request: api::ProclaimRequest,
    ) -> Result<api::ProclaimResponse, Failure> {
        let place = place(request.leader)?;
        let (is_there, revision) = place.show(client, request.value).await?;
        if !is_there {
            return Err(NOT_LEADER);
        }
        Ok(api::ProclaimResponse {
            header: Some(client.header(revision)),
        })
    }

    async fn head(
        client: &Client,
        request: api::LeaderRequest,
    ) -> Result<api::LeaderResponse, Failure> {
        let (revision, kv) = Queue::new(&request.name).head(client).await?;
        Ok(response(client, revision, kv.ok_or(NO_LEADER)?))
    }

    async fn leave(
        client: &Client,
        request: api::ResignRequest,
    ) -> Result<api::ResignResponse, Failure> {
        let revision = place(request.leader)?.leave(client).await?;
        Ok(api::ResignResponse {
            header: Some(client.header(revision)),
        })
    }
}

fn place(key: Option<api::LeaderKey>) -> Result<Place, Failure> {
    let key = key.ok_or(NO_KEY)?;
    Ok(Place {
        key: key.key,
        revision: key.rev,
        lease: key.lease,
    })
}

fn response(client: &Client, revision: i64, kv: KeyValue) -> api::LeaderResponse {
    api::LeaderResponse {
        header: Some(client.header(revision)),
        kv: Some(key_value(kv)),
    }
}

/// Tells who leads, and what they show, from now on.
async fn observe(
    client: &Client,
    queue: &Queue,
    told: &mpsc::Sender<Result<api::LeaderResponse, Status>>,
) -> Failure {
    loop {
        if let Err(failure) = observe_one(client, queue, told).await {
            return failure;
        }
    }
}

/// Tells of one leader from its beginning to its end.
async fn observe_one(
    client: &Client,
    queue: &Queue,
    told: &mpsc::Sender<Result<api::LeaderResponse, Status>>,
) -> Result<(), Failure> {
    let (revision, head) = queue.head(client).await?;
    let Some(head) = head else {
        // Whoever comes first is seen at the next look.
        queue.watch(client, revision + 1).await?.next().await?;
        return Ok(());
    };
    let key = head.key.clone();
    // Who is gone ends the stream elsewhere.
    let _ = told.send(Ok(response(client, revision, head))).await;
    let watched = Watched::key(client, &key, revision + 1).await?;
    while let Some(events) = watched.next().await? {
        for event in events.iter() {
            if event.kind == EventKind::Delete {
                return Ok(());
            }
            let revision = event.kv.mod_revision;
            let _ = told
                .send(Ok(response(client, revision, event.kv.clone())))
                .await;
        }
    }
    Ok(())
}

#[async_trait]
impl Election for ElectionService {
    type ObserveStream = BoxStream<api::LeaderResponse>;

    async fn campaign(
        &self,
        request: Request<api::CampaignRequest>,
    ) -> Result<Response<api::CampaignResponse>, Status> {
        let terms = Terms::of(request.metadata().as_ref())?;
        let client = Client::of(&self.0, &request);
        tokio::select! {
            elected = Self::stand(&client, request.into_inner()) => Ok(elected?.into()),
            end = self.0.outlook().end(terms) => Err(end.into()),
        }
    }

    async fn proclaim(
        &self,
        request: Request<api::ProclaimRequest>,
    ) -> Result<Response<api::ProclaimResponse>, Status> {
        Ok(
            Self::show(&Client::of(&self.0, &request), request.into_inner())
                .await?
                .into(),
        )
    }

    async fn leader(
        &self,
        request: Request<api::LeaderRequest>,
    ) -> Result<Response<api::LeaderResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let answer = Self::head(&client, request.into_inner()).await?;
        Ok(client.answers().fit(answer).await?)
    }

    async fn observe(
        &self,
        request: Request<api::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let terms = Terms::of(request.metadata().as_ref())?;
        let queue = Queue::new(&request.get_ref().name);
        let (told, tells) = mpsc::channel(1);
        let client = Client::of_stream(&self.0, &request);
        tokio::spawn(async move {
            let end = tokio::select! {
                end = observe(&client, &queue, &told) => end,
                end = client.outlook().end(terms) => end,
                () = told.closed() => return,
            };
            let _ = told.send(Err(end.into())).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(tells))))
    }

    async fn resign(
        &self,
        request: Request<api::ResignRequest>,
    ) -> Result<Response<api::ResignResponse>, Status> {
        Ok(
            Self::leave(&Client::of(&self.0, &request), request.into_inner())
                .await?
                .into(),
        )
    }
}
