//! The replicated state machine with etcd's semantics: keys with history, transactions, compaction.
//!
//! [`Store`] is a [`StateMachine`](headwater_replica::machine::StateMachine): committed commands go
//! in as bytes, [`Outcome`](request::Outcome)s come out, and equal commands leave equal stores.
//!
//! | room | idea |
//! |---|---|
//! | [`request`] | etcd's messages as plain data |
//! | [`command`] | those messages as bytes of the replicated log |
//! | [`check`] | what is refused before it is proposed |
//! | `apply` | one command, carried out |
//! | `range`, [`txn`], `compaction` | the commands' rules |
//! | [`auth`] | users, roles, and who may do what |
//! | `alarm` | what is wrong with whose store, and what is refused meanwhile |
//! | `mvcc` | all versions of all keys: by key (`index`, `branch`, `leaf`, `sorted`, `history`), by revision (`changes`) and by lease (`attached`) |
//! | [`lease`] | which leases there are, and what goes with one |
//! | [`lessor`] | when leases end: the leader's clockwork, beside the store |
//! | [`copy`] | everything as of one moment, for whoever puts it elsewhere |
//! | [`agreement`] | whether members who have carried out the same commands have written the same |
//! | `hash` | one number that members who agree agree on |
//! | [`watch`] | what has changed, told to whom it concerns: beside the store, one per node |
//! | [`stream`] | what one client is told of all that it watches, in order |
//! | [`members`] | what the members say of themselves, beside the keys |
//! | `wire` | numbers and byte strings in commands and snapshots |
//! | [`tally`] | how often what was done, for metrics |
//! | `record` | one version of one key in one allocation |
//! | `snapshot` | the store as chunks, while it goes on changing |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod agreement;
mod alarm;
mod apply;
mod attached;
pub mod auth;
mod branch;
mod changes;
pub mod check;
pub mod command;
mod compaction;
pub mod copy;
mod hash;
mod history;
mod index;
mod leaf;
pub mod lease;
pub mod lessor;
pub mod members;
mod mvcc;
mod range;
mod record;
pub mod request;
mod snapshot;
mod sorted;
pub mod stream;
pub mod tally;
pub mod txn;
pub mod watch;
mod wire;

pub use apply::Store;
pub use snapshot::Walk;
