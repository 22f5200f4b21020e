//! `lock` and `elect`: what one holds at a time, for as long as it lives.
//! Never waits by itself; the server keeps who comes next.
//!
//! # Source
//! etcdctl's commands of these names; the etcd v3 API, services `Lock` and `Election`.

use std::cell::Cell;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use headwater_api::etcdserverpb as api;
use headwater_api::v3electionpb as election;
use headwater_api::v3lockpb as lock;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::{Code, Response};

use crate::failure::{Failure, Result, may_resume};
use crate::keep;
use crate::session::{Repeat, Session, elections, kv, leases, locks};
use crate::text::Style;

/// As long as it takes.
const FOREVER: Duration = Duration::MAX;
/// How long an election's place is kept for a client that is gone, in seconds.
const ELECTION_TTL: i64 = 60;

/// Flags of `lock`.
#[derive(Args, Debug)]
pub struct LockArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// What to run while it is held; it finds ETCD_LOCK_KEY and ETCD_LOCK_REV. Without one, the lock is
    /// held until the command is ended
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
    /// How long it is held, in seconds, if this client dies
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ttl: i64,
}

/// Flags of `elect`.
#[derive(Args, Debug)]
pub struct ElectArgs {
    /// The election, and what to say when it is won
    #[arg(value_name = "ELECTION [PROPOSAL]")]
    args: Vec<String>,
    /// Take no part, but print each leader
    #[arg(short, long)]
    listen: bool,
}

/// What the user may end a command by.
struct Ended(Signal, Signal);

