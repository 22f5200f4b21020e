//! A client's stream of watches, as the loop speaks to it: what there is room for at once goes out where it was
//! found, and no task is woken for it.
//! Never waits for a client: what there is no room for, the stream's task hands out.
//!
//! # Source
//! The etcd v3 API, service `Watch`; ARCHITECTURE.md, "Threads".

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use headwater_kv::stream::{NOBODY, Refusal, Said, Word};
use headwater_kv::watch::{Event, WatchRefusal};

use crate::backend::Backend;
use crate::generated::etcdserverpb as api;
use crate::grpc;
use crate::once::Told;
use crate::sink::{Http2Sink, WeakSink};

/// A client's stream. It does not outlive the stream's task.
pub struct Voice {
    backend: Arc<Backend>,
    sink: WeakSink,
}

impl Voice {
    /// Speaks there.
    pub fn new(backend: &Arc<Backend>, sink: &Http2Sink) -> Self {
        Self {
            backend: Arc::clone(backend),
            sink: sink.weak(),
        }
    }

    /// Says something, which has so many bytes of keys and values, if there is room for it at once; says whether
    /// there was. A connection that is broken from within breaks its own streams, and not who speaks to them.
    pub fn say(&self, told: &Told, bytes: usize) -> bool {
        let said = AssertUnwindSafe(|| {
            let Some(sink) = self.sink.upgrade() else {
                return false;
            };
            let header = self.backend.header(told.said.revision);
            sink.tell_at_once(bytes, || framed(header, told))
        });
        catch_unwind(said).unwrap_or(false)
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Voice")
    }
}

/// What a client is told, as gRPC sends it.
pub fn framed(header: api::ResponseHeader, told: &Told) -> Bytes {
    match response(header, &told.said) {
        (response, []) => grpc::framed(&response),
        (response, events) => told.once.framed(&response, events),
    }
}

/// What a client is told, without the events, and these.
pub fn response(header: api::ResponseHeader, said: &Said) -> (api::WatchResponse, &[Event]) {
    let mut of: &[Event] = &[];
    let mut response = api::WatchResponse {
        header: Some(header),
        watch_id: said.id,
        ..Default::default()
    };
    match &said.word {
        Word::Created => response.created = true,
        Word::Refused(refusal) => {
            debug_assert_eq!(said.id, NOBODY);
            response.created = true;
            response.canceled = true;
            response.cancel_reason = reason(*refusal).to_owned();
        }
        Word::Canceled => response.canceled = true,
        Word::Denied => {
            response.canceled = true;
            response.cancel_reason = DENIED.to_owned();
        }
        Word::Compacted(revision) => {
            response.canceled = true;
            response.compact_revision = *revision;
        }
        Word::Events { events, fragment } => {
            of = events;
            response.fragment = *fragment;
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
