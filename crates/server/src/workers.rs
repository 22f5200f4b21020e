//! Threads beside the loop for work that would hold it up, few at a time: the loop needs a processor, too.
//! Never knows what the work is.
//!
//! # Source
//! ARCHITECTURE.md, "Threads".

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::failure::Failure;

/// Some threads. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    turns: Arc<Semaphore>,
}

impl Workers {
    /// So many, without work.
    pub fn new(count: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(count)),
        }
    }

    /// Does this work once one of them is free.
    ///
    /// # Errors
    /// The server stops, or the work breaks off.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Failure::Stopped)?;
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work();
            // Whoever asked may be gone; the work counts until it is done.
            drop(turn);
            worked
        });
        worked
            .await
            .map_err(|_| Failure::Internal("work beside the loop broke off"))
    }
}