impl Ended {
    fn new() -> Result<Self> {
        Ok(Self(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

async fn grant(session: &Session, ttl: i64) -> Result<i64> {
    let request = api::LeaseGrantRequest { ttl, id: 0 };
    let grant = async |wire| leases(wire).lease_grant(request).await;
    Ok(session.ask(Repeat::Never, grant).await?.id)
}

/// Ends a lease, by whichever member is there.
///
/// # Errors
/// Nobody could be asked, or the lease had ended: then what it held was lost before.
async fn revoke(session: &Session, id: i64) -> Result<()> {
    let request = api::LeaseRevokeRequest { id };
    let (was_asked, was_lost) = (Cell::new(false), Cell::new(false));
    let revoke = async |wire| {
        let is_first = !was_asked.replace(true);
        match leases(wire).lease_revoke(request).await {
            // Who was asked before may have heard it.
            Err(status) if status.code() == Code::NotFound && !is_first => {
                Ok(Response::new(api::LeaseRevokeResponse::default()))
            }
            answer => {
                let failed = answer.as_ref().err().map(|status| status.code());
                was_lost.set(failed == Some(Code::NotFound));
                answer
            }
        }
    };
    let mut left = session.places().len();
    loop {
        left -= 1;
        match session.ask(Repeat::Always, &revoke).await {
            Ok(_) => return Ok(()),
            Err(failure) if left == 0 || was_lost.get() => return Err(failure),
            // It is silent, or in the middle of a change of leaders.
            Err(_) => drop(session.again().await),
        }
    }
}

/// Does something that takes time while a lease is kept alive, then ends the lease.
async fn during<T>(
    session: &Session,
    ttl: i64,
    expired: &str,
    work: impl AsyncFnOnce(i64, &mut Ended) -> Result<T>,
) -> Result<T> {
    let mut ended = Ended::new()?;
    let lease = grant(session, ttl).await?;
    // What waits for its turn has a connection of its own.
    let keeper = session.only(session.places().to_vec())?;
    let done = tokio::select! {
        done = work(lease, &mut ended) => done,
        gone = keep::always(&keeper, lease, |_| Ok(())) => {
            return Err(gone.err().unwrap_or_else(|| Failure::error(expired)));
        }
    };
    // With the lease go the lock, the place in the queue, and the leadership.
    let revoked = revoke(session, lease).await;
    let done = done?;
    revoked.map(|()| done)
}

/// Holds a lock: while a command runs, or until it is ended. Gives the status that the command ended with.
///
/// # Errors
/// It is not held, or was lost.
pub async fn lock(session: &Session, style: Style, args: LockArgs) -> Result<u8> {
    let name = args.name.map(Bytes::from).ok_or_else(|| {
        Failure::arguments("lock takes a lock name argument and an optional command to execute")
    })?;
    let command = args.command;
    during(
        session,
        args.ttl,
        "session expired",
        async |lease, ended| {
            let request = lock::LockRequest { name, lease };
            // Who asks twice by one lease has one place in the queue.
            let acquire = async |wire| locks(wire).lock(request.clone()).await;
            let acquired = tokio::select! {
                acquired = session.ask_for(FOREVER, Repeat::Always, acquire) => acquired?,
                () = ended.come() => return Ok(1),
            };
            let Some((program, arguments)) = command.split_first() else {
                show(session, style, &acquired.key).await?;
                ended.come().await;
                return Ok(0);
            };
            let revision = acquired.header.map_or(0, |header| header.revision);
            let key = String::from_utf8_lossy(&acquired.key).into_owned();
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env("ETCD_LOCK_KEY", key)
                .env("ETCD_LOCK_REV", revision.to_string())
                .kill_on_drop(true);
            let status = command.status().await;
            let status = status.map_err(|error| Failure::error(format!("{program}: {error}")))?;
            Ok(code(status))
        },
    )
    .await
}

fn code(status: ExitStatus) -> u8 {
    status.code().map_or(1, |code| code as u8)
}

async fn show(session: &Session, style: Style, key: &Bytes) -> Result<()> {
    let request = api::RangeRequest {
        key: key.clone(),
        ..Default::default()
    };
    let get = async |wire| kv(wire).range(request.clone()).await;
    style.print(&session.ask(Repeat::Always, get).await?)
}

/// Takes part in an election, or looks on.
///
/// # Errors
/// The leadership is not won, or was lost; or the server tells of it no more.
pub async fn elect(session: &Session, style: Style, args: ElectArgs) -> Result<()> {
    let mut words = args.args.into_iter().map(Bytes::from);
    let (name, proposal, more) = (words.next(), words.next(), words.next());
    let Some(name) = name.filter(|_| more.is_none()) else {
        return Err(Failure::arguments(
            "elect takes one election name argument and an optional proposal argument",
        ));
    };
    if args.listen {
        return match proposal {
            None => observe(session, style, name).await,
            Some(_) => Err(Failure::arguments("proposal given but -l is set")),
        };
    }
    let Some(value) = proposal else {
        return Err(Failure::arguments("no proposal argument but -l not set"));
    };
    during(
        session,
        ELECTION_TTL,
        "elect: session expired",
        async |lease, ended| {
            let request = election::CampaignRequest { name, lease, value };
            let campaign = async |wire| elections(wire).campaign(request.clone()).await;
            let won = tokio::select! {
                won = session.ask_for(FOREVER, Repeat::Always, campaign) => won?,
                () = ended.come() => return Ok(()),
            };
            show(session, style, &won.leader.unwrap_or_default().key).await?;
            ended.come().await;
            Ok(())
        },
    )
    .await
}

async fn observe(session: &Session, style: Style, name: Bytes) -> Result<()> {
    let mut last = 0;
    loop {
        let request = election::LeaderRequest { name: name.clone() };
        let begin = async |wire| elections(wire).observe(request.clone()).await;
        let mut leaders = session.ask_for(FOREVER, Repeat::Always, begin).await?;
        loop {
            match leaders.message().await {
                Ok(Some(leader)) => {
                    let key = leader.kv.unwrap_or_default();
                    // Who has been told of already, before the connection was lost.
                    if std::mem::replace(&mut last, key.mod_revision) != key.mod_revision {
                        style.print(&api::RangeResponse {
                            header: leader.header,
                            kvs: vec![key],
                            more: false,
                            count: 1,
                        })?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(status) if may_resume(&status) => {
                    session.again().await?;
                    break;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }
}
