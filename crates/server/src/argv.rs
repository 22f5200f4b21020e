//! The command line, the environment and the configuration file before they are understood: Go's
//! spelling made ours, etcd's other flags answered, slips pointed out.
//! Never gives a flag a meaning.
//!
//! # Source
//! etcd's flags; Go's `flag` package (one dash or two, `-flag value` or `-flag=value`).

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::config_file;
use crate::etcd_flags::{self, EXPERIMENTAL, EtcdFlag};
use crate::spelling::nearest;

/// The variables that may be settings, by name.
pub type Environment = BTreeMap<String, String>;

/// How the variables begin that nobody else reads.
const OWN: &str = "HEADWATER_";

/// What such variables begin with; the last counts most.
pub const PREFIXES: [&str; 2] = ["ETCD_", OWN];

/// The flag that names the file of all others.
const CONFIG_FILE: &str = "config-file";

/// This process's variables that may be settings; as in etcd, an empty one is none.
pub fn environment() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    all.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

/// What is asked for, in clap's spelling.
#[derive(Debug)]
pub struct Request {
    /// The arguments.
    pub argv: Vec<String>,
    /// What was ignored, and why.
    pub notes: Vec<String>,
    /// Where what is no argument of the user's comes from.
    pub origins: Origins,
}

/// Where settings were made that do not stand on the command line, by their flags.
#[derive(Default, Debug)]
pub struct Origins(BTreeMap<String, String>);

impl Origins {
    /// A complaint about a flag, with the place where it was really set.
    pub fn explain(&self, complaint: &str) -> String {
        let words = complaint.split("--").skip(1);
        let flags = words.map(|word| {
            let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            &word[..word.find(|c| !is_part(c)).unwrap_or(word.len())]
        });
        let mut origins = flags.filter_map(|flag| Some((flag, self.0.get(flag)?)));
        let Some((flag, place)) = origins.next() else {
            return complaint.trim_end().to_owned();
        };
        // The help tells of flags, and none was written.
        let complaint = complaint.split("\n\nFor more information").next();
        let complaint = complaint.unwrap_or_default().trim_end();
        let own = format!("--{flag}");
        if let Some(rest) = complaint.strip_prefix(&own) {
            return format!("{place}{rest}");
        }
        let quoted = format!(" for '{own}");
        match complaint.split_once(&quoted) {
            Some((before, rest)) => {
                let after = rest.split_once('\'').map_or("", |(_, after)| after);
                format!("{place}: {before}{after}")
            }
            None => format!("{place}: {complaint}"),
        }
    }
}

/// The arguments as clap wants them, and what was ignored: `serve` where no command is given, two
/// dashes before long flags, etcd's other flags taken out, variables and the file's settings as flags.
///
/// # Errors
/// A command that there is not, with those that there are; a flag of etcd's that cannot be ignored
/// safely, with what to do instead; a file that cannot be read.
pub fn normalise(
    command: &Command,
    arguments: Vec<String>,
    environment: &Environment,
) -> Result<Request, Error> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "headwater".to_owned());
    let mut rest: Vec<String> = arguments.collect();
    // What follows may be keys and values, which begin as they like.
    if rest.first().is_none_or(|first| first != "ctl") {
        rest = rest.into_iter().map(|a| two_dashes(command, a)).collect();
    }
    let as_it_is = |argv| Request {
        argv,
        notes: Vec::new(),
        origins: Origins::default(),
    };
    let first = rest.first().map(String::as_str);
    if first.is_some_and(|a| a == "--version" || a == "-V") {
        return Ok(as_it_is(vec![program, "version".to_owned()]));
    }
    let is_command = |word: &str| {
        word == "help"
            || command
                .get_subcommands()
                .any(|known| known.get_name() == word)
    };
    match first {
        Some(word) if is_help(word) => {}
        Some(word) if is_command(word) && word != "serve" => {}
        Some(word) if !is_command(word) && !word.starts_with('-') => {
            return Err(no_command(command, word));
        }
        _ => {
            let starts_with_serve = first == Some("serve");
            let flags = rest.split_off(usize::from(starts_with_serve));
            let serve = command.find_subcommand("serve").expect("it is defined");
            return Serving::new(serve).read(program, flags, environment);
        }
    }
    Ok(as_it_is(std::iter::once(program).chain(rest).collect()))
}

