use super::bounds::{Kind, parse};
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
