//! Every state that three real cores can reach within small bounds, one after the other.
//!
//! # The tour
//!
//! | room | what it is |
//! |---|---|
//! | [`node`] | a core, its disk and its driver: the only room that calls the core |
//! | [`likeness`] | when two states are the same |
//! | [`world`] | all node states and messages met, each computed once |
//! | [`model`] | the cluster: its states and what can happen |
//! | [`witness`], [`properties`] | what must hold, and what must happen |
//! | [`bounds`] | how far to go |
//! | [`report`] | running the checker, and what it found |
//! | [`spoken`] | the same states as the specification has them |
//! | [`tree`], [`text`] | what that is read from, and written as |
//! | [`listing`] | all states of an exploration, written down |
#![forbid(unsafe_code)]

pub mod bounds;
pub mod likeness;
pub mod listing;
pub mod model;
pub mod node;
pub mod properties;
pub mod report;
pub mod spoken;
pub mod text;
pub mod tree;
pub mod witness;
pub mod world;

#[path = "../../crates/raft/tests/common/mod.rs"]
mod common;
