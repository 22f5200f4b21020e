use std::fs;

use super::hunt::{Found, found_in, verdict_in};
use super::mutant::{DIR, Mutant, PLANS, parse, read_all};
use super::schemata::{numbered, rewrite};

fn mutant(name: &str, original: &str, replacement: &str) -> Mutant {
    let text = format!(
        "Something is wrong.\nSource: §1\nFile: a.rs\n<<<<\n{original}\n====\n{replacement}\n>>>>\n"
    );
    parse(name, &text).unwrap()
}

fn rewritten(text: &str, mutants: &[Mutant]) -> Result<String, String> {
    let out = rewrite("a.rs", text, &numbered(mutants)).map_err(|error| error.to_string())?;
    Ok(out.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_mutant_fits_the_sources() {
    let root = crate::root();
    let mutants = read_all(&root.join(DIR)).unwrap();
    assert!(mutants.len() >= 60, "only {} mutants", mutants.len());
    let mut files: Vec<&str> = mutants
        .iter()
        .flat_map(|mutant| mutant.edits.iter().map(|edit| edit.file.as_str()))
        .collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let text = fs::read_to_string(root.join(file)).expect(file);
        if let Err(why) = rewrite(file, &text, &numbered(&mutants)) {
            panic!("{why}");
        }
    }
}

#[test]
fn an_expression_is_chosen_in_place() {
    let out = rewritten("let c = a && b;", &[mutant("one", "a && b", "a")]);
    assert_eq!(
        out.unwrap(),
        "let c = (if crate::mutant::is_on(1) { a } else { a && b });"
    );
}

#[test]
fn a_mark_within_the_original_is_no_part_of_it() {
    let text = "first();\n    // Mark: here.\n    second();\n";
    let out = rewritten(text, &[mutant("one", "first();\n    second();", "")]);
    assert_eq!(
        out.unwrap(),
        "if crate::mutant::is_on(1) { } else { first(); second(); }"
    );
}

#[test]
fn statements_are_chosen_without_parentheses() {
    let out = rewritten("first(); second();", &[mutant("one", "first();", "")]);
    assert_eq!(
        out.unwrap(),
        "if crate::mutant::is_on(1) { } else { first(); } second();"
    );
}

#[test]
fn mutants_may_share_a_place_and_lie_within_each_other() {
    let mutants = [
        mutant("one", "f(x + 1);", "g();"),
        mutant("three", "x + 1", "x"),
        mutant("two", "f(x + 1);", "h();"),
    ];
    assert_eq!(
        rewritten("f(x + 1);", &mutants).unwrap(),
        "if crate::mutant::is_on(1) { g(); } else if crate::mutant::is_on(3) { h(); } \
         else { f((if crate::mutant::is_on(2) { x } else { x + 1 })); }"
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refusal = |mutants: &[Mutant]| rewritten("a(b); a(c);", mutants).unwrap_err();
    assert!(refusal(&[mutant("gone", "d", "e")]).contains("gone: a.rs holds this nowhere"));
    assert!(
        refusal(&[mutant("twice", "a", "e")]).contains("twice: a.rs holds this more than once")
    );
    let cut = mutant("cut", "b.c", "e");
    let why = rewritten("self.b.c", &[cut]).unwrap_err();
    assert!(why.contains("cut: in a.rs this begins in the middle"));
    let two = [mutant("one", "a(b); a", ""), mutant("two", "; a(c)", "")];
    assert_eq!(refusal(&two), "one and two change overlapping texts");
}

#[test]
fn a_mutant_says_what_it_is() {
    let text = "It is wrong.\nSource: §2\nMissed: nobody looks\nSeeds: 4..5\nPlan: p\nFile: a.rs\n\
                <<<<\na\nb\n====\n>>>>\n";
    let read = parse("name", text).unwrap();
    assert_eq!((&*read.what, &*read.source), ("It is wrong.", "§2"));
    assert_eq!(read.missed.as_deref(), Some("nobody looks"));
    assert_eq!(read.seeds.as_deref(), Some("4..5"));
    assert_eq!(read.plan.as_deref(), Some("p"));
    assert_eq!(read.edits[0].original, "a\nb");
    assert_eq!(read.edits[0].replacement, "");
    for broken in [
        "",
        "No full stop\nSource: §2\nFile: a.rs\n<<<<\na\n====\n>>>>\n",
        "It is wrong.\nFile: a.rs\n<<<<\na\n====\n>>>>\n",
        "It is wrong.\nSource: §2\n",
        "It is wrong.\nSource: §2\n<<<<\na\n====\n>>>>\n",
        "It is wrong.\nSource: §2\nFile: a.rs\n<<<<\na\n====\n",
        "It is wrong.\nSource: §2\nWhatever: x\nFile: a.rs\n<<<<\na\n====\n>>>>\n",
    ] {
        assert!(parse("name", broken).is_err(), "{broken}");
    }
}

#[test]
fn the_simulators_finding_is_understood() {
    let line = "seed 17: durable quorum: n1 commits: too early";
    let (oracle, seed) = ("durable quorum".to_owned(), "17".to_owned());
    assert_eq!(found_in(line), Some(Found { oracle, seed }));
    assert_eq!(found_in("17 seeds, 0 failed; 1.0 s"), None);
    let (oracle, seed) = ("figure 8".to_owned(), "scenarios/old".to_owned());
    let found = Some(Found { oracle, seed });
    let line = "verdict  figure 8: n1 commits: too early; hash 9442c7fe1ae92924";
    assert_eq!(verdict_in(line, "scenarios/old"), found);
    assert_eq!(
        verdict_in("verdict  holds; hash 9442c7fe1ae92924", "old"),
        None
    );
    let idle = "verdict  expect: at 5ms leaders>=2 was to hold: 1, 2; hash 0";
    assert_eq!(verdict_in(idle, "old"), None);
}

/// Each plan in the folder of scenarios names the bugs it shows, and these name it.
#[test]
fn every_scenario_shows_a_bug_and_every_plan_named_is_there() {
    let root = crate::root();
    let mutants = read_all(&root.join(DIR)).unwrap();
    for mutant in &mutants {
        if let Some(plan) = &mutant.plan {
            let path = root.join(PLANS).join(format!("{plan}.plan"));
            let text = fs::read_to_string(&path).expect(plan);
            let caught = format!("# Catches: {}", mutant.name);
            assert!(text.lines().any(|line| line == caught), "{plan}: {caught}");
        }
    }
    let folder = root.join(PLANS).join("scenarios");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let has = |word: &str| text.lines().any(|line| line.starts_with(word));
        assert!(has("# Source: "), "{stem} names no source");
        assert!(has("# Catches: "), "{stem} catches nothing");
        for name in text
            .lines()
            .filter_map(|line| line.strip_prefix("# Catches: "))
        {
            let known = mutants.iter().find(|mutant| mutant.name == name);
            let known = known.unwrap_or_else(|| panic!("{stem} catches {name}, which is nothing"));
            assert!(
                known.plan.is_some(),
                "{name} names no plan, and {stem} catches it"
            );
        }
    }
}
