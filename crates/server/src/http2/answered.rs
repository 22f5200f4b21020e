//! Answers on their way out of a stream of HTTP/2, as far as their clients take them.
//! Never gives a connection what its client has no window for.
//!
//! # Source
//! RFC 9113 §5.2 (flow control) and §8.1; gRPC over HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Body as _;
use tokio::time::timeout;
use tonic::body::Body;

use crate::counted::Counted;
use crate::front::ShortAnswer;
use crate::grpc::{head, is_grpc};
use crate::pressure::{MustGetOn, PATIENCE};

/// Hands out the answer of a short call: at once where its client has room for it.
pub async fn hand_out_short(
    answer: ShortAnswer,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head(), false)?;
    let length = answer.bytes().len();
    stream.reserve_capacity(length);
    if stream.capacity() < length {
        return Box::pin(pass(answer.into_body(), stream, None)).await;
    }
    let (bytes, trailers) = answer.give();
    stream.send_data(bytes, false)?;
    stream.send_trailers(trailers)
}

/// Hands out any answer.
pub async fn hand_out(
    response: Response<Counted<Body>>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    let has_ended = body.is_end_stream();
    describe(
        head.headers_mut(),
        body.size_hint().exact().filter(|_| !has_ended),
    );
    let patience = head.extensions().get::<MustGetOn>().map(|_| PATIENCE);
    let stream = respond.send_response(head, has_ended)?;
    match has_ended {
        true => Ok(()),
        false => pass(body, stream, patience).await,
    }
}

/// What a page's head tells of it besides; gRPC has no use for that.
fn describe(headers: &mut HeaderMap, bytes: Option<u64>) {
    if is_grpc(headers) {
        return;
    }
    if let Some(bytes) = bytes {
        let length = headers.entry(CONTENT_LENGTH);
        length.or_insert_with(|| HeaderValue::from(bytes));
    }
    let now = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(now) = HeaderValue::try_from(now) {
        headers.entry(DATE).or_insert(now);
    }
}

/// Passes a body on, each part of it when there is room; gives it up if no room comes for too long.
async fn pass(
    mut body: Counted<Body>,
    mut stream: SendStream<Bytes>,
    patience: Option<Duration>,
) -> Result<(), h2::Error> {
    loop {
        let next = poll_fn(|context| match Pin::new(&mut body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => stream
                .poll_reset(context)
                .map(|reset| reset.map_or_else(Err, |reason| Err(reason.into()))),
        });
        let frame = match next.await? {
            None => return stream.send_data(Bytes::new(), true),
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => match patience {
                None => send(&mut stream, data).await?,
                Some(patience) => match timeout(patience, send(&mut stream, data)).await {
                    Ok(sent) => sent?,
                    Err(_) => {
                        stream.send_reset(Reason::CANCEL);
                        return Ok(());
                    }
                },
            },
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers);
                }
            }
        }
    }
}

/// Sends some of an answer, as far as its client has room; returns once all of it is on its way.
pub async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    poll_fn(|context| poll_send(stream, &mut data, context)).await
}

/// The same, as far as that goes now; what is left of `data` is not on its way.
pub fn poll_send(
    stream: &mut SendStream<Bytes>,
    data: &mut Bytes,
    context: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            let more = ready!(stream.poll_capacity(context));
            more.unwrap_or(Err(Reason::CANCEL.into()))?;
        }
        let now = data.split_to(data.len().min(stream.capacity()));
        stream.send_data(now, false)?;
    }
    Poll::Ready(Ok(()))
}
