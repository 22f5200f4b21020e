//! The command line of the simulator, for `headwater sim`, `headwater-sim`, and embedders.
//! Never decides anything about a world: it names plans and seeds, and tells what came of them.
//!
//! # Source
//! docs/testing.md, "The simulator".

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::campaign::{Summary, run_all};
use crate::check::Violation;
use crate::dice::Dice;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::run::Report;
use crate::say::{put, say};
use crate::shrink::Shrink;
use crate::text::{Word, is_time, name_of};
use crate::trace::{Verbosity, Watch};

/// What `--help` adds.
pub const EXAMPLES: &str = "\
Examples:
  --seeds 0..10000 --jobs 2        many short worlds; the first that fails is shrunk
  --minutes 10 --plan disks        fresh seeds for ten minutes
  --seed 4758 --words              one world, every event in words
  --seed 4758 --dump > bug.plan    that world as a text file
  --plan bug.plan --trace bug.jsonl

Exit status: 0 if every world holds, 1 if one does not, 2 if it could not be tried.
What fails is told with the command that repeats it, last. Plans are explained in docs/plans.md,
trace files in docs/trace.md.";

/// What to simulate, and what to tell of it.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// One seed, told phase by phase
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "minutes"])]
    pub seed: Option<u64>,

    /// The seeds from A up to but not B [default: 0..200]
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub seeds: Option<(u64, u64)>,

    /// Seeds for so long: those of --seeds, or fresh ones that nobody has tried, which are printed
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub minutes: Option<Duration>,

    /// The worlds to draw from: swarm, long, disks, decay, or a plan file
    #[arg(long, value_name = "NAME|FILE", default_value = "swarm")]
    pub plan: String,

    /// Threads; each runs worlds of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = jobs)]
    pub jobs: NonZeroUsize,

    /// Print what the seed draws, as a plan, and do not run it
    #[arg(long)]
    pub dump: bool,

    /// Write all that happens to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Print all that happens, in words
    #[arg(long)]
    pub words: bool,

    /// Shrink what fails, for so many seconds at most; 0: not at all [default: 30 of many seeds, 0
    /// of one]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub shrink: Option<u64>,

    /// Go on after a failure
    #[arg(long)]
    pub keep_going: bool,
}

fn range(word: &str) -> Result<(u64, u64), String> {
    let ends = word.split_once("..");
    let number = |word: &str| word.parse::<u64>().ok();
    let ends = ends.and_then(|(first, end)| number(first).zip(number(end)));
    let ends = ends.filter(|(first, end)| first < end);
    ends.ok_or_else(|| "two numbers are wanted, the second greater: A..B".to_string())
}

fn jobs(word: &str) -> Result<NonZeroUsize, String> {
    let number = word.parse().ok();
    number.ok_or_else(|| "a number is wanted, 1 or more".to_string())
}

fn minutes(word: &str) -> Result<Duration, String> {
    let number = word.parse::<f64>().ok().filter(|minutes| *minutes > 0.0);
    let time = number.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    time.ok_or_else(|| "a number is wanted, greater than 0, as 10 or 0.5".to_string())
}

/// How a plan is run.
pub type Runner = fn(Plan, Watch) -> Report;

