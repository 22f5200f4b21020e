//! Lengths of time, sizes and numbers as they are typed and read.
//! Never guesses a unit.
//!
//! # Source
//! Go's `time.ParseDuration` and `strconv`, which etcd's flags and etcdctl use, but not their words; SI
//! prefixes as it prints them;
//! the units of `dd`.

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

/// Understands a number of bytes, with a unit or without: `8G` and `8GiB` are 2³³, `8GB` is 8·10⁹.
///
/// # Errors
/// It is none, or too large.
pub fn bytes<T: TryFrom<u64>>(text: &str) -> std::result::Result<T, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let each = each(unit).filter(|_| !number.is_empty());
    let each = each.ok_or_else(|| format!("\"{text}\" is no number of bytes; an example: 8GiB"))?;
    let bytes = number.parse::<u64>().ok();
    let bytes = bytes.and_then(|number| T::try_from(number.checked_mul(each)?).ok());
    bytes.ok_or_else(|| format!("\"{text}\" is too large"))
}

/// The same, where less than none means something.
///
/// # Errors
/// See [`bytes`].
pub fn signed_bytes(text: &str) -> std::result::Result<i64, String> {
    match text.strip_prefix('-') {
        Some(less) => bytes::<i64>(less).map(|bytes| -bytes),
        None => bytes(text),
    }
}

/// How many bytes a unit is.
fn each(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let Some(prefix) = unit.chars().next().filter(|&first| first != 'b') else {
        return matches!(unit.as_str(), "" | "b").then_some(1);
    };
    let power = u32::try_from("kmgtpe".find(prefix)?).ok()? + 1;
    match &unit[prefix.len_utf8()..] {
        "" | "i" | "ib" => Some(1024_u64.pow(power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

/// Understands a number of milliseconds, or a length of time.
///
/// # Errors
/// It is neither.
pub fn milliseconds(text: &str) -> std::result::Result<u64, String> {
    let time = text
        .parse()
        .map(Duration::from_millis)
        .or_else(|_| time(text))?;
    u64::try_from(time.as_millis()).map_err(|_| format!("\"{text}\" is too long"))
}

/// Understands whether something is to be, in Go's words.
///
/// # Errors
/// It is none of them.
pub fn boolean(text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
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

/// So many of something: `1 member`, `3 members`.
pub fn count(number: usize, one: &str, more: &str) -> String {
    let name = if number == 1 { one } else { more };
    format!("{number} {name}")
}

/// A decimal number.
///
/// # Errors
/// It is none, or too large.
pub fn decimal(text: &str) -> std::result::Result<i64, String> {
    text.parse().map_err(|_| why(text, 10))
}

/// A hexadecimal id.
///
/// # Errors
/// It is none, or too large.
pub fn hexadecimal(text: &str) -> std::result::Result<u64, String> {
    let is_plain = !text.starts_with('+');
    let parsed = u64::from_str_radix(text, 16).ok().filter(|_| is_plain);
    parsed.ok_or_else(|| why(text, 16))
}

/// The id of a lease; `what` is what it is called when it is none.
///
/// # Errors
/// It is none.
pub fn lease(what: &str, text: &str) -> Result<i64> {
    i64::from_str_radix(text, 16).map_err(|_| {
        let why = why(text, 16);
        Failure::arguments(format!("bad {what} ({why}), expecting ID in Hex"))
    })
}

fn why(text: &str, radix: u32) -> String {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
        return format!("{text:?} is out of range");
    }
    let kind = if radix == 16 { "hexadecimal " } else { "" };
    format!("{text:?} is no {kind}number")
}

/// Seconds: a number of them, or a length of time in whole ones.
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
    fn a_number_of_bytes_may_have_a_unit() {
        let pairs: [(&str, u64); 8] = [
            ("8589934592", 8 << 30),
            ("8G", 8 << 30),
            ("8Gi", 8 << 30),
            ("8GiB", 8 << 30),
            ("8GB", 8_000_000_000),
            ("64k", 64 << 10),
            ("5B", 5),
            ("0", 0),
        ];
        for (text, number) in pairs {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        assert_eq!(signed_bytes("-1"), Ok(-1));
        for wrong in [
            "",
            "G",
            "1.5G",
            "8X",
            "8Gb/s",
            "-1",
            "16E",
            "99999999999999999999",
        ] {
            assert!(bytes::<u64>(wrong).is_err(), "{wrong}");
        }
        assert!(bytes::<u32>("4G").is_err());
    }

    #[test]
    fn milliseconds_are_a_number_or_a_length_of_time() {
        assert_eq!(milliseconds("100"), Ok(100));
        assert_eq!(milliseconds("1.5s"), Ok(1500));
        assert!(milliseconds("soon").is_err());
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
    fn what_is_no_number_is_named() {
        assert_eq!(hexadecimal("8e9e05c52164694d"), Ok(0x8e9e_05c5_2164_694d));
        let zz = hexadecimal("zz").unwrap_err();
        assert_eq!(zz, "\"zz\" is no hexadecimal number");
        assert_eq!(decimal("word").unwrap_err(), "\"word\" is no number");
        let large = decimal("99999999999999999999").unwrap_err();
        assert_eq!(large, "\"99999999999999999999\" is out of range");
    }

    #[test]
    fn a_number_of_seconds_may_have_a_unit() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("1m30s"), Ok(90));
        assert_eq!(seconds("-5"), Ok(-5));
        assert!(seconds("soon").is_err());
    }
}
