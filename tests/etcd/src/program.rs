//! Programs that run to their end, and what they printed.
//! Never knows which they are.

use std::process::{Command, Output};

/// What it printed, on both streams.
pub fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs it, and gives what it printed.
///
/// # Panics
/// If it does not start, or does not end well.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}
