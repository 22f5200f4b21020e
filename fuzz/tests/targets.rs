//! Each target over its kept inputs, and over some thousand drawn at random: no fuzzer needed.

use std::panic::catch_unwind;
use std::path::Path;

use headwater_raft::random::Dice;

type Target = fn(&[u8]);

fn kept(name: &str, target: Target) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut inputs = 0;
    for file in std::fs::read_dir(&corpus).expect("inputs are kept") {
        let path = file.expect("a file").path();
        let data = std::fs::read(&path).expect("a file");
        let outcome = catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "{}", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "{name} has inputs");
}

fn drawn(target: Target, inputs: u64, bytes_max: u64) {
    for seed in 0..inputs {
        let mut dice = Dice::new(seed);
        let len = dice.below(bytes_max);
        // Small numbers are the likelier ones in what targets draw.
        let data: Vec<u8> = (0..len)
            .map(|_| (dice.roll() >> (8 * dice.below(2)) & 0xff) as u8)
            .collect();
        let outcome = catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn kept_inputs_do_not_panic_the_core() {
    kept("step", headwater_fuzz::step::run);
}

#[test]
fn drawn_inputs_do_not_panic_the_core() {
    drawn(headwater_fuzz::step::run, 20_000, 1000);
}

#[test]
fn kept_frames_do_not_panic_a_node() {
    kept("frames", headwater_fuzz::frames::run);
}

#[test]
fn drawn_frames_do_not_panic_a_node() {
    drawn(headwater_fuzz::frames::run, 5000, 1000);
}

#[test]
fn kept_damage_on_a_connection_is_told() {
    kept("framing", headwater_fuzz::framing::run);
}

#[test]
fn drawn_damage_on_a_connection_is_told() {
    drawn(headwater_fuzz::framing::run, 20_000, 1000);
}

#[test]
fn kept_directories_do_not_panic_recovery() {
    kept("disk", headwater_fuzz::disk::run);
}

#[test]
fn drawn_directories_do_not_panic_recovery() {
    drawn(headwater_fuzz::disk::run, 10_000, 300);
}
