//! How cost grows: with keys, with the size of values, with members, with watchers that have nothing to
//! hear. One of the four changes at a time, from a usual cluster.
//!
//! Machines drift over minutes, so both servers are measured in turn at each point.

use crate::cluster::{leader_url, start_of, urls, watched};
use crate::compare::{Who, bounded, in_turn, version_of};
use crate::engine::Engine;
use crate::figures::{Figures, spread};
use crate::load::{self, Plan};
use crate::machine::{Disk, resident_mib};
use crate::work::{Shape, Work, fill};
use crate::{GrowthArgs, cluster, report};
use anyhow::{Result, ensure};
use etcd_client::WatchResponseStream;
use headwater_etcd_tests::cluster::Server;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Clients of every load.
const CLIENTS: usize = 64;

/// Watches that share a stream.
const WATCHES_A_STREAM: usize = 500;

/// What both servers may hold: more than any point needs.
const QUOTA: &str = "--quota-backend-bytes=32000000000";

/// A cluster and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    keys: u64,
    value_bytes: usize,
    members: usize,
    watchers: usize,
}

/// From where each direction starts.
const USUAL: Point = Point {
    keys: 100_000,
    value_bytes: 256,
    members: 3,
    watchers: 0,
};

/// What grows, by its name, and through which points.
fn axes() -> Vec<(&'static str, Vec<Point>)> {
    let keys = |keys| Point { keys, ..USUAL };
    // As many bytes as may be, and not more than a machine has.
    let values = |(value_bytes, keys)| Point {
        value_bytes,
        keys,
        ..USUAL
    };
    let members = |members| Point { members, ..USUAL };
    let watchers = |watchers| Point { watchers, ..USUAL };
    let sizes = [
        (256, 100_000),
        (16, 100_000),
        (16 << 10, 2_000),
        (1 << 20, 50),
    ];
    vec![
        ("keys", [100_000, 1_000, 5_000_000].map(keys).to_vec()),
        ("values", sizes.map(values).to_vec()),
        ("members", [3, 1, 5, 7].map(members).to_vec()),
        ("watchers", [0, 1_000, 50_000].map(watchers).to_vec()),
    ]
}

impl Point {
    /// The one thing in which it is not usual.
    fn name(self, axis: &str) -> String {
        let count = match axis {
            "keys" => self.keys,
            "values" => self.value_bytes as u64,
            "members" => self.members as u64,
            _ => self.watchers as u64,
        };
        format!("{axis} {count}")
    }
}

/// All figures of one point, of each round, by who was measured.
#[derive(Debug, Default)]
struct Measured {
    ours: Vec<Figures>,
    rival: Vec<Figures>,
}

impl Measured {
    fn median(&self, who: Who, figure: &str) -> Option<f64> {
        let rounds = match who {
            Who::Ours => &self.ours,
            _ => &self.rival,
        };
        spread(rounds.iter().filter_map(|round| round.get(figure).copied())).map(|s| s.median)
    }
}

/// Measures every point that was asked for and prints a table.
///
/// # Errors
/// If a point could not be measured; the others are printed all the same.
pub async fn run(args: &GrowthArgs) -> Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let (ours, rival) = (
        Server::at(args.ours.clone())?,
        Server::at(args.rival.clone())?,
    );
    let axes = axes();
    for asked in &args.only {
        let known = axes.iter().any(|(axis, _)| axis == asked);
        ensure!(known, "nothing that grows is called {asked}");
    }
    let wanted = |axis: &str| args.only.is_empty() || args.only.iter().any(|name| name == axis);
    let mut failures = Vec::new();
    let mut table = Vec::new();
    for (axis, points) in axes.into_iter().filter(|(axis, _)| wanted(axis)) {
        for point in points {
            let name = point.name(axis);
            let mut measured = Measured::default();
            for number in 0..args.rounds {
                for who in in_turn(number) {
                    let (server, rounds) = match who {
                        Who::Ours => (&ours, &mut measured.ours),
                        _ => (&rival, &mut measured.rival),
                    };
                    let limit = 180.0 + 6.0 * args.seconds + point.keys as f64 / 5000.0;
                    match bounded(limit, measure(server, args, point)).await {
                        Ok(figures) => {
                            eprintln!("  {}", report::line(who, &name, &figures));
                            rounds.push(figures);
                        }
                        Err(error) => failures.push(format!("{who:?} {name}: {error:#}")),
                    }
                }
            }
            table.push((axis, name, measured));
        }
    }
    let versions = [version_of(&args.ours)?, version_of(&args.rival)?];
    println!("ours:  {}\nrival: {}\n", versions[0], versions[1]);
    print(&table);
    if let Some(path) = &args.json {
        let points = table.iter().map(|(_, name, measured)| {
            let both = json!({ "ours": measured.ours, "rival": measured.rival });
            (name.clone(), both)
        });
        let points: BTreeMap<_, _> = points.collect();
        let json = json!({ "ours": versions[0], "rival": versions[1], "points": points });
        std::fs::write(path, format!("{json:#}\n"))?;
    }
    ensure!(
        failures.is_empty(),
        "not measured:\n{}",
        failures.join("\n")
    );
    Ok(())
}

