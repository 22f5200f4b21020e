//! The messages of a gRPC answer, told as JSON: one, or a line for each.
//! Never told on the loop if it is large, and never held without room: JSON takes several times as much as
//! the message.
//!
//! # Source
//! etcd's gateway; gRPC over HTTP/2 (messages, and the status in the trailers).

use std::convert::Infallible;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use super::clerks::Clerks;
use super::spelled::spelled;
use super::{Refusal, broken, json_response, too_large};
use crate::failure::Failure;
use crate::grpc::HEAD_BYTES;
use crate::pressure::{self, Room, held_bytes};

/// The largest message that is told as JSON.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What needs no room.
const SMALL_BYTES: usize = 16 << 10;

/// How many times as much a message takes while it is told: itself, where in it the parts are, and its text,
/// which for small keys and values is names and digits most of all.
const TIMES: usize = 6;

/// The messages of a gRPC body.
pub struct Answers {
    body: tonic::body::Body,
    kind: MessageDescriptor,
    clerks: Clerks,
    gathered: BytesMut,
}

impl Answers {
    /// Those of this body, which are of one kind.
    pub fn new(body: tonic::body::Body, kind: MessageDescriptor, clerks: Clerks) -> Self {
        Self {
            body,
            kind,
            clerks,
            gathered: BytesMut::new(),
        }
    }

    /// Waits until so many bytes are there; false if there are no more.
    async fn gather(&mut self, bytes: usize) -> Result<bool, Refusal> {
        while self.gathered.len() < bytes {
            match self.body.frame().await {
                None => return Ok(false),
                Some(Err(status)) => return Err(Refusal::from(status)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.gathered.extend_from_slice(&data),
                    Err(frame) => {
                        let refusal = frame.trailers_ref().and_then(Refusal::of);
                        return refusal.map_or(Ok(false), Err);
                    }
                },
            }
        }
        Ok(true)
    }

    /// The length of the next message; `None` after the last.
    async fn length(&mut self) -> Result<Option<usize>, Refusal> {
        if !self.gather(HEAD_BYTES).await? {
            return Ok(None);
        }
        let mut head = &self.gathered[1..HEAD_BYTES];
        let length = head.get_u32() as usize;
        match length <= ANSWER_BYTES_MAX {
            true => Ok(Some(length)),
            false => Err(too_large(ANSWER_BYTES_MAX)),
        }
    }

    /// The next message, of this length.
    async fn message(&mut self, length: usize) -> Result<String, Refusal> {
        let bytes = HEAD_BYTES + length;
        self.gathered
            .reserve(bytes.saturating_sub(self.gathered.len()));
        if !self.gather(bytes).await? {
            return Err(broken("the answer breaks off"));
        }
        self.gathered.advance(HEAD_BYTES);
        let (kind, bytes) = (self.kind.clone(), self.gathered.split_to(length).freeze());
        let told = self.clerks.work(length, move || spelled(&kind, &bytes));
        told.await?.map_err(broken)
    }

    /// The next message; `None` after the last.
    async fn next(&mut self) -> Result<Option<String>, Refusal> {
        match self.length().await? {
            Some(length) => self.message(length).await.map(Some),
            None => Ok(None),
        }
    }

    /// The only message, and the room that its text has.
    async fn only(&mut self, room: &pressure::Answers) -> Result<(String, Option<Room>), Refusal> {
        let Some(length) = self.length().await? else {
            return Err(broken("the call has no answer"));
        };
        let mut given = None;
        if length > SMALL_BYTES {
            let room = room.room(TIMES * length).await;
            // The call has been carried out: that it is not told must not look like a refusal.
            given = Some(room.map_err(|_| Status::from(Failure::TimedOut))?);
        }
        let json = self.message(length).await?;
        // What comes then is the status.
        self.next().await?;
        if let Some(given) = &mut given {
            given.keep(json.len());
        }
        Ok((json, given))
    }

