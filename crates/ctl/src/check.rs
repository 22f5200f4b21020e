//! `check perf`: whether a cluster bears a load, with etcdctl's loads and limits.
//! Never touches keys that do not begin with its prefix.
//!
//! # Source
//! etcdctl's command of this name.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use headwater_api::etcdserverpb as api;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

use crate::failure::{Failure, Result};
use crate::keys::prefix_end;
use crate::quantity;
use crate::session::{Repeat, Session, kv, maintenance};
use crate::text::say;

/// Bytes of a value.
const VALUE: usize = 1024;
/// The share of the writes asked for that must be done.
const ENOUGH: f64 = 0.9;
/// Longer than this no request may take.
const SLOWEST: Duration = Duration::from_millis(500);
/// In seconds, the most that the times may deviate from their mean, by the root of the mean square.
const MOST_DEVIATION: f64 = 0.1;

/// What can be checked.
#[derive(Subcommand, Debug)]
pub enum CheckCommand {
    /// Whether writes come through in time
    Perf(PerfArgs),
}

/// How much is written.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Load {
    /// 150 writes a second by 50 clients
    #[value(alias = "small")]
    S,
    /// 1 000 by 200
    #[value(alias = "medium")]
    M,
    /// 8 000 by 500
    #[value(alias = "large")]
    L,
    /// 15 000 by 1 000
    #[value(alias = "xLarge")]
    Xl,
}

/// Flags of `check perf`.
#[derive(Args, Debug)]
pub struct PerfArgs {
    /// s: 150 writes a second, m: 1000, l: 8000, xl: 15000
    #[arg(
        long,
        value_name = "S|M|L|XL",
        default_value = "s",
        ignore_case = true,
        hide_possible_values = true
    )]
    load: Load,
    /// What the keys begin with; they are deleted at the end
    #[arg(long, value_name = "TEXT", default_value = "/etcdctl-check-perf/")]
    prefix: String,
    /// How long to write
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = quantity::time)]
    duration: Duration,
    /// Forget the keys' history at the end
    #[arg(long)]
    auto_compact: bool,
    /// Have the members give the room back at the end
    #[arg(long)]
    auto_defrag: bool,
}

impl Load {
    /// Writes a second, and clients.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::S => (150, 50),
            Self::M => (1_000, 200),
            Self::L => (8_000, 500),
            Self::Xl => (15_000, 1_000),
        }
    }
}

/// How long requests took; how many failed.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    failed: u64,
    why: Option<Failure>,
}

