//! A file system of its own for a member, whose power can be cut: what was not synced is gone then.
//! Never touches another disk than the image that it made.
//!
//! # Source
//! The kernel's `EXT4_IOC_SHUTDOWN`, without flushing its journal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Shuts file systems down at once, so that members lose their power together.
const CUT: &str = "
import fcntl, os, struct, sys
folders = [os.open(folder, os.O_RDONLY) for folder in sys.argv[1:]]
for folder in folders:
    fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
";

/// How long a file system may be in use by a process that was killed.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);

/// An image of an ext4 file system, mounted.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    folder: PathBuf,
}

impl LoopDisk {
    /// Makes an image of so many megabytes in `parent`, and mounts it.
    ///
    /// # Errors
    /// This machine lets nobody mount anything, or has no such file system.
    pub fn new(parent: &Path, name: &str, megabytes: u64) -> Result<Self> {
        let image = parent.join(format!("{name}.img"));
        let file = std::fs::File::create(&image)?;
        file.set_len(megabytes << 20)?;
        let path = std::env::var("PATH").unwrap_or_default();
        run(Command::new("mkfs.ext4")
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["-q", "-F"])
            .arg(&image))?;
        let folder = parent.join(format!("{name}.disk"));
        std::fs::create_dir(&folder)?;
        let disk = Self { image, folder };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power of all these disks.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(disks: &[LoopDisk]) -> Result<()> {
        let folders = disks.iter().map(LoopDisk::folder);
        run(Command::new("python3").args(["-c", CUT]).args(folders))
    }

    /// Mounts it again after its power was cut and its user was killed.
    ///
    /// # Errors
    /// It stays in use, or cannot be mounted.
    pub fn restore(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&self.image, &self.folder]))
    }

    fn unmount(&self) -> Result<()> {
        let deadline = Instant::now() + UNMOUNT_LIMIT;
        while let Err(error) = run(Command::new("umount").arg(&self.folder)) {
            ensure!(Instant::now() < deadline, error);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Whoever still uses it goes soon; then so does the mount.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", text.trim());
    }
    Ok(())
}
