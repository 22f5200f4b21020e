use super::*;

const MODULE: &str = "\
---- MODULE M ----
First == TRUE

\\* Only ever added to.
Second ==
    [][IsPrefix(log, log')]_vars
====
";

fn read(output: &str) -> Result<Outcome> {
    understand(output, |module| (module == "M").then(|| MODULE.to_owned()))
}

#[test]
fn the_numbers_of_a_whole_search_are_read() {
    let outcome = read(
        "Progress(14) at 2026-11-27 09:30:14: 5,113 states generated (5,113 s/min), 1,558 distinct \
         states found (1,558 ds/min), 302 states left on queue.\n\
         Model checking completed. No error has been found.\n\
         158731 states generated, 39541 distinct states found, 0 states left on queue.\n\
         The depth of the complete state graph search is 38.\n",
    )
    .expect("this is what TLC says");
    assert_eq!(outcome.violated, None);
    assert_eq!(
        (outcome.generated, outcome.distinct, outcome.depth),
        (158_731, 39_541, 38)
    );
}

#[test]
fn an_invariant_is_named() {
    let outcome = read(
        "Error: Invariant ElectionSafety is violated.\n\
         Error: The behavior up to this point is:\n",
    );
    let violated = outcome.expect("this is what TLC says").violated;
    assert_eq!(violated.as_deref(), Some("ElectionSafety"));
}

#[test]
fn a_property_is_named_by_the_definition_around_its_line() {
    let outcome = read(
        "Error: Action property line 6, col 5 to line 6, col 32 of module M is violated.\n\
         Error: The behavior up to this point is:\n",
    );
    let violated = outcome.expect("this is what TLC says").violated;
    assert_eq!(violated.as_deref(), Some("Second"));
}

#[test]
fn what_is_no_verdict_on_a_property_is_an_error() {
    let why = read("Error: Parsing or semantic analysis failed.\n").expect_err("no verdict");
    assert!(format!("{why:#}").contains("Parsing"), "{why:#}");
}
