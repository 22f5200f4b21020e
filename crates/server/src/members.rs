//! Who takes part and where clients reach whom: each member publishes its own addresses through
//! the log, so that any one of them can tell all.
//! Never decides who is a member: the configuration says that, and the roster the rest.
//!
//! # Source
//! etcd: a member publishes its attributes when it starts, and again until that has succeeded.

use std::sync::Arc;
use std::time::Duration;

use headwater_kv::check::check;
use headwater_kv::members::Roster;
use headwater_kv::request::{self, Attributes, Command, Query, Response};
use headwater_runtime::{Config, NodeId, ReadLevel};
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

/// All members, each as the roster knows it. Of one that it does not know yet, there is what the
/// command line says: its name, and client URLs only if it is this one.
///
/// # Errors
/// See [`Failure`].
pub async fn list(backend: &Backend, level: ReadLevel) -> Result<Vec<Member>, Failure> {
    let roster = roster(backend, level).await?;
    Ok(known(backend.cluster(), &roster, &backend.config()))
}

/// The members of `config`, but those who are leaving, with what is known of them.
pub fn known(cluster: &Cluster, roster: &Roster, config: &Config) -> Vec<Member> {
    let lists = [config.voters(), config.joining(), config.learners()];
    let mut ids: Vec<NodeId> = lists.concat();
    ids.sort_unstable();
    let described = |id: NodeId| {
        let founder = cluster.founders.iter().find(|founder| founder.id == id);
        let known = match roster.member(id.0) {
            Some(known) => known.clone(),
            None => request::Member {
                id: id.0,
                name: founder.map_or_else(String::new, |founder| founder.name.clone()),
                client_urls: founder.map_or_else(Vec::new, |founder| founder.client_urls.clone()),
                peer_urls: Vec::new(),
            },
        };
        let peer_urls = match founder {
            Some(founder) if known.peer_urls.is_empty() => founder.peer_urls.clone(),
            _ => known.peer_urls,
        };
        Member {
            id,
            name: known.name,
            peer_urls,
            client_urls: known.client_urls,
            is_learner: config.learners().contains(&id),
        }
    };
    ids.into_iter().map(described).collect()
}

/// A member's name beside its id, for log lines; the id alone of one that has not started yet.
pub fn called(roster: &Roster, id: NodeId) -> String {
    match roster.member(id.0) {
        Some(member) if !member.name.is_empty() => format!("{} ({:x})", member.name, id.0),
        _ => format!("{:x}", id.0),
    }
}

/// Waits until a member that was added to vote does. Whoever is listed as started is counted on: an operator
/// may switch off another for it.
pub async fn settle_in(backend: &Backend) {
    let step = Duration::from_millis(20);
    while is_settling_in(&backend.config(), backend.cluster().me) {
        tokio::time::sleep(step).await;
    }
}

/// Whether `me` was added to vote and does not yet, or has not heard of it. What it publishes once it does stands
/// in the log behind the entry by which it does.
fn is_settling_in(config: &Config, me: NodeId) -> bool {
    let votes = match config.is_joint() {
        true => config.outgoing().contains(&me),
        false => config.voters().contains(&me),
    };
    !votes && !config.learners().contains(&me)
}

/// Publishes this member's name and client URLs unless the cluster has them, and those it began
/// with; tries until that has succeeded or cannot.
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
    let roster = roster(backend, ReadLevel::Linearizable).await?;
    let founders: Vec<_> = backend.cluster().founders.iter().map(founder).collect();
    let is_missing = |founder: &request::Member| {
        let known = roster.member(founder.id);
        let is_known = known.is_some_and(|known| !known.peer_urls.is_empty());
        !is_known && !roster.has_removed(founder.id)
    };
    if founders.iter().any(is_missing) {
        propose(backend, &Command::Found(founders)).await?;
    }
    let known = roster.member(own.member);
    if let Some(known) = known
        && !known.client_urls.is_empty()
        && known.name != own.name
    {
        backend.end(format!(
            "the data are those of the member \"{}\" ({:x}), not of \"{}\". Check --name and --data-dir",
            known.name, own.member, own.name
        ));
        return Err(Failure::Stopped);
    }
    if known.is_some_and(|known| (&known.name, &known.client_urls) == (&own.name, &own.client_urls))
    {
        return Ok(());
    }
    propose(backend, &Command::Publish(own.clone())).await
}

async fn propose(backend: &Backend, command: &Command) -> Result<(), Failure> {
    check(command, backend.limits().txn_ops_max).map_err(Failure::Kv)?;
    let outcome = backend.propose(command).await?;
    outcome.result.map(drop).map_err(Failure::Kv)
}

/// Who the members are, as the store has it.
///
/// # Errors
/// See [`Failure`].
pub async fn roster(backend: &Backend, level: ReadLevel) -> Result<Arc<Roster>, Failure> {
    let outcome = backend.query(Query::Members, level).await?;
    match outcome.result.map_err(Failure::Kv)? {
        Response::Members(roster) => Ok(roster),
        _ => Err(MISMATCH),
    }
}

fn founder(member: &Member) -> request::Member {
    request::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: Vec::new(),
    }
}

fn own_attributes(cluster: &Cluster) -> Attributes {
    Attributes {
        member: cluster.me.0,
        name: cluster.name.clone(),
        client_urls: cluster.client_urls.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_added_has_settled_in_once_it_votes_and_nobody_votes_without_it() {
        let nodes = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
        let two = || Config::of_voters(nodes(&[1, 2]));
        let three = || Config::of_voters(nodes(&[1, 2, 3]));
        let settling = |config: Config| is_settling_in(&config, NodeId(3));
        assert!(settling(two().with_joining(nodes(&[3]))));
        assert!(settling(three().with_outgoing(nodes(&[1, 2]))));
        assert!(!settling(three()));
        // Nobody has told it anything yet, or only what was before.
        assert!(settling(Config::of_voters([])));
        assert!(settling(two()));
        // It was one before, or learns, or leaves.
        assert!(!settling(three().with_outgoing(nodes(&[2, 3]))));
        assert!(!settling(two().with_learners(nodes(&[3]))));
        assert!(!settling(two().with_outgoing(nodes(&[1, 2, 3]))));
    }
}
