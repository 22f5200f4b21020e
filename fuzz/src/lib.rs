//! What the core, the wire and the disk make of what nobody would write.
//!
//! | room | what it is fed with |
//! |---|---|
//! | [`step`] | the core: any messages, in any order, mixed with all other inputs |
//! | [`framing`] | the bytes of a connection: any, and true ones that were damaged |
//! | [`frames`] | the wire's decoder, and a whole node behind it: any frames |
//! | [`disk`] | recovery: any files in a data directory |
//! | [`draw`] | from bytes to numbers, messages, entries |
//! | [`memory`] | how much memory that may take |
//!
//! Each `run` is a plain function of some bytes that panics if something is wrong. The fuzzer
//! calls it, and so do the tests, with the kept inputs and with some thousand drawn at random.

pub mod disk;
pub mod draw;
pub mod frames;
pub mod framing;
pub mod memory;
pub mod step;

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the tests' own state machine and directory, as they are"
)]
#[path = "../../crates/replica/tests/wal_common/mod.rs"]
mod wal_common;

/// A node that has not halted breaks no invariant.
fn assert_sound(raft: &headwater_raft::Raft) {
    if !raft.is_halted() {
        let audit = raft.audit().and_then(|()| raft.audit_log());
        audit.expect("a node that has not halted is sound");
    }
}
