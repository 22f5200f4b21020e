//! The consensus core against other Raft libraries: three nodes in one process, in memory.
//! Never on a disk or a socket: what is measured is the algorithm and its drivers alone.

mod allocations;
mod contender;
mod figures;
mod load;
mod measure;
mod meter;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::contender::Contender;
use crate::figures::{Column, Figure, Figures, Table};
use crate::measure::{catch_up, election, idle, membership, throughput};
use crate::meter::Cost;

/// Measures the consensus core and its rivals, round by round in turn.
///
/// Each measurement fails unless all nodes have applied the same commands in the same order.
#[derive(Debug, Parser)]
#[command(name = "headwater-bench-core", version)]
struct Cli {
    /// How many rounds; who begins changes from one to the next.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What to measure [default: everything].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Commands in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 4096])]
    in_flight: Vec<usize>,
    /// Commands that are proposed for each figure of throughput; a quarter of it one at a time.
    #[arg(long, default_value_t = 200_000)]
    commands: u64,
    /// Who is measured [default: everyone].
    #[arg(long, value_enum, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// Seed of commands and of election dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do a little of everything and stop at the first wrong count: a test, not a measurement.
    #[arg(long)]
    quick: bool,
    /// Also write all figures of all rounds to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Measurement {
    /// Commands committed and applied.
    Throughput,
    /// A leader from nothing.
    Election,
    /// A follower far behind.
    CatchUp,
    /// A third voter comes and goes.
    Membership,
    /// Many groups without work.
    Idle,
}

/// How much of each thing is done.
struct Sizes {
    commands: u64,
    elections: u64,
    behind: u64,
    change_waves: u64,
    groups: usize,
    idle_virtual_ns: u64,
    idle_real: Duration,
}

impl Sizes {
    fn of(cli: &Cli) -> Self {
        if cli.quick {
            return Self {
                commands: 20_000,
                elections: 2,
                behind: 20_000,
                change_waves: 100,
                groups: 200,
                idle_virtual_ns: 2_000_000_000,
                idle_real: Duration::from_millis(300),
            };
        }
        Self {
            commands: cli.commands,
            elections: 5,
            behind: 1_000_000,
            change_waves: 1000,
            groups: 10_000,
            idle_virtual_ns: 10_000_000_000,
            idle_real: Duration::from_secs(3),
        }
    }
}

/// How long a transport that merges messages holds them: a tenth of a heartbeat.
const HOLD_NS: u64 = 10_000_000;

const TABLES: [Table; 5] = [
    Table {
        measurement: "throughput",
        title: "Commands of 256 bytes, committed and applied on all three nodes; all nodes together",
        columns: &[
            Column {
                name: "CPU ns/command",
                decimals: 0,
            },
            Column {
                name: "allocations/command",
                decimals: 3,
            },
            Column {
                name: "bytes allocated/command",
                decimals: 0,
            },
            Column {
                name: "commands/s",
                decimals: 0,
            },
        ],
        compared: "CPU ns/command",
    },
    Table {
        measurement: "election",
        title: "From empty logs to a leader's first committed entry; least timeout 100 ms",
        columns: &[
            Column {
                name: "ms on the nodes' clock",
                decimals: 0,
            },
            Column {
                name: "CPU us",
                decimals: 0,
            },
            Column {
                name: "allocations",
                decimals: 0,
            },
        ],
        compared: "CPU us",
    },
    Table {
        measurement: "catch-up",
        title: "A follower gets all it has missed from the leader's log",
        columns: &[
            Column {
                name: "CPU ns/entry",
                decimals: 0,
            },
            Column {
                name: "allocations/entry",
                decimals: 3,
            },
            Column {
                name: "entries/s",
                decimals: 0,
            },
        ],
        compared: "CPU ns/entry",
    },
    Table {
        measurement: "membership",
        title: "A third voter joins, with an empty log, and leaves again, under waves of 64 commands",
        columns: &[
            Column {
                name: "CPU ns/command before",
                decimals: 0,
            },
            Column {
                name: "waves to add",
                decimals: 0,
            },
            Column {
                name: "CPU ms to add",
                decimals: 1,
            },
            Column {
                name: "longest wave ms",
                decimals: 2,
            },
            Column {
                name: "waves to remove",
                decimals: 0,
            },
            Column {
                name: "CPU ms to remove",
                decimals: 2,
            },
        ],
        compared: "CPU ms to add",
    },
    Table {
        measurement: "idle",
        title: "Groups that do nothing in one process; figures for one node of each group",
        columns: &[
            Column {
                name: "groups",
                decimals: 0,
            },
            Column {
                name: "bytes/group",
                decimals: 0,
            },
            Column {
                name: "inputs/s/group",
                decimals: 1,
            },
            Column {
                name: "CPU s/s, virtual clock",
                decimals: 4,
            },
            Column {
                name: "CPU s/s, real clock",
                decimals: 4,
            },
            Column {
                name: "frames/s",
                decimals: 0,
            },
            Column {
                name: "merged: frames/s",
                decimals: 0,
            },
            Column {
                name: "merged: real",
                decimals: 4,
            },
            Column {
                name: "at rest: virtual",
                decimals: 6,
            },
            Column {
                name: "at rest: real",
                decimals: 6,
            },
        ],
        compared: "CPU s/s, virtual clock",
    },
];