/// Does what `arguments` ask for; `program` is how this program is called, for commands that repeat
/// a failure.
pub fn main(arguments: &Arguments, program: &str, runner: Runner) -> ExitCode {
    let recipe = match read_recipe(&arguments.plan) {
        Ok(recipe) => recipe,
        Err(why) => return misuse(&why),
    };
    let session = Session {
        arguments,
        program,
        runner,
        recipe,
    };
    let names_a_seed = arguments.seeds.is_none() && arguments.minutes.is_none();
    let own = session.recipe.seed().filter(|_| names_a_seed);
    let result = match arguments.seed.or(own) {
        Some(seed) => session.one(seed),
        None => session.many(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => misuse(&why),
    }
}

fn misuse(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

fn read_recipe(plan: &str) -> Result<Recipe, String> {
    if let Some(recipe) = Recipe::named(plan) {
        return Ok(recipe);
    }
    let names: Vec<&str> = Recipe::names().collect();
    let text = std::fs::read_to_string(Path::new(plan)).map_err(|error| {
        let names = names.join(", ");
        format!("--plan {plan}: no plan of that name ({names}), and as a file: {error}")
    })?;
    Recipe::parse(&text).map_err(|wrong| format!("--plan {plan}: {wrong}"))
}

/// One call of the program.
struct Session<'a> {
    arguments: &'a Arguments,
    program: &'a str,
    runner: Runner,
    recipe: Recipe,
}

impl Session<'_> {
    fn draw(&self, seed: u64) -> Result<Plan, String> {
        let plan = self.recipe.draw(seed);
        match plan.mistake() {
            Some(mistake) => Err(format!("--plan {}: {mistake}", self.arguments.plan)),
            None => Ok(plan),
        }
    }

    /// One seed, phase by phase; whether it holds.
    fn one(&self, seed: u64) -> Result<bool, String> {
        let plan = self.draw(seed)?;
        if self.arguments.dump {
            put(format_args!("{plan}"));
            return Ok(true);
        }
        let (knobs, count) = (&plan.knobs, plan.faults.len());
        let (nodes, clients) = (knobs.nodes, knobs.clients);
        say!(
            "draw     seed {seed} of {}: {nodes} nodes, {clients} clients, {count} faults in {:.1} s",
            self.arguments.plan,
            seconds(knobs.faults_ns)
        );
        let report = (self.runner)(plan.clone(), self.watch()?);
        if let Some(error) = &report.trace_error {
            return Err(format!("writing the trace: {error}"));
        }
        let stats = &report.stats;
        say!(
            "faults   {} struck, {} crashes; {} elections, {} of {} requests answered, {} committed",
            stats.faults,
            stats.crashes,
            stats.elections,
            stats.answered,
            stats.requests,
            stats.committed
        );
        let Some(violation) = &report.violation else {
            say!(
                "calm     all serve and agree after {:.3} s",
                seconds(stats.calm_ns)
            );
            say!("verdict  holds; hash {:016x}", report.hash);
            return Ok(true);
        };
        let of_the_plan = violation.oracle == "plan"; // a slip of its author: no trace explains it
        for line in report.last_lines.iter().filter(|_| !of_the_plan) {
            say!("{line}");
        }
        say!("calm     not reached in good order");
        say!("verdict  {}; hash {:016x}", short(violation), report.hash);
        self.after_failure(plan, violation, self.arguments.shrink.unwrap_or(0))?;
        Ok(false)
    }

    fn watch(&self) -> Result<Watch, String> {
        let words = if self.arguments.words {
            Verbosity::All
        } else {
            Verbosity::Last
        };
        let Some(path) = &self.arguments.trace else {
            return Ok(words.into());
        };
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines: Box<dyn Write + Send> = Box::new(BufWriter::new(file));
        let lines = Some(lines);
        Ok(Watch { words, lines })
    }

    /// Many seeds; whether all hold.
    fn many(&self) -> Result<bool, String> {
        let arguments = self.arguments;
        if arguments.dump || arguments.trace.is_some() || arguments.words {
            return Err("--dump, --trace and --words are for one --seed".into());
        }
        let (first, end) = match (arguments.minutes, arguments.seeds) {
            (_, Some(seeds)) => seeds,
            (Some(_), None) => (fresh_seed(), u64::MAX),
            (None, None) => (0, 200),
        };
        self.draw(first)?;
        let began = Instant::now();
        let budget = arguments.minutes;
        if budget.is_some() {
            say!("seeds from {first} on");
        }
        // A panic of the code under test is reported as a violation, once, below.
        std::panic::set_hook(Box::new(|_| {}));
        let mut failed: Option<(Plan, Violation)> = None;
        let mut summary = Summary::default();
        let progress = std::cell::RefCell::new(Progress::new(end.saturating_sub(first), budget));
        let in_time = || budget.is_none_or(|budget| began.elapsed() < budget);
        let mistake = OnceLock::new();
        let can_be = |seed| match self.draw(seed) {
            Ok(_) => mistake.get().is_none(),
            Err(why) => {
                let _ = mistake.set(format!("{why} (seed {seed})")); // the first is enough
                false
            }
        };
        let each = |report: Report| {
            summary.add(&report);
            progress.borrow_mut().runs = summary.runs;
            let Some(violation) = report.violation else {
                return true;
            };
            progress.borrow_mut().clear();
            say!("seed {}: {}", report.seed, short(&violation));
            if failed.is_none() {
                failed = Some((self.recipe.draw(report.seed), violation));
            }
            arguments.keep_going
        };
        run_all(
            first,
            arguments.jobs.get(),
            |seed| seed < end && in_time() && can_be(seed),
            |seed| (self.runner)(self.recipe.draw(seed), Verbosity::Silent.into()),
            each,
            || progress.borrow_mut().show(began),
        );
        progress.borrow_mut().clear();
        tell_summary(&summary, first, began);
        if let Some(why) = mistake.into_inner() {
            return Err(why);
        }
        let Some((plan, violation)) = failed else {
            return Ok(true);
        };
        let seconds = if arguments.keep_going { 0 } else { 30 };
        self.after_failure(plan, &violation, arguments.shrink.unwrap_or(seconds))?;
        Ok(false)
    }

    /// Shrinks what failed, if there is time for that, and says how to repeat it.
    fn after_failure(&self, plan: Plan, violation: &Violation, secs: u64) -> Result<(), String> {
        let (program, seed) = (self.program, plan.seed);
        let whole = format!("{program} --plan {} --seed {seed}", self.arguments.plan);
        if secs == 0 {
            say!("repeat: {whole}");
            return Ok(());
        }
        std::panic::set_hook(Box::new(|_| {}));
        let until = Instant::now() + Duration::from_secs(secs);
        let (before, mut runs) = (plan.faults.len(), 0);
        let small = Shrink {
            run: &mut |plan| {
                runs += 1;
                (self.runner)(plan.clone(), Verbosity::Silent.into()).violation
            },
            goes_on: &mut || Instant::now() < until,
            oracle: violation.oracle,
        }
        .shrink(plan);
        let path = format!("shrunk-{seed}.plan");
        let head = format!(
            "# Shrunk from seed {seed} of {}: {}\n",
            self.arguments.plan,
            short(violation)
        );
        std::fs::write(
            &path,
            format!(
                "{}{small}",
                head.replace('\n', " ").trim_end().to_owned() + "\n"
            ),
        )
        .map_err(|error| format!("{path}: {error}"))?;
        say!(
            "shrunk   from {before} faults to {} in {runs} runs; whole: {whole}",
            small.faults.len()
        );
        say!("repeat: {program} --plan {path}");
        Ok(())
    }
}

