//! Figure 3 seen from one node: what must hold after every step, and across it.
//! Never repairs: a node that breaks one of these halts.
//!
//! # Source
//! Raft paper, Figure 3; dissertation §3.6; LogCabin's idea of state and delta checks.

use alloc::format;
use alloc::string::{String, ToString};

use crate::effect::RoleName;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{HardState, Index, LogId};

/// What the delta checks compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    hard: HardState,
    commit: Index,
    last: LogId,
    role: RoleName,
}

impl Raft {
    /// The facts before a step.
    pub(crate) fn before(&self) -> Before {
        Before {
            hard: self.hard,
            commit: self.commit,
            last: self.log.last_id(),
            role: self.role.name(),
        }
    }

    /// Checks the state as it stands; cheap enough to run after every step in production.
    ///
    /// # Errors
    /// Which invariant is broken, and how.
    pub fn audit(&self) -> Result<(), String> {
        let (base, last) = (self.log.base(), self.log.last_id());
        check(base.index <= self.commit, || {
            format!("base {base} is not committed")
        })?;
        check(self.commit <= last.index, || {
            format!("commit {} beyond {last}", self.commit)
        })?;
        check(last.term <= self.hard.term, || {
            format!("{last} is of a future term")
        })?;
        check(self.durable.index() <= last.index, || {
            "durable beyond the log".to_string()
        })?;
        check(self.commit <= self.durable.repair.intact(), || {
            "committed what cannot be read here".to_string()
        })?;
        check(self.follower.verified() <= last.index, || {
            "verified beyond the log".to_string()
        })?;
        match &self.role {
            Role::Leader(leadership) => {
                check(self.leader == Some(self.me), || {
                    "a leader that follows".to_string()
                })?;
                check(self.log.term_at(last.index) == Some(self.hard.term), || {
                    format!("leader of {:?} ends in {last}", self.hard.term)
                })?;
                check(self.durable.repair.is_whole(), || {
                    "leads with a log that cannot be read".to_string()
                })?;
                let ahead = leadership
                    .peers
                    .iter()
                    .find(|(_, p)| p.matched() > last.index);
                check(ahead.is_none(), || {
                    format!("a follower is ahead: {ahead:?}")
                })?;
                self.audit_transfer(leadership)
            }
            Role::Candidate(_) => check(self.hard.voted_for == Some(self.me), || {
                "a candidate that voted for another".to_string()
            }),
            Role::Follower | Role::PreCandidate(_) => check(self.leader != Some(self.me), || {
                "follows itself".to_string()
            }),
        }
    }

    /// Checks the whole log's shape; costs a pass over its runs.
    ///
    /// # Errors
    /// As for [`Raft::audit`].
    pub fn audit_log(&self) -> Result<(), String> {
        check(self.log.is_well_formed(), || {
            "the log's terms are out of order".to_string()
        })
    }

    /// Checks what must hold between the state before a step and the state after it.
    pub(crate) fn audit_step(&self, before: &Before) -> Result<(), String> {
        let (old, new) = (before.hard, self.hard);
        check(new.term >= old.term, || {
            format!("term fell from {} to {}", old.term, new.term)
        })?;
        let same_term = new.term == old.term;
        check(
            !same_term || old.voted_for.is_none() || new.voted_for == old.voted_for,
            || format!("vote changed in {:?}", new.term),
        )?;
        check(self.commit >= before.commit, || {
            "commitment went back".to_string()
        })?;
        let led = same_term && before.role == RoleName::Leader;
        check(
            !led || self.log.term_at(before.last.index) == Some(before.last.term),
            || "a leader's log lost entries (Leader Append-Only)".to_string(),
        )?;
        let leads_again = self.role.name() == RoleName::Leader && before.role == RoleName::Follower;
        check(
            !(leads_again && same_term && old.voted_for != Some(self.me)),
            || "became leader without standing for election".to_string(),
        )
    }
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
