//! Two servers, measured in turn under the same load on the same disk.
//!
//! Each round starts a fresh cluster of three with default flags, puts with each number of clients,
//! and stops it; then the other server's. Machines drift over minutes, so only figures of the same
//! round are divided by each other, and who begins changes from round to round.

use crate::failover::{self, Kills, Outage};
use crate::load::{self, Measured, Plan};
use crate::machine::Disk;
use crate::{CompareArgs, report};
use anyhow::{Context, Result};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One server's turn in a round: a measurement for each number of clients.
pub type Turn = Vec<Measured>;

/// Both servers' turns in one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Ours.
    pub ours: Turn,
    /// The other's.
    pub rival: Turn,
}

/// Leaders killed, of both servers.
#[derive(Clone, Debug, Default)]
pub struct Failovers {
    /// Ours.
    pub ours: Vec<Outage>,
    /// The other's.
    pub rival: Vec<Outage>,
}

/// Runs the whole comparison and prints it.
///
/// # Errors
/// If a server does not start or stops to serve.
pub async fn run(args: &CompareArgs) -> Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let disk = Disk::under(&args.dir)?;
    let ours = Server::at(args.ours.clone())?;
    let rival = Server::at(args.rival.clone())?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        eprintln!("round {} of {}", number + 1, args.rounds);
        let (first, second) = if number % 2 == 0 {
            (&ours, &rival)
        } else {
            (&rival, &ours)
        };
        let first_turn = turn(first, args, &disk).await?;
        let second_turn = turn(second, args, &disk).await?;
        rounds.push(match number % 2 {
            0 => Round {
                ours: first_turn,
                rival: second_turn,
            },
            _ => Round {
                ours: second_turn,
                rival: first_turn,
            },
        });
    }
    let mut failovers = Failovers::default();
    let kills = Kills {
        clients: 16,
        limit: Duration::from_millis(100),
    };
    for number in 0..args.failovers {
        eprintln!("leaders killed: round {} of {}", number + 1, args.failovers);
        failovers
            .ours
            .push(failover::measure(&args.ours, &args.dir, kills).await?);
        failovers
            .rival
            .push(failover::measure(&args.rival, &args.dir, kills).await?);
    }
    let versions = [version_of(&args.ours)?, version_of(&args.rival)?];
    report::compare(&versions, &args.clients, &rounds, &failovers);
    if let Some(path) = &args.json {
        let json = report::compare_json(&versions, &rounds, &failovers);
        std::fs::write(path, format!("{json:#}\n"))?;
    }
    Ok(())
}

async fn turn(server: &Server, args: &CompareArgs, disk: &Disk) -> Result<Turn> {
    let mut cluster = Cluster::new(server, 3, &args.dir, &[])?;
    for number in 0..3 {
        cluster.spawn(number)?;
    }
    cluster.ready().await?;
    let pids: Vec<u32> = cluster
        .members
        .iter()
        .filter_map(|member| member.pid())
        .collect();
    let ports: Vec<u16> = cluster
        .members
        .iter()
        .map(|member| member.client_port.number)
        .collect();
    let mut turn = Vec::new();
    for &clients in &args.clients {
        let leader = cluster.wait_for_leader().await?;
        let endpoints = vec![cluster.members[leader].client_url()];
        let conns = load::usual_conns(clients);
        let plan = Plan {
            endpoints,
            clients,
            conns,
            shape: args.shape,
        };
        let measured = load::put_on(&plan, &pids, &ports, Some(disk)).await?;
        eprintln!("  {}", report::line(&name_of(&server.program), &measured));
        turn.push(measured);
    }
    Ok(turn)
}

fn name_of(program: &Path) -> String {
    program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A program's name and the first line of its `--version`.
fn version_of(program: &PathBuf) -> Result<String> {
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    let output = output.with_context(|| format!("cannot run {program:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text.lines().find(|line| line.contains("Headwater"));
    let line = own.or(text.lines().next()).unwrap_or_default();
    Ok(format!("{} ({line})", name_of(program)))
}
