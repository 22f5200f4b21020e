//! The command line: what can be asked for, and the words that explain it.
//! Never checks more than the shape of a flag; `config` judges what they mean together.
//!
//! # Source
//! etcd's flags and their defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use headwater_ctl::quantity;

use crate::argv::{self, Environment, Origins};
use crate::auth::AuthArgs;
use crate::certs::{self, CertsArgs};
use crate::dev::flags::DevArgs;
use crate::import;
use crate::import::flags::ImportArgs;
use crate::log::LogArgs;
use crate::manual::{CompletionArgs, ManArgs};
use crate::port_flags::PortArgs;
use crate::restore::flags::SnapshotCommand;
use crate::tls::spoken::SpokenArgs;
use crate::tls_flags::{ClientTlsArgs, PeerTlsArgs};

/// The version of etcd's API that is spoken.
pub const API_VERSION: &str = "3.6";

/// The release of etcd that clients are told this is like: by it they decide what they may use.
pub const ETCD_VERSION: &str = "3.6.6";

/// Where a server listens for peers unless told otherwise.
pub const LISTEN_PEER_URLS: &str = "http://localhost:2380";

const ABOUT: &str = "A replicated key-value server that speaks etcd's v3 API";

const EXAMPLES: &str = "\
Examples:
  headwater dev                      a cluster of three on this machine, to try things out
  headwater dev --demo               kill its leader under load and check that nothing is lost
  headwater                          one server on localhost:2379, data in ./default.headwater
  headwater serve --help             how to run a real cluster

Any etcd client works:
  etcdctl put greeting hello && etcdctl get greeting";

const SERVE_EXAMPLES: &str = "\
Examples:
  One server, for clients on this machine:
    headwater serve --data-dir /var/lib/headwater

  The first of three servers; the others differ in --name and in their own addresses:
    headwater serve --name n1 --data-dir /var/lib/headwater \\
      --listen-client-urls http://10.0.0.1:2379,http://127.0.0.1:2379 \\
      --advertise-client-urls http://10.0.0.1:2379 \\
      --listen-peer-urls http://10.0.0.1:2380 \\
      --initial-advertise-peer-urls http://10.0.0.1:2380 \\
      --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380

Every flag is also an environment variable: --data-dir is HEADWATER_DATA_DIR or, as etcd has it,
ETCD_DATA_DIR. The command line comes first, then HEADWATER_, then ETCD_. etcd's spelling with one
dash (-name n1) works too. Bytes may have a unit (8GiB, and 8G means the same; 8GB is less), and so
have times (1m30s).";

const DEV_EXAMPLES: &str = "\
Examples:
  headwater dev                      three servers; Ctrl-C ends them and deletes their data
  headwater dev --nodes 5            five
  headwater dev --data-dir ./play    keep the data for the next time
  headwater dev --tls                with TLS; it prints how to connect
  headwater dev --demo               half a minute, no hands: writes, kills the leader, checks";

const DISK_EXAMPLES: &str = "\
Examples:
  headwater disk inspect /var/lib/headwater           what it holds
  headwater disk verify /var/lib/headwater && cp -r /var/lib/headwater /backup
  headwater disk recover /from/n1 /from/n3            what can be kept, and what may be lost";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  etcdctl snapshot save backup.db          from any member of a running cluster, or an etcd
  headwater snapshot status backup.db      what it holds
  headwater snapshot restore backup.db --name n1 --data-dir /var/lib/headwater \\
      --initial-advertise-peer-urls http://10.0.0.1:2380 \\
      --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380

A new cluster begins with the snapshot's keys, their history, leases, users and roles: restore the
same file on each of its members, each with its own --name and peer URLs, and start them with the
same flags. An etcd restores our snapshots likewise, with its own tools.";

const VERIFY_HELP: &str = "\
Exit status:
  0  all is whole
  1  damaged so that a server would refuse it, or it cannot be read: see headwater disk recover
  3  damaged, and a server would start without it and fetch it from the other members
  4  damaged, and nothing is missing: it was written again since, or a snapshot covers it";

const RECOVER_HELP: &str = "\
For a cluster that has lost a quorum of its members for good, or whose directories are damaged so
that no server starts with them. Stop what still runs of it and bring the directories that are left
to one machine. Without --into this only compares them; with it, what they hold begins a new cluster
of one member, once you have typed the old cluster's id (and before that another word, if a quorum
of it could go on). The old directories are only read.

