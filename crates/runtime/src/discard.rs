//! Files that are removed while others wait for the disk's thread: their names go at once, their pages
//! and blocks behind everybody's back.
//! Never touches a file that has a name.
//!
//! # Source
//! unlink(2): a file is given back when its last name and its last open descriptor are gone. For the
//! 64 MiB of a segment that takes the kernel tens of milliseconds, a page at a time.

use std::fs::File;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// The thread that closes them; begun when it is first needed, and gone with this.
#[derive(Debug, Default)]
pub(crate) struct Discard(OnceLock<Option<Sender<File>>>);

impl Discard {
    /// Closes a file whose name is gone, some time soon. Where the operating system gives no thread, at once.
    pub(crate) fn close(&self, file: File) {
        if let Some(thread) = self.0.get_or_init(|| start().ok()) {
            // A thread that has ended gives the file back, and it is closed here.
            let _ = thread.send(file);
        }
    }
}

fn start() -> std::io::Result<Sender<File>> {
    let (to, files) = channel::<File>();
    std::thread::Builder::new()
        .name("discard".into())
        .spawn(move || {
            // A wish: where it is not granted, this takes a share of a processor like any other.
            let _ = rustix::process::setpriority_process(None, 19);
            files.into_iter().for_each(drop);
        })?;
    Ok(to)
}
