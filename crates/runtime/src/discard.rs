//! Files that are removed while others wait for the disk's thread: their names go at once, their pages
//! and blocks behind everybody's back.
//! Never touches a file that has a name.
//!
//! # Source
//! unlink(2): a file is given back when its last name and its last open descriptor are gone. For the
//! 64 MiB of a segment that takes the kernel tens of milliseconds, a page at a time.

use std::fs::File;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::behind::{Behind, spawn_behind};

/// Files that may wait for the thread; those beyond it are closed by whoever removed them, so that few stay
/// open.
const WAITING_MAX: usize = 16;

/// The thread that closes them; begun when it is first needed, and gone with this.
#[derive(Debug, Default)]
pub(crate) struct Discard(OnceLock<Option<SyncSender<File>>>);

impl Discard {
    /// Closes a file whose name is gone, some time soon. Where the operating system gives no thread, at once.
    pub(crate) fn close(&self, file: File) {
        if let Some(thread) = self.0.get_or_init(|| start().ok()) {
            // What is not taken is given back, and closed here.
            let _ = thread.try_send(file);
        }
    }
}

fn start() -> std::io::Result<SyncSender<File>> {
    let (to, files) = sync_channel::<File>(WAITING_MAX);
    spawn_behind(Behind::Others, "discard", move || {
        files.into_iter().for_each(drop);
    })?;
    Ok(to)
}
