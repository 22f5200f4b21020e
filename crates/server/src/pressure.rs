//! What requests on their way in and answers on their way out may take of memory, all together: where there
//! is no room, a request is refused as one too many, and an answer waits for a while before that.
//! Whoever does not get on, or is too slow on the whole, gives its room back. Never looks into either. What is
//! small passes unweighed, as long as it does not stand still and there is no crowd.
//!
//! # Source
//! gRPC over HTTP/2 (an answer is one message, whose length comes first); etcd's
//! "too many requests".

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::failure::Failure;
use crate::generated::etcdserverpb::RangeResponse;
use crate::generated::mvccpb::KeyValue;
use crate::grpc::{framed, head, trailers, whole};

/// The room for all answers that clients have yet to take. A larger answer has it for itself.
const ANSWERS_BYTES_MAX: usize = 256 << 20;

/// The largest answer.
pub const ANSWER_BYTES_MAX: usize = 1 << 30;

/// How many answers may wait for room; those that come then are refused.
const ANSWERS_WAITING_MAX: usize = 64;

/// What needs no room, being small.
pub const SMALL_BYTES: usize = 16 << 10;

/// The same of an answer in a crowd.
const SMALL_IN_A_CROWD_BYTES: usize = 1 << 10;

/// How much of a large answer is given to a connection at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What of a range is bytes at a time, at most: the largest key, and a few pieces.
const UNDER_WAY_BYTES: usize = 4 << 20;

/// The keys of a range in protobuf: field 2, of bytes.
const KVS_TAG: u8 = 2 << 3 | 2;

/// How long nothing may come of a request that has room, and nothing may be taken of such an answer.
const STALL_TIME: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 10_000 });

/// How much must come or be taken in a second of what has room, on the whole: whoever is slower holds it
/// from others.
const BYTES_PER_SECOND_MIN: u64 = 32 << 10;

/// When the next bytes must have come or gone, once these have, before `deadline`.
fn next_deadline(deadline: Instant, bytes: usize) -> Instant {
    let earned = Duration::from_micros(bytes as u64 * 1_000_000 / BYTES_PER_SECOND_MIN);
    (deadline + earned).min(Instant::now() + STALL_TIME)
}

/// Room is given by so much.
const UNIT_BYTES: usize = 1 << 10;

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// Room for answers.
#[derive(Clone)]
pub struct Answers {
    room: Arc<Semaphore>,
    places: Arc<Semaphore>,
    patience: Duration,
    crowd: Crowd,
}

/// An answer that is handed out in pieces, with the room that it has for as long as some of it is here.
#[derive(Clone, Default)]
struct Large {
    /// A range, which becomes bytes piece by piece; others do all at once.
    range: Option<Arc<RangeResponse>>,
    _room: Option<Arc<Room>>,
    _place: Option<Arc<Open>>,
}

/// Room that is given back when this is dropped.
pub struct Room(OwnedSemaphorePermit);

impl Room {
    /// Gives back all but that of so many bytes.
    pub fn keep(&mut self, bytes: usize) {
        let more = self.0.num_permits().saturating_sub(units(bytes) as usize);
        drop(self.0.split(more));
    }
}

