//! The command line before it is understood: Go's spelling made ours, the environment named,
//! etcd's other flags answered.
//! Never gives a flag a meaning.
//!
//! # Source
//! etcd's flags; Go's `flag` package (one dash or two, `-flag value` or `-flag=value`).

use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::etcd_flags::{self, Answer};

/// Gives every long flag of `serve` its environment variable: `HEADWATER_X` if that is set, else
/// `ETCD_X`.
pub fn with_environment(command: Command) -> Command {
    let name = |arg: Arg| {
        let Some(long) = arg.get_long().filter(|_| !arg.is_hide_set()) else {
            return arg;
        };
        let suffix = long.to_uppercase().replace('-', "_");
        let own = format!("HEADWATER_{suffix}");
        if std::env::var_os(&own).is_some() {
            arg.env(own)
        } else {
            arg.env(format!("ETCD_{suffix}"))
        }
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
/// A flag of etcd's that cannot be ignored safely, with what to do instead.
pub fn normalise(
    command: &Command,
    arguments: Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "headwater".to_owned());
    let rest: Vec<String> = arguments.map(|a| two_dashes(command, a)).collect();
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
        _ => return serve(program, rest, environment),
    }
    Ok((std::iter::once(program).chain(rest).collect(), Vec::new()))
}

fn serve(
    program: String,
    rest: Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
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
        judge(
            &format!("--{name}"),
            flag.answer,
            value.as_deref(),
            &mut notes,
        )?;
    }
    for flag in etcd_flags::all() {
        let suffix = flag.name.to_uppercase().replace('-', "_");
        let variable = format!("ETCD_{suffix}");
        if let Some(value) = environment(&variable) {
            judge(&variable, flag.answer, Some(&value), &mut notes)?;
        }
    }
    Ok((argv, notes))
}

fn judge(
    said: &str,
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
                format!("{said}: {why}\n"),
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
        let environment = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
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
        let error = run("headwater --cert-file=x.pem", &[]).unwrap_err();
        assert!(
            error.contains("--cert-file") && error.contains("TLS"),
            "{error}"
        );
        let error = run("headwater", &[("ETCD_CERT_FILE", "x.pem")]).unwrap_err();
        assert!(error.contains("ETCD_CERT_FILE"), "{error}");
        run(
            "headwater --client-cert-auth=false",
            &[("ETCD_CERT_FILE", "")],
        )
        .unwrap();
    }
}
