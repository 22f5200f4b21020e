//! What goes wrong, in words for whoever typed the command, and the status that the process ends with.
//! Never prints.
//!
//! # Source
//! etcdctl's texts and exit statuses.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

use crate::advice::MAKE_ROOM;

/// Whatever else went wrong.
const ERROR: u8 = 1;
/// No connection.
const BAD_CONNECTION: u8 = 2;
/// Input that cannot be understood.
const INVALID_INPUT: u8 = 3;
/// A flag's value or a combination that there is not.
const BAD_FEATURE: u8 = 4;
/// The server ended what should have gone on.
const INTERRUPTED: u8 = 5;
/// A file.
const IO: u8 = 6;
/// Too few or too many arguments.
const BAD_ARGUMENTS: u8 = 128;

/// Why a command was not carried out, or not to its end.
#[derive(Debug)]
pub struct Failure {
    /// The status that the process ends with.
    pub code: u8,
    text: String,
}

/// What a command comes to.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Anything that the others do not name.
    pub fn error(text: impl Into<String>) -> Self {
        Self::new(ERROR, text)
    }

    /// Nobody could be reached.
    pub fn connection(text: impl Into<String>) -> Self {
        Self::new(BAD_CONNECTION, text)
    }

    /// Input that cannot be understood.
    pub fn input(text: impl Into<String>) -> Self {
        Self::new(INVALID_INPUT, text)
    }

    /// A flag's value or a combination that there is not.
    pub fn feature(text: impl Into<String>) -> Self {
        Self::new(BAD_FEATURE, text)
    }

    /// The server ended what should have gone on.
    pub fn interrupted(text: impl Into<String>) -> Self {
        Self::new(INTERRUPTED, text)
    }

    /// A file that cannot be read or written.
    pub fn file(text: impl Into<String>) -> Self {
        Self::new(IO, text)
    }

    /// Too few or too many arguments.
    pub fn arguments(text: impl Into<String>) -> Self {
        Self::new(BAD_ARGUMENTS, text)
    }

    fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// The same with a line more that says what to do.
    pub fn hint(mut self, hint: &str) -> Self {
        self.text.push_str("\n  ");
        self.text.push_str(hint);
        self
    }

    /// The same with a line more, if the server refused it for want of rights.
    ///
    /// `is_about_keys`: whether roles can open it; if not, `root` alone may do it.
    pub fn explain_denial(self, is_about_keys: bool) -> Self {
        if !self.text.ends_with("permission denied") {
            return self;
        }
        self.hint(if is_about_keys {
            "the user's roles do not open these keys: `user get NAME --detail` shows what they open"
        } else {
            "only a user with the role root may do this: --user root"
        })
    }

    /// The same, as part of a text of the command's own: `before (this)`.
    pub fn within(mut self, before: &str) -> Self {
        self.text = format!("{before} ({})", self.text);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let failure = Self::error(status.message());
        match hint(&status) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::file(error.to_string())
    }
}

/// What to do about an answer of the server's that does not say so itself.
fn hint(status: &Status) -> Option<&'static str> {
    const HINTS: [(&str, &str); 8] = [
        (
            "no leader",
            "no majority of the members hears of each other: `headwater ctl status` tells who is missing",
        ),
        (
            "request timed out",
            "the leader could not have it stored by a majority in time, and it may still be; `headwater \
             ctl status` tells who is missing",
        ),
        (
            "unhealthy cluster",
            "too few members are connected for this change: `headwater ctl status` tells who is missing",
        ),
        ("database space exceeded", MAKE_ROOM),
        (
            "user name is empty",
            "users are switched on here: say who you are with --user NAME",
        ),
        (
            "not leader",
            "only the leader can do it: `headwater ctl status` tells where it listens",
        ),
        (
            "re-configuration failed due to not enough started members",
            "most of the members that there would be then must have been started: start those that were added, \
             or remove one that never will be; the only one that was started cannot be removed",
        ),
        (
            "can only promote a learner member which is in sync with leader",
            "it has not caught up yet: `headwater ctl status` tells how far it is",
        ),
    ];
    let message = status.message();
    let known = HINTS.iter().find(|(part, _)| message.ends_with(part));
    known.map(|(_, hint)| *hint)
}

/// Whether a call ended because its connection did, rather than by an answer of the server's.
pub fn is_transport(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    ) && status.source().is_some()
}

/// Whether what went on may go on by another connection: this one broke, or its member has no leader.
pub fn may_resume(status: &Status) -> bool {
    is_transport(status) || status.code() == Code::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_whose_right_is_missing() {
        let denied = || Failure::from(Status::permission_denied("etcdserver: permission denied"));
        let keys = denied().explain_denial(true).to_string();
        assert!(keys.contains("do not open these keys"), "{keys}");
        let other = denied().explain_denial(false).to_string();
        assert!(other.contains("role root"), "{other}");
        let unlike = Failure::error("no leader").explain_denial(false);
        assert_eq!(unlike.to_string(), "no leader");
    }
}
