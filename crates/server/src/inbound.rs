//! What the client of a stream asks for, message by message: one that is here as a whole is decoded where it was
//! read, and from the first on that is not the way of all calls takes over.
//! Never takes what that would refuse.
//!
//! # Source
//! gRPC over HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Body;
use prost::Message;
use tonic::{Status, Streaming};

use crate::grpc;
use crate::http2::Received;
use crate::metrics::{MethodId, Metrics, Way};

/// The longest message that goes the short way.
const SHORT_BYTES_MAX: usize = 1 << 10;

/// The messages of a stream, which hold nothing of the bytes that they came in.
pub struct Inbound<'a, T> {
    short: Option<Short<'a, T>>,
    long: Option<Streaming<T>>,
}

/// Those that come by the short way.
struct Short<'a, T> {
    received: Received,
    metrics: Arc<Metrics>,
    method: MethodId,
    long: Box<dyn FnOnce(Received) -> Streaming<T> + Send + 'a>,
}

impl<T> From<Streaming<T>> for Inbound<'_, T> {
    fn from(streaming: Streaming<T>) -> Self {
        Self {
            short: None,
            long: Some(streaming),
        }
    }
}

impl<'a, T: Message + Default + 'static> Inbound<'a, T> {
    /// The messages of a call of `method`, which are counted here until `long` takes over.
    pub fn new(
        received: Received,
        (metrics, method): (&Arc<Metrics>, MethodId),
        long: impl FnOnce(Received) -> Streaming<T> + Send + 'a,
    ) -> Self {
        Self {
            short: Some(Short {
                received,
                metrics: Arc::clone(metrics),
                method,
                long: Box::new(long),
            }),
            long: None,
        }
    }

    /// The next one; none once there are no more. Nothing is lost if this is dropped before.
    ///
    /// # Errors
    /// What came is none, or nothing more can come.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        if let Some(short) = &mut self.short {
            if let Some(message) = poll_fn(|context| short.poll_message(context)).await {
                return Ok(Some(message));
            }
            let long = self.short.take();
            self.long = long.map(|short| (short.long)(short.received));
        }
        match &mut self.long {
            Some(long) => long.message().await,
            None => Ok(None),
        }
    }
}

impl<T: Message + Default> Short<'_, T> {
    /// The next message; none if the long way has to find out what comes.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let data = match ready!(Pin::new(&mut self.received).poll_frame(context)) {
            Some(Ok(frame)) => frame.into_data().ok(),
            Some(Err(error)) => {
                self.received.break_off(error);
                None
            }
            None => None,
        };
        let Some(data) = data else {
            return Poll::Ready(None);
        };
        let whole = grpc::message(&data).filter(|whole| whole.len() <= SHORT_BYTES_MAX);
        let message = whole.and_then(|whole| T::decode(whole).ok());
        match message {
            Some(_) => {
                let bytes = data.len() - grpc::HEAD_BYTES;
                self.metrics
                    .on_messages(self.method, Way::In, 1, bytes as u64);
            }
            None => self.received.put_back(data),
        }
        Poll::Ready(message)
    }
}
