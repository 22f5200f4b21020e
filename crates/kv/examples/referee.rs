//! Compares the store with a real etcd, request by request.
//!
//! `cargo run -p headwater-kv --example referee -- 127.0.0.1:2379 SEED COUNT`, with an etcd that
//! has never been written to.
#[path = "../tests/support/mod.rs"]
mod support;

use headwater_kv::Store;
use headwater_kv::request::{
    KeyValue, LeaseTimeToLiveRequest, Outcome, Query, RangeRequest, Response, SortTarget,
};
use headwater_kv::txn::is_read_only;
use headwater_replica::machine::StateMachine;
use support::etcd::Etcd;
use support::generator::Generator;
use support::{apply, status};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, seed, count] = arguments.as_slice() else {
        panic!("give the address of an etcd, a seed and a number of commands");
    };
    let seed = seed.parse().expect("a seed is a number");
    let count: u64 = count.parse().expect("a count is a number");
    let mut etcd = Etcd::connect(address);
    let mut store = Store::default();
    let mut generator = Generator::new(seed);
    generator.spares_etcd = true;
    let mut succeeded = 0;
    for step in 0..count {
        generator.revision = status(&store).revision;
        let command = generator.command();
        let (ours, theirs) = (apply(&mut store, &command), etcd.command(&command));
        assert_eq!(
            ours, theirs,
            "ours and theirs, seed {seed}, step {step}: {command:?}"
        );
        succeeded += u64::from(ours.result.is_ok());
        compare_range(&store, &mut etcd, generator.range());
        let (id, keys) = (generator.lease_id(), true);
        let about_leases = [
            Query::LeaseLeases,
            Query::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys }),
        ];
        for query in about_leases {
            let (ours, theirs) = (store.query(query.clone()), etcd.query(&query));
            assert_eq!(ours, theirs, "ours and theirs, seed {seed}, step {step}");
        }
        let txn = generator.txn(1, true);
        if is_read_only(&txn) {
            let query = Query::Txn(txn);
            let (ours, theirs) = (store.query(query.clone()), etcd.query(&query));
            assert_eq!(
                ours, theirs,
                "ours and theirs, seed {seed}, step {step}: {query:?}"
            );
        }
    }
    println!(
        "{count} commands ({succeeded} succeeded), as many ranges and looks at leases: no difference"
    );
}

/// Compares a range; where equals may stand in any order, only what they are ordered by.
fn compare_range(store: &Store, etcd: &mut Etcd, request: RangeRequest) {
    let query = Query::Range(request.clone());
    let (ours, theirs) = (store.query(query.clone()), etcd.query(&query));
    let full = Query::Range(RangeRequest {
        limit: 0,
        keys_only: false,
        ..request.clone()
    });
    let sorted = target_values(&store.query(full), request.sort_target);
    let has_equals = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if request.sort_target == SortTarget::Key || !has_equals {
        assert_eq!(ours, theirs, "ours and theirs: {query:?}");
        return;
    }
    // Hidden values cannot be compared.
    if request.keys_only && request.sort_target == SortTarget::Value {
        return;
    }
    let by_target = |outcome: &Outcome| target_values(outcome, request.sort_target);
    assert_eq!(
        by_target(&ours),
        by_target(&theirs),
        "ours and theirs: {query:?}"
    );
}

fn target_values(outcome: &Outcome, target: SortTarget) -> Vec<(i64, Vec<u8>)> {
    let Ok(Response::Range(response)) = &outcome.result else {
        return Vec::new();
    };
    let value = |kv: &KeyValue| match target {
        SortTarget::Version => (kv.version, Vec::new()),
        SortTarget::Create => (kv.create_revision, Vec::new()),
        SortTarget::Mod => (kv.mod_revision, Vec::new()),
        SortTarget::Value => (0, kv.value.to_vec()),
        SortTarget::Key | SortTarget::Unknown => (0, kv.key.to_vec()),
    };
    response.kvs.iter().map(value).collect()
}
