//! A command line client for the etcd v3 API: etcdctl's commands, flags and output, and what it leaves
//! to be guessed: who leads, who lags, why nothing answers.
//!
//! | room | what it does |
//! |---|---|
//! | `flags`, `place`, `tls`, `password` | whom to ask, and how |
//! | `connect`, `session`, `failure` | asking, another member when one is gone, and reasons |
//! | `text`, `json`, `table`, `quantity`, `progress` | what answers look like, and how far a long step is |
//! | `keys`, `txn`, `lease`, `keep` | keys and leases |
//! | `watch`, `follow` | what happens to keys |
//! | `held` | locks and elections |
//! | `users`, `roles` | who may do what |
//! | `member`, `replace`, `endpoint`, `status`, `advice`, `maintenance`, `snapshot` | members |
//! | `download`, `kept` | a snapshot, as it comes and as it is kept |
//! | `elsewhere` | what etcd's tools can and this client cannot, and what does it here |
//! | `mirror`, `check`, `page` | another cluster that follows, and whether this one bears a load; what a member tells over plain HTTP |

mod advice;
mod check;
mod connect;
mod download;
mod elsewhere;
mod endpoint;
mod failure;
mod flags;
mod follow;
mod held;
mod json;
mod keep;
mod kept;
mod keys;
mod lease;
mod maintenance;
mod member;
mod mirror;
mod page;
mod password;
mod place;
pub mod progress;
pub mod quantity;
mod replace;
mod roles;
mod session;
pub mod snapshot;
mod status;
mod table;
mod text;
mod tls;
mod txn;
mod users;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use crate::download::{Download, revision};
pub use crate::failure::Failure;
pub use crate::flags::{Options, with_environment};
pub use crate::kept::KeptSnapshot;
pub use crate::session::Session;
pub use crate::tls::Files;

use crate::failure::Result;
use crate::flags::Look;
use crate::text::Style;

/// What `headwater ctl` is asked for.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Whom to ask, and how.
    #[command(flatten)]
    options: Options,
    /// How to print.
    #[command(flatten)]
    look: Look,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
enum Command {
    /// Write a key
    Put(keys::PutArgs),
    /// Read keys
    Get(keys::GetArgs),
    /// Delete keys
    Del(keys::DelArgs),
    /// Do several things at once, or others if conditions do not hold
    #[command(after_help = txn::HELP)]
    Txn(txn::TxnArgs),
    /// Forget what was overwritten or deleted before a revision
    #[command(alias = "compact")]
    Compaction(keys::CompactionArgs),
    /// See what happens to keys, as it happens
    Watch(watch::WatchArgs),
    /// List members, and change who takes part
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// The whole cluster on one screen, and what to do next
    Status,
    /// Make, end and look at leases
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Hold a lock
    Lock(held::LockArgs),
    /// Take part in an election, or look on
    Elect(held::ElectArgs),
    /// Switch users on or off
    #[command(subcommand)]
    Auth(users::AuthCommand),
    /// Make, change and list users
    #[command(subcommand)]
    User(users::UserCommand),
    /// Make, change and list roles
    #[command(subcommand)]
    Role(roles::RoleCommand),
    /// Have another cluster's keys follow this one's
    MakeMirror(mirror::MirrorArgs),
    /// Whether the cluster bears a load
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Which client this is, and which API it speaks
    Version,
    /// List and end alarms
    #[command(subcommand)]
    Alarm(maintenance::AlarmCommand),
    /// Have members give unused room back
    Defrag(maintenance::DefragArgs),
    /// Hand the leadership over
    MoveLeader(maintenance::MoveArgs),
    /// Get a snapshot from a member, and look at it (`headwater snapshot` restores it)
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Ask members, one by one, how they are
    Endpoint(endpoint::EndpointArgs),
    /// Of the whole program: `headwater completion SHELL`
    #[command(hide = true)]
    Completion(elsewhere::ElsewhereArgs),
    /// By `snapshot save`
    #[command(hide = true)]
    Backup(elsewhere::ElsewhereArgs),
    /// By `etcdctl` of etcd 3.4, before `headwater import`
    #[command(hide = true)]
    Migrate(elsewhere::ElsewhereArgs),
    /// To nothing: there is no older version
    #[command(hide = true)]
    Downgrade(elsewhere::ElsewhereArgs),
}

impl Command {
    /// Whether a user needs a right to keys for it, rather than to be root.
    fn is_about_keys(&self) -> bool {
        matches!(
            self,
            Self::Put(_)
                | Self::Get(_)
                | Self::Del(_)
                | Self::Txn(_)
                | Self::Watch(_)
                | Self::Lease(_)
                | Self::Lock(_)
                | Self::Elect(_)
                | Self::MakeMirror(_)
                | Self::Check(_)
        )
    }
}

/// Carries out a command, and prints what comes of it.
pub async fn run(arguments: Arguments, look: snapshot::Look) -> ExitCode {
    let is_about_keys = arguments.command.is_about_keys();
    match carry_out(arguments, look).await {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            let failure = failure.explain_denial(is_about_keys);
            eprintln!("Error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Gives the status that the process ends with.
async fn carry_out(arguments: Arguments, look: snapshot::Look) -> Result<u8> {
    let options = arguments.options;
    let style = Style {
        format: arguments.look.write_out,
        hex: arguments.look.hex,
    };
    let session = &Session::new(&options)?;
    match arguments.command {
        Command::Completion(args) => return Err(elsewhere::completion(&args)),
        Command::Backup(_) => return Err(elsewhere::backup()),
        Command::Migrate(_) => return Err(elsewhere::migrate()),
        Command::Downgrade(_) => return Err(elsewhere::downgrade()),
        Command::Lock(args) => return held::lock(session, style, args).await,
        Command::Put(args) => keys::put(session, style, args).await,
        Command::Get(args) => keys::get(session, style, args).await,
        Command::Del(args) => keys::del(session, style, args).await,
        Command::Txn(args) => txn::run(session, style, args).await,
        Command::Compaction(args) => keys::compaction(session, args).await,
        Command::Member(command) => member::run(session, style, command).await,
        Command::Status => status::run(session, style).await,
        Command::Lease(command) => lease::run(session, style, command).await,
        Command::Alarm(command) => maintenance::alarm(session, style, command).await,
        Command::Defrag(args) => maintenance::defrag(session, args).await,
        Command::MoveLeader(args) => maintenance::move_leader(session, args).await,
        Command::Snapshot(command) => snapshot::run(session, style, command, look).await,
        Command::Endpoint(args) => endpoint::run(session, style, args).await,
        Command::Watch(args) => watch::run(session, style, args).await,
        Command::Elect(args) => held::elect(session, style, args).await,
        Command::Auth(command) => users::run_auth(session, style, command).await,
        Command::User(command) => users::run_user(session, style, command).await,
        Command::Role(command) => roles::run(session, style, command).await,
        Command::MakeMirror(args) => mirror::run(session, args).await,
        Command::Check(command) => check::run(session, command).await,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            text::say(format!("headwater ctl version: {version}\nAPI version: 3.5\n").as_bytes())
        }
    }
    .map(|()| 0)
}
