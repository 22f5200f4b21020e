//! `make-mirror`: another cluster has what this one has, as it changes.
//! Never copies leases; a mirror's keys end when the original's are deleted.
//!
//! # Source
//! etcdctl's command of this name.

use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Args};
use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use headwater_api::etcdserverpb::request_op::Request;
use headwater_api::mvccpb::event::EventType;
use headwater_api::mvccpb::{Event, KeyValue};
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::{Failure, Result};
use crate::flags::Options;
use crate::follow::Watch;
use crate::keys::prefix_end;
use crate::quantity;
use crate::session::{Repeat, Session, kv};
use crate::text::say;

/// The most keys that are read at once.
const PAGE: i64 = 1_000;
/// The most that servers do in one transaction unless told otherwise.
const MOST_OPERATIONS: usize = 128;
/// How often it tells how many keys it has written or deleted.
const TELLING: Duration = Duration::from_secs(30);

/// Flags of `make-mirror`.
#[derive(Args, Debug)]
pub struct MirrorArgs {
    /// A member of the other cluster
    #[arg(value_name = "DESTINATION")]
    args: Vec<String>,
    /// Only keys that begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    /// What they begin with there, instead
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    dest_prefix: String,
    /// There they have no prefix
    #[arg(long)]
    no_dest_prefix: bool,
    /// Only what happens from this revision on: what is there already is left out
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    rev: i64,
    /// The CA that the other cluster's certificates must come from
    #[arg(long, value_name = "FILE")]
    dest_cacert: Option<String>,
    /// The certificate to show there
    #[arg(long, value_name = "FILE")]
    dest_cert: Option<String>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    dest_key: Option<String>,
    /// Speak TLS to it, if it is named without a scheme, if =false [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    dest_insecure_transport: bool,
    /// Who asks there, NAME or NAME:PASSWORD
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    dest_user: String,
    /// That user's password
    #[arg(
        long,
        value_name = "WORD",
        default_value = "",
        hide_default_value = true
    )]
    dest_password: String,
}

/// Where a mirror is written to.
struct Mirror {
    session: Session,
    prefix: String,
    dest_prefix: String,
    /// Keys written and deleted.
    done: u64,
}

/// Copies what is there, then what happens, until it is ended.
///
/// # Errors
/// One of the clusters does not take part, or the original has forgotten what is not copied yet.
pub async fn run(session: &Session, args: MirrorArgs) -> Result<()> {
    let mut mirror = Mirror::new(session.options(), &args)?;
    let (key, range_end) = range_of(&args.prefix);
    let next = match args.rev {
        0 => copy(session, &mut mirror, &key, &range_end).await? + 1,
        revision => revision,
    };
    let request = api::WatchCreateRequest {
        key,
        range_end,
        start_revision: next,
        ..Default::default()
    };
    let mut watch = Watch::new(session, request);
    let mut telling = interval(TELLING);
    telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    telling.tick().await;
    loop {
        let answer = tokio::select! {
            answer = watch.next() => answer?,
            _ = telling.tick() => {
                say(format!("{}\n", mirror.done).as_bytes())?;
                continue;
            }
        };
        if answer.canceled {
            return Err(match answer.compact_revision {
                0 => Failure::interrupted(format!("the watch was ended: {}", answer.cancel_reason)),
                first => Failure::interrupted(
                    "etcdserver: mvcc: required revision has been compacted",
                )
                .hint(&format!(
                    "what happened before revision {first} is forgotten and not copied: begin anew"
                )),
            });
        }
        mirror.follow(&answer.events).await?;
    }
}

fn range_of(prefix: &str) -> (Bytes, Bytes) {
    if prefix.is_empty() {
        return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    }
    let key = Bytes::copy_from_slice(prefix.as_bytes());
    let end = prefix_end(&key).into();
    (key, end)
}

/// Copies all keys as they are at one revision, which it gives.
async fn copy(
    session: &Session,
    mirror: &mut Mirror,
    first: &Bytes,
    range_end: &Bytes,
) -> Result<i64> {
    let (mut key, mut revision) = (first.clone(), 0);
    loop {
        let request = api::RangeRequest {
            key,
            range_end: range_end.clone(),
            limit: PAGE,
            revision,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Key.into(),
            ..Default::default()
        };
        let get = async |wire| kv(wire).range(request.clone()).await;
        let page = session.ask(Repeat::Always, get).await?;
        if revision == 0 {
            revision = page.header.map_or(0, |header| header.revision);
        }
        let puts = page.kvs.iter().map(|key| mirror.put(key)).collect();
        mirror.write(puts).await?;
        let Some(last) = page.kvs.last().filter(|_| page.more) else {
            return Ok(revision);
        };
        // The first key behind it.
        key = [&last.key[..], b"\0"].concat().into();
    }
}

impl Mirror {
    fn new(options: &Options, args: &MirrorArgs) -> Result<Self> {
        let [destination] = &args.args[..] else {
            return Err(Failure::arguments(
                "make-mirror takes one destination argument",
            ));
        };
        if args.no_dest_prefix && !args.dest_prefix.is_empty() {
            return Err(Failure::arguments(
                "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
            ));
        }
        let dest_prefix = match args.dest_prefix.as_str() {
            "" if !args.no_dest_prefix => args.prefix.clone(),
            prefix => prefix.to_owned(),
        };
        let there = Options {
            endpoints: vec![destination.clone()],
            cacert: args.dest_cacert.clone(),
            cert: args.dest_cert.clone(),
            key: args.dest_key.clone(),
            insecure_transport: args.dest_insecure_transport,
            user: args.dest_user.clone(),
            password: args.dest_password.clone(),
            ..options.clone()
        };
        Ok(Self {
            session: Session::new(&there)?,
            prefix: args.prefix.clone(),
            dest_prefix,
            done: 0,
        })
    }

    fn key(&self, key: &Bytes) -> Bytes {
        let rest = key.strip_prefix(self.prefix.as_bytes());
        [self.dest_prefix.as_bytes(), rest.unwrap_or(key)]
            .concat()
            .into()
    }

    fn put(&self, key: &KeyValue) -> Request {
        Request::RequestPut(api::PutRequest {
            key: self.key(&key.key),
            value: key.value.clone(),
            ..Default::default()
        })
    }

    /// What happened at one revision comes at one revision, if a transaction can hold it.
    async fn follow(&mut self, events: &[Event]) -> Result<()> {
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |key| key.mod_revision);
        for together in events.chunk_by(|a, b| revision(a) == revision(b)) {
            let operation = |event: &Event| {
                let key = event.kv.clone().unwrap_or_default();
                match event.r#type() {
                    EventType::Put => self.put(&key),
                    EventType::Delete => Request::RequestDeleteRange(api::DeleteRangeRequest {
                        key: self.key(&key.key),
                        ..Default::default()
                    }),
                }
            };
            let operations = together.iter().map(operation).collect();
            self.write(operations).await?;
        }
        Ok(())
    }

    async fn write(&mut self, operations: Vec<Request>) -> Result<()> {
        for together in operations.chunks(MOST_OPERATIONS) {
            let operation = |request: &Request| api::RequestOp {
                request: Some(request.clone()),
            };
            let request = api::TxnRequest {
                success: together.iter().map(operation).collect(),
                ..Default::default()
            };
            let txn = async |wire| kv(wire).txn(request.clone()).await;
            // Done twice it comes to the same, because nobody else writes there.
            self.session.ask(Repeat::Always, txn).await?;
            self.done += together.len() as u64;
        }
        Ok(())
    }
}
