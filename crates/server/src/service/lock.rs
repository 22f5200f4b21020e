//! Locks: one client at a time holds a name, for as long as its lease lives.
//! Never held by this server: a lock is a key in the store, and whoever sees that key sees the lock.
//!
//! # Source
//! The etcd v3 API, service `v3lockpb.Lock`; etcd's clientv3, package `concurrency`.

use std::sync::Arc;

use bytes::Bytes;
use headwater_kv::check::check;
use headwater_kv::request::{Command, DeleteRangeRequest};
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::failure::Failure;
use crate::generated::etcdserverpb::LeaseGrantRequest;
use crate::generated::v3lockpb as api;
use crate::generated::v3lockpb::lock_server::Lock;
use crate::outlook::Terms;
use crate::queue::Queue;
use crate::service::lease;

/// How long a lock lives, in seconds, if the client has no lease for it.
const LEASE_TTL: i64 = 60;

/// The service, on a backend shared with the others.
pub struct LockService(pub Arc<Backend>);

/// The lease that a client names, or a new one.
///
/// # Errors
/// See [`Failure`].
pub async fn lease_of(client: &Client, lease: i64) -> Result<i64, Failure> {
    if lease != 0 {
        return Ok(lease);
    }
    let ttl = LEASE_TTL;
    let granted = lease::grant(client, &LeaseGrantRequest { id: 0, ttl }).await?;
    Ok(granted.id)
}

impl LockService {
    async fn acquire(
        client: &Client,
        request: api::LockRequest,
    ) -> Result<api::LockResponse, Failure> {
        let lease = lease_of(client, request.lease).await?;
        let queue = Queue::new(&request.name);
        let taken = queue.take(client, lease, Bytes::new()).await?;
        queue.wait(client, &taken.place).await?;
        // The lease may have ended while this waited.
        let (is_there, revision) = taken.place.is_there(client).await?;
        taken.hold.keep();
        if !is_there {
            return Err(Failure::Unknown("mutex: session is expired"));
        }
        Ok(api::LockResponse {
            header: Some(client.header(revision)),
            key: taken.place.key,
        })
    }

    async fn release(client: &Client, key: Bytes) -> Result<api::UnlockResponse, Failure> {
        let command = Command::DeleteRange(DeleteRangeRequest {
            key,
            ..DeleteRangeRequest::default()
        });
        check(&command, usize::MAX).map_err(Failure::Kv)?;
        let outcome = client.propose(&command).await?;
        outcome.result.map_err(Failure::Kv)?;
        Ok(api::UnlockResponse {
            header: Some(client.header(outcome.revision)),
        })
    }
}

#[async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<api::LockRequest>,
    ) -> Result<Response<api::LockResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let terms = Terms::of(request.metadata().as_ref())?;
        tokio::select! {
            locked = Self::acquire(&client, request.into_inner()) => Ok(locked?.into()),
            end = self.0.outlook().end(terms) => Err(end.into()),
        }
    }

    async fn unlock(
        &self,
        request: Request<api::UnlockRequest>,
    ) -> Result<Response<api::UnlockResponse>, Status> {
        Ok(
            Self::release(&Client::of(&self.0, &request), request.into_inner().key)
                .await?
                .into(),
        )
    }
}
