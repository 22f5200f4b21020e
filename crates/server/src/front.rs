//! The front door of every port for clients: each request, of gRPC or HTTP, to whom it is for, where that is
//! served.
//! Never looks into a request's body.
//!
//! # Source
//! gRPC over HTTP/2; etcd's client port.

use std::convert::Infallible;
use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use headwater_kv::auth::Asker;
use http::{HeaderMap, Method, Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

use crate::auth::door::CommonName;
use crate::backend::Backend;
use crate::client::{Caller, Client};
use crate::counted::{Begun, Counted};
use crate::deadline;
use crate::doors::Served;
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::generated::etcdserverpb::auth_server::AuthServer;
use crate::generated::etcdserverpb::cluster_server::ClusterServer;
use crate::generated::etcdserverpb::kv_server::KvServer;
use crate::generated::etcdserverpb::lease_server::LeaseServer;
use crate::generated::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::generated::etcdserverpb::watch_server::WatchServer;
use crate::generated::health::health_server::HealthServer;
use crate::generated::v3electionpb::election_server::ElectionServer;
use crate::generated::v3lockpb::lock_server::LockServer;
use crate::grpc;
use crate::http_pages;
use crate::http2::Received;
use crate::metrics::{MethodId, Metrics, Way, status_code};
use crate::outlook::wants_leader;
use crate::pressure::{self, Fit, Requests, Weighed};
use crate::request_body::RequestBody;
use crate::service::auth::AuthService;
use crate::service::cluster::ClusterService;
use crate::service::election::ElectionService;
use crate::service::health::HealthService;
use crate::service::kv::{KvService, ShortCall};
use crate::service::lease::LeaseService;
use crate::service::lock::LockService;
use crate::service::maintenance::MaintenanceService;
use crate::service::not_served;
use crate::service::reflection;
use crate::service::watch::WatchService;

mod short;
mod streams;

pub use self::short::{ShortAnswer, ShortRequest};

/// What a gRPC message may be larger than the largest command: its own framing and field names.
const MESSAGE_SLACK_BYTES: usize = 512 << 10;

/// The largest message of a service that has no keys and values.
const SMALL_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// All services behind one door.
pub struct Front {
    auth: AuthServer<AuthService>,
    kv: KvServer<KvService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    health: HealthServer<HealthService>,
    reflection: Routes,
    gateway: Gateway,
    pages: Router,
    backend: Arc<Backend>,
    metrics: Arc<Metrics>,
    requests: Requests,
}

impl Front {
    /// The services of `backend`.
    pub fn new(backend: Arc<Backend>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let requests = Requests::new(backend.answers().crowd().clone());
        let message_bytes_max = backend.limits().request_bytes_max + MESSAGE_SLACK_BYTES;
        Self {
            auth: AuthServer::new(AuthService(Arc::clone(&backend)))
                .max_decoding_message_size(message_bytes_max),
            kv: KvServer::new(KvService(Arc::clone(&backend)))
                .max_decoding_message_size(message_bytes_max),
            cluster: ClusterServer::new(ClusterService(Arc::clone(&backend)))
                .max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX),
            maintenance: MaintenanceServer::new(MaintenanceService::new(Arc::clone(&backend)))
                .max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX),
            watch: WatchServer::new(WatchService(Arc::clone(&backend)))
                .max_decoding_message_size(message_bytes_max),
            lease: LeaseServer::new(LeaseService(Arc::clone(&backend)))
                .max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX),
            lock: LockServer::new(LockService(Arc::clone(&backend)))
                .max_decoding_message_size(message_bytes_max),
            election: ElectionServer::new(ElectionService(Arc::clone(&backend)))
                .max_decoding_message_size(message_bytes_max),
            health: HealthServer::new(HealthService)
                .max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX),
            reflection: reflection::services(SMALL_MESSAGE_BYTES_MAX),
            gateway: Gateway::new(
                2 * message_bytes_max,
                requests.clone(),
                pressure::Answers::new(backend.limits().request_timeout),
            ),
            pages: http_pages::router(Arc::clone(&backend), Arc::clone(&metrics)),
            backend,
            metrics,
            requests,
        }
    }

    /// The call that a request is, where this is served and if it may go the short way. If not, nothing of
    /// it is gone, and it goes the way of all ([`Self::answer_at`]).
    pub fn short_call(
        &self,
        served: Served,
        request: &mut Request<Received>,
    ) -> Option<ShortRequest> {
        let is_dense = self.backend.answers().crowd().is_dense();
        let method = request.uri().path().strip_prefix("/etcdserverpb.KV/");
        let decode = method.and_then(ShortCall::decoder);
        let decode = decode.filter(|_| served.has_grpc() && !is_dense && is_grpc(request))?;
        let body = request.body_mut();
        let whole = body.whole(pressure::SMALL_BYTES)?;
        let Some(call) = grpc::message(&whole).and_then(decode) else {
            body.put_back(whole);
            return None;
        };
        let bytes = whole.len() - grpc::HEAD_BYTES;
        let headers = std::mem::take(request.headers_mut());
        Some(ShortRequest::new(call, bytes, headers))
    }

    /// Answers a call that goes the short way.
    ///
    /// # Errors
    /// Its answer is not small.
    pub async fn answer_short(
        &self,
        request: ShortRequest,
        name: &CommonName,
    ) -> Result<ShortAnswer, Box<Response<Counted<Body>>>> {
        let ShortRequest {
            call: short,
            bytes,
            headers,
        } = request;
        let (service, method) = ("etcdserverpb.KV", short.method());
        let Some(counted) = self.metrics.on_start(service, method) else {
            let response = refuse(not_served(service, method));
            return Err(Box::new(response.map(Counted::uncounted)));
        };
        let mut call = Begun::new(Arc::clone(&self.metrics), counted);
        let fit = match self.enter(&mut call, false, &headers) {
            Err(failure) => Err(failure),
            Ok(deadline) => {
                let name = name.0.as_deref();
                let answer = pin!(async {
                    let asker = self.admit(method, &headers, name).await?;
                    self.metrics.on_messages(counted, Way::In, 1, bytes as u64);
                    KvService::answer(&Client::new(&self.backend, asker), short).await
                });
                within(deadline, answer).await.flatten()
            }
        };
        let response = match fit {
            Ok(Fit::Small(bytes)) => {
                call.end(0);
                return Ok(ShortAnswer::new(bytes, call));
            }
            Ok(Fit::Large(response)) => response,
            Err(failure) => refuse(failure),
        };
        Err(Box::new(self.ended(response, call, false)))
    }

    /// Answers one request at a port where this is served, over a connection whose client has this
    /// name.
    ///
    /// A future in a box: the connection and the task of each request move it about, and it is not small.
    pub fn answer_at(
        self: &Arc<Self>,
        served: Served,
        request: Request<RequestBody>,
        name: &CommonName,
    ) -> Coming<Response<Counted<Body>>> {
        let front = Arc::clone(self);
        match (served, is_grpc(&request)) {
            (Served::Everything | Served::Grpc, true) => {
                let name = name.clone();
                Box::pin(async move { front.answer_call(request, name.0.as_deref()).await })
            }
            (Served::Everything | Served::Http, false) => {
                Box::pin(async move { front.answer_http(request).await })
            }
            (Served::Pages, _) => Box::pin(async move { front.answer_page(request).await }),
            (Served::Grpc, false) => {
                let response = elsewhere("gRPC alone is served here; for HTTP");
                Box::pin(ready(response.map(Counted::uncounted)))
            }
            (Served::Http, true) => {
                let response = elsewhere("no gRPC is served here; for HTTP alone");
                Box::pin(ready(response.map(Counted::uncounted)))
            }
        }
    }

    async fn answer_http(&self, request: Request<RequestBody>) -> Response<Counted<Body>> {
        let Some(path) = below_gateway(request.uri().path()) else {
            return self.answer_page(request).await;
        };
        let path = path.to_owned();
        // As in etcd, a certificate counts for gRPC alone: a browser shows it unasked.
        let call = async |request| self.answer_call(request, None).await.map(Body::new);
        let response = self.gateway.answer(&path, request, call).await;
        response.map(|body| Counted::uncounted(Body::new(body)))
    }

    async fn answer_page(&self, request: Request<RequestBody>) -> Response<Counted<Body>> {
        let response = infallible(self.pages.clone().oneshot(request).await);
        response.map(|body| Counted::uncounted(Body::new(body)))
    }

    async fn answer_call<B: Call>(
        &self,
        request: Request<B>,
        name: Option<&str>,
    ) -> Response<Counted<Body>> {
        let path = request.uri().path().to_owned();
        let (service, method) = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .unwrap_or((path.as_str(), ""));
        let Some(counted) = self.metrics.on_start(service, method) else {
            return refuse(not_served(service, method)).map(Counted::uncounted);
        };
        let is_stream = self.metrics.is_stream(counted);
        let mut call = Begun::new(Arc::clone(&self.metrics), counted);
        let response = match self.enter(&mut call, is_stream, request.headers()) {
            Err(failure) => refuse(failure),
            Ok(deadline) => {
                let mut request = self.weighed(request, counted);
                let admitted =
                    within(deadline, pin!(self.admit(method, request.headers(), name))).await;
                match admitted.flatten() {
                    Ok(asker) => {
                        // Where there are no users no request has one, and none need carry that.
                        if let Some(asker) = asker {
                            request.extensions_mut().insert(Caller(asker));
                        }
                        let mut answer = self.dispatch(service, method, request);
                        within(deadline, answer.as_mut())
                            .await
                            .map_or_else(refuse, infallible)
                    }
                    Err(failure) => refuse(failure),
                }
            }
        };
        self.ended(with_grpc_limit_code(response), call, is_stream)
    }

    /// The answer to a call, which ends with it unless it is a stream's.
    fn ended(
        &self,
        response: Response<Body>,
        mut call: Begun,
        is_stream: bool,
    ) -> Response<Counted<Body>> {
        let is_dense = self.backend.answers().crowd().is_dense();
        // In a crowd whoever takes nothing loses the place, though its connection may keep the answer.
        let place = is_dense.then(|| call.leave()).flatten();
        let response = pressure::held(response, place);
        let is_refused = response.headers().contains_key(grpc::STATUS);
        if is_refused || !is_stream {
            call.end(status_code(response.headers()));
        }
        response.map(|body| Counted::answer(body, call))
    }

    /// When a call that begins now must have ended, if its client has said so; one that may be long has its
    /// own ways to end.
    fn enter(
        &self,
        call: &mut Begun,
        is_stream: bool,
        headers: &HeaderMap,
    ) -> Result<Option<Instant>, Failure> {
        if is_stream {
            return Ok(None);
        }
        call.hold(self.backend.answers().crowd().enter()?);
        deadline::of(headers)
    }

    fn weighed<B: Call>(
        &self,
        request: Request<B>,
        method: MethodId,
    ) -> Request<Counted<Weighed<B>>> {
        let metrics = Arc::clone(&self.metrics);
        let hears_many = self.metrics.hears_many(method);
        request.map(|body| {
            let body = match hears_many {
                true => self.requests.weigh_each(body),
                false => self.requests.weigh(body),
            };
            Counted::new(body, metrics, method, Way::In)
        })
    }

    /// Finds out who asks, if that is known, and refuses whoever may not.
    async fn admit(
        &self,
        method: &str,
        headers: &HeaderMap,
        name: Option<&str>,
    ) -> Result<Option<Asker>, Failure> {
        if wants_leader(headers) && !self.backend.has_leader() {
            return Err(Failure::NoLeader);
        }
        if is_open(method) {
            return Ok(None);
        }
        self.backend.door().who(&self.backend, headers, name).await
    }

    fn dispatch<B: Call>(
        &self,
        service: &str,
        method: &str,
        request: Request<B>,
    ) -> Coming<Result<Response<Body>, Infallible>> {
        match service {
            "etcdserverpb.Auth" => self.auth.clone().call(request),
            "etcdserverpb.KV" => self.kv.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "etcdserverpb.Watch" => self.watch.clone().call(request),
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "v3lockpb.Lock" => self.lock.clone().call(request),
            "v3electionpb.Election" => self.election.clone().call(request),
            "grpc.health.v1.Health" => self.health.clone().call(request),
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
                Box::pin(self.reflection.clone().call(request))
            }
            _ => Box::pin(ready(Ok(refuse(not_served(service, method))))),
        }
    }
}

