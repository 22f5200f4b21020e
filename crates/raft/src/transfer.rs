//! Handing leadership over: to order, or because the leader's own disk is slow.
//! Never elects anyone: it picks who should stand, waits until that one holds the whole log, and
//! says so. The election that follows is an election like any other.
//!
//! Specified by: TimeoutNow, TakeOver.
//! With messages by: EndTransfer, UrgeTarget, MindTransfer.
//!
//! # Source
//! Dissertation §3.10 (leadership transfer), §4.2.3 (such elections are heeded although a leader
//! is heard); rule R10 for slow disks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::effect::{Effect, TransferFailed, TransferRefused};
use crate::message::{Message, Pace};
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::Leadership;
use crate::types::{Instant, NodeId};

/// A transfer under way. While it lasts, the leader takes no proposals, so the log stands still
/// and the target can reach its end.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    to: NodeId,
    /// When it has failed.
    until: Instant,
    /// Begun by the leader itself, because its disk stalled.
    for_disk: bool,
    /// The target has been told to take over.
    told: bool,
}

impl Transfer {
    pub(crate) fn to(&self) -> NodeId {
        self.to
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

impl Raft {
    /// Begins to hand leadership over to `to`, or to the voter that is best placed: heard, its
    /// disk quick, and with the most of the log durable. Exactly one [`Effect::Transferred`] tells
    /// the end, within an election timeout; until then proposals are refused. Returns the target.
    ///
    /// A target named by the caller may be far behind or slow; then the transfer fails.
    ///
    /// # Errors
    /// [`TransferRefused`]; nothing was begun.
    pub fn transfer(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
        fx: &mut Vec<Effect>,
    ) -> Result<NodeId, TransferRefused> {
        self.tick(now);
        if self.is_halted() {
            return Err(TransferRefused::Halted);
        }
        let Some(leadership) = self.role.leadership() else {
            let leader = self.leader;
            // Mark: a transfer is asked of one who does not lead.
            return Err(TransferRefused::NotLeader { leader });
        };
        if let Some(Transfer { to, .. }) = leadership.transfer {
            // Mark: a transfer is asked while another is under way.
            return Err(TransferRefused::UnderWay { to });
        }
        // Nobody is heard while a group rests: that says nothing against anyone.
        self.wake();
        let to = match to {
            Some(to) if to == self.me => return Err(TransferRefused::Itself),
            Some(to) if !self.may_take_over(to) => return Err(TransferRefused::NotVoter),
            Some(to) => to,
            None => self.fittest().ok_or(TransferRefused::NobodyFit)?,
        };
        let until = now.after(self.options.election_ns);
        self.begin_transfer(to, until, false);
        self.mind_transfer(fx);
        Ok(to)
    }

    fn begin_transfer(&mut self, to: NodeId, until: Instant, for_disk: bool) {
        if let Some(leadership) = self.role.leadership_mut() {
            leadership.transfer = Some(Transfer {
                to,
                until,
                for_disk,
                told: false,
            });
        }
    }

    /// The transfer under way, if any, ends so.
    pub(crate) fn end_transfer(
        &mut self,
        result: Result<(), TransferFailed>,
        fx: &mut Vec<Effect>,
    ) {
        if let Some(leadership) = self.role.leadership_mut()
            && let Some(Transfer { to, .. }) = leadership.transfer.take()
        {
            // Mark: a transfer ends.
            fx.push(Effect::Transferred { to, result });
        }
    }

    /// Begins a transfer if this leader's disk has stalled, and goes on with the one under way;
    /// called after every step. On other nodes there is nothing to hand over.
    pub(crate) fn mind_transfer(&mut self, fx: &mut Vec<Effect>) {
        if !self.role.is_leader() {
            return;
        }
        let leaves = self.disk_leave_at().is_some_and(|at| self.now >= at);
        if leaves && self.transfer_under_way().is_none() {
            // Mark: a leader wants to leave for its disk.
            let election_ns = self.options.election_ns;
            let stalls_at = self.disk_stalls_at().unwrap_or(self.now);
            // An election timeout in all; more if there was nobody to hand over to before.
            let least = self.now.after(election_ns / 2);
            self.leave_for_disk(stalls_at.after(election_ns).max(least));
        }
        let Some(transfer) = self.transfer_under_way().cloned() else {
            return;
        };
        let stalls = self.disk_stalls();
        let target = self.progress(transfer.to);
        let is_fit = target.is_some_and(|peer| self.is_fit(peer, &[Pace::Quick]));
        if self.now >= transfer.until {
            // Mark: a transfer times out.
            self.end_transfer(Err(TransferFailed::TimedOut), fx);
            if stalls && self.others_can_elect() {
                // Mark: a leader with a slow disk falls silent.
                // Nobody took over when asked. Silence makes them choose somebody.
                self.follow(self.hard.term, None, fx);
            }
        } else if transfer.told {
            // All is said, and will be again with each heartbeat.
        } else if transfer.for_disk && !stalls {
            // Mark: a disk recovers while leadership is handed over.
            self.end_transfer(Err(TransferFailed::Needless), fx);
        } else if transfer.for_disk && !is_fit {
            // Mark: the target of a transfer turns out to be unfit.
            self.end_transfer(Err(TransferFailed::TargetUnfit), fx);
            self.leave_for_disk(transfer.until);
        } else {
            self.urge_target(fx);
        }
        if self.transfer_under_way().is_none() {
            // Nobody took over: a change of members that waited for that goes on.
            self.advance_membership(fx);
        }
    }

    /// When a leader whose disk stalls hands over: not before everyone has had the time to say
    /// whether the same befell their disks, or it would depose itself for one that cannot win.
    pub(crate) fn disk_leave_at(&self) -> Option<Instant> {
        let pause_ns = self.options.heartbeat_ns.saturating_mul(2);
        Some(self.disk_stalls_at()?.after(pause_ns))
    }

    /// A leader whose disk has stalled hands over, if the others could do without it.
    fn leave_for_disk(&mut self, until: Instant) {
        if self.others_can_elect()
            && let Some(to) = self.fittest()
        {
            // Mark: a leader with a slow disk hands over.
            self.begin_transfer(to, until, true);
        }
    }

    /// Tells the target to stand, once it holds the whole log durably (dissertation §3.10). The
    /// word may be lost, so it goes again with each heartbeat.
    pub(crate) fn urge_target(&mut self, fx: &mut Vec<Effect>) {
        let (term, last) = (self.hard.term, self.log.last_id().index);
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        let Some(transfer) = &mut leadership.transfer else {
            return;
        };
        let target = leadership.peers.get(transfer.to);
        if target.map(Progress::matched) == Some(last) {
            // Mark: the target of a transfer holds the whole log.
            transfer.told = true;
            leadership.lease.make_void();
            let (to, message) = (transfer.to, Message::TimeoutNow { term });
            fx.push(Effect::Send { to, message });
        }
    }

    /// To whom leadership is being handed over, and whether that one has been told to stand.
    pub fn transferring(&self) -> Option<(NodeId, bool)> {
        let transfer = self.transfer_under_way()?;
        Some((transfer.to, transfer.told))
    }

    fn transfer_under_way(&self) -> Option<&Transfer> {
        self.role.leadership()?.transfer.as_ref()
    }

    /// Whether `id` is a peer that has a vote in the configuration that is to stay.
    fn may_take_over(&self, id: NodeId) -> bool {
        id != self.me && self.config().voters().contains(&id)
    }

    /// The peer to hand over to, if there is one: the more of the log it has, the sooner it leads.
    pub(crate) fn fittest(&self) -> Option<NodeId> {
        let peers = self.role.leadership()?.peers.iter();
        let fit = peers
            .filter(|&(id, peer)| self.may_take_over(id) && self.is_fit(peer, &[Pace::Quick]))
            .max_by_key(|&(id, peer)| (peer.matched(), Reverse(id)));
        fit.map(|(id, _)| id)
    }

    /// Whether a peer was heard within an election timeout and its disk keeps one of these paces.
    fn is_fit(&self, peer: &Progress, paces: &[Pace]) -> bool {
        peer.answers(self.now, self.options.election_ns) && paces.contains(&peer.disk())
    }

    /// Whether the others could elect one of themselves, as far as this leader knows. It leads on
    /// if not: a leader that commits slowly serves better than none, and it can still answer
    /// reads. So where every disk is slow, nobody is deposed for it.
    fn others_can_elect(&self) -> bool {
        let Some(leadership) = self.role.leadership() else {
            return false;
        };
        let can_vote = [Pace::Quick, Pace::Late];
        leadership.quorum_reaches(self.config(), (self.me, false), |peer| {
            self.is_fit(peer, &can_vote)
        })
    }

    /// What must hold of a leader's transfer.
    pub(crate) fn audit_transfer(&self, leadership: &Leadership) -> Result<(), String> {
        let Some(transfer) = &leadership.transfer else {
            return Ok(());
        };
        // While a transfer is under way no change of members begins or goes on.
        if !self.may_take_over(transfer.to) {
            return Err("hands over to one who has no vote".to_string());
        }
        if transfer.told && !leadership.lease.is_void() {
            return Err("forgot that it told another to take over".to_string());
        }
        Ok(())
    }
}
