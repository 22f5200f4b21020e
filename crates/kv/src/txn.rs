//! Transactions: decide, check, then read and write, all or nothing.
//! Never lets a comparison see what the transaction itself writes.
//!
//! # Source
//! etcd v3 API, `TxnRequest`; the order is etcd's: all comparisons (of nested transactions too,
//! along the branches taken), then whether all writes of those branches can be done, then whether
//! all their reads can, then the operations one by one.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::apply::{delete_range, put};
use crate::index::KeyRange;
use crate::lease::Leases;
use crate::mvcc::Mvcc;
use crate::range::range;
use crate::record::Parts;
use crate::request::{
    Compare, CompareResult, CompareTarget, KvError, PutRequest, RangeRequest, RequestOp,
    ResponseOp, TxnRequest, TxnResponse,
};

/// Whether a transaction, in all its branches, only reads.
///
/// Such a transaction need not go through the log: it is a
/// [`Query::Txn`](crate::request::Query::Txn). Ask after [`check`](crate::check::check): this one
/// follows any nesting down.
pub fn is_read_only(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        RequestOp::Range(_) => true,
        RequestOp::Txn(nested) => is_read_only(nested),
        RequestOp::Put(_) | RequestOp::DeleteRange(_) | RequestOp::Missing => false,
    })
}

/// Whether a transaction writes a key in any of its branches.
pub(crate) fn has_put(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        RequestOp::Put(_) => true,
        RequestOp::Txn(nested) => has_put(nested),
        RequestOp::Range(_) | RequestOp::DeleteRange(_) | RequestOp::Missing => false,
    })
}

/// Carries out a transaction, in the open transaction of the store. If it is refused, the caller
/// rolls back.
pub(crate) fn apply(
    mvcc: &mut Mvcc,
    leases: &Leases,
    txn: &TxnRequest,
) -> Result<TxnResponse, KvError> {
    let decided = decide_and_check(mvcc, leases, txn)?;
    execute(mvcc, leases, txn, &mut decided.into_iter())
}

/// Carries out a transaction that only reads.
///
/// # Panics
/// If it does not: writes go through the log.
pub(crate) fn read(mvcc: &Mvcc, leases: &Leases, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
    assert!(is_read_only(txn), "a query that writes");
    let decided = decide_and_check(mvcc, leases, txn)?;
    execute_reads(mvcc, txn, &mut decided.into_iter())
}

/// Decides all comparisons from the state before the transaction, and checks against that state
/// what can be refused. Returns the decisions in the order in which execution meets them.
fn decide_and_check(mvcc: &Mvcc, leases: &Leases, txn: &TxnRequest) -> Result<Vec<bool>, KvError> {
    let mut decided = Vec::new();
    decide(mvcc, txn, &mut decided);
    visit(txn, &mut decided.iter().copied(), &mut |op| match op {
        RequestOp::Put(request) => check_put(mvcc, leases, request),
        _ => Ok(()),
    })?;
    visit(txn, &mut decided.iter().copied(), &mut |op| match op {
        RequestOp::Range(request) => check_range(mvcc, request),
        _ => Ok(()),
    })?;
    Ok(decided)
}

fn branch(txn: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        &txn.success
    } else {
        &txn.failure
    }
}

fn decide(mvcc: &Mvcc, txn: &TxnRequest, decided: &mut Vec<bool>) {
    let succeeded = txn.compare.iter().all(|compare| holds(mvcc, compare));
    decided.push(succeeded);
    for op in branch(txn, succeeded) {
        if let RequestOp::Txn(nested) = op {
            // Mark: a transaction stands within another.
            decide(mvcc, nested, decided);
        }
    }
}

/// Shows `check` each operation of the branches taken, nested ones where they stand.
fn visit(
    txn: &TxnRequest,
    decided: &mut dyn Iterator<Item = bool>,
    check: &mut dyn FnMut(&RequestOp) -> Result<(), KvError>,
) -> Result<(), KvError> {
    for op in branch(txn, next(decided)) {
        match op {
            RequestOp::Txn(nested) => visit(nested, decided, check)?,
            op => check(op)?,
        }
    }
    Ok(())
}