/// Checks it.
///
/// # Errors
/// It cannot be checked, or is not good enough.
pub async fn run(session: &Session, command: CheckCommand) -> Result<()> {
    let CheckCommand::Perf(args) = command;
    refuse_others_keys(session, &args.prefix).await?;
    let load = LocalSet::new();
    let (rate, _) = args.load.numbers();
    let begin = Instant::now();
    let seen = load.run_until(write(session, &args)).await;
    let took = begin.elapsed().max(args.duration);
    let cleaned = clean(session, &args).await;
    let verdict = judge(&seen, rate, took);
    cleaned?;
    verdict
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

/// Has each client write in its turn, so that together they write as often as they should.
async fn write(session: &Session, args: &PerfArgs) -> Seen {
    let (rate, clients) = args.load.numbers();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut running = JoinSet::new();
    let begin = Instant::now();
    let every = Duration::from_secs(1) * clients / rate;
    for client in 0..clients {
        let session = session.only(session.places().to_vec());
        let (seen, prefix) = (Rc::clone(&seen), args.prefix.clone());
        let first = begin + every * client / clients;
        let end = begin + args.duration;
        running.spawn_local(async move {
            let session = match session {
                Ok(session) => session,
                Err(failure) => return seen.borrow_mut().why = Some(failure),
            };
            let mut turn = first;
            let mut number = 0;
            while turn < end {
                sleep_until(turn.into()).await;
                if Instant::now() >= end {
                    break;
                }
                let request = api::PutRequest {
                    key: format!("{prefix}{client:04}/{number:08}").into(),
                    value: vec![b'x'; VALUE].into(),
                    ..Default::default()
                };
                let asked = Instant::now();
                let put = async |wire| kv(wire).put(request.clone()).await;
                let result = session.ask(Repeat::Never, put).await;
                let mut seen = seen.borrow_mut();
                match result {
                    Ok(_) => seen.took.push(asked.elapsed()),
                    Err(failure) => {
                        seen.failed += 1;
                        seen.why = Some(failure);
                    }
                }
                number += 1;
                turn += every;
            }
        });
    }
    running.join_all().await;
    seen.take()
}

/// Deletes what was written.
async fn clean(session: &Session, args: &PerfArgs) -> Result<()> {
    let request = api::DeleteRangeRequest {
        key: Bytes::copy_from_slice(args.prefix.as_bytes()),
        range_end: prefix_end(args.prefix.as_bytes()).into(),
        prev_kv: false,
    };
    let delete = async |wire| kv(wire).delete_range(request.clone()).await;
    let deleted = session.ask(Repeat::Always, delete).await?;
    if args.auto_compact {
        let revision = deleted.header.map_or(0, |header| header.revision);
        let request = api::CompactionRequest {
            revision,
            physical: true,
        };
        let compact = async |wire| kv(wire).compact(request).await;
        session.ask(Repeat::Never, compact).await?;
        say(format!("Compacted with revision {revision}\n").as_bytes())?;
    }
    if args.auto_defrag {
        for place in session.places() {
            let only = session.only(vec![place.clone()])?;
            let request = api::DefragmentRequest {};
            let defrag = async |wire| maintenance(wire).defragment(request).await;
            only.ask(Repeat::Never, defrag).await?;
            say(format!("Defragmented {:?}\n", place.said).as_bytes())?;
        }
    }
    Ok(())
}

/// Says what is good enough and what is not.
fn judge(seen: &Seen, rate: u32, took: Duration) -> Result<()> {
    if let Some(why) = &seen.why {
        say(format!("FAIL: too many errors: {} requests ({why})\n", seen.failed).as_bytes())?;
    }
    let times: Vec<f64> = seen.took.iter().map(Duration::as_secs_f64).collect();
    let count = times.len().max(1) as f64;
    let mean = times.iter().sum::<f64>() / count;
    let square = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
    let deviation = square.sqrt();
    let slowest = seen.took.iter().max().copied().unwrap_or_default();
    let throughput = times.len() as f64 / took.as_secs_f64();
    let lines = [
        (
            throughput > f64::from(rate) * ENOUGH,
            format!("Throughput is {throughput:.0} writes/s"),
            format!("Throughput too low: {throughput:.0} writes/s"),
        ),
        (
            slowest <= SLOWEST,
            format!("Slowest request took {:.6}s", slowest.as_secs_f64()),
            format!(
                "Slowest request took too long: {:.6}s",
                slowest.as_secs_f64()
            ),
        ),
        (
            deviation <= MOST_DEVIATION,
            format!("Stddev is {deviation:.6}s"),
            format!("Stddev too high: {deviation:.6}s"),
        ),
    ];
    let mut is_good = seen.why.is_none();
    for (passes, good, bad) in lines {
        is_good &= passes;
        let (verdict, words) = if passes {
            ("PASS", good)
        } else {
            ("FAIL", bad)
        };
        say(format!("{verdict}: {words}\n").as_bytes())?;
    }
    if is_good {
        return say(b"PASS\n");
    }
    say(b"FAIL\n")?;
    Err(Failure::error("the cluster does not bear this load"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(milliseconds: u64, count: usize) -> Seen {
        Seen {
            took: vec![Duration::from_millis(milliseconds); count],
            ..Default::default()
        }
    }

    #[test]
    fn a_load_is_borne_if_nothing_is_late_or_missing() {
        let second = Duration::from_secs(1);
        assert!(judge(&seen(5, 150), 150, second).is_ok());
        assert!(judge(&seen(5, 120), 150, second).is_err(), "too few");
        assert!(judge(&seen(501, 150), 150, second).is_err(), "too slow");
        let uneven = Seen {
            took: [seen(1, 75).took, seen(400, 75).took].concat(),
            ..Default::default()
        };
        assert!(judge(&uneven, 150, second).is_err(), "too uneven");
    }
}