/// Waits for an answer until then.
async fn within<F: Future + ?Sized>(
    deadline: Option<Instant>,
    answer: Pin<&mut F>,
) -> Result<F::Output, Failure> {
    let Some(deadline) = deadline else {
        return Ok(answer.await);
    };
    let answered = timeout_at(deadline, answer).await;
    answered.map_err(|_| Failure::DeadlineExceeded)
}

/// An answer to come.
type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The body of a call.
trait Call:
    hyper::body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + Unpin + 'static
{
}

impl<B> Call for B where
    B: hyper::body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + Unpin + 'static
{
}

/// What follows the gateway's prefix, also the one that etcd 3.3 had.
fn below_gateway(path: &str) -> Option<&str> {
    path.strip_prefix("/v3/")
        .or_else(|| path.strip_prefix("/v3beta/"))
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && grpc::is_grpc(request.headers())
}

/// Whether a call does not depend on who it comes from, and so takes any token: what one is asked for
/// with, and how a member is.
fn is_open(method: &str) -> bool {
    matches!(method, "Authenticate" | "Status" | "Check")
}

fn elsewhere(what: &str) -> Response<Body> {
    let text = format!("{what} see --listen-client-http-urls\n");
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

fn refuse(failure: Failure) -> Response<Body> {
    tonic::Status::from(failure).into_http()
}

/// Go's gRPC calls a message beyond the limit exhausted resources; tonic calls it out of range,
/// which etcd's clients take for a revision that is out of range.
fn with_grpc_limit_code(mut response: Response<Body>) -> Response<Body> {
    let out_of_range = tonic::Code::OutOfRange as usize;
    if status_code(response.headers()) == out_of_range {
        let text = response.headers().get("grpc-message");
        let is_limit = |text: &[u8]| text.windows(14).any(|part| part == b"message%20leng");
        if text.is_some_and(|text| is_limit(text.as_bytes())) {
            let exhausted = http::HeaderValue::from(tonic::Code::ResourceExhausted as u16);
            response.headers_mut().insert(grpc::STATUS, exhausted);
        }
    }
    response
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
