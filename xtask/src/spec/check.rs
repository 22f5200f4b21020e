//! Every state of small clusters: `cargo xtask spec check`.
//! Never takes a number of states on trust: another than the one written down is a failure.
//!
//! # Source
//! spec/README.md.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::bounds::{self, Bounds, Kind};
use super::tlc::{AT_THE_END, Job, Outcome, Tlc};
use super::{Options, in_parallel, results, sort_out};

/// What may be checked at most takes so long, on a machine that has other things to do.
const SECONDS_MAX: u64 = 4 * 3600;

/// Checks all bounds that `options` ask for.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let kinds: &[Kind] = match options.deep {
        true => &[Kind::Quick, Kind::Deep],
        false => &[Kind::Quick],
    };
    let mut all = bounds::read_all(root, kinds)?;
    options.choose(&mut all, |bounds| &bounds.name)?;
    let tlc = Tlc::find(root)?;
    let heads = ["bounds", "generated", "distinct", "depth", "seconds"];
    println!(
        "{:<18} {:>12} {:>12} {:>6} {:>8}",
        heads[0], heads[1], heads[2], heads[3], heads[4]
    );
    let outcomes = in_parallel(options.jobs, &all, |bounds| {
        let outcome = check(root, &tlc, bounds);
        match &outcome {
            Ok(outcome) => println!(
                "{:<18} {:>12} {:>12} {:>6} {:>8}",
                bounds.name, outcome.generated, outcome.distinct, outcome.depth, outcome.seconds
            ),
            Err(why) => println!("{:<18} {why:#}", bounds.name),
        }
        outcome
    });
    let (rows, wrong) = sort_out(&all, outcomes, |bounds| &bounds.name, row);
    let settled = results::settle(root, &results::CHECK, &rows, options.write);
    ensure!(wrong.is_empty(), "not as they should be: {wrong}");
    settled
}

fn check(root: &Path, tlc: &Tlc, bounds: &Bounds) -> Result<Outcome> {
    let dir = tlc.scratch(root, &format!("check-{}", bounds.name))?;
    fs::write(dir.join("MC.cfg"), &bounds.config)?;
    let outcome = tlc.run(&Job {
        dir: &dir,
        module: &bounds.module,
        config: "MC.cfg",
        // Others run beside it; and so the numbers are the same each time.
        workers: 1,
        seconds_max: SECONDS_MAX,
        java: &[],
        tlc: AT_THE_END,
    })?;
    if let Some(property) = &outcome.violated {
        let from = outcome.output.find("Error: ").context("TLC says how")?;
        let property = bounds.name_of(property);
        bail!("{property} does not hold\n{}", &outcome.output[from..]);
    }
    Ok(outcome)
}

fn row(bounds: &Bounds, outcome: &Outcome) -> Vec<String> {
    vec![
        format!("`{}`", bounds.name),
        bounds.what.clone(),
        outcome.generated.to_string(),
        outcome.distinct.to_string(),
        outcome.depth.to_string(),
    ]
}
