//! Lengths of time as etcd's flags write them: numbers with units, as in 1m30s.
//! Never guesses a unit: a number alone is refused, but for zero.
//!
//! # Source
//! Go's `time.ParseDuration`, which etcd's flags use.

use std::time::Duration;

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Understands a length of time.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refusal = || format!("\"{text}\" is no length of time; an example: 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let unit_at = rest.find(|c| !is_number(c)).ok_or_else(refusal)?;
        let (number, tail) = rest.split_at(unit_at);
        let tail_at = tail.find(is_number).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(tail_at);
        let number: f64 = number.parse().map_err(|_| refusal())?;
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, each) = known.ok_or_else(refusal)?;
        seconds += number * each;
        rest = tail;
    }
    if text.is_empty() {
        return Err(refusal());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refusal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_numbers_with_units() {
        assert_eq!(parse("1h2m3.5s"), Ok(Duration::from_millis(3_723_500)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "1x", "-1s", "1e400h", "1..5s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
