use super::*;

/// A tree that is tidy, with `changes` put over it; an empty text removes the file.
fn tree(changes: &[(&str, &str)]) -> Tree {
    let head =
        "//! A room.\n//!\n//! # Source\n//! Raft paper.\n#![no_std]\n#![forbid(unsafe_code)]\n";
    let manifest =
        "[package]\nname = \"x\"\n\n[dependencies]\nbytes = \"1\"\n\n[lints]\nworkspace = true\n";
    let proto = "syntax = \"proto3\";\n";
    let stamp = proto::stamp([("kv.proto", proto)]);
    let mut files: Vec<(String, String)> = [
        ("crates/raft/src/lib.rs", head),
        ("crates/replica/src/lib.rs", head),
        ("crates/kv/src/lib.rs", head),
        ("crates/kv/Cargo.toml", manifest),
        ("crates/api/proto/kv.proto", proto),
        (proto::STAMP, stamp.as_str()),
        (
            "deps.txt",
            "# why\ncrates/kv bytes Slices without copies.\n",
        ),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .collect();
    for (path, text) in changes {
        files.retain(|(known, _)| known != path);
        if !text.is_empty() {
            files.push(((*path).to_owned(), (*text).to_owned()));
        }
    }
    Tree { files }
}

fn with_head(code: &str) -> String {
    format!("//! A room.\n//!\n//! # Source\n//! Raft paper.\n\n{code}")
}

/// The one refusal of a tree.
fn only(changes: &[(&str, &str)]) -> (&'static str, String, usize) {
    let refusals = check(&tree(changes));
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    let refusal = &refusals[0];
    (refusal.rule, refusal.path.clone(), refusal.line)
}

fn manifest(lines: &str) -> String {
    format!("[package]\nname = \"x\"\n{lines}\n[lints]\nworkspace = true\n")
}

#[test]
fn this_repository_is_tidy() {
    let tree = Tree::read(&crate::root()).expect("the tests run in a git checkout");
    let refusals = check(&tree);
    let lines: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn a_tidy_tree_is_not_refused() {
    assert!(check(&tree(&[])).is_empty());
}

#[test]
fn an_arrow_off_the_map_is_refused_in_a_manifest() {
    let path = "crates/raft/Cargo.toml";
    let text = manifest("[dependencies]\nheadwater-kv.workspace = true\n");
    assert_eq!(only(&[(path, &text)]), ("arrow", path.to_owned(), 4));
    let table = manifest("[dependencies.headwater-kv]\npath = \"../kv\"\n");
    assert_eq!(only(&[(path, &table)]).2, 3);
}

#[test]
fn an_arrow_off_the_map_is_refused_in_code() {
    let path = "crates/kv/src/mvcc.rs";
    let text = with_head("use headwater_runtime::Handle;\n");
    assert_eq!(only(&[(path, &text)]), ("arrow", path.to_owned(), 6));
    let text = with_head("fn f() { headwater_sim::run() }\n");
    assert_eq!(only(&[(path, &text)]).2, 6);
    let allowed = with_head("use headwater_replica::StateMachine;\n// headwater_sim::run\n");
    assert!(check(&tree(&[(path, &allowed)])).is_empty());
}

#[test]
fn only_the_replicas_tests_may_import_the_simulator() {
    let dev = manifest("[dev-dependencies]\nheadwater-sim.workspace = true\n");
    assert!(check(&tree(&[("crates/replica/Cargo.toml", &dev)])).is_empty());
    assert_eq!(only(&[("crates/runtime/Cargo.toml", &dev)]).0, "arrow");
    let normal = manifest("[dependencies]\nheadwater-sim.workspace = true\n");
    assert_eq!(only(&[("crates/replica/Cargo.toml", &normal)]).0, "arrow");
}

#[test]
fn an_inside_crate_without_its_attributes_is_refused() {
    let path = "crates/kv/src/lib.rs";
    let text = with_head("#![forbid(unsafe_code)]\n");
    assert_eq!(only(&[(path, &text)]), ("inside", path.to_owned(), 1));
    let text = with_head("#![no_std]\n");
    assert_eq!(only(&[(path, &text)]).0, "inside");
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let path = "crates/server/src/long.rs";
    let at_most = with_head(&"fn f() {}\n// Why.\n\n".repeat(500));
    assert!(check(&tree(&[(path, &at_most)])).is_empty());
    let more = with_head(&"fn f() {}\n".repeat(501));
    assert_eq!(only(&[(path, &more)]), ("length", path.to_owned(), 1));
    assert!(check(&tree(&[("crates/server/tests/long.rs", &more)])).is_empty());
    assert!(check(&tree(&[("crates/api/src/generated/x.rs", &more)])).is_empty());
}

#[test]
fn a_function_that_is_too_long_is_refused() {
    let path = "crates/server/src/long.rs";
    let function = |lines: usize| {
        let body = "        f();\n\n        // Why.\n".repeat(lines - 2);
        format!(
            "impl A {{\n    pub(crate) async fn long(&self) {{\n{body}    }}\n\n    fn f() {{}}\n}}\n"
        )
    };
    let at_most = with_head(&function(70));
    assert!(check(&tree(&[(path, &at_most)])).is_empty());
    let more = with_head(&function(71));
    assert_eq!(only(&[(path, &more)]), ("function", path.to_owned(), 7));
    let in_tests = with_head(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(71)));
    assert!(check(&tree(&[(path, &in_tests)])).is_empty());
    assert!(check(&tree(&[("crates/server/tests/long.rs", &more)])).is_empty());
    let others = "    fn g();\n".repeat(70);
    let declared = format!("trait A {{\n    fn f(\n        &self,\n    ) -> u64;\n{others}}}\n");
    assert!(check(&tree(&[(path, &with_head(&declared))])).is_empty());
}

#[test]
fn a_room_without_a_source_is_refused() {
    let path = "crates/sim/src/world.rs";
    let bare = "//! A room.\n";
    assert_eq!(only(&[(path, bare)]), ("source", path.to_owned(), 1));
    let empty = "//! A room.\n//!\n//! # Source\n//!\n";
    assert_eq!(only(&[(path, empty)]).0, "source");
    assert!(check(&tree(&[("crates/sim/src/world/tests.rs", bare)])).is_empty());
}

#[test]
fn a_dependency_without_a_reason_is_refused() {
    let path = "crates/sim/Cargo.toml";
    let text = manifest("[dev-dependencies]\nrand = \"0.9\"\n");
    assert_eq!(only(&[(path, &text)]), ("dependency", path.to_owned(), 4));
}

#[test]
fn a_reason_without_a_dependency_is_refused() {
    let list = "crates/kv bytes Slices.\ncrates/kv rand Dice.\n";
    assert_eq!(
        only(&[("deps.txt", list)]),
        ("dependency", "deps.txt".to_owned(), 2)
    );
    let list = "crates/kv bytes Slices.\ncrates/kv\n";
    assert_eq!(only(&[("deps.txt", list)]).2, 2);
}

#[test]
fn a_dependency_with_two_reasons_is_refused() {
    let list = "crates/kv bytes Slices.\n\ncrates/kv bytes No copies.\n";
    assert_eq!(
        only(&[("deps.txt", list)]),
        ("dependency", "deps.txt".to_owned(), 3)
    );
}

#[test]
fn a_citation_of_a_document_that_is_not_there_is_refused() {
    let path = "crates/kv/src/mvcc.rs";
    // Citations in two halves: this file is judged like any other.
    let cites = |document: &str| with_head(&["// See ", document, ".md.\n"].concat());
    let missing = cites("docs/none");
    assert_eq!(only(&[(path, &missing)]), ("citation", path.to_owned(), 6));
    assert_eq!(
        only(&[(path, &cites("../../../../docs/style"))]).0,
        "citation"
    );
    let there = ("docs/style.md", "# Style\n");
    for document in ["docs/style", "../../../docs/style", "https://example.org/x"] {
        assert!(
            check(&tree(&[there, (path, &cites(document))])).is_empty(),
            "{document}"
        );
    }
    let code = with_head(&["let path = \"none", ".md\"; // Why.\n"].concat());
    assert!(check(&tree(&[(path, &code)])).is_empty());
    let link = ["[style](none", ".md)\n"].concat();
    assert_eq!(
        only(&[("docs/x.md", &link)]),
        ("citation", "docs/x.md".to_owned(), 1)
    );
}

#[test]
fn a_lock_file_with_a_private_source_is_refused() {
    let text = "[[package]]\nsource = \"registry+https://example.org/index\"\n";
    assert_eq!(
        only(&[("Cargo.lock", text)]),
        ("dependency", "Cargo.lock".to_owned(), 2)
    );
}

#[test]
fn a_package_without_lints_is_refused() {
    let path = "crates/sim/Cargo.toml";
    assert_eq!(
        only(&[(path, "[package]\nname = \"x\"\n")]),
        ("lints", path.to_owned(), 1)
    );
}

#[test]
fn a_debt_is_refused_in_code_but_not_in_prose() {
    let path = "crates/kv/src/mvcc.rs";
    for debt in [
        ["// TO", "DO: later"],
        ["// FIX", "ME"],
        ["// XX", "X"],
        ["    dbg", "!(1);"],
    ] {
        let text = with_head(&debt.concat());
        assert_eq!(
            only(&[(path, &text)]),
            ("debt", path.to_owned(), 6),
            "{debt:?}"
        );
    }
    let prose = ["no TO", "DO in code"].concat();
    assert!(check(&tree(&[("docs/style.md", &prose)])).is_empty());
    assert!(check(&tree(&[(path, &with_head("// XXXL is a size"))])).is_empty());
}

#[test]
fn a_path_of_one_machine_is_refused() {
    let text = ["see", "/wo", "rk/main"].concat();
    assert_eq!(
        only(&[("docs/x.md", &text)]),
        ("place", "docs/x.md".to_owned(), 1)
    );
}

#[test]
fn a_word_about_the_workplace_is_refused() {
    let text = ["Written by Cla", "ude."].concat();
    assert_eq!(
        only(&[("README.md", &text)]),
        ("words", "README.md".to_owned(), 1)
    );
    assert!(check(&tree(&[("README.md", "The wallmount.")])).is_empty());
}

#[test]
fn generated_code_of_other_protos_is_refused() {
    let changed = [("crates/api/proto/kv.proto", "syntax = \"proto2\";\n")];
    assert_eq!(only(&changed), ("generated", proto::STAMP.to_owned(), 1));
    assert_eq!(only(&[(proto::STAMP, "")]).0, "generated");
}

const MODULE: &str = "\
(***** election *****)
May(s) == TRUE
Stand(s) ==
    x' = 1
(***** behaviour *****)
Next ==
    \\/ \\E s \\in Server :
        \\/ Stand(s)
Spec == Init
";

fn room(specified_by: &str) -> String {
    format!("//! A room.\n{specified_by}//!\n//! # Source\n//! Raft paper.\n")
}

#[test]
fn a_room_names_the_actions_that_specify_it() {
    let path = "crates/raft/src/election.rs";
    let named = room("//!\n//! Specified by:\n//! Stand.\n");
    let refusals = check(&tree(&[("spec/M.tla", MODULE), (path, &named)]));
    assert!(refusals.is_empty(), "{refusals:#?}");

    let rule = only(&[("spec/M.tla", MODULE), (path, &room(""))]);
    assert_eq!(rule, ("specified", "spec/M.tla".to_owned(), 1));
    let more = room("//! Specified by: Stand, May.\n");
    let rule = only(&[("spec/M.tla", MODULE), (path, &more)]);
    assert_eq!(rule, ("specified", path.to_owned(), 1));
}

#[test]
fn a_room_names_what_the_specification_with_messages_says_of_it() {
    let module = "(***** election *****)\nMay(n) == n.x > 0\nStand(n) ==\n    [n EXCEPT !.x = 1]\n\
                  \\* A comment: EXCEPT.\nLast(n) == n.x\nOnVote(n, from) ==\n    IF May(n)\n    \
                  THEN Stand(n) ELSE n\n";
    let (spec, path) = ("spec/RaftNode.tla", "crates/raft/src/election.rs");
    let named = room("//! With messages by: Stand, OnVote.\n");
    let refusals = check(&tree(&[(spec, module), (path, &named)]));
    assert!(refusals.is_empty(), "{refusals:#?}");

    let missing = room("//! With messages by: Stand.\n");
    let rule = only(&[(spec, module), (path, &missing)]);
    assert_eq!(rule, ("specified", spec.to_owned(), 1));
    for more in [
        "With messages by: Stand, OnVote, May.",
        "Specified by: Stand.\n//! With messages by: Stand, OnVote.",
    ] {
        let more = room(&format!("//! {more}\n"));
        let rule = only(&[(spec, module), (path, &more)]);
        assert_eq!(rule, ("specified", path.to_owned(), 1));
    }
}

#[test]
fn a_group_of_actions_bears_the_name_of_a_room() {
    let module = "(***** voting *****)\nA == TRUE\n";
    let rule = only(&[("spec/M.tla", module)]);
    assert_eq!(rule, ("specified", "spec/M.tla".to_owned(), 1));
    let planned = "(***** repair (no room has it yet) *****)\nA == TRUE\n";
    assert!(check(&tree(&[("spec/M.tla", planned)])).is_empty());
}
