//! Black-box tests of an etcd-compatible server: what they share.
//! Never links Headwater's own crates but two that know no server, the judge that searches and the
//! messages of the API: it knows ours only as a program with etcd's flags, so that etcd itself can
//! stand in for it and referee the tests.
//!
//! The tests stand in `tests/`; the parts here are the cluster they run against, the history of
//! what its clients saw, and two independent judges of that history.

pub mod apiserver;
pub mod cluster;
pub mod control_plane;
pub mod differ;
pub mod golden;
pub mod health;
pub mod history;
pub mod http;
pub mod judge;
pub mod linearizable;
pub mod loop_disk;
pub mod port;
pub mod program;
pub mod random;
pub mod raw;
pub mod revision;
pub mod rival;
pub mod shrink;
pub mod small_disk;
pub mod watch_cache;
pub mod workload;
