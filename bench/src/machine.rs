//! What processes and the disk have spent, as the kernel and the servers' own counters tell it.

use crate::figures::Figures;
use anyhow::{Context, Result, ensure};
use headwater_etcd_tests::http;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kernel's unit for processor times in /proc, fixed for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// The kernel's number for tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// The kernel's unit for sizes in block statistics, whatever the device's own is.
const SECTOR_BYTES: u64 = 512;

/// Whom a measurement is about, besides this process.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The servers' process ids.
    pub pids: Vec<u32>,
    /// Where each of them has its metrics.
    pub ports: Vec<u16>,
    /// The disk under their data.
    pub disk: Option<Disk>,
}

/// What had been spent at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Processor seconds of the servers together.
    server_cpu: f64,
    /// Processor seconds of this process.
    client_cpu: f64,
    /// Processor seconds of the whole machine.
    busy: f64,
    /// How often the servers' threads gave a processor away or lost it.
    switches: u64,
    /// Bytes that the servers sent to storage, as the kernel puts them to their account.
    charged_bytes: Option<u64>,
    /// Syncs of the servers' files, by their own count.
    syncs: Option<u64>,
    /// Bytes that reached the disk, from whoever.
    disk_bytes: Option<u64>,
}

impl Spent {
    /// What has been spent so far.
    ///
    /// # Errors
    /// If a server is gone.
    pub fn so_far(watched: &Watched) -> Result<Spent> {
        let pids = &watched.pids;
        let cpu: Result<Vec<f64>> = pids.iter().map(|&pid| cpu_seconds(pid)).collect();
        let switches: Result<Vec<u64>> = pids.iter().map(|&pid| switches(pid)).collect();
        let charged: Option<Vec<u64>> = pids.iter().map(|&pid| charged_bytes(pid)).collect();
        let syncs: Option<Vec<u64>> = watched.ports.iter().map(|&port| syncs_of(port)).collect();
        let sum = |all: Vec<u64>| (!all.is_empty()).then(|| all.iter().sum());
        Ok(Spent {
            server_cpu: cpu?.iter().sum(),
            client_cpu: cpu_seconds(std::process::id())?,
            busy: busy_seconds()?,
            switches: switches?.iter().sum(),
            charged_bytes: charged.and_then(sum),
            syncs: syncs.and_then(sum),
            disk_bytes: watched.disk.as_ref().and_then(Disk::written_bytes),
        })
    }

    /// What was spent since then, for each of so many operations in so many seconds.
    pub fn since(&self, then: &Spent, operations: f64, seconds: f64) -> Figures {
        let server_cpu = self.server_cpu - then.server_cpu;
        let client_cpu = self.client_cpu - then.client_cpu;
        let others = (self.busy - then.busy - server_cpu - client_cpu).max(0.0);
        let mut figures = Figures::from([
            (
                "server_cpu_s_per_100k".into(),
                server_cpu * 1e5 / operations,
            ),
            (
                "client_cpu_s_per_100k".into(),
                client_cpu * 1e5 / operations,
            ),
            ("other_cpus".into(), others / seconds),
        ]);
        let mut counted = |name: &str, now: Option<u64>, then: Option<u64>| {
            if let (Some(now), Some(then)) = (now, then) {
                figures.insert(name.into(), now.saturating_sub(then) as f64 / operations);
            }
        };
        counted("switches_per_op", Some(self.switches), Some(then.switches));
        counted(
            "charged_bytes_per_op",
            self.charged_bytes,
            then.charged_bytes,
        );
        counted("syncs_per_op", self.syncs, then.syncs);
        counted("disk_bytes_per_op", self.disk_bytes, then.disk_bytes);
        figures
    }
}

/// Processor seconds that a process has used, all threads together.
///
/// # Errors
/// If there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
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

/// Memory of a process that is in use, in MiB.
///
/// # Errors
/// If there is no such process.
pub fn resident_mib(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = number_after(&text, "VmRSS:").context("no VmRSS in /proc/PID/status")?;
    Ok(kib as f64 / 1024.0)
}

/// Context switches of all threads that a process has now.
fn switches(pid: u32) -> Result<u64> {
    let mut sum = 0;
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.with_context(|| format!("process {pid} is gone"))? {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        sum += number_after(&text, "\nvoluntary_ctxt_switches:").unwrap_or(0);
        sum += number_after(&text, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok(sum)
}

/// Bytes that a process caused to be written to storage, if the kernel says.
fn charged_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    number_after(&text, "\nwrite_bytes:")
}

/// The number that follows a word.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = &text[text.find(word)? + word.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

/// How often a server has synced its log, and its database if it has one, as its metrics say.
fn syncs_of(port: u16) -> Option<u64> {
    let text = http::get(port, "/metrics").ok()?.body;
    let count = |name: &str| number_after(&text, &format!("\n{name}_count "));
    let log = count("etcd_disk_wal_fsync_duration_seconds")?;
    Some(log + count("etcd_disk_backend_commit_duration_seconds").unwrap_or(0))
}

/// Processor seconds that were used on the whole machine.
///
/// # Errors
/// If the kernel does not say.
fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
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
        let device = fs::metadata(folder)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Ok(Disk {
            statistics: PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat")),
        })
    }

    /// Bytes written to the disk so far, by everything on the machine; nothing if its device keeps
    /// no counters.
    pub fn written_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.statistics).ok()?;
        let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}
