//! The flags of `headwater import`.
//! Never judges what they mean together.
//!
//! # Source
//! The flags of `etcdctl snapshot save` and `etcdutl snapshot restore`.

use std::path::PathBuf;

use clap::{Args, Command};

use crate::restore::flags::FounderArgs;

/// What the help ends with.
pub const HELP: &str = "\
Examples:
  One server from a running etcd, whose root may see everything:
    headwater import --endpoints https://10.0.0.9:2379 --cacert ca.crt --user root \\
      --data-dir /var/lib/headwater

  The first of three from a running etcd, and the others from the file that it kept:
    headwater import --endpoints 10.0.0.9:2379 --save etcd.db \\
      --name n1 --data-dir /var/lib/headwater \\
      --initial-advertise-peer-urls http://10.0.0.1:2380 \\
      --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380
    headwater import etcd.db --name n2 --data-dir /var/lib/headwater \\
      --initial-advertise-peer-urls http://10.0.0.2:2380 --initial-cluster ...

The etcd goes on as it is. A directory is made, and read back: each key at each of its revisions,
leases and their keys, users and roles must be those of the etcd. Then start the server with the
same flags. Stop who writes to the etcd first: what is written after the snapshot is not in it, and
it is said if there is any. docs/migration.md has the whole way, and the way back.

Exit status:
  0  all is there
  1  nothing was made: what is wrong is said
  3  made, and whole as of a revision behind which the etcd has been written: import again";

/// Flags of `headwater import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A snapshot that was saved; without it, the etcd at --endpoints gives one
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Keep the snapshot of the running etcd in this file, for the other members of the new cluster
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub save: Option<PathBuf>,
    /// The member that is made.
    #[command(flatten)]
    pub founder: FounderArgs,
    /// Where the etcd is.
    #[command(flatten)]
    pub etcd: headwater_ctl::Options,
}

/// Gives the flags that `headwater ctl` has, too, the same variables of the environment.
pub fn with_environment(command: Command) -> Command {
    headwater_ctl::with_environment(command).mut_args(|arg| match arg.is_global_set() {
        true => arg.help_heading("The running etcd"),
        false => arg,
    })
}
