//! What is said of the core's states to whoever compares them with the specification's.

use headwater_explore::bounds::SPEC;
use headwater_explore::node::Node;
use headwater_explore::spoken::server;
use headwater_explore::tree::Tree;

#[test]
fn a_field_that_nobody_knows_is_refused() {
    let read = |text| Tree::read(text).unwrap().fields("Follower").unwrap();
    let mut known = read("Follower { verified: i2, acknowledged: Some(i1) }");
    assert_eq!(known.take("verified").unwrap().number(), Ok(2));
    known.end(&["acknowledged"]).unwrap();
    read("Follower { verified: i2, more: [1] }")
        .end(&["verified"])
        .unwrap_err();
    read("Follower { verified: i2 }")
        .end(&["verified", "acknowledged"])
        .unwrap_err();
}

#[test]
fn a_debug_text_is_read_with_all_its_shapes() {
    let text = "A { list: [(i1, @5), (i2, @6)], map: {n1: true, n2: B(C { x: 1@t2 })}, none: [] }";
    let mut fields = Tree::read(text).unwrap().fields("A").unwrap();
    let pairs = fields.take("map").unwrap().pairs().unwrap();
    assert_eq!(pairs[0].1, Tree::Word("true"));
    let inside = Tree::Struct("C", vec![("x", Tree::Word("1@t2"))]);
    assert_eq!(pairs[1].1, Tree::Tuple("B", vec![inside]));
    let mut list = fields.take("list").unwrap().items().unwrap();
    assert_eq!(
        list.pop(),
        Some(Tree::Tuple("", vec![Tree::Word("i2"), Tree::Word("@6")]))
    );
    assert_eq!(fields.take("none").unwrap().items(), Ok(Vec::new()));
    Tree::read("A { x: 1").unwrap_err();
    Tree::read("A { x: 1 } }").unwrap_err();
}

#[test]
fn all_that_a_node_is_can_be_said() {
    for scope in SPEC {
        let setup = scope.bounds.setup(0);
        for (me, setup) in setup.into_iter().enumerate() {
            let text = server(&Node::new(me, setup)).unwrap();
            assert!(text.contains(&format!("me |-> n{}", me + 1)), "{text}");
            assert!(text.contains("role |-> \"follower\""), "{text}");
        }
    }
}
