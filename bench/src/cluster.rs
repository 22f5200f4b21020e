//! Clusters of three that end with this process, however it ends.

use crate::machine::{Disk, Watched};
use anyhow::{Context, Result};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::path::Path;
use std::process::Command;

/// Members of a cluster that is measured.
pub const SIZE: usize = 3;

/// Lays out a cluster of three in this folder, starts it and waits until all serve.
///
/// # Errors
/// If it does not come up.
pub async fn start(server: &Server, dir: &Path, options: &[&str]) -> Result<Cluster> {
    start_of(server, SIZE, dir, options).await
}

/// The same of so many.
///
/// # Errors
/// If it does not come up.
pub async fn start_of(
    server: &Server,
    size: usize,
    dir: &Path,
    options: &[&str],
) -> Result<Cluster> {
    let mut cluster = Cluster::new(server, size, dir, options)?;
    for number in 0..size {
        spawn(&mut cluster, number)?;
    }
    cluster.ready().await?;
    Ok(cluster)
}

/// Starts one member, which the kernel kills when this process is gone.
///
/// # Errors
/// If the program cannot be run.
pub fn spawn(cluster: &mut Cluster, number: usize) -> Result<()> {
    let mut command = bound(&cluster.server.program);
    command.args(cluster.flags(number));
    cluster.spawn_command(number, command)
}

/// Starts one member, with nothing, that has been added to the running cluster.
///
/// # Errors
/// If the program cannot be run.
pub fn spawn_added(cluster: &mut Cluster, number: usize) -> Result<()> {
    let flags = cluster.flags(number).into_iter().map(|flag| {
        let is_state = flag == "--initial-cluster-state=new";
        let existing = || "--initial-cluster-state=existing".to_string();
        if is_state { existing() } else { flag }
    });
    let mut command = bound(&cluster.server.program);
    command.args(flags);
    cluster.spawn_command(number, command)
}

/// A command that the kernel kills when this process is gone.
pub fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The client URLs of all members.
pub fn urls(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members.iter();
    members.map(|member| member.client_url()).collect()
}

/// The members that run, as measurements look at them.
pub fn watched(cluster: &Cluster, disk: &Disk) -> Watched {
    let members = || cluster.members.iter();
    Watched {
        pids: members().filter_map(|member| member.pid()).collect(),
        ports: members().map(|member| member.client_port.number).collect(),
        disk: Some(disk.clone()),
    }
}

/// The client URL of the member that leads.
///
/// # Errors
/// If none leads in time.
pub async fn leader_url(cluster: &Cluster) -> Result<String> {
    let leader = cluster.wait_for_leader().await?;
    Ok(cluster.members[leader].client_url())
}

/// The process of a member.
///
/// # Errors
/// If it does not run.
pub fn pid(cluster: &Cluster, number: usize) -> Result<u32> {
    cluster.members[number].pid().context("it does not run")
}
