//! Calls and connections that no client library would make: gRPC by hand over HTTP/2, frames of
//! HTTP/2 by hand over TCP, and bytes.
//! Never repairs what a test wants broken.
//!
//! # Source
//! RFC 9113 (frames); "gRPC over HTTP/2" (messages, status in headers or trailers).

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an answer may take.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How every HTTP/2 connection begins, with settings that say nothing.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Frames of HTTP/2, by number.
pub mod kind {
    /// The head of a request.
    pub const HEADERS: u8 = 1;
    /// That a stream is given up.
    pub const RESET: u8 = 3;
    /// Settings.
    pub const SETTINGS: u8 = 4;
    /// Is anybody there?
    pub const PING: u8 = 6;
    /// That the connection ends, and why.
    pub const GOAWAY: u8 = 7;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// What became of a call.
#[derive(Debug)]
pub struct Answer {
    /// gRPC's code.
    pub code: i32,
    /// gRPC's text, decoded.
    pub text: String,
    /// What came before, heads of messages included.
    pub body: Bytes,
}

/// A connection over which calls of any shape can be made.
pub struct Line {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Line {
    /// Connects, with windows of this many bytes for what comes back.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(port: u16, window_bytes: u32) -> Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window_bytes);
        builder.initial_connection_window_size(1 << 30);
        builder.max_concurrent_reset_streams(1 << 16);
        let (send, connection) = builder.handshake(stream).await?;
        let connection = tokio::spawn(connection);
        Ok(Line { send, connection })
    }

    /// Begins a call: the head and `body`, which ends the request if `is_whole`; what comes back, and
    /// what keeps the request open.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn begin(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        is_whole: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>)> {
        let mut request = Request::post(format!("http://127.0.0.1/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = timeout(ANSWER_LIMIT, self.send.clone().ready()).await??;
        let (response, mut stream) = ready.send_request(request.body(())?, false)?;
        stream.send_data(body, is_whole)?;
        Ok((response, stream))
    }

    /// Makes a whole call with these bytes as the body.
    ///
    /// # Errors
    /// No gRPC status comes back in time.
    pub async fn call_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer> {
        let (response, _request) = self.begin(path, headers, body, true).await?;
        Self::whole(response).await
    }

    /// Makes a call whose body comes in these parts, with a pause before each but the first.
    ///
    /// # Errors
    /// As [`Line::call_with`].
    pub async fn call_in_parts(
        &self,
        path: &str,
        parts: &[Bytes],
        pause: Duration,
    ) -> Result<Answer> {
        let (first, others) = parts.split_first().context("there is a part")?;
        let (response, mut request) = self.begin(path, &[], first.clone(), false).await?;
        for (number, part) in others.iter().enumerate() {
            tokio::time::sleep(pause).await;
            let is_last = number + 1 == others.len();
            // It may be answered already, and nobody wants the rest.
            if request.send_data(part.clone(), is_last).is_err() {
                break;
            }
        }
        Self::whole(response).await
    }

    async fn whole(response: h2::client::ResponseFuture) -> Result<Answer> {
        let response = timeout(ANSWER_LIMIT, response)
            .await
            .context("no answer")??;
        let (head, mut body) = response.into_parts();
        ensure!(head.status == 200, "HTTP status {}", head.status);
        if let Some(answer) = answer(&head.headers, Bytes::new()) {
            return Ok(answer);
        }
        timeout(ANSWER_LIMIT, rest(&mut body))
            .await
            .context("the answer does not end")?
    }

    /// Makes a whole call with one message.
    ///
    /// # Errors
    /// As [`Line::call_with`].
    pub async fn call(&self, path: &str, message: impl prost::Message) -> Result<Answer> {
        self.call_with(path, &[], framed(&message.encode_to_vec()))
            .await
    }

    /// Closes the connection.
    pub fn close(self) {
        self.connection.abort();
    }

    /// Waits for the server to end the connection; what it says.
    ///
    /// # Errors
    /// It does not end it in time.
    pub async fn ended(self) -> Result<Option<h2::Error>> {
        let ended = timeout(ANSWER_LIMIT, self.connection).await;
        Ok(ended.context("the connection stays")??.err())
    }
}

/// All of an answer's body and its status.
async fn rest(body: &mut RecvStream) -> Result<Answer> {
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.context("no trailers")?;
    answer(&trailers, bytes.freeze()).context("no status in the trailers")
}

fn answer(headers: &HeaderMap, body: Bytes) -> Option<Answer> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Some(Answer {
        code: text("grpc-status")?.parse().ok()?,
        text: decoded(text("grpc-message").unwrap_or_default()),
        body,
    })
}

/// Text as gRPC has it in a header.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match byte.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A message with gRPC's head before it.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a small message");
    framed_as(0, length, message)
}

/// A message with a head of any kind.
pub fn framed_as(flag: u8, length: u32, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(flag);
    frame.put_u32(length);
    frame.put_slice(message);
    frame.freeze()
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What a server says to these bytes until it ends the connection, or for `limit`; and whether it ended
/// it.
///
/// # Errors
/// It cannot be reached.
pub async fn say(port: u16, bytes: &[u8], limit: Duration) -> Result<(Vec<u8>, bool)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut reads, mut writes) = stream.split();
    let mut heard = Vec::new();
    let talk = async {
        let write = async {
            // It may have heard enough before the end.
            let _ = writes.write_all(bytes).await;
        };
        let read = async {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = reads.read(&mut piece).await {
                heard.extend_from_slice(&piece[..length]);
            }
        };
        tokio::join!(write, read);
    };
    let ended = timeout(limit, talk).await.is_ok();
    Ok((heard, ended))
}

/// Why an HTTP/2 connection ended: the code and the text of its last GOAWAY.
///
/// # Errors
/// There is none.
pub fn goaway(heard: &[u8]) -> Result<(u32, String)> {
    let mut rest = heard;
    let mut last = None;
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = after.get(..length) else {
            break;
        };
        if head[3] == kind::GOAWAY {
            let code = payload.get(4..8).context("a short GOAWAY")?;
            let code = u32::from_be_bytes(code.try_into()?);
            last = Some((code, String::from_utf8_lossy(&payload[8..]).into_owned()));
        }
        rest = &after[length..];
    }
    match last {
        Some(last) => Ok(last),
        None => bail!("no GOAWAY in {:?}", heard.escape_ascii().to_string()),
    }
}

/// Waits until a stream has room for what is to be sent, and sends it.
///
/// # Errors
/// The stream is gone, or there is no room in time.
pub async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) -> Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = timeout(ANSWER_LIMIT, poll_fn(|cx| stream.poll_capacity(cx))).await;
        let room = room.context("no room")?.context("the stream is gone")??;
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, false)?;
    }
    Ok(())
}
