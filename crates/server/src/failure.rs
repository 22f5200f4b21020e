//! Why a request has no answer, in etcd's words: the code and the text that clients match on.
//! Never retries: that is the backend's choice.
//!
//! # Source
//! The etcd v3 API: the codes and texts of its errors.

use headwater_kv::request::KvError;

use crate::pressure::ANSWER_BYTES_MAX;

/// Why a request was not carried out, or may not have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The store refused it.
    Kv(KvError),
    /// The request is larger than the limit.
    TooLarge,
    /// Too much waits already.
    Busy,
    /// The answer would be larger than any may be; so many bytes.
    AnswerTooLarge(usize),
    /// Nothing more came of a request, or nothing more was taken of its answer.
    Stalled,
    /// The time is up that the client has given; what it asked for may happen yet.
    DeadlineExceeded,
    /// The client gives a time that is none.
    BadTimeout,
    /// No leader is known.
    NoLeader,
    /// The leader changed.
    LeaderChanged,
    /// Time ran out.
    TimedOut,
    /// A leader was lost on the way; a write may or may not have been carried out.
    LeaderLost,
    /// Only the leader can do that.
    NotLeader,
    /// Leadership cannot go to that member.
    BadTransferee,
    /// The member that was to lead did not take over in time.
    TransferTimedOut,
    /// No such member, or none any more.
    MemberNotFound,
    /// A member's URLs are none.
    BadMemberUrls,
    /// Too many members have never started.
    NotEnoughStarted,
    /// Too few members answer.
    Unhealthy,
    /// There are as many learners as there may be.
    TooManyLearners,
    /// Only a learner can be given a vote.
    NotLearner,
    /// The learner does not hold enough of the log yet.
    LearnerBehind,
    /// Requests need no rights, and so nobody gets a token.
    AuthNotEnabled,
    /// There is no such user, or that is not the password.
    AuthFailed,
    /// It is not said what is permitted.
    PermissionNotGiven,
    /// What another member says to that.
    Told(Code, String),
    /// The server is stopping.
    Stopped,
    /// This server does not do that; the text says what, and since when or why.
    Unimplemented(String),
    /// The service asked after is not one of ours.
    UnknownService,
    /// What etcd says without a code of its own.
    Unknown(&'static str),
    /// A broken promise between our own parts; the text is for the log.
    Internal(&'static str),
}

/// gRPC's status codes, those that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Code {
    /// No code fits.
    Unknown = 2,
    /// The request itself is wrong.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Whoever asks may not do that.
    PermissionDenied = 7,
    /// Something is used up.
    ResourceExhausted = 8,
    /// The state of things forbids it.
    FailedPrecondition = 9,
    /// The request lies outside what there is.
    OutOfRange = 11,
    /// The server does not do that.
    Unimplemented = 12,
    /// Our own fault.
    Internal = 13,
    /// Not now; another member or a later moment may do.
    Unavailable = 14,
    /// What is kept is wrong.
    DataLoss = 15,
    /// It is not known who asks.
    Unauthenticated = 16,
}

impl Code {
    /// The code of this number; `None` if that is no failure. A number that is not used here is
    /// [`Code::Unknown`].
    pub fn of_number(number: i32) -> Option<Self> {
        let codes = [
            Self::InvalidArgument,
            Self::DeadlineExceeded,
            Self::NotFound,
            Self::PermissionDenied,
            Self::ResourceExhausted,
            Self::FailedPrecondition,
            Self::OutOfRange,
            Self::Unimplemented,
            Self::Internal,
            Self::Unavailable,
            Self::DataLoss,
            Self::Unauthenticated,
        ];
        let known = codes.into_iter().find(|code| *code as i32 == number);
        (number != 0).then(|| known.unwrap_or(Self::Unknown))
    }
}

impl Failure {
    /// An error of ours.
    pub const MISMATCH: Self = Self::Internal("the store's answer is not of the request's kind");

