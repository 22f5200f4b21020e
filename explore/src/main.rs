//! The command line: which scopes to explore, and what came of it.
//! Never decides what is right: the properties do.
//!
//! # Source
//! docs/testing.md, "Exploration".

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use headwater_explore::bounds::{Bounds, DEEP, QUICK, SPEC, Scope};
use headwater_explore::listing::Listing;
use headwater_explore::model::Cluster;
use headwater_explore::report::explore_for;

const USAGE: &str = "\
usage: headwater-explore [OPTION]... [SCOPE]... [BOUND=VALUE]...

Walks through every state that three real cores can reach within small bounds, and checks
Raft's safety properties in each. Without arguments: all quick scopes.

  SCOPE          one of those that --list names; with bounds behind it, changed by them
  BOUND=VALUE    a bound by name; without a scope, of the least one there is
  --deep         the deep scopes, too: minutes, and gigabytes of memory
  --list         the scopes and their bounds
  --threads N    workers (2)
  --seconds N    give up on a scope after so long (a day)
  --states FILE  of the one scope that is named: writes all states down, as spec/ has them
  --seed N       of the nodes' dice, which decide nothing (0)
  --help         this text

Bounds: terms campaigns proposals crashes reads questions snapshots writes links transfers forgets
batch, and with 0 or 1 silence ticks eager symmetry. See docs/testing.md.";

struct Orders {
    scopes: Vec<Scope>,
    threads: usize,
    seed: u64,
    most: Duration,
    states: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--list") {
        for scope in QUICK.iter().chain(DEEP).chain(SPEC) {
            println!(
                "{}\n    {}\n    {:?}",
                scope.name, scope.about, scope.bounds
            );
        }
        return ExitCode::SUCCESS;
    }
    match orders(&words) {
        Ok(orders) => run(&orders),
        Err(why) => fail(&format!("{why}\n\n{USAGE}")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("headwater-explore: {why}");
    ExitCode::from(2)
}

fn orders(words: &[String]) -> Result<Orders, String> {
    let mut orders = Orders {
        scopes: Vec::new(),
        threads: 2,
        seed: 0,
        most: Duration::from_secs(86_400),
        states: None,
    };
    let mut is_deep = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--states" {
            orders.states = Some(words.next().ok_or("--states needs a file")?.into());
            continue;
        }
        let mut number = || {
            let value = words.next().and_then(|value| value.parse::<u64>().ok());
            value.ok_or_else(|| format!("{word} needs a number"))
        };
        match word.as_str() {
            "--deep" => is_deep = true,
            "--threads" => orders.threads = number()?.max(1) as usize,
            "--seconds" => orders.most = Duration::from_secs(number()?),
            "--seed" => orders.seed = number()?,
            word => match word.split_once('=') {
                Some((name, value)) => set(&mut orders.scopes, name, value)?,
                None => orders.scopes.push(scope(word)?),
            },
        }
    }
    if orders.scopes.is_empty() {
        orders.scopes.extend(QUICK);
    }
    if is_deep {
        orders.scopes.extend(DEEP);
    }
    if orders.states.is_some() && orders.scopes.len() != 1 {
        return Err("--states is for one scope".to_owned());
    }
    Ok(orders)
}

fn scope(name: &str) -> Result<Scope, String> {
    let mut all = QUICK.iter().chain(DEEP).chain(SPEC);
    let known = all.find(|scope| scope.name == name);
    known
        .copied()
        .ok_or_else(|| format!("no scope is called {name}: see --list"))
}

/// Sets a bound of the last scope named, or of the least.
fn set(scopes: &mut Vec<Scope>, name: &str, value: &str) -> Result<(), String> {
    if scopes.is_empty() {
        scopes.push(Scope {
            name: "own",
            about: "",
            bounds: Bounds::LEAST,
        });
    }
    let last = scopes.last_mut().expect("there is one now");
    let value = value
        .parse()
        .map_err(|_| format!("{name} needs a small number"))?;
    let is_known = last.bounds.set(name, value);
    is_known
        .then_some(())
        .ok_or_else(|| format!("no bound is called {name}"))
}

fn run(orders: &Orders) -> ExitCode {
    // A step that panics is a finding, told with the way that leads there.
    std::panic::set_hook(Box::new(|_| {}));
    let mut is_well = true;
    for scope in &orders.scopes {
        let mut cluster = Cluster::new(scope.bounds, orders.seed);
        if let Some(path) = &orders.states {
            match Listing::new(path) {
                Ok(listing) => cluster.listing = Some(Mutex::new(listing)),
                Err(why) => return fail(&format!("{}: {why}", path.display())),
            }
        }
        let report = explore_for(cluster, orders.threads, orders.most);
        is_well &= report.is_whole;
        if let Err(why) = &report.listed {
            return fail(&format!("no list of the states: {why}"));
        }
        println!("measured: {}: {report}", scope.name);
        if let Some(broken) = &report.broken {
            is_well = false;
            for (at, step) in broken.way.iter().enumerate() {
                println!("{:4}. {step}", at + 1);
            }
            println!("broken: {}: {}", broken.property, broken.how);
            break;
        }
        for property in &report.missing {
            is_well = false;
            println!("never: {property}");
        }
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
