//! Queues in the store: who has put a key under a name first is at its head, and the next follows
//! when that key goes. Locks and elections stand on them.
//! Never keeps anything outside the store: a place lasts as long as its lease.
//!
//! # Source
//! etcd's clientv3, package `concurrency`, whose keys these are, so that its clients can stand in
//! the same queues; Burrows, "The Chubby lock service", OSDI'06 (no herd when a lock is released).

use std::sync::Arc;

use bytes::Bytes;
use headwater_kv::check::check;
use headwater_kv::request::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest,
    Query, RangeRequest, RequestOp, Response, ResponseOp, SortOrder, SortTarget, TxnRequest,
};
use headwater_kv::stream::Word;
use headwater_kv::watch::{Event, EventKind, WatchRequest};
use headwater_runtime::ReadLevel;

use crate::client::Client;
use crate::company::Wish;
use crate::desk::Watching;
use crate::failure::Failure;

/// A queue, by the beginning of its keys.
#[derive(Clone, Debug)]
pub struct Queue {
    prefix: Bytes,
    end: Bytes,
}

/// A place in a queue.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its key.
    pub key: Bytes,
    /// The revision that made it, by which places follow each other.
    pub revision: i64,
    /// The lease that it lasts with.
    pub lease: i64,
}

/// How a place was taken.
pub struct Taken {
    /// The place.
    pub place: Place,
    /// The store's revision then.
    pub at: i64,
    /// The key as it was, if the lease had the place already.
    pub before: Option<KeyValue>,
    /// Gives the place up, unless it is kept.
    pub hold: Hold,
}

impl Queue {
    /// The queue of a name.
    pub fn new(name: &[u8]) -> Self {
        Self {
            prefix: [name, b"/"].concat().into(),
            // The byte after the slash.
            end: [name, b"0"].concat().into(),
        }
    }

    /// Takes the place of a lease, unless it has it already. If nobody waits for that any more, it
    /// is given up again.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn take(&self, client: &Client, lease: i64, value: Bytes) -> Result<Taken, Failure> {
        let (queue, client) = (self.clone(), client.clone());
        let taking = async move { queue.take_in_any_case(client, lease, value).await };
        let taken = tokio::spawn(taking).await;
        taken.unwrap_or(Err(Failure::Internal("a request broke off")))
    }

    async fn take_in_any_case(
        self,
        client: Client,
        lease: i64,
        value: Bytes,
    ) -> Result<Taken, Failure> {
        let sign = if lease < 0 { "-" } else { "" };
        let name = format!("{sign}{:x}", lease.unsigned_abs());
        let key = Bytes::from([&self.prefix[..], name.as_bytes()].concat());
        let put = PutRequest {
            key: key.clone(),
            value,
            lease,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![RequestOp::Put(put)],
            failure: vec![RequestOp::Range(one(&key))],
        };
        let (at, mut responses) = decide(&client, txn).await?.1;
        let before = match responses.pop() {
            Some(ResponseOp::Range(range)) => range.kvs.into_iter().next(),
            Some(ResponseOp::Put(_)) => None,
            _ => return Err(Failure::MISMATCH),
        };
        let revision = before.as_ref().map_or(at, |kv| kv.create_revision);
        let place = Place {
            key,
            revision,
            lease,
        };
        // A place that was there before is not this caller's to give up.
        let own = before.is_none().then(|| place.clone());
        Ok(Taken {
            place,
            at,
            before,
            hold: Hold { client, place: own },
        })
    }

    /// Waits until nobody stands before a place.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn wait(&self, client: &Client, place: &Place) -> Result<(), Failure> {
        loop {
            let before = RangeRequest {
                max_create_revision: place.revision - 1,
                ..self.by_creation(SortOrder::Descend)
            };
            let (revision, before) = first(client, before).await?;
            let Some(before) = before else {
                return Ok(());
            };
            let watched = Watched::key(client, &before.key, revision + 1).await?;
            while let Some(events) = watched.next().await? {
                if events.iter().any(|event| event.kind == EventKind::Delete) {
                    break;
                }
            }
        }
    }

    /// Who is at the head, and the store's revision.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn head(&self, client: &Client) -> Result<(i64, Option<KeyValue>), Failure> {
        first(client, self.by_creation(SortOrder::Ascend)).await
    }

    /// Watches all its places.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn watch(&self, client: &Client, from: i64) -> Result<Watched, Failure> {
        Watched::range(client, &self.prefix, &self.end, from).await
    }

    fn by_creation(&self, sort_order: SortOrder) -> RangeRequest {
        RangeRequest {
            key: self.prefix.clone(),
            range_end: self.end.clone(),
            limit: 1,
            sort_order,
            sort_target: SortTarget::Create,
            ..RangeRequest::default()
        }
    }
}

