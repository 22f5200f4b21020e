//! Who is told the messages of a stream: a client over HTTP/2 itself, or whoever reads what tonic makes of
//! them, as the gateway does.
//! Never holds more than one message that is not taken.
//!
//! # Source
//! gRPC over HTTP/2 (the trailers tell how a stream ends).

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::counted::Begun;
use crate::grpc::{HEAD_BYTES, framed, trailers};
use crate::http2::poll_send;

/// Who listens to a stream of messages.
pub enum Sink<T> {
    /// Whoever has the other end.
    Channel(mpsc::Sender<Result<T, Status>>),
    /// The client of a call, over a stream of HTTP/2.
    Http2(Http2Sink),
}

/// What is told over a stream of HTTP/2, by one at a time.
pub struct Http2Sink(Arc<Mutex<Telling>>);

/// The same, for whoever does not keep the stream open.
pub struct WeakSink(Weak<Mutex<Telling>>);

impl WeakSink {
    /// The stream, if it is still there.
    pub fn upgrade(&self) -> Option<Http2Sink> {
        self.0.upgrade().map(Http2Sink)
    }
}

struct Telling {
    stream: SendStream<Bytes>,
    call: Begun,
    /// Whether a message has begun and is not all on its way.
    is_amid: bool,
}

impl Telling {
    fn has_room(&mut self, bytes: usize) -> bool {
        self.stream.reserve_capacity(bytes);
        self.stream.capacity() >= bytes
    }
}

impl Http2Sink {
    /// The rest of a call, whose answer's head is gone.
    pub fn new(stream: SendStream<Bytes>, call: Begun) -> Self {
        Self(Arc::new(Mutex::new(Telling {
            stream,
            call,
            is_amid: false,
        })))
    }

    /// Tells a message, as gRPC sends it; returns once it is taken.
    pub async fn tell(&self, mut framed: Bytes) {
        self.lock().call.on_answer(framed.len() - HEAD_BYTES);
        let told = poll_fn(|context| {
            let telling = &mut *self.lock();
            let sent = poll_send(&mut telling.stream, &mut framed, context);
            telling.is_amid = sent.is_pending();
            sent
        });
        drop(told.await);
    }

    /// For whoever is not to keep the stream open.
    pub fn weak(&self) -> WeakSink {
        WeakSink(Arc::downgrade(&self.0))
    }

    /// Tells a message, which has at least so many bytes and is made if there is room for those, if there is room
    /// for all of it; says whether there was.
    pub fn tell_at_once(&self, bytes_min: usize, framed: impl FnOnce() -> Bytes) -> bool {
        let telling = &mut *self.lock();
        if !telling.has_room(bytes_min) {
            return false;
        }
        let framed = framed();
        let has_room = telling.has_room(framed.len());
        if has_room {
            telling.call.on_answer(framed.len() - HEAD_BYTES);
            // Of one who is gone, others tell.
            drop(telling.stream.send_data(framed, false));
        }
        has_room
    }

    async fn gone(&self) {
        drop(poll_fn(|context| self.lock().stream.poll_reset(context)).await);
    }

    /// Tells that there is nothing more, and why if that is not all.
    fn end(&self, why: Option<Status>) {
        let telling = &mut *self.lock();
        let code = why.as_ref().map_or(Code::Ok, Status::code);
        let trailers = why.map_or_else(trailers, |why| {
            let mut trailers = HeaderMap::new();
            // It fails for texts that no header holds; the code is there then.
            let _ = why.add_header(&mut trailers);
            trailers
        });
        if telling.is_amid {
            telling.stream.send_reset(Reason::CANCEL);
        } else if telling.stream.send_trailers(trailers).is_ok() {
            // Whoever is gone has called it off.
            telling.call.end(code as usize);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        // Where HTTP/2 has panicked under this lock it says so again by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Message> Sink<T> {
    /// Tells a message; returns once it is taken. Of one who is gone, `gone` tells.
    pub async fn tell(&self, message: T) {
        match self {
            Sink::Channel(told) => drop(told.send(Ok(message)).await),
            Sink::Http2(http2) => {
                let bytes = framed(&message);
                drop(message);
                http2.tell(bytes).await;
            }
        }
    }

    /// Whether who hears what the client asks for learns as well that it is gone.
    pub fn inbound_tells_gone(&self) -> bool {
        matches!(self, Sink::Http2(_))
    }

    /// Returns once nobody listens.
    pub async fn gone(&self) {
        match self {
            Sink::Channel(told) => told.closed().await,
            Sink::Http2(http2) => http2.gone().await,
        }
    }

    /// Tells that there is nothing more, and why if that is not all.
    pub async fn end(self, why: Option<Status>) {
        match self {
            Sink::Channel(told) => {
                if let Some(why) = why {
                    // Who is gone does not hear it.
                    let _ = told.send(Err(why)).await;
                }
            }
            Sink::Http2(http2) => http2.end(why),
        }
    }
}
