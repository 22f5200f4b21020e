//! A third voter joins two and leaves again while commands are proposed.
//! Never pauses the load for it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::contender::{Change, Contender, Setup, check};
use crate::load::Commands;
use crate::meter::{Cost, Meter};

/// Commands in a wave.
pub const WIDTH: usize = 64;

/// A change may take so many waves.
const WAVES_MAX: u64 = 100_000;

/// A change under load.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// Waves proposed from the request until it was in force.
    pub waves: u64,
    /// The longest of them.
    pub longest_wave: Duration,
    /// What they cost together, the change included.
    pub cost: Cost,
}

/// Both changes.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// What a wave of two voters costs before any change.
    pub before: Cost,
    /// How many waves that were.
    pub waves: u64,
    /// The third voter joins, with an empty log.
    pub add: Changed,
    /// It leaves.
    pub remove: Changed,
}

/// Measures both changes.
///
/// The new voter's log is empty: it needs the `waves` waves that were proposed before.
pub fn measure(contender: Contender, seed: u64, waves: u64) -> Result<Membership> {
    let setup = Setup {
        voters: 2,
        keep_log: true,
        ..Setup::usual(seed)
    };
    let mut cluster = contender.start(&setup)?;
    let mut commands = Commands::new(seed);
    let meter = Meter::start();
    cluster.run(&mut commands, waves, WIDTH)?;
    let before = meter.cost();
    let mut total = waves;
    let mut under_way = |change: Change| -> Result<Changed> {
        let meter = Meter::start();
        cluster.begin_change(change)?;
        let (mut waves, mut longest_wave) = (0, Duration::ZERO);
        while waves == 0 || !cluster.is_changed(change) {
            ensure!(waves < WAVES_MAX, "a change of membership does not end");
            let begin = Instant::now();
            cluster.run(&mut commands, 1, WIDTH)?;
            longest_wave = longest_wave.max(begin.elapsed());
            waves += 1;
        }
        let cost = meter.cost();
        total += waves;
        let nodes = if change == Change::Add { 3 } else { 2 };
        check(&*cluster, seed, total * WIDTH as u64, nodes)?;
        Ok(Changed {
            waves,
            longest_wave,
            cost,
        })
    };
    let add = under_way(Change::Add)?;
    let remove = under_way(Change::Remove)?;
    Ok(Membership {
        before,
        waves,
        add,
        remove,
    })
}
