//! Runs seeds of the deterministic world, and says how to repeat what fails.
//!
//! # Source
//! ARCHITECTURE.md, "The house".

use std::process::ExitCode;
use std::time::Instant;

use headwater_sim::plan::Plan;
use headwater_sim::run::{Report, run};
use headwater_sim::trace::{Stats, Verbosity};

const USAGE: &str = "\
usage: headwater-sim [--seed N | --seeds A..B] [--trace] [--plan] [--keep-going]
  --seed N      one seed, with the last events if it fails
  --seeds A..B  the seeds from A up to but not B
  --trace       every event, one line each
  --plan        what the seed means
  --keep-going  do not stop at the first failure";

struct Arguments {
    first: u64,
    end: u64,
    trace: bool,
    plan: bool,
    keep_going: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        first: 0,
        end: 200,
        trace: false,
        plan: false,
        keep_going: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => {
                arguments.first = number(words.next())?;
                arguments.end = arguments.first + 1;
            }
            "--seeds" => {
                let range = words.next().unwrap_or_default();
                let (first, end) = range.split_once("..").ok_or("seeds are A..B")?;
                arguments.first = number(Some(first.into()))?;
                arguments.end = number(Some(end.into()))?;
            }
            "--trace" => arguments.trace = true,
            "--plan" => arguments.plan = true,
            "--keep-going" => arguments.keep_going = true,
            other => return Err(format!("what is {other}?")),
        }
    }
    Ok(arguments)
}

fn number(word: Option<String>) -> Result<u64, String> {
    let word = word.ok_or("a number is missing")?;
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let is_single = arguments.end == arguments.first + 1;
    if !is_single {
        // A panic of the code under test is reported as a violation, once, below.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let verbosity = match (arguments.trace, is_single) {
        (true, _) => Verbosity::All,
        (false, true) => Verbosity::Last,
        (false, false) => Verbosity::Silent,
    };
    let began = Instant::now();
    let (mut stats, mut runs, mut failures, mut hash) = (Stats::default(), 0_u64, 0_u64, 0_u64);
    for seed in arguments.first..arguments.end {
        let plan = Plan::draw(seed);
        if arguments.plan {
            print!("{plan}");
        }
        let report = run(plan, verbosity);
        stats.add(&report.stats);
        hash = hash.rotate_left(1) ^ report.hash;
        runs += 1;
        if report.violation.is_some() {
            failures += 1;
            tell(&report);
            if !arguments.keep_going {
                break;
            }
        }
        if runs % 5000 == 0 {
            summary(runs, failures, &stats, began);
        }
    }
    summary(runs, failures, &stats, began);
    // Equal seeds have equal hashes, on any machine and in any build.
    println!("hash {hash:016x}");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(report: &Report) {
    for line in &report.last_lines {
        println!("{line}");
    }
    if let Some(violation) = &report.violation {
        let text: String = violation.to_string().chars().take(1500).collect();
        println!("seed {}: {text}", report.seed);
    }
    println!(
        "repeat: cargo run -p headwater-sim -- --seed {}",
        report.seed
    );
}

fn summary(runs: u64, failures: u64, stats: &Stats, began: Instant) {
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    let simulated = stats.simulated_ns as f64 / 1e9;
    println!(
        "{runs} seeds, {failures} failed; {seconds:.1} s, {simulated:.0} simulated s ({:.0}x), \
         {} events ({:.0}/s)",
        simulated / seconds,
        stats.events,
        stats.events as f64 / seconds
    );
    println!("{stats:?}");
}
