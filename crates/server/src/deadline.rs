//! How long a client gives a call: when that is over, nobody waits for the answer any more, here neither.
//! Never undoes anything: what is under way may happen yet.
//!
//! # Source
//! gRPC over HTTP/2 (the header `grpc-timeout`), which Go's servers, etcd among them, keep.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::failure::Failure;

/// The header, which the JSON gateway takes, too.
pub const HEADER: &str = "grpc-timeout";

/// The most digits that gRPC allows.
const DIGITS_MAX: usize = 8;

/// When a call that begins now must have ended; `None` if nothing is said.
///
/// # Errors
/// What is said is no time.
pub fn of(headers: &HeaderMap) -> Result<Option<Instant>, Failure> {
    Ok(time(headers)?.map(|time| Instant::now() + time))
}

fn time(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let said = headers.get(HEADER);
    said.map(|said| parse(said.as_bytes()).ok_or(Failure::BadTimeout))
        .transpose()
}

fn parse(said: &[u8]) -> Option<Duration> {
    let (unit, digits) = said.split_last()?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    if !is_number || !(1..=DIGITS_MAX).contains(&digits.len()) {
        return None;
    }
    let number = |sum: u64, digit: &u8| 10 * sum + u64::from(digit - b'0');
    let number = digits.iter().fold(0, number);
    Some(match unit {
        b'H' => Duration::from_secs(3600 * number),
        b'M' => Duration::from_secs(60 * number),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_digits_and_a_unit() {
        let ms = |said: &str| parse(said.as_bytes()).map(|time| time.as_millis());
        assert_eq!(ms("4999m"), Some(4999));
        assert_eq!(ms("2S"), Some(2000));
        assert_eq!(ms("3000u"), Some(3));
        assert_eq!(ms("1000000n"), Some(1));
        assert_eq!(ms("1M"), Some(60_000));
        assert_eq!(ms("99999999H"), Some(359_999_996_400_000));
        for none in ["", "S", "1", "1 S", "-1S", "123456789S", "1s", "1mS"] {
            assert_eq!(ms(none), None, "{none:?}");
        }
    }

    #[test]
    fn who_says_nothing_has_no_deadline() {
        assert_eq!(time(&HeaderMap::new()), Ok(None));
        let headers = |said: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(HEADER),
                http::HeaderValue::from_static(said),
            )])
        };
        assert_eq!(time(&headers("1S")), Ok(Some(Duration::from_secs(1))));
        assert_eq!(time(&headers("soon")), Err(Failure::BadTimeout));
    }
}
