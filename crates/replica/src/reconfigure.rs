//! Changes of members that clients asked for, from the question to the outcome.
//! Never decides anything: the core does; what was begun here is followed until it is complete.
//!
//! # Source
//! Raft paper §6; rule R11 (exactly one outcome).

use alloc::vec::Vec;

use headwater_raft::{Config, Instant, LogId, NotChanged};

use crate::entry::EntryKind;
use crate::interface::{MemberChange, Output, ReconfigureFate, RequestId};
use crate::machine::StateMachine;
use crate::replica::Replica;

/// A change that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changing {
    request: RequestId,
    /// Its first entry.
    first: LogId,
    is_committed: bool,
    deadline: Instant,
}

impl<M: StateMachine> Replica<M> {
    /// A client asks for other members.
    pub(crate) fn on_reconfigure(
        &mut self,
        request: RequestId,
        change: &MemberChange,
        out: &mut Vec<Output<M>>,
    ) {
        let (now, fx) = (self.now, &mut self.effects);
        let MemberChange { expect, target, .. } = change;
        let begun = if change.command.len() > self.options.command_bytes_max {
            Err(NotChanged::Invalid("its command is too large"))
        } else {
            self.raft
                .reconfigure(now, (expect, target), change.force, fx)
        };
        // Its entry is written down below, with the command in it.
        self.change_command = begun.as_ref().ok().map(|&at| (at, change.command.clone()));
        self.carry_out(out);
        self.change_command = None;
        match begun {
            Ok(first) => self.changing.push(Changing {
                request,
                first,
                is_committed: false,
                deadline: now.after(self.options.request_timeout_ns),
            }),
            Err(why) => {
                let result = Err(ReconfigureFate::NotChanged(why));
                out.push(Output::Reconfigured { request, result });
            }
        }
    }

    /// An entry is applied: it may be what a change waits for, or stand in its place.
    pub(crate) fn on_applied(&mut self, at: LogId, kind: EntryKind, out: &mut Vec<Output<M>>) {
        if self.changing.is_empty() {
            return;
        }
        let is_joint = self.raft.config_at(at.index).is_some_and(Config::is_joint);
        let is_last = kind == EntryKind::Config && !is_joint;
        self.settle_changes(out, |changing| {
            changing.is_committed |= changing.first == at;
            if changing.is_committed {
                is_last.then_some(Ok(()))
            } else {
                (changing.first.index == at.index).then_some(Err(ReconfigureFate::Lost))
            }
        });
    }

    /// Of changes that took too long, and of those that a snapshot passed over, nothing is known.
    pub(crate) fn expire_changes(&mut self, out: &mut Vec<Output<M>>) {
        let now = self.now;
        self.settle_changes(out, |changing| {
            (changing.deadline <= now).then_some(Err(ReconfigureFate::Unknown))
        });
    }

    /// Ends the changes that have an outcome.
    fn settle_changes(
        &mut self,
        out: &mut Vec<Output<M>>,
        mut outcome: impl FnMut(&mut Changing) -> Option<Result<(), ReconfigureFate>>,
    ) {
        self.changing.retain_mut(|changing| {
            let request = changing.request;
            let result = outcome(changing);
            let waits = result.is_none();
            out.extend(result.map(|result| Output::Reconfigured { request, result }));
            waits
        });
    }

    /// When [`Replica::expire_changes`] is due.
    pub(crate) fn change_deadline(&self) -> Option<Instant> {
        self.changing.iter().map(|changing| changing.deadline).min()
    }
}
