//! Snapshots: forgetting the log's beginning, and starting from a leader's snapshot.
//! Never sees a snapshot's bytes.
//!
//! Specified by: Compact, HandleSnapshot, Install.
//! With messages by: Compacted, OnSnapshot, Installed.
//!
//! # Source
//! Raft paper §7, Figure 13; dissertation §5.

use alloc::vec::Vec;

use crate::configuration::Config;
use crate::effect::Effect;
use crate::log::TermLog;
use crate::raft::Raft;
use crate::types::{LogId, NodeId};

impl Raft {
    /// A durable snapshot covers everything up to `base`.
    pub(crate) fn on_compacted(&mut self, base: LogId, fx: &mut Vec<Effect>) {
        if base.index <= self.log.base().index {
            return;
        }
        if base.index > self.commit || !self.log.has(base) {
            return self.halt("a snapshot covers what is not committed here", fx);
        }
        self.log.compact(base);
        self.membership.compact(base.index);
        self.durable.covered(base.index);
    }

    /// The leader offers a piece of a snapshot; the term has been dealt with.
    pub(crate) fn on_snapshot(&mut self, from: NodeId, base: LogId, fx: &mut Vec<Effect>) {
        self.heard_leader(from, fx);
        if base.index <= self.commit {
            self.verify_committed(fx);
        } else {
            fx.push(Effect::Install { from, base });
        }
    }

    /// A leader's snapshot is durable and loaded here (Figure 13, steps 5 to 8).
    pub(crate) fn on_installed(&mut self, base: LogId, config: Config, fx: &mut Vec<Effect>) {
        if base.index <= self.commit {
            return;
        }
        if let Some(fault) = config.fault() {
            return self.halt(fault, fx);
        }
        let before = core::mem::replace(&mut self.commit, base.index);
        if self.log.has(base) {
            self.tell_config_committed(before, fx);
            if self.durable.repair.intact() < base.index {
                // Mark: a snapshot covers what cannot be read.
                // Nobody is to be sent it from here.
                self.log.compact(base);
                self.rebase_config(base.index, config, fx);
            }
        } else {
            // What is here is shorter, or of an older leader: its replacement is committed.
            self.log = TermLog::empty_after(base);
            self.reset_config(config, before, fx);
            self.persist_reset(base, fx);
        }
        self.durable.covered(base.index);
        self.verify_committed(fx);
    }
}
