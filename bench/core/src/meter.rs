//! What a piece of work costs: processor time, time, allocations.
//! Never guesses: processor time is the kernel's count for the whole process.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::allocations::Allocations;

/// What a piece of work has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time that passed; on a busy machine others' work is in it.
    pub wall: Duration,
    /// Processor time of this process, all threads together.
    pub cpu: Duration,
    /// What this thread allocated.
    pub allocations: Allocations,
}

/// Measures from its start on.
#[derive(Debug)]
pub struct Meter {
    wall: Instant,
    cpu: Duration,
    allocations: Allocations,
}

impl Meter {
    /// Begins to measure.
    pub fn start() -> Self {
        Self {
            allocations: Allocations::now(),
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// What was spent since the start.
    pub fn cost(&self) -> Cost {
        Cost {
            cpu: cpu_time() - self.cpu,
            wall: self.wall.elapsed(),
            allocations: Allocations::now().since(self.allocations),
        }
    }
}

/// Processor time this process has used, in user space and in the kernel.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("processor time is not negative");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}
