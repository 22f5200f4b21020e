//! Changes of members: what etcd would refuse is refused, and the rest is one change of the
//! configuration with what the roster has to know in the same entry.
//! Never carried out but by the leader, one at a time; the other members ask it.
//!
//! # Source
//! etcd's service `Cluster`, its checks and their order; rule R8; docs/divergence.md.

use std::time::Duration;

use bytes::Bytes;
use headwater_kv::members::{MEMBERS_MAX, Roster};
use headwater_kv::request::{Command, KvError};
use headwater_raft::{Config, NodeId, NotChanged};
use headwater_runtime::{ReadLevel, ReconfigureError};
use prost::Message;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::backend::Backend;
use crate::company::Call;
use crate::failure::{Code, Failure};
use crate::leases::{Answer, Question, ask};
use crate::url::Url;
use crate::{identity, members};

/// How long to wait for a change that is under way before the next attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// How much of the leader's log a learner must hold to be in sync with it, in hundredths.
const IN_SYNC_PERCENT: u64 = 90;

/// A change, as one member asks another for it.
#[derive(Clone, PartialEq, Message)]
pub struct Change {
    /// Which kind.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Whom it concerns; zero for one that is to be added.
    #[prost(fixed64, tag = "2")]
    pub id: u64,
    /// Where its peers reach it, or will.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
}

/// What is to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// A voter comes, once it has caught up.
    AddVoter = 0,
    /// A learner comes.
    AddLearner = 1,
    /// A member goes.
    Remove = 2,
    /// A member is reached elsewhere by its peers.
    Update = 3,
    /// A learner gets a vote.
    Promote = 4,
}

/// What became of a change, as one member tells another.
#[derive(Clone, PartialEq, Message)]
struct Outcome {
    /// The member concerned.
    #[prost(fixed64, tag = "1")]
    id: u64,
    /// The code of a failure, or zero.
    #[prost(int32, tag = "2")]
    code: i32,
    /// Its text.
    #[prost(string, tag = "3")]
    text: String,
}

/// Has the leader carry a change out, whoever that is; returns the id of whom it concerned.
///
/// # Errors
/// See [`Failure`]; after `TimedOut` it may have happened.
pub async fn request(backend: &Backend, change: Change) -> Result<NodeId, Failure> {
    check_urls(&change)?;
    let question = Question::Change(change.encode_to_vec().into());
    let Answer::Changed(outcome) = ask(backend, question).await? else {
        return Err(Failure::Internal("the leader answered something else"));
    };
    let outcome = Outcome::decode(outcome);
    let outcome = outcome.map_err(|_| Failure::Internal("the leader is of another make"))?;
    match Code::of_number(outcome.code) {
        None => Ok(NodeId(outcome.id)),
        Some(code) => Err(Failure::Told(code, outcome.text)),
    }
}

/// URLs as etcd wants them.
fn check_urls(change: &Change) -> Result<(), Failure> {
    let has_urls = !matches!(change.kind(), Kind::Remove | Kind::Promote);
    let parse = |url: &String| Url::parse("peer-urls", url).is_ok();
    let are_good = !change.peer_urls.is_empty() && change.peer_urls.iter().all(parse);
    if has_urls && !are_good {
        return Err(Failure::BadMemberUrls);
    }
    Ok(())
}

/// Whether a change that was carried out already comes to the same when it is asked for again.
pub fn may_be_asked_twice(change: &Bytes) -> bool {
    Change::decode(change.clone()).is_ok_and(|change| change.kind() == Kind::Update)
}

/// What this member says to a change that somebody asks for.
pub async fn answer(backend: &Backend, change: &Bytes) -> Answer {
    let Ok(change) = Change::decode(change.clone()) else {
        return Answer::NotNow;
    };
    let outcome = match carry_out(backend, &change).await {
        Ok(id) => Outcome {
            id: id.0,
            ..Outcome::default()
        },
        Err(Failure::NotLeader | Failure::NoLeader) => return Answer::NotNow,
        Err(failure) => {
            let (code, text) = failure.code_and_text();
            let code = code as i32;
            Outcome { id: 0, code, text }
        }
    };
    Answer::Changed(outcome.encode_to_vec().into())
}

/// What a change comes to: the members to have, what the roster is told, and whom it concerns.
struct Plan {
    target: Config,
    command: Option<Command>,
    id: NodeId,
}

