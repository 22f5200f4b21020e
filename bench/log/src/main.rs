//! The log on a real disk, round by round in turn with another log, and with what the disk can do.
//! Never counts an entry that is not durable: each batch is synced before the next one begins.

mod bare;
mod ours;
mod rival;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;
use headwater_replica::wal::WalOptions;
use serde_json::json;

/// Measures the log: entries made durable, and recovery.
///
/// Figures mean something as ratios of one run, on a real disk of an otherwise idle machine.
#[derive(Debug, Parser)]
#[command(name = "headwater-bench-log", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The directory, on the disk that is measured
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Bytes of an entry
    #[arg(long, global = true, default_value_t = 256)]
    entry_bytes: usize,
    /// How many rounds; who begins changes from one to the next
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Entries made durable, in batches: ours, raft-engine, and a bare loop of write and fdatasync of
    /// our bytes
    Append {
        /// Entries in a batch
        #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
        batches: Vec<usize>,
        /// How long each of them is measured in a round
        #[arg(long, default_value_t = 1000)]
        millis: u64,
    },
    /// Bytes written to the disk per byte of entries, everything counted: frames, heads, and what is
    /// filled with zeros before it is used; over many segments, with releases between
    Bytes {
        /// Entries in a batch
        #[arg(long, default_value_t = 16)]
        batch: usize,
        /// KiB of a segment: the ratio hangs on it by the heads alone
        #[arg(long, default_value_t = 4096)]
        segment_kib: u64,
        /// How many segments are filled
        #[arg(long, default_value_t = 24)]
        segments: u64,
        /// After how many segments the log is released, as after a snapshot; 0 for never
        #[arg(long, default_value_t = 1)]
        release_after: u64,
    },
    /// Opening a log of so many entries
    Recover {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        entries: u64,
    },
}

/// A log that is measured.
trait Log {
    /// Makes these entries durable behind the ones before.
    fn append(&mut self, entries: &[Bytes]) -> Result<()>;
}

const CONTENDERS: [&str; 3] = ["bare", "ours", "raft-engine"];
/// Batches before the measurement begins.
const WARM_UP: usize = 20;
/// Bodies are drawn once; each batch takes others.
const BODIES: usize = 4096;

fn open(contender: &str, dir: &Path) -> Result<Box<dyn Log>> {
    Ok(match contender {
        "bare" => Box::new(bare::Bare::create(dir)?),
        "ours" => Box::new(ours::Ours::create(dir)?),
        _ => Box::new(rival::RaftEngine::create(dir)?),
    })
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    fs::create_dir_all(&cli.dir)?;
    let on = rustix::fs::statfs(&cli.dir).context("the file system")?;
    const TMPFS: i64 = 0x0102_1994;
    ensure!(
        on.f_type != TMPFS,
        "{} is in memory: choose a directory on a disk",
        cli.dir.display()
    );
    match &cli.command {
        Command::Append { batches, millis } => {
            append(&cli, batches, Duration::from_millis(*millis))
        }
        Command::Bytes {
            batch,
            segment_kib,
            segments,
            release_after,
        } => bytes(
            &cli,
            *batch,
            (*segment_kib << 10, *segments),
            *release_after,
        ),
        Command::Recover { entries } => recover(&cli, *entries),
    }
}

/// What one contender did in one round.
#[derive(Clone, Copy)]
struct Figure {
    entries_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Bytes handed to the kernel per byte of entries.
    amplification: f64,
}

fn append(cli: &Cli, batches: &[usize], time: Duration) -> Result<()> {
    let bodies = bodies(cli.entry_bytes);
    let mut told = Vec::new();
    for &batch in batches {
        let mut figures = [const { Vec::new() }; CONTENDERS.len()];
        for round in 0..cli.rounds {
            for turn in 0..CONTENDERS.len() {
                let which = (round + turn) % CONTENDERS.len();
                let figure = measure(cli, CONTENDERS[which], batch, &bodies, time)?;
                figures[which].push(figure);
            }
        }
        for (name, figures) in CONTENDERS.iter().zip(&figures) {
            told.push((batch, *name, median(figures)));
        }
    }
    tell(cli, &told);
    Ok(())
}

fn measure(
    cli: &Cli,
    contender: &str,
    batch: usize,
    bodies: &[Bytes],
    time: Duration,
) -> Result<Figure> {
    let folder = tempfile::tempdir_in(&cli.dir)?;
    let mut log = open(contender, folder.path())?;
    let mut histogram = Histogram::<u64>::new(3)?;
    let mut at = 0;
    let mut next = || {
        let from = at % (BODIES - batch.min(BODIES - 1));
        at += batch;
        &bodies[from..from + batch]
    };
    for _ in 0..WARM_UP {
        log.append(next())?;
    }
    let (begin, written) = (Instant::now(), written_bytes()?);
    let mut entries = 0;
    while begin.elapsed() < time {
        let before = Instant::now();
        log.append(next())?;
        histogram.record(before.elapsed().as_nanos() as u64)?;
        entries += batch;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let written = written_bytes()? - written;
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Figure {
        entries_per_second: entries as f64 / seconds,
        p50_us: us(0.5),
        p99_us: us(0.99),
        amplification: written as f64 / (entries * cli.entry_bytes) as f64,
    })
}

