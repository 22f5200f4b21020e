//! The one binary: `headwater`.
//! Never does anything itself: it reads the command line and hands over.
//!
//! # Source
//! etcd's command line.

// They panic when nobody reads any more; `print` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod agreeing;
mod alarms;
mod argv;
mod astray;
mod auth;
mod authority;
mod auto_compaction;
mod backend;
mod bolt;
mod card;
mod census;
mod certs;
mod changes;
mod cli;
mod client;
mod client_threads;
mod company;
mod config;
mod config_file;
mod convert;
mod counted;
mod deadline;
mod desk;
mod dev;
mod disk;
mod doors;
mod etcd_db;
mod etcd_flags;
mod failure;
mod front;
mod gateway;
mod grpc;
mod http2;
mod http_pages;
mod identity;
mod import;
mod inbound;
mod join;
mod leases;
mod log;
mod manual;
mod members;
mod memory;
mod metrics;
mod metrics_text;
mod once;
mod outlook;
mod port_flags;
mod pressure;
mod print;
mod process;
mod queue;
mod recover;
mod renewals;
mod request_body;
mod restore;
mod round_trips;
mod scrape;
mod serve;
mod service;
mod sink;
mod spelling;
mod survey;
mod tally;
mod tls;
mod tls_flags;
mod url;
mod voice;
mod workers;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use headwater_api as generated;

use crate::cli::Command;
use crate::config::Config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for settings that cannot be followed: nothing was begun, and to try again without
/// changing them is of no use.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let (cli, ignored, origins) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(error) => return on_parse_error(&error),
    };
    let result = match cli.command {
        Command::Serve(args) => match configure(&args, ignored) {
            Ok(config) => runtime().and_then(|runtime| runtime.block_on(serve::run(config))),
            Err(error) => {
                let text = origins.explain(&format!("{error:#}"));
                return complain(&format!("{text}\n"), MISUSE);
            }
        },
        Command::Dev(args) => runtime().and_then(|runtime| runtime.block_on(dev::run(&args))),
        Command::Ctl(arguments) => match runtime() {
            Ok(runtime) => return runtime.block_on(headwater_ctl::run(*arguments, restore::look)),
            Err(error) => Err(error),
        },
        Command::Sim(arguments) => {
            return headwater_sim::cli::main(&arguments, "headwater sim", headwater_sim::run::run);
        }
        Command::Disk(command) => {
            return disk::run(&command)
                .unwrap_or_else(|error| complain(&format!("{error:#}\n"), disk::REFUSED));
        }
        Command::Import(args) => {
            return match runtime().and_then(|runtime| runtime.block_on(import::run(&args))) {
                Ok(code) => code,
                Err(error) => complain(&format!("{error:#}\n"), 1),
            };
        }
        Command::Snapshot(command) => restore::run(&command),
        Command::Completion(args) => manual::completion(cli::definition(), &args),
        Command::Man(args) => manual::man(cli::definition(), &args),
        Command::Certs(args) => certs::run(&args),
        Command::Version => print::put(cli::version() + "\n"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}\n"), 1),
    }
}

fn on_parse_error(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help; whoever closed the output has read enough of it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    complain(text.strip_prefix("error: ").unwrap_or(&text), MISUSE)
}

/// All complaints of this program begin alike.
fn complain(text: &str, code: u8) -> ExitCode {
    // Nobody may be listening any more.
    let _ = write!(std::io::stderr(), "headwater: {text}");
    ExitCode::from(code)
}

fn configure(args: &cli::ServeArgs, ignored: Vec<String>) -> Result<Config> {
    log::start(&args.log)?;
    let mut config = Config::from_args(args)?;
    config.warnings.extend(ignored);
    Ok(config)
}

/// One thread runs everything but the waiting for disks, and clients where there are many processors: waking
/// another thread would cost more than it could take off this one's shoulders.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")
}
