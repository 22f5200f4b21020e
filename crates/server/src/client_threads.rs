//! Threads that serve clients' connections beside the loop's own: HTTP/2 is most of what a small call costs, and
//! one thread, however fast, is one processor. Where there are few processors there are none of them: waking
//! another thread costs what it would take over.
//! Never runs anything of the node itself.
//!
//! # Source
//! ARCHITECTURE.md, "Threads".

use std::io;
use std::thread::available_parallelism;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// From so many processors on, clients have threads of their own unless it is said how many.
const PROCESSORS_MANY: usize = 8;

/// How many processors there are for each such thread, and how many of these at most.
const PROCESSORS_EACH: usize = 4;
const THREADS_MAX: usize = 8;

/// How many threads there are if nobody says.
pub fn usual() -> usize {
    of_processors(available_parallelism().map_or(1, usize::from))
}

fn of_processors(processors: usize) -> usize {
    match processors < PROCESSORS_MANY {
        true => 0,
        false => (processors / PROCESSORS_EACH).min(THREADS_MAX),
    }
}

/// The threads; they end with this.
pub struct ClientThreads(Option<Runtime>);

impl ClientThreads {
    /// Starts so many; with none the thread that spawns serves.
    ///
    /// # Errors
    /// The system has no more.
    pub fn start(count: usize) -> io::Result<Self> {
        if count == 0 {
            return Ok(Self(None));
        }
        let mut threads = Builder::new_multi_thread();
        let threads = threads.worker_threads(count).thread_name("clients");
        Ok(Self(Some(threads.enable_all().build()?)))
    }

    /// A port whose connections these threads serve.
    ///
    /// # Errors
    /// As the system says.
    pub fn take(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let Some(threads) = &self.0 else {
            return Ok(listener);
        };
        let listener = listener.into_std()?;
        let _inside = threads.enter();
        TcpListener::from_std(listener)
    }

    /// Has these threads do something, until `tasks` are dropped.
    pub fn spawn(&self, tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(threads) => tasks.spawn_on(task, threads.handle()),
            None => tasks.spawn(task),
        };
    }
}

impl Drop for ClientThreads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            // It is dropped where nothing may wait.
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_processors_are_left_to_the_loop() {
        let threads = [1, 2, 4, 7, 8, 16, 31, 32, 128].map(of_processors);
        assert_eq!(threads, [0, 0, 0, 0, 2, 4, 7, 8, 8]);
    }
}
