//! The flags of `headwater dev`.
//! Never acts on them.
//!
//! # Source
//! docs/operating.md.

use std::path::PathBuf;

use clap::Args;

/// Flags of `headwater dev`.
#[derive(Args, Clone, Debug)]
pub struct DevArgs {
    /// How many servers
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,

    /// Keep the data here [default: a temporary directory, deleted at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Keep a record of all that the servers' consensus does, for `cargo xtask spec trace`: a file
    /// NAME.jsonl of each, in this directory
    #[arg(long, value_name = "DIR")]
    pub flight_recorder: Option<PathBuf>,

    /// Speak TLS: a CA, and certificates of it for the servers and for you, are made with the cluster
    #[arg(long)]
    pub tls: bool,

    /// Show what the cluster is for, unattended: write from many clients, kill the leader, check
    /// that every acknowledged write is on every server; exits with 0 if so
    #[arg(long)]
    pub demo: bool,
}
