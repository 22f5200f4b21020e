//! What is refused by looking at the request alone, before it costs a place in the log.
//! Never looks at the store.
//!
//! # Source
//! etcd v3 API: the checks of its `KV` service, in its order: the number of operations, the keys of
//! the comparisons, each operation of success then failure, and last the rule that one branch does
//! not put a key twice nor put and delete it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::index::{End, KeyRange, up_to};
use crate::lease;
use crate::members;
use crate::request::{
    Command, DeleteRangeRequest, KvError, PutRequest, Query, RangeRequest, RequestOp, SortOrder,
    SortTarget, TxnRequest,
};

/// How many transactions may stand one within another, the outermost included.
///
/// etcd's limit on operations bounds it to one more than that limit, 128 unless set otherwise;
/// this bound holds whatever that is set to, since the store follows the nesting on its stack.
pub const NESTED_TXNS_MAX: usize = 129;

/// Checks a command before it is proposed.
///
/// `max_txn_ops`: how many operations a transaction may have; nested ones share what is left.
///
/// # Errors
/// Why etcd would refuse it; the store would too, after a place in the log was spent on it.
pub fn check(command: &Command, max_txn_ops: usize) -> Result<(), KvError> {
    match command {
        Command::Put(request) => check_put(request),
        Command::DeleteRange(request) => check_delete(request),
        Command::Txn(request) => check_txn(request, max_txn_ops),
        Command::Compact(_) | Command::LeaseRevoke(_) | Command::LeaseCheckpoint(_) => Ok(()),
        Command::Publish(attributes) => members::check(attributes),
        Command::Found(founders) => founders.iter().try_for_each(members::check_member),
        Command::MemberAdd(_, urls) | Command::MemberUpdate(_, urls) => members::check_urls(urls),
        Command::MemberRemove(_) | Command::Alarm(_) | Command::Auth(_) => Ok(()),
        Command::By(_, command) => check(command, max_txn_ops),
        Command::LeaseGrant(request) => lease::check_grant(request),
    }
}

/// Checks a query before a quorum is asked on its behalf; see [`check`].
///
/// # Errors
/// Why etcd would refuse it.
pub fn check_query(query: &Query, max_txn_ops: usize) -> Result<(), KvError> {
    match query {
        Query::Range(request) => check_range(request),
        Query::Txn(request) => check_txn(request, max_txn_ops),
        Query::Status
        | Query::Members
        | Query::Alarms(_)
        | Query::LeaseTimeToLive(_)
        | Query::LeaseLeases
        | Query::Copy(_)
        | Query::Auth(_)
        | Query::AuthState
        | Query::May(_)
        | Query::Hash(_) => Ok(()),
        Query::By(_, query) => check_query(query, max_txn_ops),
    }
}

/// Checks a transaction, whether it will be a command or a query; see [`check`].
///
/// # Errors
/// Why etcd would refuse it.
pub fn check_txn(txn: &TxnRequest, max_txn_ops: usize) -> Result<(), KvError> {
    check_ops(txn, max_txn_ops, NESTED_TXNS_MAX)?;
    Writes::of(&txn.success)?;
    Writes::of(&txn.failure)?;
    Ok(())
}

fn check_range(request: &RangeRequest) -> Result<(), KvError> {
    check_key(&request.key)?;
    if request.sort_order == SortOrder::Unknown || request.sort_target == SortTarget::Unknown {
        return Err(KvError::InvalidSortOption);
    }
    Ok(())
}

