//! Counts the bytes that a thread holds, so that an input cannot take more than its share.
//! Never refuses: a limit that is broken is found when the input is done.
//!
//! # Source
//! docs/format.md, "Rules for all files": no file makes a reader allocate more than it holds.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; it only counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// The bytes held now, and the most that were.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

fn count(change: i64) {
    // While a thread ends nothing is counted.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + change;
        held.set((now, most.max(now)));
    });
}

// SAFETY: each call is passed on unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promises are ours.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64);
        count(-(layout.size() as i64));
        // SAFETY: the caller's promises are ours.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What the work on an input may hold at most.
pub struct Limit {
    /// Beside what the input accounts for.
    pub bytes: u64,
    /// For each byte of the input.
    pub bytes_per_byte: u64,
}

impl Limit {
    /// Does `work`, which an input of so many bytes causes.
    ///
    /// # Panics
    /// If it holds more.
    pub fn hold<T>(&self, input_bytes: usize, work: impl FnOnce() -> T) {
        let held = most_held(work);
        let most = self.bytes + self.bytes_per_byte * input_bytes as u64;
        assert!(
            held <= most,
            "{held} bytes held, for {input_bytes} of input"
        );
    }
}

/// The most bytes that this thread holds during `work`, beyond those before.
fn most_held<T>(work: impl FnOnce() -> T) -> u64 {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    work();
    let (_, most) = HELD.with(Cell::get);
    (most - before).unsigned_abs()
}
