//! `check perf`: whether so many writes a second come through in time.
//! Never writes faster than the load says.
//!
//! # Source
//! etcdctl's command of this name.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use tokio::time::sleep_until;

use crate::check::{Afterwards, Load, Seen, by_clients, clean, put, refuse_others_keys};
use crate::failure::{Failure, Result};
use crate::progress::{Progress, Unit};
use crate::quantity;
use crate::session::Session;
use crate::text::say;

/// Bytes of a value.
const VALUE: usize = 1024;
/// The share of the writes asked for that must be done.
const ENOUGH: f64 = 0.9;
/// Longer than this no request may take.
const SLOWEST: Duration = Duration::from_millis(500);
/// In seconds, the most that the times may deviate from their mean, by the root of the mean square.
const MOST_DEVIATION: f64 = 0.1;

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
    /// At the end.
    #[command(flatten)]
    afterwards: Afterwards,
}

/// Writes a second.
fn rate(load: Load) -> u32 {
    match load {
        Load::S => 150,
        Load::M => 1_000,
        Load::L => 8_000,
        Load::Xl => 15_000,
    }
}

/// Checks it.
///
/// # Errors
/// It cannot be checked, or is not good enough.
pub async fn run(session: &Session, args: PerfArgs) -> Result<()> {
    refuse_others_keys(session, &args.prefix).await?;
    let begin = Instant::now();
    let (seen, ()) = tokio::join!(
        write(session, &args, begin),
        show_time(begin, args.duration)
    );
    let took = begin.elapsed().max(args.duration);
    let cleaned = clean(session, &args.prefix, args.afterwards).await;
    let verdict = judge(&seen?, rate(args.load), took);
    cleaned?;
    verdict
}

/// Each client writes in its turn, so that together they write as often as they should.
async fn write(session: &Session, args: &PerfArgs, begin: Instant) -> Result<Seen> {
    let (clients, end) = (args.load.clients(), begin + args.duration);
    let every = Duration::from_secs(1) * clients / rate(args.load);
    let value = Bytes::from(vec![b'x'; VALUE]);
    by_clients(session, clients, |client, session, seen| {
        let (prefix, value) = (args.prefix.clone(), value.clone());
        let mut turn = begin + every * client / clients;
        async move {
            for number in 0_u64.. {
                if turn >= end {
                    break;
                }
                sleep_until(turn.into()).await;
                if Instant::now() >= end {
                    break;
                }
                let key = format!("{prefix}{client:04}/{number:08}");
                put(&session, &seen, key, &value).await;
                turn += every;
            }
        }
    })
    .await
}

/// How much of the time is over, on a terminal.
async fn show_time(begin: Instant, duration: Duration) {
    let mut bar = Progress::on_terminal("writing", Unit::Of("s"), duration.as_secs());
    for second in 1..=duration.as_secs() {
        sleep_until((begin + Duration::from_secs(second)).into()).await;
        bar.at(second, Some(duration.as_secs()));
    }
    bar.end();
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
