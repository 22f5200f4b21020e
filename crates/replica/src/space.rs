//! A disk that is full: what a node still takes then, and how it comes by room again.
//! Never touches a file: it orders a reserve, snapshots, and that the log give up its spares; workers do.
//!
//! A node is *short* once its log has no room for the next segment or its snapshots have none for
//! their reserve. What makes the state larger is refused from then on; what makes it smaller is
//! taken, and goes into the rest of the log's segment. A snapshot of the smaller state, in the room
//! of the reserve, lets the log before it go. All of that is tried again and again, so a node ends
//! to be short by itself, whoever made the room.
//!
//! # Source
//! etcd's alarm `NOSPACE`, for what clients may expect; docs/operating.md, "A full disk".

use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::{Instant, RoleName};

use crate::entry::LogOrder;
use crate::interface::Output;
use crate::machine::StateMachine;
use crate::replica::Replica;
use crate::snapshot_file::FileOrder;

/// A while, in election timeouts: between two attempts to come by room, and longer than a leader
/// takes to notice that a snapshot it sends must begin anew.
const PAUSE_ELECTIONS: u64 = 2;

/// What a snapshot must be worth on a short node: this part of what it must weigh on others.
const FLOOR_PART: u64 = 16;

/// How a node stands with the room on its disk.
#[derive(Debug, Default)]
pub(crate) struct Space {
    log_short: bool,
    files_short: bool,
    has_reserve: bool,
    /// When the reserve is ordered next, unless it is there.
    reserve_at: Instant,
    /// No snapshot is begun before, since the last one found no room.
    snapshot_at: Instant,
    /// None is begun before for the sake of room.
    room_at: Instant,
    /// Until when the leader, which is short, is not asked to take what it would refuse.
    leader_short_until: Instant,
}

impl<M: StateMachine> Replica<M> {
    /// Whether the disk is as good as full.
    pub(crate) fn is_short(&self) -> bool {
        self.space.log_short || self.space.files_short
    }

    /// Whether a command is refused for lack of room, here or by the leader.
    pub(crate) fn lacks_room_for(&self, command: &Bytes) -> bool {
        let is_short = self.is_short() || self.now < self.space.leader_short_until;
        is_short && M::grows(command)
    }

    /// The leader has refused a batch for lack of room.
    pub(crate) fn on_leader_short(&mut self) {
        self.space.leader_short_until = self.pause_over();
    }

    /// The log has no room for its next segment, or has it again.
    pub(crate) fn on_log_space(&mut self, short: bool, out: &mut Vec<Output<M>>) {
        let was_short = self.is_short();
        self.space.log_short = short;
        self.after_space(was_short, out);
    }

    /// The snapshots' reserve is there, or has no room.
    pub(crate) fn on_reserved(&mut self, is_there: bool, out: &mut Vec<Output<M>>) {
        let was_short = self.is_short();
        (self.space.has_reserve, self.space.files_short) = (is_there, !is_there);
        if !is_there {
            out.push(Output::Log(LogOrder::GiveRoom));
        }
        self.after_space(was_short, out);
    }

    /// A snapshot found no room, and the reserve was given for the next attempt.
    pub(crate) fn on_no_room(&mut self, out: &mut Vec<Output<M>>) {
        let was_short = self.is_short();
        self.snapshots.drop_walk();
        out.push(Output::Log(LogOrder::GiveRoom));
        let had_reserve = core::mem::take(&mut self.space.has_reserve);
        self.space.files_short = self.options.reserve_bytes > 0;
        self.space.reserve_at = self.pause_over();
        if had_reserve {
            self.space.room_at = self.now;
        } else {
            self.space.snapshot_at = self.pause_over();
        }
        self.after_space(was_short, out);
    }

    /// A leader whose disk is full hands over, once: another may have room for all.
    fn after_space(&mut self, was_short: bool, out: &mut Vec<Output<M>>) {
        let leads = self.raft.role() == RoleName::Leader;
        if self.is_short() && !was_short && leads && self.transfer.is_none() {
            // Mark: a leader without room hands over.
            // If nobody else could lead, this node does, and refuses.
            let _ = self.raft.transfer(self.now, None, &mut self.effects);
            self.carry_out(out);
        }
    }

    /// Orders the reserve while it is not known to be there.
    pub(crate) fn keep_reserve(&mut self, out: &mut Vec<Output<M>>) {
        if self.reserve_due().is_some_and(|due| due <= self.now) {
            self.space.reserve_at = self.pause_over();
            let bytes = self.options.reserve_bytes;
            out.push(Output::File(FileOrder::Reserve { bytes }));
        }
    }

    fn reserve_due(&self) -> Option<Instant> {
        let is_wanted = self.options.reserve_bytes > 0 && !self.space.has_reserve;
        // A snapshot in the making has the room.
        (is_wanted && !self.snapshots.is_walking()).then_some(self.space.reserve_at)
    }

    /// When [`Replica::keep_reserve`] or a snapshot is due on a short node; `None` if it is not.
    pub(crate) fn space_deadline(&self) -> Option<Instant> {
        let snapshot_at = self.space.snapshot_at.max(self.space.room_at);
        let snapshot = (self.is_short() && snapshot_at > self.now).then_some(snapshot_at);
        self.reserve_due().into_iter().chain(snapshot).min()
    }

    /// Whether a snapshot makes room on a short node: by the log and the older snapshot that it
    /// replaces, of which a second copy may have to be held.
    pub(crate) fn makes_room(&self, log_bytes: u64, last_bytes: u64) -> bool {
        let now_bytes = self.machine.size_bytes();
        let floor = self.options.snapshot_log_bytes / FLOOR_PART;
        self.is_short()
            && self.now >= self.space.room_at
            && log_bytes.saturating_add(last_bytes) >= floor.saturating_add(2 * now_bytes)
    }

    /// Whether the last snapshot has just found no room.
    pub(crate) fn awaits_room(&self) -> bool {
        self.now < self.space.snapshot_at
    }

    /// A snapshot is begun; the next one for the sake of room waits a while.
    pub(crate) fn on_snapshot_begun(&mut self) {
        self.space.room_at = self.pause_over();
    }

    fn pause_over(&self) -> Instant {
        let pause_ns = self
            .options
            .core
            .election_ns
            .saturating_mul(PAUSE_ELECTIONS);
        self.now.after(pause_ns)
    }
}
