//! What the simulator prints.
//! Never ends a run: whoever reads may leave when they have seen enough, and the verdict is the exit code's.
//!
//! # Source
//! `headwater sim ... | head -1`; Rust ignores SIGPIPE, so the write fails instead.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line, as `println!` does, also if nobody reads it any more.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::put(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub(crate) use say;

/// Writes to the standard output.
///
/// # Panics
/// It cannot be written, and not because nobody reads it.
pub(crate) fn put(text: Arguments<'_>) {
    match std::io::stdout().lock().write_fmt(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            panic!("the standard output cannot be written: {error}")
        }
        _ => {}
    }
}
