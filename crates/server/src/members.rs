//! Who takes part and where clients reach whom: each member publishes its own addresses through
//! the log, so that any one of them can tell all.
//! Never decides who is a member.
//!
//! # Source
//! etcd: a member publishes its attributes when it starts, and again until that has succeeded.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_kv::check::check;
use headwater_kv::request::{Attributes, Command, Query, Response};
use headwater_runtime::ReadLevel;
use tracing::{info, warn};

use crate::backend::Backend;
use crate::config::{Cluster, Member};
use crate::failure::Failure;

/// How long to wait after the first attempt that failed; each further wait is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// How long to wait at most.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// That the store answered another question than the one asked: our own fault.
const MISMATCH: Failure = Failure::Internal("the store did not answer with the members");

/// All members, each as it published itself. Of one that has not, there is what the configuration
/// says: its name, and client URLs only if it is this one.
///
/// # Errors
/// See [`Failure`].
pub async fn list(backend: &Backend, level: ReadLevel) -> Result<Vec<Member>, Failure> {
    let mut published = published(backend, level).await?;
    let as_known = |member: &Member| match published.remove(&member.id.0) {
        Some(attributes) => Member {
            name: attributes.name,
            client_urls: attributes.client_urls,
            ..member.clone()
        },
        None => member.clone(),
    };
    Ok(backend.cluster().members.iter().map(as_known).collect())
}

/// Publishes this member's name and client URLs unless the cluster has them; tries until that has
/// succeeded or cannot.
pub async fn publish(backend: &Backend) {
    let own = own_attributes(backend.cluster());
    let mut pause = PAUSE_MIN;
    while let Err(failure) = publish_once(backend, &own).await {
        let why = failure.code_and_text().1;
        if !may_pass(&failure) {
            warn!(
                "the other members cannot tell clients where this one is: {why}; check --name \
                 and --advertise-client-urls"
            );
            return;
        }
        warn!("the other members do not know yet where clients reach this one: {why}");
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
    info!(
        name = own.name,
        client_urls = own.client_urls.join(","),
        "known to the cluster"
    );
}

/// Whether a later attempt may succeed where one failed so.
fn may_pass(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Busy
            | Failure::NoLeader
            | Failure::LeaderChanged
            | Failure::TimedOut
            | Failure::LeaderLost
    )
}

async fn publish_once(backend: &Backend, own: &Attributes) -> Result<(), Failure> {
    // What this member has applied may be older than what it published in an earlier life.
    let published = published(backend, ReadLevel::Linearizable).await?;
    if published.get(&own.member) == Some(own) {
        return Ok(());
    }
    let command = Command::Publish(own.clone());
    check(&command, backend.limits().txn_ops_max).map_err(Failure::Kv)?;
    let outcome = backend.propose(&command).await?;
    outcome.result.map(drop).map_err(Failure::Kv)
}

async fn published(
    backend: &Backend,
    level: ReadLevel,
) -> Result<BTreeMap<u64, Attributes>, Failure> {
    let outcome = backend.query(Query::Members, level).await?;
    match outcome.result.map_err(Failure::Kv)? {
        Response::Members(members) => {
            let by_id = members.into_iter().map(|member| (member.member, member));
            Ok(by_id.collect())
        }
        _ => Err(MISMATCH),
    }
}

fn own_attributes(cluster: &Cluster) -> Attributes {
    let own = cluster.members.iter().find(|known| known.id == cluster.me);
    let own = own.expect("no configuration passes that does not name this member");
    Attributes {
        member: own.id.0,
        name: own.name.clone(),
        client_urls: own.client_urls.clone(),
    }
}
