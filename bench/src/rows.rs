//! What a comparison measures, which figures of it are shown, and what we aim at.
//! Never measures anything itself.

use crate::engine::Engine;
use crate::work::Work;

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// The leader alone.
    Leader,
    /// All endpoints in turn.
    All,
}

/// What happens to a cluster before a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// All its members are started again, over the keys that they hold.
    Restart,
    /// A burst of puts.
    Burst,
}

/// A measurement that is one load on a running cluster.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its name, as `--only` takes it.
    pub name: &'static str,
    /// What is asked for.
    pub work: Work,
    /// By how many clients.
    pub clients: usize,
    /// Whom they ask.
    pub target: Target,
    /// What happens before.
    pub before: Before,
    /// Bytes of a value, if not what the whole comparison has.
    pub value_bytes: Option<usize>,
}

const fn step(name: &'static str, work: Work, clients: usize) -> Step {
    Step {
        name,
        work,
        clients,
        target: Target::Leader,
        before: Before::Nothing,
        value_bytes: None,
    }
}

const fn after(before: Before, step: Step) -> Step {
    Step { before, ..step }
}

const fn at_all(step: Step) -> Step {
    let target = Target::All;
    Step { target, ..step }
}

/// The loads, in the order in which a cluster gets them.
pub const STEPS: [Step; 27] = [
    after(Before::Restart, step("range-fresh-64", Work::Range, 64)),
    step("range-fresh-256", Work::Range, 256),
    step("range-fresh-256-lean", Work::Range, 256),
    at_all(step("serializable-64", Work::Serializable, 64)),
    at_all(step("serializable-256", Work::Serializable, 256)),
    at_all(step("serializable-256-lean", Work::Serializable, 256)),
    step("put-1", Work::Put, 1),
    step("put-1-lean", Work::Put, 1),
    step("put-16", Work::Put, 16),
    step("put-16-lean", Work::Put, 16),
    step("put-64", Work::Put, 64),
    step("put-64-lean", Work::Put, 64),
    step("put-256", Work::Put, 256),
    step("put-256-lean", Work::Put, 256),
    step("put-1000", Work::Put, 1000),
    step("put-1000-lean", Work::Put, 1000),
    after(Before::Burst, step("range-after-puts-64", Work::Range, 64)),
    after(
        Before::Burst,
        step("range-after-puts-256", Work::Range, 256),
    ),
    after(
        Before::Burst,
        step("range-after-puts-256-lean", Work::Range, 256),
    ),
    step("mixed-64", Work::Mixed, 64),
    step("mixed-256", Work::Mixed, 256),
    step("mixed-256-lean", Work::Mixed, 256),
    step("cas-256", Work::Cas, 256),
    step("cas-256-lean", Work::Cas, 256),
    Step {
        value_bytes: Some(64 * 1024),
        ..step("large-16", Work::Put, 16)
    },
    step("keep-alive-256", Work::KeepAlive, 256),
    step("keep-alive-256-lean", Work::KeepAlive, 256),
];

/// Measurements that are more than a load, in the order in which they come.
pub const OTHERS: [&str; 7] = [
    "floor",
    "watch",
    "watch-lean",
    "store",
    "written",
    "failover",
    "failover-fast",
];

/// What `--quick` measures unless told otherwise.
pub const QUICK: [&str; 6] = [
    "range-fresh-64",
    "put-1",
    "put-64",
    "floor",
    "watch",
    "failover",
];

/// Whether this measurement was asked for: by its name, or by the beginning of it.
pub fn is_wanted(name: &str, only: &[String]) -> bool {
    let begins = |asked: &String| {
        let rest = name.strip_prefix(asked.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    only.is_empty() || only.iter().any(begins)
}

/// What drives a measurement.
pub fn engine_of(name: &str) -> Engine {
    match name.ends_with(LEAN) {
        true => Engine::Lean,
        false => Engine::EtcdClient,
    }
}

/// Whom our figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The other server's figure of the same name.
    Rival,
    /// That of the prototype which checks nothing.
    Bare,
    /// Nobody's: our figure is a quotient already, or speaks for itself.
    Itself,
}

/// What a quotient should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Shown and not judged.
    None,
}

