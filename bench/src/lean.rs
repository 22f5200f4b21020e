//! A client of the few calls that a load needs, which takes little of the processor.
//!
//! What a load generator takes its servers lose when they share a machine with it. The usual client
//! sends every request through layers, boxes, a queue and a timer of its own. Here a request is a
//! head that was built once and one buffer, a client is one task, and everything that the clients of
//! a connection ask for in one turn of the scheduler goes out by one system call.
//!
//! Never connects again, balances, retries, or speaks TLS: a connection that has ended answers with
//! errors from then on.
//!
//! # Source
//! "gRPC over HTTP/2" (heads of requests).

use crate::grpc::{Answers, Gathering, framed, within};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use headwater_api::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request as Operation,
    response_op::Response as Outcome,
    watch_request::RequestUnion,
};
use http::{HeaderValue, Method, Request, Uri};
use prost::Message;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep};

/// What a connection and each of its streams take unasked, in bytes: so much that answers of usual
/// sizes need no word about windows.
const WINDOW: u32 = 1 << 28;

/// One client; others may share its connection.
pub struct Client {
    send: SendRequest<Bytes>,
    heads: Rc<Heads>,
    limit: Duration,
    /// When the limit is looked at next. It is set anew when it has come and not for each request.
    timer: Pin<Box<Sleep>>,
}

/// The heads of all requests on a connection, each built once.
struct Heads {
    range: Request<()>,
    put: Request<()>,
    txn: Request<()>,
    grant: Request<()>,
    keep_alive: Request<()>,
    watch: Request<()>,
}

impl Heads {
    fn new(url: &Uri) -> Result<Heads> {
        let head = |path: &str| -> Result<Request<()>> {
            let mut parts = url.clone().into_parts();
            parts.path_and_query = Some(path.parse()?);
            let mut head = Request::builder()
                .method(Method::POST)
                .uri(Uri::from_parts(parts)?);
            for (name, text) in [
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "headwater-bench"),
            ] {
                // Text that is nobody's costs nothing to clone.
                head = head.header(name, HeaderValue::from_static(text));
            }
            Ok(head.body(())?)
        };
        Ok(Heads {
            range: head("/etcdserverpb.KV/Range")?,
            put: head("/etcdserverpb.KV/Put")?,
            txn: head("/etcdserverpb.KV/Txn")?,
            grant: head("/etcdserverpb.Lease/LeaseGrant")?,
            keep_alive: head("/etcdserverpb.Lease/LeaseKeepAlive")?,
            watch: head("/etcdserverpb.Watch/Watch")?,
        })
    }
}

impl Clone for Client {
    /// Another client on the same connection.
    fn clone(&self) -> Client {
        Client {
            send: self.send.clone(),
            heads: Rc::clone(&self.heads),
            limit: self.limit,
            timer: Box::pin(sleep(self.limit)),
        }
    }
}

impl Client {
    /// A connection, with its first client, whose every request may take so long.
    ///
    /// # Errors
    /// If nobody listens there, or the URL asks for more than plain HTTP.
    pub async fn connect(url: &str, limit: Duration) -> Result<Client> {
        let url: Uri = url.parse()?;
        let plain = url.scheme_str() == Some("http");
        ensure!(plain, "the lean engine speaks http:// alone, not {url}");
        let authority = url.authority().context("no host in the URL")?;
        let socket = TcpStream::connect(authority.as_str()).await?;
        socket.set_nodelay(true)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .enable_push(false)
            .handshake(Gathering(socket))
            .await?;
        // Those who wait for an answer when it ends are told why; it ends with its last client.
        spawn_local(connection);
        Ok(Client {
            send,
            heads: Rc::new(Heads::new(&url)?),
            limit,
            timer: Box::pin(sleep(limit)),
        })
    }

    /// Puts a value to a key.
    ///
    /// # Errors
    /// If the answer is an error, does not come in time, or has no revision.
    pub async fn put(&mut self, key: &str, value: &Bytes) -> Result<()> {
        let head = self.heads.put.clone();
        let answer: PutResponse = self.call(head, &put(key, value)).await?;
        revision(answer.header)?;
        Ok(())
    }

