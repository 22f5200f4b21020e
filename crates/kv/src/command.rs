//! Commands as the bytes of the replicated log.
//! Never panics on any bytes, and never copies a key or a value while reading.
//!
//! The first byte is the version of the format, the second says which command follows. Numbers are
//! as short as they can be; each set of flags is one byte in which unknown bits are refused, so an
//! older version never half-understands a newer command.
//!
//! # Source
//! The format is this project's own; the fields are those of the etcd v3 API.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::alarm::{put_alarm, read_alarm};
use crate::auth::Asker;
use crate::auth::code::{put_asker, put_request, read_asker, read_request};
use crate::check::NESTED_TXNS_MAX;
use crate::members::{
    put_attributes, put_member, put_urls, read_attributes, read_member, read_urls,
};
use crate::request::{
    AlarmRequest, Command, CompactionRequest, Compare, CompareResult, CompareTarget,
    DeleteRangeRequest, Ended, KvError, LeaseCheckpointRequest, LeaseGrantRequest, LeaseLeft,
    LeaseRevokeRequest, Member, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget,
    TxnRequest,
};
use crate::wire::{Reader, put_int, put_slice, put_uint};

/// The version this code writes, and the only one it reads.
const VERSION: u8 = 1;

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const RANGE: u8 = 5;
const MISSING: u8 = 6;
const PUBLISH: u8 = 7;
const LEASE_GRANT: u8 = 8;
const LEASE_REVOKE: u8 = 9;
const LEASE_CHECKPOINT: u8 = 10;
const FOUND: u8 = 11;
const MEMBER_ADD: u8 = 12;
const MEMBER_REMOVE: u8 = 13;
const MEMBER_UPDATE: u8 = 14;
const ALARM: u8 = 15;
const AUTH: u8 = 16;
const BY: u8 = 17;

impl Command {
    /// The command as the log holds it.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_bytes_about());
        out.push(VERSION);
        self.put(&mut out);
        Bytes::from(out)
    }

    /// The command as the log holds it, in the name of whoever wants it.
    pub fn encode_by(&self, asker: Option<&Asker>) -> Bytes {
        let Some(asker) = asker else {
            return self.encode();
        };
        let mut out = Vec::with_capacity(64 + self.encoded_bytes_about());
        out.extend_from_slice(&[VERSION, BY]);
        put_asker(&mut out, asker);
        self.put(&mut out);
        Bytes::from(out)
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Command::Put(request) => put_put(out, request),
            Command::DeleteRange(request) => put_delete(out, request),
            Command::Txn(request) => put_txn(out, request),
            Command::Compact(request) => {
                out.push(COMPACT);
                out.push(flags([request.physical, false, false]));
                put_int(out, request.revision);
            }
            Command::Publish(attributes) => {
                out.push(PUBLISH);
                put_attributes(out, attributes);
            }
            Command::Found(founders) => {
                out.push(FOUND);
                put_uint(out, founders.len() as u64);
                for founder in founders {
                    put_member(out, founder);
                }
            }
            Command::MemberAdd(id, urls) => put_urls_of(out, MEMBER_ADD, *id, urls),
            Command::MemberRemove(id) => {
                out.push(MEMBER_REMOVE);
                put_uint(out, *id);
            }
            Command::MemberUpdate(id, urls) => put_urls_of(out, MEMBER_UPDATE, *id, urls),
            Command::LeaseGrant(request) => {
                out.push(LEASE_GRANT);
                put_int(out, request.id);
                put_int(out, request.ttl);
            }
            Command::LeaseRevoke(request) => {
                out.push(LEASE_REVOKE);
                out.push(flags([request.ended.is_some(), false, false]));
                put_int(out, request.id);
                if let Some(ended) = request.ended {
                    put_uint(out, ended.term);
                    put_uint(out, ended.granted);
                }
            }
            Command::LeaseCheckpoint(request) => put_checkpoint(out, request),
            Command::Alarm(request) => {
                out.push(ALARM);
                out.push(flags([request.is_raised, false, false]));
                put_alarm(out, request.alarm);
            }
            Command::Auth(request) => {
                out.push(AUTH);
                put_request(out, request);
            }
            Command::By(asker, command) => {
                out.push(BY);
                put_asker(out, asker);
                command.put(out);
            }
        }
    }

    /// The command that `bytes` hold; its keys and values are slices of them.
    ///
    /// # Errors
    /// [`KvError::MalformedCommand`] if [`Self::encode`] of this version writes no such bytes.
    pub fn decode(bytes: &Bytes) -> Result<Command, KvError> {
        decode(bytes).ok_or(KvError::MalformedCommand)
    }

    fn encoded_bytes_about(&self) -> usize {
        match self {
            Command::Put(request) => 32 + request.key.len() + request.value.len(),
            Command::DeleteRange(request) => 16 + request.key.len() + request.range_end.len(),
            Command::Txn(_) => 512,
            Command::Publish(_) | Command::MemberAdd(..) | Command::MemberUpdate(..) => 128,
            Command::Found(founders) => 128 * founders.len(),
            Command::LeaseCheckpoint(request) => 32 + 16 * request.leases.len(),
            Command::Auth(_) => 256,
            Command::By(_, command) => 64 + command.encoded_bytes_about(),
            Command::Compact(_)
            | Command::Alarm(_)
            | Command::MemberRemove(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_) => 32,
        }
    }
}

