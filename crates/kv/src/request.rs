//! What clients ask and are told: etcd's key-value messages as plain data.
//! Never encodes itself for a client: the server does that.
//!
//! Field names, meanings and defaults are those of etcd's `rpc.proto`; zero and empty mean unset.
//!
//! # Source
//! The etcd v3 API, package `etcdserverpb`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::auth::{Asker, Auth, AuthQuery, AuthRequest, Right};
use crate::copy::{CopyRequest, CopyResponse};
use crate::members::Roster;
use crate::record::Record;

/// One key at one revision (`mvccpb.KeyValue`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that created it.
    pub create_revision: i64,
    /// The revision that last changed it.
    pub mod_revision: i64,
    /// How many times it was put since its creation.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease it is attached to; zero for none.
    pub lease: i64,
}

/// Which keys, at which revision, in which order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeRequest {
    /// The first key.
    pub key: Bytes,
    /// Empty: that key alone; `\0`: all keys from it on; else the end, exclusive.
    pub range_end: Bytes,
    /// The most keys to return; zero or less for all.
    pub limit: i64,
    /// The revision to read at; zero or less for the current one.
    pub revision: i64,
    /// The order; see [`SortOrder`].
    pub sort_order: SortOrder,
    /// What to order by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Keep keys modified at this revision or later; zero for no bound. The next three alike.
    pub min_mod_revision: i64,
    /// Upper bound on the modification revision.
    pub max_mod_revision: i64,
    /// Lower bound on the creation revision.
    pub min_create_revision: i64,
    /// Upper bound on the creation revision.
    pub max_create_revision: i64,
}

/// The order of a range's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SortOrder {
    /// None asked for: by key; ascending when the target is not the key.
    #[default]
    None = 0,
    /// Lowest first.
    Ascend = 1,
    /// Highest first.
    Descend = 2,
    /// A number etcd does not know; refused.
    Unknown = 255,
}

/// What a range's keys are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key = 0,
    /// The version.
    Version = 1,
    /// The creation revision.
    Create = 2,
    /// The modification revision.
    Mod = 3,
    /// The value.
    Value = 4,
    /// A number etcd does not know; refused.
    Unknown = 255,
}

/// The keys found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeResponse {
    /// In the order asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many keys the range holds at that revision, before filters and limit.
    pub count: i64,
}

/// One key to write.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach to; zero for none.
    pub lease: i64,
    /// Return the key as it was.
    pub prev_kv: bool,
    /// Keep the present value.
    pub ignore_value: bool,
    /// Keep the present lease.
    pub ignore_lease: bool,
}

/// The key was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutResponse {
    /// The key as it was, if asked for and there.
    pub prev_kv: Option<KeyValue>,
}

/// Keys to delete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteRangeRequest {
    /// The first key; see [`RangeRequest::key`].
    pub key: Bytes,
    /// The end; see [`RangeRequest::range_end`].
    pub range_end: Bytes,
    /// Return the keys as they were.
    pub prev_kv: bool,
}

/// The keys were deleted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteRangeResponse {
    /// How many.
    pub deleted: i64,
    /// As they were, in key order, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// One condition of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// How to compare.
    pub result: CompareResult,
    /// What of the key, with what.
    pub target: CompareTarget,
    /// The first key.
    pub key: Bytes,
    /// The end: every key of the range must pass; see [`RangeRequest::range_end`].
    pub range_end: Bytes,
}

/// The relation that must hold between the key's side and the given one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CompareResult {
    /// Equal.
    Equal = 0,
    /// The key's is greater.
    Greater = 1,
    /// The key's is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
    /// A number etcd does not know; it lets such a comparison pass.
    Unknown = 255,
}

/// What of a key is compared with what. A mismatched or absent operand counts as zero or empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The creation revision.
    Create(i64),
    /// The modification revision.
    Mod(i64),
    /// The value; fails if there is no such key.
    Value(Bytes),
    /// The lease.
    Lease(i64),
    /// A target etcd does not know.
    Unknown,
}