impl Answers {
    /// All room, for which an answer waits so long at most.
    pub fn new(patience: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(units(ANSWERS_BYTES_MAX) as usize)),
            places: Arc::new(Semaphore::new(ANSWERS_WAITING_MAX)),
            patience,
            crowd: Crowd::default(),
        }
    }

    /// The calls that are open.
    pub fn crowd(&self) -> &Crowd {
        &self.crowd
    }

    /// What an answer may have without room.
    fn free_bytes(&self) -> usize {
        match self.crowd.is_dense() {
            true => SMALL_IN_A_CROWD_BYTES,
            false => SMALL_BYTES,
        }
    }

    /// An answer that has room, once there is.
    ///
    /// # Errors
    /// There is none in time, too many wait for it, or the answer is too large for any.
    pub async fn fit<T: Message>(&self, answer: T) -> Result<tonic::Response<T>, Failure> {
        let bytes = answer.encoded_len();
        let mut response = tonic::Response::new(answer);
        if bytes > self.free_bytes() {
            let room = self.room_for(bytes, bytes).await?;
            response.extensions_mut().insert(Large::new(room));
        }
        Ok(response)
    }

    /// A range that has room, which it needs for its keys' places and for what is on its way: the values
    /// are the store's own.
    ///
    /// # Errors
    /// See [`Self::fit`].
    pub async fn fit_range(
        &self,
        answer: RangeResponse,
    ) -> Result<tonic::Response<RangeResponse>, Failure> {
        let bytes = answer.encoded_len();
        if bytes <= self.free_bytes() {
            return Ok(answer.into());
        }
        let places = answer.kvs.len() * size_of::<KeyValue>();
        let room = self
            .room_for(bytes, places + bytes.min(UNDER_WAY_BYTES))
            .await?;
        let large = Large {
            range: Some(Arc::new(answer)),
            ..Large::new(room)
        };
        // What the client is to have comes from there.
        let mut response = tonic::Response::new(RangeResponse::default());
        response.extensions_mut().insert(large);
        Ok(response)
    }

    /// A stream of answers that has room for the chunks of it that are here at one time.
    ///
    /// # Errors
    /// See [`Self::fit`].
    pub async fn fit_stream<S>(
        &self,
        stream: S,
        chunks_bytes: usize,
    ) -> Result<tonic::Response<S>, Failure> {
        let room = self.room_for(chunks_bytes, chunks_bytes).await?;
        let mut response = tonic::Response::new(stream);
        response.extensions_mut().insert(Large::new(room));
        Ok(response)
    }

    /// Room for so many bytes that are made of an answer; for all of them if it is so much.
    ///
    /// # Errors
    /// See [`Self::fit`].
    pub async fn room(&self, bytes: usize) -> Result<Room, Failure> {
        self.room_for(0, bytes).await
    }

    async fn room_for(&self, answer_bytes: usize, bytes: usize) -> Result<Room, Failure> {
        if answer_bytes > ANSWER_BYTES_MAX {
            return Err(Failure::AnswerTooLarge(answer_bytes));
        }
        let (room, units) = (Arc::clone(&self.room), units(bytes.min(ANSWERS_BYTES_MAX)));
        if let Ok(permit) = Arc::clone(&room).try_acquire_many_owned(units) {
            return Ok(Room(permit));
        }
        let _place = self.places.try_acquire().map_err(|_| Failure::Busy)?;
        let waited = timeout(self.patience, room.acquire_many_owned(units)).await;
        let permit = waited.map_err(|_| Failure::Busy)?;
        permit.map(Room).map_err(|_| Failure::Stopped)
    }
}

impl Large {
    fn new(room: Room) -> Self {
        Self {
            _room: Some(Arc::new(room)),
            ..Self::default()
        }
    }
}

/// An answer that has what room it needs, as it is sent.
pub enum Fit {
    /// It needs none: one message.
    Small(Bytes),
    /// It does, and is still to be [`held`].
    Large(Response<Body>),
}

impl Fit {
    /// An answer that [`Answers`] has found room for.
    pub fn of<T: Message>(answer: tonic::Response<T>) -> Self {
        let (_, message, mut extensions) = answer.into_parts();
        let bytes = framed(&message);
        let Some(large) = extensions.remove::<Large>() else {
            return Fit::Small(bytes);
        };
        let mut response = head().map(|()| whole(bytes));
        response.extensions_mut().insert(large);
        Fit::Large(response)
    }
}

/// An answer that gives its room back once its client has all of it, is gone, or takes nothing of it for
/// too long; and with it its `place` among the open calls. One that has neither is left as it is.
pub fn held(mut response: Response<Body>, place: Option<Open>) -> Response<Body> {
    let large = response.extensions_mut().remove::<Large>();
    if large.is_none() && place.is_none() {
        return response;
    }
    let large = Large {
        _place: place.map(Arc::new),
        ..large.unwrap_or_default()
    };
    response.extensions_mut().insert(MustGetOn);
    response.map(|body| paced(large, body))
}

/// Marks an answer that is given up where nothing of it is taken for so long ([`PATIENCE`]).
#[derive(Clone, Copy)]
pub struct MustGetOn;

