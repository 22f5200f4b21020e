//! Commitment: which entries can never be lost.
//! Never sends messages; replication does.
//!
//! Specified by: AdvanceCommit.
//! With messages by: AdvanceCommit, LearnCommit.
//!
//! # Source
//! Raft paper §5.3, §5.4.2, Figure 8; dissertation §3.6.2, §10.2.1 (a leader's own copy counts
//! only when durable, and a majority may commit without it).

use alloc::vec::Vec;

use crate::effect::Effect;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::Leadership;
use crate::types::Index;

impl Raft {
    /// Leader: commits what a quorum holds durably.
    pub(crate) fn advance_commit(&mut self, fx: &mut Vec<Effect>) {
        let Some(leadership) = self.role.leadership() else {
            return;
        };
        if self.commit == self.log.last_id().index {
            return;
        }
        let held = self.held(leadership, self.durable.index());
        // An entry of an earlier term could still be overwritten although a majority holds it
        // (Figure 8); it is committed with the first entry of this term that is.
        if held > self.commit && self.log.term_at(held) == Some(self.hard.term) {
            self.set_commit(held, fx);
            self.advance_membership(fx);
        }
    }

    /// Whether it is of use now that more becomes durable here: on a leader only if that commits
    /// something, with what the others are known to hold, or ends a stall. Where heartbeats are so rare that
    /// a write which is told of with the next one would seem late, always.
    pub fn awaits_own_disk(&self) -> bool {
        let Some(leadership) = self.role.leadership() else {
            return true;
        };
        let is_seldom_awake = 2 * self.options.heartbeat_ns >= self.options.disk_slow_ns;
        let commits = self.held(leadership, self.last().index) > self.commit;
        commits || is_seldom_awake || self.disk_stalls()
    }

    /// What a quorum holds durably, and this node up to `own`.
    fn held(&self, leadership: &Leadership, own: Index) -> Index {
        let own = (self.me, own);
        leadership.quorum_reaches(self.config(), own, Progress::matched)
    }

    /// Follower: takes over the leader's commit index, as far as the log is known to agree and can be
    /// read.
    pub(crate) fn learn_commit(&mut self, leader_commit: Index, fx: &mut Vec<Effect>) {
        let readable = self.durable.repair.intact();
        let upto = leader_commit.min(self.follower.verified()).min(readable);
        if upto > self.commit {
            self.set_commit(upto, fx);
        }
    }

    fn set_commit(&mut self, upto: Index, fx: &mut Vec<Effect>) {
        assert!(upto > self.commit, "commitment never goes back");
        assert!(
            upto <= self.log.last_id().index,
            "committed an entry we do not hold"
        );
        let before = core::mem::replace(&mut self.commit, upto);
        fx.push(Effect::Commit { upto });
        self.tell_config_committed(before, fx);
    }
}
