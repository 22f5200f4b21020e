//! The store as etcd's database file: what `etcdctl snapshot save` gets, and what it takes in again.
//! Never shows what a compaction has hidden; shows neither members nor users, which a restore replaces
//! or which are not there.
//!
//! # Source
//! etcd 3.5: the buckets of `server/mvcc/buckets`, and the snapshot's trailing SHA-256.

use std::collections::BTreeSet;

use headwater_kv::copy::{CopiedLease, CopyRequest, CopyResponse, Version};
use headwater_kv::request::{KvError, Query, Response as KvResponse};
use headwater_runtime::ReadLevel;
use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::bolt::{Items, Plan};
use crate::convert;
use crate::failure::Failure;
use crate::generated::mvccpb;

/// How many versions are gathered before others have their turn.
const VERSIONS_PER_PIECE: usize = 4096;
/// How often a copy is begun because compactions overtake it.
const ATTEMPTS_MAX: usize = 10;

/// The store as of one moment, with what etcd notes beside it.
pub struct Moment {
    /// The revision that is shown.
    pub revision: i64,
    compact_revision: i64,
    versions: Vec<Version>,
    leases: Vec<CopiedLease>,
    index: u64,
    term: u64,
    voters: Vec<u64>,
}

impl Moment {
    /// Gathers what this member has applied. It shares the store's memory, and keeps it.
    ///
    /// # Errors
    /// See [`Failure`]; compactions overtake it again and again.
    pub async fn of(backend: &Backend) -> Result<Moment, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let status = backend.status();
            match gather(backend).await {
                Ok(copy) => {
                    let mut versions = copy.versions;
                    // As etcd's keys are: by the revision that wrote them.
                    versions.sort_unstable_by_key(Version::position);
                    let voters = backend.config();
                    let voters: BTreeSet<u64> = voters.voters().iter().map(|id| id.0).collect();
                    return Ok(Moment {
                        revision: copy.revision,
                        compact_revision: copy.compact_revision,
                        versions,
                        leases: copy.leases,
                        index: status.applied.0,
                        term: status.term.0,
                        voters: voters.into_iter().collect(),
                    });
                }
                Err(Failure::Kv(KvError::Compacted)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Busy)
    }

    /// How etcd would lay it down.
    pub fn into_plan(self) -> Plan {
        let mut meta = vec![
            (
                b"confState".to_vec(),
                json!({ "voters": self.voters, "auto_leave": false })
                    .to_string()
                    .into_bytes(),
            ),
            (
                b"consistent_index".to_vec(),
                self.index.to_be_bytes().to_vec(),
            ),
        ];
        if self.compact_revision > 0 {
            let key = revision_key(self.compact_revision, 0);
            meta.push((b"finishedCompactRev".to_vec(), key.clone()));
            meta.push((b"scheduledCompactRev".to_vec(), key));
        }
        meta.push((b"term".to_vec(), self.term.to_be_bytes().to_vec()));
        let empty = [
            "alarm",
            "auth",
            "authRoles",
            "authUsers",
            "cluster",
            "members",
            "members_removed",
        ];
        let empty = empty.map(|name| (name, Box::new(Vec::new()) as Box<dyn Items>));
        let mut buckets = Vec::from(empty);
        let leases = self.leases.iter().map(lease_item).collect::<Vec<_>>();
        buckets.push(("key", Box::new(Versions(self.versions))));
        buckets.push(("lease", Box::new(leases)));
        buckets.push(("meta", Box::new(meta)));
        Plan::new(buckets)
    }
}

/// The snapshot's bytes, piece by piece, with what is left after each: the database, then its SHA-256,
/// by which a restore knows that it has all.
pub fn pieces(plan: Plan) -> impl Iterator<Item = (Vec<u8>, u64)> {
    let mut left_bytes = plan.bytes() + <Sha256 as Digest>::output_size() as u64;
    let mut pieces = plan.into_pieces();
    let mut sum = Some(Sha256::new());
    std::iter::from_fn(move || {
        let piece = match pieces.next() {
            Some(piece) => {
                sum.as_mut()?.update(&piece);
                piece
            }
            None => sum.take()?.finalize().to_vec(),
        };
        left_bytes -= piece.len() as u64;
        Some((piece, left_bytes))
    })
}

/// All versions and leases of one moment.
async fn gather(backend: &Backend) -> Result<CopyResponse, Failure> {
    let mut all: Option<CopyResponse> = None;
    loop {
        let request = CopyRequest {
            after: all.as_mut().and_then(|all| all.next.take()),
            versions_max: VERSIONS_PER_PIECE,
        };
        let outcome = backend
            .query(Query::Copy(request), ReadLevel::Local)
            .await?;
        let piece = match outcome.result {
            Ok(KvResponse::Copy(piece)) => piece,
            Ok(_) => return Err(Failure::Internal("the store did not answer with a copy")),
            Err(error) => return Err(Failure::Kv(error)),
        };
        let all = match &mut all {
            None => all.insert(piece),
            Some(all) => {
                all.versions.extend(piece.versions);
                all.next = piece.next;
                all
            }
        };
        if all.next.is_none() {
            return Ok(std::mem::replace(all, empty()));
        }
    }
}

fn empty() -> CopyResponse {
    CopyResponse {
        revision: 0,
        compact_revision: 0,
        versions: Vec::new(),
        leases: Vec::new(),
        next: None,
    }
}

/// The bucket of keys.
struct Versions(Vec<Version>);

impl Items for Versions {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn item(&self, at: usize) -> (Vec<u8>, Vec<u8>) {
        let version = &self.0[at];
        let (main, sub) = version.position();
        let mut key = revision_key(main, sub.into());
        let mut kv = convert::key_value(version.to_kv());
        if version.is_tombstone() {
            key.push(b't');
            kv = mvccpb::KeyValue {
                key: kv.key,
                ..mvccpb::KeyValue::default()
            };
        }
        (key, kv.encode_to_vec())
    }
}

/// A revision as etcd's key of it.
fn revision_key(main: i64, sub: i64) -> Vec<u8> {
    let mut key = main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend_from_slice(&sub.to_be_bytes());
    key
}

/// `leasepb.Lease`.
#[derive(Clone, PartialEq, Eq, Message)]
struct StoredLease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(int64, tag = "3")]
    remaining_ttl: i64,
}

fn lease_item(lease: &CopiedLease) -> (Vec<u8>, Vec<u8>) {
    let stored = StoredLease {
        id: lease.id,
        ttl: lease.ttl,
        remaining_ttl: lease.remaining,
    };
    (lease.id.to_be_bytes().to_vec(), stored.encode_to_vec())
}
