//! The server as its clients and its operator see it: one process, real sockets, a real disk.

mod api;
mod certs;
mod dev;
mod disk;
mod members;
mod start;
mod streams;
mod support;

/// The generated messages and clients, as the server has them.
#[allow(missing_docs, dead_code, clippy::all, reason = "generated")]
#[path = "../../src/generated"]
mod generated {
    #[rustfmt::skip]
    #[path = "authpb.rs"]
    pub mod authpb;
    #[rustfmt::skip]
    #[path = "etcdserverpb.rs"]
    pub mod etcdserverpb;
    #[rustfmt::skip]
    #[path = "grpc.health.v1.rs"]
    pub mod health;
    #[rustfmt::skip]
    #[path = "mvccpb.rs"]
    pub mod mvccpb;
}
