//! Memory that the allocator keeps for later goes back to the kernel while nothing asks for any.
//!
//! mimalloc gives freed pages back a second after they were freed, but looks for such pages only
//! when it frees another one: a server at rest would keep what its busiest moment took.
//!
//! # Source
//! mimalloc's options (`purge_delay`); its sources, where pages are freed.

use std::hint::black_box;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the allocator is made to look.
const EVERY: Duration = Duration::from_secs(1);

/// More than shares a page with anything, and never touched: it costs addresses, no memory.
const NUDGE_BYTES: usize = 4 << 20;

/// Makes the allocator look for pages to give back, for as long as it runs.
pub async fn give_back() {
    loop {
        sleep(EVERY).await;
        // The kernel may take its time over what a burst has left behind.
        let _ = spawn_blocking(nudge).await;
    }
}

/// Frees a page. Without addresses for it there is nothing to be done.
fn nudge() {
    let mut page = Vec::<u8>::new();
    if page.try_reserve_exact(NUDGE_BYTES).is_ok() {
        drop(black_box(page));
    }
}
