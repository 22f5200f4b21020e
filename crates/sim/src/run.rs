//! One seed, from its plan to its verdict.
//! Never keeps anything from one run for the next.
//!
//! # Source
//! ARCHITECTURE.md, "The house".

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::application::Application;
use crate::check::Violation;
use crate::cover::Cover;
use crate::kv::Kv;
use crate::plan::Plan;
use crate::trace::{Stats, Trace, Watch};
use crate::world::World;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Equal runs have equal hashes.
    pub hash: u64,
    /// What it was made of.
    pub stats: Stats,
    /// What is wrong, if anything.
    pub violation: Option<Violation>,
    /// The abstract states it went through.
    pub cover: Cover,
    /// What kept the trace file from being written.
    pub trace_error: Option<String>,
    /// The last that happened.
    pub last_lines: Vec<String>,
}

/// Runs a plan with the key-value store in it.
pub fn run(plan: Plan, watch: Watch) -> Report {
    simulate::<Kv>(plan, watch)
}

/// Runs a plan with an application in it to its end, or to the first violation; a panic of the code
/// under test is one.
pub fn simulate<A: Application>(plan: Plan, watch: Watch) -> Report {
    let seed = plan.seed;
    let mut world = World::<A>::new(plan, Trace::new(watch));
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match verdict {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => Some(Violation::new("panic", panic_text(&*panic))),
    };
    if let Some(violation) = &violation {
        let now = world.schedule.now();
        world.trace.tell(now, None, "violation", |object| {
            let object = object.text("oracle", violation.oracle);
            object.text("what", &violation.what)
        });
    }
    let trace_error = world.trace.finish().map(|error| error.to_string());
    let mut stats = world.stats;
    world.company.count(&mut stats);
    stats.committed = world.cluster.commit().0;
    stats.simulated_ns = world.schedule.now();
    Report {
        seed,
        hash: world.trace.hash(),
        stats,
        violation,
        cover: std::mem::take(&mut world.cover),
        trace_error,
        last_lines: world.trace.last_lines(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_string();
    }
    let text = panic.downcast_ref::<String>();
    text.cloned().unwrap_or_else(|| "without words".into())
}
