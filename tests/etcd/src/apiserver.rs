//! What the API server of Kubernetes does with an etcd, and nothing else of it: objects that are created once,
//! updated and deleted by revision and listed in pages; the past compacted by one of several servers; leases
//! that many events share.
//! Knows no object but as a key and a text, and never tries again what may have happened: its clients do.
//!
//! Every answer is held against all that were given before it was asked for: no revision goes back.
//!
//! # Source
//! What Kubernetes documents of its `storage/etcd3`: store, lease manager, compaction.

use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, KeyValue, PutOptions};
use etcd_client::{ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where the servers agree on who compacts.
const COMPACTION_KEY: &str = "compact_rev_key";

/// How many events share a lease.
pub const KEYS_PER_LEASE: usize = 1_000;

/// An object as it was at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// What it says.
    pub value: String,
    /// The revision that wrote it: its resource version.
    pub version: i64,
}

impl Object {
    /// The object that a key with its value is.
    pub fn of(kv: &KeyValue) -> Object {
        Object {
            key: kv.key_str().expect("our keys are text").to_string(),
            value: kv.value_str().expect("our values are text").to_string(),
            version: kv.mod_revision(),
        }
    }
}

/// Why a request did nothing, or may have done nothing.
#[derive(Debug)]
pub enum Refusal {
    /// An object of that key is there.
    Exists,
    /// None is.
    Missing,
    /// It is not the one that was meant.
    Changed(Object),
    /// The revision that was asked for is compacted away.
    Expired,
    /// Whatever else the server or the way to it says; what was asked for may have happened.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let is_compacted = error.to_string().contains("has been compacted");
        if is_compacted {
            Refusal::Expired
        } else {
            Refusal::Failed(error)
        }
    }
}

/// The newest revision in any answer that all storages of a test have had.
pub type Floor = Rc<Cell<i64>>;

/// Where a list goes on.
#[derive(Clone, Debug)]
pub struct Continue {
    key: Vec<u8>,
    version: i64,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, by key.
    pub objects: Vec<Object>,
    /// The revision of the list.
    pub version: i64,
    /// How many objects follow.
    pub remaining: i64,
    /// Where they begin, if there are any.
    pub next: Option<Continue>,
}

/// One server's way to its objects.
pub struct Storage {
    client: Client,
    floor: Floor,
    lease: Option<SharedLease>,
}

/// The lease that the next events get.
struct SharedLease {
    id: i64,
    granted: Instant,
    keys: usize,
}

impl Storage {
    /// Through that client.
    pub fn new(client: Client, floor: Floor) -> Storage {
        Storage {
            client,
            floor,
            lease: None,
        }
    }

    /// Makes an object that is not there.
    ///
    /// # Errors
    /// `Exists`, or `Failed`.
    pub async fn create(&mut self, key: &str, value: &str) -> Result<i64, Refusal> {
        self.create_with(key, value, 0).await
    }

