//! The protobuf generator: `.proto` files in, Rust files out.
//! Never runs in a normal build: its output is committed.
//!
//! # Source
//! The wire facts of the etcd v3 API, in `crates/api/proto`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use prost::Message;

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
    let mut compiler = protox::Compiler::new([&protos])?;
    compiler.include_imports(true).include_source_info(true);
    compiler
        .open_files(FILES)
        .with_context(|| format!("compiling the files in {}", protos.display()))?;
    let descriptors = compiler.file_descriptor_set();
    std::fs::create_dir_all(&out)?;
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        // Comments and places are of no use to those who run the program.
        file.source_code_info = None;
    }
    let described = format!(
        "/// The files that all this was made from, as a `FileDescriptorSet`.\n\
         pub const FILES: &[u8] = b\"{}\";\n",
        bare.encode_to_vec().escape_ascii()
    );
    std::fs::write(out.join("descriptors.rs"), described)?;
    tonic_prost_build::configure()
        // Keys and values stay slices of the buffer that they arrived in.
        .bytes(".")
        .out_dir(&out)
        .compile_fds(descriptors)
        .context("writing the Rust files")
}
