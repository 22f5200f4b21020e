//! Commands proposed, replicated, committed, and applied by all three nodes.
//! Never counts the start: a cluster has a leader and has done some waves before.

use anyhow::Result;

use crate::contender::{Contender, NODES, Setup, check};
use crate::load::Commands;
use crate::meter::{Cost, Meter};

/// Proposes `entries` commands in waves of `width` and answers what they cost. Every node must
/// have applied all of them, in order.
pub fn measure(contender: Contender, seed: u64, width: usize, entries: u64) -> Result<Cost> {
    let mut cluster = contender.start(&Setup::usual(seed))?;
    let mut commands = Commands::new(seed);
    let waves = entries.div_ceil(width as u64);
    let warm_up = waves.div_ceil(10);
    cluster.run(&mut commands, warm_up, width)?;
    let meter = Meter::start();
    cluster.run(&mut commands, waves, width)?;
    let cost = meter.cost();
    check(&*cluster, seed, (warm_up + waves) * width as u64, NODES)?;
    Ok(cost)
}
