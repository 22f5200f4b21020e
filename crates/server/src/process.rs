//! What this process uses of the machine, and may use.
//! Never fails: what the system does not tell is left out.
//!
//! # Source
//! proc(5); getrlimit(2); Go's programs, etcd among them, raise that limit, too.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::metrics_text::Page;

/// What the process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes of memory.
    pub resident_bytes: Option<u64>,
    /// Open files and sockets.
    pub open_files: Option<u64>,
    /// How many of them it may have.
    pub open_files_max: Option<u64>,
    /// Seconds of processor time.
    pub cpu_seconds: Option<f64>,
    /// Bytes of addresses that are taken.
    pub virtual_bytes: Option<u64>,
    /// How many it may take; without a limit the largest number.
    pub virtual_bytes_max: Option<u64>,
    /// When it began, in seconds since 1970.
    pub started_seconds: Option<f64>,
}

/// Lets this process have as many files and sockets as it may, and says how many that is.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Linux shows processor time to programs in hundredths of a second, whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What this process uses now.
fn usage() -> Usage {
    Usage {
        resident_bytes: status_bytes("VmRSS:"),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as u64),
        open_files_max: limit("Max open files"),
        cpu_seconds: cpu_seconds(),
        virtual_bytes: status_bytes("VmSize:"),
        virtual_bytes_max: limit("Max address space"),
        started_seconds: started_seconds(),
    }
}

/// Writes it under the names that Prometheus's clients have for it, and etcd.
pub fn put(page: &mut Page) {
    let usage = usage();
    if let Some(bytes) = usage.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Memory in use.", bytes);
    }
    if let Some(count) = usage.open_files {
        page.gauge("process_open_fds", "Open files and sockets.", count);
        page.gauge("os_fd_used", "The same.", count);
    }
    if let Some(count) = usage.open_files_max {
        page.gauge("process_max_fds", "How many may be open.", count);
        page.gauge("os_fd_limit", "The same.", count);
    }
    if let Some(bytes) = usage.virtual_bytes {
        page.gauge("process_virtual_memory_bytes", "Addresses taken.", bytes);
    }
    if let Some(bytes) = usage.virtual_bytes_max {
        let help = "How many may be taken.";
        page.gauge("process_virtual_memory_max_bytes", help, bytes);
    }
    if let Some(seconds) = usage.started_seconds {
        let help = "When this process began, in seconds since 1970.";
        page.gauge("process_start_time_seconds", help, seconds);
    }
    if let Some(seconds) = usage.cpu_seconds {
        let help = "Processor time used, in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
}

fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|l| l.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn cpu_seconds() -> Option<f64> {
    let [user, system] = [14, 15].map(stat_ticks);
    Some((user? + system?) / TICKS_PER_SECOND)
}

fn started_seconds() -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted = machine.lines().find_map(|l| l.strip_prefix("btime "))?;
    let booted: f64 = booted.trim().parse().ok()?;
    Some(booted + stat_ticks(22)? / TICKS_PER_SECOND)
}

/// A time among the numbered fields of the process's own line.
fn stat_ticks(field: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, the second, is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_what_the_process_uses() {
        let usage = usage();
        assert!(usage.resident_bytes.unwrap() > 100_000);
        assert!(usage.open_files.unwrap() >= 3);
        assert!(usage.open_files_max >= usage.open_files);
        assert!(usage.cpu_seconds.unwrap() >= 0.0);
        assert!(usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.virtual_bytes_max >= usage.virtual_bytes);
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - usage.started_seconds.unwrap();
        assert!((-2.0..3600.0).contains(&age), "began {age} s ago");
    }
}
