//! The store as etcd's database file, and back: what `etcdctl snapshot save` gets.
//! Never shows what a compaction has hidden, nor members, which a restore replaces.
//!
//! # Source
//! etcd 3.5: the buckets of `server/mvcc/buckets`, and the snapshot's trailing SHA-256.

pub mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use headwater_kv::Store;
use headwater_kv::auth::Auth;
use headwater_kv::copy::{CopiedLease, CopyRequest, CopyResponse, Import, Version};
use headwater_kv::request::{KvError, Query, Response as KvResponse};
use headwater_runtime::ReadLevel;
use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::bolt::{Database, Items, Plan};
use crate::convert;
use crate::failure::Failure;
use crate::generated::mvccpb;

/// How many versions are gathered before others have their turn.
const VERSIONS_PER_PIECE: usize = 1024;
/// How often a copy is begun because compactions overtake it.
const ATTEMPTS_MAX: usize = 10;

/// The store as of one moment, with what etcd notes beside it.
pub struct Moment {
    /// The revision that is shown.
    pub revision: i64,
    compact_revision: i64,
    /// As they were gathered: joined where nobody waits for it.
    versions: Vec<Vec<Version>>,
    leases: Vec<CopiedLease>,
    auth: Arc<Auth>,
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
                Ok((copy, versions)) => {
                    let voters = backend.config();
                    let voters: BTreeSet<u64> = voters.voters().iter().map(|id| id.0).collect();
                    return Ok(Moment {
                        revision: copy.revision,
                        compact_revision: copy.compact_revision,
                        versions,
                        leases: copy.leases,
                        auth: copy.auth,
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

    /// How etcd would lay it down. That takes as long as there is much: not on the event loop.
    pub fn into_plan(self) -> Plan {
        // As etcd's keys are: by the revision that wrote them.
        let mut versions: Vec<Version> = self.versions.into_iter().flatten().collect();
        versions.sort_unstable_by_key(Version::position);
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
        let empty = ["alarm", "cluster", "members", "members_removed"];
        let empty = empty.map(|name| (name, Box::new(Vec::new()) as Box<dyn Items>));
        let mut buckets = Vec::from(empty);
        let leases = self.leases.iter().map(lease_item).collect::<Vec<_>>();
        let users = users::buckets(&self.auth);
        buckets.extend(users.map(|(name, items)| (name, Box::new(items) as Box<dyn Items>)));
        buckets.push(("key", Box::new(Versions(versions))));
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

/// One moment's leases, and all its versions.
async fn gather(backend: &Backend) -> Result<(CopyResponse, Vec<Vec<Version>>), Failure> {
    let mut first: Option<CopyResponse> = None;
    let mut versions = Vec::new();
    let mut after = None;
    loop {
        let request = CopyRequest {
            after,
            versions_max: VERSIONS_PER_PIECE,
        };
        let outcome = backend
            .query(Query::Copy(request), ReadLevel::Local)
            .await?;
        let mut piece = match outcome.result {
            Ok(KvResponse::Copy(piece)) => piece,
            Ok(_) => return Err(Failure::Internal("the store did not answer with a copy")),
            Err(error) => return Err(Failure::Kv(error)),
        };
        versions.push(std::mem::take(&mut piece.versions));
        after = piece.next.take();
        let first = first.get_or_insert(piece);
        if after.is_none() {
            return Ok((std::mem::take(first), versions));
        }
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
pub fn revision_key(main: i64, sub: i64) -> Vec<u8> {
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

/// A lease as etcd's database has it: key and value.
pub fn lease_item(lease: &CopiedLease) -> (Vec<u8>, Vec<u8>) {
    let stored = StoredLease {
        id: lease.id,
        ttl: lease.ttl,
        remaining_ttl: lease.remaining,
    };
    (lease.id.to_be_bytes().to_vec(), stored.encode_to_vec())
}

const NO_ETCD: &str = "it is a database, but none of etcd's: it has no bucket";

/// The last compaction that a database knows of; -1 if there was none.
///
/// # Errors
/// It is none of etcd's, or damaged.
pub fn compact_revision(database: &Database<'_>) -> Result<i64> {
    let mut compact_revision = -1;
    let has_meta = database.visit("meta", |key, value| {
        // One that was begun but did not end is made up for here.
        if key == b"scheduledCompactRev" || key == b"finishedCompactRev" {
            let (main, _, _) = parse_revision(value)?;
            compact_revision = compact_revision.max(main);
        }
        Ok(())
    })?;
    ensure!(has_meta, "{NO_ETCD} meta");
    Ok(compact_revision)
}

/// The leases of a database, by id.
///
/// # Errors
/// It is damaged.
pub fn leases(database: &Database<'_>) -> Result<Vec<CopiedLease>> {
    let mut leases = Vec::new();
    database.visit("lease", |_, value| {
        let lease = StoredLease::decode(value).context("a broken lease")?;
        leases.push(CopiedLease {
            id: lease.id,
            ttl: lease.ttl,
            remaining: lease.remaining_ttl,
        });
        Ok(())
    })?;
    leases.sort_by_key(|lease| lease.id);
    Ok(leases)
}

/// What such a file holds.
pub struct Snapshot {
    /// The last revision.
    pub revision: i64,
    /// The last compaction; -1 if there was none.
    pub compact_revision: i64,
    /// How many versions of keys there are, ends of keys among them.
    pub versions: usize,
    /// The leases, by id.
    pub leases: Vec<CopiedLease>,
    /// Users, roles, and whether requests need rights.
    pub auth: Auth,
    import: Import,
}

/// Takes the checksum off a snapshot's end, and checks it. The one that the database has.
///
/// # Errors
/// It has none, and `skip` is not set; or it is another one.
pub fn check(bytes: &mut Vec<u8>, skip: bool) -> Result<Vec<u8>> {
    ensure!(!bytes.is_empty(), "it is empty");
    let sum_bytes = <Sha256 as Digest>::output_size();
    let database_bytes = match bytes.len() % 512 {
        rest if rest == sum_bytes => bytes.len() - sum_bytes,
        0 if skip => bytes.len(),
        0 => bail!(
            "it has no checksum at its end, as a copy of an etcd's database file has none; \
             --skip-hash-check takes it nevertheless"
        ),
        _ => bail!("it is no snapshot, or its end is missing"),
    };
    let written = bytes.split_off(database_bytes);
    let sum = Sha256::digest(&bytes[..]).to_vec();
    ensure!(
        skip || written == sum,
        "its checksum is another: it is damaged"
    );
    Ok(sum)
}

impl Snapshot {
    /// Reads a database.
    ///
    /// # Errors
    /// It is none of etcd's, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_telling(bytes, |_, _| {})
    }

    /// The same, and tells how many versions of keys it has read, of how many.
    ///
    /// # Errors
    /// It is none of etcd's, or damaged.
    pub fn read_telling(bytes: &[u8], mut tell: impl FnMut(usize, usize)) -> Result<Self> {
        let database = Database::open(bytes)?;
        let compact_revision = compact_revision(&database)?;
        let leases = leases(&database)?;
        let auth = users::read(&database)?;
        let (mut last, mut expected) = (1, 0);
        let has_keys = database.visit("key", |key, _| {
            last = parse_revision(key)?.0;
            expected += 1;
            Ok(())
        })?;
        ensure!(has_keys, "{NO_ETCD} key");
        let revision = last.max(compact_revision);
        let mut import = Import::new(revision, compact_revision);
        let mut versions = 0;
        database.visit("key", |key, value| {
            versions += 1;
            tell(versions, expected);
            match is_mark(value) {
                true => Ok(()),
                false => take(&mut import, key, value),
            }
        })?;
        Ok(Self {
            revision,
            compact_revision,
            versions,
            leases,
            auth,
            import,
        })
    }

    /// The store that it is a snapshot of, and how many keys had leases that are not there.
    ///
    /// # Errors
    /// Its parts do not fit together.
    pub fn into_store(self) -> Result<(Store, usize)> {
        let store = self.import.finish(&self.leases);
        let (mut store, orphans) = store.map_err(|why| anyhow::anyhow!("it is damaged: {why}"))?;
        store.restore_auth(self.auth);
        Ok((store, orphans))
    }
}

fn take(import: &mut Import, key: &[u8], value: &[u8]) -> Result<()> {
    let (main, sub, is_tombstone) = parse_revision(key)?;
    let kv = mvccpb::KeyValue::decode(value).with_context(|| format!("revision {main}"))?;
    let kv = convert::stored_key_value(kv);
    let content = (!is_tombstone).then_some(&kv);
    let taken = import.take((main, sub), &kv.key, content);
    taken.map_err(|why| anyhow::anyhow!("revision {main}: {why}"))
}

/// Whether it is no key's version, but only marks how far revisions have come: etcd's restore can raise
/// them, so that no client sees one twice, and counts all up to the mark as compacted.
pub fn is_mark(value: &[u8]) -> bool {
    value.is_empty()
}

/// A revision and the number of the change within it, as [`revision_key`] writes them, and whether it is
/// that of a deletion.
///
/// # Errors
/// It is none.
pub fn parse_revision(key: &[u8]) -> Result<(i64, u32, bool)> {
    let wrong = || format!("{} is no revision", key.escape_ascii());
    let (main, rest) = key.split_first_chunk().with_context(wrong)?;
    let (between, rest) = rest.split_first().with_context(wrong)?;
    let (sub, rest) = rest.split_first_chunk().with_context(wrong)?;
    ensure!(
        *between == b'_' && [&b""[..], b"t"].contains(&rest),
        wrong()
    );
    let sub = u32::try_from(i64::from_be_bytes(*sub)).with_context(wrong)?;
    Ok((i64::from_be_bytes(*main), sub, rest == b"t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_byte_is_told_to_be_empty() {
        for skip in [false, true] {
            let error = check(&mut Vec::new(), skip).unwrap_err();
            assert_eq!(error.to_string(), "it is empty");
        }
    }
}
