//! The order of events: by simulated time, then by the order in which they were put in.
//! Never asks the machine what time it is.
//!
//! # Source
//! Discrete-event simulation as FoundationDB and TigerBeetle use it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bytes::Bytes;

/// What can happen in the world. Nodes are named by their place, from zero; `life` counts a
/// node's starts, so that what was meant for an earlier life finds nobody.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame reaches its receiver.
    Frame {
        from: usize,
        to: usize,
        epoch: u64,
        /// The sending it comes from; doubles have the same.
        sending: u64,
        /// With its head.
        wire: Bytes,
    },
    /// One end of a connection learns that it is there, or that it is gone.
    Link {
        node: usize,
        peer: usize,
        epoch: u64,
        up: bool,
    },
    /// Two nodes try to connect.
    Connect { a: usize, b: usize },
    /// A node takes in what has arrived and ends its turn.
    Turn { node: usize, life: u64 },
    /// A node's turn has ended: it waits for the next.
    Rest { node: usize, life: u64 },
    /// The moment a node asked to be woken at.
    Timer { node: usize, life: u64 },
    /// The log worker has finished a batch.
    Log { node: usize, life: u64 },
    /// The log worker has had nothing to do for a while.
    Idle { node: usize, life: u64 },
    /// A spare segment has been made.
    Spare { node: usize, life: u64 },
    /// The snapshot worker has finished an order.
    File { node: usize, life: u64 },
    /// The next file at rest is read again.
    Scrub { node: usize, life: u64 },
    /// A node starts.
    Start { node: usize },
    /// A client makes its next request.
    Client { client: usize },
    /// A request reaches a node.
    Ask { op: u64, node: usize },
    /// A planned fault strikes.
    Fault { fault: usize },
    /// A partition ends.
    Heal { blocked: Vec<(usize, usize)> },
    /// A clock runs at its usual pace again.
    Pace { node: usize },
    /// A disk has room again.
    Room { node: usize },
    /// A process that has hung is killed.
    Die {
        node: usize,
        life: u64,
        down_ns: u64,
    },
    /// A disk is set back to its image.
    SetBack { node: usize, down_ns: u64 },
    /// A disk that was set back is taken away, if its witness is still this one.
    TakeAway { node: usize, witness: usize },
    /// What stands beside the machines does what it was to do now.
    Company,
    /// An operator looks after what is lost.
    Operator,
    /// The calm begins: no more faults, and the cluster must serve.
    Calm,
    /// A look at whether the cluster has recovered.
    Probe,
}

struct Entry {
    at: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// The events to come, and the present.
#[derive(Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Entry>,
    seq: u64,
    now: u64,
}

impl Schedule {
    /// The present, in nanoseconds since the world began.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Lets `event` happen `after_ns` from now.
    pub(crate) fn after(&mut self, after_ns: u64, event: Event) {
        self.at(self.now.saturating_add(after_ns), event);
    }

    /// Lets `event` happen at `at`, or now if that has passed.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            seq: self.seq,
            event,
        });
    }

    /// The next event; its time becomes the present.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let entry = self.heap.pop()?;
        assert!(entry.at >= self.now, "time never goes back");
        self.now = entry.at;
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_given() {
        let mut schedule = Schedule::default();
        for (at, node) in [(5, 0), (3, 1), (5, 2), (0, 3)] {
            schedule.at(at, Event::Start { node });
        }
        let mut order = Vec::new();
        while let Some(Event::Start { node }) = schedule.next() {
            order.push(node);
        }
        assert_eq!(order, [3, 1, 0, 2]);
        assert_eq!(schedule.now(), 5);
    }
}