    /// Makes an object that goes when `ttl` has passed; about then, for it shares a lease that is no
    /// older than a tenth of that.
    ///
    /// # Errors
    /// `Exists`, or `Failed`.
    pub async fn create_event(
        &mut self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> Result<i64, Refusal> {
        let lease = self.lease(ttl).await?;
        self.create_with(key, value, lease).await
    }

    /// The lease for the next event.
    async fn lease(&mut self, ttl: Duration) -> Result<i64, Refusal> {
        if let Some(lease) = &mut self.lease
            && lease.keys < KEYS_PER_LEASE
            && lease.granted.elapsed() < ttl / 10
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = i64::try_from((ttl + ttl / 10).as_secs()).expect("a time to live");
        let granted = Instant::now();
        let id = self.client.lease_grant(seconds, None).await?.id();
        self.lease = Some(SharedLease {
            id,
            granted,
            keys: 1,
        });
        Ok(id)
    }

    async fn create_with(&mut self, key: &str, value: &str, lease: i64) -> Result<i64, Refusal> {
        let options = PutOptions::new().with_lease(lease);
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, value, Some(options))])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.txn(txn).await?;
        if answer.succeeded() {
            Ok(revision(answer.header()))
        } else {
            assert!(
                found(&answer).is_some(),
                "{key} is there and cannot be read"
            );
            Err(Refusal::Exists)
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn get(&mut self, key: &str) -> Result<Option<Object>, Refusal> {
        let floor = self.floor.get();
        let answer = self.client.get(key, None).await?;
        self.raise(floor, revision(answer.header()));
        Ok(answer.kvs().first().map(Object::of))
    }

    /// Changes an object until the change meets the object that it was made for. `known` may be out of date:
    /// a refusal brings the newest.
    ///
    /// # Errors
    /// `Missing`, or `Failed`.
    pub async fn update(
        &mut self,
        key: &str,
        known: Option<Object>,
        change: impl Fn(&str) -> String,
    ) -> Result<Object, Refusal> {
        let mut current = match known {
            Some(object) => object,
            None => self.get(key).await?.ok_or(Refusal::Missing)?,
        };
        loop {
            let value = change(&current.value);
            let txn = Txn::new()
                .when([is_still(&current)])
                .and_then([TxnOp::put(key, value.clone(), None)])
                .or_else([TxnOp::get(key, None)]);
            let answer = self.txn(txn).await?;
            if answer.succeeded() {
                let version = revision(answer.header());
                return Ok(Object {
                    key: key.to_string(),
                    value,
                    version,
                });
            }
            current = found(&answer).ok_or(Refusal::Missing)?;
        }
    }

    /// Deletes the very object that is known.
    ///
    /// # Errors
    /// `Changed` if another has its place, `Missing`, or `Failed`.
    pub async fn delete(&mut self, known: &Object) -> Result<i64, Refusal> {
        let txn = Txn::new()
            .when([is_still(known)])
            .and_then([
                TxnOp::get(known.key.clone(), None),
                TxnOp::delete(known.key.clone(), None),
            ])
            .or_else([TxnOp::get(known.key.clone(), None)]);
        let answer = self.txn(txn).await?;
        let met = found(&answer);
        if answer.succeeded() {
            assert_eq!(met.as_ref(), Some(known), "it is not what was deleted");
            return Ok(revision(answer.header()));
        }
        Err(met.map_or(Refusal::Missing, Refusal::Changed))
    }

    /// A page of at most `limit` objects, or all of them for zero; the first one, or the one that follows.
    ///
    /// # Errors
    /// `Expired` if the revision of the first page is compacted away, or `Failed`.
    pub async fn list(
        &mut self,
        prefix: &str,
        limit: i64,
        from: Option<&Continue>,
    ) -> Result<Page, Refusal> {
        let floor = self.floor.get();
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_limit(limit)
            .with_revision(from.map_or(0, |from| from.version));
        let begin = from.map_or(prefix.as_bytes().to_vec(), |from| from.key.clone());
        let answer = self.client.get(begin, Some(options)).await?;
        self.raise(floor, revision(answer.header()));
        let version = from.map_or(revision(answer.header()), |from| from.version);
        let objects: Vec<Object> = answer.kvs().iter().map(Object::of).collect();
        let told = i64::try_from(objects.len()).expect("it fits");
        let next = answer.more().then(|| {
            let last = objects
                .last()
                .expect("a page that is not the last holds something");
            let key = [last.key.as_bytes(), b"\0"].concat();
            Continue { key, version }
        });
        let remaining = answer.count() - told;
        assert_eq!(next.is_some(), remaining > 0, "there is more, or not");
        Ok(Page {
            objects,
            version,
            remaining,
            next,
        })
    }

    /// A whole list, in pages of one revision.
    ///
    /// # Errors
    /// `Expired` if that is compacted away meanwhile, or `Failed`.
    pub async fn pages(&mut self, prefix: &str, limit: i64) -> Result<Vec<Page>, Refusal> {
        let mut pages = vec![self.list(prefix, limit, None).await?];
        while let Some(next) = pages.last().and_then(|page| page.next.clone()) {
            pages.push(self.list(prefix, limit, Some(&next)).await?);
        }
        Ok(pages)
    }

    /// How many objects there are.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn count(&mut self, prefix: &str) -> Result<i64, Refusal> {
        let floor = self.floor.get();
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_count_only();
        let answer = self.client.get(prefix, Some(options)).await?;
        self.raise(floor, revision(answer.header()));
        assert!(answer.kvs().is_empty(), "a count brings no keys");
        Ok(answer.count())
    }

    /// The revision of the newest state, for the price of a read without a key.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn newest(&mut self, prefix: &str) -> Result<i64, Refusal> {
        let floor = self.floor.get();
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_limit(1)
            .with_keys_only();
        let answer = self.client.get(prefix, Some(options)).await?;
        self.raise(floor, revision(answer.header()));
        Ok(revision(answer.header()))
    }

    async fn txn(&mut self, txn: Txn) -> Result<TxnResponse, Refusal> {
        let floor = self.floor.get();
        let answer = self.client.txn(txn).await?;
        self.raise(floor, revision(answer.header()));
        Ok(answer)
    }

    fn raise(&self, floor: i64, revision: i64) {
        assert!(revision >= floor, "revision {revision} after {floor}");
        self.floor.set(self.floor.get().max(revision));
    }
}

