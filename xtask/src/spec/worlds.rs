//! Traces of simulated worlds, read while the simulator writes them.
//! Never reads more of one than is walked through, however long the world.
//!
//! # Source
//! docs/trace.md.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::target_dir;
use crate::mutants::{PLANS, Simulator};

/// More lines than an event ever has, with what is no event around it.
const LINES_PER_EVENT: usize = 10;

/// What a simulator told of one world.
pub struct World {
    /// Its trace, or its beginning.
    pub trace: String,
    /// What it said beside.
    pub words: String,
    /// How it ended, if it did before it was ended here.
    pub status: Option<ExitStatus>,
}

/// The simulator of these sources, built as it is for everyone.
pub fn simulator(root: &Path) -> Result<Simulator> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "headwater-sim"])
        .current_dir(root)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the simulator does not build");
    let program = target_dir(root).join("release/headwater-sim");
    Ok(Simulator::at(program, root.join(PLANS)))
}

/// Runs the simulator for the trace of one world, long enough for so many events.
pub fn watch(mut command: Command, events_max: usize) -> Result<World> {
    command.args(["--trace", "/dev/stdout"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("the simulator says nothing")?;
    let (mut lines, mut words) = (Vec::new(), Vec::new());
    let mut is_enough = false;
    for line in BufReader::new(out).lines() {
        let line = line?;
        // A simulator that breaks down may leave a line without its end.
        if line.starts_with('{') && line.ends_with('}') {
            lines.push(line);
        } else {
            words.push(line);
        }
        is_enough = lines.len() >= events_max.saturating_mul(LINES_PER_EVENT);
        if is_enough {
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    Ok(World {
        trace: lines.join("\n"),
        words: words.join("\n"),
        status: (!is_enough).then_some(status),
    })
}
