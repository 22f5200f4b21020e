//! Ports that stay ours while a server is down.
//! Knows the standard library alone: the tests of the crates use this very file.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The ports tried. They lie below those that Linux hands to outgoing connections: while a server
/// is down, such a connection could otherwise take its port, or a peer's dial could connect to
/// itself. And they lie between those that `headwater dev` takes where they are free.
const RANGE: std::ops::Range<u16> = 22_400..32_000;

/// A port on 127.0.0.1 that no other test on this machine will take while this lives.
#[derive(Debug)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// Holds the lock that tells other tests; the kernel lets go of it however this process ends.
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// If all are taken, or the folder for locks cannot be written.
    pub fn reserve() -> Result<Port> {
        let folder = std::env::temp_dir().join("headwater-test-ports");
        std::fs::create_dir_all(&folder).map_err(|e| about(e, &folder))?;
        // Tests that run at once begin their walk at different places.
        let count = u32::from(RANGE.end - RANGE.start);
        let begin = std::process::id().wrapping_mul(97) % count;
        for step in 0..count {
            let offset = u16::try_from((begin + step) % count).expect("the range is of ports");
            let number = RANGE.start + offset;
            if let Some(lock) = try_lock(folder.join(number.to_string()))?
                && TcpListener::bind(("127.0.0.1", number)).is_ok()
            {
                return Ok(Port {
                    number,
                    _lock: lock,
                });
            }
        }
        Err(Error::other(format!("no port of {RANGE:?} is free")))
    }
}

fn try_lock(path: PathBuf) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| about(e, &path))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

fn about(error: Error, path: &Path) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}