What one of them cannot give back is taken from another: give all that are left, the damaged ones
too. Where an entry is whole in none of them, all up to the entry before it is kept. What is lost is
said before: the entries, their terms, how far they were committed for certain, what of them could
be read, and the revision and the number of keys that are kept.

  damaged                what is kept
  entries                all before them; all, if others have them
  identity, both copies  everything: a segment's head or a snapshot says whose it is
  segment's head, both   the segment's entries, by the names that its frames and the next head have
  newest snapshot        the older one and the log behind it; another member's; if the log begins
                         behind the older one and there is no other, the older one alone

Example:
  headwater disk recover /from/n1 /from/n3 --into /var/lib/headwater \\
      --name n1 --initial-advertise-peer-urls http://10.0.0.1:2380 \\
      --initial-cluster-token after-the-flood

Exit status: 0 if they could be read (and the new cluster's directory is made), 1 otherwise.";

/// The command line, understood.
#[derive(Parser, Debug)]
#[command(
    name = "headwater",
    about = ABOUT,
    override_usage = "headwater [COMMAND] [OPTIONS]",
    after_help = EXAMPLES,
    max_term_width = 100,
    version = env!("CARGO_PKG_VERSION"),
)]
pub struct Cli {
    /// What to do; to serve, if nothing is said.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run one server of a cluster (the default)
    #[command(after_help = SERVE_EXAMPLES, max_term_width = 100)]
    Serve(Box<ServeArgs>),
    /// Run a whole cluster on this machine, to try things out
    #[command(after_help = DEV_EXAMPLES, max_term_width = 100)]
    Dev(DevArgs),
    /// Ask a running cluster: keys, watches, leases, members, users; as etcdctl does
    #[command(max_term_width = 100)]
    Ctl(Box<headwater_ctl::Arguments>),
    /// Run whole clusters in worlds made of dice; any failure repeats from its seed
    Sim(headwater_sim::cli::Arguments),
    /// Make a CA and certificates for a test cluster
    #[command(after_help = certs::EXAMPLES, max_term_width = 100)]
    Certs(CertsArgs),
    /// Look at the data directory of a server that is stopped; nothing in it is changed
    #[command(subcommand, after_help = DISK_EXAMPLES)]
    Disk(DiskCommand),
    /// Take over from an etcd: keys with all their revisions, leases, users and roles
    #[command(after_help = import::flags::HELP, max_term_width = 100)]
    Import(Box<ImportArgs>),
    /// Look at a snapshot of etcd's or ours (`etcdctl snapshot save`), or begin a cluster with it
    #[command(subcommand, after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotCommand),
    /// Print what a shell needs to complete commands and flags
    Completion(CompletionArgs),
    /// Write manual pages of all commands
    Man(ManArgs),
    /// Print the version
    Version,
}

/// What `headwater disk` can do.
#[derive(Subcommand, Debug)]
pub enum DiskCommand {
    /// Show whose it is, its files, and what a server would begin with
    Inspect(DiskArgs),
    /// Check every byte; the exit status says whether all is whole, and if not, how bad it is
    #[command(after_help = VERIFY_HELP)]
    Verify(DiskArgs),
    /// After a quorum is lost for good, or no copy is whole: say what can be kept and what is lost,
    /// and begin a new cluster with it
    #[command(after_help = RECOVER_HELP)]
    Recover(RecoverArgs),
}

/// Flags of `headwater disk recover`.
#[derive(Args, Debug)]
pub struct RecoverArgs {
    /// The data directories that are left
    #[arg(value_name = "DIR", required = true)]
    pub directories: Vec<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "into")]
    pub json: bool,
    /// Where the new cluster's first directory is made; must be empty or not exist
    #[arg(long, value_name = "NEWDIR")]
    pub into: Option<PathBuf>,
    /// The new member's name
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where its peers will find it, comma-separated
    #[arg(long, value_name = "URLS", default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// The new cluster's token, unlike the old one's
    #[arg(long, value_name = "TOKEN")]
    pub initial_cluster_token: Option<String>,
    /// Leave users and roles out: everybody may do everything, until there are new ones
    #[arg(long, requires = "into")]
    pub without_users: bool,
}

