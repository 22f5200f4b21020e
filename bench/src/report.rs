//! Figures as people and programs read them.

use crate::compare::{Round, Who};
use crate::figures::{Figures, Spread, spread};
use crate::rows::{Against, Aim, Row, table};
use serde_json::{Value, json};

/// What is said of a measurement as soon as it is there.
const HEADLINES: [&str; 9] = [
    "per_s",
    "p50_ms",
    "p99_ms",
    "server_cpu_s_per_100k",
    "last_p50_ms",
    "events_per_s",
    "put_to_floor",
    "away_ms",
    "errors",
];

/// A measurement on one line.
pub fn line(who: Who, name: &str, figures: &Figures) -> String {
    let told = HEADLINES.iter().filter_map(|&figure| {
        let value = figures.get(figure)?;
        Some(format!("{figure} {value:.2}"))
    });
    let told: Vec<String> = told.collect();
    let told = match told.as_slice() {
        [] => figures
            .iter()
            .map(|(figure, value)| format!("{figure} {value:.2}"))
            .collect(),
        _ => told,
    };
    format!("{who:?} {name}: {}", told.join(", "))
}

/// Prints one measurement.
pub fn one(figures: &Figures, as_json: bool) {
    if as_json {
        println!("{}", json!(figures));
        return;
    }
    for (name, value) in figures {
        println!("{name:<28} {value:>12.3}");
    }
}

/// Prints kills of leaders.
pub fn failover(outages: &[Figures], as_json: bool) {
    let all = |figure: &str| -> Vec<f64> { outages.iter().map(|one| one[figure]).collect() };
    let (away, steady) = (all("away_ms"), all("steady_ms"));
    let median = spread(away.iter().copied()).map(|spread| spread.median);
    if as_json {
        println!(
            "{}",
            json!({ "away_ms": away, "steady_ms": steady, "median_away_ms": median })
        );
        return;
    }
    println!("longest time without a success, around each kill: {away:.0?} ms");
    println!("and before it: {steady:.0?} ms");
    println!("median {:.0} ms", median.unwrap_or(f64::NAN));
}

/// Prints a comparison: medians with their spans, the quotient of each round, and our aims.
pub fn compare(versions: &[String; 2], rounds: &[Round]) {
    println!("ours:  {}\nrival: {}", versions[0], versions[1]);
    println!("Medians (least..most). Quotients are of figures of the same round.");
    println!("Disk bytes are those of the whole disk, so another writer shows in them.");
    println!("bare: three processes that replicate and sync, and check nothing.\n");
    println!("| measurement | figure | ours | other | ours / other | aim | |");
    println!("|---|---|---:|---:|---:|---:|---|");
    for row in table() {
        if let Some(line) = row_line(&row, rounds) {
            println!("{line}");
        }
    }
    let others = rounds.iter().flat_map(|round| {
        let both = round.ours.iter().chain(&round.rival);
        both.filter(|(name, _)| name.ends_with("/other_cpus"))
    });
    let others = spread(others.map(|(_, value)| *value));
    println!(
        "\nprocessors that others used meanwhile: {}",
        span(others, 2)
    );
}

/// A row of the table; nothing if we were not measured.
fn row_line(row: &Row, rounds: &[Round]) -> Option<String> {
    let name = format!("{}/{}", row.of, row.figure);
    let of = |who| {
        let name = &name;
        move |round: &Round| round.of(who).get(name).copied()
    };
    let ours = spread(rounds.iter().filter_map(of(Who::Ours)))?;
    let other = match row.against {
        Against::Rival => Who::Rival,
        Against::Bare => Who::Bare,
        Against::Itself => Who::Ours,
    };
    let others = spread(rounds.iter().filter_map(of(other)));
    let quotient = match row.against {
        Against::Itself => Some(ours),
        _ => spread(rounds.iter().filter_map(|round| {
            let (ours, other) = (of(Who::Ours)(round)?, of(other)(round)?);
            Some(ours / other)
        })),
    };
    let (aim, sign) = match row.aim {
        Aim::AtLeast(least) => (format!("{least}"), ">= "),
        Aim::AtMost(most) => (format!("{most}"), "<= "),
        Aim::None => (String::new(), ""),
    };
    let verdict = match quotient.and_then(|quotient| row.aim.is_met(quotient.median)) {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let figure = match row.against {
        Against::Bare => format!("{} against bare", row.figure),
        _ => row.figure.to_string(),
    };
    let others = match row.against {
        Against::Itself => "-".to_string(),
        _ => span(others, row.decimals),
    };
    Some(format!(
        "| {} | {figure} | {} | {others} | {} | {sign}{aim} | {verdict} |",
        row.of,
        span(Some(ours), row.decimals),
        span(quotient, 2),
    ))
}

fn span(figures: Option<Spread>, decimals: usize) -> String {
    match figures {
        Some(Spread {
            median,
            least,
            most,
        }) => format!("{median:.decimals$} ({least:.decimals$}..{most:.decimals$})"),
        None => "-".to_string(),
    }
}

/// A comparison as JSON, every round of it.
pub fn compare_json(versions: &[String; 2], rounds: &[Round]) -> Value {
    let all =
        |round: &Round| json!({ "ours": round.ours, "rival": round.rival, "bare": round.bare });
    json!({
        "ours": versions[0],
        "rival": versions[1],
        "rounds": rounds.iter().map(all).collect::<Vec<Value>>(),
    })
}
