//! The exploration itself: that its savings lose nothing, and that its mutants still fit.

use std::path::Path;
use std::process::Command;

use headwater_explore::bounds::{Bounds, DEEP, QUICK};
use headwater_explore::report::explore;

fn small() -> Bounds {
    Bounds {
        crashes: 1,
        writes: 1,
        ..Bounds::LEAST
    }
}

#[test]
fn states_that_count_as_one_are_all_there_when_names_count() {
    let links = Bounds {
        campaigns: 1,
        links: 1,
        ..Bounds::LEAST
    };
    for bounds in [small(), links] {
        let with = explore(bounds, 2, 0);
        let without = explore(
            Bounds {
                symmetry: false,
                ..bounds
            },
            2,
            0,
        );
        assert_eq!(with.orbits, without.states as u64);
        assert!(with.states * 5 < without.states, "{with}; {without}");
    }
}

#[test]
fn the_dice_decide_nothing() {
    let (one, other) = (explore(small(), 1, 0), explore(small(), 1, 77));
    assert_eq!((one.states, one.sizes), (other.states, other.sizes));
    assert_eq!(one.transitions, other.transitions);
}

#[test]
fn an_exploration_does_not_depend_on_the_number_of_workers() {
    let (one, two) = (explore(small(), 1, 0), explore(small(), 2, 0));
    assert_eq!((one.states, one.transitions), (two.states, two.transitions));
}

#[test]
fn every_mutant_fits_the_code_and_names_a_scope() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mutants = std::fs::read_dir(here.join("mutants")).unwrap();
    for mutant in mutants.map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&mutant).unwrap();
        let scope = text.lines().find_map(|line| line.strip_prefix("Scope: "));
        let is_known = QUICK
            .iter()
            .chain(DEEP)
            .any(|known| Some(known.name) == scope);
        assert!(is_known, "{}: {scope:?}", mutant.display());
        let check = Command::new("git")
            .args(["apply", "--check"])
            .arg(&mutant)
            .current_dir(here.join(".."))
            .output()
            .unwrap();
        assert!(check.status.success(), "{}: {check:?}", mutant.display());
    }
}
