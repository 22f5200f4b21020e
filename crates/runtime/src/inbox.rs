//! The one queue into the loop: everything that has arrived, in order, taken in one grasp.
//! Never waits on the side that puts: a full queue is said at once.
//!
//! # Source
//! Dissertation §10.2 (batching): what arrives during one turn is the next turn's batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_replica::mailbox::Mailbox;
use tokio::sync::Notify;

/// Why an event was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// As many bounded events wait as may.
    Full,
    /// The loop takes no more.
    Closed,
}

/// A queue of events for one taker.
#[derive(Debug)]
pub struct Inbox<E> {
    state: Mutex<State<E>>,
    arrived: Notify,
    bounded_max: usize,
}

#[derive(Debug)]
struct State<E> {
    events: Mailbox<E>,
    bounded: usize,
    closed: bool,
    /// Whether the taker was woken since it last took.
    is_told: bool,
}

impl<E> Inbox<E> {
    /// An empty inbox that holds up to `bounded_max` events given by [`Inbox::offer`].
    pub fn new(bounded_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                events: Mailbox::default(),
                bounded: 0,
                closed: false,
                is_told: false,
            }),
            arrived: Notify::new(),
            bounded_max,
        }
    }

    /// Puts in an event whose number is bounded elsewhere (by links, by orders given). One that
    /// comes after the end is dropped: nobody is left to act on it.
    pub fn put(&self, event: E) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        self.push(&mut state, event);
    }

    /// The same, for an event that the taker need not be woken for unless it [wants](Inbox::want_all)
    /// to be.
    pub fn put_aside(&self, event: E) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.events.put_aside(event) {
            self.tell(&mut state);
        }
    }

    /// Says whether the taker is to be woken by what is put aside, too. If so, what was put aside
    /// before counts.
    pub fn want_all(&self, all: bool) {
        let mut state = self.lock();
        if state.events.want_all(all) {
            self.tell(&mut state);
        }
    }

    /// Puts in an event from a client.
    ///
    /// # Errors
    /// The event comes back, with the reason.
    pub fn offer(&self, event: E) -> Result<(), (Refused, E)> {
        let mut state = self.lock();
        if state.closed {
            return Err((Refused::Closed, event));
        }
        if state.bounded >= self.bounded_max {
            return Err((Refused::Full, event));
        }
        state.bounded += 1;
        self.push(&mut state, event);
        Ok(())
    }

    /// Takes all that waits into `into`, which must be empty; says whether there was anything.
    pub fn take(&self, into: &mut Vec<E>) -> bool {
        assert!(into.is_empty(), "events of the last turn were not handled");
        let mut state = self.lock();
        state.bounded = 0;
        state.is_told = false;
        state.events.take(into);
        !into.is_empty()
    }

    /// Returns when something may have arrived since the last [`Inbox::take`].
    pub async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Lets [`Inbox::wait`] return, though nothing arrives.
    pub fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Takes in nothing from now on; what waits is given back.
    pub fn close(&self) -> Vec<E> {
        let mut state = self.lock();
        state.closed = true;
        let mut rest = Vec::new();
        state.events.take(&mut rest);
        rest
    }

    fn push(&self, state: &mut MutexGuard<'_, State<E>>, event: E) {
        state.events.put(event);
        self.tell(state);
    }

    fn tell(&self, state: &mut MutexGuard<'_, State<E>>) {
        // The taker's `Notify` keeps one wake-up for later, so one sent while the taker still runs is
        // not lost.
        if !std::mem::replace(&mut state.is_told, true) {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // No code that can panic runs under this lock, so what it guards is always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn events_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::new(2);
        inbox.put(1);
        inbox.offer(2).expect("there is room");
        inbox.put(3);
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken));
        assert_eq!(taken, [1, 2, 3]);
        taken.clear();
        assert!(!inbox.take(&mut taken));
    }

    #[tokio::test]
    async fn what_is_put_aside_wakes_who_wants_it() {
        let inbox = Inbox::new(1);
        let is_woken = || async { timeout(Duration::ZERO, inbox.wait()).await.is_ok() };
        inbox.put_aside(1);
        assert!(is_woken().await);
        inbox.take(&mut Vec::new());
        inbox.want_all(false);
        inbox.put_aside(2);
        assert!(!is_woken().await);
        // It was missed meanwhile.
        inbox.want_all(true);
        assert!(is_woken().await);
        inbox.take(&mut Vec::new());
        inbox.want_all(false);
        inbox.put_aside(3);
        inbox.put(4);
        assert!(is_woken().await);
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken));
        assert_eq!(taken, [3, 4]);
    }

    #[test]
    fn only_offered_events_are_bounded() {
        let inbox = Inbox::new(1);
        inbox.offer(1).expect("there is room");
        assert_eq!(inbox.offer(2), Err((Refused::Full, 2)));
        inbox.put(3);
        inbox.take(&mut Vec::new());
        inbox.offer(4).expect("there is room again");
    }

    #[test]
    fn a_closed_inbox_gives_back_what_waited_and_takes_no_more() {
        let inbox = Inbox::new(4);
        inbox.put(1);
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.offer(2), Err((Refused::Closed, 2)));
        inbox.put(3);
        assert!(!inbox.take(&mut Vec::new()));
    }
}
