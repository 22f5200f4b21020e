//! Dice, a generator of requests and a naive store, shared by the tests.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "these are tests, only shared by several of them"
)]

pub mod etcd;
pub mod generator;
pub mod model;
pub mod script;
pub mod watching;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, DeleteRangeRequest, HashRequest, HashResponse, KvError, LeaseTimeToLiveRequest,
    Outcome, PutRequest, Query, RangeRequest, Response, StoreStatus,
};
use headwater_replica::LogId;
use headwater_replica::machine::StateMachine;

/// SplitMix64 (Steele, Lea, Flood, 2014).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `of` throws.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put_of(key: &str, value: &str) -> Command {
    Command::Put(PutRequest {
        key: b(key),
        value: b(value),
        ..Default::default()
    })
}

pub fn delete_of(key: &str, range_end: &str) -> Command {
    let (key, range_end) = (b(key), b(range_end));
    Command::DeleteRange(DeleteRangeRequest {
        key,
        range_end,
        prev_kv: false,
    })
}

pub fn range_of(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: b(key),
        range_end: b(range_end),
        ..Default::default()
    }
}

/// Applies a command; after a compaction that is to be physical, the store tidies up to the end.
pub fn apply(store: &mut Store, command: &Command) -> Outcome {
    let outcome = store.apply(LogId::default(), &command.encode());
    while matches!(command, Command::Compact(request) if request.physical) && store.tidy() {}
    outcome
}

/// A command in an entry of a leader.
pub fn apply_at(term: u64, index: u64, store: &mut Store, command: &Command) -> Outcome {
    let mut at = LogId::default();
    (at.term.0, at.index.0) = (term, index);
    store.apply(at, &command.encode())
}

pub fn status(store: &Store) -> StoreStatus {
    match store.query(Query::Status).result {
        Ok(Response::Status(status)) => status,
        other => panic!("a status is always given: {other:?}"),
    }
}

/// One piece of a hash.
pub fn hash_piece(store: &Store, request: HashRequest) -> Result<HashResponse, KvError> {
    match store.query(Query::Hash(request)).result {
        Ok(Response::Hash(response)) => Ok(response),
        Ok(other) => panic!("no hash: {other:?}"),
        Err(error) => Err(error),
    }
}

/// The hash of all versions up to `revision`, its revision and the compacted one.
pub fn hash(store: &Store, revision: i64, piece_bytes: usize) -> Result<(u32, i64, i64), KvError> {
    let mut request = HashRequest {
        revision,
        so_far: None,
        piece_bytes,
        with_auth: false,
    };
    loop {
        match hash_piece(store, request.clone())? {
            HashResponse::Part(part) => request.so_far = Some(part),
            HashResponse::Whole {
                hash,
                revision,
                compact_revision,
            } => return Ok((hash, revision, compact_revision)),
        }
    }
}

/// A copy of the store by way of a snapshot.
pub fn reload(store: &mut Store, chunk_bytes: usize) -> Store {
    load(&chunks(store, chunk_bytes)).expect("a snapshot just written")
}

/// Panics unless both stores answer every read at every revision alike.
pub fn assert_equal_reads(left: &Store, right: &Store, context: &str) {
    assert_eq!(status(left), status(right), "{context}");
    let members = Query::Members;
    assert_eq!(
        left.query(members.clone()),
        right.query(members),
        "{context}"
    );
    assert_equal_leases(left, right, context);
    let all = range_of("\0", "\0");
    for revision in 0..=status(left).revision + 1 {
        let (whole, pieces) = (hash(left, revision, usize::MAX), hash(right, revision, 100));
        assert_eq!(whole, pieces, "{context}, hash at revision {revision}");
        for count_only in [false, true] {
            let query = Query::Range(RangeRequest {
                revision,
                count_only,
                ..all.clone()
            });
            let (left, right) = (left.query(query.clone()), right.query(query));
            assert_eq!(left, right, "{context}, revision {revision}");
        }
    }
}

/// Panics unless both stores have the same leases with the same keys.
fn assert_equal_leases(left: &Store, right: &Store, context: &str) {
    let leases = |store: &Store| {
        let Ok(Response::LeaseLeases(ids)) = store.query(Query::LeaseLeases).result else {
            panic!("leases are always told");
        };
        let request = |id| LeaseTimeToLiveRequest { id, keys: true };
        let ask = |id| store.query(Query::LeaseTimeToLive(request(id)));
        ids.into_iter().map(ask).collect::<Vec<_>>()
    };
    assert_eq!(leases(left), leases(right), "{context}");
}

/// A snapshot of the store.
pub fn chunks(store: &mut Store, chunk_bytes: usize) -> Vec<Bytes> {
    let mut walk = store.begin_snapshot();
    std::iter::from_fn(|| store.next_chunk(&mut walk, chunk_bytes)).collect()
}

/// The store that a snapshot makes; or what is wrong with it.
pub fn load<'a>(chunks: impl IntoIterator<Item = &'a Bytes>) -> Result<Store, String> {
    let mut store = Store::default();
    for chunk in chunks {
        store
            .load_chunk(chunk.clone())
            .map_err(|malformed| malformed.0)?;
    }
    store.finish_load().map_err(|malformed| malformed.0)?;
    Ok(store)
}

/// A snapshot that lacks a chunk or has it twice is refused, whichever it is.
pub fn assert_every_chunk_counts(whole: &[Bytes]) {
    for at in 0..whole.len() {
        let mut chunks = whole.to_vec();
        chunks.remove(at);
        assert!(load(&chunks).is_err(), "without chunk {at}");
        let mut chunks = whole.to_vec();
        chunks.insert(at, whole[at].clone());
        assert!(load(&chunks).is_err(), "with chunk {at} twice");
    }
}
