//! What `headwater snapshot` can be asked for.
//! Never judges more than the shape of a flag.
//!
//! # Source
//! The flags of `etcdutl snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::LISTEN_PEER_URLS;

/// What `headwater snapshot` can do.
#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Check it, and say what it holds
    Status(StatusArgs),
    /// Make the data directory of one member of a new cluster from it
    Restore(RestoreArgs),
}

/// Flags of `headwater snapshot status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Take a file without the checksum at its end, as a copy of an etcd's database is
    #[arg(long)]
    pub skip_hash_check: bool,
}

/// Flags of `headwater snapshot restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The member that is made.
    #[command(flatten)]
    pub founder: FounderArgs,
    /// Refused: the log is in the data directory
    #[arg(long, value_name = "DIR", hide = true, value_parser = no_wal_dir)]
    pub wal_dir: Option<String>,
}

fn no_wal_dir(_: &str) -> Result<String, String> {
    Err("the log has no directory of its own: it is in --data-dir".to_owned())
}

/// Flags of a member of a new cluster that begins with what a snapshot holds.
#[derive(Args, Debug)]
pub struct FounderArgs {
    /// This member's name
    #[arg(long, default_value = "default")]
    pub name: String,
    /// The directory to make; must be empty or not exist [default: NAME.headwater]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where its peers will find this member, comma-separated
    #[arg(long, value_name = "URLS", default_value = LISTEN_PEER_URLS)]
    pub initial_advertise_peer_urls: String,
    /// All members of the new cluster [default: this one alone]
    #[arg(long, value_name = "LIST")]
    pub initial_cluster: Option<String>,
    /// A word that keeps clusters with like members apart
    #[arg(long, value_name = "WORD", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Take a file without the checksum at its end, as a copy of an etcd's database is
    #[arg(long)]
    pub skip_hash_check: bool,
    /// Leave users and roles out: everybody may do everything, until there are new ones
    #[arg(long)]
    pub without_users: bool,
}

impl FounderArgs {
    /// The flags with which the member will be started, as far as they are known.
    pub fn as_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--name={}", self.name),
            format!("--initial-cluster-token={}", self.initial_cluster_token),
            format!(
                "--initial-advertise-peer-urls={}",
                self.initial_advertise_peer_urls
            ),
        ];
        let cluster = self.initial_cluster.iter();
        flags.extend(cluster.map(|list| format!("--initial-cluster={list}")));
        let data_dir = self.data_dir.iter();
        flags.extend(data_dir.map(|directory| format!("--data-dir={directory}")));
        flags
    }
}
