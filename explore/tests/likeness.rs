//! What is taken out of a node's text, and what is not.

use headwater_explore::likeness::{ALL, Origin, likeness};

const ORIGIN: Origin = Origin {
    now: 100,
    persisted: 7,
};

fn like(text: &str) -> String {
    likeness(text, ORIGIN, ALL[0])
}

#[test]
fn moments_count_from_the_nodes_clock_and_no_further_than_a_tick() {
    assert_eq!(like("A { at: @100 }"), like("A { at: @100 }"));
    assert_ne!(like("A { at: @100 }"), like("A { at: @99 }"));
    assert_ne!(like("A { at: @100 }"), like("A { at: @101 }"));
    assert_eq!(like("A { at: @99 }"), like("A { at: @3 }"));
}

#[test]
fn durable_writes_are_one_and_others_keep_their_distance() {
    assert_eq!(like("A { id: w7 }"), like("A { id: w2 }"));
    assert_ne!(like("A { id: w7 }"), like("A { id: w8 }"));
    assert_ne!(like("A { id: w9 }"), like("A { id: w8 }"));
}

#[test]
fn the_state_of_dice_is_no_difference_and_that_of_others_is() {
    let with =
        |name: &str, state: u64| like(&format!("A {{ x: {name} {{ state: {state} }}, y: 1 }}"));
    assert_eq!(with("Dice", 1), with("Dice", 2));
    assert_ne!(with("Nice", 1), with("Nice", 2));
}

#[test]
fn a_renaming_keeps_maps_and_lists_of_nodes_in_order_and_leaves_other_lists_alone() {
    let swap = |text: &str| likeness(text, ORIGIN, ALL[2]);
    assert_eq!(swap("{n1: true, n2: false}"), like("{n1: false, n2: true}"));
    assert_eq!(swap("[n1, n2, n3]"), like("[n1, n2, n3]"));
    assert_eq!(swap("[(t1, n1), (t2, n2)]"), like("[(t1, n2), (t2, n1)]"));
    assert_ne!(like("[(t1, n1), (t2, n2)]"), like("[(t2, n2), (t1, n1)]"));
    assert_eq!(
        swap("None, leader: Some(n1)"),
        like("None, leader: Some(n2)")
    );
}

#[test]
fn places_in_the_log_are_no_moments() {
    assert_ne!(like("(3@t1, i3, t1)"), like("(3@t1, i2, t1)"));
    assert_ne!(like("(3@t1)"), like("(2@t1)"));
}
