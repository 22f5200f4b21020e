//! The etcd API's messages, clients and services as Rust, made from `crates/server/proto`.
//! Never edited by hand: `cargo xtask proto` writes them, and they are committed so that a build
//! needs no generator.
//!
//! # Source
//! The etcd v3 API; gRPC's health protocol.

#![allow(
    missing_docs,
    dead_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::todo,
    reason = "generated: the API is wider than what is served so far"
)]

#[rustfmt::skip]
pub mod authpb;
#[rustfmt::skip]
pub mod descriptors;
#[rustfmt::skip]
pub mod etcdserverpb;
#[rustfmt::skip]
#[path = "generated/grpc.health.v1.rs"]
pub mod health;
#[rustfmt::skip]
pub mod mvccpb;
#[rustfmt::skip]
pub mod v3electionpb;
#[rustfmt::skip]
pub mod v3lockpb;
