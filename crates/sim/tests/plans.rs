//! Plans are text: what is written is read back, and what is wrong is named.

use headwater_sim::plan::{Plan, When};
use headwater_sim::recipe::Recipe;

fn recipe(name: &str) -> Recipe {
    Recipe::named(name).expect("a plan file of this crate")
}

#[test]
fn every_plan_that_a_seed_draws_is_read_back_as_it_was_written() {
    for name in Recipe::names() {
        for seed in 0..300 {
            let plan = recipe(name).draw(seed);
            let text = plan.to_string();
            assert_eq!(Plan::parse(&text).as_ref(), Ok(&plan), "{name}:\n{text}");
        }
    }
}

#[test]
fn a_mistake_is_told_by_its_line_and_word() {
    for (text, line, word) in [
        ("seed 1\nheartbeat 20", 2, "20"),
        ("\n\nhaertbeat 20ms", 3, "haertbeat"),
        ("loss", 1, "loss"),
        ("loss 3 x", 1, "x"),
        ("loss 10%", 1, "10%"),
        ("at 1s explode", 1, "explode"),
        ("at 1s pause whom=n0 for=1ms", 1, "whom=n0"),
        ("at 1s pause whom=n1", 1, ""),
        ("at 1s pause whom=n1 for=1ms now", 1, "now"),
        ("at 1s pause whom=n1 four=1ms", 1, "four=1ms"),
        ("on monday 1 reset a=n1 b=n2", 1, "monday"),
        ("class power weight=heavy", 1, "weight=heavy"),
        ("class pwoer", 1, "pwoer"),
        ("class power from=2s to=1s", 1, "power"),
        ("shape short", 1, ""),
    ] {
        let error = Recipe::parse(text).expect_err(text);
        assert_eq!((error.line, error.word.as_str()), (line, word), "{error}");
    }
}

#[test]
fn docs_plans_md_can_be_read_and_shows_every_fault() {
    let page = include_str!("../../../docs/plans.md");
    let blocks: String = page.split("```").skip(1).step_by(2).collect();
    let is_said = |line: &&str| ["at ", "on ", "class "].iter().any(|a| line.starts_with(a));
    let lines: Vec<&str> = blocks.lines().filter(is_said).collect();
    Recipe::parse(&lines.join("\n")).expect("as the page has it");
    let all = Recipe::parse("at 1s what").expect_err("no fault").why;
    let all = all.split_once("one of ").expect("names them").1;
    for name in all.split(", ") {
        let is_it = |line: &&str| line.split_whitespace().nth(2) == Some(name);
        assert!(lines.iter().any(is_it), "no example of {name}");
    }
}

#[test]
fn a_missing_field_is_told_with_all_there_are() {
    let error = Recipe::parse("at 1s pause whom=n1").expect_err("for= is missing");
    let told = "line 1: for= is missing; pause has whom= for=";
    assert_eq!(error.to_string(), told);
}

#[test]
fn a_plan_that_leaves_a_choice_is_no_single_world() {
    for text in [
        "loss 0 1",
        "seed 1\nloss 0 1",
        "seed 1\nclass kill",
        "seed 1\nshape a 1\nshape b 1",
    ] {
        assert!(Plan::parse(text).is_err(), "{text}");
    }
    assert!(Plan::parse("seed 1").is_ok());
}

#[test]
fn a_class_stays_in_its_window_and_a_shape_in_its_share() {
    let text =
        "faults 9s\ncount 20\nclass kill from=2s to=3s\nshape a 4\nnodes 3\nshape b 1\nnodes 7";
    let recipe = Recipe::parse(text).expect("a plan");
    let mut large = 0;
    for seed in 0..500 {
        let plan = recipe.draw(seed);
        large += u64::from(plan.knobs.nodes == 7);
        assert_eq!(plan.faults.len(), 20);
        for planned in &plan.faults {
            let When::At(at) = planned.when else {
                panic!("{planned} waits for a mark")
            };
            assert!((2_000_000_000..3_000_000_000).contains(&at), "{planned}");
        }
    }
    assert!(
        (60..140).contains(&large),
        "{large} of 500 have the shape of weight 1 of 5"
    );
}

#[test]
fn a_line_changed_in_a_plan_file_leaves_the_rest_of_each_world_as_it_was() {
    let text = "faults 3s\nloss 1 2 3\nkeys 1 2 3 4 5\ncount 5\nclass kill\nclass pause";
    let other = text.replace("loss 1 2 3", "loss 1 2 3 4 5 6 7");
    let [one, other] = [text, &other].map(|text| Recipe::parse(text).expect("a plan"));
    for seed in 0..50 {
        let (one, mut other) = (one.draw(seed), other.draw(seed));
        other.knobs.loss = one.knobs.loss;
        assert_eq!(one, other);
    }
}