fn check_put(request: &PutRequest) -> Result<(), KvError> {
    check_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

fn check_delete(request: &DeleteRangeRequest) -> Result<(), KvError> {
    check_key(&request.key)
}

fn check_key(key: &[u8]) -> Result<(), KvError> {
    if key.is_empty() {
        Err(KvError::EmptyKey)
    } else {
        Ok(())
    }
}

/// Checks all operations but for what they do to each other.
fn check_ops(txn: &TxnRequest, ops_max: usize, txns_max: usize) -> Result<(), KvError> {
    let ops = txn
        .compare
        .len()
        .max(txn.success.len())
        .max(txn.failure.len());
    if ops > ops_max || txns_max == 0 {
        return Err(KvError::TooManyOps);
    }
    for compare in &txn.compare {
        check_key(&compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Range(request) => check_range(request)?,
            RequestOp::Put(request) => check_put(request)?,
            RequestOp::DeleteRange(request) => check_delete(request)?,
            // What one level uses up, the levels below it lack.
            RequestOp::Txn(nested) => check_ops(nested, ops_max - ops, txns_max - 1)?,
            RequestOp::Missing => return Err(KvError::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch writes, nested transactions included.
#[derive(Debug, Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

impl<'a> Writes<'a> {
    /// Gathers what a branch writes, if it writes no key twice.
    ///
    /// The order is etcd's and can be seen from outside: a nested transaction's puts are held
    /// against the deletes of its parent and of the nested transactions before it, not after it.
    fn of(ops: &'a [RequestOp]) -> Result<Writes<'a>, KvError> {
        let mut writes = Writes::default();
        for op in ops {
            if let RequestOp::DeleteRange(request) = op {
                writes
                    .deletes
                    .insert(KeyRange::new(&request.key, &request.range_end));
            }
        }
        for op in ops {
            if let RequestOp::Txn(nested) = op {
                writes.join(Writes::of(&nested.success)?, Writes::of(&nested.failure)?)?;
            }
        }
        for op in ops {
            if let RequestOp::Put(request) = op {
                writes.put(&request.key)?;
            }
        }
        Ok(writes)
    }

    /// Adds the two branches of a nested transaction. Only one of them will be taken, so both may
    /// put the same key.
    fn join(&mut self, success: Writes<'a>, failure: Writes<'a>) -> Result<(), KvError> {
        for key in &success.puts {
            self.put(key)?;
        }
        for key in failure.puts.difference(&success.puts) {
            self.put(key)?;
        }
        self.deletes.append(success.deletes);
        self.deletes.append(failure.deletes);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), KvError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(KvError::DuplicateKey);
        }
        Ok(())
    }
}

/// A set of keys made of ranges.
#[derive(Debug, Default)]
struct Intervals<'a> {
    /// First key to last bound; they neither overlap nor are they empty.
    bounds: BTreeMap<&'a [u8], Upper<'a>>,
}

/// The upper bound of an interval. Of two bounds at one key, the one before it is the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Upper<'a> {
    key: &'a [u8],
    includes_key: bool,
}

impl<'a> Intervals<'a> {
    fn insert(&mut self, range: KeyRange<'a>) {
        let upper = match range.end {
            End::Single => Upper {
                key: range.start,
                includes_key: true,
            },
            End::Before(key) => Upper {
                key,
                includes_key: false,
            },
            // etcd takes the end "\0" literally here, and so finds nothing in the range.
            End::Unbounded => return,
        };
        self.insert_bounds(range.start, upper);
    }

    fn append(&mut self, other: Intervals<'a>) {
        for (start, upper) in other.bounds {
            self.insert_bounds(start, upper);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        let before = self.bounds.range::<[u8], _>(up_to(key)).next_back();
        before.is_some_and(|(_, upper)| {
            *upper
                >= Upper {
                    key,
                    includes_key: true,
                }
        })
    }

    fn insert_bounds(&mut self, start: &'a [u8], upper: Upper<'a>) {
        if upper
            < (Upper {
                key: start,
                includes_key: true,
            })
        {
            return;
        }
        let (mut start, mut upper) = (start, upper);
        // Merges from the right with all that begins within the new interval.
        while let Some((&other, &other_upper)) = self.bounds.range(..=upper.key).next_back() {
            if other_upper
                < (Upper {
                    key: start,
                    includes_key: false,
                })
            {
                break;
            }
            self.bounds.remove(other);
            start = start.min(other);
            upper = upper.max(other_upper);
        }
        self.bounds.insert(start, upper);
    }
}
