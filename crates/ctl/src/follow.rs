//! A watch that outlives its connection: it goes on at the next revision, by another member if need be.
//! Never prints what happens; only, on the standard error, that a connection was lost.
//!
//! # Source
//! The etcd v3 API, service `Watch`; etcd's clients, which resume so, too.

use std::time::Duration;

use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::sleep;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use crate::failure::{Failure, Result, may_resume};
use crate::session::{Session, watches};

/// How long nobody is asked after nobody could be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// A watch.
pub struct Watch<'a> {
    session: &'a Session,
    /// What to watch; its first revision is the next one that has not been seen.
    request: api::WatchCreateRequest,
    /// Whether a server has ever taken it.
    was_created: bool,
    open: Option<(Sender<api::WatchRequest>, Streaming<api::WatchResponse>)>,
}

impl<'a> Watch<'a> {
    /// A watch that begins when it is first asked what happens.
    pub fn new(session: &'a Session, request: api::WatchCreateRequest) -> Self {
        Self {
            session,
            request,
            was_created: false,
            open: None,
        }
    }

    /// What happens next, or that the server has ended the watch. May be dropped while it waits.
    ///
    /// # Errors
    /// The watch cannot begin.
    pub async fn next(&mut self) -> Result<api::WatchResponse> {
        loop {
            let Some((_, answers)) = &mut self.open else {
                self.begin().await?;
                continue;
            };
            match answers.message().await {
                Ok(Some(answer)) => {
                    self.advance(&answer);
                    if !answer.created || answer.canceled {
                        return Ok(answer);
                    }
                }
                Ok(None) => {
                    self.lose(Status::unavailable("the server ended it"))
                        .await?
                }
                Err(status) => self.lose(status).await?,
            }
        }
    }

    /// Asks for word of the revision that has been reached.
    pub async fn ask_for_progress(&self) {
        if let Some((requests, _)) = &self.open {
            let progress = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
            // Who has left gets no request; the loss is found when the next answer is waited for.
            let _ = requests.send(said(progress)).await;
        }
    }

    fn advance(&mut self, answer: &api::WatchResponse) {
        let reached = answer.header.as_ref().map_or(0, |header| header.revision);
        let last = answer.events.last().and_then(|event| event.kv.as_ref());
        if answer.created {
            self.was_created = true;
            if self.request.start_revision == 0 {
                self.request.start_revision = reached + 1;
            }
        } else if let Some(key) = last {
            self.request.start_revision = key.mod_revision + 1;
        } else if !answer.canceled {
            // Word of progress: all up to it has been sent.
            self.request.start_revision = self.request.start_revision.max(reached + 1);
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let wire = if self.was_created {
            loop {
                match self.session.again().await {
                    Ok(wire) => break wire,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        } else {
            self.session.wire().await?
        };
        let (requests, receiver) = channel(1);
        let create = RequestUnion::CreateRequest(self.request.clone());
        let sent = requests.try_send(said(create));
        debug_assert!(sent.is_ok(), "an empty channel has room");
        let mut request = Request::new(ReceiverStream::new(receiver));
        // A member that has no leader says so, and another is asked.
        let needs_leader = MetadataValue::from_static("true");
        request.metadata_mut().insert("hasleader", needs_leader);
        match watches(wire).watch(request).await {
            Ok(answers) => self.open = Some((requests, answers.into_inner())),
            Err(status) => self.lose(status).await?,
        }
        Ok(())
    }

    async fn lose(&mut self, status: Status) -> Result<()> {
        let was_open = self.open.take().is_some();
        if !self.was_created || !may_resume(&status) {
            return Err(self.session.lost(status).await);
        }
        if was_open {
            let next = self.request.start_revision;
            let why: Failure = self.session.lost(status).await;
            eprintln!("the watch was cut off, and goes on at revision {next} ({why})");
        } else {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn said(union: RequestUnion) -> api::WatchRequest {
    api::WatchRequest {
        request_union: Some(union),
    }
}