fn flags(bits: [bool; 3]) -> u8 {
    u8::from(bits[0]) | u8::from(bits[1]) << 1 | u8::from(bits[2]) << 2
}

fn put_urls_of(out: &mut Vec<u8>, kind: u8, member: u64, urls: &[String]) {
    out.push(kind);
    put_uint(out, member);
    put_urls(out, urls);
}

fn put_put(out: &mut Vec<u8>, request: &PutRequest) {
    out.push(PUT);
    out.push(flags([
        request.prev_kv,
        request.ignore_value,
        request.ignore_lease,
    ]));
    put_int(out, request.lease);
    put_slice(out, &request.key);
    put_slice(out, &request.value);
}

fn put_delete(out: &mut Vec<u8>, request: &DeleteRangeRequest) {
    out.push(DELETE_RANGE);
    out.push(flags([request.prev_kv, false, false]));
    put_slice(out, &request.key);
    put_slice(out, &request.range_end);
}

fn put_range(out: &mut Vec<u8>, request: &RangeRequest) {
    out.push(RANGE);
    out.push(flags([request.keys_only, request.count_only, false]));
    out.push(request.sort_order as u8);
    out.push(request.sort_target as u8);
    put_int(out, request.limit);
    put_int(out, request.revision);
    put_int(out, request.min_mod_revision);
    put_int(out, request.max_mod_revision);
    put_int(out, request.min_create_revision);
    put_int(out, request.max_create_revision);
    put_slice(out, &request.key);
    put_slice(out, &request.range_end);
}

fn put_txn(out: &mut Vec<u8>, request: &TxnRequest) {
    out.push(TXN);
    put_uint(out, request.compare.len() as u64);
    for compare in &request.compare {
        put_compare(out, compare);
    }
    for branch in [&request.success, &request.failure] {
        put_uint(out, branch.len() as u64);
        for op in branch {
            match op {
                RequestOp::Range(request) => put_range(out, request),
                RequestOp::Put(request) => put_put(out, request),
                RequestOp::DeleteRange(request) => put_delete(out, request),
                RequestOp::Txn(nested) => put_txn(out, nested),
                RequestOp::Missing => out.push(MISSING),
            }
        }
    }
}

fn put_checkpoint(out: &mut Vec<u8>, request: &LeaseCheckpointRequest) {
    out.push(LEASE_CHECKPOINT);
    put_uint(out, request.term);
    put_uint(out, request.number);
    put_uint(out, request.leases.len() as u64);
    for left in &request.leases {
        put_int(out, left.id);
        put_uint(out, left.granted);
        put_int(out, left.seconds);
    }
}

