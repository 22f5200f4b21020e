//! The store answers as the naive model does, whatever it is asked.
mod support;

use headwater_kv::Store;
use headwater_kv::check::check;
use headwater_kv::request::{Command, LeaseTimeToLiveRequest, Query};
use headwater_kv::txn::is_read_only;
use headwater_replica::machine::StateMachine;
use support::generator::Generator;
use support::model::{Model, check_txn};
use support::{apply, range_of, status};

/// Runs `commands` random commands, each followed by random queries.
fn compare_with_model(seed: u64, commands: usize) {
    let mut generator = Generator::new(seed);
    let (mut store, mut model) = (Store::default(), Model::default());
    let mut succeeded = 0;
    for step in 0..commands {
        generator.revision = model.revision();
        let context = format!("seed {seed}, step {step}");
        let command = generator.command();
        let outcome = apply(&mut store, &command);
        assert_eq!(outcome, model.command(&command), "{context}: {command:?}");
        succeeded += usize::from(outcome.result.is_ok());
        let read_only = generator.txn(2, true);
        assert!(is_read_only(&read_only) || format!("{read_only:?}").contains("Missing"));
        let mut queries = vec![
            Query::Range(generator.range()),
            Query::Status,
            Query::Members,
            Query::LeaseLeases,
            Query::LeaseTimeToLive(LeaseTimeToLiveRequest {
                id: generator.lease_id(),
                keys: generator.dice.once_in(2),
            }),
        ];
        if is_read_only(&read_only) {
            queries.push(Query::Txn(read_only));
        }
        for query in queries {
            assert_eq!(
                store.query(query.clone()),
                model.query(&query),
                "{context}: {query:?}"
            );
        }
    }
    assert!(
        succeeded * 2 > commands,
        "most random commands must get through: {succeeded}"
    );
    for revision in -1..=model.revision() + 1 {
        let query = Query::Range(headwater_kv::request::RangeRequest {
            revision,
            ..range_of("\0", "\0")
        });
        assert_eq!(
            store.query(query.clone()),
            model.query(&query),
            "seed {seed}, at {revision}"
        );
    }
}

#[test]
fn the_store_answers_as_a_map_per_revision_would() {
    for seed in 0..40 {
        compare_with_model(seed, 600);
    }
}

#[test]
fn a_long_life_changes_nothing_about_the_answers() {
    compare_with_model(1_000_003, 4_000);
}

#[test]
fn the_check_before_proposing_agrees_with_the_slow_one() {
    let mut generator = Generator::new(77);
    let mut refused = 0;
    for _ in 0..20_000 {
        let txn = generator.txn(4, false);
        let ops_max = generator.dice.below(8) as usize;
        let expected = check_txn(&txn, ops_max);
        refused += usize::from(expected.is_err());
        assert_eq!(
            check(&Command::Txn(txn.clone()), ops_max),
            expected,
            "{txn:?}"
        );
    }
    assert!(
        (2_000..18_000).contains(&refused),
        "both outcomes must be common: {refused}"
    );
}

#[test]
fn the_same_commands_give_the_same_status_on_two_stores() {
    let mut generator = Generator::new(5);
    let (mut one, mut other) = (Store::default(), Store::default());
    for _ in 0..3_000 {
        generator.revision = status(&one).revision;
        let command = generator.command();
        assert_eq!(apply(&mut one, &command), apply(&mut other, &command));
        assert_eq!(status(&one), status(&other));
    }
}