/// One server's part in compaction: of those that want to at a time one does.
#[derive(Debug, Default)]
pub struct Compactor {
    /// How often the key was written, as far as is known.
    version: i64,
    /// What was the newest revision the last time, which is what goes this time.
    before: i64,
}

impl Compactor {
    /// Compacts up to what was the newest revision a turn ago, unless another server had this turn.
    /// The revision that was compacted, if it was done here.
    ///
    /// # Errors
    /// `Failed`, and `Expired` if more is compacted already.
    pub async fn turn(&mut self, storage: &mut Storage) -> Result<Option<i64>, Refusal> {
        let txn = Txn::new()
            .when([Compare::version(
                COMPACTION_KEY,
                CompareOp::Equal,
                self.version,
            )])
            .and_then([TxnOp::put(COMPACTION_KEY, self.before.to_string(), None)])
            .or_else([TxnOp::get(COMPACTION_KEY, None)]);
        let answer = storage.txn(txn).await?;
        let newest = revision(answer.header());
        let before = std::mem::replace(&mut self.before, newest);
        if !answer.succeeded() {
            self.version = key_values(&answer).first().map_or(0, |kv| kv.version());
            return Ok(None);
        }
        self.version += 1;
        if before == 0 {
            return Ok(None);
        }
        storage.client.compact(before, None).await?;
        Ok(Some(before))
    }
}

/// The objects of all pages.
pub fn objects(pages: &[Page]) -> Vec<Object> {
    let objects = pages.iter().flat_map(|page| page.objects.clone());
    objects.collect()
}

/// The end of the keys with a prefix, which is not empty and does not end with the last byte there is.
pub fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    end
}

fn is_still(object: &Object) -> Compare {
    Compare::mod_revision(object.key.clone(), CompareOp::Equal, object.version)
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.expect("an answer with a header").revision()
}

fn key_values(answer: &TxnResponse) -> Vec<KeyValue> {
    let responses = answer.op_responses().into_iter();
    let found = responses.filter_map(|response| match response {
        TxnOpResponse::Get(found) => Some(found.kvs().to_vec()),
        _ => None,
    });
    found.flatten().collect()
}

/// What a transaction has read.
fn found(answer: &TxnResponse) -> Option<Object> {
    key_values(answer).first().map(Object::of)
}
