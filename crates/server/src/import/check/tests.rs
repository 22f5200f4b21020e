use super::*;
use crate::bolt::{Items, Plan};
use crate::etcd_db::{Snapshot, lease_item, revision_key};

type Item = (Vec<u8>, Vec<u8>);

/// A database that can be altered.
#[derive(Clone)]
struct Base {
    keys: Vec<Item>,
    leases: Vec<Item>,
    users: Vec<Item>,
    compacted: i64,
}

fn put(main: i64, sub: i64, key: &str, counts: (i64, i64), lease: i64) -> Item {
    let kv = mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: counts.0,
        mod_revision: main,
        version: counts.1,
        value: Bytes::from(format!("{key} at {main}")),
        lease,
    };
    (revision_key(main, sub), kv.encode_to_vec())
}

fn alter_value(item: &mut Item) {
    let mut kv = mvccpb::KeyValue::decode(&item.1[..]).expect("a key");
    kv.value = Bytes::from_static(b"another");
    item.1 = kv.encode_to_vec();
}

fn end((main, sub): (i64, i64), key: &str) -> Item {
    let kv = mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..mvccpb::KeyValue::default()
    };
    let mut at = revision_key(main, sub);
    at.push(b't');
    (at, kv.encode_to_vec())
}

fn lease(id: i64, ttl: i64, remaining: i64) -> Item {
    lease_item(&CopiedLease { id, ttl, remaining })
}

impl Base {
    /// Keys with a past: compacted, deleted, made anew, with a lease that is there, and one that is not.
    fn full() -> Self {
        Self {
            keys: vec![
                put(2, 0, "old", (2, 1), 0),
                put(3, 0, "gone", (3, 1), 0),
                put(4, 0, "old", (2, 2), 0),
                put(4, 1, "leased", (4, 1), 7),
                end((5, 0), "gone"),
                put(6, 0, "old", (2, 3), 0),
                put(6, 1, "new", (6, 1), 9),
                end((7, 0), "old"),
                put(8, 0, "old", (8, 1), 0),
            ],
            leases: vec![lease(7, 60, 20), lease(8, 60, 0)],
            users: vec![(b"ann".to_vec(), Vec::new())],
            compacted: 4,
        }
    }

    fn file(&self) -> Bytes {
        let meta = vec![(
            b"finishedCompactRev".to_vec(),
            revision_key(self.compacted, 0),
        )];
        let buckets = [
            ("key", self.keys.clone()),
            ("lease", self.leases.clone()),
            ("meta", meta),
            ("authUsers", self.users.clone()),
        ];
        let items = |(name, items)| (name, Box::new(items) as Box<dyn Items>);
        let plan = Plan::new(buckets.map(items).into());
        plan.into_pieces().flatten().collect::<Vec<u8>>().into()
    }

    fn store(&self) -> Store {
        let snapshot = Snapshot::read(&self.file()).expect("a database");
        snapshot.into_store().expect("a store").0
    }
}

fn expected(base: &Base) -> Expected {
    Expected {
        file: base.file(),
        without_users: false,
    }
}

#[test]
fn a_store_is_the_same_as_the_database_it_was_made_of() {
    let base = Base::full();
    let told = compare(&expected(&base), &base.store()).expect("the same");
    assert!(told.contains("4 to 8"), "{told}");
    assert!(told.contains("3 (8 versions)"), "{told}");
    assert!(told.contains("2 (with 1 keys)"), "{told}");
}

#[test]
fn whatever_is_altered_is_found() {
    let base = Base::full();
    let found = |alter: &dyn Fn(&mut Base), words: &str| {
        let mut altered = base.clone();
        alter(&mut altered);
        let outcome = compare(&expected(&base), &altered.store());
        let said = format!("{:#}", outcome.expect_err(words));
        assert!(said.contains(words), "\"{said}\" instead of \"{words}\"");
        // And the other way round: what one has and the other lacks.
        assert!(
            compare(&expected(&altered), &base.store()).is_err(),
            "{words}"
        );
    };
    // A value at the compacted revision, one that is history, and the last one.
    for (at, words) in [
        (2, "revision 4: key \"old\""),
        (5, "revision 6: key \"old\""),
        (8, "revision 8: key \"old\""),
    ] {
        let value = |base: &mut Base| alter_value(&mut base.keys[at]);
        found(&value, words);
    }
    found(
        &|base| drop(base.keys.remove(8)),
        "revision 8 cannot be read",
    );
    found(&|base| drop(base.keys.remove(6)), "revision 6: key \"new\"");
    found(
        &|base| base.keys[4] = put(5, 0, "gone", (3, 2), 0),
        "revision 5: key \"gone\"",
    );
    // What nobody asks for by its name.
    let more = put(5, 1, "more", (5, 1), 0);
    found(&|base| base.keys.insert(5, more.clone()), "revision 8: key");
    found(
        &|base| {
            base.keys.insert(5, more.clone());
            base.keys.insert(9, end((7, 1), "more"));
        },
        "versions of keys",
    );
    found(&|base| base.compacted = 5, "revision 4 cannot be read");
    found(
        &|base| base.leases[0] = lease(7, 60, 21),
        "leases are others",
    );
    found(
        &|base| base.leases[1] = lease(8, 61, 0),
        "leases are others",
    );
    found(&|base| drop(base.leases.pop()), "leases are others");
    found(&|base| base.users.clear(), "users or roles");
}

/// An etcd's own restore can raise the revision, so that no client sees one twice: a mark without a key,
/// which counts as compacted.
#[test]
fn a_revision_that_a_restore_has_raised_stays_so() {
    let mut base = Base::full();
    base.keys.push((revision_key(1008, 0), Vec::new()));
    base.compacted = 1008;
    let told = compare(&expected(&base), &base.store()).expect("the same");
    assert!(told.contains("1008 to 1008"), "{told}");
    assert!(told.contains("3 (3 versions)"), "{told}");
    // And it goes on from there.
    base.keys.push(put(1009, 0, "old", (8, 2), 0));
    let told = compare(&expected(&base), &base.store()).expect("the same");
    assert!(told.contains("1008 to 1009"), "{told}");
}