fn main() -> Result<()> {
    let mut cli = Cli::parse();
    allocations::keep_memory();
    if cli.quick {
        cli.rounds = 1;
    }
    let mut figures = Figures::default();
    let sizes = Sizes::of(&cli);
    let contenders: Vec<Contender> = Contender::ALL
        .into_iter()
        .filter(|contender| cli.contenders.is_empty() || cli.contenders.contains(contender))
        .collect();
    for round in 0..cli.rounds {
        let mut turn = Turn {
            cli: &cli,
            sizes: &sizes,
            contenders: contenders.clone(),
            round,
            figures: &mut figures,
        };
        turn.contenders.rotate_left(round % contenders.len());
        turn.take()?;
    }
    println!(
        "{} rounds; medians, least and most; \"times this\": the rival's",
        cli.rounds
    );
    println!("figure divided by this one of the same round");
    for table in &TABLES {
        figures.print(table);
    }
    if let Some(path) = &cli.json {
        let text = format!("{:#}\n", figures.json());
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Cli {
    fn wants(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&measurement)
    }
}

/// One round.
struct Turn<'a> {
    cli: &'a Cli,
    sizes: &'a Sizes,
    contenders: Vec<Contender>,
    round: usize,
    figures: &'a mut Figures,
}

impl Turn<'_> {
    fn take(&mut self) -> Result<()> {
        let contenders = self.contenders.clone();
        if self.cli.wants(Measurement::Throughput) {
            for &width in &self.cli.in_flight {
                for &contender in &contenders {
                    let done = self.throughput(contender, width);
                    done.with_context(|| format!("{}, {width} in flight", contender.name()))?;
                }
            }
        }
        type Take<'a> = fn(&mut Turn<'a>, Contender) -> Result<()>;
        let rest: [(Measurement, Take<'_>); 3] = [
            (Measurement::Election, Turn::election),
            (Measurement::CatchUp, Turn::catch_up),
            (Measurement::Membership, Turn::membership),
        ];
        for (measurement, take) in rest {
            for &contender in contenders.iter().filter(|_| self.cli.wants(measurement)) {
                let done = take(self, contender);
                done.with_context(|| format!("{}, {measurement:?}", contender.name()))?;
            }
        }
        // Of the same kind from round to round, and slow.
        if self.round == 0 && self.cli.wants(Measurement::Idle) {
            self.idle()?;
        }
        Ok(())
    }

    fn push(&mut self, key: (&'static str, usize, Contender), all: &[(&'static str, f64)]) {
        let (measurement, width, contender) = key;
        for &(name, value) in all {
            self.figures.push(Figure {
                measurement,
                width,
                contender,
                round: self.round,
                name,
                value,
            });
        }
    }

    fn seed(&self) -> u64 {
        self.cli.seed + self.round as u64
    }

    fn throughput(&mut self, contender: Contender, width: usize) -> Result<()> {
        let lone = if width == 1 { 4 } else { 1 };
        let commands = (self.sizes.commands / lone).next_multiple_of(width as u64);
        let cost = throughput::measure(contender, self.seed(), width, commands)?;
        self.push(
            ("throughput", width, contender),
            &[
                ("CPU ns/command", cpu_ns(&cost, commands)),
                (
                    "allocations/command",
                    cost.allocations.calls as f64 / commands as f64,
                ),
                (
                    "bytes allocated/command",
                    cost.allocations.bytes as f64 / commands as f64,
                ),
                ("commands/s", commands as f64 / cost.wall.as_secs_f64()),
            ],
        );
        Ok(())
    }

    fn election(&mut self, contender: Contender) -> Result<()> {
        let count = self.sizes.elections;
        let mut sums = [0.0; 3];
        for number in 0..count {
            let election = election::measure(contender, self.seed() * count + number)?;
            sums[0] += election.clock.as_secs_f64() * 1e3;
            sums[1] += election.cost.cpu.as_secs_f64() * 1e6;
            sums[2] += election.cost.allocations.calls as f64;
        }
        // One figure a round, or quotients would pair elections at random.
        let [clock, cpu, allocations] = sums.map(|sum| sum / count as f64);
        self.push(
            ("election", 0, contender),
            &[
                ("ms on the nodes' clock", clock),
                ("CPU us", cpu),
                ("allocations", allocations),
            ],
        );
        Ok(())
    }

    fn catch_up(&mut self, contender: Contender) -> Result<()> {
        let entries = self.sizes.behind;
        let cost = catch_up::measure(contender, self.seed(), entries)?;
        self.push(
            ("catch-up", 0, contender),
            &[
                ("CPU ns/entry", cpu_ns(&cost, entries)),
                (
                    "allocations/entry",
                    cost.allocations.calls as f64 / entries as f64,
                ),
                ("entries/s", entries as f64 / cost.wall.as_secs_f64()),
            ],
        );
        Ok(())
    }

    fn membership(&mut self, contender: Contender) -> Result<()> {
        let waves = self.sizes.change_waves;
        let all = membership::measure(contender, self.seed(), waves)?;
        let before = all.waves * membership::WIDTH as u64;
        let longest = all.add.longest_wave.max(all.remove.longest_wave);
        self.push(
            ("membership", 0, contender),
            &[
                ("CPU ns/command before", cpu_ns(&all.before, before)),
                ("waves to add", all.add.waves as f64),
                ("CPU ms to add", all.add.cost.cpu.as_secs_f64() * 1e3),
                ("longest wave ms", longest.as_secs_f64() * 1e3),
                ("waves to remove", all.remove.waves as f64),
                ("CPU ms to remove", all.remove.cost.cpu.as_secs_f64() * 1e3),
            ],
        );
        Ok(())
    }

    fn idle(&mut self) -> Result<()> {
        let sizes = self.sizes;
        let (groups, seed) = (sizes.groups, self.cli.seed);
        let (ns, real) = (sizes.idle_virtual_ns, sizes.idle_real);
        let kept = |rests, hold_ns| {
            let keeping = idle::Keeping {
                groups,
                seed,
                rests,
                hold_ns,
            };
            idle::measure(keeping, ns, real)
        };
        let (idle, resting) = (kept(false, 0)?, kept(true, 0)?);
        let merged = kept(false, HOLD_NS)?;
        self.push(
            ("idle", 0, Contender::HeadwaterCore),
            &[
                ("groups", groups as f64),
                ("bytes/group", idle.bytes_per_node),
                ("inputs/s/group", idle.steps_per_second),
                ("CPU s/s, virtual clock", idle.cpu_virtual),
                ("CPU s/s, real clock", idle.cpu_real),
                ("frames/s", idle.frames_per_second),
                ("merged: frames/s", merged.frames_per_second),
                ("merged: real", merged.cpu_real),
                ("at rest: virtual", resting.cpu_virtual),
                ("at rest: real", resting.cpu_real),
            ],
        );
        Ok(())
    }
}

fn cpu_ns(cost: &Cost, count: u64) -> f64 {
    cost.cpu.as_nanos() as f64 / count as f64
}
