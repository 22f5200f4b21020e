//! The state machine under test, and what it was given: a digest of all commands applied, in
//! order, that travels with its snapshots and stands beside every answer. So each answer names the
//! command after which it was given.
//! Never changes what the machine inside sees or answers.
//!
//! # Source
//! Raft paper, Figure 3 (State Machine Safety).

use bytes::Bytes;
use headwater_raft::LogId;
use headwater_replica::checksum::crc32c;
use headwater_replica::machine::{Malformed, StateMachine};

use crate::application::Application;

/// The production machine with a digest beside it.
#[derive(Debug, Default)]
pub(crate) struct Witness<M> {
    machine: M,
    digest: u64,
    loading: bool,
}

/// The machine of an application, watched.
pub(crate) type Watched<A> = Witness<<A as Application>::Machine>;

/// An answer, and the digest of the state it is of.
pub(crate) struct Seen<Answer> {
    pub(crate) digest: u64,
    pub(crate) answer: Answer,
}

/// A snapshot's walk: the digest first, then the machine.
pub(crate) struct WitnessWalk<Walk> {
    digest: Option<u64>,
    walk: Walk,
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

impl<M> Witness<M> {
    /// What all commands so far add up to.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// What is under test.
    pub(crate) fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M: StateMachine> StateMachine for Witness<M> {
    type Reply = M::Reply;
    type Query = M::Query;
    type Answer = Seen<M::Answer>;
    type Walk = WitnessWalk<M::Walk>;

    fn apply(&mut self, at: LogId, command: &Bytes) -> M::Reply {
        self.digest = digest_after(self.digest, at, command);
        self.machine.apply(at, command)
    }

    fn tidy(&mut self) -> bool {
        self.machine.tidy()
    }

    fn query(&self, query: M::Query) -> Seen<M::Answer> {
        Seen {
            digest: self.digest,
            answer: self.machine.query(query),
        }
    }

    fn begin_snapshot(&mut self) -> WitnessWalk<M::Walk> {
        WitnessWalk {
            digest: Some(self.digest),
            walk: self.machine.begin_snapshot(),
        }
    }

    fn next_chunk(&mut self, walk: &mut Self::Walk, max_bytes: usize) -> Option<Bytes> {
        match walk.digest.take() {
            Some(digest) => Some(Bytes::copy_from_slice(&digest.to_le_bytes())),
            None => self.machine.next_chunk(&mut walk.walk, max_bytes),
        }
    }

    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        if self.loading {
            return self.machine.load_chunk(chunk);
        }
        self.loading = true;
        let digest: Result<[u8; 8], _> = chunk.as_ref().try_into();
        let digest = digest.map_err(|_| Malformed("no digest".into()))?;
        self.digest = u64::from_le_bytes(digest);
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        self.machine.finish_load()
    }

    fn size_bytes(&self) -> u64 {
        self.machine.size_bytes()
    }

    fn grows(command: &Bytes) -> bool {
        M::grows(command)
    }
}