/// If all comparisons hold then these, else those.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TxnRequest {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// What to do if all hold.
    pub success: Vec<RequestOp>,
    /// What to do otherwise.
    pub failure: Vec<RequestOp>,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestOp {
    /// Read.
    Range(RangeRequest),
    /// Write.
    Put(PutRequest),
    /// Delete.
    DeleteRange(DeleteRangeRequest),
    /// A transaction within.
    Txn(Box<TxnRequest>),
    /// The client set no operation; refused as etcd refuses it.
    Missing,
}

/// A transaction's outcome.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TxnResponse {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One answer per operation of the branch taken.
    pub responses: Vec<ResponseOp>,
}

/// One operation's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseOp {
    /// To a read.
    Range(RangeResponse),
    /// To a write.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction within.
    Txn(TxnResponse),
}

/// Forget history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CompactionRequest {
    /// Everything before this revision that is not current at it.
    pub revision: i64,
    /// As the client said it. No answer waits for the space: it comes back bit by bit.
    pub physical: bool,
}

/// Grant a lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseGrantRequest {
    /// Its id, chosen by the caller; not zero.
    pub id: i64,
    /// How long it lives without a renewal, in seconds. The caller has raised it to the least that
    /// its cluster grants; what is below one second counts as one.
    pub ttl: i64,
}

/// A lease was granted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseGrantResponse {
    /// Its id.
    pub id: i64,
    /// Its time to live, in seconds.
    pub ttl: i64,
}

/// Revoke a lease and delete the keys attached to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseRevokeRequest {
    /// The lease.
    pub id: i64,
    /// The finding that it has ended; `None` when a client wants it gone.
    pub ended: Option<Ended>,
}

/// A leader found that a lease has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ended {
    /// That leader's term: in an entry of another term the finding is void, for another leader may
    /// have renewed the lease since.
    pub term: u64,
    /// The log index that granted the lease: one granted anew under the same id is spared.
    pub granted: u64,
}

/// Note how much time leases have left, for the leaders to come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseCheckpointRequest {
    /// The term of the leader that says so; in an entry of another term it is void.
    pub term: u64,
    /// Counts that leader's checkpoints: one that comes after a later one is void.
    pub number: u64,
    /// What each has left. A lease that does not exist is passed over.
    pub leases: Vec<LeaseLeft>,
}

/// What one lease has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseLeft {
    /// The lease.
    pub id: i64,
    /// The log index that granted it: one granted anew under the same id is passed over.
    pub granted: u64,
    /// So many seconds; zero for all that was granted.
    pub seconds: i64,
}

/// Ask for a lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseTimeToLiveRequest {
    /// The lease.
    pub id: i64,
    /// Return the keys attached to it.
    pub keys: bool,
}

/// What the store knows of a lease. When it ends only the leader's
/// [`Lessor`](crate::lessor::Lessor) knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseTimeToLiveResponse {
    /// The lease.
    pub id: i64,
    /// The time to live it was granted, in seconds.
    pub granted_ttl: i64,
    /// How much of it a new leader would give it, in seconds: what the last checkpoint left.
    pub remaining_ttl: i64,
    /// The keys attached to it, in order, if asked for.
    pub keys: Vec<Bytes>,
}

/// What a member says of itself; the part of `etcdserverpb.Member` that is its own to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// The member's id.
    pub member: u64,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// A member as the cluster knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

impl From<Attributes> for Member {
    fn from(attributes: Attributes) -> Self {
        Self {
            id: attributes.member,
            name: attributes.name,
            client_urls: attributes.client_urls,
            peer_urls: Vec::new(),
        }
    }
}

/// What can be wrong with a member's store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AlarmKind {
    /// It is as large as it may become.
    NoSpace,
    /// It is another than that of other members.
    Corrupt,
}

/// An alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// The id of the member whose store it is.
    pub member: u64,
}

