//! Throughput against latency, as a picture.

use crate::compare::{Round, Who};
use crate::figures::spread;
use anyhow::Result;
use std::fmt::Write;

/// The loads of a curve, by rising numbers of clients.
const CLIENTS: [usize; 5] = [1, 16, 64, 256, 1000];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Space around the axes.
const MARGIN: f64 = 60.0;

/// A curve: whose, which quantile, and how it is drawn.
struct Curve {
    who: Who,
    figure: &'static str,
    name: &'static str,
    style: &'static str,
}

const CURVES: [Curve; 4] = [
    Curve {
        who: Who::Ours,
        figure: "p50_ms",
        name: "headwater, p50",
        style: "stroke='#0b6e99'",
    },
    Curve {
        who: Who::Ours,
        figure: "p99_ms",
        name: "headwater, p99",
        style: "stroke='#0b6e99' stroke-dasharray='6 4'",
    },
    Curve {
        who: Who::Rival,
        figure: "p50_ms",
        name: "etcd, p50",
        style: "stroke='#b3541e'",
    },
    Curve {
        who: Who::Rival,
        figure: "p99_ms",
        name: "etcd, p99",
        style: "stroke='#b3541e' stroke-dasharray='6 4'",
    },
];

/// A point of a curve: clients, operations a second, milliseconds.
type Point = (usize, f64, f64);

/// Puts a second against latency, at 1 to 1000 clients, as SVG; nothing if nobody put.
///
/// # Errors
/// Never: there is always room for more text.
pub fn puts(rounds: &[Round]) -> Result<Option<String>> {
    let curves: Vec<(&Curve, Vec<Point>)> = CURVES
        .iter()
        .map(|curve| (curve, points(curve, rounds)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || curves.iter().flat_map(|(_, points)| points);
    if curves.is_empty() {
        return Ok(None);
    }
    let per_s_max = all().map(|point| point.1).fold(0.0, f64::max) * 1.08;
    // Latencies span three decades; whole decades make a readable axis.
    let ms = |fold: fn(f64, f64) -> f64, from: f64| all().map(|p| p.2).fold(from, fold).log10();
    let (low, high) = (ms(f64::min, f64::MAX).floor(), ms(f64::max, 0.0).ceil());
    let x = |per_s: f64| MARGIN + per_s / per_s_max * (WIDTH - 2.0 * MARGIN);
    let y = |ms: f64| {
        let share = (ms.log10() - low) / (high - low).max(1.0);
        HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN)
    };
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='12' fill='#222'>\n\
         <rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\n"
    );
    axes(&mut svg, per_s_max, (low, high), &x, &y)?;
    for (at, (curve, points)) in curves.iter().enumerate() {
        let corners: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.1), y(point.2)))
            .collect();
        let style = curve.style;
        let corners = corners.join(" ");
        writeln!(
            svg,
            "<polyline points='{corners}' fill='none' stroke-width='2' {style}/>"
        )?;
        for (clients, per_s, ms) in points {
            let (x, y) = (x(*per_s), y(*ms));
            writeln!(
                svg,
                "<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='white' {style}/>\
                 <text x='{:.1}' y='{:.1}' font-size='10'>{clients}</text>",
                x + 5.0,
                y - 4.0
            )?;
        }
        let y = MARGIN / 2.0 - 8.0;
        let x = MARGIN + at as f64 * 155.0;
        writeln!(
            svg,
            "<path d='M{x} {y}h28' stroke-width='2' {style}/><text x='{}' y='{}'>{}</text>",
            x + 34.0,
            y + 4.0,
            curve.name
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(Some(svg))
}

/// The medians of a curve.
fn points(curve: &Curve, rounds: &[Round]) -> Vec<Point> {
    let point = |clients: usize| {
        let median = |figure: &str| {
            let name = format!("put-{clients}/{figure}");
            let all = rounds
                .iter()
                .filter_map(|round| round.of(curve.who).get(&name));
            Some(spread(all.copied())?.median)
        };
        Some((clients, median("per_s")?, median(curve.figure)?))
    };
    CLIENTS.into_iter().filter_map(point).collect()
}

fn axes(
    svg: &mut String,
    per_s_max: f64,
    (low, high): (f64, f64),
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) -> Result<()> {
    let (left, right) = (MARGIN, WIDTH - MARGIN);
    let (top, bottom) = (MARGIN, HEIGHT - MARGIN);
    let mut decade = low;
    while decade <= high {
        let ms = 10f64.powf(decade);
        let y = y(ms);
        writeln!(
            svg,
            "<path d='M{left} {y:.1}H{right}' stroke='#ddd'/>\
             <text x='{}' y='{:.1}' text-anchor='end'>{ms}</text>",
            left - 6.0,
            y + 4.0
        )?;
        decade += 1.0;
    }
    let step = 10f64.powf(per_s_max.log10().floor()) / 2.0;
    let mut per_s = 0.0;
    while per_s <= per_s_max {
        let x = x(per_s);
        writeln!(
            svg,
            "<path d='M{x:.1} {top}V{bottom}' stroke='#eee'/>\
             <text x='{x:.1}' y='{}' text-anchor='middle'>{per_s}</text>",
            bottom + 16.0
        )?;
        per_s += step;
    }
    writeln!(
        svg,
        "<text x='{}' y='{}' text-anchor='middle'>puts a second, 256 bytes, three servers on one \
         machine; points are numbers of clients</text>\
         <text x='14' y='{}' transform='rotate(-90 14 {2})' text-anchor='middle'>milliseconds</text>",
        WIDTH / 2.0,
        HEIGHT - 18.0,
        HEIGHT / 2.0
    )?;
    Ok(())
}
