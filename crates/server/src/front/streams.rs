//! The short way of the streams that there are most of: what a watch and a lease's renewals have to tell goes
//! straight to the client's stream.
//! Never judges a stream by other rules than those of all calls.
//!
//! # Source
//! gRPC over HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::Request;
use prost::Message;
use tonic::Streaming;
use tonic_prost::ProstDecoder;

use super::{Front, MESSAGE_SLACK_BYTES, SMALL_MESSAGE_BYTES_MAX, is_grpc, refuse};
use crate::auth::door::CommonName;
use crate::client::Client;
use crate::counted::Begun;
use crate::doors::Served;
use crate::grpc::head;
use crate::http2::{Received, hand_out};
use crate::inbound::Inbound;
use crate::outlook::Terms;
use crate::request_body::RequestBody;
use crate::service::{lease, watch};
use crate::sink::{Http2Sink, Sink};

/// A stream that may go the short way.
#[derive(Clone, Copy)]
pub enum StreamCall {
    /// Watches.
    Watch,
    /// A lease's renewals.
    KeepAlive,
}

impl StreamCall {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            StreamCall::Watch => ("etcdserverpb.Watch", "Watch"),
            StreamCall::KeepAlive => ("etcdserverpb.Lease", "LeaseKeepAlive"),
        }
    }
}

impl Front {
    /// Which stream a request opens, where this is served and if it may go the short way.
    pub fn stream_call(&self, served: Served, request: &Request<Received>) -> Option<StreamCall> {
        let call = match request.uri().path() {
            "/etcdserverpb.Watch/Watch" => StreamCall::Watch,
            "/etcdserverpb.Lease/LeaseKeepAlive" => StreamCall::KeepAlive,
            _ => return None,
        };
        let is_plain = !request.headers().contains_key("grpc-encoding");
        (served.has_grpc() && is_plain && is_grpc(request)).then_some(call)
    }

    /// Serves a stream until it ends.
    pub async fn serve_stream(
        &self,
        stream: StreamCall,
        request: Request<Received>,
        mut respond: SendResponse<Bytes>,
        name: &CommonName,
    ) {
        let (service, method) = stream.names();
        let Some(counted) = self.metrics.on_start(service, method) else {
            return;
        };
        let call = Begun::new(Arc::clone(&self.metrics), counted);
        let headers = request.headers();
        let admitted = match Terms::of(headers) {
            Ok(terms) => {
                let asker = self.admit(method, headers, name.0.as_deref()).await;
                asker.map(|asker| (asker, terms))
            }
            Err(failure) => Err(failure),
        };
        let (asker, terms) = match admitted {
            Ok(admitted) => admitted,
            Err(failure) => {
                let response = self.ended(refuse(failure), call, true);
                // How it ends is the client's business.
                return drop(hand_out(response, respond).await);
            }
        };
        let Ok(out) = respond.send_response(head(), false) else {
            return;
        };
        let received = request.into_body();
        let weighed = move |received| {
            let request = Request::new(RequestBody::Http2(received));
            self.weighed(request, counted).into_body()
        };
        let client = Client::new(&self.backend, asker).for_stream();
        let out = Http2Sink::new(out, call);
        match stream {
            StreamCall::Watch => {
                let bytes_max = self.backend.limits().request_bytes_max + MESSAGE_SLACK_BYTES;
                let inbound = messages(weighed(received), bytes_max);
                watch::serve(client, inbound, terms, Sink::Http2(out)).await;
            }
            StreamCall::KeepAlive => {
                let long = move |received| messages(weighed(received), SMALL_MESSAGE_BYTES_MAX);
                let inbound = Inbound::new(received, (&self.metrics, counted), long);
                lease::serve(client, inbound, terms, Sink::Http2(out)).await;
            }
        }
    }
}

/// The messages of a body, none of which may be larger.
fn messages<T: Message + Default + 'static>(
    body: impl super::Call,
    bytes_max: usize,
) -> Streaming<T> {
    Streaming::new_request(ProstDecoder::default(), body, None, Some(bytes_max))
}
