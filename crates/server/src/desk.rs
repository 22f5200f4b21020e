//! How services reach the company in the loop: they call, and wait for the answer here.
//! Never looks into either.
//!
//! # Source
//! ARCHITECTURE.md, "Threads".

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_kv::Store;
use headwater_kv::auth::Asker;
use headwater_kv::stream::StreamId;
use headwater_runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::company::{Call, Wish};
use crate::failure::Failure;
use crate::once::Told;
use crate::voice::Voice;

/// The way to a node's company. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    calls: mpsc::UnboundedSender<Call>,
    node: Handle<Store>,
    /// How many streams were opened, which names the next.
    opened: Arc<AtomicU64>,
}

impl Desk {
    /// The way to the company of `node`, which takes its calls from the other end of `calls`.
    pub fn new(calls: mpsc::UnboundedSender<Call>, node: Handle<Store>) -> Self {
        let opened = Arc::default();
        Self {
            calls,
            node,
            opened,
        }
    }

    /// Calls, and waits for the answer.
    ///
    /// # Errors
    /// [`Failure::Stopped`], and no other.
    pub async fn call<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<T>) -> Call,
    ) -> Result<T, Failure> {
        self.ask(call).await.map_err(|_| Failure::Stopped)
    }

    /// Calls; the answer comes there, unless the node has stopped.
    pub fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        self.put(call(answer));
        answered
    }

    /// Somebody, known or not, begins to watch, nothing so far.
    pub fn open(&self, asker: Option<Asker>, voice: Option<Voice>) -> Watching {
        let id = StreamId(self.opened.fetch_add(1, Ordering::Relaxed));
        self.put(Call::Open(id, asker, voice));
        let desk = self.clone();
        Watching { id, desk }
    }

    fn put(&self, call: Call) {
        // After the end nobody takes it, and whoever waits for an answer learns of that.
        if self.calls.send(call).is_ok() {
            self.node.wake();
        }
    }
}

/// A stream of watches, as its client sees it. It ends when this is dropped.
pub struct Watching {
    id: StreamId,
    desk: Desk,
}

impl Watching {
    /// Has something changed in what is watched; returns once more may be asked for.
    ///
    /// # Errors
    /// [`Failure::Stopped`], and no other.
    pub async fn wish(&self, wish: Wish) -> Result<(), Failure> {
        let id = self.id;
        self.desk.call(|done| Call::Watch(id, wish, done)).await
    }

    /// What is to be told next comes there, if there was no room to say it, unless the node has stopped.
    pub fn next(&self) -> oneshot::Receiver<Told> {
        let id = self.id;
        self.desk.ask(|next| Call::Next(id, next))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.desk.put(Call::Close(self.id));
    }
}
