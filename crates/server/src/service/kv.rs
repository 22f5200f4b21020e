//! Keys: read, write, delete, decide, forget.
//! Never judges a request itself: the store's check does, before anything is proposed.
//!
//! # Source
//! The etcd v3 API, service `KV`; dissertation §6.4 (reads).

use std::sync::Arc;

use headwater_kv::check::{check, check_query, check_txn};
use headwater_kv::request::{Command, Outcome, Query, Response};
use headwater_kv::txn::is_read_only;
use headwater_runtime::ReadLevel;
use prost::Message;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::convert;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::kv_server::Kv;
use crate::service::range_stream::{RangeStream, STREAM_BYTES};

/// The service, on a backend shared with the others.
pub struct KvService(pub Arc<Backend>);

impl KvService {
    /// Reads a range, from the whole cluster's point of view unless less is asked for.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn read_range(
        client: &Client,
        request: api::RangeRequest,
    ) -> Result<api::RangeResponse, Failure> {
        let level = read_level(request.serializable);
        let query = Query::Range(convert::range(request));
        check_query(&query, client.limits().txn_ops_max).map_err(Failure::Kv)?;
        let outcome = client.query(query, level).await?;
        match answer(outcome)? {
            (revision, Response::Range(response)) => {
                let header = client.header(revision);
                Ok(convert::range_response(Some(header), response))
            }
            _ => Err(Failure::MISMATCH),
        }
    }

    /// Writes a key.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn write_put(
        client: &Client,
        request: api::PutRequest,
    ) -> Result<api::PutResponse, Failure> {
        let command = Command::Put(convert::put(request));
        match Self::carry_out(client, &command).await? {
            (revision, Response::Put(response)) => {
                let header = client.header(revision);
                Ok(convert::put_response(Some(header), response))
            }
            _ => Err(Failure::MISMATCH),
        }
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn write_delete(
        client: &Client,
        request: api::DeleteRangeRequest,
    ) -> Result<api::DeleteRangeResponse, Failure> {
        let command = Command::DeleteRange(convert::delete_range(request));
        match Self::carry_out(client, &command).await? {
            (revision, Response::DeleteRange(response)) => {
                let header = client.header(revision);
                Ok(convert::delete_range_response(Some(header), response))
            }
            _ => Err(Failure::MISMATCH),
        }
    }

    /// Carries out a transaction; one that only reads does not go through the log.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn decide(
        client: &Client,
        request: api::TxnRequest,
    ) -> Result<api::TxnResponse, Failure> {
        let level = read_level(is_serializable(&request));
        let txn = convert::txn(request);
        check_txn(&txn, client.limits().txn_ops_max).map_err(Failure::Kv)?;
        let outcome = if is_read_only(&txn) {
            client.query(Query::Txn(txn), level).await?
        } else {
            client.propose(&Command::Txn(txn)).await?
        };
        match answer(outcome)? {
            (revision, Response::Txn(response)) => {
                Ok(convert::txn_response(client.header(revision), response))
            }
            _ => Err(Failure::MISMATCH),
        }
    }

    /// Forgets the history before a revision.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn forget(
        client: &Client,
        request: api::CompactionRequest,
    ) -> Result<api::CompactionResponse, Failure> {
        let command = Command::Compact(convert::compaction(&request));
        match Self::carry_out(client, &command).await? {
            (revision, Response::Compact) => Ok(api::CompactionResponse {
                header: Some(client.header(revision)),
            }),
            _ => Err(Failure::MISMATCH),
        }
    }

    async fn carry_out(client: &Client, command: &Command) -> Result<(i64, Response), Failure> {
        check(command, client.limits().txn_ops_max).map_err(Failure::Kv)?;
        answer(client.propose(command).await?)
    }
}

/// Tells what has happened. If there is no room to tell it, the client must not take it for refused.
async fn told<T: Message>(client: &Client, answer: T) -> Answer<T> {
    let fit = client.answers().fit(answer).await;
    fit.map_err(|_| Failure::TimedOut.into())
}

fn answer(outcome: Outcome) -> Result<(i64, Response), Failure> {
    let response = outcome.result.map_err(Failure::Kv)?;
    Ok((outcome.revision, response))
}

/// Where a read is answered.
pub(super) fn read_level(is_serializable: bool) -> ReadLevel {
    if is_serializable {
        ReadLevel::Local
    } else {
        ReadLevel::Linearizable
    }
}

/// Whether every operation is a read that may be stale. One without operations has only its
/// conditions, which nobody has said may be judged by old state.
fn is_serializable(txn: &api::TxnRequest) -> bool {
    use api::request_op::Request;
    let mut ops = txn.success.iter().chain(&txn.failure).peekable();
    let may_be_stale = |op: &api::RequestOp| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable);
    ops.peek().is_some() && ops.all(may_be_stale)
}

#[async_trait]
impl Kv for KvService {
    type RangeStreamStream = BoxStream<api::RangeStreamResponse>;

    async fn range(&self, request: Request<api::RangeRequest>) -> Answer<api::RangeResponse> {
        let client = Client::of(&self.0, &request);
        let answer = Self::read_range(&client, request.into_inner()).await?;
        Ok(client.answers().fit_range(answer).await?)
    }

    async fn range_stream(
        &self,
        request: Request<api::RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let client = Client::of_stream(&self.0, &request);
        let (told, tells) = mpsc::channel(1);
        let chunks: Self::RangeStreamStream = Box::pin(ReceiverStream::new(tells));
        let answer = client.answers().fit_stream(chunks, STREAM_BYTES).await?;
        let stream = RangeStream::open(client, request.into_inner()).await?;
        tokio::spawn(stream.tell(told));
        Ok(answer)
    }

    async fn put(&self, request: Request<api::PutRequest>) -> Answer<api::PutResponse> {
        let client = Client::of(&self.0, &request);
        let answer = Self::write_put(&client, request.into_inner()).await?;
        match answer.prev_kv {
            Some(_) => told(&client, answer).await,
            None => Ok(answer.into()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<api::DeleteRangeRequest>,
    ) -> Answer<api::DeleteRangeResponse> {
        let client = Client::of(&self.0, &request);
        let answer = Self::write_delete(&client, request.into_inner()).await?;
        told(&client, answer).await
    }

    async fn txn(&self, request: Request<api::TxnRequest>) -> Answer<api::TxnResponse> {
        let client = Client::of(&self.0, &request);
        let answer = Self::decide(&client, request.into_inner()).await?;
        told(&client, answer).await
    }

    async fn compact(
        &self,
        request: Request<api::CompactionRequest>,
    ) -> Answer<api::CompactionResponse> {
        Ok(
            Self::forget(&Client::of(&self.0, &request), request.into_inner())
                .await?
                .into(),
        )
    }
}

type Answer<T> = Result<tonic::Response<T>, Status>;