fn is_help(word: &str) -> bool {
    word == "--help" || word == "-h"
}

/// A flag's name, and its value if that stands in the same argument.
fn parts(argument: &str) -> Option<(&str, Option<&str>)> {
    let flag = argument.strip_prefix("--")?;
    let pair = flag.split_once('=');
    Some(pair.map_or((flag, None), |(name, value)| (name, Some(value))))
}

/// What a name stands for.
enum Known<'a> {
    Ours(&'a Arg),
    Theirs(&'static EtcdFlag),
}

/// How a server's settings are gathered.
struct Serving<'a> {
    serve: &'a Command,
    notes: Vec<String>,
    origins: BTreeMap<String, String>,
}

impl<'a> Serving<'a> {
    fn new(serve: &'a Command) -> Self {
        Self {
            serve,
            notes: Vec::new(),
            origins: BTreeMap::new(),
        }
    }

    fn read(
        mut self,
        program: String,
        rest: Vec<String>,
        environment: &Environment,
    ) -> Result<Request, Error> {
        let asks_help = rest.iter().any(|word| is_help(word));
        let mut flags = self.without_etcds(rest)?;
        let mut variables = self.variables(environment, asks_help)?;
        let file = take_config_file(&mut flags);
        let from_variable = variables.remove(CONFIG_FILE).map(|(_, file)| file);
        let settings = match file.or(from_variable).filter(|file| !file.is_empty()) {
            Some(file) if !asks_help => {
                self.note_ignored(&file, &flags, &variables);
                flags.clear();
                self.of_file(&file)?
            }
            _ => {
                let is_said = |flag: &String| {
                    let names = flags.iter().filter_map(|word| parts(word));
                    names.into_iter().any(|(name, _)| name == flag)
                };
                variables.retain(|flag, _| !is_said(flag));
                self.of_variables(variables)?
            }
        };
        let argv = [program, "serve".to_owned()].into_iter();
        Ok(Request {
            argv: argv.chain(settings).chain(flags).collect(),
            notes: self.notes,
            origins: Origins(self.origins),
        })
    }

