//! Random numbers from the operating system, for what must differ between lives and nodes.
//! Never used where a run must be repeatable: the replica has a seed for that.
//!
//! # Source
//! getrandom(2).

use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits.
///
/// # Panics
/// If the operating system has none to give: without them two lives of a node could be taken for
/// one.
pub fn u128() -> u128 {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("the operating system has no random numbers: {e}"),
        }
    }
    u128::from_le_bytes(bytes)
}

/// 64 random bits.
///
/// # Panics
/// As [`u128`].
pub fn u64() -> u64 {
    // The low half is as random as the whole.
    u128() as u64
}

/// A random duration from `low` to `high`.
pub fn between(low: Duration, high: Duration) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
    low + Duration::from_nanos(u64() % span.saturating_add(1).max(1))
}
