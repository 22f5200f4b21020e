//! An embedder's own state machine in the simulator: the example, with and without its bug.

#[allow(dead_code)]
#[path = "../examples/bank.rs"]
mod bank;

use bank::Bank;
use headwater_sim::plan::Plan;
use headwater_sim::run::{Report, simulate};
use headwater_sim::trace::{Stats, Verbosity};

const SEEDS: std::ops::Range<u64> = 0..100;

fn run<const BUG: bool>(seed: u64) -> Report {
    simulate::<Bank<BUG>>(Plan::draw(seed), Verbosity::Silent.into())
}

#[test]
fn a_bank_survives_every_world() {
    let mut all = Stats::default();
    for seed in SEEDS {
        let report = run::<false>(seed);
        assert_eq!(report.violation, None, "seed {seed}");
        all.add(&report.stats);
    }
    // What a snapshot forgets can only show where one is loaded.
    let lived = all.committed > 2000 && all.taken > 100 && all.loaded > 5 && all.crashes > 100;
    assert!(lived, "{all:?}");
}

#[test]
fn snapshots_that_forget_are_found() {
    let found = SEEDS
        .into_iter()
        .find_map(|seed| run::<true>(seed).violation);
    assert_eq!(found.expect("a bug is found").oracle, "content");
}
