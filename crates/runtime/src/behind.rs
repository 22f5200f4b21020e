//! Threads that stand back behind those that answer, wherever the operating system lets them.
//! Never counts on it: where it does not, such a thread takes its share of a processor like any other.
//!
//! # Source
//! setpriority(2), of the thread that calls it.

use std::io::Result;
use std::thread::{Builder, JoinHandle};

/// How far a thread stands back.
#[derive(Clone, Copy, Debug)]
pub enum Behind {
    /// It gets a tenth of a processor that others could use up.
    Others = 10,
    /// It gets next to nothing of it.
    All = 19,
}

/// Begins a thread that stands back.
///
/// # Errors
/// The operating system gives none.
pub fn spawn_behind<T: Send + 'static>(
    behind: Behind,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // A wish.
        let _ = rustix::process::setpriority_process(None, behind as i32);
        work()
    })
}
