//! Who is told the messages of a stream: a client over HTTP/2 itself, or whoever reads what tonic makes of
//! them, as the gateway does.
//! Never holds more than one message that is not taken.
//!
//! # Source
//! gRPC over HTTP/2 (the trailers tell how a stream ends).

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::counted::Begun;
use crate::front::{HEAD_BYTES, framed, trailers};
use crate::http2::send;

/// Who listens to a stream of messages.
pub enum Listener<T> {
    /// Whoever has the other end.
    Any(mpsc::Sender<Result<T, Status>>),
    /// The client of a call, over a stream of HTTP/2.
    Client(Talk),
}

/// What is told over a stream of HTTP/2.
pub struct Talk {
    stream: SendStream<Bytes>,
    call: Begun,
    /// Whether a message has begun and is not all on its way.
    is_amid: bool,
}

impl Talk {
    /// The rest of a call, whose answer's head is gone.
    pub fn new(stream: SendStream<Bytes>, call: Begun) -> Self {
        Self {
            stream,
            call,
            is_amid: false,
        }
    }
}

impl<T: Message> Listener<T> {
    /// Tells a message; returns once it is taken. Of one who is gone, `gone` tells.
    pub async fn tell(&mut self, message: T) {
        match self {
            Listener::Any(told) => drop(told.send(Ok(message)).await),
            Listener::Client(talk) => {
                let bytes = framed(&message);
                drop(message);
                talk.call.on_answer(bytes.len() - HEAD_BYTES);
                talk.is_amid = true;
                drop(send(&mut talk.stream, bytes).await);
                talk.is_amid = false;
            }
        }
    }

    /// Returns once nobody listens.
    pub async fn gone(&mut self) {
        match self {
            Listener::Any(told) => told.closed().await,
            Listener::Client(talk) => {
                drop(poll_fn(|context| talk.stream.poll_reset(context)).await);
            }
        }
    }

    /// Tells that there is nothing more, and why if that is not all.
    pub async fn end(self, why: Option<Status>) {
        match self {
            Listener::Any(told) => {
                if let Some(why) = why {
                    // Who is gone does not hear it.
                    let _ = told.send(Err(why)).await;
                }
            }
            Listener::Client(mut talk) => {
                let code = why.as_ref().map_or(Code::Ok, Status::code);
                let trailers = why.map_or_else(trailers, |why| {
                    let mut trailers = HeaderMap::new();
                    // It fails for texts that no header holds; the code is there then.
                    let _ = why.add_header(&mut trailers);
                    trailers
                });
                if talk.is_amid {
                    talk.stream.send_reset(Reason::CANCEL);
                } else if talk.stream.send_trailers(trailers).is_ok() {
                    // Whoever is gone has called it off.
                    talk.call.end(code as usize);
                }
            }
        }
    }
}
