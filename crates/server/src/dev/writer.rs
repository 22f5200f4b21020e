//! Clients that write all the time, and the ledger of what they were promised.
//! Never counts a write as acknowledged that was not.
//!
//! # Source
//! Dissertation §6.3: a write without an answer may or may not have happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::generated::etcdserverpb::PutRequest;
use crate::generated::etcdserverpb::kv_client::KvClient;

/// How long a client waits for an answer before it asks another server.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How long a client rests after a failure, so that a dead server is not asked in a tight loop.
const REST: Duration = Duration::from_millis(5);

/// Bytes of each value.
const VALUE_BYTES: usize = 64;

/// One acknowledged write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The key, used for this write alone.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision that the answer named.
    pub revision: i64,
    /// The Raft term in which the server answered.
    pub term: u64,
    /// When the answer came.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What the clients were promised.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    written: Vec<Written>,
    unknown: u64,
    is_over: bool,
}

impl Ledger {
    /// How many writes were acknowledged, and of how many nobody knows.
    pub fn counts(&self) -> (usize, u64) {
        let entries = self.lock();
        (entries.written.len(), entries.unknown)
    }

    /// When the first write was acknowledged in a term after `term`: by another leader. Answers
    /// of the old one may still arrive for a moment after its end.
    pub fn first_after_term(&self, term: u64) -> Option<Instant> {
        let entries = self.lock();
        let later = entries.written.iter().filter(|w| w.term > term);
        later.map(|w| w.at).min()
    }

    /// Has the clients stop after the write they are at.
    pub fn end(&self) {
        self.lock().is_over = true;
    }

    /// All acknowledged writes, in the order of their answers.
    pub fn written(&self) -> Vec<Written> {
        self.lock().written.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing under this lock can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts `count` clients; each begins with another of the `servers` and moves on when one fails.
pub fn start(count: usize, servers: &[Channel], ledger: &Ledger) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..count {
        clients.spawn(write_on(number, servers.to_vec(), ledger.clone()));
    }
    clients
}

async fn write_on(number: usize, servers: Vec<Channel>, ledger: Ledger) {
    let mut at = number % servers.len();
    for count in 0u64.. {
        if ledger.lock().is_over {
            return;
        }
        let key = Bytes::from(format!("demo/{number}/{count:08}"));
        let value = value(number, count);
        let request = PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        };
        let asked = Instant::now();
        let mut client = KvClient::new(servers[at].clone());
        let answer = tokio::time::timeout(ANSWER_TIME, client.put(request)).await;
        let header = match answer {
            Ok(Ok(answer)) => answer.into_inner().header,
            _ => None,
        };
        let Some(header) = header else {
            // The key is never used again: whether this write happened does not matter.
            ledger.lock().unknown += 1;
            at = (at + 1) % servers.len();
            tokio::time::sleep(REST).await;
            continue;
        };
        let now = Instant::now();
        ledger.lock().written.push(Written {
            key,
            value,
            revision: header.revision,
            term: header.raft_term,
            at: now,
            took: now - asked,
        });
    }
}

/// A value that no other write has, so that a mixed-up one is noticed.
fn value(number: usize, count: u64) -> Bytes {
    let mut text = format!("client {number} write {count} ");
    while text.len() < VALUE_BYTES {
        text.push('.');
    }
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_of_another_leader_is_found() {
        let ledger = Ledger::default();
        let start = Instant::now();
        for (ms, term) in [(10, 1), (200, 2), (20, 1), (300, 2)] {
            ledger.lock().written.push(Written {
                key: Bytes::new(),
                value: Bytes::new(),
                revision: 1,
                term,
                at: start + Duration::from_millis(ms),
                took: Duration::ZERO,
            });
        }
        assert_eq!(
            ledger.first_after_term(0),
            Some(start + Duration::from_millis(10))
        );
        assert_eq!(
            ledger.first_after_term(1),
            Some(start + Duration::from_millis(200))
        );
        assert_eq!(ledger.first_after_term(2), None);
    }

    #[test]
    fn no_two_writes_have_one_value() {
        assert_ne!(value(1, 23), value(12, 3));
        assert!(value(0, 0).len() >= VALUE_BYTES);
    }
}
