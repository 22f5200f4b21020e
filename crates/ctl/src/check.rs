//! `check`: what a load does to a cluster, with etcdctl's loads and limits.
//! Never touches keys that do not begin with its prefix.
//!
//! # Source
//! etcdctl's commands of this name.

mod datascale;
mod perf;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use headwater_api::etcdserverpb as api;
use tokio::task::{JoinSet, LocalSet};

use crate::failure::{Failure, Result};
use crate::keys::prefix_end;
use crate::session::{Repeat, Session, kv, maintenance};
use crate::text::say;

/// How long it may take to delete what was written: millions of keys, at once.
const DELETION_MAX: Duration = Duration::from_secs(600);

/// What can be checked.
#[derive(Subcommand, Debug)]
pub enum CheckCommand {
    /// Whether writes come through in time
    Perf(perf::PerfArgs),
    /// How much memory a server takes for so many keys
    Datascale(datascale::DatascaleArgs),
}

/// How much is written.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Load {
    /// 50 clients
    #[value(alias = "small")]
    S,
    /// 200 clients
    #[value(alias = "medium")]
    M,
    /// 500 clients
    #[value(alias = "large")]
    L,
    /// 1000 clients
    #[value(alias = "xLarge")]
    Xl,
}

impl Load {
    /// How many clients write.
    fn clients(self) -> u32 {
        match self {
            Self::S => 50,
            Self::M => 200,
            Self::L => 500,
            Self::Xl => 1_000,
        }
    }
}

/// What is done when all is written.
#[derive(Args, Clone, Copy, Debug)]
struct Afterwards {
    /// Forget the keys' history at the end
    #[arg(long)]
    auto_compact: bool,
    /// Have the members give the room back at the end
    #[arg(long)]
    auto_defrag: bool,
}

/// How long requests took; how many failed.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    failed: u64,
    why: Option<Failure>,
}

impl Seen {
    fn fail(&mut self, why: Failure) {
        self.failed += 1;
        self.why = Some(why);
    }
}

/// Checks it.
///
/// # Errors
/// It cannot be checked, or is not good enough.
pub async fn run(session: &Session, command: CheckCommand) -> Result<()> {
    match command {
        CheckCommand::Perf(args) => perf::run(session, args).await,
        CheckCommand::Datascale(args) => datascale::run(session, args).await,
    }
}

async fn refuse_others_keys(session: &Session, prefix: &str) -> Result<()> {
    let request = api::RangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix.as_bytes()).into(),
        limit: 1,
        ..Default::default()
    };
    let get = async |wire| kv(wire).range(request.clone()).await;
    let found = session.ask(Repeat::Always, get).await?;
    if prefix.is_empty() || !found.kvs.is_empty() {
        return Err(Failure::input(format!(
            "prefix {prefix:?} has keys. Delete with \"headwater ctl del --prefix {prefix}\" first"
        )));
    }
    Ok(())
}

/// Has so many clients do something, each by a connection of its own; what they have seen.
async fn by_clients<F>(
    session: &Session,
    clients: u32,
    work: impl Fn(u32, Session, Rc<RefCell<Seen>>) -> F,
) -> Result<Seen>
where
    F: Future<Output = ()> + 'static,
{
    let seen = Rc::new(RefCell::new(Seen::default()));
    let (here, mut running) = (LocalSet::new(), JoinSet::new());
    for client in 0..clients {
        let own = session.only(session.places().to_vec())?;
        running.spawn_local_on(work(client, own, Rc::clone(&seen)), &here);
    }
    here.run_until(running.join_all()).await;
    Ok(seen.take())
}

/// Writes a key, and notes how that went.
async fn put(session: &Session, seen: &RefCell<Seen>, key: String, value: &Bytes) {
    let request = api::PutRequest {
        key: key.into(),
        value: value.clone(),
        ..Default::default()
    };
    let asked = Instant::now();
    let put = async |wire| kv(wire).put(request.clone()).await;
    let result = session.ask(Repeat::Never, put).await;
    let mut seen = seen.borrow_mut();
    match result {
        Ok(_) => seen.took.push(asked.elapsed()),
        Err(failure) => seen.fail(failure),
    }
}

/// Deletes what was written.
async fn clean(session: &Session, prefix: &str, afterwards: Afterwards) -> Result<()> {
    let request = api::DeleteRangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix.as_bytes()).into(),
        prev_kv: false,
    };
    let delete = async |wire| kv(wire).delete_range(request.clone()).await;
    let deleted = session.ask_for(DELETION_MAX, Repeat::Always, delete);
    let deleted = deleted.await?;
    if afterwards.auto_compact {
        let revision = deleted.header.map_or(0, |header| header.revision);
        say(format!("Compacting with revision {revision}\n").as_bytes())?;
        let request = api::CompactionRequest {
            revision,
            physical: true,
        };
        let compact = async |wire| kv(wire).compact(request).await;
        session
            .ask_for(DELETION_MAX, Repeat::Never, compact)
            .await?;
        say(format!("Compacted with revision {revision}\n").as_bytes())?;
    }
    if afterwards.auto_defrag {
        for place in session.places() {
            say(format!("Defragmenting {:?}\n", place.said).as_bytes())?;
            let only = session.only(vec![place.clone()])?;
            let request = api::DefragmentRequest {};
            let defrag = async |wire| maintenance(wire).defragment(request).await;
            only.ask_for(DELETION_MAX, Repeat::Never, defrag).await?;
            say(format!("Defragmented {:?}\n", place.said).as_bytes())?;
        }
    }
    Ok(())
}
