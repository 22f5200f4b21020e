//! What this process uses of the machine.
//! Never fails: what the system does not tell is left out.
//!
//! # Source
//! proc(5).

use std::fs;

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
}

/// Linux shows processor time to programs in hundredths of a second, whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What this process uses now.
pub fn usage() -> Usage {
    Usage {
        resident_bytes: resident_bytes(),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as u64),
        open_files_max: open_files_max(),
        cpu_seconds: cpu_seconds(),
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name is in parentheses and may hold anything, so count from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
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
    }
}