impl Aim {
    /// Whether a quotient is what it should be; nothing if it is not judged.
    pub fn is_met(self, quotient: f64) -> Option<bool> {
        match self {
            Aim::AtLeast(least) => Some(quotient >= least),
            Aim::AtMost(most) => Some(quotient <= most),
            Aim::None => None,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The measurement.
    pub of: &'static str,
    /// Its figure.
    pub figure: &'static str,
    /// How many decimals of it are shown.
    pub decimals: usize,
    /// Whom it is divided by.
    pub against: Against,
    /// What the quotient should be.
    pub aim: Aim,
}

const fn row(of: &'static str, figure: &'static str, decimals: usize, aim: Aim) -> Row {
    let against = Against::Rival;
    Row {
        of,
        figure,
        decimals,
        against,
        aim,
    }
}

const fn against(against: Against, row: Row) -> Row {
    Row { against, ..row }
}

use Aim::{AtLeast, AtMost, None as Shown};

/// The table, but for the rows of the lean engine.
const ROWS: [Row; 85] = [
    row("put-1", "per_s", 0, AtLeast(2.0)),
    row("put-1", "p50_ms", 2, AtMost(0.5)),
    row("put-1", "p99_ms", 2, AtMost(1.0)),
    row("put-16", "per_s", 0, AtLeast(4.0)),
    row("put-16", "p50_ms", 2, AtMost(0.34)),
    row("put-16", "p99_ms", 2, AtMost(0.5)),
    row("put-64", "per_s", 0, AtLeast(4.0)),
    row("put-64", "p50_ms", 2, AtMost(0.25)),
    row("put-64", "p99_ms", 2, AtMost(0.25)),
    row("put-256", "per_s", 0, AtLeast(4.0)),
    row("put-256", "p50_ms", 2, AtMost(0.25)),
    row("put-256", "p99_ms", 2, AtMost(0.25)),
    row("put-1000", "per_s", 0, AtLeast(4.0)),
    row("put-1000", "p50_ms", 2, AtMost(0.34)),
    row("put-1000", "p99_ms", 2, AtMost(0.34)),
    row("put-64", "server_cpu_s_per_100k", 1, AtMost(0.2)),
    row("put-256", "server_cpu_s_per_100k", 1, AtMost(0.167)),
    row("put-1", "switches_per_op", 1, AtMost(0.5)),
    row("put-64", "switches_per_op", 2, AtMost(0.5)),
    row("put-64", "syncs_per_op", 3, AtMost(1.0)),
    row("put-64", "disk_bytes_per_op", 0, Shown),
    row("put-64", "charged_bytes_per_op", 0, Shown),
    row("put-64", "client_cpu_s_per_100k", 1, Shown),
    against(Against::Bare, row("put-64", "per_s", 0, AtLeast(0.8))),
    against(Against::Bare, row("put-64", "p50_ms", 2, AtMost(1.5))),
    against(
        Against::Bare,
        row("put-64", "server_cpu_s_per_100k", 1, AtMost(1.5)),
    ),
    row("floor", "put_p50_ms", 2, Shown),
    row("floor", "sync_p50_ms", 3, Shown),
    row("floor", "sync_of_three_p50_ms", 3, Shown),
    row("floor", "hops_p50_ms", 3, Shown),
    row("floor", "grpc_p50_ms", 3, Shown),
    against(
        Against::Itself,
        row("floor", "put_to_floor", 2, AtMost(1.3)),
    ),
    against(
        Against::Itself,
        row("floor", "put_to_shared_floor", 2, Shown),
    ),
    row("floor", "bare_p50_ms", 3, Shown),
    against(Against::Itself, row("floor", "put_to_bare", 2, Shown)),
    row("range-fresh-64", "per_s", 0, AtLeast(4.0)),
    row("range-fresh-64", "p99_ms", 2, AtMost(0.5)),
    row("range-fresh-64", "server_cpu_s_per_100k", 1, AtMost(0.5)),
    row("range-fresh-256", "per_s", 0, AtLeast(4.0)),
    row("range-fresh-256", "p99_ms", 2, AtMost(0.5)),
    row("range-fresh-256", "server_cpu_s_per_100k", 1, AtMost(0.5)),
    row("range-after-puts-64", "per_s", 0, AtLeast(6.0)),
    row("range-after-puts-64", "p99_ms", 2, AtMost(0.34)),
    row("range-after-puts-256", "per_s", 0, AtLeast(6.0)),
    row("range-after-puts-256", "p99_ms", 2, AtMost(0.34)),
    row("serializable-64", "per_s", 0, AtLeast(3.0)),
    row("serializable-256", "per_s", 0, AtLeast(3.0)),
    row("serializable-256", "server_cpu_s_per_100k", 1, AtMost(0.5)),
    row("mixed-64", "per_s", 0, AtLeast(3.0)),
    row("mixed-256", "per_s", 0, AtLeast(4.0)),
    row("mixed-256", "p99_ms", 2, AtMost(0.34)),
    row("cas-256", "per_s", 0, AtLeast(4.0)),
    row("cas-256", "p99_ms", 2, AtMost(0.34)),
    row("large-16", "per_s", 0, AtLeast(1.0)),
    row("large-16", "p99_ms", 2, AtMost(1.0)),
    row("keep-alive-256", "per_s", 0, AtLeast(1.0)),
    row("keep-alive-256", "server_cpu_s_per_100k", 2, AtMost(0.25)),
    row("watch", "last_p50_ms", 2, AtMost(0.334)),
    row("watch", "events_per_s", 0, AtLeast(3.0)),
    row("watch", "server_cpu_s_per_100k", 2, AtMost(0.5)),
    row("watch-lean", "last_p50_ms", 2, AtMost(0.334)),
    row("watch-lean", "events_per_s", 0, AtLeast(3.0)),
    row("watch-lean", "server_cpu_s_per_100k", 2, AtMost(0.5)),
    row("store", "fill_keys_per_s", 0, AtLeast(1.0)),
    row("store", "loaded_mib", 0, AtMost(0.5)),
    row("store", "restarted_mib", 0, AtMost(0.334)),
    row("store", "restart_one_s", 2, AtMost(0.334)),
    row("store", "restart_one_cpu_s", 2, AtMost(0.5)),
    row("store", "restart_all_s", 2, AtMost(0.334)),
    row("store", "stall_fill_ms", 0, AtMost(1.0)),
    row("store", "stall_steady_ms", 1, Shown),
    row("store", "stall_snapshot_ms", 1, AtMost(0.1)),
    row("store", "stall_compact_ms", 1, AtMost(0.1)),
    row("store", "stall_defragment_ms", 1, AtMost(0.1)),
    row("store", "snapshot_s", 2, Shown),
    row("store", "compact_s", 3, Shown),
    row("store", "defragment_s", 3, Shown),
    row("written", "disk_bytes_per_op", 0, AtMost(0.5)),
    row("written", "charged_bytes_per_op", 0, Shown),
    row("written", "per_s", 0, Shown),
    row("written", "p99_ms", 2, Shown),
    row("failover", "away_ms", 0, AtMost(0.1)),
    row("failover", "steady_ms", 1, Shown),
    row("failover-fast", "away_ms", 0, AtMost(0.5)),
    row("failover-fast", "steady_ms", 1, Shown),
];

/// How the name of a load ends that is another one, driven by the lean engine.
const LEAN: &str = "-lean";

/// The figures of such a load that are shown, with their decimals.
const LEAN_FIGURES: [(&str, usize); 5] = [
    ("per_s", 0),
    ("p50_ms", 2),
    ("p99_ms", 2),
    ("server_cpu_s_per_100k", 1),
    ("client_cpu_s_per_100k", 1),
];

/// The table. A row of the lean engine has the aim of the row that it doubles.
pub fn table() -> Vec<Row> {
    let mut table = ROWS.to_vec();
    for step in STEPS {
        let Some(usual) = step.name.strip_suffix(LEAN) else {
            continue;
        };
        let doubled = |row: &Row| Row {
            of: step.name,
            ..*row
        };
        let of_usual = || ROWS.iter().filter(|row| row.of == usual);
        for (figure, decimals) in LEAN_FIGURES {
            let mut same = of_usual().filter(|row| row.figure == figure);
            let beside = same.find(|row| row.against == Against::Rival);
            let plain = row(step.name, figure, decimals, Shown);
            table.push(beside.map_or(plain, doubled));
        }
        table.extend(
            of_usual()
                .filter(|row| row.against == Against::Bare)
                .map(doubled),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurements() -> Vec<&'static str> {
        let steps = STEPS.iter().map(|step| step.name);
        steps.chain(OTHERS).collect()
    }

    #[test]
    fn each_row_is_of_a_measurement_and_each_measurement_has_a_row() {
        for row in table() {
            assert!(measurements().contains(&row.of), "{}", row.of);
        }
        for name in measurements() {
            assert!(table().iter().any(|row| row.of == name), "{name}");
        }
        for name in QUICK {
            assert!(measurements().contains(&name), "{name}");
        }
    }

    #[test]
    fn a_load_of_the_lean_engine_doubles_one_of_the_usual_client() {
        for step in STEPS {
            let Some(usual) = step.name.strip_suffix(LEAN) else {
                continue;
            };
            let twin = STEPS.iter().find(|other| other.name == usual).unwrap();
            let same = |step: &Step| (step.work, step.clients, step.target, step.value_bytes);
            assert_eq!(same(&step), same(twin), "{usual}");
        }
        let aim = |of: &str| {
            let is_it = |row: &Row| row.of == of && row.figure == "per_s";
            table().into_iter().find(is_it).unwrap().aim
        };
        assert_eq!(aim("put-64-lean"), aim("put-64"));
    }

    #[test]
    fn a_name_or_its_beginning_asks_for_a_measurement() {
        let only = |name: &str| vec![name.to_string()];
        assert!(is_wanted("put-16", &only("put-16")));
        assert!(is_wanted("put-16", &only("put")));
        assert!(is_wanted("put-16", &[]));
        assert!(!is_wanted("put-16", &only("put-1")));
        assert!(!is_wanted("failover", &only("failover-fast")));
    }
}