    /// The code and the text, as etcd has them.
    pub fn code_and_text(&self) -> (Code, String) {
        let (code, text) = match self {
            Self::Kv(error) => return kv_error(*error),
            Self::Unimplemented(text) => return (Code::Unimplemented, text.clone()),
            Self::TooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
            Self::Busy => (Code::ResourceExhausted, "etcdserver: too many requests"),
            Self::AnswerTooLarge(bytes) => return answer_too_large(*bytes),
            Self::Stalled => (
                Code::DeadlineExceeded,
                "headwater: the client sends or takes nothing any more",
            ),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "context deadline exceeded"),
            Self::BadTimeout => (Code::InvalidArgument, BAD_TIMEOUT),
            Self::NoLeader => (Code::Unavailable, "etcdserver: no leader"),
            Self::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
            Self::TimedOut => (Code::Unavailable, "etcdserver: request timed out"),
            Self::LeaderLost => (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            Self::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
            Self::BadTransferee => (
                Code::FailedPrecondition,
                "etcdserver: bad leader transferee",
            ),
            Self::TransferTimedOut => (
                Code::Unavailable,
                "etcdserver: request timed out, leader transfer took too long",
            ),
            Self::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
            Self::BadMemberUrls => (
                Code::InvalidArgument,
                "etcdserver: given member URLs are invalid",
            ),
            Self::NotEnoughStarted => (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            Self::Unhealthy => (Code::Unavailable, "etcdserver: unhealthy cluster"),
            Self::TooManyLearners => (
                Code::FailedPrecondition,
                "etcdserver: too many learner members in cluster",
            ),
            Self::NotLearner => (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member",
            ),
            Self::LearnerBehind => (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            Self::AuthNotEnabled => (
                Code::FailedPrecondition,
                "etcdserver: authentication is not enabled",
            ),
            Self::AuthFailed => (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            Self::PermissionNotGiven => (Code::InvalidArgument, "etcdserver: permission not given"),
            Self::Told(code, text) => return (*code, text.clone()),
            Self::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
            Self::UnknownService => (Code::NotFound, "unknown service"),
            Self::Unknown(text) => (Code::Unknown, *text),
            Self::Internal(text) => (Code::Internal, *text),
        };
        (code, text.to_owned())
    }
}

/// What a client has to say instead.
const BAD_TIMEOUT: &str =
    "headwater: grpc-timeout is up to eight digits and one of H, M, S, m, u, n";

fn answer_too_large(bytes: usize) -> (Code, String) {
    let text = format!(
        "headwater: the answer would have {bytes} bytes and may have {ANSWER_BYTES_MAX}: ask for \
         less at a time, of a range with a limit or by RangeStream"
    );
    (Code::ResourceExhausted, text)
}

fn kv_error(error: KvError) -> (Code, String) {
    let (code, text) = match error {
        KvError::EmptyKey => (Code::InvalidArgument, "key is not provided"),
        KvError::KeyNotFound => (Code::InvalidArgument, "key not found"),
        KvError::ValueProvided => (Code::InvalidArgument, "value is provided"),
        KvError::LeaseProvided => (Code::InvalidArgument, "lease is provided"),
        KvError::TooManyOps => (Code::InvalidArgument, "too many operations in txn request"),
        KvError::DuplicateKey => (Code::InvalidArgument, "duplicate key given in txn request"),
        KvError::InvalidSortOption => (Code::InvalidArgument, "invalid sort option"),
        KvError::Compacted => (
            Code::OutOfRange,
            "mvcc: required revision has been compacted",
        ),
        KvError::FutureRevision => (
            Code::OutOfRange,
            "mvcc: required revision is a future revision",
        ),
        KvError::LeaseNotFound => (Code::NotFound, "requested lease not found"),
        KvError::LeaseExists => (Code::FailedPrecondition, "lease already exists"),
        KvError::LeaseTtlTooLarge => (Code::OutOfRange, "too large lease TTL"),
        KvError::AttributesTooLarge => (
            Code::InvalidArgument,
            "the member's name or URLs are too long or too many",
        ),
        KvError::MemberNotFound => (Code::NotFound, "member not found"),
        KvError::PeerUrlsExist => (Code::FailedPrecondition, "Peer URLs already exists"),
        KvError::UserEmpty => (Code::InvalidArgument, "user name is empty"),
        KvError::UserExists => (Code::FailedPrecondition, "user name already exists"),
        KvError::UserNotFound => (Code::FailedPrecondition, "user name not found"),
        KvError::RoleEmpty => (Code::InvalidArgument, "role name is empty"),
        KvError::RoleExists => (Code::FailedPrecondition, "role name already exists"),
        KvError::RoleNotFound => (Code::FailedPrecondition, "role name not found"),
        KvError::RoleNotGranted => (Code::FailedPrecondition, "role is not granted to the user"),
        KvError::PermissionNotGranted => (
            Code::FailedPrecondition,
            "permission is not granted to the role",
        ),
        KvError::PermissionDenied => (Code::PermissionDenied, "permission denied"),
        KvError::InvalidAuthToken => (Code::Unauthenticated, "invalid auth token"),
        KvError::OldAuthRevision => (Code::InvalidArgument, "revision of auth store is old"),
        KvError::RootUserNotFound => (Code::FailedPrecondition, "root user does not exist"),
        KvError::RootRoleNotGranted => (
            Code::FailedPrecondition,
            "root user does not have root role",
        ),
        KvError::InvalidAuthManagement => (Code::InvalidArgument, "invalid auth management"),
        KvError::NoSpace => (Code::ResourceExhausted, "mvcc: database space exceeded"),
        KvError::Corrupt => (Code::DataLoss, "corrupt cluster"),
        KvError::TooManyMembers => (Code::ResourceExhausted, "too many members"),
        KvError::MalformedCommand => (Code::Internal, "a command of an unknown version"),
        // The store may learn new refusals before this table does; the text names the variant.
        other => return (Code::Internal, format!("etcdserver: {other:?}")),
    };
    (code, format!("etcdserver: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_store_has_etcds_code_and_text() {
        let cases = [
            (KvError::EmptyKey, 3, "etcdserver: key is not provided"),
            (
                KvError::Compacted,
                11,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                KvError::LeaseNotFound,
                5,
                "etcdserver: requested lease not found",
            ),
        ];
        for (error, code, text) in cases {
            let (got_code, got_text) = Failure::Kv(error).code_and_text();
            assert_eq!((got_code as u8, got_text.as_str()), (code, text));
        }
    }

    #[test]
    fn what_another_member_may_do_is_unavailable() {
        for failure in [
            Failure::NoLeader,
            Failure::LeaderChanged,
            Failure::TimedOut,
            Failure::LeaderLost,
            Failure::Stopped,
        ] {
            assert_eq!(failure.code_and_text().0, Code::Unavailable, "{failure:?}");
        }
    }
}
