//! Who turns what is large into JSON or out of it: threads of their own, few at a time, while the loop goes on.
//! Never does what is small: the way there and back would take longer.
//!
//! # Source
//! ARCHITECTURE.md, "Threads".

use tonic::Status;

use super::Refusal;
use crate::workers::Workers;

/// How many work at one time: the loop needs a processor, too.
const WORKING_MAX: usize = 2;

/// What is no larger is done at once: it takes a millisecond or two at most.
const AT_ONCE_BYTES: usize = 32 << 10;

/// The threads. Cheap to clone.
#[derive(Clone)]
pub struct Clerks {
    workers: Workers,
}

impl Clerks {
    /// All of them, without work.
    pub fn new() -> Self {
        Self {
            workers: Workers::new(WORKING_MAX),
        }
    }

    /// Does this work on so many bytes.
    ///
    /// # Errors
    /// The server stops, or the work breaks off.
    pub async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes <= AT_ONCE_BYTES {
            return Ok(work());
        }
        Ok(self.workers.work(work).await.map_err(Status::from)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_is_large_is_done_elsewhere_and_few_at_a_time() {
        let clerks = Clerks::new();
        let here = thread::current().id();
        let place = |bytes| clerks.work(bytes, move || thread::current().id() == here);
        assert_eq!(place(AT_ONCE_BYTES).await.ok(), Some(true));
        assert_eq!(place(AT_ONCE_BYTES + 1).await.ok(), Some(false));
        let under_way = Arc::new(Semaphore::new(WORKING_MAX));
        let mut works = Vec::new();
        for _ in 0..4 * WORKING_MAX {
            let (clerks, under_way) = (clerks.clone(), Arc::clone(&under_way));
            works.push(tokio::spawn(async move {
                let work = clerks.work(1 << 20, move || {
                    let place = under_way.try_acquire_owned();
                    thread::sleep(Duration::from_millis(5));
                    place.is_ok()
                });
                work.await.ok()
            }));
        }
        for work in works {
            assert_eq!(work.await.expect("no panic"), Some(true));
        }
    }
}
