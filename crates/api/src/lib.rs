//! The etcd v3 API as Rust: its messages, the traits that a server implements, and the clients.
//!
//! Everything here is made from the files in `crates/api/proto`, and never edited by hand:
//! `cargo xtask proto` writes it, and it is committed so that a build needs no generator.
//!
//! | module | what it has |
//! |---|---|
//! | [`etcdserverpb`] | keys and values, watches, leases, members, maintenance, users and roles |
//! | [`mvccpb`] | a key with its value and revisions; events |
//! | [`authpb`] | users, roles and permissions |
//! | [`v3lockpb`], [`v3electionpb`] | locks and elections that a server keeps for its clients |
//! | [`health`] | gRPC's health protocol |
//! | [`descriptors`] | the same files, described as data |

#![allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::todo,
    reason = "generated"
)]

#[rustfmt::skip]
#[path = "generated/authpb.rs"]
pub mod authpb;
#[rustfmt::skip]
#[path = "generated/descriptors.rs"]
pub mod descriptors;
#[rustfmt::skip]
#[path = "generated/etcdserverpb.rs"]
pub mod etcdserverpb;
#[rustfmt::skip]
#[path = "generated/grpc.health.v1.rs"]
pub mod health;
#[rustfmt::skip]
#[path = "generated/mvccpb.rs"]
pub mod mvccpb;
#[rustfmt::skip]
#[path = "generated/v3electionpb.rs"]
pub mod v3electionpb;
#[rustfmt::skip]
#[path = "generated/v3lockpb.rs"]
pub mod v3lockpb;
