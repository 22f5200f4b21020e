//! Watching: many watchers on one stream, each told of every change once, in order.
//! Never knows what changed: the streams of `kv` do, and here their words are spelled.
//!
//! # Source
//! The etcd v3 API, service `Watch`.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
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
use crate::voice::{Voice, framed, response};

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
    sink: Sink<api::WatchResponse>,
) {
    let backend = client.backend();
    let voice = match &sink {
        Sink::Http2(http2) => Some(Voice::new(backend, http2)),
        Sink::Channel(_) => None,
    };
    let watching = client.watching(voice);
    let stops = async { Some(backend.outlook().end(terms).await.into()) };
    // Futures of their own, which are looked at when they have something to say, not with each word.
    let mut ends = FuturesUnordered::<Pin<Box<dyn Future<Output = Option<Status>> + Send>>>::new();
    ends.push(Box::pin(hear(&watching, inbound)));
    ends.push(Box::pin(stops));
    let mut is_heard = sink.inbound_tells_gone();
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
            let mut telling = pin!(tell(&sink, header, told));
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
async fn tell(sink: &Sink<api::WatchResponse>, header: api::ResponseHeader, told: Told) {
    match sink {
        Sink::Http2(http2) => {
            let framed = framed(header, &told);
            drop(told);
            http2.tell(framed).await;
        }
        Sink::Channel(_) => {
            let (mut response, events) = response(header, &told.said);
            response.events = events.iter().cloned().map(convert::event).collect();
            drop(told);
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
