//! How ids of nodes, clusters and incarnations are written where people read them.
//! Never used on disk or on the wire: there they are numbers.
//!
//! # Source
//! `etcdctl`, which shows ids in hexadecimal without leading zeros.

use std::fmt::{Display, Formatter, LowerHex, Result};

/// An id as log lines and error texts show it, so that it is found again in what tools print.
pub fn hex(id: impl LowerHex) -> impl Display {
    Hex(id)
}

struct Hex<T>(T);

impl<T: LowerHex> Display for Hex<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:x}", self.0)
    }
}
