//! The command line and the environment before they are understood: Go's spelling made ours,
//! etcd's other flags answered, slips pointed out.
//! Never gives a flag a meaning.
//!
//! # Source
//! etcd's flags; Go's `flag` package (one dash or two, `-flag value` or `-flag=value`).

use std::collections::BTreeMap;

use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::etcd_flags::{self, Answer};
use crate::spelling::nearest;

/// The variables that may be settings, by name.
pub type Environment = BTreeMap<String, String>;

/// What such variables begin with; the first comes first.
const PREFIXES: [&str; 2] = ["HEADWATER_", "ETCD_"];

/// This process's variables that may be settings.
pub fn environment() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    all.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

/// `data-dir` is `DATA_DIR` behind a prefix.
fn suffix(flag: &str) -> String {
    flag.to_uppercase().replace('-', "_")
}

/// Gives every long flag of `serve` its environment variable: `HEADWATER_X` if that is set, else
/// `ETCD_X`.
pub fn with_environment(command: Command, environment: &Environment) -> Command {
    let name = |arg: Arg| {
        let Some(long) = arg.get_long().filter(|_| !arg.is_hide_set()) else {
            return arg;
        };
        let variables = PREFIXES.map(|prefix| format!("{prefix}{}", suffix(long)));
        let is_set = |name: &&String| environment.contains_key(*name);
        let variable = variables.iter().find(is_set).unwrap_or(&variables[1]);
        arg.env(variable.clone())
    };
    command.mut_subcommand("serve", |serve| {
        // The help would otherwise repeat a name that its last paragraph derives.
        serve.mut_args(|arg| name(arg).hide_env(true))
    })
}

/// The arguments as clap wants them, and notes on what was ignored: `serve` where no command is
/// given, two dashes before long flags, etcd's other flags taken out.
///
/// # Errors
/// A command that there is not, with those that there are; a flag of etcd's that cannot be ignored
/// safely, with what to do instead.
pub fn normalise(
    command: &Command,
    arguments: Vec<String>,
    environment: &Environment,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "headwater".to_owned());
    let mut rest: Vec<String> = arguments.collect();
    // What follows may be keys and values, which begin as they like.
    if rest.first().is_none_or(|first| first != "ctl") {
        rest = rest.into_iter().map(|a| two_dashes(command, a)).collect();
    }
    let first = rest.first().map(String::as_str);
    if first.is_some_and(|a| a == "--version" || a == "-V") {
        return Ok((vec![program, "version".to_owned()], Vec::new()));
    }
    let is_command = |word: &str| {
        word == "help"
            || command
                .get_subcommands()
                .any(|known| known.get_name() == word)
    };
    let is_help = |word: &str| word == "--help" || word == "-h";
    match first {
        Some(word) if is_help(word) => {}
        Some(word) if is_command(word) && word != "serve" => {}
        Some(word) if !is_command(word) && !word.starts_with('-') => {
            return Err(no_command(command, word));
        }
        _ => {
            let (argv, mut notes) = serve(program, rest, environment)?;
            notes.extend(unknown_variables(command, environment));
            return Ok((argv, notes));
        }
    }
    Ok((std::iter::once(program).chain(rest).collect(), Vec::new()))
}

fn serve(
    program: String,
    rest: Vec<String>,
    environment: &Environment,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut argv = vec![program, "serve".to_owned()];
    let mut notes = Vec::new();
    let starts_with_serve = rest.first().is_some_and(|word| word == "serve");
    let mut rest = rest
        .into_iter()
        .skip(usize::from(starts_with_serve))
        .peekable();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.strip_prefix("--") {
            Some(flag) => flag
                .split_once('=')
                .map_or((flag, None), |(n, v)| (n, Some(v))),
            None => ("", None),
        };
        let Some(flag) = etcd_flags::find(name) else {
            argv.push(argument);
            continue;
        };
        let value = value.map(str::to_owned);
        let value = match value {
            None if flag.takes_value => rest.next_if(|next| !next.starts_with("--")),
            value => value,
        };
        let said = format!("--{name}");
        judge(
            &said,
            "leave the flag out",
            flag.answer,
            value.as_deref(),
            &mut notes,
        )?;
    }
    for flag in etcd_flags::all() {
        for variable in PREFIXES.map(|prefix| format!("{prefix}{}", suffix(flag.name))) {
            if let Some(value) = environment.get(&variable) {
                let undo = format!("unset {variable}");
                judge(&variable, &undo, flag.answer, Some(value), &mut notes)?;
            }
        }
    }
    Ok((argv, notes))
}

fn no_command(command: &Command, word: &str) -> Error {
    let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let guess = nearest(word, known.iter().copied());
    let guess = guess.map_or(String::new(), |guess| {
        format!(": did you mean \"{guess}\"?")
    });
    let others: Vec<&str> = known.into_iter().filter(|name| *name != "serve").collect();
    let text = format!(
        "there is no command \"{word}\"{guess}\n\nThere are serve (meant if nothing is said), {}. \
         For more, try 'headwater --help'.\n",
        others.join(", ")
    );
    Error::raw(ErrorKind::InvalidSubcommand, text)
}

