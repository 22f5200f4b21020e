//! A client's side of the backend: what it asks for is asked in its name, and the store decides whether
//! it may.
//! Never decides itself.
//!
//! # Source
//! etcd v3 API, service `Auth`.

use std::ops::Deref;
use std::sync::Arc;

use headwater_kv::auth::{Asker, Right};
use headwater_kv::request::{Command, KvError, Outcome, Query};
use headwater_runtime::ReadLevel;
use tonic::Request;

use crate::backend::Backend;
use crate::desk::Watching;
use crate::failure::Failure;
use crate::voice::Voice;

/// Who a request comes from, as the front door has found out: put into the request for its service, if it is
/// known.
#[derive(Clone, Debug)]
pub struct Caller(pub Asker);

/// The backend, for one client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    backend: Arc<Backend>,
    asker: Option<Asker>,
}

impl Client {
    /// The client who asks, if that is known.
    pub fn new(backend: &Arc<Backend>, asker: Option<Asker>) -> Self {
        Self {
            backend: Arc::clone(backend),
            asker,
        }
    }

    /// The client that a request comes from.
    pub fn of<T>(backend: &Arc<Backend>, request: &Request<T>) -> Self {
        let caller = request.extensions().get::<Caller>();
        Self::new(backend, caller.map(|caller| caller.0.clone()))
    }

    /// The client that a stream of requests comes from: it is known for as long as the stream lasts.
    pub fn of_stream<T>(backend: &Arc<Backend>, request: &Request<T>) -> Self {
        Self::of(backend, request).for_stream()
    }

    /// The same client, known for as long as a stream lasts.
    pub fn for_stream(self) -> Self {
        Self {
            asker: self.asker.map(Asker::by_name),
            ..self
        }
    }

    /// Has the cluster carry out `command`, if the client may; see [`Backend::propose`].
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn propose<'a>(
        &'a self,
        command: &Command,
    ) -> impl Future<Output = Result<Outcome, Failure>> + use<'a> {
        self.backend.propose_by(self.asker.as_ref(), command)
    }

    /// Answers `query`, if the client may ask; see [`Backend::query`].
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn query(
        &self,
        query: Query,
        level: ReadLevel,
    ) -> impl Future<Output = Result<Outcome, Failure>> {
        self.backend.query_by(self.asker.clone(), query, level)
    }

    /// What `query` was answered here; or, if it asks for a revision that this member has not reached, what it is
    /// answered once that is as far as the others were: whoever goes round members may have the revision from one
    /// of those.
    ///
    /// # Errors
    /// Nobody could say how far the others are; see [`Failure`].
    pub async fn caught_up(&self, outcome: Outcome, query: Query) -> Result<Outcome, Failure> {
        match outcome.result {
            Err(KvError::FutureRevision) => self.query(query, ReadLevel::Linearizable).await,
            _ => Ok(outcome),
        }
    }

    /// Refuses a client that has not this right. What it then does is not bound to this moment.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn demand(&self, right: Right, level: ReadLevel) -> Result<(), Failure> {
        let outcome = self.query(Query::May(right), level).await?;
        outcome.result.map(|_| ()).map_err(Failure::Kv)
    }

    /// Who it is, if that is known.
    pub fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// Begins to watch, nothing so far. What it is to be told is said by `voice`, if it has one, as far as there is
    /// room.
    pub fn watching(&self, voice: Option<Voice>) -> Watching {
        self.backend.desk().open(self.asker.clone(), voice)
    }

    /// The backend itself, for what the server does on its own.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Deref for Client {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}
