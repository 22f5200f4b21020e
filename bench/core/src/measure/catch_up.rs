//! A follower that was cut off for many entries and gets them all from the leader's log.
//! Never by snapshot: logs are kept whole.

use anyhow::Result;

use crate::contender::{Contender, NODES, Setup, check};
use crate::load::Commands;
use crate::meter::{Cost, Meter};

/// How many commands are proposed at a time while the follower is away.
const WIDTH: usize = 1024;

/// Lets a follower fall `entries` behind and answers what it costs, all nodes together, until it
/// has applied them.
pub fn measure(contender: Contender, seed: u64, entries: u64) -> Result<Cost> {
    let setup = Setup {
        keep_log: true,
        ..Setup::usual(seed)
    };
    let mut cluster = contender.start(&setup)?;
    let mut commands = Commands::new(seed);
    cluster.run(&mut commands, 1, WIDTH)?;
    cluster.cut_off();
    let waves = entries.div_ceil(WIDTH as u64);
    cluster.run(&mut commands, waves, WIDTH)?;
    let meter = Meter::start();
    cluster.bring_back()?;
    let cost = meter.cost();
    check(&*cluster, seed, (waves + 1) * WIDTH as u64, NODES)?;
    Ok(cost)
}
