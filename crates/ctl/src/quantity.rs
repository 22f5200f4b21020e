//! Lengths of time, sizes and numbers as they are typed and read.
//! Never guesses a unit.
//!
//! # Source
//! Go's `time.ParseDuration` and `strconv`, which etcd's flags and etcdctl use; SI prefixes as it prints them.

use std::time::Duration;

use crate::failure::{Failure, Result};

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Understands a length of time: numbers with units, as in 1m30s.
///
/// # Errors
/// What is wrong with it.
pub fn time(text: &str) -> std::result::Result<Duration, String> {
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

/// Bytes with an SI prefix: `82854982` is `83 MB`.
pub fn size(bytes: u64) -> String {
    const NAMES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes as f64).log(1000.0).floor();
    let name = NAMES[exponent as usize];
    let value = (bytes as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1} {name}")
    } else {
        format!("{value:.0} {name}")
    }
}

/// A decimal number, or why it is none in Go's words.
///
/// # Errors
/// It is none.
pub fn decimal(text: &str) -> std::result::Result<i64, String> {
    text.parse()
        .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: {}", why(text, 10)))
}

/// A hexadecimal id, or why it is none in Go's words.
///
/// # Errors
/// It is none.
pub fn hexadecimal(text: &str) -> std::result::Result<u64, String> {
    let is_plain = !text.starts_with('+');
    let parsed = u64::from_str_radix(text, 16).ok().filter(|_| is_plain);
    parsed.ok_or_else(|| format!("strconv.ParseUint: parsing {text:?}: {}", why(text, 16)))
}

/// The id of a lease; `what` is what it is called when it is none.
///
/// # Errors
/// It is none.
pub fn lease(what: &str, text: &str) -> Result<i64> {
    i64::from_str_radix(text, 16).map_err(|_| {
        Failure::arguments(format!(
            "bad {what} (strconv.ParseInt: parsing {text:?}: {}), expecting ID in Hex",
            why(text, 16)
        ))
    })
}

fn why(text: &str, radix: u32) -> &'static str {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
        "value out of range"
    } else {
        "invalid syntax"
    }
}

/// The word before its number, if it is one: `1 minute ago`, `30s`.
///
/// # Errors
/// It is neither a number of seconds nor a length of time.
pub fn seconds(text: &str) -> std::result::Result<i64, String> {
    match time(text) {
        Ok(time) if !text.chars().all(|c| c.is_ascii_digit()) => {
            Ok(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
        }
        _ => decimal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_numbers_with_units() {
        assert_eq!(time("1h2m3.5s"), Ok(Duration::from_millis(3_723_500)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "1x", "-1s", "1e400h", "1..5s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_two_digits_and_a_prefix() {
        let pairs = [
            (0, "0 B"),
            (9, "9 B"),
            (12, "12 B"),
            (20480, "20 kB"),
            (1_234_567, "1.2 MB"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_number_of_seconds_may_have_a_unit() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("1m30s"), Ok(90));
        assert_eq!(seconds("-5"), Ok(-5));
        assert!(seconds("soon").is_err());
    }
}
