//! Worlds, each from one seed: the first of each plan file, and all that ever failed.

use headwater_sim::plan::Plan;
use headwater_sim::run::{Report, run};
use headwater_sim::trace::Verbosity;

/// Every seed that ever failed, with what it found.
const KEPT: &str = include_str!("../seeds.txt");

/// Runs a seed, and if it fails once more with its last events in words.
fn must_hold(seed: u64) -> Report {
    let report = run(Plan::draw(seed), Verbosity::Silent.into());
    if report.violation.is_some() {
        let report = run(Plan::draw(seed), Verbosity::Last.into());
        for line in &report.last_lines {
            eprintln!("{line}");
        }
        let violation = report.violation.expect("a run repeats exactly");
        panic!("seed {seed}: {violation}\nrepeat: cargo run -p headwater-sim -- --seed {seed}");
    }
    report
}

#[test]
fn the_first_hundred_seeds_hold() {
    let mut committed = 0;
    let mut crashes = 0;
    for seed in 0..100 {
        let report = must_hold(seed);
        committed += report.stats.committed;
        crashes += report.stats.crashes;
    }
    // Worlds in which nothing happens prove nothing.
    assert!(committed > 5_000 && crashes > 100, "{committed} {crashes}");
}

#[test]
fn every_seed_that_ever_failed_holds() {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines
        .filter_map(|line| line.split_whitespace().next())
        .map(|word| word.parse().expect("a line begins with a seed"))
        .collect();
    assert!(!seeds.is_empty(), "a file of kept seeds without one");
    for seed in seeds {
        must_hold(seed);
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..20 {
        let [first, second] = [Verbosity::Silent, Verbosity::Last].map(|verbosity| {
            let report = run(Plan::draw(seed), verbosity.into());
            (report.hash, report.stats, report.violation)
        });
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn different_seeds_are_different_worlds() {
    let hash = |seed| run(Plan::draw(seed), Verbosity::Silent.into()).hash;
    assert_ne!(hash(0), hash(1));
}