    fn known(&self, name: &str) -> Option<Known<'a>> {
        let plain = name.strip_prefix(EXPERIMENTAL).unwrap_or(name);
        let is_called = |arg: &&Arg| !arg.is_hide_set() && arg.get_long() == Some(plain);
        let ours = self.serve.get_arguments().find(is_called).map(Known::Ours);
        ours.or_else(|| etcd_flags::find(name).map(Known::Theirs))
    }

    /// The command line without etcd's other flags.
    fn without_etcds(&mut self, rest: Vec<String>) -> Result<Vec<String>, Error> {
        let mut kept = Vec::new();
        let mut rest = rest.into_iter().peekable();
        while let Some(argument) = rest.next() {
            let Some((name, value)) = parts(&argument) else {
                kept.push(argument);
                continue;
            };
            let flag = match self.known(name) {
                Some(Known::Theirs(flag)) => flag,
                Some(Known::Ours(_)) => {
                    let plain = name.strip_prefix(EXPERIMENTAL).unwrap_or(name);
                    kept.push(argument.replacen(name, plain, 1));
                    continue;
                }
                None => {
                    kept.push(argument);
                    continue;
                }
            };
            let value = match value.map(str::to_owned) {
                None if flag.takes_value => rest.next_if(|next| !next.starts_with("--")),
                value => value,
            };
            self.judge(
                flag,
                value.as_deref(),
                &format!("--{name}"),
                "leave the flag out",
            )?;
        }
        Ok(kept)
    }

    fn judge(
        &mut self,
        flag: &EtcdFlag,
        value: Option<&str>,
        said: &str,
        undo: &str,
    ) -> Result<(), Error> {
        let refuse = |why| {
            let text = format!("{said}: {why}, and {undo}\n");
            Error::raw(ErrorKind::UnknownArgument, text)
        };
        let note = flag.judge(value).map_err(refuse)?;
        self.notes.extend(note.map(|note| format!("{said} {note}")));
        Ok(())
    }

    /// What the environment sets: by flag, the variable and its value. A note on each variable that
    /// looks like a setting and is none.
    ///
    /// # Errors
    /// One of ours is misspelt, most likely, and `asks_help` is not said.
    fn variables(
        &mut self,
        environment: &Environment,
        asks_help: bool,
    ) -> Result<BTreeMap<String, (String, String)>, Error> {
        let mut found = BTreeMap::new();
        for prefix in PREFIXES {
            for (variable, value) in environment {
                let Some(name) = variable.strip_prefix(prefix) else {
                    continue;
                };
                let flag = name.to_lowercase().replace('_', "-");
                let flag = match self.known(&flag) {
                    _ if name.chars().any(|c| c.is_lowercase()) => None,
                    Some(Known::Ours(arg)) => arg.get_long().map(str::to_owned),
                    Some(Known::Theirs(flag)) => Some(flag.name.to_owned()),
                    None => None,
                };
                match flag {
                    Some(_) if value.is_empty() => {}
                    Some(flag) => {
                        found.insert(flag, (variable.clone(), value.clone()));
                    }
                    None => {
                        let guess = self.guess(&name.to_lowercase().replace('_', "-"));
                        let is_slip = guess.is_some() && prefix == OWN && !is_service_link(name);
                        let guess = guess.map(|guess| guess.to_uppercase().replace('-', "_"));
                        let guess = did_you_mean(guess.map(|guess| prefix.to_owned() + &guess));
                        if is_slip && !asks_help {
                            let text = format!("{variable} is no setting{guess}\n");
                            return Err(Error::raw(ErrorKind::UnknownArgument, text));
                        }
                        let note = format!("{variable} is no setting and is ignored{guess}");
                        self.notes.push(note);
                    }
                }
            }
        }
        Ok(found)
    }

    fn of_variables(
        &mut self,
        variables: BTreeMap<String, (String, String)>,
    ) -> Result<Vec<String>, Error> {
        let mut argv = Vec::new();
        for (flag, (variable, value)) in variables {
            match self.known(&flag) {
                Some(Known::Theirs(flag)) => {
                    let undo = format!("unset {variable}");
                    self.judge(flag, Some(&value), &variable, &undo)?;
                }
                _ => {
                    argv.push(format!("--{flag}={value}"));
                    self.origins.insert(flag, variable);
                }
            }
        }
        Ok(argv)
    }

    fn of_file(&mut self, file: &str) -> Result<Vec<String>, Error> {
        let refuse = |text| Error::raw(ErrorKind::ValueValidation, format!("{text}\n"));
        let entries = config_file::read(Path::new(file)).map_err(refuse)?;
        let mut argv = Vec::new();
        for entry in entries {
            let place = entry.place;
            match self.known(&entry.flag) {
                Some(Known::Theirs(flag)) => {
                    self.judge(flag, Some(&entry.value), &place, "leave it out")?;
                }
                Some(Known::Ours(arg)) if entry.flag != CONFIG_FILE => {
                    let unit = unit(arg, &entry.value);
                    let flag = arg.get_long().unwrap_or_default().to_owned();
                    argv.push(format!("--{flag}={}{unit}", entry.value));
                    self.origins.insert(flag, place);
                }
                _ => {
                    let guess = did_you_mean(self.guess(&entry.flag));
                    return Err(refuse(format!("{place} is no setting{guess}")));
                }
            }
        }
        Ok(argv)
    }

    fn note_ignored(
        &mut self,
        file: &str,
        flags: &[String],
        variables: &BTreeMap<String, (String, String)>,
    ) {
        let flags = flags.iter().filter_map(|word| parts(word));
        let flags = flags.map(|(name, _)| format!("--{name}"));
        let variables = variables.values().map(|(variable, _)| variable.clone());
        let ignored: Vec<String> = flags.chain(variables).collect();
        if !ignored.is_empty() {
            self.notes.push(format!(
                "{} ignored: with --{CONFIG_FILE} all settings are those of {file}",
                ignored.join(", ")
            ));
        }
    }

    /// The name that may have been meant.
    fn guess(&self, name: &str) -> Option<String> {
        let ours = self.serve.get_arguments().filter(|arg| !arg.is_hide_set());
        let ours = ours.filter_map(Arg::get_long);
        let known = ours.chain(etcd_flags::all().map(|flag| flag.name));
        nearest(name, known).map(str::to_owned)
    }
}

