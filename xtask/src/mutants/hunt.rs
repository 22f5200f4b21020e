//! The simulator as a program: built, run with a bug switched on, and understood.
//! Never lets it run on: the processor time of each run is counted, and has an end.
//!
//! # Source
//! docs/testing.md, "Mutation score".

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::copy::SWITCH;
use super::mutant::PLANS;
use super::schemata::Numbered;

/// The seeds that are looked through: more than time allows.
const SEEDS: &str = "0..1000000000";

/// What is known to be missed is given one of so many parts of the time.
const KNOWN_SHARE: u64 = 10;

/// What says that a plan did not reach its point, which no bug excuses and none is.
const IDLE: &str = "expect";

/// A simulator that has been built.
#[derive(Debug)]
pub struct Simulator {
    program: PathBuf,
    plans: PathBuf,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub enum Worlds<'a> {
    /// Drawn from these seeds.
    Seeds(&'a str),
    /// The one of this plan.
    Plan(&'a str),
    /// The one of a seed of this plan.
    World(&'a str, u64),
}

/// What a hunt came to.
#[derive(Debug)]
pub struct Hunt {
    /// Who saw the bug, if anyone did.
    pub found: Option<Found>,
    /// Processor time, of all seeds tried.
    pub cpu_seconds: f64,
}

/// A bug seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// By which oracle.
    pub oracle: String,
    /// In which seed's run, or which plan's.
    pub seed: String,
}

impl Simulator {
    /// Builds the simulator of a workspace as for a release.
    pub fn build(root: &Path, target: &Path) -> Result<Self> {
        println!("building the simulator in {}", target.display());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--release"])
            .args(["--package", "headwater-sim"])
            // What bugs leave unused is no news.
            .env("RUSTFLAGS", "-Awarnings")
            .env("CARGO_TARGET_DIR", target)
            .current_dir(root)
            .output()
            .context("starting cargo")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the simulator does not build:\n{text}"
        );
        Ok(Self::at(
            target.join("release/headwater-sim"),
            root.join(PLANS),
        ))
    }

    /// One that is there.
    pub fn at(program: PathBuf, plans: PathBuf) -> Self {
        Self { program, plans }
    }

    /// The one place that knows the simulator's command line.
    pub fn command(&self, worlds: Worlds<'_>) -> Command {
        let mut command = Command::new(&self.program);
        let plan = |name: &str| self.plans.join(format!("{name}.plan"));
        match worlds {
            Worlds::Seeds(seeds) => command.args(["--seeds", seeds]),
            Worlds::Plan(name) => command.arg("--plan").arg(plan(name)),
            Worlds::World(name, seed) => command
                .arg("--plan")
                .arg(plan(name))
                .args(["--seed", &seed.to_string()]),
        };
        command.args(["--shrink", "0"]);
        command.env_remove(SWITCH);
        command
    }

    /// Whether without a bug these seeds come to what they come to in the ordinary build.
    pub fn check_same(&self, ordinary: &Self, seeds: &str) -> Result<()> {
        let (has, wanted) = (self.hash(seeds)?, ordinary.hash(seeds)?);
        ensure!(
            has == wanted,
            "with no bug on, seeds {seeds} come to {has} instead of {wanted}"
        );
        println!("no mutant: seeds {seeds} pass, {has} as in the ordinary build");
        Ok(())
    }

    fn hash(&self, seeds: &str) -> Result<String> {
        let output = self.command(Worlds::Seeds(seeds)).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "seeds {seeds} fail:\n{text}");
        let hash = text.lines().find(|line| line.starts_with("hash "));
        Ok(hash.context("the simulator tells no hash")?.to_owned())
    }