fn put_compare(out: &mut Vec<u8>, compare: &Compare) {
    out.push(compare.result as u8);
    match &compare.target {
        CompareTarget::Version(operand) => put_operand(out, 0, *operand),
        CompareTarget::Create(operand) => put_operand(out, 1, *operand),
        CompareTarget::Mod(operand) => put_operand(out, 2, *operand),
        CompareTarget::Value(operand) => {
            out.push(3);
            put_slice(out, operand);
        }
        CompareTarget::Lease(operand) => put_operand(out, 4, *operand),
        CompareTarget::Unknown => out.push(255),
    }
    put_slice(out, &compare.key);
    put_slice(out, &compare.range_end);
}

fn put_operand(out: &mut Vec<u8>, target: u8, operand: i64) {
    out.push(target);
    put_int(out, operand);
}

fn decode(bytes: &Bytes) -> Option<Command> {
    let mut decoder = Decoder {
        whole: bytes,
        reader: Reader::new(bytes),
    };
    if decoder.reader.byte()? != VERSION {
        return None;
    }
    let kind = decoder.reader.byte()?;
    let command = if kind == BY {
        let asker = read_asker(&mut decoder.reader)?;
        let kind = decoder.reader.byte()?;
        Command::By(asker, Box::new(decoder.command(kind)?))
    } else {
        decoder.command(kind)?
    };
    decoder.reader.is_empty().then_some(command)
}

struct Decoder<'a> {
    whole: &'a Bytes,
    reader: Reader<'a>,
}

