//! JSON over HTTP for whoever has no gRPC: each path is a call of a service, and each body its message.
//! Never knows a message: what there is and how JSON spells it is in the description of the API, and the
//! call goes the way of every other.
//!
//! A call with one answer is one JSON object. One with a stream of answers is a line for each, and one
//! with a stream of requests takes object after object from the body.
//!
//! # Source
//! The paths of the etcd v3 API's gateway; JSON as proto3 defines it, with names as in the `.proto` files.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::deadline;
use crate::generated::descriptors::FILES;
use crate::grpc::framed;
use crate::pressure::{self, Requests, Weighed};
use crate::request_body::RequestBody;
use answers::{Answers, json_body};
use clerks::Clerks;
use known::keep_known;

/// Each path with its service and method; the older ones of leases too, which etcd still takes.
const PATHS: [(&str, &str, &str); 52] = [
    ("kv/range", "etcdserverpb.KV", "Range"),
    ("kv/put", "etcdserverpb.KV", "Put"),
    ("kv/deleterange", "etcdserverpb.KV", "DeleteRange"),
    ("kv/txn", "etcdserverpb.KV", "Txn"),
    ("kv/compaction", "etcdserverpb.KV", "Compact"),
    ("watch", "etcdserverpb.Watch", "Watch"),
    ("lease/grant", "etcdserverpb.Lease", "LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease", "LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    (
        "kv/lease/timetolive",
        "etcdserverpb.Lease",
        "LeaseTimeToLive",
    ),
    ("lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster", "MemberAdd"),
    (
        "cluster/member/remove",
        "etcdserverpb.Cluster",
        "MemberRemove",
    ),
    (
        "cluster/member/update",
        "etcdserverpb.Cluster",
        "MemberUpdate",
    ),
    ("cluster/member/list", "etcdserverpb.Cluster", "MemberList"),
    (
        "cluster/member/promote",
        "etcdserverpb.Cluster",
        "MemberPromote",
    ),
    ("maintenance/alarm", "etcdserverpb.Maintenance", "Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance", "Status"),
    (
        "maintenance/defragment",
        "etcdserverpb.Maintenance",
        "Defragment",
    ),
    // Both are what release 3.5 calls the hash of the versions.
    ("maintenance/hash", "etcdserverpb.Maintenance", "HashKV"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance", "HashKV"),
    (
        "maintenance/snapshot",
        "etcdserverpb.Maintenance",
        "Snapshot",
    ),
    (
        "maintenance/transfer-leadership",
        "etcdserverpb.Maintenance",
        "MoveLeader",
    ),
    (
        "maintenance/downgrade",
        "etcdserverpb.Maintenance",
        "Downgrade",
    ),
    ("lock/lock", "v3lockpb.Lock", "Lock"),
    ("lock/unlock", "v3lockpb.Lock", "Unlock"),
    ("election/campaign", "v3electionpb.Election", "Campaign"),
    ("election/proclaim", "v3electionpb.Election", "Proclaim"),
    ("election/leader", "v3electionpb.Election", "Leader"),
    ("election/observe", "v3electionpb.Election", "Observe"),
    ("election/resign", "v3electionpb.Election", "Resign"),
    ("kv/rangestream", "etcdserverpb.KV", "RangeStream"),
    ("auth/enable", "etcdserverpb.Auth", "AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth", "AuthDisable"),
    ("auth/status", "etcdserverpb.Auth", "AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth", "Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth", "UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth", "UserGet"),
    ("auth/user/list", "etcdserverpb.Auth", "UserList"),
    ("auth/user/delete", "etcdserverpb.Auth", "UserDelete"),
    (
        "auth/user/changepw",
        "etcdserverpb.Auth",
        "UserChangePassword",
    ),
    ("auth/user/grant", "etcdserverpb.Auth", "UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth", "UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth", "RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth", "RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth", "RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth", "RoleDelete"),
    (
        "auth/role/grant",
        "etcdserverpb.Auth",
        "RoleGrantPermission",
    ),
    (
        "auth/role/revoke",
        "etcdserverpb.Auth",
        "RoleRevokePermission",
    ),
];

/// The methods by their paths.
#[derive(Clone)]
pub struct Gateway {
    methods: Arc<HashMap<&'static str, MethodDescriptor>>,
    body_bytes_max: usize,
    requests: Requests,
    room: pressure::Answers,
    clerks: Clerks,
}

/// A failed call.
struct Refusal {
    code: Code,
    text: String,
}

impl Gateway {
    /// A gateway for bodies up to this size, and streams of requests of which each is no larger; `room` is
    /// for the texts of answers.
    pub fn new(body_bytes_max: usize, requests: Requests, room: pressure::Answers) -> Self {
        let pool = DescriptorPool::decode(FILES).expect("the description is generated");
        let find = |(path, service, method): &(&'static str, &str, &str)| {
            let service = pool.get_service_by_name(service)?;
            let method = service.methods().find(|known| known.name() == *method)?;
            Some((*path, method))
        };
        Self {
            methods: Arc::new(PATHS.iter().filter_map(find).collect()),
            body_bytes_max,
            requests,
            room,
            clerks: Clerks::new(),
        }
    }

    /// Answers a request for `path`, which stands behind `/v3/`, by a call.
    pub async fn answer<F>(
        &self,
        path: &str,
        request: Request<RequestBody>,
        call: impl FnOnce(Request<Body>) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<tonic::body::Body>>,
    {
        let Some(method) = self.methods.get(path) else {
            return refused(StatusCode::NOT_FOUND, Code::NotFound);
        };
        if is_foreign(request.headers()) {
            // A browser sends it for whatever page is open; no page may do that unasked.
            let text = "Forbidden to pages of another origin".to_owned();
            let code = Code::PermissionDenied;
            return Refusal { code, text }.into_response();
        }
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented);
        }
        let (head, body) = request.into_parts();
        let body = Body::new(body);
        let messages = if method.is_client_streaming() {
            self.stream_of(body, method.input())
        } else {
            match self.whole(body, method.input()).await {
                Ok(message) => Body::from(message),
                Err(refusal) => return refusal.into_response(),
            }
        };
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut request = Request::post(path)
            .header(CONTENT_TYPE, "application/grpc")
            .header("te", "trailers")
            .body(messages)
            .expect("a path of letters");
        for name in [AUTHORIZATION, HeaderName::from_static(deadline::HEADER)] {
            if let Some(value) = head.headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let response = call(request).await;
        if let Some(refusal) = Refusal::of(response.headers()) {
            return match method.is_server_streaming() {
                true => json_response(refusal.http_code(), refusal.in_a_stream()),
                false => refusal.into_response(),
            };
        }
        let clerks = self.clerks.clone();
        let answers = Answers::new(response.into_body(), method.output(), clerks);
        if method.is_server_streaming() {
            answers.into_lines().await
        } else {
            answers.into_one(&self.room).await
        }
    }

    /// The only message of a body, as gRPC has it.
    async fn whole(&self, body: Body, kind: MessageDescriptor) -> Result<Bytes, Refusal> {
        // Its room is kept until it is the message.
        let mut body = self.requests.weigh_all(body);
        let json = Limited::new(&mut body, self.body_bytes_max).collect().await;
        let json = json.map_err(|error| match tonic::Status::try_from_error(error) {
            Ok(status) => Refusal::from(status),
            Err(_) => too_large(self.body_bytes_max),
        })?;
        let json = json.to_bytes();
        let convert = self.clerks.work(json.len(), move || {
            let mut messages = serde_json::Deserializer::from_slice(&json).into_iter();
            // No body is an empty message.
            let value = messages.next().unwrap_or_else(|| Ok(json!({})));
            to_frame(value.map_err(malformed)?, kind)
        });
        convert.await?
    }

    /// The messages of a body as they come, as gRPC has them. A broken one ends the stream.
    fn stream_of(&self, body: Body, kind: MessageDescriptor) -> Body {
        let (frames, stream) = mpsc::channel(1);
        let (bytes_max, clerks) = (self.body_bytes_max, self.clerks.clone());
        let body = self.requests.weigh_left(body);
        tokio::spawn(async move {
            if let Err(refusal) = pass_on(body, kind, bytes_max, &clerks, &frames).await {
                let status = tonic::Status::new(refusal.code, refusal.text);
                // Whoever is gone need not hear it.
                let _ = frames.send(Err(status)).await;
            }
        });
        Body::from_stream(ReceiverStream::new(stream))
    }
}

/// Passes each object of a body on as soon as it is whole.
async fn pass_on(
    mut body: Weighed<Body>,
    kind: MessageDescriptor,
    bytes_max: usize,
    clerks: &Clerks,
    frames: &mpsc::Sender<Result<Bytes, tonic::Status>>,
) -> Result<(), Refusal> {
    let mut objects = Objects::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match tonic::Status::try_from_error(error) {
            Ok(status) => Refusal::from(status),
            Err(error) => malformed(error),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        objects.gathered.extend_from_slice(&data);
        while let Some(object) = objects.next()? {
            let kind = kind.clone();
            let convert = clerks.work(object.len(), move || {
                let value = serde_json::from_slice(&object);
                to_frame(value.map_err(malformed)?, kind)
            });
            if frames.send(Ok(convert.await??)).await.is_err() {
                return Ok(());
            }
            body.leave(0);
        }
        body.leave(objects.left());
        if objects.gathered.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
    }
    if objects.gathered.iter().all(u8::is_ascii_whitespace) {
        Ok(())
    } else {
        Err(malformed("the body ends within an object"))
    }
}

/// Objects one after the other, found by their braces; each byte is looked at once.
#[derive(Default)]
struct Objects {
    gathered: BytesMut,
    /// How many bytes of it have been looked at.
    looked: usize,
    /// How many braces are open there.
    depth: usize,
    is_string: bool,
    is_escaped: bool,
}

impl Objects {
    /// How many bytes are here of one that is not whole.
    fn left(&mut self) -> usize {
        if self.depth == 0 {
            // Nothing but the space between two.
            self.gathered.clear();
            self.looked = 0;
        }
        self.gathered.len()
    }

    /// The next one that is whole.
    fn next(&mut self) -> Result<Option<BytesMut>, Refusal> {
        while let Some(&byte) = self.gathered.get(self.looked) {
            self.looked += 1;
            if self.is_string {
                let ends = byte == b'"' && !self.is_escaped;
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                self.is_string = !ends;
                continue;
            }
            match byte {
                b'{' => self.depth += 1,
                _ if self.depth == 0 && byte.is_ascii_whitespace() => {}
                _ if self.depth == 0 => return Err(malformed("it is no object")),
                b'"' => self.is_string = true,
                b'}' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let object = self.gathered.split_to(self.looked);
                        self.looked = 0;
                        return Ok(Some(object));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal {
        code: Code::ResourceExhausted,
        text: format!("a message may have {bytes_max} bytes"),
    }
}

/// Whether a page that comes from somewhere else has asked.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    let is_other = |origin: &str| origin.split_once("://").is_none_or(|(_, of)| of != host);
    text("origin").is_some_and(is_other) || text("sec-fetch-site") == Some("cross-site")
}

/// A message's JSON as its frame of a gRPC body.
fn to_frame(mut value: serde_json::Value, kind: MessageDescriptor) -> Result<Bytes, Refusal> {
    keep_known(&mut value, &kind);
    let message = DynamicMessage::deserialize(kind, value);
    let message = message.map_err(malformed)?;
    Ok(framed(&message))
}

fn malformed(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        code: Code::InvalidArgument,
        text: error.to_string(),
    }
}

/// An answer of our own that cannot be told.
fn broken(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        code: Code::Internal,
        text: error.to_string(),
    }
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: status.code(),
            text: status.message().to_owned(),
        }
    }
}

