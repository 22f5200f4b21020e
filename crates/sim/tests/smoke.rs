//! Worlds, each from one seed: the first of each plan file, and all that ever failed.

use headwater_sim::plan::{MS, Plan};
use headwater_sim::recipe::Recipe;
use headwater_sim::run::{Report, run};
use headwater_sim::trace::{Stats, Verbosity};

/// Every seed that ever failed, with what it found.
const KEPT: &str = include_str!("../seeds.txt");

/// Runs a plan, and if it fails once more with its last events in words.
fn must_hold(plan: &Plan) -> Report {
    let report = run(plan.clone(), Verbosity::Silent.into());
    if report.violation.is_some() {
        let report = run(plan.clone(), Verbosity::Last.into());
        for line in &report.last_lines {
            eprintln!("{line}");
        }
        let violation = report.violation.expect("a run repeats exactly");
        panic!("{plan}\n{violation}\nrepeat: save the plan above, and give it to --plan");
    }
    report
}

/// The same world in which a frame that nobody waits for, and the word of a leader's own disk, may
/// wait, or in which neither may.
fn waiting(mut plan: Plan, waits: bool) -> Plan {
    plan.knobs.notice_wait_ns = if waits { 2 * MS } else { 0 };
    plan.knobs.put_aside = waits;
    plan
}

#[test]
fn the_first_hundred_seeds_hold() {
    let mut committed = 0;
    let mut crashes = 0;
    for seed in 0..100 {
        let report = must_hold(&Plan::draw(seed));
        committed += report.stats.committed;
        crashes += report.stats.crashes;
    }
    // Worlds in which nothing happens prove nothing.
    assert!(committed > 5_000 && crashes > 100, "{committed} {crashes}");
}

#[test]
fn every_seed_that_ever_failed_holds() {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    let mut seeds = 0;
    for line in lines {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a line begins with a plan file");
        let seed = words.next().and_then(|word| word.parse().ok());
        let recipe = Recipe::named(name).expect("a plan file of this crate");
        must_hold(&recipe.draw(seed.expect("a line goes on with a seed")));
        seeds += 1;
    }
    assert!(seeds > 0, "a file of kept seeds without one");
}

#[test]
fn every_world_that_is_kept_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plans/kept");
    let mut worlds = 0;
    for file in std::fs::read_dir(folder).expect("the folder of kept worlds") {
        let path = file.expect("its entry").path();
        let text = std::fs::read_to_string(&path).expect("a kept world");
        let plan = Plan::parse(&text).unwrap_or_else(|wrong| panic!("{path:?}: {wrong}"));
        assert_eq!(plan.mistake(), None, "{path:?}");
        for waits in [false, true] {
            must_hold(&waiting(plan.clone(), waits));
        }
        worlds += 1;
    }
    assert!(worlds >= 3, "{worlds}");
}

#[test]
fn worlds_hold_whether_frames_and_disks_may_wait_or_not() {
    let [without, with] = [false, true].map(|waits| {
        let mut all = Stats::default();
        for seed in 0..25 {
            all.add(&must_hold(&waiting(Plan::draw(seed), waits)).stats);
        }
        all
    });
    assert_eq!((without.frames_waited, without.put_aside), (0, 0));
    assert!(with.frames_waited > 0 && with.put_aside > 0, "{with:?}");
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
