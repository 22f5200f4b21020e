//! Load for any etcd endpoint, and comparisons of servers.
//! Knows servers by their ports and process ids only; one thread, so that it takes little from the
//! servers that share its machine.

mod bare;
mod catch_up;
mod cluster;
mod compare;
mod engine;
mod failover;
mod figures;
mod floor;
mod growth;
mod grpc;
mod lean;
mod load;
mod machine;
mod plot;
mod report;
mod rows;
mod store;
mod train;
mod watch;
mod work;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use engine::Engine;
use figures::Figures;
use headwater_etcd_tests::cluster::Server;
use machine::{Disk, Watched};
use rows::Target;
use std::path::PathBuf;
use std::time::Duration;
use work::{Shape, Work};

/// Measures etcd and servers like it.
#[derive(Debug, Parser)]
#[command(name = "headwater-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put values to random keys.
    Put(LoadArgs),
    /// Read random keys, each filled once beforehand with --fill.
    Range {
        #[command(flatten)]
        load: LoadArgs,
        /// From whichever server is asked, which may be behind.
        #[arg(long)]
        serializable: bool,
    },
    /// Nine linearizable reads for each put.
    Mixed(LoadArgs),
    /// Compare-and-swap: each client puts to a key of its own if nobody has changed it since.
    Txn(LoadArgs),
    /// Keep leases alive, one for each client.
    Lease(LoadArgs),
    /// Put large values: 64 KiB unless told otherwise.
    Large(LoadArgs),
    /// Put to one key that many watch, and report how soon all of them know.
    Watch {
        #[command(flatten)]
        load: LoadArgs,
        /// How many watch.
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
    },
    /// Fill a cluster with keys; report its memory, its restarts, and how long clients hang while it
    /// is saved, compacted and defragmented.
    Store {
        #[command(flatten)]
        clusters: ClusterArgs,
        #[command(flatten)]
        shape: Shape,
    },
    /// Kill the leader and report the longest time in which nothing succeeded.
    Failover(FailoverArgs),
    /// Have a follower with an empty disk catch up, and report what the leader's clients notice.
    CatchUp(CatchUpArgs),
    /// Start two servers' clusters in turn, round by round, and compare them.
    Compare(CompareArgs),
    /// Compare two servers' clusters as keys, values, members and idle watchers become more.
    Growth(GrowthArgs),
    /// Use a cluster in every way there is, and measure nothing: what a compiler may go by.
    Train(TrainArgs),
    /// One process of a prototype that replicates and syncs but checks nothing.
    #[command(hide = true)]
    Bare(bare::BareArgs),
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// The servers' client URLs.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Which of them are used.
    #[arg(long, value_enum, default_value = "leader")]
    target: Target,
    /// What asks: the usual client, or one that leaves more of the processor to the servers.
    #[arg(long, value_enum, default_value = "etcd-client")]
    engine: Engine,
    #[command(flatten)]
    shape: Shape,
    /// How many clients ask at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Connections that they share [default: 1, 4, 8, 16 or 32, by their number].
    #[arg(long)]
    conns: Option<usize>,
    /// An open loop: so many requests a second are due, answered or not, and a latency counts from
    /// then [default: each client asks again when it was answered].
    #[arg(long)]
    rate: Option<f64>,
    /// Put all keys once before.
    #[arg(long)]
    fill: bool,
    /// The servers' process ids, to report what they cost.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// A folder of the servers' data, to report what reaches that disk.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ClusterArgs {
    /// The server program; a cluster of three is started for each round.
    #[arg(long)]
    server: PathBuf,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FailoverArgs {
    #[command(flatten)]
    clusters: ClusterArgs,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many clients put at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How long a client waits before it asks another server.
    #[arg(long, default_value_t = 100)]
    limit_ms: u64,
    /// Flags for the servers besides those that say who they are.
    #[arg(last = true)]
    options: Vec<String>,
}

#[derive(Debug, Args)]
struct CatchUpArgs {
    /// The server program; a cluster of three is started.
    #[arg(long)]
    server: PathBuf,
    /// How many keys it holds.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes of a value; a key has 16.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many clients put at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds that are measured before the follower is wiped.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Seconds before those, and after the follower has caught up.
    #[arg(long, default_value_t = 5.0)]
    warmup: f64,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Flags that every server gets besides.
    #[arg(last = true)]
    flags: Vec<String>,
}

#[derive(Debug, Args)]
struct TrainArgs {
    /// The server program; clusters of three are started.
    #[arg(long)]
    server: PathBuf,
    /// Seconds of each load.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Keys of the store; snapshots are worth something with many.
    #[arg(long, default_value_t = 200_000)]
    keys: u64,
    /// Where the servers keep their data.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Our server program.
    #[arg(long)]
    ours: PathBuf,
    /// The other one.
    #[arg(long)]
    rival: PathBuf,
    /// A first look in less than a minute: one short round of a few measurements.
    #[arg(long)]
    quick: bool,
    /// What to measure, by its name in the table or the beginning of that, comma-separated
    /// [default: everything].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only what this engine drives [default: all].
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// How many rounds; who begins changes from one to the next [default: 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each load [default: 3].
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds in which a store of many keys is filled and restarted.
    #[arg(long, default_value_t = 1)]
    stores: usize,
    /// Keys of that store [default: 1000000].
    #[arg(long)]
    store_keys: Option<u64>,
    /// Who watches the one key.
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// How often each server's leader is killed, with each setting [default: 5].
    #[arg(long)]
    kills: Option<usize>,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Also write all rounds to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw puts a second against latency into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct GrowthArgs {
    /// Our server program.
    #[arg(long)]
    ours: PathBuf,
    /// The other one.
    #[arg(long)]
    rival: PathBuf,
    /// What grows, comma-separated: keys, values, members, watchers [default: each].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each point is measured.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Also write all figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl CompareArgs {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn kills(&self) -> usize {
        let asked = rows::OTHERS
            .iter()
            .any(|name| name.starts_with("failover") && self.wants(name));
        let usual = if self.quick { 1 } else { 5 };
        self.kills.unwrap_or(usual) * usize::from(asked)
    }

