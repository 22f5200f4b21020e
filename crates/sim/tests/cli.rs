//! The command line refuses what means nothing, and never passes by running nothing.
#![allow(clippy::unwrap_used)]

use std::process::ExitCode;

use clap::Parser;
use headwater_sim::cli::{self, Arguments};
use headwater_sim::run::run;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(words: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["sim"].into_iter().chain(words.split_whitespace()))
}

#[test]
fn what_would_run_nothing_is_refused() {
    for words in [
        "--minutes 0",
        "--minutes nan",
        "--minutes inf",
        "--minutes=-1",
        "--jobs 0",
        "--jobs some",
        "--seeds 5",
        "--seeds 3..3",
        "--seed x",
        "--seed 1 --seeds 0..2",
    ] {
        assert!(parse(words).is_err(), "{words}");
    }
    assert!(parse("--minutes 0.5 --jobs 2 --plan disks").is_ok());
    assert!(parse("--minutes 0.5 --seeds 7..9").is_ok());
}

#[test]
fn a_plan_that_only_some_seeds_draw_wrongly_is_refused_at_the_first_that_does() {
    let path = std::env::temp_dir().join(format!("headwater-cli-{}.plan", std::process::id()));
    std::fs::write(&path, "nodes 3 500\nfaults 100ms\n").unwrap();
    let words = format!("--seeds 0..20 --plan {}", path.display());
    let code = cli::main(&parse(&words).ok().unwrap().arguments, "sim", run);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, ExitCode::from(2));
}
