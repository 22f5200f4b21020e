//! A call's messages on their way in and out, counted as they pass, and an answer's end if it is a
//! stream: with the status in its trailers, or as cancelled if its client went away before.
//! Never changes what passes.
//!
//! # Source
//! gRPC over HTTP/2 (a message has five bytes before it, the status comes in the trailers);
//! go-grpc-prometheus, whose difference of calls begun and ended etcd's dashboards show as open
//! watches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::metrics::{MethodId, Metrics, Way, status_code};

/// Where one direction of a call is counted.
struct Counter {
    metrics: Arc<Metrics>,
    method: MethodId,
    way: Way,
    messages: Messages,
}

/// A body whose messages are counted.
pub struct Counted<B> {
    body: B,
    /// None for what is no call.
    counter: Option<Counter>,
    /// Of a stream's answer how it ended; until it has, as if its client went away.
    code: Option<usize>,
}

impl<B> Counted<B> {
    /// Counts nothing.
    pub fn uncounted(body: B) -> Self {
        Self {
            body,
            counter: None,
            code: None,
        }
    }

    /// Counts the messages of one direction of a call of `method`.
    pub fn new(body: B, metrics: Arc<Metrics>, method: MethodId, way: Way) -> Self {
        Self {
            body,
            counter: Some(Counter {
                metrics,
                method,
                way,
                messages: Messages::default(),
            }),
            code: None,
        }
    }

    /// Counts also the end of the call, which is that of this body.
    pub fn with_end(mut self) -> Self {
        self.code = Some(tonic::Code::Cancelled as usize);
        self
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            if let (Some(counter), Some(data)) = (&mut self.counter, frame.data_ref()) {
                let (messages, bytes) = counter.messages.pass(data);
                counter
                    .metrics
                    .on_messages(counter.method, counter.way, messages, bytes);
            }
            if let (Some(code), Some(trailers)) = (&mut self.code, frame.trailers_ref()) {
                *code = status_code(trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Counted<B> {
    fn drop(&mut self) {
        if let (Some(counter), Some(code)) = (&self.counter, self.code) {
            counter.metrics.on_end(counter.method, code);
        }
    }
}

/// Where a body is in its messages.
#[derive(Default)]
struct Messages {
    /// Bytes of the next message's head that have passed.
    head: u8,
    /// The length in that head, as far as it has passed.
    length: u32,
    /// Bytes of the present message that have not.
    left: usize,
}

/// A flag, and the length in four bytes.
const HEAD_BYTES: u8 = 5;

impl Messages {
    /// Some bytes pass: how many messages they end, and how many of the bytes are of messages.
    fn pass(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut ended, mut inside) = (0, 0);
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                inside += now.len() as u64;
                self.left -= now.len();
                bytes = later;
            } else {
                // The flag has left the four bytes when the length is in them.
                self.length = self.length << 8 | u32::from(bytes[0]);
                self.head += 1;
                bytes = &bytes[1..];
                if self.head < HEAD_BYTES {
                    continue;
                }
                self.head = 0;
                self.left = std::mem::take(&mut self.length) as usize;
            }
            ended += u64::from(self.left == 0);
        }
        (ended, inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_wherever_the_bytes_are_cut() {
        let stream = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\0\x02de";
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut messages = Messages::default();
                let mut sum = (0, 0);
                for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                    let (ended, inside) = messages.pass(part);
                    sum = (sum.0 + ended, sum.1 + inside);
                }
                assert_eq!(sum, (3, 5), "cut at {first} and {second}");
            }
        }
    }
}
