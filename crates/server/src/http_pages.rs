//! Plain HTTP on the client port: how the server is, for probes, dashboards and people.
//! Never changes anything: GET only.
//!
//! # Source
//! etcd's `/version`, `/health`, `/livez`, `/readyz` and `/metrics`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query as Parameters, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use headwater_runtime::ReadLevel;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use crate::alarms;
use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::company::Call;
use crate::failure::Failure;
use crate::members;
use crate::metrics::Metrics;
use crate::metrics_text::Format;
use crate::process::Usages;
use crate::scrape;
use crate::service::maintenance::{STORAGE_VERSION, store_status};

/// The version of the API that all members of a cluster of this version share.
pub const CLUSTER_VERSION: &str = "3.6.0";

#[derive(Clone)]
struct Shared {
    backend: Arc<Backend>,
    metrics: Arc<Metrics>,
    usages: Usages,
}

/// All pages.
pub fn router(backend: Arc<Backend>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(front_page))
        .route("/version", get(version))
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/livez/serializable_read", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/serializable_read", get(livez))
        .route("/readyz/linearizable_read", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/v2/{*rest}", any(version_2))
        .with_state(Shared {
            backend,
            metrics,
            usages: Usages::default(),
        })
}

async fn front_page(State(shared): State<Shared>) -> String {
    let cluster = shared.backend.cluster();
    let status = shared.backend.status();
    let members = members::list(&shared.backend, ReadLevel::Local).await;
    let members = members.unwrap_or_default();
    let name_of = |id| {
        let member = members.iter().find(|member| member.id == id);
        member.map_or("?", |member| member.name.as_str())
    };
    format!(
        "Headwater {own}, speaking etcd's v3 API {ETCD_VERSION}\n\n\
         member  {me} ({id:x}), {role}\nleader  {leader}\nterm    {term}\ncommit  {commit}\n\n\
         /health  /livez  /readyz  /metrics  /version\n",
        own = env!("CARGO_PKG_VERSION"),
        me = name_of(cluster.me),
        id = cluster.me.0,
        role = status.role,
        leader = status.leader.map_or("none", name_of),
        term = status.term,
        commit = status.commit,
    )
}

async fn version() -> Response {
    json(
        StatusCode::OK,
        &serde_json::json!({
            "etcdserver": ETCD_VERSION,
            "etcdcluster": CLUSTER_VERSION,
            "storage": STORAGE_VERSION,
            "headwater": env!("CARGO_PKG_VERSION"),
        }),
    )
}

async fn health(
    State(shared): State<Shared>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Response {
    let answer = health_of(&shared, &parameters).await;
    let tally = shared.backend.tally();
    tally.on_health(answer.status() == StatusCode::OK);
    answer
}

async fn health_of(shared: &Shared, parameters: &[(String, String)]) -> Response {
    let is_serializable = has(parameters, "serializable", "true");
    let level = ReadLevel::Local;
    let alarms = alarms::raised(&shared.backend, None, level).await;
    let names = alarms
        .iter()
        .flatten()
        .map(|alarm| alarms::name(alarm.kind));
    let mut names = names.filter(|name| !has(parameters, "exclude", name));
    if let Some(name) = names.next() {
        let unhealthy = serde_json::json!({ "health": "false", "reason": format!("ALARM {name}") });
        return json(StatusCode::SERVICE_UNAVAILABLE, &unhealthy);
    }
    let (status, health, reason) = match probe(&shared.backend, is_serializable).await {
        Ok(()) => (StatusCode::OK, "true", String::new()),
        Err(Failure::NoLeader) => {
            let reason = "RAFT NO LEADER".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "false", reason)
        }
        Err(failure) => {
            let reason = format!("RANGE ERROR:{}", failure.code_and_text().1);
            (StatusCode::SERVICE_UNAVAILABLE, "false", reason)
        }
    };
    json(
        status,
        &serde_json::json!({ "health": health, "reason": reason }),
    )
}

/// Whether a parameter, which may be there several times, has this value.
fn has(parameters: &[(String, String)], name: &str, value: &str) -> bool {
    parameters.iter().any(|(n, v)| n == name && v == value)
}

/// A read as a client would do it. Without a leader it would only wait, so that is said at once.
async fn probe(backend: &Backend, is_serializable: bool) -> Result<(), Failure> {
    let level = if is_serializable {
        ReadLevel::Local
    } else if backend.has_leader() {
        ReadLevel::Linearizable
    } else {
        return Err(Failure::NoLeader);
    };
    store_status(backend, level).await.map(|_| ())
}

async fn livez(
    State(shared): State<Shared>,
    Parameters(parameters): Parameters<HashMap<String, String>>,
) -> Response {
    let checks = [("serializable_read", probe(&shared.backend, true).await)];
    checked(&checks, &parameters)
}

async fn readyz(
    State(shared): State<Shared>,
    Parameters(parameters): Parameters<HashMap<String, String>>,
) -> Response {
    let checks = [
        ("serializable_read", probe(&shared.backend, true).await),
        ("linearizable_read", probe(&shared.backend, false).await),
    ];
    checked(&checks, &parameters)
}

fn checked(
    checks: &[(&str, Result<(), Failure>)],
    parameters: &HashMap<String, String>,
) -> Response {
    let excluded = parameters.get("exclude").map_or("", String::as_str);
    let mut lines = String::new();
    let mut is_ok = true;
    for (name, result) in checks.iter().filter(|(name, _)| *name != excluded) {
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(failure) => {
                is_ok = false;
                lines.push_str(&format!(
                    "[-]{name} failed: {}\n",
                    failure.code_and_text().1
                ));
            }
        }
    }
    if !is_ok {
        return (StatusCode::SERVICE_UNAVAILABLE, lines).into_response();
    }
    if !parameters.contains_key("verbose") {
        lines.clear();
    }
    format!("{lines}ok\n").into_response()
}

async fn metrics_page(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::asked_for(accept.unwrap_or_default());
    let backend = &shared.backend;
    let store = store_status(backend, ReadLevel::Local).await;
    let company = backend.desk().call(Call::Count).await;
    let is_told = store.is_ok() && company.is_ok();
    backend.tally().on_scrape(is_told);
    let (Ok(store), Ok(company)) = (store, company) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let usage = shared.usages.now().await;
    let text = scrape::text(format, &shared.metrics, backend, (store, company, usage));
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

/// In the shape of etcd's old errors, so that its old clients show the text.
async fn version_2() -> Response {
    let text = "headwater: etcd's v2 API is not served; use v3 (etcdctl with ETCDCTL_API=3)";
    json(
        StatusCode::NOT_FOUND,
        &serde_json::json!({ "errorCode": 404, "message": text, "cause": "", "index": 0 }),
    )
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    (status, headers, value.to_string()).into_response()
}
