//! Load for any etcd endpoint, and comparisons of servers.
//! Knows servers by their ports and process ids only; one thread, so that it takes little from the
//! servers that share its machine.

mod catch_up;
mod compare;
mod failover;
mod load;
mod machine;
mod report;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measures etcd and servers like it.
#[derive(Debug, Parser)]
#[command(name = "headwater-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put values as fast as the server answers, and report throughput and latency.
    Put(PutArgs),
    /// Kill the leader and report the longest time in which nothing succeeded.
    Failover(FailoverArgs),
    /// Have a follower with an empty disk catch up, and report what the leader's clients notice.
    CatchUp(CatchUpArgs),
    /// Start two servers' clusters in turn, round by round, and compare them.
    Compare(CompareArgs),
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// To the leader alone.
    Leader,
    /// To all endpoints in turn.
    All,
}

#[derive(Debug, Args)]
struct PutArgs {
    /// The servers' client URLs.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Which of them are used.
    #[arg(long, value_enum, default_value = "leader")]
    target: Target,
    #[command(flatten)]
    shape: Shape,
    /// How many clients put at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Connections that they share [default: 1, 8 or 16, by their number].
    #[arg(long)]
    conns: Option<usize>,
    /// The servers' process ids, to report what they cost.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What every put looks like, and for how long.
#[derive(Clone, Copy, Debug, Args)]
struct Shape {
    /// Seconds that count.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Bytes of a value; a key has 16.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many keys are written, each as likely as the others.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
}

#[derive(Debug, Args)]
struct FailoverArgs {
    /// The server program; a cluster of three is started for each round.
    #[arg(long)]
    server: PathBuf,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many clients put at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How long a client waits before it asks another server.
    #[arg(long, default_value_t = 100)]
    limit_ms: u64,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
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
struct CompareArgs {
    /// Our server program.
    #[arg(long)]
    ours: PathBuf,
    /// The other one.
    #[arg(long)]
    rival: PathBuf,
    /// How many rounds; who begins changes from one to the next.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Numbers of clients to measure with.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    clients: Vec<usize>,
    #[command(flatten)]
    shape: Shape,
    /// How often each server's leader is killed; zero leaves failover out.
    #[arg(long, default_value_t = 5)]
    failovers: usize,
    /// Where the servers keep their data; it must be a real disk.
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// Also write all rounds to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match cli.command {
            Command::Put(args) => put(args).await,
            Command::Failover(args) => {
                let limit = Duration::from_millis(args.limit_ms);
                let kills = failover::Kills {
                    clients: args.clients,
                    limit,
                };
                let mut outages = Vec::new();
                for _ in 0..args.rounds {
                    outages.push(failover::measure(&args.server, &args.dir, kills).await?);
                }
                report::failover(&outages, args.json);
                Ok(())
            }
            Command::CatchUp(args) => catch_up::run(&args).await,
            Command::Compare(args) => compare::run(&args).await,
        }
    })
}

async fn put(args: PutArgs) -> Result<()> {
    let endpoints = match args.target {
        Target::All => args.endpoints,
        Target::Leader => vec![load::leader_of(&args.endpoints).await?],
    };
    let plan = load::Plan {
        endpoints,
        clients: args.clients,
        conns: args
            .conns
            .unwrap_or_else(|| load::usual_conns(args.clients)),
        shape: args.shape,
    };
    let result = load::put(&plan, &args.pids, &[]).await?;
    report::put(&result, args.json);
    Ok(())
}