/// Each number's median.
fn median(figures: &[Figure]) -> Figure {
    let of = |number: fn(&Figure) -> f64| {
        let mut numbers: Vec<f64> = figures.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    Figure {
        entries_per_second: of(|figure| figure.entries_per_second),
        p50_us: of(|figure| figure.p50_us),
        p99_us: of(|figure| figure.p99_us),
        amplification: of(|figure| figure.amplification),
    }
}

fn tell(cli: &Cli, told: &[(usize, &str, Figure)]) {
    if cli.json {
        let rows = told.iter().map(|(batch, name, figure)| {
            json!({
                "batch": batch,
                "log": name,
                "entries_per_second": figure.entries_per_second,
                "p50_us": figure.p50_us,
                "p99_us": figure.p99_us,
                "bytes_per_byte": figure.amplification,
            })
        });
        println!("{:#}", json!(rows.collect::<Vec<_>>()));
        return;
    }
    println!(
        "{:>6} {:<12} {:>12} {:>9} {:>9} {:>8} {:>9}",
        "batch", "log", "entries/s", "p50 us", "p99 us", "B per B", "of bare"
    );
    for (batch, name, figure) in told {
        let bare = told
            .iter()
            .find(|(other, name, _)| other == batch && *name == "bare");
        let share = bare.map_or(f64::NAN, |(.., bare)| {
            figure.entries_per_second / bare.entries_per_second
        });
        println!(
            "{batch:>6} {name:<12} {:>12.0} {:>9.1} {:>9.1} {:>8.3} {:>8.0}%",
            figure.entries_per_second,
            figure.p50_us,
            figure.p99_us,
            figure.amplification,
            share * 100.0,
        );
    }
}

fn bytes(
    cli: &Cli,
    batch: usize,
    (segment_bytes, segments): (u64, u64),
    release_after: u64,
) -> Result<()> {
    let folder = tempfile::tempdir_in(&cli.dir)?;
    let bodies = bodies(cli.entry_bytes);
    let options = WalOptions {
        segment_bytes,
        ..WalOptions::default()
    };
    let before = written_bytes()?;
    let mut log = ours::Ours::of_segments(folder.path(), options)?;
    let (mut entries, mut released) = (0, 0);
    let batch = batch.min(BODIES);
    while (entries * cli.entry_bytes) as u64 <= segments * segment_bytes {
        let from = entries % (BODIES - batch + 1);
        log.append(&bodies[from..from + batch])?;
        entries += batch;
        let fresh = ((entries - released) * cli.entry_bytes) as u64;
        if release_after > 0 && fresh >= release_after * segment_bytes {
            // An eighth of a segment is kept for followers, as a server does.
            log.release(segment_bytes / 8 / cli.entry_bytes as u64)?;
            released = entries;
        }
    }
    let recycled = log.recycled();
    // A file that is being made counts as well.
    drop(log);
    let written = written_bytes()? - before;
    let payload = (entries * cli.entry_bytes) as u64;
    let ratio = written as f64 / payload as f64;
    if cli.json {
        println!(
            "{:#}",
            json!({
                "batch": batch,
                "payload_bytes": payload,
                "written_bytes": written,
                "bytes_per_byte": ratio,
                "segments_recycled": recycled,
            })
        );
    } else {
        println!(
            "{written} bytes for {payload} of entries: {ratio:.3}; {recycled} segments recycled"
        );
    }
    Ok(())
}

fn recover(cli: &Cli, entries: u64) -> Result<()> {
    let folder = tempfile::tempdir_in(&cli.dir)?;
    let bodies = bodies(cli.entry_bytes);
    let mut log = ours::Ours::create(folder.path())?;
    const BATCH: u64 = 500;
    eprintln!("writing {entries} entries of {} bytes", cli.entry_bytes);
    for at in 0..entries / BATCH {
        let from = (at * BATCH) as usize % (BODIES - BATCH as usize);
        log.append(&bodies[from..from + BATCH as usize])?;
    }
    drop(log);
    let mut seconds = Vec::new();
    for _ in 0..cli.rounds {
        let begin = Instant::now();
        let found = ours::recover(folder.path())?;
        seconds.push(begin.elapsed().as_secs_f64());
        ensure!(
            found == entries / BATCH * BATCH,
            "{found} entries came back"
        );
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!(
        "recovered {entries} entries in {median:.2} s (median of {})",
        cli.rounds
    );
    Ok(())
}

/// Bodies that no compression makes smaller.
fn bodies(bytes: usize) -> Vec<Bytes> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) as u8
    };
    let body = |_| (0..bytes).map(|_| next()).collect::<Vec<u8>>().into();
    (0..BODIES).map(body).collect()
}

/// What this process has handed to the kernel for writing so far.
fn written_bytes() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io").context("what was written")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.context("no such line")?.trim().parse()?)
}
