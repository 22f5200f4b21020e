//! What has arrived at a driver and was not taken in yet, and when that is worth a turn.
//! Never wakes anybody: it says whether its owner is to be woken.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors" (turns without timers).

use alloc::vec::Vec;

/// What waits for its owner's next turn, in the order in which it came.
#[derive(Debug)]
pub struct Mailbox<T> {
    waiting: Vec<T>,
    /// Whether the owner is to be woken by what was put aside.
    wants_all: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            wants_all: true,
        }
    }
}

impl<T> Mailbox<T> {
    /// Puts in something. The owner is to be woken.
    pub fn put(&mut self, item: T) {
        self.waiting.push(item);
    }

    /// Puts in something that the owner need not be woken for unless it
    /// [wants](Mailbox::want_all) to be; says whether it does.
    #[must_use]
    pub fn put_aside(&mut self, item: T) -> bool {
        self.waiting.push(item);
        self.wants_all
    }

    /// The owner, its turn done, says whether it is to be woken by what is put aside, too. Returns
    /// whether it is to be woken at once, for what came meanwhile.
    #[must_use]
    pub fn want_all(&mut self, all: bool) -> bool {
        self.wants_all = all;
        all && !self.waiting.is_empty()
    }

    /// Takes all that waits into `into`, which is empty.
    pub fn take(&mut self, into: &mut Vec<T>) {
        core::mem::swap(&mut self.waiting, into);
    }
}