/// Raise an alarm, or end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlarmRequest {
    /// The alarm.
    pub alarm: Alarm,
    /// Whether it is raised.
    pub is_raised: bool,
}

/// A command to the store: what goes through the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Write a key.
    Put(PutRequest),
    /// Delete keys.
    DeleteRange(DeleteRangeRequest),
    /// Decide, then read and write, at one revision.
    Txn(TxnRequest),
    /// Forget history.
    Compact(CompactionRequest),
    /// Record what a member says of itself; no revision moves.
    Publish(Attributes),
    /// Record the members that the cluster begins with, where nothing is known of them yet.
    Found(Vec<Member>),
    /// Record where the peers of a new member reach it; comes with the change that adds it.
    MemberAdd(u64, Vec<String>),
    /// Forget a member, and remember that it is gone; comes with the change that removes it.
    MemberRemove(u64),
    /// Record where the peers of a member reach it from now on.
    MemberUpdate(u64, Vec<String>),
    /// Grant a lease; no revision moves.
    LeaseGrant(LeaseGrantRequest),
    /// Revoke a lease; its keys go at one revision.
    LeaseRevoke(LeaseRevokeRequest),
    /// Note how much time leases have left; no revision moves.
    LeaseCheckpoint(LeaseCheckpointRequest),
    /// Raise an alarm or end it; no revision moves.
    Alarm(AlarmRequest),
    /// Change users, roles or rights; no revision moves but their own.
    Auth(AuthRequest),
    /// One of those above, and who wants it.
    By(Asker, Box<Command>),
}

impl Command {
    /// Who wants it, if that is said, and what.
    pub fn parts(&self) -> (Option<&Asker>, &Command) {
        match self {
            Self::By(asker, command) => (Some(asker), command),
            command => (None, command),
        }
    }

    /// What is wanted, whoever it may be that wants it.
    pub fn wanted(&self) -> &Command {
        self.parts().1
    }
}

/// An answer to a command or a query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact,
    /// To a publication, and all else that is recorded of members.
    Publish,
    /// To a grant.
    LeaseGrant(LeaseGrantResponse),
    /// To a revocation.
    LeaseRevoke,
    /// To a checkpoint.
    LeaseCheckpoint,
    /// To an alarm: that one, unless there was none to end. To [`Query::Alarms`]: all of that kind.
    Alarms(Vec<Alarm>),
    /// To [`Query::LeaseTimeToLive`].
    LeaseTimeToLive(LeaseTimeToLiveResponse),
    /// To [`Query::LeaseLeases`]: the ids of all leases, in order.
    LeaseLeases(Vec<i64>),
    /// To [`Query::Status`].
    Status(StoreStatus),
    /// To [`Query::Members`].
    Members(Arc<Roster>),
    /// To [`Query::Hash`].
    Hash(HashResponse),
    /// To [`Query::Copy`].
    Copy(CopyResponse),
    /// To a change of users, roles or rights, and to what asks after them: what there is now.
    Auth(Arc<Auth>),
    /// To [`Query::May`]: yes.
    May,
}

/// Hash one piece of what there is up to a revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HashRequest {
    /// The revision; zero or less for the current one. Not looked at after the first piece.
    pub revision: i64,
    /// What the piece before came to; `None` for the first.
    pub so_far: Option<HashPart>,
    /// About how many bytes of versions a piece is; it bounds the work, too.
    pub piece_bytes: usize,
    /// Whether users and roles count as well.
    pub with_auth: bool,
}

/// What a hash has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashResponse {
    /// There is more; ask again with this.
    Part(HashPart),
    /// That was all.
    Whole {
        /// The hash: equal on all members for equal revisions.
        hash: u32,
        /// The revision that it goes up to.
        revision: i64,
        /// The compaction that it leaves out; -1 before the first.
        compact_revision: i64,
    },
}

/// A hash of the versions up to the last one looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashPart {
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    /// The last version looked at; `None` before the first.
    pub(crate) last: Option<Record>,
}

