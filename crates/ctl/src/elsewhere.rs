//! What etcd's tools can and this client cannot: what does it here.
//! Never does any of it.
//!
//! # Source
//! The commands and flags of etcdctl 3.4 to 3.6 and of etcdutl.

use clap::Args;

use crate::failure::Failure;

/// What there is to do with a data directory that no etcd made.
pub const DEFRAG: &str = "a data directory has nothing to defragment: what is compacted is left out of the next \
     snapshot by itself; `headwater disk inspect DIR` shows what it holds";

/// What belongs to a command that is not of this client.
#[derive(Args, Debug)]
pub struct ElsewhereArgs {
    /// All of it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl ElsewhereArgs {
    fn text(&self) -> String {
        self.args.join(" ")
    }
}

/// Where a snapshot is restored.
pub fn restore(args: &ElsewhereArgs) -> Failure {
    let args = args.text();
    Failure::arguments(format!(
        "this is done without a cluster: headwater snapshot restore {args}"
    ))
}

/// Where shells learn of commands.
pub fn completion(args: &ElsewhereArgs) -> Failure {
    let args = args.text();
    Failure::arguments(format!(
        "shells complete the whole program: headwater completion {args}"
    ))
}

/// What keeps a copy.
pub fn backup() -> Failure {
    Failure::arguments(
        "of a running member: `headwater ctl snapshot save FILE`; of one that is stopped: `headwater disk verify DIR \
         && cp -r DIR COPY`",
    )
}

/// What becomes of an etcd 2's keys.
pub fn migrate() -> Failure {
    Failure::arguments(
        "what an etcd 2 left on its disk is not read here: `etcdctl migrate` of etcd 3.4 makes keys of today's of \
         it, and `headwater import` takes those over",
    )
}

/// What becomes of a cluster that should be an older one.
pub fn downgrade() -> Failure {
    Failure::arguments(
        "there is no older version to go back to: `headwater ctl snapshot save FILE` keeps what an etcd can restore",
    )
}
