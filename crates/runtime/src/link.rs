//! One connection to one peer: frames in, frames out, until it breaks.
//! Never dials and never decides whether to: `tcp` does.
//!
//! # Source
//! docs/wire.md, "Frames"; ARCHITECTURE.md, "The driver and its three doors" (what arrives together
//! is sent together).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use headwater_raft::{Incarnation, NodeId};
use headwater_replica::framing::{FRAME_BYTES_MAX, next_frame};
use tokio::sync::{Notify, Semaphore};

use crate::counters::Counters;
use crate::frame::Outgoing;
use crate::peer_counters::PeerCounters;
use crate::pipe::Pipe;

/// Bytes that may wait to be sent to one peer. The replica's window keeps far below it; a peer
/// that lets this much pile up does not read, and is better cut off than fed.
pub const OUTGOING_BYTES_MAX: usize = 64 << 20;

/// Bytes of frames from one peer that may wait for the loop; then the peer's bytes stay in the
/// kernel, and soon with the peer.
pub const INCOMING_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// A fresh read buffer.
const READ_BYTES: usize = 64 << 10;

/// With less free room than this a new read buffer is taken.
const READ_BYTES_MIN: usize = 8 << 10;

/// What the connections tell the loop.
#[derive(Debug)]
pub enum PeerEvent {
    /// A connection stands; it replaces any older one to that peer.
    Up(Arc<Link>),
    /// Whole frames, in the order sent.
    Frames(Arc<Link>, Vec<Bytes>),
    /// A connection is gone; nothing more comes from it.
    Down(Arc<Link>),
}

/// Where events go.
pub type Sink = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// Who is at the other end, as the handshake said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub disk: Incarnation,
    /// The life of its process.
    pub life: u64,
}

/// One connection to one peer.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    pipe: Pipe,
    out: Mutex<Outgoing>,
    leftover: Notify,
    closing: Notify,
    incoming: Semaphore,
    counters: Arc<Counters>,
    peer_counters: Arc<PeerCounters>,
}

impl Link {
    /// A link over a connection whose handshake is done.
    pub fn new(peer: Peer, pipe: Pipe, counters: Arc<Counters>) -> Self {
        Self {
            peer,
            pipe,
            out: Mutex::default(),
            leftover: Notify::new(),
            closing: Notify::new(),
            incoming: Semaphore::new(INCOMING_BYTES_MAX),
            peer_counters: counters.peers.of(peer.node),
            counters,
        }
    }

    /// The node at the other end.
    pub fn peer(&self) -> NodeId {
        self.peer.node
    }

    /// What is counted of it.
    pub fn counters(&self) -> &PeerCounters {
        &self.peer_counters
    }

    /// What the handshake said of it.
    pub fn met(&self) -> Peer {
        self.peer
    }

    /// Queues a frame for the next [`Link::flush`]; says whether there was room.
    pub fn send(&self, frame: Bytes) -> bool {
        let mut out = self.out();
        if out.bytes() + frame.len() > OUTGOING_BYTES_MAX {
            return false;
        }
        out.push(frame.clone());
        drop(out);
        self.counters.deliveries.on_sent(self.peer.node, &frame);
        self.counters.frames_sent.add(1);
        true
    }

    /// Writes what is queued as far as the connection takes it now; the rest follows by itself.
    pub fn flush(&self) {
        let mut out = self.out();
        if out.is_empty() {
            return;
        }
        match out.write_with(|slices| self.pipe.try_write(slices)) {
            Ok(bytes) => self.peer_counters.sent_bytes.add(bytes as u64),
            Err(_) => self.close(),
        }
        if !out.is_empty() || !self.pipe.is_flushed() {
            self.leftover.notify_one();
        }
    }

    /// Ends the connection; [`PeerEvent::Down`] follows.
    pub fn close(&self) {
        self.closing.notify_one();
    }

    /// Says that the frames of one [`PeerEvent::Frames`] were taken in, so that more may come.
    pub fn taken(&self, frames: &[Bytes]) {
        self.incoming.add_permits(weight(frames) as usize);
    }

    /// Carries frames until the connection ends, and says why it did.
    pub async fn run(self: &Arc<Self>, sink: &Sink) -> String {
        let why = tokio::select! {
            end = self.read_all(sink) => match end {
                Ok(()) => "closed by the peer".into(),
                Err(e) => e.to_string(),
            },
            e = self.write_leftovers() => e.to_string(),
            () = self.closing.notified() => "closed here".into(),
        };
        self.shut();
        why
    }

    /// Ends the connection at once: the peer hears of it now, not when the last holder of this
    /// link lets go of it.
    pub fn shut(&self) {
        self.pipe.shut();
    }

    async fn read_all(self: &Arc<Self>, sink: &Sink) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            self.pipe.readable().await?;
            if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
                buffer.reserve(READ_BYTES);
            }
            match self.pipe.try_read(&mut buffer) {
                Ok(0) if buffer.is_empty() => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.peer_counters.received_bytes.add(n as u64),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            let mut frames = Vec::new();
            while let Some(frame) = next_frame(&mut buffer).map_err(io::Error::other)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                self.deliver(frames, sink).await;
            }
        }
    }

    async fn deliver(self: &Arc<Self>, frames: Vec<Bytes>, sink: &Sink) {
        self.counters.frames_received.add(frames.len() as u64);
        for frame in &frames {
            let (deliveries, peers) = (&self.counters.deliveries, &self.counters.peers);
            deliveries.on_frame(peers, self.peer.node, frame);
        }
        self.incoming
            .acquire_many(weight(&frames))
            .await
            .expect("the semaphore is never closed")
            .forget();
        sink(PeerEvent::Frames(self.clone(), frames));
    }

    async fn write_leftovers(&self) -> io::Error {
        loop {
            self.leftover.notified().await;
            while !self.out().is_empty() || !self.pipe.is_flushed() {
                if let Err(e) = self.pipe.writable().await {
                    return e;
                }
                let written = self.out().write_with(|slices| self.pipe.try_write(slices));
                match written.and_then(|bytes| self.pipe.try_flush().map(|()| bytes)) {
                    Ok(bytes) => self.peer_counters.sent_bytes.add(bytes as u64),
                    Err(e) => return e,
                }
            }
        }
    }

    fn out(&self) -> MutexGuard<'_, Outgoing> {
        // A panic under this lock is one of our own assertions, and ends the node anyway.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of the room for incoming frames these take. One read can bring in a little more than
/// all of it; such a delivery then waits until it is alone.
fn weight(frames: &[Bytes]) -> u32 {
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    u32::try_from(bytes.min(INCOMING_BYTES_MAX)).expect("the room is less than 4 GiB")
}
