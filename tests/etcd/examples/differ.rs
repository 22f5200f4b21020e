//! Compares this server with an etcd, operation by operation, as long as one likes.
//!
//! ```sh
//! cargo run --manifest-path tests/etcd/Cargo.toml --example differ -- --seed 1 --count 100000
//! ```
//!
//! Every sequence starts two fresh servers. Of one that differs, the fewest operations that still
//! do are printed, and the command that repeats them.

use anyhow::{Context, Result, bail};
use headwater_etcd_tests::cluster::Server;
use headwater_etcd_tests::differ::generator::operations;
use headwater_etcd_tests::differ::operation::Operation;
use headwater_etcd_tests::differ::run::{Programs, run};
use headwater_etcd_tests::differ::shorten::shorten;
use headwater_etcd_tests::rival::rival;
use std::time::{Duration, Instant};

struct Wanted {
    seed: u64,
    count: usize,
    length: usize,
    only: Option<Vec<usize>>,
    shorten: Duration,
}

fn wanted() -> Result<Wanted> {
    let mut wanted = Wanted {
        seed: 1,
        count: 10_000,
        length: 2000,
        only: None,
        shorten: Duration::from_secs(300),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} what?"))?;
        match flag.as_str() {
            "--seed" => wanted.seed = value.parse()?,
            "--count" => wanted.count = value.parse()?,
            "--length" => wanted.length = value.parse()?,
            "--shorten-seconds" => wanted.shorten = Duration::from_secs(value.parse()?),
            "--only" => {
                let steps = value.split(',').map(str::parse);
                wanted.only = Some(steps.collect::<Result<_, _>>()?);
            }
            _ => bail!(
                "differ [--seed N] [--count OPERATIONS] [--length OF_A_SEQUENCE] \
                 [--only STEP,STEP,...] [--shorten-seconds N]"
            ),
        }
    }
    Ok(wanted)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted = wanted()?;
    let programs = Programs {
        ours: Server::from_env()?,
        theirs: Server::at(rival()?.join("etcd"))?,
    };
    let (mut seed, mut done, mut carried_out) = (wanted.seed, 0, 0);
    let began = Instant::now();
    while done < wanted.count {
        let all = operations(seed, wanted.length).into_iter().enumerate();
        let is_wanted = |step: &usize| wanted.only.as_ref().is_none_or(|only| only.contains(step));
        let sequence: Vec<(usize, Operation)> = all.filter(|(step, _)| is_wanted(step)).collect();
        let report = run(&programs, &sequence).await?;
        if let Some(difference) = report.difference {
            println!("seed {seed} differs at {difference:#?}; shortening");
            let (left, difference) =
                shorten(&programs, sequence, difference, wanted.shorten).await?;
            let steps: Vec<String> = left.iter().map(|(step, _)| step.to_string()).collect();
            for (step, operation) in &left {
                println!("{step}: {operation:?}");
            }
            println!(
                "at step {}: {}\n--- ours\n{}\n--- theirs\n{}",
                difference.step, difference.operation, difference.ours, difference.theirs
            );
            bail!(
                "again: --seed {seed} --length {} --count 1 --only {}",
                wanted.length,
                steps.join(",")
            );
        }
        done += report.asked;
        carried_out += report.carried_out;
        seed += 1;
        println!(
            "seeds {}..{seed}: {done} operations, of which {carried_out} were carried out, \
             no difference, {} s",
            wanted.seed,
            began.elapsed().as_secs()
        );
    }
    Ok(())
}
