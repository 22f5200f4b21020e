//! What may end a stream that is in order itself: the server stops, or its member has long been
//! without a leader and the client would rather go elsewhere, or the client's own time is up.
//! Never ends one itself.
//!
//! # Source
//! etcd: streams that require a leader end after three election timeouts without one.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::deadline;
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

    /// Waits until a stream on these terms must end, and says why.
    pub async fn end(&self, terms: Terms) -> Failure {
        let mut state = self.0.subscribe();
        let is_end = |state: &State| match state {
            State::Fine => false,
            State::Leaderless => terms.wants_leader,
            State::Stopping => true,
        };
        let ended = state.wait_for(is_end);
        let ended = match terms.deadline {
            None => ended.await,
            Some(deadline) => match timeout_at(deadline, ended).await {
                Ok(ended) => ended,
                Err(_) => return Failure::DeadlineExceeded,
            },
        };
        match ended.map(|state| *state) {
            Ok(State::Leaderless) => Failure::NoLeader,
            _ => Failure::Stopped,
        }
    }
}

/// What a stream's client says that ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Whether it is to end without a leader.
    pub wants_leader: bool,
    /// When it is to have ended.
    pub deadline: Option<Instant>,
}

impl Terms {
    /// The terms in the head of a request that comes now.
    ///
    /// # Errors
    /// It gives a time that is none.
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        Ok(Self {
            wants_leader: wants_leader(headers),
            deadline: deadline::of(headers)?,
        })
    }
}

/// The head in which a request says so.
pub const LEADER_HEADER: &str = "hasleader";

/// Whether the client would rather fail than wait for a leader.
pub fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get(LEADER_HEADER).is_some_and(|v| v == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(1);

    /// Those of a client that wants a leader.
    const LEADER: Terms = Terms {
        wants_leader: true,
        deadline: None,
    };

    #[tokio::test]
    async fn who_wants_a_leader_is_told_after_a_while_without_one() {
        let outlook = Outlook::new();
        let looking = outlook.clone();
        let looks = tokio::spawn(async move { looking.look_for_leader(EVERY, || false).await });
        assert_eq!(outlook.end(LEADER).await, Failure::NoLeader);
        let waits = tokio::time::timeout(20 * EVERY, outlook.end(Terms::default()));
        assert!(waits.await.is_err(), "the others are not");
        looks.abort();
    }

    #[tokio::test]
    async fn all_are_told_when_the_server_stops() {
        let outlook = Outlook::new();
        let waits = outlook.end(Terms::default());
        outlook.stop();
        assert_eq!(waits.await, Failure::Stopped);
    }

    #[tokio::test]
    async fn whose_time_is_up_is_told_so() {
        let terms = Terms {
            deadline: Some(Instant::now() + EVERY),
            ..LEADER
        };
        assert_eq!(Outlook::new().end(terms).await, Failure::DeadlineExceeded);
    }
}