    /// Reads a key; gives the number of bytes of its value, if it has one.
    ///
    /// # Errors
    /// If the answer is an error, does not come in time, or has no revision.
    pub async fn range(&mut self, key: &str, serializable: bool) -> Result<Option<usize>> {
        let question = RangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            serializable,
            ..RangeRequest::default()
        };
        let head = self.heads.range.clone();
        let answer: RangeResponse = self.call(head, &question).await?;
        revision(answer.header)?;
        Ok(answer.kvs.first().map(|kv| kv.value.len()))
    }

    /// Puts a value to a key if that was changed last at this revision; gives the revision at which
    /// it is changed last now, whoever did it, 0 if there is no such key.
    ///
    /// # Errors
    /// If the answer is an error, does not come in time, or has no revision.
    pub async fn swap(&mut self, key: &str, value: &Bytes, known_revision: i64) -> Result<i64> {
        let operation = |operation| RequestOp {
            request: Some(operation),
        };
        let key_bytes = Bytes::copy_from_slice(key.as_bytes());
        let read = RangeRequest {
            key: key_bytes.clone(),
            ..RangeRequest::default()
        };
        let is_unchanged = Compare {
            key: key_bytes,
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            target_union: Some(TargetUnion::ModRevision(known_revision)),
            ..Compare::default()
        };
        let question = TxnRequest {
            compare: vec![is_unchanged],
            success: vec![operation(Operation::RequestPut(put(key, value)))],
            failure: vec![operation(Operation::RequestRange(read))],
        };
        let head = self.heads.txn.clone();
        let answer: TxnResponse = self.call(head, &question).await?;
        let now = revision(answer.header)?;
        let outcome = answer.responses.into_iter().next();
        match outcome.and_then(|outcome| outcome.response) {
            Some(Outcome::ResponsePut(_)) if answer.succeeded => Ok(now),
            Some(Outcome::ResponseRange(read)) if !answer.succeeded => {
                Ok(read.kvs.first().map_or(0, |kv| kv.mod_revision))
            }
            _ => bail!("the answer to a transaction says something else"),
        }
    }

    /// A lease of this client's own, to be kept alive.
    ///
    /// # Errors
    /// If it does not get one.
    pub async fn lease(&mut self, seconds: i64) -> Result<Lease> {
        let head = self.heads.grant.clone();
        let question = LeaseGrantRequest {
            ttl: seconds,
            ..LeaseGrantRequest::default()
        };
        let granted: LeaseGrantResponse = self.call(head, &question).await?;
        poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let head = self.heads.keep_alive.clone();
        let (answer, send) = self.send.send_request(head, false)?;
        Ok(Lease {
            id: granted.id,
            send,
            answers: Answers::of(answer),
            limit: self.limit,
            timer: Box::pin(sleep(self.limit)),
        })
    }

    /// Watches a key, on a stream of its own, from now on.
    ///
    /// # Errors
    /// If the server does not say in time that it does.
    pub async fn watch(&mut self, key: &str) -> Result<Watch> {
        let create = WatchCreateRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..WatchCreateRequest::default()
        };
        let question = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        let head = self.heads.watch.clone();
        let send = &mut self.send;
        let created = async {
            poll_fn(|cx| send.poll_ready(cx)).await?;
            let (answer, mut send) = send.send_request(head, false)?;
            send.send_data(framed(&question), false)?;
            let mut answers = Answers::of(answer);
            let first = answers.next().await?.context("the stream ended")?;
            let first = WatchResponse::decode(first)?;
            let why = &first.cancel_reason;
            ensure!(first.created && !first.canceled, "no watch: {why}");
            Ok(Watch {
                _send: send,
                answers,
            })
        };
        within(&mut self.timer, self.limit, created).await
    }

    /// One question and its one answer.
    async fn call<A: Message + Default>(
        &mut self,
        head: Request<()>,
        question: &impl Message,
    ) -> Result<A> {
        let send = &mut self.send;
        let answer = async {
            poll_fn(|cx| send.poll_ready(cx)).await?;
            let (answer, mut body) = send.send_request(head, false)?;
            body.send_data(framed(question), true)?;
            let mut answers = Answers::of(answer);
            let answer = answers.next().await?.context("no answer in the answer")?;
            ensure!(answers.next().await?.is_none(), "more than one answer");
            Ok(A::decode(answer)?)
        };
        within(&mut self.timer, self.limit, answer).await
    }
}

/// A lease and the stream that keeps it alive.
pub struct Lease {
    id: i64,
    send: SendStream<Bytes>,
    answers: Answers,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Lease {
    /// Keeps it alive once; gives the seconds that it has from now on.
    ///
    /// # Errors
    /// If the answer is an error or does not come in time.
    pub async fn keep_alive(&mut self) -> Result<i64> {
        let question = LeaseKeepAliveRequest { id: self.id };
        self.send.send_data(framed(&question), false)?;
        let answers = &mut self.answers;
        let answer = async {
            let answer = answers.next().await?.context("the stream ended")?;
            Ok(LeaseKeepAliveResponse::decode(answer)?.ttl)
        };
        within(&mut self.timer, self.limit, answer).await
    }
}

/// A watch. It ends with this.
pub struct Watch {
    _send: SendStream<Bytes>,
    answers: Answers,
}

impl Watch {
    /// How many events the next message has.
    ///
    /// # Errors
    /// If the watch or its stream ended.
    pub async fn events(&mut self) -> Result<usize> {
        let message = self.answers.next().await?.context("the stream ended")?;
        let message = WatchResponse::decode(message)?;
        ensure!(!message.canceled, "canceled: {}", message.cancel_reason);
        Ok(message.events.len())
    }
}

fn put(key: &str, value: &Bytes) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.clone(),
        ..PutRequest::default()
    }
}

/// The revision that every answer of a server has.
fn revision(header: Option<ResponseHeader>) -> Result<i64> {
    let revision = header.map_or(0, |header| header.revision);
    ensure!(revision > 0, "an answer without a revision");
    Ok(revision)
}

#[cfg(test)]
mod tests;
