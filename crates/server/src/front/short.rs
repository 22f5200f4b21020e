//! The short way of the calls that there are most of: a request that is here as a whole and small becomes its
//! answer without the layers between, each of which costs as much as the store does. Whatever is not so
//! (large, late, compressed, one of many thousands) goes the way of all calls.
//! Never judges a request by other rules than those.
//!
//! # Source
//! gRPC over HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tonic::body::Body;

use crate::auth::door::TOKEN_HEADERS;
use crate::counted::{Begun, Counted};
use crate::deadline;
use crate::grpc::{HEAD_BYTES, trailers, whole};
use crate::outlook::LEADER_HEADER;
use crate::service::kv::ShortCall;

/// What a request's head may say that changes its answer.
const USEFUL: [&str; 4] = [
    deadline::HEADER,
    LEADER_HEADER,
    TOKEN_HEADERS[0],
    TOKEN_HEADERS[1],
];

/// A call that goes the short way.
pub struct ShortRequest {
    /// What it asks for.
    pub call: ShortCall,
    /// Bytes of its message.
    pub bytes: usize,
    /// The head of its request, and nothing where that says nothing of use: it is looked into often.
    pub headers: HeaderMap,
}

impl ShortRequest {
    /// A call with a message of so many bytes, whose request has this head.
    pub fn new(call: ShortCall, bytes: usize, headers: HeaderMap) -> Self {
        let is_of_use = |name: &HeaderName| USEFUL.contains(&name.as_str());
        let headers = match headers.keys().any(is_of_use) {
            true => headers,
            false => HeaderMap::new(),
        };
        Self {
            call,
            bytes,
            headers,
        }
    }
}

/// A small answer, whole.
pub struct ShortAnswer {
    bytes: Bytes,
    call: Begun,
}

impl ShortAnswer {
    /// The answer of a call, as gRPC sends it.
    pub fn new(bytes: Bytes, call: Begun) -> Self {
        Self { bytes, call }
    }

    /// The message.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What is to be sent now, at once: the message and the trailers.
    pub fn give(self) -> (Bytes, HeaderMap) {
        self.call.on_answer(self.bytes.len() - HEAD_BYTES);
        (self.bytes, trailers())
    }

    /// The same as a body, for a client that has no room for it now.
    pub fn into_body(self) -> Counted<Body> {
        let body = whole(self.bytes);
        Counted::answer(body, self.call)
    }
}
