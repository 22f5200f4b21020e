//! The services of the etcd API that are served, and the list of all that there are.
//! Never holds state: each service converts, asks the backend, converts back.
//!
//! # Source
//! The etcd v3 API's services.

pub mod auth;
pub mod cluster;
pub mod election;
pub mod health;
pub mod kv;
pub mod lease;
pub mod lock;
pub mod maintenance;
pub mod range_stream;
pub mod reflection;
pub mod watch;

use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use tonic::Status;
use tonic::codegen::BoxStream;

use crate::failure::Failure;
use crate::outlook::{Outlook, Terms};

/// A gRPC service and its methods.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its full name, as in a request's path.
    pub name: &'static str,
    /// Its methods, with what metrics call their kind.
    pub methods: &'static [(&'static str, &'static str)],
}

/// A stream's messages, until there is a reason for it to end sooner, which is told.
pub fn until_end<T: Send + 'static>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    outlook: Outlook,
    terms: Terms,
) -> BoxStream<T> {
    let end = Box::pin(async move { outlook.end(terms).await });
    let begun = Some((Box::pin(messages), end));
    Box::pin(unfold(begun, |state| async {
        let (mut messages, mut end) = state?;
        tokio::select! {
            biased;
            end = &mut end => Some((Err(end.into()), None)),
            message = messages.next() => message.map(|message| (message, Some((messages, end)))),
        }
    }))
}

/// What metrics call a method of one request and one answer.
pub const UNARY: &str = "unary";
pub const BIDI: &str = "bidi_stream";
const SERVER: &str = "server_stream";

/// All services of the API, served or not.
pub const SERVICES: &[Service] = &[
    Service {
        name: "etcdserverpb.KV",
        methods: &[
            ("Range", UNARY),
            ("Put", UNARY),
            ("DeleteRange", UNARY),
            ("Txn", UNARY),
            ("Compact", UNARY),
            ("RangeStream", SERVER),
        ],
    },
    Service {
        name: "etcdserverpb.Watch",
        methods: &[("Watch", BIDI)],
    },
    Service {
        name: "etcdserverpb.Lease",
        methods: &[
            ("LeaseGrant", UNARY),
            ("LeaseRevoke", UNARY),
            ("LeaseKeepAlive", BIDI),
            ("LeaseTimeToLive", UNARY),
            ("LeaseLeases", UNARY),
        ],
    },
    Service {
        name: "etcdserverpb.Cluster",
        methods: &[
            ("MemberAdd", UNARY),
            ("MemberRemove", UNARY),
            ("MemberUpdate", UNARY),
            ("MemberList", UNARY),
            ("MemberPromote", UNARY),
        ],
    },
    Service {
        name: "etcdserverpb.Maintenance",
        methods: &[
            ("Alarm", UNARY),
            ("Status", UNARY),
            ("Defragment", UNARY),
            ("Hash", UNARY),
            ("HashKV", UNARY),
            ("Snapshot", SERVER),
            ("MoveLeader", UNARY),
            ("Downgrade", UNARY),
        ],
    },
    Service {
        name: "etcdserverpb.Auth",
        methods: &[
            ("AuthEnable", UNARY),
            ("AuthDisable", UNARY),
            ("AuthStatus", UNARY),
            ("Authenticate", UNARY),
            ("UserAdd", UNARY),
            ("UserGet", UNARY),
            ("UserList", UNARY),
            ("UserDelete", UNARY),
            ("UserChangePassword", UNARY),
            ("UserGrantRole", UNARY),
            ("UserRevokeRole", UNARY),
            ("RoleAdd", UNARY),
            ("RoleGet", UNARY),
            ("RoleList", UNARY),
            ("RoleDelete", UNARY),
            ("RoleGrantPermission", UNARY),
            ("RoleRevokePermission", UNARY),
        ],
    },
    Service {
        name: "v3lockpb.Lock",
        methods: &[("Lock", UNARY), ("Unlock", UNARY)],
    },
    Service {
        name: "v3electionpb.Election",
        methods: &[
            ("Campaign", UNARY),
            ("Proclaim", UNARY),
            ("Leader", UNARY),
            ("Observe", SERVER),
            ("Resign", UNARY),
        ],
    },
    Service {
        name: "grpc.health.v1.Health",
        methods: &[("Check", UNARY), ("Watch", SERVER)],
    },
    Service {
        name: "grpc.reflection.v1.ServerReflection",
        methods: &[("ServerReflectionInfo", BIDI)],
    },
    Service {
        name: "grpc.reflection.v1alpha.ServerReflection",
        methods: &[("ServerReflectionInfo", BIDI)],
    },
];

/// What to say to a call of `method` of `service` that no service took.
pub fn not_served(service: &str, method: &str) -> Failure {
    let Some(known) = SERVICES.iter().find(|known| known.name == service) else {
        return Failure::Unimplemented(format!("unknown service {service}"));
    };
    if known.methods.iter().any(|(name, _)| *name == method) {
        return Failure::Unimplemented(not_yet(service, method));
    }
    Failure::Unimplemented(format!("unknown method {method} for service {service}"))
}

/// That a method of the API is known but not served.
pub fn not_yet(service: &str, method: &str) -> String {
    format!("headwater: {service}/{method} is not served by this version")
}

/// Why a message of a client's stream could not be read, by the code that etcd's clients know: one that is too
/// large is out of range for tonic, which they take for a revision that is.
pub fn unreadable(status: tonic::Status) -> tonic::Status {
    match status.code() {
        tonic::Code::OutOfRange => {
            tonic::Status::new(tonic::Code::ResourceExhausted, status.message())
        }
        _ => status,
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        let (code, text) = failure.code_and_text();
        Self::new(tonic::Code::from_i32(code as i32), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unserved_call_is_told_what_was_not_found() {
        let text = |service, method| not_served(service, method).code_and_text().1;
        assert_eq!(
            text("etcdserverpb.KV", "Nope"),
            "unknown method Nope for service etcdserverpb.KV"
        );
        assert_eq!(text("no.Such", "Range"), "unknown service no.Such");
        assert!(text("etcdserverpb.Lease", "LeaseGrant").contains("not served"));
    }
}
