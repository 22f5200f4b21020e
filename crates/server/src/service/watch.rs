//! Watching: many watchers on one stream, each told of every change once, in order.
//! Never knows what changed: the streams of `kv` do, and here their words are spelled.
//!
//! # Source
//! The etcd v3 API, service `Watch`.

use std::sync::Arc;

use headwater_kv::stream::{NOBODY, Refusal, Said, Word};
use headwater_kv::watch::WatchRefusal;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::company::Wish;
use crate::convert;
use crate::desk::Watching;
use crate::front::wants_leader;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::watch_server::Watch;
use crate::service::unreadable;

/// The service, on a backend shared with the others.
pub struct WatchService(pub Arc<Backend>);

#[async_trait]
impl Watch for WatchService {
    type WatchStream = BoxStream<api::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<api::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let wants_leader = wants_leader(request.metadata().as_ref());
        let watching = Client::of_stream(&self.0, &request).watching();
        let (told, tells) = mpsc::channel(1);
        let backend = Arc::clone(&self.0);
        tokio::spawn(async move {
            let inbound = request.into_inner();
            let end = tokio::select! {
                end = hear(&watching, inbound) => end,
                end = tell(&backend, &watching, &told) => end,
                end = backend.outlook().end(wants_leader) => end.into(),
                () = told.closed() => return,
            };
            // Who is gone does not hear it.
            let _ = told.send(Err(end)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(tells))))
    }
}

/// Does what the client asks for. That it has nothing more to ask ends nothing.
async fn hear(watching: &Watching, mut inbound: Streaming<api::WatchRequest>) -> Status {
    loop {
        let request = match inbound.message().await {
            Ok(Some(request)) => request,
            Ok(None) => return std::future::pending().await,
            Err(status) => return unreadable(status),
        };
        let Some(wish) = wish(request) else { continue };
        if let Err(failure) = watching.wish(wish).await {
            return failure.into();
        }
    }
}

/// Tells the client what there is, as fast as it listens.
async fn tell(
    backend: &Backend,
    watching: &Watching,
    told: &mpsc::Sender<Result<api::WatchResponse, Status>>,
) -> Status {
    loop {
        let said = match watching.next().await {
            Ok(said) => said,
            Err(failure) => return failure.into(),
        };
        let response = response(backend.header(said.revision), said);
        // Who is gone ends the stream elsewhere.
        let _ = told.send(Ok(response)).await;
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

fn response(header: api::ResponseHeader, said: Said) -> api::WatchResponse {
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
            response.events = events.into_iter().map(convert::event).collect();
            response.fragment = fragment;
        }
        Word::Progress => {}
    }
    response
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