/// The store in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStatus {
    /// The current revision.
    pub revision: i64,
    /// The last compaction; -1 before the first.
    pub compact_revision: i64,
    /// Keys alive at the current revision.
    pub keys: u64,
    /// Bytes held: keys, values and their bookkeeping, old versions included.
    pub size_bytes: u64,
    /// Of these, bytes that a compaction to the current revision would keep.
    pub size_in_use_bytes: u64,
}

/// A question that changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// Read keys.
    Range(RangeRequest),
    /// A transaction that only reads (in both branches).
    Txn(TxnRequest),
    /// The store in numbers.
    Status,
    /// Who the members are, and who was one.
    Members,
    /// The alarms that are raised, of one kind or of all.
    Alarms(Option<AlarmKind>),
    /// One lease.
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    /// All leases.
    LeaseLeases,
    /// One number for all versions, piece by piece.
    Hash(HashRequest),
    /// All versions and leases, piece by piece.
    Copy(CopyRequest),
    /// Users and roles, for a client.
    Auth(AuthQuery),
    /// Users and roles, for the server itself.
    AuthState,
    /// Whether whoever asks has a right.
    May(Right),
    /// One of those above, and who asks.
    By(Asker, Box<Query>),
}

/// What the store replies, with the store's revision after it (the response header's).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The revision for the response header.
    pub revision: i64,
    /// The answer, or why nothing was done.
    pub result: Result<Response, KvError>,
}

/// Why a request was refused. The server turns each into etcd's code and message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KvError {
    /// "key is not provided"
    EmptyKey,
    /// "key not found": an operation without content, or `ignore_value`/`ignore_lease` on nothing.
    KeyNotFound,
    /// "value is provided" beside `ignore_value`.
    ValueProvided,
    /// "lease is provided" beside `ignore_lease`.
    LeaseProvided,
    /// "too many operations in txn request"
    TooManyOps,
    /// "duplicate key given in txn request"
    DuplicateKey,
    /// "invalid sort option"
    InvalidSortOption,
    /// "mvcc: required revision has been compacted"
    Compacted,
    /// "mvcc: required revision is a future revision"
    FutureRevision,
    /// "requested lease not found"
    LeaseNotFound,
    /// "lease already exists"
    LeaseExists,
    /// "too large lease TTL"
    LeaseTtlTooLarge,
    /// What a leader decided about leases was committed in the term of another, or too late.
    LeaseDecisionVoid,
    /// "mvcc: database space exceeded": an alarm says so.
    NoSpace,
    /// "corrupt cluster": an alarm says so.
    Corrupt,
    /// A member's name or URLs are longer or more than the store keeps.
    AttributesTooLarge,
    /// As many members as the store keeps are known already.
    TooManyMembers,
    /// "member not found"
    MemberNotFound,
    /// "Peer URLs already exists"
    PeerUrlsExist,
    /// "user name is empty": requests need rights, and it is not known who asks.
    UserEmpty,
    /// "user name already exists"
    UserExists,
    /// "user name not found"
    UserNotFound,
    /// "role name is empty"
    RoleEmpty,
    /// "role name already exists"
    RoleExists,
    /// "role name not found"
    RoleNotFound,
    /// "role is not granted to the user"
    RoleNotGranted,
    /// "permission is not granted to the role"
    PermissionNotGranted,
    /// "permission denied"
    PermissionDenied,
    /// "invalid auth token": its user is gone, or has another password.
    InvalidAuthToken,
    /// "revision of auth store is old": users, roles or rights have changed since.
    OldAuthRevision,
    /// "root user does not exist"
    RootUserNotFound,
    /// "root user does not have root role"
    RootRoleNotGranted,
    /// "invalid auth management": root's place is not to be touched, or a range has no keys.
    InvalidAuthManagement,
    /// The log held bytes that are no command of a version known here.
    MalformedCommand,
}
