//! One path of a request, walked so often that its instructions can be counted.
//! Never looks at a clock: `cargo xtask bench instructions` starts it under Valgrind, which counts
//! what runs within `measured` and nothing else.
//!
//! `headwater-instructions CASE` prints how many operations it measured.

mod cores;
mod records;
mod replicas;
mod stores;

use anyhow::{Result, bail};

/// Walks a path, and gives the number of operations.
type Walk = fn() -> Result<u64>;

/// The paths, by name.
const CASES: [(&str, Walk); 9] = [
    ("core-1", || cores::commit(1)),
    ("core-64", || cores::commit(64)),
    ("codec", records::there_and_back),
    ("replica-1", || replicas::commit(1)),
    ("replica-64", || replicas::commit(64)),
    ("apply-put", stores::apply_puts),
    ("apply-cas", stores::apply_cas),
    ("range", stores::range),
    ("watch", stores::watch),
];

fn main() -> Result<()> {
    let asked = std::env::args().nth(1);
    let Some(asked) = asked else {
        for (name, _) in CASES {
            println!("{name}");
        }
        return Ok(());
    };
    match CASES.iter().find(|(name, _)| *name == asked) {
        Some((_, case)) => println!("{}", case()?),
        None => bail!("no case is called {asked}"),
    }
    Ok(())
}

/// What is counted. Its name is how Valgrind knows it, so it must stay a function of its own.
#[inline(never)]
fn measured<T>(what: impl FnOnce() -> T) -> T {
    what()
}
