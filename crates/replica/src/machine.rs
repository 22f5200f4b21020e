//! The state machine that a cluster replicates, as its owner writes it.
//! Never sees Raft: only committed commands, in order, each once.
//!
//! # Source
//! Raft paper §2 (replicated state machines), §7 (snapshots); dissertation §5.1.

use alloc::string::String;
use bytes::Bytes;
use headwater_raft::LogId;

/// A deterministic state machine.
///
/// Equal commands in equal order must leave equal states and replies on every node: no clock, no
/// dice, no iteration over unordered maps. [`Default`] is the state before the first command.
pub trait StateMachine: Default + Send + 'static {
    /// The answer to one command.
    type Reply: Send + 'static;
    /// A question that changes nothing.
    type Query: Send + 'static;
    /// The answer to a query.
    type Answer: Send + 'static;
    /// How far a snapshot has got.
    type Walk: Send + 'static;

    /// Carries out one committed command. It cannot fail: a bad command is a reply that says so.
    ///
    /// `at`: the entry's identity; indices grow, with gaps where Raft put entries of its own.
    fn apply(&mut self, at: LogId, command: &Bytes) -> Self::Reply;

    /// Does a bit of what is left to do and cannot be told from outside, such as giving memory back;
    /// says whether there is more. Called between commands, again and again with pauses while there is.
    /// A bit takes well under a millisecond. Unless said otherwise, there is nothing.
    fn tidy(&mut self) -> bool {
        false
    }

    /// Answers a query from the state as it stands.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// Fixes this moment's state as the content of a snapshot.
    ///
    /// Commands are applied between this call, the calls of [`Self::next_chunk`] and the end of
    /// the walk; the chunks must show the state as it was now. At most one walk is under way.
    fn begin_snapshot(&mut self) -> Self::Walk;

    /// The next piece of the snapshot, of about `max_bytes` bytes; `None` once, at the end.
    fn next_chunk(&mut self, walk: &mut Self::Walk, max_bytes: usize) -> Option<Bytes>;

    /// Takes in one chunk, in order; called on a fresh machine only.
    ///
    /// # Errors
    /// The chunk is not one that [`Self::next_chunk`] of this version writes.
    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed>;

    /// Called after the last chunk; checks what only the whole can show.
    ///
    /// # Errors
    /// Chunks are missing or contradict each other.
    fn finish_load(&mut self) -> Result<(), Malformed>;

    /// About how many bytes a snapshot would take now; decides when one is worth its cost.
    fn size_bytes(&self) -> u64;

    /// Whether a command can make the state larger: a node whose disk is full refuses such commands,
    /// and takes the others. Unless said otherwise, all can.
    fn grows(_command: &Bytes) -> bool {
        true
    }
}

/// Bytes that are not what this version writes: where, and what was wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub String);

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Malformed {}
