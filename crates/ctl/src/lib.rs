//! A command line client for the etcd v3 API: etcdctl's commands, flags and output, and what it leaves
//! to be guessed: who leads, who lags, why nothing answers.
//!
//! | room | what it does |
//! |---|---|
//! | `flags`, `place`, `tls`, `password` | whom to ask, and how |
//! | `connect`, `session`, `failure` | asking, another member when one is gone, and reasons |
//! | `text`, `json`, `table`, `quantity` | what answers look like |
//! | `keys`, `txn`, `watch`, `lease` | keys |
//! | `member`, `replace`, `endpoint`, `status`, `alarm`, `maintenance` | members |
//! | `lock`, `elect`, `mirror`, `check` | programs on top of keys |
//! | `auth`, `users`, `roles` | users |

mod connect;
mod endpoint;
mod failure;
mod flags;
mod json;
mod keys;
mod member;
mod password;
mod place;
pub mod quantity;
mod replace;
mod session;
mod table;
mod text;
mod tls;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use crate::flags::with_environment;

use crate::failure::Result;
use crate::flags::Options;
use crate::session::Session;
use crate::text::Style;

/// What `headwater ctl` is asked for.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Whom to ask, and how.
    #[command(flatten)]
    options: Options,
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
    /// Forget what was overwritten or deleted before a revision
    #[command(alias = "compact")]
    Compaction(keys::CompactionArgs),
    /// List members, and change who takes part
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Ask members, one by one, how they are
    Endpoint(endpoint::EndpointArgs),
}

/// Carries out a command, and prints what comes of it.
pub async fn run(arguments: Arguments) -> ExitCode {
    match carry_out(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("Error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

async fn carry_out(arguments: Arguments) -> Result<()> {
    let options = arguments.options;
    let style = Style {
        format: options.write_out,
        hex: options.hex,
    };
    let session = &Session::new(&options)?;
    match arguments.command {
        Command::Put(args) => keys::put(session, style, args).await,
        Command::Get(args) => keys::get(session, style, args).await,
        Command::Del(args) => keys::del(session, style, args).await,
        Command::Compaction(args) => keys::compaction(session, args).await,
        Command::Member(command) => member::run(session, style, command).await,
        Command::Endpoint(args) => endpoint::run(session, style, args).await,
    }
}
