//! The fewest operations of a sequence on which two servers still differ.
//! Never judges: it runs them again and again, on fresh servers.

use crate::differ::operation::Operation;
use crate::differ::run::{Difference, Programs, run};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Takes operations away while the servers differ, halves first, single ones last. Gives back what
/// is left when that is done or `limit` is over, with the difference that it leads to.
///
/// # Errors
/// If a server does not start.
pub async fn shorten(
    programs: &Programs,
    mut operations: Vec<(usize, Operation)>,
    mut difference: Difference,
    limit: Duration,
) -> Result<(Vec<(usize, Operation)>, Difference)> {
    // What comes after the difference has no part in it.
    operations.retain(|(step, _)| *step <= difference.step);
    let end = Instant::now() + limit;
    let mut size = operations.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < operations.len() && Instant::now() < end {
            let mut fewer = operations.clone();
            fewer.drain(start..(start + size).min(operations.len()));
            match run(programs, &fewer).await?.difference {
                Some(found) => {
                    operations = fewer;
                    operations.retain(|(step, _)| *step <= found.step);
                    difference = found;
                }
                None => start += size,
            }
        }
        size /= 2;
    }
    Ok((operations, difference))
}
