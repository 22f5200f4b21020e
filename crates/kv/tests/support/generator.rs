//! Random requests over few keys, so that they meet each other often.

use super::Dice;
use bytes::Bytes;
use headwater_kv::request::*;

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
    b"f",
    b"foo",
    b"foo/1",
    b"foo/2",
    b"fop",
    b"\xff",
    b"\xff\xff",
];

pub struct Generator {
    pub dice: Dice,
    /// The revision requests are about; the caller keeps it up to date.
    pub revision: i64,
    /// Leaves out what stops a real etcd 3.4 or what it leaves undefined within a transaction.
    pub spares_etcd: bool,
    /// The alarms that it has raised, and will soon end.
    raised: Vec<Alarm>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator {
            dice: Dice(seed),
            revision: 1,
            spares_etcd: false,
            raised: Vec::new(),
        }
    }

    pub fn key(&mut self) -> Bytes {
        if self.dice.once_in(200) {
            return Bytes::new();
        }
        Bytes::from_static(self.dice.pick::<&[u8]>(KEYS))
    }

    pub fn range_end(&mut self) -> Bytes {
        match self.dice.below(8) {
            0..=2 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            _ => Bytes::from_static(self.dice.pick::<&[u8]>(KEYS)),
        }
    }

    pub fn value(&mut self) -> Bytes {
        Bytes::from(self.dice.bytes(6))
    }

    fn lease(&mut self) -> i64 {
        if self.dice.once_in(6) {
            self.lease_id()
        } else {
            0
        }
    }

    /// One of a few, so that most exist.
    pub fn lease_id(&mut self) -> i64 {
        self.dice.below(6) as i64 - 1
    }

    /// So long that a real etcd lets none end.
    pub fn grant(&mut self) -> LeaseGrantRequest {
        let id = self.lease_id();
        let ttl = match self.dice.below(20) {
            0 => 9_000_000_000 + self.dice.below(2) as i64,
            1 if !self.spares_etcd => -(self.dice.below(3) as i64),
            _ => 10_000 + self.dice.below(10_000) as i64,
        };
        let is_chosen_by_etcd = self.spares_etcd && id == 0;
        let id = if is_chosen_by_etcd { 7 } else { id };
        LeaseGrantRequest { id, ttl }
    }

    pub fn revoke(&mut self) -> LeaseRevokeRequest {
        let is_decided = !self.spares_etcd && self.dice.once_in(4);
        LeaseRevokeRequest {
            id: self.lease_id(),
            ended: is_decided.then(|| Ended {
                term: self.dice.below(2),
                granted: u64::from(self.dice.once_in(5)),
            }),
        }
    }

    pub fn checkpoint(&mut self) -> LeaseCheckpointRequest {
        let leases = self.dice.below(4);
        LeaseCheckpointRequest {
            term: u64::from(self.dice.once_in(5)),
            number: self.revision.unsigned_abs() + self.dice.below(3),
            leases: (0..leases)
                .map(|_| LeaseLeft {
                    id: self.lease_id(),
                    granted: u64::from(self.dice.once_in(5)),
                    seconds: self.dice.below(15_000) as i64 - 1,
                })
                .collect(),
        }
    }

    /// Mostly near the present, sometimes anywhere or nowhere.
    pub fn some_revision(&mut self) -> i64 {
        match self.dice.below(20) {
            0 => -(self.dice.below(3) as i64),
            1 => self.revision + self.dice.below(3) as i64,
            2..=4 => self.dice.below(self.revision as u64 + 1) as i64,
            _ => self.revision - self.dice.below(20) as i64,
        }
    }

    fn bound(&mut self) -> i64 {
        if self.dice.once_in(4) {
            self.some_revision()
        } else {
            0
        }
    }

    pub fn range(&mut self) -> RangeRequest {
        let dice = &mut self.dice;
        let sort_order = *dice.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
        let targets = [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ];
        let has_unknown = dice.once_in(100) && !self.spares_etcd;
        let sort_target = if has_unknown {
            SortTarget::Unknown
        } else {
            *dice.pick(&targets)
        };
        let limit = if dice.once_in(2) {
            dice.below(9) as i64 - 1
        } else {
            0
        };
        let (keys_only, count_only) = (dice.once_in(5), dice.once_in(8));
        let has_bounds = dice.once_in(3);
        let mut bound = |on: bool| if on { self.bound() } else { 0 };
        let (min_mod_revision, max_mod_revision) = (bound(has_bounds), bound(has_bounds));
        let (min_create_revision, max_create_revision) = (bound(has_bounds), bound(has_bounds));
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit,
            revision: if self.dice.once_in(2) {
                self.some_revision()
            } else {
                0
            },
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        }
    }

    pub fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.dice.once_in(8), self.dice.once_in(8));
        let has_value = !ignore_value || self.dice.once_in(9);
        PutRequest {
            key: self.key(),
            value: if has_value {
                self.value()
            } else {
                Bytes::new()
            },
            lease: self.lease(),
            prev_kv: self.dice.once_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    pub fn delete(&mut self) -> DeleteRangeRequest {
        let single = self.dice.once_in(2);
        DeleteRangeRequest {
            key: self.key(),
            range_end: if single {
                Bytes::new()
            } else {
                self.range_end()
            },
            prev_kv: self.dice.once_in(2),
        }
    }

    pub fn compare(&mut self) -> Compare {
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
            CompareResult::Unknown,
        ];
        let target = match self.dice.below(12) {
            0..=1 => CompareTarget::Version(self.dice.below(4) as i64),
            2..=4 => CompareTarget::Create(self.some_revision()),
            5..=7 => CompareTarget::Mod(self.some_revision()),
            8..=9 => CompareTarget::Value(self.value()),
            10 => CompareTarget::Lease(self.dice.below(3) as i64),
            _ => CompareTarget::Unknown,
        };
        let single = self.dice.once_in(2);
        Compare {
            result: *self.dice.pick(&results),
            target,
            key: self.key(),
            range_end: if single {
                Bytes::new()
            } else {
                self.range_end()
            },
        }
    }

    /// A transaction with others nested in it up to `depth` deep; of reads only if `read_only`.
    pub fn txn(&mut self, depth: u32, read_only: bool) -> TxnRequest {
        let compares = self.dice.below(3);
        let compare = (0..compares).map(|_| self.compare()).collect();
        let success = self.branch(depth, read_only);
        let failure = self.branch(depth, read_only);
        TxnRequest {
            compare,
            success,
            failure,
        }
    }

    fn branch(&mut self, depth: u32, read_only: bool) -> Vec<RequestOp> {
        let ops = self.dice.below(4);
        (0..ops).map(|_| self.op(depth, read_only)).collect()
    }

    fn op(&mut self, depth: u32, read_only: bool) -> RequestOp {
        if self.dice.once_in(300) {
            return RequestOp::Missing;
        }
        match self.dice.below(10) {
            0..=2 if !read_only => RequestOp::Put(self.put()),
            3..=4 if !read_only => {
                let mut delete = self.delete();
                // Followed by a put that keeps the deleted value, this ends an etcd.
                if self.spares_etcd && &delete.range_end[..] == b"\0" {
                    delete.range_end = Bytes::new();
                }
                RequestOp::DeleteRange(delete)
            }
            5..=6 if depth > 0 => RequestOp::Txn(Box::new(self.txn(depth - 1, read_only))),
            _ => {
                let mut range = self.range();
                if self.spares_etcd {
                    range.sort_target = SortTarget::Key;
                }
                RequestOp::Range(range)
            }
        }
    }

    pub fn compaction(&mut self) -> CompactionRequest {
        let revision = self.some_revision();
        CompactionRequest {
            revision,
            physical: self.dice.once_in(2),
        }
    }

    /// Mostly of a few members that publish again, sometimes of one more, sometimes too large.
    pub fn attributes(&mut self) -> Attributes {
        let few = self.dice.once_in(2);
        let length = |dice: &mut Dice| match dice.below(12) {
            0 => 1024 + dice.below(2) as usize,
            _ => dice.below(20) as usize,
        };
        let urls = match self.dice.below(12) {
            0 => 16 + self.dice.below(2),
            _ => self.dice.below(3),
        };
        Attributes {
            member: self.dice.next() % if few { 4 } else { 300 },
            name: "ä".repeat(length(&mut self.dice) / 2),
            client_urls: (0..urls)
                .map(|_| "u".repeat(length(&mut self.dice)))
                .collect(),
        }
    }

    /// An alarm, or the end of one that may not be there.
    fn alarm(&mut self) -> Command {
        let kind = match self.dice.below(2) {
            0 => AlarmKind::NoSpace,
            _ => AlarmKind::Corrupt,
        };
        let member = self.dice.below(2);
        let (alarm, is_raised) = (Alarm { kind, member }, self.dice.once_in(2));
        if is_raised {
            self.raised.push(alarm);
        }
        Command::Alarm(AlarmRequest { alarm, is_raised })
    }

    /// What is said of members: by themselves mostly, or with a change. The founders are few.
    fn about_members(&mut self) -> Command {
        let Attributes {
            member,
            client_urls,
            name,
        } = self.attributes();
        match self.dice.below(16) {
            0 => Command::MemberRemove(member),
            1 | 2 => Command::MemberAdd(member, client_urls),
            3 | 4 => Command::MemberUpdate(member, client_urls),
            5 => Command::Found(vec![Member {
                id: member % 4,
                name: name.chars().take(9).collect(),
                peer_urls: vec!["p".to_string(); self.dice.below(3) as usize],
                client_urls: Vec::new(),
            }]),
            _ => Command::Publish(Attributes {
                member,
                client_urls,
                name,
            }),
        }
    }

    pub fn command(&mut self) -> Command {
        if !self.spares_etcd && self.dice.once_in(40) {
            return self.about_members();
        }
        if !self.raised.is_empty() && self.dice.once_in(4) {
            let alarm = self.raised.remove(0);
            let is_raised = false;
            return Command::Alarm(AlarmRequest { alarm, is_raised });
        }
        if !self.spares_etcd && self.dice.once_in(150) {
            return self.alarm();
        }
        if self.dice.once_in(12) {
            return match self.dice.below(6) {
                0..=2 => Command::LeaseGrant(self.grant()),
                3 if !self.spares_etcd => Command::LeaseCheckpoint(self.checkpoint()),
                _ => Command::LeaseRevoke(self.revoke()),
            };
        }
        match self.dice.below(100) {
            0..=34 => Command::Put(self.put()),
            35..=49 => Command::DeleteRange(self.delete()),
            50..=96 => Command::Txn(self.txn(3, false)),
            _ => Command::Compact(self.compaction()),
        }
    }
}
