//! When frames leave: what nobody waits for goes along with what somebody does, if that comes soon.
//! Never holds a frame: the driver does, and is told to whom its frames leave.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors"; RFC 896 (small segments wait for each other).

use alloc::vec::Vec;

use headwater_raft::{Instant, NodeId};

/// Decides which peers are sent what is queued for them.
#[derive(Debug)]
pub struct Coalescer {
    /// How long a frame waits for another, at most.
    wait_ns: u64,
    /// For whom something is queued, and whether somebody waits for it.
    queued: Vec<(NodeId, bool)>,
    /// Whether something that can wait was queued since the last flush.
    has_fresh_patient: bool,
    /// Whether something that cannot was.
    has_fresh_urgent: bool,
    /// When something that can wait was last queued alone, until something that cannot follows.
    alone_since: Option<Instant>,
    /// Whether that followed in time.
    is_brisk: bool,
    /// When what can wait leaves alone.
    send_by: Option<Instant>,
}

impl Coalescer {
    /// Nothing is queued yet. Frames that can wait do so for at most `wait_ns` nanoseconds, and only
    /// if one that cannot came in that time when the last one could have waited.
    pub fn new(wait_ns: u64) -> Self {
        Self {
            wait_ns,
            queued: Vec::new(),
            has_fresh_patient: false,
            has_fresh_urgent: false,
            alone_since: None,
            is_brisk: false,
            send_by: None,
        }
    }

    /// A frame is queued for a peer. Whoever holds it asks before long to whom frames
    /// [leave](Coalescer::flush).
    pub fn queue(&mut self, to: NodeId, can_wait: bool) {
        self.has_fresh_patient |= can_wait;
        self.has_fresh_urgent |= !can_wait;
        match self.queued.iter_mut().find(|(peer, _)| *peer == to) {
            Some((_, is_urgent)) => *is_urgent |= !can_wait,
            None => self.queued.push((to, !can_wait)),
        }
    }

    /// Calls `leave` for each peer that is sent now all that is queued for it, in order. All are, but
    /// those for whom there is only what can wait, while something else is likely to follow soon.
    pub fn flush(&mut self, now: Instant, mut leave: impl FnMut(NodeId)) {
        let is_over = self.send_by.is_some_and(|by| now >= by);
        if is_over {
            self.is_brisk = false;
            self.alone_since = None;
        }
        let is_patient = core::mem::take(&mut self.has_fresh_patient);
        if core::mem::take(&mut self.has_fresh_urgent) {
            if let Some(since) = self.alone_since.take() {
                self.is_brisk = now.since(since) < self.wait_ns;
            }
        } else if is_patient {
            self.alone_since.get_or_insert(now);
        }
        let all = is_over || !self.is_brisk;
        self.queued.retain(|&(to, is_urgent)| {
            let leaves = all || is_urgent;
            if leaves {
                leave(to);
            }
            !leaves
        });
        let by = self.send_by.filter(|_| !all);
        let waits = !self.queued.is_empty();
        self.send_by = waits.then(|| by.unwrap_or(now.after(self.wait_ns)));
    }

    /// When [`Coalescer::flush`] must be called at the latest, if anything waits for that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.send_by
    }
}
