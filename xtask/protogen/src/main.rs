//! The protobuf generator: `.proto` files in, Rust files out.
//! Never runs in a normal build: its output is committed.
//!
//! # Source
//! The wire facts of the etcd v3 API, in `crates/server/proto`.

use std::path::PathBuf;

use anyhow::{Context, Result};

const FILES: [&str; 6] = [
    "auth.proto",
    "election.proto",
    "health.proto",
    "kv.proto",
    "lock.proto",
    "rpc.proto",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let protos = arguments
        .next()
        .context("usage: protogen PROTO_DIR OUT_DIR")?;
    let out = arguments
        .next()
        .context("usage: protogen PROTO_DIR OUT_DIR")?;
    let descriptors = protox::compile(FILES, [&protos])
        .with_context(|| format!("compiling the files in {}", protos.display()))?;
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        // Keys and values stay slices of the buffer that they arrived in.
        .bytes(".")
        .out_dir(&out)
        .compile_fds(descriptors)
        .context("writing the Rust files")
}
