//! A call's messages on their way in and out, counted as they pass, and its end: with the status in its
//! answer's head or trailers, or as cancelled if its client went away before.
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
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use crate::grpc::HEAD_BYTES;
use crate::metrics::{MethodId, Metrics, Way, status_code};
use crate::pressure::Open;

/// A call that has begun, until its answer is gone: it ends once, as cancelled if its client goes away
/// before it has ended otherwise.
pub struct Begun {
    metrics: Arc<Metrics>,
    method: MethodId,
    /// How it ends; none once that is counted.
    code: Option<usize>,
    /// Its place among the open calls, if it has one.
    open: Option<Open>,
}

impl Begun {
    /// A call of a method, which has begun.
    pub fn new(metrics: Arc<Metrics>, method: MethodId) -> Self {
        Self {
            metrics,
            method,
            code: Some(tonic::Code::Cancelled as usize),
            open: None,
        }
    }

    /// Has its place among the open calls until its answer is gone.
    pub fn hold(&mut self, open: Open) {
        self.open = Some(open);
    }

    /// Gives its place among the open calls to who hands its answer out.
    pub fn leave(&mut self) -> Option<Open> {
        self.open.take()
    }

    /// Counts the end, with gRPC's status `code`.
    pub fn end(&mut self, code: usize) {
        if self.code.take().is_some() {
            self.metrics.on_end(self.method, code);
        }
    }

    /// Counts an answer of so many bytes that goes out as a whole.
    pub fn on_answer(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.metrics.on_messages(self.method, Way::Out, 1, bytes);
    }

    fn on_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(code) = &mut self.code {
            *code = status_code(trailers);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(code) = self.code {
            self.end(code);
        }
    }
}

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
    /// Of an answer the call that it is of.
    call: Option<Begun>,
}

impl<B> Counted<B> {
    /// Counts nothing.
    pub fn uncounted(body: B) -> Self {
        Self {
            body,
            counter: None,
            call: None,
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
            call: None,
        }
    }

    /// Counts the messages of an answer, and the end of its call, unless that is counted.
    pub fn answer(body: B, call: Begun) -> Self {
        let (metrics, method) = (Arc::clone(&call.metrics), call.method);
        Self {
            call: Some(call),
            ..Self::new(body, metrics, method, Way::Out)
        }
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
            if let (Some(call), Some(trailers)) = (&mut self.call, frame.trailers_ref()) {
                call.on_trailers(trailers);
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

/// Where a body is in its messages.
#[derive(Default)]
pub struct Messages {
    /// Bytes of the next message's head that have passed.
    head: u8,
    /// The length in that head, as far as it has passed; then that of the present message.
    length: u32,
    /// Bytes of the present message that have not.
    left: usize,
}

impl Messages {
    /// How many bytes have passed of the message that is not whole.
    pub fn here(&self) -> usize {
        match self.left {
            0 => usize::from(self.head),
            left => HEAD_BYTES + self.length as usize - left,
        }
    }

    /// Some bytes pass: how many messages they end, and how many of the bytes are of messages.
    pub fn pass(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut ended, mut inside) = (0, 0);
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                inside += now.len() as u64;
                self.left -= now.len();
                bytes = later;
            } else {
                // The flag and what was there before have left the four bytes when the length is in them.
                self.length = self.length << 8 | u32::from(bytes[0]);
                self.head += 1;
                bytes = &bytes[1..];
                if usize::from(self.head) < HEAD_BYTES {
                    continue;
                }
                self.head = 0;
                self.left = self.length as usize;
            }
            ended += u64::from(self.left == 0);
        }
        (ended, inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_text::{Format, Page};

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
                assert_eq!(messages.here(), 0);
            }
        }
    }

    #[test]
    fn what_is_here_of_a_message_is_known_until_it_is_whole() {
        let mut messages = Messages::default();
        let here: Vec<usize> = b"\0\0\0\x01\x03"
            .iter()
            .map(|&byte| {
                messages.pass(&[byte]);
                messages.here()
            })
            .collect();
        assert_eq!(here, [1, 2, 3, 4, 5]);
        messages.pass(&[7; 200]);
        assert_eq!(messages.here(), 205);
        assert_eq!(messages.pass(&[7; 60]), (1, 59));
        assert_eq!(messages.here(), 1);
    }

    #[test]
    fn a_call_ends_once_and_is_cancelled_if_nothing_else_ended_it() {
        let metrics = Arc::new(Metrics::new());
        let begin = || {
            let put = metrics
                .on_start("etcdserverpb.KV", "Put")
                .expect("a method");
            Begun::new(Arc::clone(&metrics), put)
        };
        begin().end(0);
        drop(begin());
        let mut page = Page::new(Format::Prometheus);
        metrics.put(&mut page);
        let text = page.finish();
        let of_put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1";
        for code in ["OK", "Canceled"] {
            let line = format!("grpc_server_handled_total{{grpc_code=\"{code}\",{of_put}");
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
