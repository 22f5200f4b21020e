//! What shells and `man` know of the command line.
//! Never adds a word: all of it is made from the flags' own help.
//!
//! # Source
//! The definition of the command line, in `cli`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use crate::print;

/// Flags of `headwater completion`.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Flags of `headwater man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Where the pages are written; made if it does not exist
    #[arg(value_name = "DIR")]
    directory: std::path::PathBuf,
}

/// Prints what the shell reads.
///
/// # Errors
/// It cannot be written.
pub fn completion(mut command: Command, args: &CompletionArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "headwater", &mut text);
    print::put(text)
}

/// Writes a page for each command.
///
/// # Errors
/// One cannot be written.
pub fn man(command: Command, args: &ManArgs) -> Result<()> {
    let directory: &Path = &args.directory;
    let here = || format!("writing pages to {}", directory.display());
    fs::create_dir_all(directory).with_context(here)?;
    let pages = pages(&command);
    clap_mangen::generate_to(command, directory).with_context(here)?;
    print::put(format!(
        "{pages} pages are in {0}: `man {0}/headwater.1` shows the first.\n",
        directory.display()
    ))
}

/// How many pages there are of a command: its own, and those of the commands below it.
fn pages(command: &Command) -> usize {
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    1 + below.map(pages).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pages_are_written_as_are_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let args = ManArgs {
            directory: directory.path().join("pages"),
        };
        man(crate::cli::definition(), &args).unwrap();
        let written = fs::read_dir(&args.directory).unwrap().count();
        assert_eq!(written, pages(&crate::cli::definition()));
        assert!(args.directory.join("headwater-ctl-get.1").exists());
    }
}
