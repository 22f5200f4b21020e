//! How gRPC speaks over HTTP/2: a message with five bytes before it, and how an answer begins and ends.
//! Never knows what is said.
//!
//! # Source
//! gRPC over HTTP/2.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;

/// What stands before a message: a flag, and the length in four bytes.
pub const HEAD_BYTES: usize = 5;

/// The status, in an answer's trailers, or in its head if that is all.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");

const KIND: &str = "application/grpc";

/// Whether the body that this head is of is gRPC's.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(KIND.as_bytes()))
}

/// The head of an answer that has a body.
pub fn head() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static(KIND);
    head.headers_mut().insert(CONTENT_TYPE, kind);
    head
}

/// The message that a body is, if it is one and not compressed.
pub fn message(body: &Bytes) -> Option<Bytes> {
    let (head, rest) = body.split_first_chunk::<HEAD_BYTES>()?;
    let [flag, length @ ..] = *head;
    let is_one = flag == 0 && u32::from_be_bytes(length) as usize == rest.len();
    is_one.then(|| body.slice(HEAD_BYTES..))
}

/// A message as gRPC sends it.
pub fn framed(message: &impl Message) -> Bytes {
    framed_parts(message, &[])
}

/// The same of a message whose last fields are encoded already.
pub fn framed_parts(message: &impl Message, rest: &[u8]) -> Bytes {
    let length = message.encoded_len() + rest.len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message is bounded"));
    message.encode(&mut bytes).expect("a buffer grows");
    bytes.extend_from_slice(rest);
    bytes.freeze()
}

/// The trailers of a call that has succeeded.
pub fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers
}

/// A whole answer as a body.
pub fn whole(bytes: Bytes) -> Body {
    let body = Full::new(bytes).with_trailers(async { Some(Ok(trailers())) });
    Body::new(body)
}
