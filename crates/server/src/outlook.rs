//! What may end a stream that is in order itself: the server stops, or its member has long been
//! without a leader and the client would rather go elsewhere.
//! Never ends one itself.
//!
//! # Source
//! etcd: streams that require a leader end after three election timeouts without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::failure::Failure;

/// So many times in a row no leader was known when one looked.
const MISSED_MAX: u32 = 3;

/// How things are for streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Fine,
    Leaderless,
    Stopping,
}

/// How things are, for whoever waits for the worst. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outlook(Arc<watch::Sender<State>>);

impl Outlook {
    /// All is well.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Fine)))
    }

    /// Looks for a leader once in an election timeout, for ever.
    pub async fn look_for_leader(&self, every: Duration, has_leader: impl Fn() -> bool) {
        let mut missed = 0;
        loop {
            tokio::time::sleep(every).await;
            missed = if has_leader() { 0 } else { missed + 1 };
            let state = if missed < MISSED_MAX {
                State::Fine
            } else {
                State::Leaderless
            };
            self.0.send_if_modified(|now| {
                let is_news = *now != State::Stopping && *now != state;
                if is_news {
                    *now = state;
                }
                is_news
            });
        }
    }

    /// The server is to stop.
    pub fn stop(&self) {
        self.0.send_replace(State::Stopping);
    }

    /// Waits until a stream must end, and says why; `wants_leader`: whether it ends without one.
    pub async fn end(&self, wants_leader: bool) -> Failure {
        let mut state = self.0.subscribe();
        let is_end = |state: &State| match state {
            State::Fine => false,
            State::Leaderless => wants_leader,
            State::Stopping => true,
        };
        match state.wait_for(is_end).await.map(|state| *state) {
            Ok(State::Leaderless) => Failure::NoLeader,
            _ => Failure::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn who_wants_a_leader_is_told_after_a_while_without_one() {
        let outlook = Outlook::new();
        let looking = outlook.clone();
        let looks = tokio::spawn(async move { looking.look_for_leader(EVERY, || false).await });
        assert_eq!(outlook.end(true).await, Failure::NoLeader);
        let waits = tokio::time::timeout(20 * EVERY, outlook.end(false));
        assert!(waits.await.is_err(), "the others are not");
        looks.abort();
    }

    #[tokio::test]
    async fn all_are_told_when_the_server_stops() {
        let outlook = Outlook::new();
        let waits = outlook.end(false);
        outlook.stop();
        assert_eq!(waits.await, Failure::Stopped);
    }
}
