//! What processes and the disk have spent, as the kernel counts it.

use anyhow::{Context, Result, ensure};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kernel's unit for processor times in /proc, fixed for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// The kernel's number for tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// The kernel's unit for sizes in block statistics, whatever the device's own is.
const SECTOR_BYTES: u64 = 512;

/// Processor seconds that a process has used, all threads together.
///
/// # Errors
/// If there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The program's name stands in parentheses and may hold anything.
    let after = text
        .rsplit_once(')')
        .context("no name in /proc/PID/stat")?
        .1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> {
        Ok(fields.get(at).context("/proc/PID/stat is short")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Processor seconds that were used on the whole machine.
///
/// # Errors
/// If the kernel does not say.
pub fn busy_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    ensure!(ticks.len() >= 8, "/proc/stat is short");
    // user, nice, system, then interrupts; idle and waiting for the disk lie between.
    Ok((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / TICKS_PER_SECOND)
}

/// The disk that holds a folder.
#[derive(Clone, Debug)]
pub struct Disk {
    statistics: PathBuf,
}

impl Disk {
    /// Finds the disk under a folder.
    ///
    /// # Errors
    /// If the folder is in memory, where durability costs nothing and nothing can be compared.
    pub fn under(folder: &Path) -> Result<Disk> {
        let kind = rustix::fs::statfs(folder)?.f_type;
        ensure!(
            kind != TMPFS,
            "{} is in memory: choose a folder on a disk (--dir)",
            folder.display()
        );
        let device = std::fs::metadata(folder)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Ok(Disk {
            statistics: PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat")),
        })
    }

    /// Bytes written to the disk so far, by everything on the machine; nothing if its device keeps
    /// no counters.
    pub fn written_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.statistics).ok()?;
        let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}