async fn carry_out(backend: &Backend, change: &Change) -> Result<NodeId, Failure> {
    let _turn = backend.changing().await;
    let deadline = Instant::now() + backend.limits().request_timeout;
    loop {
        // It also confirms that this member leads.
        let roster = members::roster(backend, ReadLevel::Linearizable).await?;
        let config = backend.config();
        if backend.leader() != Some(backend.cluster().me) {
            return Err(Failure::NotLeader);
        }
        if change.kind() != Kind::Remove && !knows_all(&roster, &config) {
            // The roster is older than the configuration, or has not begun: what is said of a member
            // that is on its way could be said twice, or be lost.
            if Instant::now() >= deadline {
                return Err(Failure::TimedOut);
            }
            sleep(PAUSE).await;
            continue;
        }
        let plan = plan(backend, change, &roster, &config).await?;
        let done = if plan.target == config {
            update(backend, plan.command).await
        } else {
            reconfigure(backend, config, &plan).await
        };
        match done {
            Err(Attempt::Later) if Instant::now() < deadline => sleep(PAUSE).await,
            Err(Attempt::Later) => return Err(Failure::TimedOut),
            Err(Attempt::Failed(failure)) => return Err(failure),
            Ok(()) => {
                let member = members::called(&roster, plan.id);
                info!(member, what = ?change.kind(), "changed");
                return Ok(plan.id);
            }
        }
    }
}

/// Whether it is known of every member where its peers reach it.
fn knows_all(roster: &Roster, config: &Config) -> bool {
    let is_known = |id: &NodeId| {
        let member = roster.member(id.0);
        member.is_some_and(|member| !member.peer_urls.is_empty())
    };
    config.members().iter().all(is_known)
}

/// Why an attempt came to nothing.
enum Attempt {
    /// Another change is under way.
    Later,
    /// For good.
    Failed(Failure),
}

async fn update(backend: &Backend, command: Option<Command>) -> Result<(), Attempt> {
    let Some(command) = command else {
        return Ok(());
    };
    let outcome = backend.propose(&command).await.map_err(Attempt::Failed)?;
    let result = outcome.result.map(drop);
    result.map_err(|error| Attempt::Failed(Failure::Kv(error)))
}

async fn reconfigure(backend: &Backend, config: Config, plan: &Plan) -> Result<(), Attempt> {
    let command = plan.command.as_ref().map(Command::encode);
    let command = command.unwrap_or_default();
    let changed = backend.reconfigure(config, plan.target.clone(), command);
    changed.await.map_err(|error| match error {
        ReconfigureError::NotChanged(
            NotChanged::InProgress | NotChanged::TooEarly | NotChanged::Stale { .. },
        ) => Attempt::Later,
        ReconfigureError::NotChanged(NotChanged::LosesQuorum) => {
            Attempt::Failed(Failure::Unhealthy)
        }
        ReconfigureError::NotChanged(NotChanged::NotTaken(_)) => {
            Attempt::Failed(Failure::NotLeader)
        }
        ReconfigureError::NotChanged(NotChanged::Invalid(why)) => {
            Attempt::Failed(Failure::Internal(why))
        }
        ReconfigureError::Lost => Attempt::Failed(Failure::LeaderChanged),
        ReconfigureError::Busy => Attempt::Failed(Failure::Busy),
        ReconfigureError::Stopped => Attempt::Failed(Failure::Stopped),
        _ => Attempt::Failed(Failure::TimedOut),
    })
}

async fn plan(
    backend: &Backend,
    change: &Change,
    roster: &Roster,
    config: &Config,
) -> Result<Plan, Failure> {
    let (kind, id) = (change.kind(), NodeId(change.id));
    match kind {
        Kind::AddVoter | Kind::AddLearner => plan_addition(backend, change, roster, config),
        _ if !config.is_member(id) => Err(Failure::MemberNotFound),
        Kind::Remove => {
            let target = without(config, id);
            if backend.limits().strict_reconfig || target.voters().is_empty() {
                check_started(roster, target.voters(), 0)?;
            }
            let command = Some(Command::MemberRemove(id.0));
            Ok(Plan {
                target,
                command,
                id,
            })
        }
        Kind::Update => {
            if roster.is_taken(id.0, &change.peer_urls) {
                return Err(Failure::Kv(KvError::PeerUrlsExist));
            }
            let command = Command::MemberUpdate(id.0, change.peer_urls.clone());
            Ok(Plan {
                target: config.clone(),
                command: Some(command),
                id,
            })
        }
        Kind::Promote => {
            if !config.learners().contains(&id) {
                return Err(Failure::NotLearner);
            }
            let progress = backend.desk().call(|told| Call::Progress(id, told)).await?;
            let in_sync = |(held, last): (u64, u64)| held * 100 >= last * IN_SYNC_PERCENT;
            // A vote needs a disk that the members know (rule R13): one that has caught up since it was
            // added.
            if !progress.is_some_and(in_sync) || config.disk_of(id).is_none() {
                return Err(Failure::LearnerBehind);
            }
            let learners = config.learners().iter().copied();
            let voters = config.voters().iter().copied().chain([id]);
            let target = Config::of_voters(voters)
                .with_learners(learners.filter(|&learner| learner != id))
                .with_joining(config.joining().iter().copied());
            Ok(Plan {
                target,
                command: None,
                id,
            })
        }
    }
}

