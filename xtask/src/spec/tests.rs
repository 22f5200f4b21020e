use super::bounds::{Kind, parse};
use super::states::{Side, States};
use super::value::Value;
use super::*;

const BASE: &str = "CONSTANTS\n  A = 0\n  AB = 1\nSYMMETRY S\nINVARIANTS\n  I\n";

#[test]
fn bounds_replace_lines_of_the_base_and_keep_the_others() {
    let text = "\\* One A.\nA = 1\n- SYMMETRY S\n+ PROPERTIES P\n";
    let bounds = parse("one", Kind::Quick, text, BASE).expect("well formed");
    assert_eq!(bounds.what, "One A.");
    assert_eq!(
        bounds.config,
        "CONSTANTS\n  A = 1\n  AB = 1\nINVARIANTS\n  I\nPROPERTIES P\n"
    );
}

#[test]
fn bounds_are_of_the_module_that_they_name() {
    let plain = parse("one", Kind::Quick, "\\* One.\n", BASE).expect("well formed");
    assert_eq!(plain.module, "MCRaftAbstract.tla");
    let text = "\\* One.\nMODULE M\n";
    let named = parse("one", Kind::Quick, text, BASE).expect("well formed");
    assert_eq!(
        (named.module.as_str(), named.config),
        ("M.tla", plain.config)
    );
}

#[test]
fn bounds_of_what_is_not_in_the_base_are_refused() {
    parse("one", Kind::Quick, "\\* One B.\nB = 1\n", BASE).expect_err("there is no B");
    parse("one", Kind::Quick, "A = 1\n", BASE).expect_err("it does not say what for");
}

#[test]
fn each_planted_change_and_all_bounds_have_a_row_in_the_results() {
    let root = crate::root();
    let teeth = teeth::read_all(&root).expect("they are well formed");
    let names: Vec<String> = teeth.into_iter().map(|tooth| tooth.name).collect();
    let kept = results::numbers(&root, &results::TEETH, "states").expect("there are results");
    assert_eq!(
        kept.into_keys().collect::<Vec<_>>(),
        names,
        "run `cargo xtask spec teeth --write`"
    );

    let all = bounds::read_all(&root, &[Kind::Quick, Kind::Deep]).expect("they are well formed");
    let names: Vec<String> = all.into_iter().map(|bounds| bounds.name).collect();
    let kept = results::numbers(&root, &results::CHECK, "distinct").expect("there are results");
    assert_eq!(
        kept.into_keys().collect::<Vec<_>>(),
        names,
        "run `cargo xtask spec check --deep --write`"
    );
}

#[test]
fn each_planted_difference_fits_and_has_a_row_in_the_results_as_each_scope_has() {
    let root = crate::root();
    let changes = unequal::read_all(&root).expect("they are well formed");
    for change in &changes {
        let changed = change.changed(&root);
        changed.unwrap_or_else(|why| panic!("{}: {why:#}", change.name));
    }
    let names: Vec<String> = changes.into_iter().map(|change| change.name).collect();
    let kept = results::numbers(&root, &results::UNEQUAL, "core").expect("there are results");
    assert_eq!(
        kept.into_keys().collect::<Vec<_>>(),
        names,
        "run `cargo xtask spec equal --teeth --write`"
    );
    let names = equal::SCOPES.map(|scope| scope.name.to_owned());
    let kept = results::numbers(&root, &results::EQUAL, "depth").expect("there are results");
    assert_eq!(
        kept.into_keys().collect::<Vec<_>>(),
        names,
        "run `cargo xtask spec equal --deep --write`"
    );
}

#[test]
fn equal_values_have_one_text() {
    let same = |text: &str| Value::read(text).expect("a value").write(&str::to_owned);
    assert_eq!(
        same("[b |-> {2, 1}, a |-> <<>>]"),
        "[a |-> <<>>, b |-> {1, 2}]"
    );
    assert_eq!(
        same("(n2 :> -1 @@ n1 :> \"a b\")"),
        "(n1 :> \"a b\" @@ n2 :> -1)"
    );
    for wrong in [
        "[a |-> ]",
        "<<1, 2",
        "{1} 2",
        "(n1 :> 1 n2 :> 2)",
        "",
        "\"a",
    ] {
        Value::read(wrong).expect_err(wrong);
    }
}

/// Two lists of states: what only the core has, and what only the specification has.
fn compared(core: &str, spec: &str) -> (States, [usize; 2]) {
    let dir = std::env::temp_dir().join(format!("headwater-states-{}", std::process::id()));
    let path = dir.join(format!("{:?}", thread::current().id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut states = States::default();
    for (side, text) in [(Side::Core, core), (Side::Spec, spec)] {
        std::fs::write(&path, text).expect("a file");
        states.read(side, &path).expect("a list");
    }
    let only = [Side::Core, Side::Spec].map(|side| states.only(side));
    (states, only)
}

/// Three nodes, of which one has voted for another, and a message from that one.
fn list(voter: &str, candidate: &str, other: &str, term: u64) -> String {
    let node = |me: &str, vote: &str| {
        format!("value <<[me |-> {me}, vote |-> {vote}], [term |-> {term}]>>\n")
    };
    let nodes = [
        node(voter, candidate),
        node(candidate, "Nil"),
        node(other, "Nil"),
    ];
    format!(
        "{}value [from |-> {candidate}, m |-> [term |-> {term}]]\nvalue <<0, {{}}>>\nstate 2 0 1 | 3 | 4\n",
        nodes.concat()
    )
}

#[test]
fn states_that_differ_in_the_names_of_nodes_are_one_and_others_are_not() {
    let one = list("n1", "n2", "n3", 1);
    assert_eq!(compared(&one, &list("n3", "n1", "n2", 1)).1, [0, 0]);
    assert_eq!(compared(&one, &list("n1", "n2", "n3", 2)).1, [1, 1]);
    // Who has voted asks for votes himself: as many states, and others.
    let other = one.replace("from |-> n2", "from |-> n1");
    assert_eq!(compared(&one, &other).1, [1, 1]);
    let more = format!("{one}state 2 0 1 | | 4\n");
    assert_eq!(compared(&more, &one).1, [1, 0]);
}

#[test]
fn a_state_that_only_one_side_has_is_told_with_what_is_other_in_it() {
    let (mut states, _) = compared(&list("n1", "n2", "n3", 1), &list("n1", "n2", "n3", 2));
    let (state, other) = states.first(Side::Core).expect("readable").expect("one");
    let words = difference::tell(&state, &other);
    for part in [
        "'s disk: term: 1, there 2",
        "only here: from",
        "only there: from",
    ] {
        assert!(words.contains(part), "{words}");
    }
    let same = list("n1", "n2", "n3", 1);
    let (mut states, _) = compared(&same, &same);
    assert!(states.first(Side::Spec).expect("readable").is_none());
}

#[test]
fn results_come_in_the_order_of_the_items() {
    let items: Vec<u64> = (0..50).collect();
    let doubled = in_parallel(4, &items, |n| {
        thread::sleep(std::time::Duration::from_micros(50 * (n % 3)));
        Ok(2 * n)
    });
    let doubled: Result<Vec<u64>> = doubled.into_iter().collect();
    let doubled = doubled.expect("none fails");
    assert_eq!(doubled, items.iter().map(|n| 2 * n).collect::<Vec<_>>());
}