/// Flags of `headwater disk`.
#[derive(Args, Debug)]
pub struct DiskArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `headwater serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Read all settings from this file, as etcd's are (YAML); the flags and variables beside it are
    /// ignored
    #[arg(long, value_name = "FILE", help_heading = "This server")]
    pub config_file: Option<PathBuf>,

    /// This server's name, unlike any other in the cluster
    #[arg(long, default_value = "default", help_heading = "This server")]
    pub name: String,

    /// Where the log and snapshots are kept [default: NAME.headwater]
    #[arg(long, value_name = "DIR", help_heading = "This server")]
    pub data_dir: Option<PathBuf>,

    /// The ports for clients.
    #[command(flatten)]
    pub ports: PortArgs,

    /// Where clients find this server, if not where it listens, comma-separated
    #[arg(long, value_name = "URLS", help_heading = "This server")]
    pub advertise_client_urls: Option<String>,

    /// Where to listen for the other servers, comma-separated
    #[arg(
        long,
        value_name = "URLS",
        default_value = LISTEN_PEER_URLS,
        help_heading = "This server"
    )]
    pub listen_peer_urls: String,

    /// Where the other servers find this one [default: http://localhost:2380]
    #[arg(long, value_name = "URLS", help_heading = "The cluster")]
    pub initial_advertise_peer_urls: Option<String>,

    /// All servers of the cluster, the same on each: NAME=PEER_URL,NAME=PEER_URL,...
    /// [default: this server alone]
    #[arg(long, value_name = "LIST", help_heading = "The cluster")]
    pub initial_cluster: Option<String>,

    /// Whether the cluster starts now (new) or this server joins a running one (existing)
    #[arg(
        long,
        value_name = "STATE",
        value_enum,
        hide_possible_values = true,
        default_value = "new",
        help_heading = "The cluster"
    )]
    pub initial_cluster_state: ClusterState,

    /// A word that keeps clusters with like members apart, the same on each server
    #[arg(
        long,
        value_name = "WORD",
        default_value = "etcd-cluster",
        help_heading = "The cluster"
    )]
    pub initial_cluster_token: String,

    /// Refuse, while this member leads, a change of members that leaves fewer than a majority alive
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = quantity::boolean,
        default_value_t = true,
        default_missing_value = "true",
        help_heading = "The cluster"
    )]
    pub strict_reconfig_check: bool,

    /// The most members at a time that learn, and have no vote yet
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        help_heading = "The cluster"
    )]
    pub max_learners: usize,

    /// How often the leader makes itself heard, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 100,
        value_parser = quantity::milliseconds,
        help_heading = "The cluster"
    )]
    pub heartbeat_interval: u64,

    /// How long the leader may be silent before another is elected, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 1000,
        value_parser = quantity::milliseconds,
        help_heading = "The cluster"
    )]
    pub election_timeout: u64,

    /// The largest request, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "1536KiB",
        value_parser = quantity::bytes::<usize>,
        help_heading = "Limits"
    )]
    pub max_request_bytes: usize,

    /// The most operations in one transaction
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 128,
        help_heading = "Limits"
    )]
    pub max_txn_ops: usize,

    /// Bytes of log after which a snapshot is taken (more if the data is larger than that)
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "128MiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "Limits"
    )]
    pub snapshot_log_bytes: u64,

    /// How many snapshots are kept (0 for all): the newest, and those that stand in for it if the disk
    /// damages it
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 2,
        help_heading = "Limits"
    )]
    pub max_snapshots: usize,

    /// Bytes a second of the data that go into this member's own snapshots, beside the log's writes (0
    /// for no bound)
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "32MiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "Limits"
    )]
    pub snapshot_write_bytes_per_second: u64,

    /// Bytes a second of snapshots that a leader sends to members that need one, all of them together;
    /// more where clients write faster than that (0 for no bound)
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "64MiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "Limits"
    )]
    pub snapshot_send_bytes_per_second: u64,

    /// Bytes set aside in the data directory for a snapshot that makes room when the disk is full (0
    /// for none)
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "32MiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "Limits"
    )]
    pub disk_reserve_bytes: u64,

    /// Bytes a second of log and snapshots that are read again, to find what the disk has lost (0 for
    /// none)
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "1MiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "Limits"
    )]
    pub scrub_bytes_per_second: u64,

    /// The largest store, in bytes: beyond it an alarm is raised, and nothing new is taken in until
    /// there is room and `etcdctl alarm disarm`; 0 for 2 GiB, less for no bound
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "2GiB",
        value_parser = quantity::signed_bytes,
        allow_negative_numbers = true,
        help_heading = "Limits"
    )]
    pub quota_backend_bytes: i64,

    /// What --auto-compaction-retention counts: periodic (time) or revision
    #[arg(
        long,
        value_name = "MODE",
        default_value = "periodic",
        help_heading = "Limits"
    )]
    pub auto_compaction_mode: String,

    /// How much history is kept, the rest being compacted by itself: like 12h or 30m (a number
    /// alone is hours), or so many revisions; 0 for all
    #[arg(
        long,
        value_name = "LENGTH",
        default_value = "0",
        help_heading = "Limits"
    )]
    pub auto_compaction_retention: String,

    /// How often watchers that asked for it are told how far they are, like 30s or 10m
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = quantity::time,
        help_heading = "Limits"
    )]
    pub watch_progress_notify_interval: Duration,

    /// How often the members compare what they have written, which costs next to nothing; one that
    /// differs from the leader raises the alarm CORRUPT; 0 for never
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = quantity::time,
        help_heading = "Limits"
    )]
    pub corrupt_check_time: Duration,

    /// Users.
    #[command(flatten)]
    pub auth: AuthArgs,

    /// TLS for clients.
    #[command(flatten)]
    pub client_tls: ClientTlsArgs,

    /// TLS between the servers.
    #[command(flatten)]
    pub peer_tls: PeerTlsArgs,

    /// Which TLS is spoken.
    #[command(flatten)]
    pub spoken: SpokenArgs,

    /// The log.
    #[command(flatten)]
    pub log: LogArgs,

    /// Keep a record of all that this server's consensus does, for `cargo xtask spec trace`; each
    /// start continues it
    #[arg(long, value_name = "FILE", help_heading = "This server")]
    pub flight_recorder: Option<PathBuf>,

    /// Where the record ends: its file gets no larger
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "1GiB",
        value_parser = quantity::bytes::<u64>,
        help_heading = "This server"
    )]
    pub flight_recorder_bytes: u64,

    /// Stop when the standard input ends: how `headwater dev` takes its servers along
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

impl ServeArgs {
    /// The data directory, given or by default.
    pub fn data_dir(&self) -> PathBuf {
        let by_name = || PathBuf::from(format!("{}.headwater", self.name));
        self.data_dir.clone().unwrap_or_else(by_name)
    }
}

/// Whether a cluster starts or runs.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClusterState {
    /// It starts.
    New,
    /// It runs.
    Existing,
}

/// The definition of the whole command line.
pub fn definition() -> clap::Command {
    Cli::command()
        .mut_subcommand("ctl", headwater_ctl::with_environment)
        .mut_subcommand("import", import::flags::with_environment)
}

/// Understands the process's command line, environment and configuration file: what is asked for, what
/// was ignored, and where the settings come from that do not stand on the command line.
///
/// # Errors
/// Help was asked for, or something that there is not.
pub fn parse() -> Result<(Cli, Vec<String>, Origins), clap::Error> {
    let arguments = std::env::args_os();
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    understand(arguments.collect(), &argv::environment())
}

/// The same of a command line and an environment that are given.
///
/// # Errors
/// See [`parse`].
pub fn understand(
    arguments: Vec<String>,
    environment: &Environment,
) -> Result<(Cli, Vec<String>, Origins), clap::Error> {
    // As in Go, the last of the same flags counts.
    let mut command = definition().mut_subcommand("serve", |serve| serve.args_override_self(true));
    command.build();
    let request = argv::normalise(&command, arguments, environment)?;
    let matches = command.try_get_matches_from_mut(request.argv);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    match cli {
        Ok(cli) => Ok((cli, request.notes, request.origins)),
        Err(error) if !error.use_stderr() => Err(error),
        Err(error) => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let text = request.origins.explain(text) + "\n";
            Err(clap::Error::raw(error.kind(), text))
        }
    }
}

/// The flags of `headwater serve`, understood.
///
/// # Errors
/// One is not understood.
pub fn serve_args(flags: &[String]) -> Result<ServeArgs, clap::Error> {
    let command = ServeArgs::augment_args(clap::Command::new("serve").no_binary_name(true));
    ServeArgs::from_arg_matches(&command.try_get_matches_from(flags)?)
}

/// What `--version` prints: our own line, and etcd's four, which tools read.
pub fn version() -> String {
    format!(
        "Headwater Version: {own} (speaks etcd's API {API_VERSION}; its tools read the lines below)\n\
         etcd Version: {ETCD_VERSION}\nGit SHA: {sha}\nGo Version: none (written in Rust)\n\
         Go OS/Arch: {os}/{arch}",
        sha = option_env!("HEADWATER_GIT_SHA").unwrap_or("not recorded in this build"),
        os = std::env::consts::OS,
        arch = go_arch(std::env::consts::ARCH),
        own = env!("CARGO_PKG_VERSION"),
    )
}

/// Go's name for a processor, which readers of etcd's lines expect.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod names;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_has_our_line_first_and_then_etcds() {
        let text = version();
        let starts: Vec<&str> = text
            .lines()
            .map(|l| l.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            starts,
            [
                "Headwater Version",
                "etcd Version",
                "Git SHA",
                "Go Version",
                "Go OS/Arch"
            ]
        );
    }
}
