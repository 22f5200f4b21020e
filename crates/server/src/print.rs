//! What the commands of this program print.
//! Never ends the program: whoever reads may leave when they have seen enough, and what was begun is
//! still carried out, with its own exit code.
//!
//! # Source
//! `headwater ... | head -1`; Rust ignores SIGPIPE, so the write fails instead.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes to the standard output, at once.
///
/// # Errors
/// It cannot be written, and not because nobody reads it any more.
pub fn put(text: impl AsRef<[u8]>) -> Result<()> {
    put_to(&mut io::stdout().lock(), text.as_ref()).context("writing to the standard output")
}

/// Writes what goes on to the standard error; if that cannot be written, nobody is there to be told.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn put_to(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_has_left_is_no_error_and_a_full_disk_is_one() {
        let (reader, mut writer) = io::pipe().unwrap();
        put_to(&mut writer, b"read\n").unwrap();
        drop(reader);
        put_to(&mut writer, b"not read\n").unwrap();
        let mut full = std::fs::OpenOptions::new();
        let mut full = full.write(true).open("/dev/full").unwrap();
        let error = put_to(&mut full, b"lost\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
