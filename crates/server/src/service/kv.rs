//! Keys: read, write, delete, decide, forget.
//! Never judges a request itself: the store's check does, before anything is proposed.
//!
//! # Source
//! The etcd v3 API, service `KV`; dissertation §6.4 (reads).

use std::sync::Arc;

use bytes::Bytes;
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
use crate::outlook::Terms;
use crate::pressure::Fit;
use crate::service::range_stream::{RangeStream, STREAM_BYTES};
use crate::service::until_end;

/// The service, on a backend shared with the others.
pub struct KvService(pub Arc<Backend>);

impl KvService {
    /// Reads a range, from the whole cluster's point of view unless less is asked for.
    ///
    /// # Errors
    /// See [`Failure`].
    fn read(
        client: &Client,
        request: api::RangeRequest,
    ) -> impl Future<Output = Result<tonic::Response<api::RangeResponse>, Failure>> {
        let level = read_level(request.serializable);
        let may_be_ahead = request.serializable && request.revision > 0;
        let query = Query::Range(convert::range(request));
        let checked = check_query(&query, client.limits().txn_ops_max);
        let ahead = may_be_ahead.then(|| Box::new(query.clone()));
        // Asked already: the future need not hold what is.
        let asked = checked.map(|()| client.query(query, level));
        async move {
            let mut outcome = asked.map_err(Failure::Kv)?.await?;
            if let Some(query) = ahead {
                outcome = Box::pin(client.caught_up(outcome, *query)).await?;
            }
            match answer(outcome)? {
                (revision, Response::Range(response)) => {
                    let header = client.header(revision);
                    let answer = convert::range_response(Some(header), response);
                    client.answers().fit_range(answer).await
                }
                _ => Err(Failure::MISMATCH),
            }
        }
    }

