//! The simulator by itself: `headwater sim` without the server around it.
//!
//! # Source
//! `cli`.

use std::process::ExitCode;

use clap::Parser;

/// Run whole clusters in worlds made of dice: any failure repeats from its seed
#[derive(Parser)]
#[command(name = "headwater-sim")]
struct Cli {
    #[command(flatten)]
    arguments: headwater_sim::cli::Arguments,
}

fn main() -> ExitCode {
    let program = "cargo run --release -p headwater-sim --";
    headwater_sim::cli::main(&Cli::parse().arguments, program, headwater_sim::run::run)
}
