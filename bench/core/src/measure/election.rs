//! From three nodes with empty logs to a leader that has committed its first entry.
//! Never tells a node to campaign: all wait for their timers, with the same limits.

use std::time::Duration;

use anyhow::Result;

use crate::contender::{Contender, NODES, Setup};
use crate::meter::{Cost, Meter};

/// Timeouts of this measurement: short, since one contender waits for them in earnest.
const HEARTBEAT_MS: u64 = 20;
const ELECTION_MS: u64 = 100;

/// An election.
#[derive(Clone, Copy, Debug)]
pub struct Election {
    /// How long it took on the nodes' clock.
    pub clock: Duration,
    /// What it cost.
    pub cost: Cost,
}

/// Elects one leader.
pub fn measure(contender: Contender, seed: u64) -> Result<Election> {
    let setup = Setup {
        heartbeat_ms: HEARTBEAT_MS,
        election_ms: ELECTION_MS,
        ..Setup::usual(seed)
    };
    let mut cluster = contender.prepare(&setup)?;
    let meter = Meter::start();
    let clock = cluster.elect(false)?;
    let cost = meter.cost();
    // A leader that commits nothing is none.
    let mut commands = crate::load::Commands::new(seed);
    cluster.run(&mut commands, 1, 1)?;
    crate::contender::check(&*cluster, seed, 1, NODES)?;
    Ok(Election { clock, cost })
}
