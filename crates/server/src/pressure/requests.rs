//! Requests on their way in: what of them is not whole yet has room, or they are refused.
//! What is here is weighed, and 4 KiB at least of what is waited for; a message of a stream that is whole is
//! gone. Never knows what a request means.
//!
//! # Source
//! gRPC over HTTP/2; etcd's "too many requests".

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::codegen::StdError;

use super::{Crowd, SMALL_BYTES, STALL_TIME, next_deadline, units};
use crate::counted::Messages;
use crate::failure::Failure;

/// The room for all requests that are not whole yet.
const REQUESTS_BYTES_MAX: usize = 256 << 20;

/// What a request takes at least that has been waited for: it is not its bytes alone that cost.
const WAITING_BYTES: usize = 4 << 10;

/// Room for requests that are on their way in. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    room: Arc<Semaphore>,
    crowd: Crowd,
}

impl Requests {
    /// All room, for requests among those of `crowd`.
    pub fn new(crowd: Crowd) -> Self {
        Self {
            room: Arc::new(Semaphore::new(units(REQUESTS_BYTES_MAX) as usize)),
            crowd,
        }
    }

    /// A request of one message of gRPC's, which has room for what of it is here.
    pub fn weigh<B>(&self, body: B) -> Weighed<B> {
        self.weighed(body, Part::Whole)
    }

    /// One of JSON, which is not to stall even before it has begun.
    pub fn weigh_all<B>(&self, body: B) -> Weighed<B> {
        self.weighed(body, Part::WholeAlone)
    }

    /// One that goes on for as long as its client likes, message by message: each of them has room for
    /// what of it is here, until it is whole.
    pub fn weigh_each<B>(&self, body: B) -> Weighed<B> {
        self.weighed(body, Part::Messages(Messages::default()))
    }

    /// The same where whoever reads it finds the messages, and says what is left ([`Weighed::leave`]).
    pub fn weigh_left<B>(&self, body: B) -> Weighed<B> {
        self.weighed(body, Part::Told)
    }

    fn weighed<B>(&self, body: B, part: Part) -> Weighed<B> {
        Weighed {
            body,
            requests: self.clone(),
            part,
            bytes: 0,
            has_waited: false,
            held: None,
            late: None,
            read: None,
        }
    }
}

/// What of a body must be whole before it is of use.
enum Part {
    Whole,
    WholeAlone,
    Messages(Messages),
    Told,
}

/// The body of a request, which has room for what of it is here until it is dropped.
pub struct Weighed<B> {
    body: B,
    requests: Requests,
    part: Part,
    /// What is here of what is not whole.
    bytes: usize,
    /// Whether more of that was waited for: then even little needs room.
    has_waited: bool,
    held: Option<OwnedSemaphorePermit>,
    late: Option<Pin<Box<Sleep>>>,
    /// Since when whoever reads has had what came last.
    read: Option<Instant>,
}

impl<B> Weighed<B> {
    /// Says that of what has come so many bytes are not whole.
    pub fn leave(&mut self, bytes: usize) {
        self.bytes = bytes;
        if bytes == 0 {
            self.has_waited = false;
            self.held = None;
            self.late = None;
        }
    }

    fn on_data(&mut self, data: &[u8]) {
        if let Some(late) = &mut self.late {
            let deadline = next_deadline(late.deadline(), data.len());
            late.as_mut().reset(deadline);
        }
        match &mut self.part {
            Part::Messages(messages) => {
                let (ended, _) = messages.pass(data);
                let here = messages.here();
                if ended > 0 {
                    self.leave(0);
                }
                self.leave(here);
            }
            _ => self.bytes = self.bytes.saturating_add(data.len()),
        }
    }

    /// While what had come was not read, nobody was late.
    fn forgive(&mut self) {
        if let (Some(read), Some(late)) = (self.read.take(), &mut self.late) {
            let deadline = late.deadline() + read.elapsed();
            late.as_mut().reset(deadline);
        }
    }

    /// Takes the room that is needed, or gives back what is not; false if there is none.
    fn weigh(&mut self) -> bool {
        let needed = match self.has_waited {
            true => units(self.bytes.max(WAITING_BYTES)),
            false => units(self.bytes.saturating_sub(SMALL_BYTES)),
        };
        let held = self.held.as_ref();
        let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
        if held > needed as usize {
            let more = held - needed as usize;
            drop(self.held.as_mut().and_then(|held| held.split(more)));
        }
        let more = needed.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        if more == 0 {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.requests.room).try_acquire_many_owned(more) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        true
    }

    /// Whether nothing need come for now.
    fn may_be_silent(&self) -> bool {
        let is_between = self.bytes == 0;
        is_between
            && match self.part {
                Part::Whole => !self.requests.crowd.is_dense(),
                Part::WholeAlone => false,
                Part::Messages(_) | Part::Told => true,
            }
    }
}

impl<B> HttpBody for Weighed<B>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Unpin,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        this.forgive();
        let refuse = |failure: Failure| Poll::Ready(Some(Err(Status::from(failure).into())));
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.on_data(data);
                }
                this.read = this.late.is_some().then(Instant::now);
                match this.weigh() {
                    true => Poll::Ready(Some(Ok(frame))),
                    false => refuse(Failure::Busy),
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.may_be_silent() => Poll::Pending,
            Poll::Pending => {
                this.has_waited = true;
                if !this.weigh() {
                    return refuse(Failure::Busy);
                }
                let late = this.late.get_or_insert_with(|| Box::pin(sleep(STALL_TIME)));
                match late.as_mut().poll(context) {
                    Poll::Ready(()) => refuse(Failure::Stalled),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