    /// Looks for a bug until an oracle sees it or the time is up: first in the seeds it names.
    /// What is known to be missed is looked for as well, but not for long.
    pub fn look_for(&self, (number, mutant): Numbered<'_>, seconds: u64) -> Result<Hunt> {
        let seconds = if mutant.missed.is_some() {
            seconds / KNOWN_SHARE
        } else {
            seconds
        };
        let mut hunt = Hunt {
            found: None,
            cpu_seconds: 0.0,
        };
        let plan = mutant.plan.as_deref().map(Worlds::Plan);
        let seeds = mutant.seeds.as_deref().into_iter().chain([SEEDS]);
        for worlds in plan.into_iter().chain(seeds.map(Worlds::Seeds)) {
            let left = seconds as f64 - hunt.cpu_seconds;
            if hunt.found.is_none() && left > 0.0 {
                let (found, cpu_seconds) = self.try_worlds(number, worlds, left)?;
                hunt.found = found;
                hunt.cpu_seconds += cpu_seconds;
            }
        }
        Ok(hunt)
    }

    fn try_worlds(
        &self,
        number: usize,
        worlds: Worlds<'_>,
        seconds: f64,
    ) -> Result<(Option<Found>, f64)> {
        let mut child = with_bug(self.command(worlds), number)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the simulator")?;
        let (mut out, mut errors) = (child.stdout.take(), child.stderr.take());
        let text = thread::spawn(move || read_all(&mut out));
        let complaints = thread::spawn(move || read_all(&mut errors));
        let cpu_seconds = wait(&mut child, seconds)?;
        let status = child.wait()?;
        let text = text.join().unwrap_or_default();
        let complaints = complaints.join().unwrap_or_default();
        let found = match status.code() {
            Some(0) => None,
            Some(1) => match worlds {
                Worlds::Seeds(_) => text.lines().find_map(found_in),
                Worlds::Plan(name) | Worlds::World(name, _) => {
                    text.lines().find_map(|line| verdict_in(line, name))
                }
            },
            Some(_) => bail!("the simulator refuses its arguments: {complaints}"),
            // It was stopped here, or it broke down so badly that it could not say why.
            None if cpu_seconds >= seconds => None,
            None => Some(Found {
                oracle: "abort".to_owned(),
                seed: String::new(),
            }),
        };
        Ok((found, cpu_seconds))
    }
}

/// The same with a bug switched on.
pub fn with_bug(mut command: Command, number: usize) -> Command {
    command.env(SWITCH, number.to_string());
    command
}

/// The finding in a line of the simulator: `seed SEED: ORACLE: WHAT`.
pub fn found_in(line: &str) -> Option<Found> {
    let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
    let (oracle, _) = rest.split_once(": ")?;
    Some(Found {
        oracle: oracle.to_owned(),
        seed: seed.to_owned(),
    })
}

/// The finding in the last word on a plan's one world: `verdict  ORACLE: WHAT`.
pub fn verdict_in(line: &str, plan: &str) -> Option<Found> {
    let rest = line.strip_prefix("verdict  ")?;
    let (oracle, _) = rest.split_once(": ")?;
    (oracle != IDLE).then(|| Found {
        oracle: oracle.to_owned(),
        seed: plan.to_owned(),
    })
}

fn read_all(from: &mut Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What could be read is all there is to judge by.
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the child has ended or used up its time, then ends it; the time it used.
fn wait(child: &mut Child, seconds: f64) -> Result<f64> {
    let began = Instant::now();
    let mut used = 0.0;
    loop {
        // Before the child is reaped, which makes its account go away.
        let account = Account::of(child.id());
        used = account.as_ref().map_or_else(
            || began.elapsed().as_secs_f64(),
            |account| account.cpu_seconds.max(used),
        );
        if account.is_some_and(|account| account.has_ended) || child.try_wait()?.is_some() {
            return Ok(used);
        }
        if used >= seconds {
            child.kill()?;
            return Ok(used);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What the kernel says of a process, where it says so in Linux's way.
struct Account {
    cpu_seconds: f64,
    has_ended: bool,
}

impl Account {
    fn of(process: u32) -> Option<Self> {
        /// What Linux counts in for programs to read, on every machine.
        const TICKS_PER_SECOND: f64 = 100.0;
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            has_ended: fields.first() == Some(&"Z"),
        })
    }
}
