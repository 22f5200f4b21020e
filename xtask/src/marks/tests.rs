use std::collections::BTreeMap;

use super::*;

fn one(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("crates/raft/src/a.rs".to_owned(), text.to_owned())])
}

#[test]
fn the_sources_bear_marks_and_none_twice() {
    let texts = texts(&crate::root()).unwrap();
    let marks = find(&texts).unwrap();
    assert!(marks.len() >= 100, "only {} marks", marks.len());
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
    assert!(find(&one("// Mark: so.\n// Why.\nSome(a) => f(a),")).is_err());
}

#[test]
fn what_worlds_passed_adds_up() {
    let mut passed = vec![Passed::default(); 3];
    add(&mut passed, Some("swarm"), "7 0:2 2:1\n3 0:1\n4\n").unwrap();
    add(&mut passed, Some("long"), "5 2:1\n").unwrap();
    add(&mut passed, None, "9 0:4\n").unwrap();
    let of = |times, seeds, worlds, first: &[(&str, u64)]| Passed {
        times,
        seeds,
        worlds,
        first: first.iter().map(|&(p, s)| (p.to_owned(), s)).collect(),
    };
    assert_eq!(
        passed,
        [
            of(7, 2, 1, &[("swarm", 3)]),
            of(0, 0, 0, &[]),
            of(2, 2, 0, &[("long", 5), ("swarm", 7)]),
        ]
    );
    assert_eq!(
        tell_plan(&passed, "swarm", 10),
        "10 seeds of swarm pass 2 marks, the last new one 2 seeds ago"
    );
    assert!(add(&mut passed, None, "1 9:1").is_err());
}

#[test]
fn a_mark_that_nothing_passes_fails_unless_it_says_why() {
    let mut passed = vec![Passed::default(); 3];
    add(&mut passed, None, "1 0:1 2:1\n").unwrap();
    let mark = |what: &str, unreached: Option<&str>| Mark {
        file: "a.rs".to_owned(),
        line: 1,
        what: what.to_owned(),
        unreached: unreached.map(str::to_owned),
    };
    let marks = |why| [mark("one.", None), mark("two.", why), mark("three.", None)];
    assert!(tell(&marks(Some("nobody can.")), &passed).is_ok());
    let why = tell(&marks(None), &passed).unwrap_err().to_string();
    assert!(why.contains("two."), "{why}");
}
