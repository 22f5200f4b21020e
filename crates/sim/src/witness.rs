//! The state machine under test, and what it was given: a digest of all commands applied, in
//! order, that travels with its snapshots.
//! Never changes what the store inside sees or answers.
//!
//! # Source
//! Raft paper, Figure 3 (State Machine Safety).

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{Outcome, Query};
use headwater_raft::LogId;
use headwater_replica::checksum::crc32c;
use headwater_replica::machine::{Malformed, StateMachine};

/// The production store with a digest beside it.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    store: Store,
    digest: u64,
    loading: bool,
}

/// A snapshot's walk: the digest first, then the store.
pub(crate) struct WitnessWalk {
    digest: Option<u64>,
    walk: <Store as StateMachine>::Walk,
}

/// The digest after one more command.
pub(crate) fn digest_after(digest: u64, at: LogId, body: &[u8]) -> u64 {
    let mut mixed = digest;
    for part in [at.term.0, at.index.0, u64::from(crc32c(body))] {
        mixed = (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
    }
    mixed
}

impl Witness {
    /// What all commands so far add up to.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

impl StateMachine for Witness {
    type Reply = Outcome;
    type Query = Query;
    type Answer = Outcome;
    type Walk = WitnessWalk;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Outcome {
        self.digest = digest_after(self.digest, at, command);
        self.store.apply(at, command)
    }

    fn query(&self, query: Query) -> Outcome {
        self.store.query(query)
    }

    fn begin_snapshot(&mut self) -> WitnessWalk {
        WitnessWalk {
            digest: Some(self.digest),
            walk: self.store.begin_snapshot(),
        }
    }

    fn next_chunk(&mut self, walk: &mut WitnessWalk, max_bytes: usize) -> Option<Bytes> {
        match walk.digest.take() {
            Some(digest) => Some(Bytes::copy_from_slice(&digest.to_le_bytes())),
            None => self.store.next_chunk(&mut walk.walk, max_bytes),
        }
    }

    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        if self.loading {
            return self.store.load_chunk(chunk);
        }
        self.loading = true;
        let digest: Result<[u8; 8], _> = chunk.as_ref().try_into();
        let digest = digest.map_err(|_| Malformed("no digest".into()))?;
        self.digest = u64::from_le_bytes(digest);
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        self.store.finish_load()
    }

    fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }
}