/// How long whoever hands such an answer out waits for its client to take any of it: longer than the answer
/// keeps its room, which ends it in good order where that goes.
pub const PATIENCE: Duration = STALL_TIME.saturating_mul(2);

/// Bytes that keep their room for as long.
pub fn held_bytes(bytes: Bytes, room: Room) -> Body {
    paced(Large::new(room), Body::new(Full::new(bytes)))
}

fn paced(large: Large, body: Body) -> Body {
    let (pieces, stream) = mpsc::channel(1);
    tokio::spawn(hand_out(large, body, pieces));
    Body::new(StreamBody::new(ReceiverStream::new(stream)))
}

type Piece = Result<Frame<Bytes>, Status>;

/// Why a piece was not taken.
enum NotTaken {
    Gone,
    Stalled,
}

async fn hand_out(large: Large, body: Body, pieces: mpsc::Sender<Piece>) {
    let mut taker = Taker {
        pieces: &pieces,
        deadline: Instant::now() + STALL_TIME,
    };
    let handed = match &large.range {
        Some(range) => hand_out_range(range, &mut taker).await,
        None => hand_out_body(body, &mut taker).await,
    };
    drop(large);
    if let Err(NotTaken::Stalled) = handed {
        // It is told of when it takes something again; it may be gone by then.
        let _ = pieces.send(Err(Failure::Stalled.into())).await;
    }
}

/// Who takes an answer, and until when it must have taken the next piece.
struct Taker<'a> {
    pieces: &'a mpsc::Sender<Piece>,
    deadline: Instant,
}

impl Taker<'_> {
    async fn give(&mut self, frame: Frame<Bytes>) -> Result<(), NotTaken> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match timeout_at(self.deadline, self.pieces.send(Ok(frame))).await {
            Ok(Ok(())) => {
                self.deadline = next_deadline(self.deadline, bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(NotTaken::Gone),
            Err(_) => Err(NotTaken::Stalled),
        }
    }

    /// A copy: a part of the whole would keep all of it for as long as it waits to be sent.
    async fn give_copy(&mut self, data: &[u8]) -> Result<(), NotTaken> {
        for piece in data.chunks(PIECE_BYTES) {
            self.give(Frame::data(Bytes::copy_from_slice(piece)))
                .await?;
        }
        Ok(())
    }
}

async fn hand_out_body(mut body: Body, taker: &mut Taker<'_>) -> Result<(), NotTaken> {
    loop {
        let waits = Instant::now();
        let Some(frame) = body.frame().await else {
            return Ok(());
        };
        // While there was nothing to take, nobody was late.
        taker.deadline += waits.elapsed();
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => taker.give_copy(&data).await?,
            Ok(Err(trailers)) => taker.give(trailers).await?,
            Err(status) => {
                let told = taker.pieces.send(Err(status)).await;
                return told.map_err(|_| NotTaken::Gone);
            }
        }
    }
}

/// The bytes of a range, in the order in which it is least work: all but the keys, then key after key. A
/// reader of protobuf takes a message's fields in any.
async fn hand_out_range(range: &RangeResponse, taker: &mut Taker<'_>) -> Result<(), NotTaken> {
    let length = range.encoded_len();
    let beside = RangeResponse {
        header: range.header,
        kvs: Vec::new(),
        more: range.more,
        count: range.count,
    };
    let mut piece = BytesMut::new();
    piece.put_u8(0);
    piece.put_u32(u32::try_from(length).expect("an answer is bounded"));
    let room = "a buffer grows";
    beside.encode(&mut piece).expect(room);
    for kv in &range.kvs {
        piece.put_u8(KVS_TAG);
        kv.encode_length_delimited(&mut piece).expect(room);
        if piece.len() >= PIECE_BYTES {
            taker.give_copy(&std::mem::take(&mut piece)).await?;
        }
    }
    taker.give_copy(&piece).await?;
    taker.give(Frame::trailers(trailers())).await
}

mod crowd;
mod requests;
#[cfg(test)]
mod tests;

pub use self::crowd::{Crowd, Open};
pub use self::requests::{Requests, Weighed};
