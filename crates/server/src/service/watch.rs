//! Watching: many watchers on one stream, each told of every change once, in order.
//! Never knows what changed: the streams of `kv` do, and here their words are spelled.
//!
//! # Source
//! The etcd v3 API, service `Watch`.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headwater_kv::stream::{NOBODY, Refusal, Said, Word};
use headwater_kv::watch::{Event, WatchRefusal};
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::company::Wish;
use crate::convert;
use crate::desk::Watching;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::watch_server::Watch;
use crate::once::Told;
use crate::outlook::Terms;
use crate::service::unreadable;
use crate::sink::Sink;

/// The service, on a backend shared with the others.
pub struct WatchService(pub Arc<Backend>);

#[async_trait]
impl Watch for WatchService {
    type WatchStream = BoxStream<api::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<api::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let terms = Terms::of(request.metadata().as_ref())?;
        let client = Client::of_stream(&self.0, &request);
        let (told, tells) = mpsc::channel(1);
        let sink = Sink::Channel(told);
        tokio::spawn(serve(client, request.into_inner(), terms, sink));
        Ok(Response::new(Box::pin(ReceiverStream::new(tells))))
    }
}

/// Serves one stream until it ends.
pub async fn serve(
    client: Client,
    inbound: Streaming<api::WatchRequest>,
    terms: Terms,
    mut sink: Sink<api::WatchResponse>,
) {
    let (watching, backend) = (client.watching(), client.backend());
    let stops = async { Some(backend.outlook().end(terms).await.into()) };
    // Futures of their own, which are looked at when they have something to say, not with each word.
    let mut ends = FuturesUnordered::<Pin<Box<dyn Future<Output = Option<Status>> + Send>>>::new();
    ends.push(Box::pin(hear(&watching, inbound)));
    ends.push(Box::pin(stops));
    let mut is_heard = sink.is_heard();
    let mut next = watching.next();
    loop {
        let told = tokio::select! {
            biased;
            told = &mut next => told,
            Some(end) = ends.next() => match end {
                Some(end) => return sink.end(Some(end)).await,
                None => {
                    is_heard = false;
                    continue;
                }
            },
            () = sink.gone(), if !is_heard => return,
        };
        let Ok(told) = told else {
            return sink.end(Some(Failure::Stopped.into())).await;
        };
        let header = backend.header(told.said.revision);
        let ended = {
            let mut telling = pin!(tell(&mut sink, header, told));
            loop {
                tokio::select! {
                    biased;
                    () = &mut telling => break None,
                    Some(end) = ends.next() => match end {
                        Some(end) => break Some(end),
                        None => is_heard = false,
                    },
                }
            }
        };
        if ended.is_some() {
            return sink.end(ended).await;
        }
        next = watching.next();
    }
}

/// Tells a client something.
async fn tell(sink: &mut Sink<api::WatchResponse>, header: api::ResponseHeader, told: Told) {
    let Told { said, once } = told;
    let (mut response, events) = response(header, said);
    match sink {
        Sink::Http2(http2) if !events.is_empty() => {
            let framed = once.framed(&response, &events);
            drop((once, events));
            http2.tell(framed).await;
        }
        _ => {
            response.events = events.iter().cloned().map(convert::event).collect();
            drop(events);
            sink.tell(response).await;
        }
    }
}

/// Does what the client asks for. That it has nothing more to ask ends nothing.
async fn hear(watching: &Watching, mut inbound: Streaming<api::WatchRequest>) -> Option<Status> {
    loop {
        let request = match inbound.message().await {
            Ok(Some(request)) => request,
            Ok(None) => return None,
            Err(status) => return Some(unreadable(status)),
        };
        let Some(wish) = wish(request) else { continue };
        if let Err(failure) = watching.wish(wish).await {
            return Some(failure.into());
        }
    }
}

/// What a client wants, if anything.
fn wish(request: api::WatchRequest) -> Option<Wish> {
    use api::watch_request::RequestUnion;
    Some(match request.request_union? {
        RequestUnion::CreateRequest(create) => {
            Wish::Create(create.watch_id, convert::watch(create))
        }
        RequestUnion::CancelRequest(cancel) => Wish::Cancel(cancel.watch_id),
        RequestUnion::ProgressRequest(_) => Wish::Progress,
    })
}

/// What a client is told, without the events, and these.
fn response(header: api::ResponseHeader, said: Said) -> (api::WatchResponse, Arc<[Event]>) {
    let mut of = Arc::default();
    let mut response = api::WatchResponse {
        header: Some(header),
        watch_id: said.id,
        ..Default::default()
    };
    match said.word {
        Word::Created => response.created = true,
        Word::Refused(refusal) => {
            debug_assert_eq!(said.id, NOBODY);
            response.created = true;
            response.canceled = true;
            response.cancel_reason = reason(refusal).to_owned();
        }
        Word::Canceled => response.canceled = true,
        Word::Denied => {
            response.canceled = true;
            response.cancel_reason = DENIED.to_owned();
        }
        Word::Compacted(revision) => {
            response.canceled = true;
            response.compact_revision = revision;
        }
        Word::Events { events, fragment } => {
            of = events;
            response.fragment = fragment;
        }
        Word::Progress => {}
    }
    (response, of)
}

/// In etcd's words, that a client may not watch.
const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

/// In etcd's words, why nothing is watched.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied => DENIED,
        Refusal::Duplicate => "mvcc: duplicate watch ID provided on the WatchStream",
        Refusal::TooMany => "etcdserver: too many requests",
        Refusal::Watch(WatchRefusal::EmptyRange) => "mvcc: watcher range is empty",
        Refusal::Watch(WatchRefusal::Compacted) => {
            "etcdserver: mvcc: required revision has been compacted"
        }
    }
}