    /// One JSON object.
    pub async fn into_one(mut self, room: &pressure::Answers) -> Response<Body> {
        match self.only(room).await {
            Ok((json, None)) => json_response(StatusCode::OK, json),
            Ok((json, Some(room))) => {
                let length = HeaderValue::from(json.len());
                let body = Body::new(held_bytes(Bytes::from(json), room));
                let mut response = json_body(StatusCode::OK, body);
                response.headers_mut().insert(CONTENT_LENGTH, length);
                response
            }
            Err(refusal) => refusal.into_response(),
        }
    }

    /// A line for each.
    pub async fn into_lines(mut self) -> Response<Body> {
        let line = |message| format!("{{\"result\":{message}}}\n");
        // A call that fails before it says anything is told of by the status.
        let mut next = match self.next().await {
            Err(refusal) => return json_response(refusal.http_code(), refusal.in_a_stream()),
            Ok(first) => first.map(line),
        };
        let (lines, stream) = mpsc::channel::<Result<String, Infallible>>(1);
        tokio::spawn(async move {
            while let Some(line_now) = next {
                if lines.send(Ok(line_now)).await.is_err() {
                    return;
                }
                let message = tokio::select! {
                    message = self.next() => message,
                    () = lines.closed() => return,
                };
                next = match message {
                    Ok(message) => message.map(line),
                    Err(refusal) => {
                        // Whoever is gone need not hear it.
                        let _ = lines.send(Ok(refusal.in_a_stream())).await;
                        return;
                    }
                };
            }
        });
        json_body(
            StatusCode::OK,
            Body::from_stream(ReceiverStream::new(stream)),
        )
    }
}

/// A body of JSON.
pub fn json_body(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::{BufMut, BytesMut};
    use headwater_api::etcdserverpb::RangeResponse;
    use headwater_api::mvccpb::KeyValue;
    use http_body_util::Full;
    use prost::Message;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::generated::descriptors::FILES;

    fn answers(value_bytes: usize) -> Answers {
        let kv = KeyValue {
            value: Bytes::from(vec![b'v'; value_bytes]),
            ..KeyValue::default()
        };
        let range = RangeResponse {
            kvs: vec![kv],
            ..RangeResponse::default()
        };
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(range.encoded_len()).expect("a small message"));
        range.encode(&mut frame).expect("a buffer grows");
        let pool = DescriptorPool::decode(FILES).expect("the description is generated");
        let kind = pool.get_message_by_name("etcdserverpb.RangeResponse");
        let body = tonic::body::Body::new(Full::new(frame.freeze()));
        Answers::new(body, kind.expect("a message"), Clerks::new())
    }

    #[tokio::test]
    async fn the_text_of_a_large_answer_has_room_until_it_is_taken() {
        let room = pressure::Answers::new(Duration::from_millis(200));
        let is_free = async || room.room(usize::MAX).await.is_ok();
        let small = answers(1000).into_one(&room).await;
        assert!(small.status() == StatusCode::OK && is_free().await);
        let bytes = 12 << 20;
        let large = answers(bytes).into_one(&room).await;
        assert_eq!(large.status(), StatusCode::OK);
        assert!(!is_free().await);
        // A text that is made has room for itself alone.
        assert!(room.room((256 - 17) << 20).await.is_ok());
        let text = large.into_body().collect().await.expect("all of it");
        assert!(text.to_bytes().len() > bytes * 4 / 3);
        assert!(is_free().await);
    }

    #[tokio::test]
    async fn an_answer_for_whose_text_there_is_no_room_leaves_open_what_has_happened() {
        let room = pressure::Answers::new(Duration::from_millis(200));
        let all = room.room(usize::MAX).await.expect("all of it");
        let untold = answers(1 << 20).into_one(&room).await;
        assert_eq!(untold.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answers(1000).into_one(&room).await.status(), StatusCode::OK);
        drop(all);
        assert_eq!(
            answers(1 << 20).into_one(&room).await.status(),
            StatusCode::OK
        );
    }
}
