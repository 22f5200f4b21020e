//! Who asks, and the word that proves it: from flags, or typed without being shown.
//! Never keeps either.
//!
//! # Source
//! etcdctl's `--user` and `--password`.

use std::io::{IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::{Failure, Result};
use crate::flags::Options;

/// The name and the password, if a user is named.
///
/// # Errors
/// The password cannot be read.
pub fn of(options: &Options) -> Result<Option<(String, String)>> {
    pair(&options.user, &options.password)
}

/// `NAME:PASSWORD`, or a name and its password, which is asked for if it is empty.
///
/// # Errors
/// The password cannot be read.
pub fn pair(user: &str, password: &str) -> Result<Option<(String, String)>> {
    if user.is_empty() {
        return Ok(None);
    }
    if !password.is_empty() {
        return Ok(Some((user.to_owned(), password.to_owned())));
    }
    Ok(Some(match user.split_once(':') {
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None => (user.to_owned(), typed("Password: ")?),
    }))
}

/// A line from the standard input, not shown while it is typed.
///
/// # Errors
/// There is none.
pub fn typed(prompt: &str) -> Result<String> {
    let input = std::io::stdin();
    let shown = tcgetattr(&input).ok().filter(|_| input.is_terminal());
    if let Some(shown) = &shown {
        // The prompt is for a person; it may end up in a pipe, where nobody misses it.
        eprint!("{prompt}");
        std::io::stderr().flush()?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &hidden).map_err(std::io::Error::from)?;
    }
    let mut line = String::new();
    let read = input.read_line(&mut line);
    if let Some(shown) = &shown {
        tcsetattr(&input, OptionalActions::Now, shown).map_err(std::io::Error::from)?;
        eprintln!();
    }
    match read {
        Ok(0) => Err(Failure::arguments(
            "there is no password on the standard input",
        )),
        Ok(_) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// A new password for somebody: asked for twice if `asks` and a person types it, else read as it comes.
///
/// # Errors
/// There is none, or it was typed differently.
pub fn new(name: &str, asks: bool) -> Result<String> {
    let is_person = asks && std::io::stdin().is_terminal();
    let password = typed(&format!("Password of {name}: "))?;
    if is_person && typed(&format!("Type password of {name} again for confirmation: "))? != password
    {
        return Err(Failure::arguments("given passwords are different"));
    }
    Ok(password)
}
