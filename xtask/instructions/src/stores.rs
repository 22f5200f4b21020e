//! The store: commands carried out, keys read, watchers told.

use anyhow::{Result, ensure};
use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, Compare, CompareResult, CompareTarget, PutRequest, Query, RangeRequest, RequestOp,
    TxnRequest,
};
use headwater_kv::stream::{StreamId, Streams};
use headwater_kv::watch::WatchRequest;
use headwater_raft::{Index, LogId, Term};
use headwater_replica::StateMachine;

use crate::measured;

/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// Keys in the store.
const KEYS: u64 = 4096;

/// Operations that are counted.
const COUNTED: u64 = 1024;

/// Who watches one key.
const WATCHERS: u64 = 64;

/// Puts that they are told of.
const WATCHED: u64 = 32;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("k{number:015}"))
}

/// A put to the key of a number.
pub fn put(number: u64) -> Command {
    Command::Put(PutRequest {
        key: key(number),
        value: Bytes::from(vec![number as u8; VALUE_BYTES]),
        ..PutRequest::default()
    })
}

/// Numbers that jump about among the keys.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS)
}

/// A store, and the next place in the log.
struct Filled {
    store: Store,
    at: u64,
}

impl Filled {
    fn new() -> Result<Filled> {
        let store = Store::default();
        let mut filled = Filled { store, at: 0 };
        for number in 0..KEYS {
            filled.apply(&put(number).encode())?;
        }
        Ok(filled)
    }

    fn apply(&mut self, command: &Bytes) -> Result<i64> {
        self.at += 1;
        let outcome = self
            .store
            .apply(LogId::new(Term(1), Index(self.at)), command);
        ensure!(outcome.result.is_ok(), "refused: {outcome:?}");
        Ok(outcome.revision)
    }
}

/// Puts to keys that are there.
pub fn apply_puts() -> Result<u64> {
    let mut filled = Filled::new()?;
    let commands: Vec<Bytes> = scattered(COUNTED)
        .map(|number| put(number).encode())
        .collect();
    measured(|| {
        commands
            .iter()
            .try_for_each(|command| filled.apply(command).map(drop))
    })?;
    Ok(COUNTED)
}

/// Compare-and-swap of one key after the other.
pub fn apply_cas() -> Result<u64> {
    let mut filled = Filled::new()?;
    let cas = |number: u64| {
        let Command::Put(request) = put(number) else {
            unreachable!("a put is a put");
        };
        let compare = Compare {
            result: CompareResult::Equal,
            // A key of the number n was put at revision n + 2, because a new store has revision 1.
            target: CompareTarget::Mod(number as i64 + 2),
            key: key(number),
            range_end: Bytes::new(),
        };
        Command::Txn(TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp::Put(request)],
            failure: vec![RequestOp::Range(RangeRequest {
                key: key(number),
                ..RangeRequest::default()
            })],
        })
    };
    let commands: Vec<Bytes> = (0..COUNTED).map(|number| cas(number).encode()).collect();
    let before = filled.store.query(Query::Status).revision;
    measured(|| {
        commands
            .iter()
            .try_for_each(|command| filled.apply(command).map(drop))
    })?;
    let after = filled.store.query(Query::Status).revision;
    ensure!(after == before + COUNTED as i64, "a comparison failed");
    Ok(COUNTED)
}

/// Reads of one key.
pub fn range() -> Result<u64> {
    let filled = Filled::new()?;
    let request = |number: u64| RangeRequest {
        key: key(number),
        ..RangeRequest::default()
    };
    let read = |request| {
        let outcome = filled.store.query(Query::Range(request));
        ensure!(outcome.result.is_ok(), "refused: {outcome:?}");
        Ok(())
    };
    let requests: Vec<RangeRequest> = scattered(COUNTED).map(request).collect();
    measured(|| requests.into_iter().try_for_each(read))?;
    Ok(COUNTED)
}

/// Puts to a key that many watch, each told to all of them; counts what they are told.
pub fn watch() -> Result<u64> {
    let mut filled = Filled::new()?;
    let mut streams = Streams::default();
    for number in 0..WATCHERS {
        let request = WatchRequest {
            key: key(1),
            range_end: Bytes::new(),
            start_revision: 0,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
            fragment: false,
        };
        streams.open(StreamId(number), None);
        streams.create(StreamId(number), 0, request, &filled.store);
    }
    let mut told = |filled: &Filled| {
        streams.advance(&filled.store);
        let mut told = 0;
        for stream in streams.woken() {
            while streams.next(stream, &filled.store, 1 << 20).is_some() {
                told += 1;
            }
        }
        told
    };
    // That they watch.
    ensure!(told(&filled) == WATCHERS, "not all watch");
    let command = put(1).encode();
    let events = measured(|| -> Result<u64> {
        let mut events = 0;
        for _ in 0..WATCHED {
            filled.apply(&command)?;
            events += told(&filled);
        }
        Ok(events)
    })?;
    ensure!(events == WATCHED * WATCHERS, "{events} events were told");
    Ok(events)
}