impl Place {
    /// Shows another value at the place; false if it is lost. With it the store's revision.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn show(&self, client: &Client, value: Bytes) -> Result<(bool, i64), Failure> {
        let put = RequestOp::Put(PutRequest {
            key: self.key.clone(),
            value,
            lease: self.lease,
            ..PutRequest::default()
        });
        self.if_there(client, put).await
    }

    /// Gives the place up, if it is not lost already; the store's revision.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn leave(&self, client: &Client) -> Result<i64, Failure> {
        let delete = RequestOp::DeleteRange(DeleteRangeRequest {
            key: self.key.clone(),
            ..DeleteRangeRequest::default()
        });
        Ok(self.if_there(client, delete).await?.1)
    }

    /// Whether it is still there, and the store's revision.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn is_there(&self, client: &Client) -> Result<(bool, i64), Failure> {
        let (revision, kv) = first(client, one(&self.key)).await?;
        Ok((kv.is_some(), revision))
    }

    async fn if_there(&self, client: &Client, op: RequestOp) -> Result<(bool, i64), Failure> {
        let txn = TxnRequest {
            compare: vec![created_at(&self.key, self.revision)],
            success: vec![op],
            failure: Vec::new(),
        };
        let (is_there, (revision, _)) = decide(client, txn).await?;
        Ok((is_there, revision))
    }
}

/// A place that is given up when nobody waits for it any more.
pub struct Hold {
    client: Client,
    place: Option<Place>,
}

impl Hold {
    /// Lets the place be.
    pub fn keep(mut self) {
        self.place = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let client = self.client.clone();
            // If it comes to nothing, the place goes with its lease.
            tokio::spawn(async move { drop(place.leave(&client).await) });
        }
    }
}

/// Some keys under watch.
pub struct Watched(Watching);

impl Watched {
    /// A key, from a revision on.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn key(client: &Client, key: &Bytes, from: i64) -> Result<Self, Failure> {
        Self::range(client, key, &Bytes::new(), from).await
    }

    async fn range(
        client: &Client,
        key: &Bytes,
        range_end: &Bytes,
        start_revision: i64,
    ) -> Result<Self, Failure> {
        let request = WatchRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            start_revision,
            ..WatchRequest::default()
        };
        let watching = client.watching(None);
        watching.wish(Wish::Create(0, request)).await?;
        Ok(Self(watching))
    }

    /// The next events; none if they are compacted away, or nothing can be watched.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn next(&self) -> Result<Option<Arc<[Event]>>, Failure> {
        loop {
            let told = self.0.next().await.map_err(|_| Failure::Stopped)?;
            match told.said.word {
                Word::Events { events, .. } => return Ok(Some(events)),
                Word::Created | Word::Progress => {}
                Word::Refused(_) | Word::Canceled | Word::Denied | Word::Compacted(_) => {
                    return Ok(None);
                }
            }
        }
    }
}

fn one(key: &Bytes) -> RangeRequest {
    RangeRequest {
        key: key.clone(),
        ..RangeRequest::default()
    }
}

/// That a key was created at a revision; at zero: that there is none.
fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
        key: key.clone(),
        range_end: Bytes::new(),
    }
}

/// The store's revision and the first key that a range has.
async fn first(client: &Client, range: RangeRequest) -> Result<(i64, Option<KeyValue>), Failure> {
    let outcome = client
        .query(Query::Range(range), ReadLevel::Linearizable)
        .await?;
    match outcome.result.map_err(Failure::Kv)? {
        Response::Range(range) => Ok((outcome.revision, range.kvs.into_iter().next())),
        _ => Err(Failure::MISMATCH),
    }
}

/// Whether a transaction's condition held; the store's revision and the answers.
async fn decide(
    client: &Client,
    txn: TxnRequest,
) -> Result<(bool, (i64, Vec<ResponseOp>)), Failure> {
    let command = Command::Txn(txn);
    check(&command, usize::MAX).map_err(Failure::Kv)?;
    let outcome = client.propose(&command).await?;
    match outcome.result.map_err(Failure::Kv)? {
        Response::Txn(txn) => Ok((txn.succeeded, (outcome.revision, txn.responses))),
        _ => Err(Failure::MISMATCH),
    }
}