    /// Writes a key.
    ///
    /// # Errors
    /// See [`Failure`].
    fn write(
        client: &Client,
        request: api::PutRequest,
    ) -> impl Future<Output = Result<tonic::Response<api::PutResponse>, Failure>> {
        let carried_out = Self::carry_out(client, &Command::Put(convert::put(request)));
        async move {
            match carried_out.await? {
                (revision, Response::Put(response)) => {
                    let header = client.header(revision);
                    let answer = convert::put_response(Some(header), response);
                    match answer.prev_kv {
                        Some(_) => Box::pin(told(client, answer)).await,
                        None => Ok(answer.into()),
                    }
                }
                _ => Err(Failure::MISMATCH),
            }
        }
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn delete(
        client: &Client,
        request: api::DeleteRangeRequest,
    ) -> Result<tonic::Response<api::DeleteRangeResponse>, Failure> {
        let command = Command::DeleteRange(convert::delete_range(request));
        match Self::carry_out(client, &command).await? {
            (revision, Response::DeleteRange(response)) => {
                let header = client.header(revision);
                told(
                    client,
                    convert::delete_range_response(Some(header), response),
                )
                .await
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
    ) -> Result<tonic::Response<api::TxnResponse>, Failure> {
        let level = read_level(is_serializable(&request));
        let may_be_ahead = level == ReadLevel::Local && is_of_a_revision(&request);
        let txn = convert::txn(request);
        check_txn(&txn, client.limits().txn_ops_max).map_err(Failure::Kv)?;
        let outcome = if is_read_only(&txn) {
            let query = Query::Txn(txn);
            let ahead = may_be_ahead.then(|| query.clone());
            let outcome = client.query(query, level).await?;
            match ahead {
                Some(query) => client.caught_up(outcome, query).await?,
                None => outcome,
            }
        } else {
            client.propose(&Command::Txn(txn)).await?
        };
        match answer(outcome)? {
            (revision, Response::Txn(response)) => {
                told(
                    client,
                    convert::txn_response(client.header(revision), response),
                )
                .await
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

    /// Has a command carried out; the future holds its bytes alone.
    fn carry_out<'a>(
        client: &'a Client,
        command: &Command,
    ) -> impl Future<Output = Result<(i64, Response), Failure>> + use<'a> {
        let checked = check(command, client.limits().txn_ops_max);
        let proposed = checked.map(|()| client.propose(command));
        async move { answer(proposed.map_err(Failure::Kv)?.await?) }
    }
}

/// A call that may go the short way.
pub enum ShortCall {
    /// A read.
    Range(api::RangeRequest),
    /// A write.
    Put(api::PutRequest),
    /// A deletion.
    DeleteRange(api::DeleteRangeRequest),
    /// A decision.
    Txn(Box<api::TxnRequest>),
}

impl ShortCall {
    /// What makes a call of `method` of its message, if such calls may go the short way.
    pub fn decoder(method: &str) -> Option<fn(Bytes) -> Option<ShortCall>> {
        Some(match method {
            "Range" => |bytes| Message::decode(bytes).ok().map(ShortCall::Range),
            "Put" => |bytes| Message::decode(bytes).ok().map(ShortCall::Put),
            "DeleteRange" => |bytes| Message::decode(bytes).ok().map(ShortCall::DeleteRange),
            "Txn" => |bytes| {
                Message::decode(bytes)
                    .ok()
                    .map(Box::new)
                    .map(ShortCall::Txn)
            },
            _ => return None,
        })
    }

    /// Which method it calls.
    pub fn method(&self) -> &'static str {
        match self {
            ShortCall::Range(_) => "Range",
            ShortCall::Put(_) => "Put",
            ShortCall::DeleteRange(_) => "DeleteRange",
            ShortCall::Txn(_) => "Txn",
        }
    }
}

impl KvService {
    /// Answers a call that goes the short way.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn answer(client: &Client, call: ShortCall) -> Result<Fit, Failure> {
        Ok(match call {
            ShortCall::Range(request) => Fit::of(Self::read(client, request).await?),
            ShortCall::Put(request) => Fit::of(Self::write(client, request).await?),
            // In boxes: there are fewer of them, and they would make all futures larger.
            ShortCall::DeleteRange(request) => {
                Fit::of(Box::pin(Self::delete(client, request)).await?)
            }
            ShortCall::Txn(request) => Fit::of(Box::pin(Self::decide(client, *request)).await?),
        })
    }
}

/// Tells what has happened. If there is no room to tell it, the client must not take it for refused.
async fn told<T: Message>(client: &Client, answer: T) -> Result<tonic::Response<T>, Failure> {
    let fit = client.answers().fit(answer).await;
    fit.map_err(|_| Failure::TimedOut)
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
    let mut ranges = ranges(txn).peekable();
    ranges.peek().is_some() && ranges.all(|range| range.is_some_and(|range| range.serializable))
}

/// Whether a range in it is as of a revision that the client names.
fn is_of_a_revision(txn: &api::TxnRequest) -> bool {
    ranges(txn).flatten().any(|range| range.revision > 0)
}

/// The operations of a transaction, as ranges; `None` for each that is something else.
fn ranges(txn: &api::TxnRequest) -> impl Iterator<Item = Option<&api::RangeRequest>> {
    use api::request_op::Request;
    let ops = txn.success.iter().chain(&txn.failure);
    ops.map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}

#[async_trait]
impl Kv for KvService {
    type RangeStreamStream = BoxStream<api::RangeStreamResponse>;

    async fn range(&self, request: Request<api::RangeRequest>) -> Answer<api::RangeResponse> {
        let client = Client::of(&self.0, &request);
        Ok(Self::read(&client, request.into_inner()).await?)
    }

    async fn range_stream(
        &self,
        request: Request<api::RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let client = Client::of_stream(&self.0, &request);
        let terms = Terms::of(request.metadata().as_ref())?;
        let (told, tells) = mpsc::channel(1);
        let chunks = until_end(ReceiverStream::new(tells), self.0.outlook().clone(), terms);
        let answer = client.answers().fit_stream(chunks, STREAM_BYTES).await?;
        let stream = tokio::select! {
            biased;
            end = self.0.outlook().end(terms) => return Err(end.into()),
            opened = RangeStream::open(client, request.into_inner()) => opened?,
        };
        tokio::spawn(stream.tell(told));
        Ok(answer)
    }

    async fn put(&self, request: Request<api::PutRequest>) -> Answer<api::PutResponse> {
        let client = Client::of(&self.0, &request);
        Ok(Self::write(&client, request.into_inner()).await?)
    }

    async fn delete_range(
        &self,
        request: Request<api::DeleteRangeRequest>,
    ) -> Answer<api::DeleteRangeResponse> {
        let client = Client::of(&self.0, &request);
        Ok(Self::delete(&client, request.into_inner()).await?)
    }

    async fn txn(&self, request: Request<api::TxnRequest>) -> Answer<api::TxnResponse> {
        let client = Client::of(&self.0, &request);
        Ok(Self::decide(&client, request.into_inner()).await?)
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