impl Decoder<'_> {
    /// What follows the byte that says which command it is. None stands within another.
    fn command(&mut self, kind: u8) -> Option<Command> {
        Some(match kind {
            PUT => Command::Put(self.put()?),
            DELETE_RANGE => Command::DeleteRange(self.delete()?),
            TXN => Command::Txn(self.txn(NESTED_TXNS_MAX)?),
            COMPACT => {
                let [physical] = self.flags()?;
                Command::Compact(CompactionRequest {
                    physical,
                    revision: self.reader.int()?,
                })
            }
            PUBLISH => Command::Publish(read_attributes(&mut self.reader)?),
            FOUND => Command::Found(self.founders()?),
            MEMBER_ADD => Command::MemberAdd(self.reader.uint()?, read_urls(&mut self.reader)?),
            MEMBER_REMOVE => Command::MemberRemove(self.reader.uint()?),
            MEMBER_UPDATE => {
                Command::MemberUpdate(self.reader.uint()?, read_urls(&mut self.reader)?)
            }
            LEASE_GRANT => Command::LeaseGrant(LeaseGrantRequest {
                id: self.reader.int()?,
                ttl: self.reader.int()?,
            }),
            LEASE_REVOKE => Command::LeaseRevoke(self.revoke()?),
            LEASE_CHECKPOINT => Command::LeaseCheckpoint(self.checkpoint()?),
            ALARM => {
                let [is_raised] = self.flags()?;
                let alarm = read_alarm(&mut self.reader)?;
                Command::Alarm(AlarmRequest { alarm, is_raised })
            }
            AUTH => Command::Auth(read_request(&mut self.reader)?),
            _ => return None,
        })
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let slice = self.reader.slice()?;
        Some(self.whole.slice_ref(slice))
    }

    /// The lowest bits of a byte whose other bits must be unset.
    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let byte = self.reader.byte()?;
        let known = byte >> N == 0;
        known.then(|| core::array::from_fn(|bit| byte >> bit & 1 == 1))
    }

    fn founders(&mut self) -> Option<Vec<Member>> {
        let mut founders = Vec::new();
        for _ in 0..self.reader.uint()? {
            founders.push(read_member(&mut self.reader)?);
        }
        Some(founders)
    }

    fn put(&mut self) -> Option<PutRequest> {
        let [prev_kv, ignore_value, ignore_lease] = self.flags()?;
        let lease = self.reader.int()?;
        let (key, value) = (self.bytes()?, self.bytes()?);
        Some(PutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        })
    }

    fn delete(&mut self) -> Option<DeleteRangeRequest> {
        let [prev_kv] = self.flags()?;
        let (key, range_end) = (self.bytes()?, self.bytes()?);
        Some(DeleteRangeRequest {
            key,
            range_end,
            prev_kv,
        })
    }

    fn range(&mut self) -> Option<RangeRequest> {
        let [keys_only, count_only] = self.flags()?;
        Some(RangeRequest {
            sort_order: sort_order(self.reader.byte()?)?,
            sort_target: sort_target(self.reader.byte()?)?,
            keys_only,
            count_only,
            limit: self.reader.int()?,
            revision: self.reader.int()?,
            min_mod_revision: self.reader.int()?,
            max_mod_revision: self.reader.int()?,
            min_create_revision: self.reader.int()?,
            max_create_revision: self.reader.int()?,
            key: self.bytes()?,
            range_end: self.bytes()?,
        })
    }

    fn revoke(&mut self) -> Option<LeaseRevokeRequest> {
        let [has_ended] = self.flags()?;
        let id = self.reader.int()?;
        let ended = if has_ended {
            let (term, granted) = (self.reader.uint()?, self.reader.uint()?);
            Some(Ended { term, granted })
        } else {
            None
        };
        Some(LeaseRevokeRequest { id, ended })
    }

    fn checkpoint(&mut self) -> Option<LeaseCheckpointRequest> {
        let (term, number) = (self.reader.uint()?, self.reader.uint()?);
        // No count is believed before its elements are there: no capacity is reserved for it.
        let mut leases = Vec::new();
        for _ in 0..self.reader.uint()? {
            leases.push(LeaseLeft {
                id: self.reader.int()?,
                granted: self.reader.uint()?,
                seconds: self.reader.int()?,
            });
        }
        Some(LeaseCheckpointRequest {
            term,
            number,
            leases,
        })
    }

    /// `txns_max`: how many more transactions may stand within each other, this one included.
    fn txn(&mut self, txns_max: usize) -> Option<TxnRequest> {
        let below = txns_max.checked_sub(1)?;
        // No count is believed here either.
        let mut compare = Vec::new();
        for _ in 0..self.reader.uint()? {
            compare.push(self.compare()?);
        }
        let success = self.branch(below)?;
        let failure = self.branch(below)?;
        Some(TxnRequest {
            compare,
            success,
            failure,
        })
    }

    fn branch(&mut self, txns_max: usize) -> Option<Vec<RequestOp>> {
        let mut ops = Vec::new();
        for _ in 0..self.reader.uint()? {
            ops.push(match self.reader.byte()? {
                PUT => RequestOp::Put(self.put()?),
                DELETE_RANGE => RequestOp::DeleteRange(self.delete()?),
                TXN => RequestOp::Txn(Box::new(self.txn(txns_max)?)),
                RANGE => RequestOp::Range(self.range()?),
                MISSING => RequestOp::Missing,
                _ => return None,
            });
        }
        Some(ops)
    }

    fn compare(&mut self) -> Option<Compare> {
        let result = compare_result(self.reader.byte()?)?;
        let target = match self.reader.byte()? {
            0 => CompareTarget::Version(self.reader.int()?),
            1 => CompareTarget::Create(self.reader.int()?),
            2 => CompareTarget::Mod(self.reader.int()?),
            3 => CompareTarget::Value(self.bytes()?),
            4 => CompareTarget::Lease(self.reader.int()?),
            255 => CompareTarget::Unknown,
            _ => return None,
        };
        let (key, range_end) = (self.bytes()?, self.bytes()?);
        Some(Compare {
            result,
            target,
            key,
            range_end,
        })
    }
}

fn sort_order(byte: u8) -> Option<SortOrder> {
    let known = [
        SortOrder::None,
        SortOrder::Ascend,
        SortOrder::Descend,
        SortOrder::Unknown,
    ];
    known.into_iter().find(|order| *order as u8 == byte)
}

fn sort_target(byte: u8) -> Option<SortTarget> {
    let known = [
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
        SortTarget::Unknown,
    ];
    known.into_iter().find(|target| *target as u8 == byte)
}

fn compare_result(byte: u8) -> Option<CompareResult> {
    let known = [
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
        CompareResult::Unknown,
    ];
    known.into_iter().find(|result| *result as u8 == byte)
}
