//! gRPC written straight into `h2`'s streams, with nothing in between.
//! Never knows what a message says.
//!
//! # Source
//! "gRPC over HTTP/2" (messages, status in heads or trailers).

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use headwater_etcd_tests::raw::decoded;
use http::{HeaderMap, StatusCode};
use prost::Message;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context as Turn, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The messages of one answer, as they come.
pub struct Answers {
    from: From,
    /// What has come of messages that were not given away yet.
    rest: Bytes,
}

enum From {
    Head(ResponseFuture),
    Body(RecvStream),
    End,
}

impl Answers {
    /// Those that a response has.
    pub fn of(answer: ResponseFuture) -> Answers {
        let from = From::Head(answer);
        let rest = Bytes::new();
        Answers { from, rest }
    }

    /// The next message; nothing at the end of an answer that went well.
    ///
    /// # Errors
    /// If the status says so, or there is none.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(message) = unframed(&mut self.rest)? {
                return Ok(Some(message));
            }
            match &mut self.from {
                From::Head(answer) => {
                    let (head, body) = answer.await?.into_parts();
                    ensure!(head.status == StatusCode::OK, "HTTP says {}", head.status);
                    self.from = From::Body(body);
                    if head.headers.contains_key("grpc-status") {
                        return self.end(&head.headers);
                    }
                }
                From::Body(body) => {
                    let Some(part) = body.data().await else {
                        let trailers = body.trailers().await?.context("no trailers")?;
                        return self.end(&trailers);
                    };
                    let part = part?;
                    body.flow_control().release_capacity(part.len())?;
                    self.rest = if self.rest.is_empty() {
                        part
                    } else {
                        [&self.rest[..], &part[..]].concat().into()
                    };
                }
                From::End => return Ok(None),
            }
        }
    }

    fn end(&mut self, headers: &HeaderMap) -> Result<Option<Bytes>> {
        self.from = From::End;
        ensure!(self.rest.is_empty(), "the answer ends within a message");
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        match text("grpc-status").context("no status")? {
            "0" => Ok(None),
            code => {
                let why = decoded(text("grpc-message").unwrap_or_default());
                bail!("status {code}: {why}")
            }
        }
    }
}

/// A message behind its length, as it goes onto the wire.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("messages are smaller than 4 GiB"));
    message.encode(&mut framed).expect("it has this length");
    framed.freeze()
}

/// Takes the first message away, if all of it is there.
fn unframed(bytes: &mut Bytes) -> Result<Option<Bytes>> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *prefix;
    ensure!(compressed == 0, "a compressed answer");
    let end = PREFIX + u32::from_be_bytes(length) as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    Ok(Some(bytes.split_to(end).slice(PREFIX..)))
}

/// What an answer comes to if it comes within `limit` from now.
///
/// The timer is one of many requests: when it goes off before this one is due, it was set for an
/// earlier one, and is set anew.
pub async fn within<A>(
    timer: &mut Pin<Box<Sleep>>,
    limit: Duration,
    answer: impl Future<Output = Result<A>>,
) -> Result<A> {
    let due = Instant::now() + limit;
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(Err(anyhow!("no answer within {limit:?}")));
            }
            timer.as_mut().reset(due);
        }
    })
    .await
}

/// A socket that takes one piece at a time.
///
/// `h2` gives a socket that takes several at once each body of 256 bytes and more by a system call
/// of its own. Bodies below a kibibyte it gathers for one like this, with all that is ready to go.
pub struct Gathering(pub TcpStream);

impl AsyncRead for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Turn<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Turn<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Turn<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Turn<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
