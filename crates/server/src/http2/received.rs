//! The body of a request over HTTP/2, as it comes.
//! Never holds more than its stream's window.
//!
//! # Source
//! RFC 9113 §5.2 (flow control): what is taken makes room for more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use hyper::body::{Body, Frame};

/// A request's body.
pub struct Received {
    stream: RecvStream,
    /// What was taken out of the stream and is to be read first.
    kept: VecDeque<Bytes>,
    /// Why nothing comes after that.
    broken: Option<h2::Error>,
    has_ended: bool,
}

impl Received {
    /// The body that comes by a stream.
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            kept: VecDeque::new(),
            broken: None,
            has_ended: false,
        }
    }

    /// All of it, if it is here and has so many bytes at most; otherwise it stays to be read.
    pub fn whole(&mut self, bytes_max: usize) -> Option<Bytes> {
        // Whoever reads on says whom to wake.
        let context = &mut Context::from_waker(Waker::noop());
        let mut bytes = 0;
        while bytes <= bytes_max {
            match self.poll_stream(context) {
                Poll::Ready(Some(Ok(data))) => {
                    bytes += data.len();
                    self.kept.push_back(data);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.broken = Some(error);
                    return None;
                }
                Poll::Ready(None) => {
                    self.has_ended = true;
                    return Some(joined(&mut self.kept));
                }
                Poll::Pending => return None,
            }
        }
        None
    }

    /// Has what was taken as a whole read once more.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.kept.push_front(bytes);
    }

    /// Has it end with what was read of it, an error, once more.
    pub fn break_off(&mut self, error: h2::Error) {
        self.broken = Some(error);
    }

    fn poll_stream(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let data = ready!(self.stream.poll_data(context));
        if let Some(Ok(data)) = &data {
            // It fails where more was released than had come, and nothing else does that here.
            let _ = self.stream.flow_control().release_capacity(data.len());
        }
        Poll::Ready(data)
    }
}

fn joined(parts: &mut VecDeque<Bytes>) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop_front().unwrap_or_default();
    }
    let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts.drain(..) {
        bytes.extend_from_slice(&part);
    }
    bytes.freeze()
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if let Some(data) = this.kept.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(error) = this.broken.take() {
            this.has_ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        if !this.has_ended {
            if let Some(data) = ready!(this.poll_stream(context)) {
                return Poll::Ready(Some(data.map(Frame::data)));
            }
            this.has_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(context));
        Poll::Ready(
            trailers
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.kept.is_empty() && self.broken.is_none() && self.stream.is_end_stream()
    }
}