fn did_you_mean(guess: Option<String>) -> String {
    guess.map_or(String::new(), |guess| format!("; did you mean {guess}?"))
}

/// Whether Kubernetes sets a variable of this name, for a service that is called as we are.
fn is_service_link(name: &str) -> bool {
    let mut words = name.split('_');
    words.any(|word| matches!(word, "SERVICE" | "PORT"))
}

/// A time without a unit is in nanoseconds in etcd's files, and in them alone.
fn unit(arg: &Arg, value: &str) -> &'static str {
    let is_time = arg.get_value_parser().type_id() == TypeId::of::<Duration>();
    let is_plain = value.chars().all(|c| c.is_ascii_digit());
    if is_time && is_plain { "ns" } else { "" }
}

/// Takes the flag that names the file out; the last counts.
fn take_config_file(flags: &mut Vec<String>) -> Option<String> {
    let mut file = None;
    let mut kept = Vec::new();
    let mut words = std::mem::take(flags).into_iter();
    while let Some(word) = words.next() {
        match parts(&word) {
            Some((CONFIG_FILE, Some(value))) => file = Some(value.to_owned()),
            Some((CONFIG_FILE, None)) => file = words.next(),
            _ => kept.push(word),
        }
    }
    *flags = kept;
    file
}

fn no_command(command: &Command, word: &str) -> Error {
    if matches!(word, "gateway" | "grpc-proxy") {
        let text = format!(
            "there is no {word}: name all members to clients, or put a TCP proxy before them\n"
        );
        return Error::raw(ErrorKind::InvalidSubcommand, text);
    }
    let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let guess = nearest(word, known.iter().copied());
    let ctl = command.find_subcommand("ctl").expect("it is defined");
    let guess = match guess {
        _ if ctl.find_subcommand(word).is_some() => {
            format!(": did you mean `headwater ctl {word}`?")
        }
        Some(guess) => format!(": did you mean \"{guess}\"?"),
        None => String::new(),
    };
    let others: Vec<&str> = known.into_iter().filter(|name| *name != "serve").collect();
    let text = format!(
        "there is no command \"{word}\"{guess}\n\nThere are serve (meant if nothing is said), {}. \
         For more, try 'headwater --help'.\n",
        others.join(", ")
    );
    Error::raw(ErrorKind::InvalidSubcommand, text)
}

/// `-name` becomes `--name` where `name` is a long flag; everything else stays.
fn two_dashes(command: &Command, argument: String) -> String {
    let Some(flag) = argument.strip_prefix('-').filter(|f| !f.starts_with('-')) else {
        return argument;
    };
    let name = flag.split('=').next().unwrap_or(flag);
    let plain = name.strip_prefix(EXPERIMENTAL).unwrap_or(name);
    let is_ours = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .any(|known| known.get_long() == Some(plain));
    if is_ours || matches!(name, "help" | "version") || etcd_flags::find(name).is_some() {
        return format!("-{argument}");
    }
    argument
}

#[cfg(test)]
mod tests;
