//! Reading keys: which, at which revision, in which order, how many.
//! Never changes anything.
//!
//! # Source
//! etcd v3 API, `RangeRequest`; the order of evaluation is etcd's: fetch, filter, sort, cut.

use alloc::vec::Vec;

use crate::index::{End, KeyRange};
use crate::mvcc::Mvcc;
use crate::record::{Parts, Record};
use crate::request::{KvError, RangeRequest, RangeResponse, SortOrder, SortTarget};

/// Answers a range from the present, or the revision it names.
pub(crate) fn range(mvcc: &Mvcc, request: &RangeRequest) -> Result<RangeResponse, KvError> {
    mvcc.tally().ranges.add(1);
    let revision = readable(mvcc, request.revision)?;
    let keys = KeyRange::new(&request.key, &request.range_end);
    if keys.end == End::Single {
        return Ok(single(mvcc, request, revision));
    }
    let count = mvcc.count(keys, revision) as i64;
    if request.count_only {
        return Ok(RangeResponse {
            kvs: Vec::new(),
            more: false,
            count,
        });
    }
    // Only what is neither filtered nor sorted by order may be cut while it is fetched. A target
    // without an order is sorted too, but as in etcd only after the fetch has been cut.
    let is_cut_early = request.sort_order == SortOrder::None && !has_filter(request);
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|&limit| limit > 0);
    let fetch_max = limit
        .filter(|_| is_cut_early)
        .map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut found: Vec<&Record> = mvcc
        .visible(keys, revision)
        .take(fetch_max)
        .filter(|record| passes(request, &record.parts()))
        .collect();
    sort(&mut found, request);
    let more = limit.is_some_and(|limit| found.len() > limit);
    found.truncate(limit.unwrap_or(usize::MAX));
    let kvs = found
        .into_iter()
        .map(|record| record.to_kv(request.keys_only))
        .collect();
    Ok(RangeResponse { kvs, more, count })
}

/// Reads one key, as most reads do: it is searched for once, and no neighbour is looked at.
fn single(mvcc: &Mvcc, request: &RangeRequest, revision: i64) -> RangeResponse {
    let found = mvcc.live_at(&request.key, revision);
    let told = found.filter(|record| !request.count_only && passes(request, &record.parts()));
    RangeResponse {
        kvs: told
            .map(|record| record.to_kv(request.keys_only))
            .into_iter()
            .collect(),
        more: false,
        count: i64::from(found.is_some()),
    }
}

/// The revision a read at `asked` sees.
fn readable(mvcc: &Mvcc, asked: i64) -> Result<i64, KvError> {
    let current = mvcc.read_revision();
    if asked > current {
        // Mark: a read asks for the future.
        return Err(KvError::FutureRevision);
    }
    if asked <= 0 {
        return Ok(current);
    }
    if asked < mvcc.compact_revision() {
        return Err(KvError::Compacted);
    }
    Ok(asked)
}

fn has_filter(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, parts: &Parts<'_>) -> bool {
    request.lets_pass(parts.main, parts.create)
}

impl RangeRequest {
    /// Whether its bounds let a key pass that was last changed, and created, at these revisions.
    pub fn lets_pass(&self, mod_revision: i64, create_revision: i64) -> bool {
        let within = |value: i64, min: i64, max: i64| {
            (min == 0 || value >= min) && (max == 0 || value <= max)
        };
        within(mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(
                create_revision,
                self.min_create_revision,
                self.max_create_revision,
            )
    }
}

/// Sorts what lies in key order. Equals stay in key order, whichever way the sort goes: etcd leaves
/// that open, but members must agree.
fn sort(found: &mut [&Record], request: &RangeRequest) {
    match (request.sort_order, request.sort_target) {
        (SortOrder::None | SortOrder::Ascend | SortOrder::Unknown, SortTarget::Key) => {}
        (SortOrder::Descend, SortTarget::Key) => found.reverse(),
        (SortOrder::Descend, target) => found.sort_by(|a, b| compare(b, a, target)),
        (_, target) => found.sort_by(|a, b| compare(a, b, target)),
    }
}

fn compare(a: &Record, b: &Record, target: SortTarget) -> core::cmp::Ordering {
    let (a, b) = (a.parts(), b.parts());
    match target {
        SortTarget::Key | SortTarget::Unknown => a.key.cmp(b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create.cmp(&b.create),
        SortTarget::Mod => a.main.cmp(&b.main),
        SortTarget::Value => a.value.cmp(b.value),
    }
}
