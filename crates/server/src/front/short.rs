//! The short way of the calls that there are most of: a request that is here as a whole and small becomes its
//! answer without the layers between, each of which costs as much as the store does. Whatever is not so
//! (large, late, compressed, one of many thousands) goes the way of all calls.
//! Never judges a request by other rules than those.
//!
//! # Source
//! gRPC over HTTP/2 (a message has five bytes before it).

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;

use crate::counted::{Begun, Counted};
use crate::deadline;
use crate::pressure::GRPC_STATUS;
use crate::service::kv::ShortCall;

/// A flag, and the length in four bytes.
pub const HEAD_BYTES: usize = 5;

/// What a request's head may say that changes its answer.
const USEFUL: [&str; 4] = [deadline::HEADER, "authorization", "hasleader", "token"];

/// The message that a body is, if it is one and not compressed.
pub fn message(body: &Bytes) -> Option<Bytes> {
    let (head, rest) = body.split_first_chunk::<HEAD_BYTES>()?;
    let [flag, length @ ..] = *head;
    let is_one = flag == 0 && u32::from_be_bytes(length) as usize == rest.len();
    is_one.then(|| body.slice(HEAD_BYTES..))
}

/// A message as gRPC sends it.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("an answer is bounded"));
    message.encode(&mut bytes).expect("a buffer grows");
    bytes.freeze()
}

/// The trailers of a call that has succeeded.
pub fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

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

/// A whole answer as a body.
pub fn whole(bytes: Bytes) -> Body {
    let body = Full::new(bytes).with_trailers(async { Some(Ok(trailers())) });
    Body::new(body)
}
