//! The data directory: made if missing, and held by one process at a time.
//! Never looks at what is in it.
//!
//! # Source
//! flock(2): the lock goes with the process, however it ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

/// The name of the file that carries the lock; it also names the holder's process, for people.
pub use headwater_replica::recovery::LOCK_FILE;

/// A data directory that no other process may use until this is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why a data directory cannot be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    Held,
    /// It is something else than a directory.
    NotDirectory,
    /// It cannot be made or written: what was tried and what to do.
    Unusable(String),
}

impl DirectoryLock {
    /// Makes `directory` if need be and locks it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        if directory.exists() && !directory.is_dir() {
            return Err(LockError::NotDirectory);
        }
        make_directory(directory).map_err(|e| unusable("create data directory", directory, &e))?;
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| unusable("open", &path, &e))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held),
            Err(e) => return Err(unusable("lock", &path, &e.into())),
        }
        // The process id is for people who find the lock held; a disk too full for it is met
        // again, and better explained, by the log.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// Whether a process holds a directory. Changes nothing; where there is no lock, nobody does.
///
/// # Errors
/// The lock is there and cannot be looked at.
pub fn is_held(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // A new directory whose name is lost in a crash takes everything in it along.
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

fn unusable(deed: &str, path: &Path, error: &io::Error) -> LockError {
    let mut text = format!("cannot {deed} {}: {error}", path.display());
    if matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    ) {
        text.push_str(&permission_hint(path));
    }
    LockError::Unusable(text)
}

/// Who we are and whose the nearest existing directory is: what a refusal never says.
fn permission_hint(path: &Path) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let owner = path.ancestors().find_map(|p| {
        let meta = std::fs::metadata(p).ok()?;
        let mode = meta.mode() & 0o7777;
        Some(format!(
            ", {} belongs to uid {} with mode {mode:o}",
            p.display(),
            meta.uid()
        ))
    });
    format!(
        " (this process runs as uid {uid}{})",
        owner.unwrap_or_default()
    )
}
