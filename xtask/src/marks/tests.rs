use std::collections::BTreeMap;

use super::*;

fn one(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("crates/raft/src/a.rs".to_owned(), text.to_owned())])
}

#[test]
fn the_sources_bear_marks_and_none_twice() {
    let texts = texts(&crate::root()).unwrap();
    let marks = find(&texts).unwrap();
    assert!(marks.len() >= 60, "only {} marks", marks.len());
    planted(&texts).unwrap();
}

#[test]
fn a_mark_counts_before_the_statement_below_it() {
    let text = "if a {\n    // Mark: it is so.\n    f();\n}\n";
    let out = planted(&one(text)).unwrap();
    let out = String::from_utf8(out["crates/raft/src/a.rs"].clone()).unwrap();
    assert_eq!(
        out,
        "if a {\n    // Mark: it is so.\ncrate::passed::mark(0);\n    f();\n}\n"
    );
}

#[test]
fn a_mark_is_a_sentence_of_its_own_and_may_say_why_nothing_passes_it() {
    let text = "// Mark: so.\n// Unreached: no fault does that.\nf();\n// Mark: else.\ng();\n";
    let marks = find(&one(text)).unwrap();
    assert_eq!(marks[0].unreached.as_deref(), Some("no fault does that."));
    assert_eq!((&*marks[1].what, marks[1].line), ("else.", 4));
    assert!(find(&one("// Mark: no end\nf();")).is_err());
    assert!(find(&one("// Mark: so.\nf();\n// Mark: so.\ng();")).is_err());
}

#[test]
fn what_seeds_passed_adds_up() {
    let mut passed = vec![Passed::default(); 3];
    add(&mut passed, "7 0:2 2:1\n3 0:1\n4\n").unwrap();
    let of = |times, seeds, first| Passed {
        times,
        seeds,
        first,
    };
    assert_eq!(
        passed,
        [of(3, 2, Some(3)), of(0, 0, None), of(1, 1, Some(7))]
    );
    assert!(add(&mut passed, "1 9:1").is_err());
    let mark = |what: &str, unreached: Option<&str>| Mark {
        file: "a.rs".to_owned(),
        line: 1,
        what: what.to_owned(),
        unreached: unreached.map(str::to_owned),
    };
    let marks = |why| [mark("one.", None), mark("two.", why), mark("three.", None)];
    assert!(tell(&marks(Some("nobody can.")), &passed, 10).is_ok());
    let why = tell(&marks(None), &passed, 10).unwrap_err().to_string();
    assert!(why.contains("two."), "{why}");
}
