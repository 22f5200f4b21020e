//! Alarms as clients and probes see them, and the quota that raises one.
//! Never looks at a request's size: how large the store has become is looked at ten times a second, and
//! what comes in meanwhile is let in.
//!
//! # Source
//! etcd's alarms and quota; the sizes are this project's own.

use std::sync::Arc;
use std::time::Duration;

use headwater_kv::request::{
    Alarm, AlarmKind, AlarmRequest, Command, Query, Response as KvResponse,
};
use headwater_runtime::ReadLevel;
use tracing::warn;

use crate::backend::Backend;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::service::maintenance::store_status;

/// The quota where none is set, in bytes: etcd's.
pub const QUOTA_BYTES: i64 = 2 << 30;

/// How often the store's size is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait after an alarm could not be raised.
const PAUSE: Duration = Duration::from_secs(5);

/// The alarms that are raised, and this member's own while its disk is full: that one ends by itself.
///
/// # Errors
/// See [`Failure`].
pub async fn raised(
    backend: &Backend,
    kind: Option<AlarmKind>,
    level: ReadLevel,
) -> Result<Vec<Alarm>, Failure> {
    let mut alarms = told(backend.query(Query::Alarms(kind), level).await?.result)?;
    let own = Alarm {
        kind: AlarmKind::NoSpace,
        member: backend.cluster().me.0,
    };
    let is_wanted = kind.is_none_or(|kind| kind == own.kind);
    if is_wanted && backend.status().short_of_space && !alarms.contains(&own) {
        alarms.push(own);
    }
    Ok(alarms)
}

/// Raises an alarm or ends it; the alarm, unless there was none to end.
///
/// # Errors
/// See [`Failure`].
pub async fn change(backend: &Backend, request: AlarmRequest) -> Result<Vec<Alarm>, Failure> {
    told(backend.propose(&Command::Alarm(request)).await?.result)
}

fn told(result: Result<KvResponse, headwater_kv::request::KvError>) -> Result<Vec<Alarm>, Failure> {
    match result {
        Ok(KvResponse::Alarms(alarms)) => Ok(alarms),
        Ok(_) => Err(Failure::Internal("the store did not answer with alarms")),
        Err(error) => Err(Failure::Kv(error)),
    }
}

/// An alarm's kind, as etcd names it.
pub fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// An alarm as a message.
pub fn message(alarm: Alarm) -> api::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => api::AlarmType::Nospace,
        AlarmKind::Corrupt => api::AlarmType::Corrupt,
    };
    api::AlarmMember {
        member_id: alarm.member,
        alarm: kind.into(),
    }
}

/// Raises an alarm whenever the store is larger than the quota and none of this member's is raised.
/// Never ends one: that is for whoever has made room.
pub async fn watch_quota(backend: Arc<Backend>) {
    let quota = match backend.limits().quota_bytes {
        0 => QUOTA_BYTES,
        quota if quota < 0 => return,
        quota => quota,
    };
    let quota = u64::try_from(quota).unwrap_or(u64::MAX);
    let alarm = Alarm {
        kind: AlarmKind::NoSpace,
        member: backend.cluster().me.0,
    };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let is_full = async |level| {
            if store_status(&backend, level).await?.size_bytes <= quota {
                return Ok(false);
            }
            let known = raised(&backend, Some(AlarmKind::NoSpace), level).await?;
            Ok::<_, Failure>(!known.contains(&alarm))
        };
        // What this member knows may be old: before it says so to all it asks again.
        if !is_full(ReadLevel::Local).await.unwrap_or(false)
            || !is_full(ReadLevel::Linearizable).await.unwrap_or(false)
        {
            continue;
        }
        warn!(
            quota,
            "the store is larger than its quota: no member takes anything new in; delete what \
             can be spared, then compact, then say `etcdctl alarm disarm`"
        );
        let is_raised = true;
        let told = change(&backend, AlarmRequest { alarm, is_raised }).await;
        if !told.is_ok_and(|told| told.contains(&alarm)) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