/// A note on each variable that looks like a setting and is none.
fn unknown_variables(command: &Command, environment: &Environment) -> Vec<String> {
    let ours = command
        .find_subcommand("serve")
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter(|arg| !arg.is_hide_set())
        .filter_map(Arg::get_long);
    let known: Vec<String> = ours
        .chain(etcd_flags::all().map(|flag| flag.name))
        .map(suffix)
        .collect();
    let note = |variable: &String| {
        let prefix = PREFIXES
            .iter()
            .find(|prefix| variable.starts_with(**prefix))?;
        let name = variable.strip_prefix(prefix)?;
        if known.iter().any(|known| known == name) {
            return None;
        }
        let guess = nearest(name, known.iter().map(String::as_str));
        let guess = guess.map_or(String::new(), |guess| {
            format!("; did you mean {prefix}{guess}?")
        });
        Some(format!("{variable} is no setting and is ignored{guess}"))
    };
    environment.keys().filter_map(note).collect()
}

/// `said`: the flag or variable; `undo`: how to take it back.
fn judge(
    said: &str,
    undo: &str,
    answer: Answer,
    value: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    match answer {
        Answer::Ignore(why) => notes.push(format!("{said} is ignored: {why}")),
        // Empty and false ask for nothing, so nothing is refused.
        Answer::Refuse(_) if matches!(value, Some("" | "false" | "0")) => {}
        Answer::Refuse(why) => {
            return Err(Error::raw(
                ErrorKind::UnknownArgument,
                format!("{said}: {why}, and {undo}\n"),
            ));
        }
    }
    Ok(())
}

/// `-name` becomes `--name` where `name` is a long flag; everything else stays.
fn two_dashes(command: &Command, argument: String) -> String {
    let Some(flag) = argument.strip_prefix('-').filter(|f| !f.starts_with('-')) else {
        return argument;
    };
    let name = flag.split('=').next().unwrap_or(flag);
    let is_ours = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .any(|known| known.get_long() == Some(name));
    if is_ours || matches!(name, "help" | "version") || etcd_flags::find(name).is_some() {
        return format!("-{argument}");
    }
    argument
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(line: &str, set: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
        let arguments = line.split(' ').map(str::to_owned).collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = set.iter().map(pair).collect();
        normalise(&crate::cli::Cli::command(), arguments, &environment)
            .map(|(argv, notes)| (argv.join(" "), notes))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn to_serve_is_what_is_meant_when_nothing_else_is_said() {
        assert_eq!(run("headwater", &[]).unwrap().0, "headwater serve");
        assert_eq!(
            run("headwater --name a", &[]).unwrap().0,
            "headwater serve --name a"
        );
        assert_eq!(run("headwater dev", &[]).unwrap().0, "headwater dev");
        assert_eq!(run("headwater --help", &[]).unwrap().0, "headwater --help");
        assert_eq!(
            run("headwater -version", &[]).unwrap().0,
            "headwater version"
        );
    }

    #[test]
    fn a_command_that_there_is_not_is_refused_with_those_that_there_are() {
        let error = run("headwater bogus", &[]).unwrap_err();
        for part in [
            "\"bogus\"",
            "serve (meant if nothing is said), dev, ctl, sim, certs, disk, snapshot, completion, man, version",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("did you mean"), "{error}");
        let error = run("headwater server --name a", &[]).unwrap_err();
        assert!(error.contains("did you mean \"serve\"?"), "{error}");
    }

    #[test]
    fn a_variable_that_is_no_setting_is_told_of_once() {
        let set = [
            ("ETCD_DATADIR", "/d"),
            ("ETCD_NAME", "n"),
            ("ETCD_LOGGER", "zap"),
            ("HEADWATER_COLOUR", "blue"),
        ];
        let (_, notes) = run("headwater", &set).unwrap();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].contains("ETCD_LOGGER"), "{notes:?}");
        assert!(
            notes[1].contains("did you mean ETCD_DATA_DIR?"),
            "{notes:?}"
        );
        assert_eq!(notes[2], "HEADWATER_COLOUR is no setting and is ignored");
        assert_eq!(run("headwater dev", &set).unwrap().1, [""; 0]);
    }

    #[test]
    fn gos_single_dash_is_understood() {
        assert_eq!(
            run("headwater -name a -data-dir=/d -h", &[]).unwrap().0,
            "headwater serve --name a --data-dir=/d -h"
        );
    }

    #[test]
    fn a_harmless_flag_of_etcds_is_left_out_with_a_note() {
        let (argv, notes) = run("headwater --logger zap --name a --pre-vote", &[]).unwrap();
        assert_eq!(argv, "headwater serve --name a");
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("--logger"));
    }

    #[test]
    fn a_flag_that_asks_for_safety_we_lack_is_refused() {
        let error = run("headwater --client-crl-file=x.pem", &[]).unwrap_err();
        assert!(
            error.contains("--client-crl-file") && error.contains("revoked"),
            "{error}"
        );
        assert!(error.contains("leave the flag out"), "{error}");
        for variable in ["ETCD_CLIENT_CRL_FILE", "HEADWATER_CLIENT_CRL_FILE"] {
            let error = run("headwater", &[(variable, "x.pem")]).unwrap_err();
            assert!(error.contains(&format!("unset {variable}")), "{error}");
            assert!(!error.contains("flag"), "{error}");
        }
        run("headwater --cors=false", &[("ETCD_CLIENT_CRL_FILE", "")]).unwrap();
    }
}
