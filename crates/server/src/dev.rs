//! A whole cluster on this machine, each server a process of its own: for trying things out.
//! Never shares memory with the servers: what it shows, any client could see.
//!
//! # Source
//! etcd's Procfile for a local cluster.

mod cluster;
mod demo;
pub mod flags;
mod node;
mod plan;
mod probe;
mod screen;
mod secrets;
mod verify;
mod writer;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use cluster::{LocalCluster, leader_of};
use flags::DevArgs;
use plan::Plan;
use screen::Screen;

use crate::print;

/// How often the servers are asked how they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs the cluster until Ctrl-C, or the demonstration to its end.
///
/// # Errors
/// The cluster could not be started or kept running; or the demonstration found a fault.
pub async fn run(args: &DevArgs) -> Result<()> {
    let plan = Plan::make(args)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut cluster = LocalCluster::new(plan);
    let result = tokio::select! {
        result = work(&mut cluster, args.demo) => result,
        _ = interrupt.recv() => on_signal(args.demo),
        _ = terminate.recv() => on_signal(args.demo),
    };
    cluster.stop().await;
    result
}

async fn work(cluster: &mut LocalCluster, is_demo: bool) -> Result<()> {
    if is_demo {
        return demo::run(cluster).await;
    }
    cluster.start_all()?;
    live(cluster).await
}

/// To be interrupted is how the live cluster ends, but not how the demonstration should.
fn on_signal(is_demo: bool) -> Result<()> {
    print::put("\n")?;
    if is_demo {
        bail!("interrupted before the end");
    }
    Ok(())
}

async fn live(cluster: &mut LocalCluster) -> Result<()> {
    let mut screen = Screen::new();
    screen.say(&cluster.introduction());
    let mut led = None;
    let mut pause = tokio::time::interval(LOOK_EVERY);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        pause.tick().await;
        for event in cluster.restart_the_dead()? {
            screen.tell(&event);
        }
        let rows = cluster.look().await;
        let leads = leader_of(&rows);
        if leads != led {
            screen.tell(&match leads {
                Some((place, term)) => format!("{} leads now, in term {term}", rows[place].name),
                None => "nobody leads now".to_owned(),
            });
            led = leads;
        }
        screen.show(&rows);
    }
}
