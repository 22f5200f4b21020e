//! Random operations over few keys and few leases, so that they meet each other often.
//! Never looks at a server: the same seed gives the same operations.
//!
//! What ends an etcd 3.5.1, or is left open by etcd, is not asked for; each such place says so.

use crate::differ::operation::{NOW, Operation};
use crate::random::Random;
use bytes::Bytes;
use headwater_api::etcdserverpb as api;

const KEYS: &[&[u8]] = &[
    b"\0",
    b"a",
    b"a\0",
    b"aa",
    b"ab",
    b"b",
    b"ba",
    b"c",
    b"d",
    b"e",
    b"foo",
    b"foo/1",
    b"foo/2",
    b"fop",
    b"\xff",
    b"\xff\xff",
];

/// How deep transactions stand one in another.
const DEPTH: u32 = 3;

/// The operations that `seed` stands for, `length` of them.
pub fn operations(seed: u64, length: usize) -> Vec<Operation> {
    let mut generator = Generator(Random::new(seed));
    (0..length).map(|_| generator.operation()).collect()
}

struct Generator(Random);

impl Generator {
    fn once_in(&mut self, times: u64) -> bool {
        self.0.below(times) == 0
    }

    fn number(&mut self, below: u64) -> i64 {
        i64::try_from(self.0.below(below)).expect("bounds are small")
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.0.below(of.len() as u64)).expect("a place in a list")]
    }

    fn operation(&mut self) -> Operation {
        match self.0.below(1000) {
            0..260 => Operation::Put(self.put()),
            260..460 => Operation::Range(self.range()),
            460..560 => Operation::Delete(self.delete()),
            560..850 => Operation::Txn(self.txn(DEPTH)),
            850..866 => Operation::Compact(self.compaction()),
            866..890 => Operation::Grant(self.grant()),
            890..900 => Operation::Brief(self.brief()),
            900..915 => Operation::Revoke(api::LeaseRevokeRequest {
                id: self.lease_id(),
            }),
            915..925 => Operation::KeepAlive(api::LeaseKeepAliveRequest {
                id: self.lease_id(),
            }),
            925..945 => Operation::TimeToLive(api::LeaseTimeToLiveRequest {
                id: self.lease_id(),
                keys: self.once_in(2),
            }),
            945..950 => Operation::Leases,
            950..956 => Operation::Alarm(self.alarm()),
            956..980 => Operation::Watch(self.watch()),
            980..994 => Operation::Cancel(self.watch_id()),
            _ => Operation::Progress,
        }
    }

    fn key(&mut self) -> Bytes {
        if self.once_in(200) {
            return Bytes::new();
        }
        Bytes::from_static(self.pick(KEYS))
    }

    fn range_end(&mut self) -> Bytes {
        match self.0.below(8) {
            0..=2 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            _ => Bytes::from_static(self.pick(KEYS)),
        }
    }

    /// The value of a put, which is sometimes larger than any request may be.
    fn put_value(&mut self) -> Bytes {
        if self.once_in(2000) {
            return Bytes::from(vec![b'v'; 1_700_000]);
        }
        self.value()
    }

    fn value(&mut self) -> Bytes {
        let length = self.0.below(6);
        (0..length).map(|_| self.pick(b"abc\0\xff")).collect()
    }

    /// One of a few, so that most exist.
    fn lease_id(&mut self) -> i64 {
        self.pick(&[-1, 1, 2, 3, 4, 5, 1 << 62])
    }

    fn lease(&mut self) -> i64 {
        if self.once_in(6) { self.lease_id() } else { 0 }
    }

    /// Mostly near the present, sometimes anywhere or nowhere.
    fn revision(&mut self) -> i64 {
        match self.0.below(20) {
            0 => -self.number(3),
            1 => NOW + self.number(3),
            2..=4 => NOW - self.number(300),
            5 => 1 + self.number(100),
            _ => NOW - self.number(20),
        }
    }

    fn bound(&mut self) -> i64 {
        if self.once_in(4) { self.revision() } else { 0 }
    }

    fn range(&mut self) -> api::RangeRequest {
        let has_bounds = self.once_in(3);
        let mut bound = || if has_bounds { self.bound() } else { 0 };
        let bounds = [bound(), bound(), bound(), bound()];
        api::RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if self.once_in(2) {
                self.number(9) - 1
            } else {
                0
            },
            revision: if self.once_in(2) { self.revision() } else { 0 },
            sort_order: self.pick(&[0, 0, 1, 1, 2, 2, 2]),
            sort_target: self.pick(&[0, 1, 2, 3, 4]),
            serializable: self.once_in(3),
            keys_only: self.once_in(5),
            count_only: self.once_in(8),
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        }
    }

    fn put(&mut self) -> api::PutRequest {
        let (ignore_value, ignore_lease) = (self.once_in(8), self.once_in(8));
        api::PutRequest {
            key: self.key(),
            value: if !ignore_value || self.once_in(9) {
                self.put_value()
            } else {
                Bytes::new()
            },
            lease: self.lease(),
            prev_kv: self.once_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> api::DeleteRangeRequest {
        api::DeleteRangeRequest {
            key: self.key(),
            range_end: if self.once_in(2) {
                Bytes::new()
            } else {
                self.range_end()
            },
            prev_kv: self.once_in(2),
        }
    }

    fn compare(&mut self) -> api::Compare {
        use api::compare::TargetUnion;
        let operand = match self.0.below(12) {
            0..=1 => Some(TargetUnion::Version(self.number(4))),
            2..=4 => Some(TargetUnion::CreateRevision(self.revision())),
            5..=7 => Some(TargetUnion::ModRevision(self.revision())),
            8..=9 => Some(TargetUnion::Value(self.value())),
            10 => Some(TargetUnion::Lease(self.number(3))),
            _ => None,
        };
        let target = match &operand {
            Some(TargetUnion::Version(_)) => 0,
            Some(TargetUnion::CreateRevision(_)) => 1,
            Some(TargetUnion::ModRevision(_)) => 2,
            Some(TargetUnion::Value(_)) => 3,
            Some(TargetUnion::Lease(_)) => 4,
            None => self.pick(&[0, 1, 2, 3, 4, 5]),
        };
        api::Compare {
            result: self.pick(&[0, 0, 1, 2, 3, 3, 4]),
            // Sometimes another than that of the operand.
            target: if self.once_in(20) {
                self.pick(&[0, 1, 2, 3, 4, 5])
            } else {
                target
            },
            key: self.key(),
            range_end: if self.once_in(2) {
                Bytes::new()
            } else {
                self.range_end()
            },
            target_union: operand,
        }
    }

    fn txn(&mut self, depth: u32) -> api::TxnRequest {
        if depth == DEPTH && self.once_in(100) {
            return self.long_txn();
        }
        let compares = self.0.below(3);
        let compare = (0..compares).map(|_| self.compare()).collect();
        let reads_only = self.once_in(4);
        let success = self.branch(depth, reads_only);
        let failure = self.branch(depth, reads_only);
        api::TxnRequest {
            compare,
            success,
            failure,
        }
    }

    /// About as long as one may be.
    fn long_txn(&mut self) -> api::TxnRequest {
        let length = 126 + self.0.below(4);
        let op = |number: u64| {
            request_op(api::request_op::Request::RequestPut(api::PutRequest {
                key: format!("long/{number}").into(),
                ..Default::default()
            }))
        };
        let mut success: Vec<_> = (0..length).map(op).collect();
        if self.once_in(2) {
            let inner = self.txn(1);
            success.truncate(124 + success.len() % 4);
            success.push(request_op(api::request_op::Request::RequestTxn(inner)));
        }
        api::TxnRequest {
            success,
            ..Default::default()
        }
    }

    fn branch(&mut self, depth: u32, reads_only: bool) -> Vec<api::RequestOp> {
        let ops = self.0.below(4);
        (0..ops).map(|_| self.op(depth, reads_only)).collect()
    }

    fn op(&mut self, depth: u32, reads_only: bool) -> api::RequestOp {
        use api::request_op::Request;
        if self.once_in(300) {
            return api::RequestOp { request: None };
        }
        request_op(match self.0.below(10) {
            0..=2 if !reads_only => Request::RequestPut(self.put()),
            3..=4 if !reads_only => {
                let mut delete = self.delete();
                // Followed by a put that keeps the deleted value, this ends an etcd.
                if &delete.range_end[..] == b"\0" {
                    delete.range_end = Bytes::new();
                }
                Request::RequestDeleteRange(delete)
            }
            5..=6 if depth > 0 => {
                let mut inner = self.txn(depth - 1);
                if reads_only {
                    inner.success.retain(is_read);
                    inner.failure.retain(is_read);
                }
                Request::RequestTxn(inner)
            }
            _ => Request::RequestRange(self.range()),
        })
    }

    fn compaction(&mut self) -> api::CompactionRequest {
        api::CompactionRequest {
            revision: self.revision(),
            physical: self.once_in(2),
        }
    }

    /// So long that none ends meanwhile.
    fn grant(&mut self) -> api::LeaseGrantRequest {
        let ttl = if self.once_in(20) {
            9_000_000_000 + self.number(2)
        } else {
            10_000 + self.number(10_000)
        };
        api::LeaseGrantRequest {
            id: self.lease_id(),
            ttl,
        }
    }

    fn brief(&mut self) -> api::LeaseGrantRequest {
        api::LeaseGrantRequest {
            id: self.pick(&[0, 77, i64::MIN, i64::MAX]),
            ttl: self.pick(&[i64::MIN, -1, 0, 1, 2, 3, 60, 9_000_000_001, i64::MAX]),
        }
    }

    fn alarm(&mut self) -> api::AlarmRequest {
        api::AlarmRequest {
            // Ended more often than raised, or nothing else would happen.
            action: self.pick(&[0, 1, 2, 2, 2, 2, 2, 2]),
            member_id: self.pick(&[0, 1, 1, 1]),
            alarm: self.pick(&[0, 1, 1, 1]),
        }
    }

    /// One of a few that a client chooses, or that the servers do.
    fn watch_id(&mut self) -> i64 {
        self.pick(&[0, 1, 2, 3, 4, 5, 50, 51])
    }

    fn watch(&mut self) -> api::WatchCreateRequest {
        let start_revision = match self.0.below(8) {
            0 => self.revision().max(0),
            1 => NOW + self.number(5),
            2 | 3 => NOW - self.number(20),
            _ => 0,
        };
        api::WatchCreateRequest {
            key: self.key(),
            range_end: self.range_end(),
            start_revision,
            progress_notify: self.once_in(4),
            filters: self
                .pick(&[&[][..], &[], &[], &[0], &[1], &[0, 1]])
                .to_vec(),
            prev_kv: self.once_in(2),
            watch_id: if self.once_in(3) { self.watch_id() } else { 0 },
            fragment: self.once_in(4),
        }
    }
}

fn request_op(request: api::request_op::Request) -> api::RequestOp {
    let request = Some(request);
    api::RequestOp { request }
}

fn is_read(op: &api::RequestOp) -> bool {
    use api::request_op::Request;
    matches!(op.request, Some(Request::RequestRange(_)))
}