/// A seed that is unlikely to have been tried: from the clock and the process.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos() as u64);
    Dice::of(nanos, "fresh", &[std::process::id().into()]).next() >> 16
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A violation in a line: what is seen may be as long as a store.
fn short(violation: &Violation) -> String {
    violation.to_string().chars().take(1000).collect()
}

fn tell_summary(summary: &Summary, first: u64, began: Instant) {
    let took = began.elapsed().as_secs_f64().max(0.001);
    let (stats, runs) = (&summary.stats, summary.runs);
    let simulated = seconds(stats.simulated_ns);
    say!(
        "seeds {first}..{}: {runs} run, {} failed; {took:.1} s, {simulated:.0} simulated s ({:.0}x), \
         {} events ({:.0}/s)",
        first + runs,
        summary.failures,
        simulated / took,
        stats.events,
        stats.events as f64 / took
    );
    let (never, counted): (Vec<_>, Vec<_>) = stats.all().into_iter().partition(|(_, n)| *n == 0);
    let counted = counted.iter().map(|(name, count)| {
        let count = count.spell(is_time(name));
        format!("{} {count}", name_of(name))
    });
    say!("{}", paragraph("counted:", counted));
    if !never.is_empty() && runs > 1 {
        let never = never.into_iter().map(|(name, _)| name_of(name));
        say!("{}", paragraph("never:", never));
    }
    say!(
        "{runs} seeds, {} states seen, {} of them new in the last tenth",
        summary.cover.len(),
        summary.new_in_last_tenth()
    );
    say!("hash {:016x}", summary.hash);
}

/// Words with commas between them, in lines of a hundred columns.
fn paragraph(head: &str, words: impl Iterator<Item = String>) -> String {
    let (mut text, mut column, mut comma) = (head.to_string(), head.len(), "");
    for word in words {
        text.push_str(comma);
        if column + word.len() > 97 {
            text.push_str("\n ");
            column = 1;
        }
        text.push(' ');
        text.push_str(&word);
        column += word.len() + 2;
        comma = ",";
    }
    text
}

/// A line on the terminal that says how far it is; silent if there is no terminal.
struct Progress {
    runs: u64,
    of: u64,
    budget: Option<Duration>,
    shown: Option<Instant>,
}

impl Progress {
    fn new(of: u64, budget: Option<Duration>) -> Self {
        Self {
            runs: 0,
            of,
            budget,
            shown: None,
        }
    }

    fn show(&mut self, began: Instant) {
        let is_due = self
            .shown
            .is_none_or(|at| at.elapsed() > Duration::from_millis(200));
        if !is_due || !std::io::stderr().is_terminal() {
            return;
        }
        self.shown = Some(Instant::now());
        let part = match self.budget {
            Some(budget) => began.elapsed().as_secs_f64() / budget.as_secs_f64().max(0.001),
            None => self.runs as f64 / self.of.max(1) as f64,
        };
        let full = (part.clamp(0.0, 1.0) * 30.0) as usize;
        let bar = format!("{}{}", "=".repeat(full), " ".repeat(30 - full));
        eprint!(
            "\r[{bar}] {} seeds, {:.0} s ",
            self.runs,
            began.elapsed().as_secs_f64()
        );
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