fn next(decided: &mut dyn Iterator<Item = bool>) -> bool {
    decided
        .next()
        .expect("every transaction on the path was decided")
}

/// A put alone is refused for its lease first; etcd has it the other way round in a transaction.
fn check_put(mvcc: &Mvcc, leases: &Leases, request: &PutRequest) -> Result<(), KvError> {
    let needs_key = request.ignore_value || request.ignore_lease;
    if needs_key && mvcc.current(&request.key).is_none() {
        // Mark: a put in a transaction is to keep what is not there.
        return Err(KvError::KeyNotFound);
    }
    leases.check(request.lease)
}

/// Stricter than a range alone: there any revision below zero means the present, here it counts as
/// one before the compacted one. Clients see the difference in etcd, so they see it here.
fn check_range(mvcc: &Mvcc, request: &RangeRequest) -> Result<(), KvError> {
    match request.revision {
        0 => Ok(()),
        asked if asked > mvcc.revision() => Err(KvError::FutureRevision),
        asked if asked < mvcc.compact_revision() => Err(KvError::Compacted),
        _ => Ok(()),
    }
}

fn execute(
    mvcc: &mut Mvcc,
    leases: &Leases,
    txn: &TxnRequest,
    decided: &mut dyn Iterator<Item = bool>,
) -> Result<TxnResponse, KvError> {
    let succeeded = next(decided);
    let mut responses = Vec::new();
    for op in branch(txn, succeeded) {
        responses.push(match op {
            RequestOp::Range(request) => ResponseOp::Range(range(mvcc, request)?),
            RequestOp::Put(request) => ResponseOp::Put(put(mvcc, leases, request)?),
            RequestOp::DeleteRange(request) => ResponseOp::DeleteRange(delete_range(mvcc, request)),
            RequestOp::Txn(nested) => ResponseOp::Txn(execute(mvcc, leases, nested, decided)?),
            RequestOp::Missing => return Err(KvError::KeyNotFound),
        });
    }
    Ok(TxnResponse {
        succeeded,
        responses,
    })
}

fn execute_reads(
    mvcc: &Mvcc,
    txn: &TxnRequest,
    decided: &mut dyn Iterator<Item = bool>,
) -> Result<TxnResponse, KvError> {
    let succeeded = next(decided);
    let mut responses = Vec::new();
    for op in branch(txn, succeeded) {
        responses.push(match op {
            RequestOp::Range(request) => ResponseOp::Range(range(mvcc, request)?),
            RequestOp::Txn(nested) => ResponseOp::Txn(execute_reads(mvcc, nested, decided)?),
            _ => unreachable!("the transaction was found to be read-only"),
        });
    }
    Ok(TxnResponse {
        succeeded,
        responses,
    })
}

/// Whether a comparison holds for every key of its range.
fn holds(mvcc: &Mvcc, compare: &Compare) -> bool {
    mvcc.tally().ranges.add(1);
    let keys = KeyRange::new(&compare.key, &compare.range_end);
    let mut found = mvcc.visible(keys, mvcc.revision()).peekable();
    if found.peek().is_none() {
        // Nothing has a value of nothing, so no value can be compared with it; the numbers are 0.
        let is_value = matches!(compare.target, CompareTarget::Value(_));
        return !is_value && relates(compare, &ABSENT);
    }
    found.all(|record| relates(compare, &record.parts()))
}

/// How a key that does not exist compares.
const ABSENT: Parts<'static> = Parts {
    key: &[],
    main: 0,
    sub: 0,
    create: 0,
    version: 0,
    lease: 0,
    value: &[],
};

fn relates(compare: &Compare, parts: &Parts<'_>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(operand) => parts.version.cmp(operand),
        CompareTarget::Create(operand) => parts.create.cmp(operand),
        CompareTarget::Mod(operand) => parts.main.cmp(operand),
        CompareTarget::Value(operand) => parts.value.cmp(operand),
        CompareTarget::Lease(operand) => parts.lease.cmp(operand),
        CompareTarget::Unknown => Ordering::Equal,
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Unknown => true,
    }
}
