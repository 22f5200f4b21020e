//! The flags that every command has, and the environment that stands for them.
//! Never judges what a value means; the rooms that use it do.
//!
//! # Source
//! etcdctl's global flags.

use std::time::Duration;

use clap::{Arg, ArgAction, Args, Command};

use crate::failure::Result;
use crate::quantity;
use crate::text::Format;

/// What the variables begin with; the first that is set counts.
const PREFIXES: [&str; 2] = ["HEADWATERCTL_", "ETCDCTL_"];

const HEADING: &str = "Everywhere";

/// How every command prints.
#[derive(Args, Clone, Debug)]
pub struct Look {
    /// How to print: simple, json, fields, table or protobuf
    #[arg(short = 'w', long, global = true, value_name = "FORMAT", default_value = "simple", hide_possible_values = true, help_heading = HEADING)]
    pub write_out: Format,
    /// Print bytes as hexadecimal numbers
    #[arg(long, global = true, help_heading = HEADING)]
    pub hex: bool,
}

/// Whom every command asks, and how.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Members to ask, comma-separated; the first that can be reached answers
    #[arg(long, global = true, value_name = "URLS", value_delimiter = ',', default_value = "127.0.0.1:2379", help_heading = HEADING)]
    pub endpoints: Vec<String>,
    /// How long a connection may take
    #[arg(long, global = true, value_name = "TIME", default_value = "2s", value_parser = quantity::time, help_heading = HEADING)]
    pub dial_timeout: Duration,
    /// How long a short command may take, after the connection
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = quantity::time, help_heading = HEADING)]
    pub command_timeout: Duration,
    /// How often a quiet connection is tried
    #[arg(long, global = true, value_name = "TIME", default_value = "2s", value_parser = quantity::time, help_heading = HEADING)]
    pub keepalive_time: Duration,
    /// How long a connection may be silent when tried
    #[arg(long, global = true, value_name = "TIME", default_value = "6s", value_parser = quantity::time, help_heading = HEADING)]
    pub keepalive_timeout: Duration,
    /// Who asks, NAME or NAME:PASSWORD; the password is asked for if it is not there
    #[arg(long, global = true, value_name = "USER", default_value = "", hide_default_value = true, help_heading = HEADING)]
    pub user: String,
    /// The user's password
    #[arg(long, global = true, value_name = "WORD", default_value = "", hide_default_value = true, help_heading = HEADING)]
    pub password: String,
    /// The CA that servers' certificates must come from [default: those that the machine trusts]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub cacert: Option<String>,
    /// The certificate to show
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub cert: Option<String>,
    /// Its key
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub key: Option<String>,
    /// Speak TLS to endpoints without a scheme if =false [default: true]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, help_heading = HEADING)]
    pub insecure_transport: bool,
    /// Believe any certificate: nobody can listen in, but who is there is not known
    #[arg(long, global = true, help_heading = HEADING)]
    pub insecure_skip_tls_verify: bool,
    /// Refused: name the members with --endpoints
    #[arg(short = 'd', long, global = true, value_name = "DOMAIN", hide = true)]
    pub discovery_srv: Option<String>,
    /// Refused with it.
    #[arg(long, global = true, value_name = "NAME", hide = true)]
    pub discovery_srv_name: Option<String>,
    /// Taken and ignored: nothing is discovered.
    #[arg(long, global = true, hide = true)]
    pub insecure_discovery: bool,
    /// Tell on the standard error whom it connects to
    #[arg(long, global = true, help_heading = HEADING)]
    pub debug: bool,
}

impl Options {
    /// The same, with the password that was asked for: who uses them twice asks once.
    ///
    /// # Errors
    /// The password cannot be read.
    pub fn with_password(mut self) -> Result<Self> {
        if let Some((user, password)) = crate::password::of(&self)? {
            (self.user, self.password) = (user, password);
        }
        Ok(self)
    }
}

/// Gives each of those flags its variable, `HEADWATERCTL_X` if that is set, else `ETCDCTL_X`; and lets
/// every yes-or-no flag be said as `--flag=false`, too.
pub fn with_environment(command: Command) -> Command {
    booleans(command).mut_args(|arg| {
        let Some(long) = arg.get_long().filter(|_| arg.is_global_set()) else {
            return arg;
        };
        let name = long.to_uppercase().replace('-', "_");
        let variables = PREFIXES.map(|prefix| format!("{prefix}{name}"));
        let is_set = |name: &&String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match variables.iter().find(is_set) {
            Some(variable) => arg.env(variable.clone()).hide_env(true),
            None => arg,
        }
    })
}

/// What a variable says that stands for no flag; nothing if it is empty.
pub fn variable(name: &str) -> Option<String> {
    let names = PREFIXES.map(|prefix| format!("{prefix}{name}"));
    let mut said = names.iter().filter_map(|name| std::env::var(name).ok());
    said.find(|said| !said.is_empty())
}

/// Lets every yes-or-no flag be said as `--flag=false`, too.
pub fn booleans(command: Command) -> Command {
    let either = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL")
            .value_parser(quantity::boolean),
        _ => arg,
    };
    command.mut_args(either).mut_subcommands(booleans)
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[derive(Args, Debug)]
    struct All {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        look: Look,
    }

    fn parse(arguments: &[&str]) -> std::result::Result<All, clap::Error> {
        let command = All::augment_args(Command::new("ctl").no_binary_name(true));
        let matches = booleans(command).try_get_matches_from(arguments)?;
        All::from_arg_matches(&matches)
    }

    #[test]
    fn yes_and_no_are_said_in_gos_words_everywhere() {
        for (word, is_yes) in [("1", true), ("t", true), ("True", true), ("0", false)] {
            let all = parse(&[
                &format!("--insecure-transport={word}"),
                &format!("--hex={word}"),
            ]);
            let all = all.unwrap();
            assert_eq!(all.options.insecure_transport, is_yes, "{word}");
            assert_eq!(all.look.hex, is_yes, "{word}");
        }
        for wrong in ["--insecure-transport=yes", "--hex=on", "--debug=2"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        let all = parse(&["--hex", "--insecure-transport"]).unwrap();
        assert!(all.look.hex && all.options.insecure_transport);
    }
}
