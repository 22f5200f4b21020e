//! HTTP/2 for clients: one connection, each of whose streams is a task that has its request answered and hands
//! the answer out. A connection that has fallen silent is asked whether somebody is there.
//! Never knows what is asked: that is for `front`.
//!
//! # Source
//! RFC 9113; gRPC over HTTP/2 (a call is a stream, and ends with trailers).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::door::CommonName;
use crate::doors::{Bounds, Served};
use crate::front::Front;
use crate::request_body::RequestBody;

mod answered;
mod received;
mod wire;

pub use self::answered::{hand_out, poll_send};
pub use self::received::Received;
use self::wire::{LastHeard, Wire};

/// What a client may send of a request before more is asked for, and of all of a connection together.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 16 << 10;

/// What waits at most of each answer for the socket.
const WAITING_BYTES_MAX: usize = 128 << 10;

/// Calls that a client may have given up before they were looked at; above it, it is an attack.
const RESETS_MAX: usize = 1 << 12;

/// What a connection needs to know of the port that it came in by.
pub struct ConnectionInfo {
    /// Who answers.
    pub front: Arc<Front>,
    /// What is served there.
    pub served: Served,
    /// The name that the client's certificate gives it.
    pub name: CommonName,
}

/// Serves a connection until it ends: by its client, or in good order once `stop` says so.
pub async fn serve<S>(io: S, info: ConnectionInfo, bounds: Bounds, stop: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let info = Arc::new(info);
    let heard = Arc::new(LastHeard::new());
    let io = Wire::new(io, Arc::clone(&heard));
    let Ok(mut connection) = builder(bounds).handshake::<_, Bytes>(io).await else {
        return;
    };
    let mut silence = pin!(silence(connection.ping_pong(), bounds.keepalive, heard));
    let mut stop = pin!(stop);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    answer(&info, request, respond);
                }
                // How a client's connection ends is the client's business.
                Some(Err(_)) | None => return,
            },
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
            }
            () = &mut silence => return,
        }
    }
}

fn builder(bounds: Bounds) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buffer_size(WAITING_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_concurrent_streams(bounds.streams_max);
    builder
}

/// Has a request answered, unless its client calls it off, and hands the answer out.
fn answer(
    info: &Arc<ConnectionInfo>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (info, mut request) = (Arc::clone(info), request.map(Received::new));
    // In boxes: a task is moved several times before it is where it stays.
    match info.front.short_call(info.served, &mut request) {
        Some(call) => tokio::spawn(Box::pin(async move {
            let answer = pin!(info.front.answer_short(call, &info.name));
            // How it ends is the client's business.
            let _ = match unless_called_off(answer, &mut respond).await {
                Some(Ok(answer)) => answered::hand_out_short(answer, respond).await,
                Some(Err(response)) => Box::pin(answered::hand_out(*response, respond)).await,
                None => Ok(()),
            };
        })),
        None => tokio::spawn(Box::pin(async move {
            if let Some(stream) = info.front.stream_call(info.served, &request) {
                return info
                    .front
                    .serve_stream(stream, request, respond, &info.name)
                    .await;
            }
            let request = request.map(RequestBody::Http2);
            let mut answer = info.front.answer_at(info.served, request, &info.name);
            if let Some(response) = unless_called_off(answer.as_mut(), &mut respond).await {
                let _ = answered::hand_out(response, respond).await;
            }
        })),
    };
}

/// An answer, if its client waits for it.
async fn unless_called_off<F: Future + ?Sized>(
    mut answer: Pin<&mut F>,
    respond: &mut SendResponse<Bytes>,
) -> Option<F::Output> {
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => respond.poll_reset(context).map(|_| None),
    })
    .await
}

/// Returns once nobody is there: nothing was heard for the first of the times, nor an answer to a question
/// within the second. Without times never.
async fn silence(
    pings: Option<PingPong>,
    times: Option<(Duration, Duration)>,
    heard: Arc<LastHeard>,
) {
    let (Some(mut pings), Some((interval, patience))) = (pings, times) else {
        return std::future::pending().await;
    };
    loop {
        let due = heard.at() + interval;
        if Instant::now() < due {
            sleep_until(due).await;
            continue;
        }
        let asked = pings.send_ping(Ping::opaque());
        let answered = poll_fn(|context| pings.poll_pong(context));
        if asked.is_err() || timeout(patience, answered).await.is_err() {
            return;
        }
    }
}