/// A fresh cluster at this point, under puts and then reads.
async fn measure(server: &Server, args: &GrowthArgs, point: Point) -> Result<Figures> {
    let disk = Disk::under(&args.dir)?;
    let cluster = start_of(server, point.members, &args.dir, &[QUOTA]).await?;
    let shape = Shape {
        seconds: args.seconds,
        warmup: 0.5,
        value_bytes: point.value_bytes,
        keys: point.keys,
    };
    let leader = leader_url(&cluster).await?;
    fill(
        &load::connect(std::slice::from_ref(&leader), 1).await?[0],
        shape,
    )
    .await?;
    let _idle = watch(&urls(&cluster), point.watchers).await?;
    let mut memory_mib = 0.0;
    for number in 0..point.members {
        memory_mib += resident_mib(cluster::pid(&cluster, number)?)? / point.members as f64;
    }
    let mut figures = Figures::from([("mib".to_string(), memory_mib)]);
    for (name, work) in [("put", Work::Put), ("range", Work::Range)] {
        let plan = Plan {
            endpoints: vec![leader.clone()],
            engine: Engine::EtcdClient,
            work,
            clients: CLIENTS,
            conns: load::usual_conns(CLIENTS),
            rate: None,
            shape,
        };
        let measured = load::run(&plan, &watched(&cluster, &disk)).await?;
        ensure!(measured["errors"] == 0.0, "{name}: some were refused");
        let named = |(figure, value)| (format!("{name}_{figure}"), value);
        figures.extend(measured.into_iter().map(named));
    }
    Ok(figures)
}

/// So many watches on keys that nobody puts, spread over all endpoints; they end with what is given
/// back.
async fn watch(endpoints: &[String], count: usize) -> Result<JoinSet<()>> {
    let mut streams = JoinSet::new();
    let connections = load::connect(endpoints, count.div_ceil(WATCHES_A_STREAM).min(64)).await?;
    for first in (0..count).step_by(WATCHES_A_STREAM) {
        let stream_number = first / WATCHES_A_STREAM;
        let client = connections[stream_number % connections.len()].clone();
        let key = |number: usize| format!("idle{number:012}");
        let stream = client.watch_client().watch(key(first), None).await?;
        let (mut sender, mut answers) = stream.split();
        let count = WATCHES_A_STREAM.min(count - first);
        for number in 1..count {
            sender.watch(key(first + number), None).await?;
            until_created(&mut answers).await?;
        }
        streams.spawn_local(async move {
            // The watches end with their sender.
            let _sender = sender;
            while let Ok(Some(_)) = answers.message().await {}
        });
    }
    Ok(streams)
}

async fn until_created(answers: &mut WatchResponseStream) -> Result<()> {
    let answer = answers.message().await?;
    ensure!(
        answer.is_some_and(|answer| answer.created()),
        "a watch was refused"
    );
    Ok(())
}

/// The figures that are printed, and how many decimals of them.
const SHOWN: [(&str, usize); 7] = [
    ("put_per_s", 0),
    ("put_p99_ms", 2),
    ("put_server_cpu_s_per_100k", 1),
    ("range_per_s", 0),
    ("range_p99_ms", 2),
    ("range_server_cpu_s_per_100k", 1),
    ("mib", 0),
];

fn print(table: &[(&str, String, Measured)]) {
    println!(
        "Medians. \"grown\" is the figure divided by that of the first point of the same kind.\n"
    );
    println!("| point | figure | ours | other | ours / other | ours grown | other grown |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for (axis, name, measured) in table {
        let first = table.iter().find(|(other, ..)| other == axis);
        let first = first.map_or(measured, |(_, _, measured)| measured);
        for (figure, decimals) in SHOWN {
            let of = |who| measured.median(who, figure);
            let grown = |who| Some(of(who)? / first.median(who, figure)?);
            let (ours, rival) = (of(Who::Ours), of(Who::Rival));
            let quotient = ours.zip(rival).map(|(ours, rival)| ours / rival);
            let cells = [
                (ours, decimals),
                (rival, decimals),
                (quotient, 2),
                (grown(Who::Ours), 2),
                (grown(Who::Rival), 2),
            ];
            let cells = cells.map(|(value, decimals)| match value {
                Some(value) => format!("{value:.decimals$}"),
                None => "-".to_string(),
            });
            println!("| {name} | {figure} | {} |", cells.join(" | "));
        }
    }
}
