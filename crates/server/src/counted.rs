//! A stream's answer on its way out, which is counted when it ends: with the status in its trailers,
//! or as cancelled if its client went away before.
//! Never changes what passes.
//!
//! # Source
//! gRPC over HTTP/2 (the status comes in the trailers); go-grpc-prometheus, whose difference of calls
//! begun and ended etcd's dashboards show as open watches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::metrics::{MethodId, Metrics, status_code};

/// A body that is counted at its end.
pub struct Counted {
    body: Body,
    metrics: Arc<Metrics>,
    method: MethodId,
    /// How it ended; until it has, as if its client went away.
    code: usize,
}

impl Counted {
    /// Counts the end of an answer to a call of `method`.
    pub fn new(body: Body, metrics: Arc<Metrics>, method: MethodId) -> Self {
        Self {
            body,
            metrics,
            method,
            code: tonic::Code::Cancelled as usize,
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.code = status_code(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.on_end(self.method, self.code);
    }
}
