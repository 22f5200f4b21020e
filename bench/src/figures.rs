//! Figures by name, and what several of one name come to.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// What was measured, by `MEASUREMENT/FIGURE`, each in the unit that ends its name.
pub type Figures = BTreeMap<String, f64>;

/// Puts the figures of one measurement under its name.
pub fn under(name: &str, figures: Figures) -> Figures {
    let named = |(figure, value)| (format!("{name}/{figure}"), value);
    figures.into_iter().map(named).collect()
}

/// The middle one of some figures, the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

/// What some figures come to; nothing if there are none.
pub fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut figures: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let median = match figures.len() {
        0 => return None,
        count if count % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    };
    Some(Spread {
        median,
        least: figures[0],
        most: figures[figures.len() - 1],
    })
}

/// A histogram of times up to two minutes, in microseconds.
///
/// # Panics
/// Never: the bounds are in order.
pub fn microseconds() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("these bounds are in order")
}

/// The quantiles of times in microseconds that everybody asks for, in milliseconds.
pub fn quantiles_ms(times_us: &Histogram<u64>) -> Figures {
    let quantile = |at: f64| times_us.value_at_quantile(at) as f64 / 1e3;
    Figures::from([
        ("p50_ms".to_string(), quantile(0.5)),
        ("p90_ms".to_string(), quantile(0.9)),
        ("p99_ms".to_string(), quantile(0.99)),
        ("p999_ms".to_string(), quantile(0.999)),
        ("max_ms".to_string(), times_us.max() as f64 / 1e3),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        let spread = spread([4.0, 1.0, f64::NAN, 3.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 2.5,
                least: 1.0,
                most: 4.0
            }
        );
    }
}