impl Refusal {
    /// What the headers or trailers of a call say, if it has failed.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let status = tonic::Status::from_header_map(headers)?;
        (status.code() != Code::Ok).then(|| Self::from(status))
    }

    fn into_response(self) -> Response<Body> {
        json_response(self.http_code(), self.into_json())
    }

    fn into_json(self) -> String {
        let (text, code) = (json!(self.text), self.code as i32);
        format!("{{\"error\":{text},\"code\":{code},\"message\":{text}}}")
    }

    fn in_a_stream(&self) -> String {
        let (http, text) = (self.http_code(), json!(self.text));
        format!(
            "{{\"error\":{{\"grpc_code\":{},\"http_code\":{},\"message\":{text},\"http_status\":\"{}\"}}}}\n",
            self.code as i32,
            http.as_u16(),
            http.canonical_reason().unwrap_or_default(),
        )
    }

    /// As grpc-gateway has it.
    fn http_code(&self) -> StatusCode {
        match self.code {
            Code::Ok => StatusCode::OK,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
                StatusCode::BAD_REQUEST
            }
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
            Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

fn json_response(code: StatusCode, json: String) -> Response<Body> {
    json_body(code, Body::from(json))
}

/// The answer to what is no call.
fn refused(status: StatusCode, code: Code) -> Response<Body> {
    let text = status.canonical_reason().unwrap_or_default().to_owned();
    json_response(status, Refusal { code, text }.into_json())
}

mod answers;
mod clerks;
mod known;
mod spelled;
#[cfg(test)]
mod tests;