    /// Whether a measurement was asked for.
    fn wants(&self, name: &str) -> bool {
        let is_its = |engine| engine == rows::engine_of(name);
        rows::is_wanted(name, &self.only()) && self.engine.is_none_or(is_its)
    }

    fn store_keys(&self) -> u64 {
        let usual = if self.quick { 10_000 } else { 1_000_000 };
        self.store_keys.unwrap_or(usual)
    }

    fn only(&self) -> Vec<String> {
        if self.quick && self.only.is_empty() {
            rows::QUICK.map(str::to_string).to_vec()
        } else {
            self.only.clone()
        }
    }

    fn shape(&self) -> Shape {
        let usual = if self.quick { 1.0 } else { 3.0 };
        Shape {
            seconds: self.seconds.unwrap_or(usual),
            warmup: if self.quick { 0.3 } else { 0.7 },
            value_bytes: 256,
            keys: if self.quick { 5_000 } else { 100_000 },
        }
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match cli.command {
            Command::Put(args) => load(args, Work::Put).await,
            Command::Range {
                load: args,
                serializable,
            } => {
                let kind = if serializable {
                    Work::Serializable
                } else {
                    Work::Range
                };
                load(args, kind).await
            }
            Command::Mixed(args) => load(args, Work::Mixed).await,
            Command::Txn(args) => load(args, Work::Cas).await,
            Command::Lease(args) => load(args, Work::KeepAlive).await,
            Command::Large(mut args) => {
                if args.shape.value_bytes == 256 {
                    (args.shape.value_bytes, args.shape.keys) = (64 * 1024, 1000);
                }
                load(args, Work::Put).await
            }
            Command::Watch {
                load: args,
                watchers,
            } => {
                let watched = watched(&args)?;
                let (urls, engine) = (&args.endpoints, args.engine);
                let measured = watch::fan_out(urls, engine, watchers, args.shape, &watched);
                report::one(&measured.await?, args.json);
                Ok(())
            }
            Command::CatchUp(args) => catch_up::run(&args).await,
            Command::Store { clusters, shape } => {
                std::fs::create_dir_all(&clusters.dir)?;
                let server = Server::at(clusters.server)?;
                let measured = store::measure(&server, &clusters.dir, shape).await?;
                report::one(&measured, clusters.json);
                Ok(())
            }
            Command::Failover(args) => failovers(args).await,
            Command::Compare(args) => compare::run(&args).await,
            Command::Growth(args) => growth::run(&args).await,
            Command::Train(args) => train::run(&args).await,
            Command::Bare(args) => bare::run(args).await,
        }
    })
}

fn watched(args: &LoadArgs) -> Result<Watched> {
    let ports = args
        .endpoints
        .iter()
        .filter_map(|url| url.rsplit_once(':')?.1.parse().ok());
    Ok(Watched {
        pids: args.pids.clone(),
        ports: if args.pids.is_empty() {
            Vec::new()
        } else {
            ports.collect()
        },
        disk: args.dir.as_deref().map(Disk::under).transpose()?,
    })
}

async fn load(args: LoadArgs, work: Work) -> Result<()> {
    let watched = watched(&args)?;
    let endpoints = match args.target {
        Target::All => args.endpoints,
        Target::Leader => vec![load::leader_of(&args.endpoints).await?],
    };
    if args.rate.is_some_and(|rate| rate <= 0.0) {
        bail!("--rate must be more than nothing");
    }
    if args.fill {
        work::fill(&load::connect(&endpoints, 1).await?[0], args.shape).await?;
    }
    let plan = load::Plan {
        endpoints,
        engine: args.engine,
        work,
        clients: args.clients,
        conns: args
            .conns
            .unwrap_or_else(|| load::usual_conns(args.clients)),
        rate: args.rate,
        shape: args.shape,
    };
    report::one(&load::run(&plan, &watched).await?, args.json);
    Ok(())
}

async fn failovers(args: FailoverArgs) -> Result<()> {
    std::fs::create_dir_all(&args.clusters.dir)?;
    Disk::under(&args.clusters.dir)?;
    let server = Server::at(args.clusters.server)?;
    let kills = failover::Kills {
        clients: args.clients,
        limit: Duration::from_millis(args.limit_ms),
    };
    let options: Vec<&str> = args.options.iter().map(String::as_str).collect();
    let mut outages: Vec<Figures> = Vec::new();
    for _ in 0..args.rounds {
        outages.push(failover::measure(&server, &args.clusters.dir, kills, &options).await?);
    }
    report::failover(&outages, args.clusters.json);
    Ok(())
}
