//! Counts what is allocated on this thread: the system's allocator with two counters before it.
//! Never on another thread: everything measured here runs on one.
//!
//! The counters are plain numbers of the thread, so that counting costs next to nothing and does
//! not punish those who allocate much.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How often something was allocated, and how many bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocations {
    /// Calls that gave memory; a buffer that grows counts each time.
    pub calls: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

impl Allocations {
    /// Everything this thread has allocated so far.
    pub fn now() -> Self {
        Self {
            calls: CALLS.get(),
            bytes: BYTES.get(),
        }
    }

    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls - earlier.calls,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

impl Allocations {
    /// Bytes that this thread has allocated and not given back.
    pub fn live_bytes() -> i64 {
        LIVE.get()
    }
}

/// Keeps memory that is given back for what is asked next. By itself glibc returns the end of the
/// heap to the kernel, or not, as chance lays something there; then every large message is new
/// memory, which the kernel clears.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: this is how glibc declares it.
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        // SAFETY: both parameters are glibc's, and it refuses values that it cannot have.
        unsafe {
            mallopt(TRIM_THRESHOLD, i32::MAX);
            mallopt(MMAP_THRESHOLD, 32 << 20);
        }
    }
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    CALLS.set(CALLS.get() + 1);
    BYTES.set(BYTES.get() + bytes as u64);
    LIVE.set(LIVE.get() + bytes as i64);
}

fn give_back(bytes: usize) {
    LIVE.set(LIVE.get() - bytes as i64);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed unchanged to the system's allocator, which keeps the contract.
// Counting allocates nothing: the counters are constants of the thread without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: `at` came from this allocator, that is, from the system's, with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        give_back(layout.size());
        count(bytes);
        // SAFETY: as for `dealloc`; `bytes` is checked by the caller.
        unsafe { System.realloc(at, layout, bytes) }
    }
}
