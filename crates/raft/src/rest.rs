//! Rest: a group in which nothing happens costs nothing.
//! Never touches the log, a term or a vote: only timers stand still.
//!
//! A leader whose log is committed and held by every member, and of whom nobody wants anything,
//! says so once and falls silent. Its followers then wait without a timer: the driver watches over
//! processes, not groups, and reports a broken connection when one dies. Whatever happens to the
//! leader wakes it, and its next heartbeat wakes the others. A follower that missed the word times
//! out, asks for votes, and thereby wakes the leader.
//!
//! # Source
//! The idea that CockroachDB calls quiescence and TiKV hibernation; dissertation §6.2 for why a
//! leader is watched at all.

use alloc::vec::Vec;

use crate::effect::{Effect, Input};
use crate::message::Message;
use crate::raft::Raft;
use crate::types::{Instant, LogId, NodeId};

impl Raft {
    /// Leader, at a heartbeat: falls silent instead, if it may. Whether it did.
    pub(crate) fn rest(&mut self, fx: &mut Vec<Effect>) -> bool {
        if !self.options.rests || !self.may_rest() {
            return false;
        }
        let (term, last) = (self.hard.term, self.log.last_id());
        let Some(leadership) = self.role.leadership_mut() else {
            return false;
        };
        leadership.beat_at = Instant::NEVER;
        for (to, progress) in leadership.peers.iter_mut() {
            progress.told_commit(last.index);
            let message = Message::Rest { term, last };
            fx.push(Effect::Send { to, message });
        }
        true
    }

    /// Whether every member has answered since this leader spoke again and holds the whole log
    /// durably, all of it is committed, and nobody waits for anything.
    fn may_rest(&self) -> bool {
        let Some(leadership) = self.role.leadership() else {
            return false;
        };
        let last = self.log.last_id().index;
        let awake_since = leadership.awake_since;
        let mut peers = leadership.peers.iter();
        let held = peers.all(|(_, p)| p.matched() == last && p.heard_at() > awake_since);
        let config = self.config();
        let settled = self.commit == last && !config.is_joint() && config.joining().is_empty();
        let writes = self.disk_stalls_at().is_some();
        let wanted = writes || leadership.transfer.is_some() || !leadership.reads.is_idle();
        settled && held && !wanted
    }

    /// Whether no timer runs here: nothing happens until something comes from outside.
    pub fn is_resting(&self) -> bool {
        self.next_deadline() == Instant::NEVER
    }

    /// Something comes from outside. A leader speaks again, and at once; nobody could be heard
    /// meanwhile, so everybody has an election timeout to be. A follower's timer runs again.
    pub(crate) fn wake(&mut self) {
        if !self.is_resting() {
            return;
        }
        let now = self.now;
        if let Some(leadership) = self.role.leadership_mut() {
            (leadership.beat_at, leadership.awake_since) = (now, now);
            leadership.peers.iter_mut().for_each(|(_, p)| p.excuse(now));
        } else {
            self.be_patient();
        }
    }

    /// A leader is woken by whatever comes from outside, but for late answers to what it said
    /// before it fell silent.
    pub(crate) fn wake_for(&mut self, input: &Input) {
        if !self.role.is_leader() {
            return;
        }
        let wakes = match input {
            Input::Receive { message, .. } => !matches!(
                message,
                Message::BeatReply { .. } | Message::AppendReply { .. }
            ),
            Input::Link { .. } | Input::Met { .. } => true,
            _ => false,
        };
        if wakes {
            self.wake();
        }
    }

    /// Follower: the leader falls silent. If its whole log is here, the timer stops.
    pub(crate) fn on_rest(&mut self, from: NodeId, last: LogId, fx: &mut Vec<Effect>) {
        self.heard_leader(from, fx);
        self.learn_commit(last.index, fx);
        if self.options.rests && self.log.last_id() == last && self.commit == last.index {
            self.election.stop();
        }
    }
}
