//! Figures as people and programs read them.

use crate::compare::{Failovers, Round};
use crate::failover::Outage;
use crate::load::Measured;
use serde_json::{Value, json};

/// A measurement on one line.
pub fn line(name: &str, measured: &Measured) -> String {
    format!(
        "{name}: {} clients, {:.0} puts/s, p50 {:.2} ms, p99 {:.2} ms, {:.1} CPU s/100k, \
         others {:.2} CPUs, {} errors",
        measured.clients,
        measured.rate(),
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99),
        measured.cpu_per_100k(),
        measured.other_cpu / measured.elapsed.as_secs_f64(),
        measured.errors,
    )
}

/// A measurement as JSON.
pub fn json_of(measured: &Measured) -> Value {
    json!({
        "clients": measured.clients,
        "conns": measured.conns,
        "seconds": measured.elapsed.as_secs_f64(),
        "puts": measured.puts,
        "errors": measured.errors,
        "puts_per_second": measured.rate(),
        "p50_ms": measured.quantile_ms(0.5),
        "p90_ms": measured.quantile_ms(0.9),
        "p99_ms": measured.quantile_ms(0.99),
        "p999_ms": measured.quantile_ms(0.999),
        "max_ms": measured.latency_us.max() as f64 / 1e3,
        "server_cpu_seconds_per_100k": measured.cpu_per_100k(),
        "client_cpu_seconds_per_100k": measured.client_cpu * 1e5 / measured.puts as f64,
        "other_cpus": measured.other_cpu / measured.elapsed.as_secs_f64(),
        "log_syncs_per_1000": measured.syncs_per_1000(),
        "disk_bytes_per_put": measured.bytes_per_put(),
    })
}

/// Prints one measurement.
pub fn put(measured: &Measured, as_json: bool) {
    if as_json {
        println!("{}", json_of(measured));
        return;
    }
    let Value::Object(fields) = json_of(measured) else {
        return;
    };
    for (name, value) in fields {
        match value.as_f64() {
            Some(number) => println!("{name:<28} {number:>12.2}"),
            None => println!("{name:<28} {:>12}", "-"),
        }
    }
}

/// Milliseconds.
fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle one of some figures, and the span of all.
fn spread(figures: impl IntoIterator<Item = f64>) -> Option<(f64, f64, f64)> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let median = match figures.len() {
        0 => return None,
        count if count % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    };
    Some((median, figures[0], figures[figures.len() - 1]))
}

/// Prints kills of leaders.
pub fn failover(outages: &[Outage], as_json: bool) {
    let away: Vec<f64> = outages.iter().map(|outage| ms(outage.away)).collect();
    let steady: Vec<f64> = outages.iter().map(|outage| ms(outage.steady)).collect();
    let median = spread(away.iter().copied()).map(|(median, _, _)| median);
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

/// A figure that both servers have, and how to show it.
struct Figure {
    name: &'static str,
    of: fn(&Measured) -> Option<f64>,
    decimals: usize,
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "puts/s",
        of: |m| Some(m.rate()),
        decimals: 0,
    },
    Figure {
        name: "p50 ms",
        of: |m| Some(m.quantile_ms(0.5)),
        decimals: 2,
    },
    Figure {
        name: "p99 ms",
        of: |m| Some(m.quantile_ms(0.99)),
        decimals: 2,
    },
    Figure {
        name: "server CPU s/100k puts",
        of: |m| Some(m.cpu_per_100k()),
        decimals: 1,
    },
    Figure {
        name: "log syncs/1000 puts",
        of: Measured::syncs_per_1000,
        decimals: 0,
    },
    Figure {
        name: "disk bytes/put",
        of: Measured::bytes_per_put,
        decimals: 0,
    },
];

/// Prints a comparison: medians with their spans, and the quotient ours / rival of each round.
pub fn compare(versions: &[String; 2], clients: &[usize], rounds: &[Round], kills: &Failovers) {
    println!("ours:  {}\nrival: {}", versions[0], versions[1]);
    println!(
        "{} rounds; medians, least and most; quotients are of the same round",
        rounds.len()
    );
    println!("bytes are those of the whole disk, so another writer shows in them\n");
    let head = ["clients", "figure", "ours", "rival", "ours / rival"];
    println!(
        "| {} | {} | {} | {} | {} |",
        head[0], head[1], head[2], head[3], head[4]
    );
    println!("|---:|---|---:|---:|---:|");
    for (at, clients) in clients.iter().enumerate() {
        for Figure { name, of, decimals } in FIGURES {
            let figures = |turn: fn(&Round) -> &Vec<Measured>| -> Vec<f64> {
                rounds
                    .iter()
                    .filter_map(|round| of(&turn(round)[at]))
                    .collect()
            };
            let (ours, rival) = (figures(|round| &round.ours), figures(|round| &round.rival));
            let quotients = ours.iter().zip(&rival).map(|(ours, rival)| ours / rival);
            let quotients: Vec<f64> = quotients.collect();
            println!(
                "| {clients} | {name} | {} | {} | {} |",
                span(ours, decimals),
                span(rival, decimals),
                span(quotients, 2)
            );
        }
        let others = rounds
            .iter()
            .flat_map(|round| [&round.ours[at], &round.rival[at]]);
        let others = others.map(|m| m.other_cpu / m.elapsed.as_secs_f64());
        println!(
            "| {clients} | CPUs that others used | {} | | |",
            span(others, 2)
        );
    }
    if !kills.ours.is_empty() {
        let away = |outages: &[Outage]| span(outages.iter().map(|outage| ms(outage.away)), 0);
        let (ours, rival) = (away(&kills.ours), away(&kills.rival));
        println!("| 16 | ms without service after a leader's death | {ours} | {rival} | |");
    }
}

fn span(figures: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    match spread(figures) {
        Some((median, least, most)) => {
            format!("{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
        }
        None => "-".to_string(),
    }
}

/// A comparison as JSON, every round of it.
pub fn compare_json(versions: &[String; 2], rounds: &[Round], kills: &Failovers) -> Value {
    let turn = |turn: &Vec<Measured>| turn.iter().map(json_of).collect::<Vec<Value>>();
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|round| json!({ "ours": turn(&round.ours), "rival": turn(&round.rival) }))
        .collect();
    let away = |outages: &[Outage]| outages.iter().map(|o| ms(o.away)).collect::<Vec<f64>>();
    json!({
        "ours": versions[0],
        "rival": versions[1],
        "rounds": rounds,
        "failover_away_ms": { "ours": away(&kills.ours), "rival": away(&kills.rival) },
    })
}
