//! What this process uses of the machine, and may use.
//! Never fails: what the system does not tell is left out.
//!
//! # Source
//! proc(5); getrlimit(2); Go's programs, etcd among them, raise that limit, too.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Mutex;
use tokio::time::Instant;

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

impl Usage {
    /// Writes it under the names that Prometheus's clients have for it, and etcd.
    pub fn put(self, page: &mut Page) {
        if let Some(bytes) = self.resident_bytes {
            page.gauge("process_resident_memory_bytes", "Memory in use.", bytes);
        }
        if let Some(count) = self.open_files {
            page.gauge("process_open_fds", "Open files and sockets.", count);
            page.gauge("os_fd_used", "The same.", count);
        }
        if let Some(count) = self.open_files_max {
            page.gauge("process_max_fds", "How many may be open.", count);
            page.gauge("os_fd_limit", "The same.", count);
        }
        if let Some(bytes) = self.virtual_bytes {
            page.gauge("process_virtual_memory_bytes", "Addresses taken.", bytes);
        }
        if let Some(bytes) = self.virtual_bytes_max {
            let help = "How many may be taken.";
            page.gauge("process_virtual_memory_max_bytes", help, bytes);
        }
        if let Some(seconds) = self.started_seconds {
            let help = "When this process began, in seconds since 1970.";
            page.gauge("process_start_time_seconds", help, seconds);
        }
        if let Some(seconds) = self.cpu_seconds {
            let help = "Processor time used, in seconds.";
            page.counter("process_cpu_seconds_total", help, seconds);
        }
    }
}

/// How often what is used is looked up, at most: with thousands of open files that takes a while.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What this process uses, as it was within the last second. Cheap to clone.
#[derive(Clone, Default)]
pub struct Usages {
    last: Arc<Mutex<Option<(Instant, Usage)>>>,
}

impl Usages {
    /// What is used now, or was a moment ago; a thread of its own looks it up.
    pub async fn now(&self) -> Usage {
        self.now_by(usage).await
    }

    async fn now_by(&self, look: impl FnOnce() -> Usage + Send + 'static) -> Usage {
        // Whoever asks meanwhile waits for the same look.
        let mut last = self.last.lock().await;
        if let Some((at, usage)) = *last
            && at.elapsed() < LOOK_EVERY
        {
            return usage;
        }
        let usage = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        *last = Some((Instant::now(), usage));
        usage
    }
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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn however_many_ask_there_is_one_look_in_a_while_and_not_here() {
        let usages = Usages::default();
        let here = thread::current().id();
        let looks = Arc::new(AtomicU64::new(0));
        let ask = || {
            let (usages, looks) = (usages.clone(), Arc::clone(&looks));
            async move {
                let look = move || {
                    assert_ne!(thread::current().id(), here);
                    Usage {
                        open_files: Some(looks.fetch_add(1, Ordering::Relaxed)),
                        ..Usage::default()
                    }
                };
                usages.now_by(look).await.open_files
            }
        };
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!((first, second), (Some(0), Some(0)));
        assert_eq!(ask().await, Some(0));
        *usages.last.lock().await = None;
        assert_eq!(ask().await, Some(1));
    }

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