fn plan_addition(
    backend: &Backend,
    change: &Change,
    roster: &Roster,
    config: &Config,
) -> Result<Plan, Failure> {
    let (is_learner, urls) = (change.kind() == Kind::AddLearner, &change.peer_urls);
    if !is_learner && backend.limits().strict_reconfig {
        // Those on their way to a vote count as if they had it: etcd gives it at once.
        let voters = [config.voters(), config.joining()].concat();
        check_started(roster, &voters, 1)?;
    }
    if roster.is_taken(0, urls) {
        return Err(Failure::Kv(KvError::PeerUrlsExist));
    }
    if is_learner && config.learners().len() >= backend.limits().learners_max {
        return Err(Failure::TooManyLearners);
    }
    if roster.members().count() >= MEMBERS_MAX {
        return Err(Failure::Kv(KvError::TooManyMembers));
    }
    let is_new = |id: &NodeId| roster.member(id.0).is_none() && !roster.has_removed(id.0);
    let drawn = std::iter::repeat_with(|| identity::new_member_id(backend.cluster().id, urls));
    let id = drawn.into_iter().find(is_new);
    let id = id.expect("there is always another");
    let (mut learners, mut joining) = (config.learners().to_vec(), config.joining().to_vec());
    if is_learner {
        learners.push(id);
    } else {
        joining.push(id);
    }
    let target = Config::of_voters(config.voters().iter().copied())
        .with_learners(learners)
        .with_joining(joining);
    let command = Some(Command::MemberAdd(id.0, urls.clone()));
    Ok(Plan {
        target,
        command,
        id,
    })
}

fn without(config: &Config, id: NodeId) -> Config {
    let rest = |ids: &[NodeId]| ids.iter().copied().filter(|&member| member != id).collect();
    let [voters, learners, joining]: [Vec<NodeId>; 3] = [
        rest(config.voters()),
        rest(config.learners()),
        rest(config.joining()),
    ];
    Config::of_voters(voters)
        .with_learners(learners)
        .with_joining(joining)
}

/// Whether of `voters`, and so many more that have not started, a majority has: what has never
/// started most likely never will, and with a few of those the next failure would be the last.
fn check_started(roster: &Roster, voters: &[NodeId], more: usize) -> Result<(), Failure> {
    let has_started = |id: &&NodeId| {
        let member = roster.member(id.0);
        member.is_some_and(|member| !member.name.is_empty())
    };
    let (started, all) = (
        voters.iter().filter(has_started).count(),
        voters.len() + more,
    );
    let is_first_addition = (started, all, more) == (1, 2, 1);
    if started > all / 2 || is_first_addition {
        return Ok(());
    }
    Err(Failure::NotEnoughStarted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_kv::request::Member;

    /// Whether so many more voters may come where these have started or not.
    fn may_grow(started: &[bool], more: usize) -> bool {
        let members = (1..).zip(started).map(|(id, &started)| Member {
            id,
            name: if started {
                "n".to_owned()
            } else {
                String::new()
            },
            ..Member::default()
        });
        let roster = Roster::new(members, Vec::new());
        let voters: Vec<NodeId> = (1..=started.len() as u64).map(NodeId).collect();
        check_started(&roster, &voters, more).is_ok()
    }

    #[test]
    fn of_those_who_will_vote_a_majority_has_started() {
        assert!(may_grow(&[true], 1), "the first addition to a server alone");
        assert!(!may_grow(&[true, false], 1));
        assert!(may_grow(&[true, true, true], 1));
        assert!(may_grow(&[true, true, true, false], 1));
        assert!(!may_grow(&[true, true, true, false, false], 1));
        assert!(may_grow(&[true, true], 0), "one of three has gone");
        assert!(!may_grow(&[true, false], 0));
        assert!(!may_grow(&[], 0), "the last voter stays");
    }

    #[test]
    fn an_addition_needs_urls_and_others_do_not() {
        let change = |kind: Kind, urls: &[&str]| Change {
            kind: kind as i32,
            id: 1,
            peer_urls: urls.iter().map(|&url| url.to_owned()).collect(),
        };
        let bad = Err(Failure::BadMemberUrls);
        for kind in [Kind::AddVoter, Kind::AddLearner, Kind::Update] {
            assert_eq!(check_urls(&change(kind, &[])), bad);
            assert_eq!(check_urls(&change(kind, &["http://a:1", "b:1"])), bad);
            assert_eq!(check_urls(&change(kind, &["http://a:1"])), Ok(()));
        }
        for kind in [Kind::Remove, Kind::Promote] {
            assert_eq!(check_urls(&change(kind, &[])), Ok(()));
        }
    }
}
