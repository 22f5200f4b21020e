//! Snapshots: when to take one, how to send one, how to start from one.
//! Never stops the world: a walk hands out one chunk a turn while commands go on.
//!
//! # Source
//! Raft paper §7, Figure 13; dissertation §5.1.3 (when), §5.2 (learning from one).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::{Index, Input as CoreInput, Instant, LogId, NodeId, Pull, RoleName, Term};

use crate::codec::Frame;
use crate::entry::{LogOrder, SnapshotMeta};
use crate::interface::Output;
use crate::machine::StateMachine;
use crate::pace::Pace;
use crate::replica::Replica;
use crate::snapshot_file::{FileDone, FileOrder};

/// Chunks on their way to the file, at most: the walk waits for the disk.
const CHUNKS_IN_FLIGHT_MAX: usize = 2;

/// The pace of sending is doubled so often, at most.
const HASTE_MAX: u32 = 16;

/// A node's snapshots, coming and going.
pub(crate) struct Snapshots<W> {
    newest: LogId,
    /// The log's weight at the newest snapshot.
    weight: u64,
    /// What that snapshot weighs.
    state_bytes: u64,
    walk: Option<Walking<W>>,
    /// A file at rest is damaged: a snapshot takes its place, and is due now.
    heals: Option<Damaged>,
    /// When the next chunk of an own snapshot may be written.
    write_pace: Pace,
    /// Followers that are being sent a snapshot.
    pub(crate) sending: BTreeMap<NodeId, Sending>,
    /// When the next piece may be sent to any of them.
    send_pace: Pace,
    /// How often the pace was doubled, since clients write faster than snapshots are sent.
    haste: u32,
    /// The piece that came with the frame at hand: total bytes, offset, bytes.
    pub(crate) piece: Option<(u64, u64, Bytes)>,
    /// The snapshot that is being received, or was last.
    receiving: Option<Receiving>,
}

/// What is damaged at rest; the worse one counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Damaged {
    /// The log: any snapshot that covers the place will do, also one there is already.
    Log,
    /// A snapshot: it takes another one.
    Snapshot,
}

/// An own snapshot in the making.
struct Walking<W> {
    meta: SnapshotMeta,
    walk: W,
    in_flight: usize,
    finished: bool,
}

/// A snapshot on its way to one follower, a piece at a time.
#[derive(Debug)]
pub(crate) struct Sending {
    base: Option<LogId>,
    offset: u64,
    /// When the piece at `offset` was last asked of the disk.
    asked_at: Instant,
    /// It is to be asked for as soon as the pace allows.
    is_due: bool,
}

/// A leader's snapshot on its way here.
#[derive(Debug)]
struct Receiving {
    from: NodeId,
    term: Term,
    base: LogId,
    /// How much of its file is known to be here.
    upto: u64,
}

impl Receiving {
    /// Whether a piece that covers `base`, from the leader `from` of `term`, is of this very file. In
    /// one term it has one process, and that one file that covers so much; another leader's may cover
    /// the same and be cut otherwise.
    fn is_of(&self, from: NodeId, term: Term, base: LogId) -> bool {
        (self.from, self.term, self.base) == (from, term, base)
    }
}

impl<W> Snapshots<W> {
    pub(crate) fn new(newest: LogId, weight: u64, state_bytes: u64) -> Self {
        Self {
            newest,
            weight,
            state_bytes,
            walk: None,
            heals: None,
            write_pace: Pace::default(),
            sending: BTreeMap::new(),
            send_pace: Pace::default(),
            haste: 0,
            piece: None,
            receiving: None,
        }
    }

    pub(crate) fn newest(&self) -> LogId {
        self.newest
    }

    /// Whether an own snapshot is in the making.
    pub(crate) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// What is damaged is to be replaced by a snapshot.
    pub(crate) fn heal(&mut self, damaged: Damaged) {
        self.heals = self.heals.max(Some(damaged));
    }

    /// The own snapshot in the making is lost.
    pub(crate) fn drop_walk(&mut self) {
        self.walk = None;
    }
}

impl<M: StateMachine> Replica<M> {
    /// The snapshot worker has done something.
    pub(crate) fn on_file_done(&mut self, done: FileDone<M>, out: &mut Vec<Output<M>>) {
        match done {
            FileDone::Wrote => {
                if let Some(walking) = &mut self.snapshots.walk {
                    walking.in_flight = walking.in_flight.saturating_sub(1);
                }
            }
            FileDone::Taken(meta) => self.on_taken(&meta, out),
            FileDone::Received { base, upto } => {
                if let Some(receiving) = &mut self.snapshots.receiving {
                    if receiving.base == base {
                        receiving.upto = upto;
                    }
                    let (to, frame) = (receiving.from, Frame::PieceReply { base, upto }.encode());
                    out.push(Output::urgent(to, frame));
                }
            }
            FileDone::Loaded { meta, machine } => self.on_loaded(meta, machine, out),
            // The leader will notice the silence and start again from the first piece.
            FileDone::Refused { base, why } => {
                if let Some(Receiving { from, .. }) = self.snapshots.receiving.take() {
                    let why = format!("its snapshot of {base} was dropped: {why}");
                    out.push(Output::Refused { from, why });
                }
            }
            FileDone::Damaged(damage) => self.snapshots.heal(match damage.is_in_log() {
                true => Damaged::Log,
                false => Damaged::Snapshot,
            }),
            FileDone::LogRead { to, entries, .. } => self.on_log_read(to, entries, out),
            FileDone::Reserved(is_there) => self.on_reserved(is_there, out),
            FileDone::NoRoom => self.on_no_room(out),
            FileDone::Piece {
                to,
                base,
                total_bytes,
                offset,
                bytes,
            } => {
                self.send_piece(to, base, (total_bytes, offset), bytes, out);
            }
        }
    }

    // Taking.

    /// Starts a snapshot when it is worth its cost, and keeps one going.
    pub(crate) fn walk_snapshot(&mut self, out: &mut Vec<Output<M>>) {
        let newest = self.snapshots.newest;
        if self.snapshots.heals == Some(Damaged::Log)
            && newest.index > Index(0)
            && newest == self.applied
        {
            // Mark: the newest snapshot takes the place of damage to the log.
            // Another one would be no better, and whoever is being sent this one would begin anew.
            self.snapshots.heals = None;
            self.compact_fully(newest.index, out);
        }
        if self.snapshots.walk.is_none() && self.is_snapshot_due() {
            let Some(config) = self.raft.config_at(self.applied.index).cloned() else {
                return;
            };
            // Mark: a snapshot is begun.
            let meta = SnapshotMeta {
                base: self.applied,
                config,
            };
            self.on_snapshot_begun();
            out.push(Output::File(FileOrder::Begin(meta.clone())));
            let walk = self.machine.begin_snapshot();
            self.snapshots.walk = Some(Walking {
                meta,
                walk,
                in_flight: 0,
                finished: false,
            });
        }
        // Room and the end of damage are in a hurry.
        let per_second = match self.snapshots.heals.is_some() || self.is_short() {
            true => 0,
            false => self.options.snapshot_write_bytes_per_second,
        };
        let Some(walking) = &mut self.snapshots.walk else {
            return;
        };
        let pace = &mut self.snapshots.write_pace;
        while walking.in_flight < CHUNKS_IN_FLIGHT_MAX && !walking.finished {
            if per_second > 0 && !pace.is_free(self.now) {
                // Mark: an own snapshot keeps its pace.
                return;
            }
            match self
                .machine
                .next_chunk(&mut walking.walk, self.options.chunk_bytes)
            {
                Some(chunk) => {
                    walking.in_flight += 1;
                    pace.spend(self.now, chunk.len(), per_second);
                    out.push(Output::File(FileOrder::Chunk(chunk)));
                }
                None => {
                    // Mark: a snapshot's walk ends.
                    walking.finished = true;
                    out.push(Output::File(FileOrder::Finish));
                }
            }
        }
    }

    /// A snapshot writes the whole state: it is due once the log since the last one outweighs
    /// both that one and a floor. A state that only grows then doubles from one to the next, and
    /// snapshots add no more than a constant factor to what is written. Where the disk is full, one
    /// is due as soon as it makes room.
    fn is_snapshot_due(&self) -> bool {
        let newest = self.snapshots.newest.index;
        if self.snapshots.heals.is_some() && self.applied.index >= newest.max(Index(1)) {
            return !self.awaits_room();
        }
        if self.applied.index <= newest || self.awaits_room() {
            return false;
        }
        let log = self
            .bodies
            .weight(self.applied.index)
            .saturating_sub(self.snapshots.weight);
        let state_bytes = self.snapshots.state_bytes;
        log >= self.options.snapshot_log_bytes.max(state_bytes) || self.makes_room(log, state_bytes)
    }

    /// An own snapshot is durable: the log before it may go, but for what is cheap to keep.
    fn on_taken(&mut self, meta: &SnapshotMeta, out: &mut Vec<Output<M>>) {
        let finished = self.snapshots.walk.take_if(|walking| walking.meta == *meta);
        let heals = self.snapshots.heals.take().is_some();
        let newest = self.snapshots.newest.index;
        let is_outdated = meta.base.index < newest || meta.base.index == newest && !heals;
        if finished.is_none() || is_outdated {
            // Mark: an own snapshot is outdated when it is durable.
            return;
        }
        self.remember_snapshot(meta.base);
        if heals {
            // Mark: a snapshot takes the place of damage.
            out.push(Output::File(FileOrder::KeepNewest));
            self.compact_fully(meta.base.index, out);
        } else {
            self.compact_to(self.keep_from(meta.base.index), out);
        }
    }

    /// The log up to here, which may be damaged, goes: a snapshot covers it.
    fn compact_fully(&mut self, covered: Index, out: &mut Vec<Output<M>>) {
        self.compact_to(covered.max(self.raft.base().index), out);
    }

    /// Forgets the log up to `last`.
    fn compact_to(&mut self, last: Index, out: &mut Vec<Output<M>>) {
        let Some(term) = self.raft.term_at(last) else {
            return;
        };
        self.core(
            CoreInput::Compacted {
                base: LogId::new(term, last),
            },
            out,
        );
        self.bodies.compact(self.raft.base().index);
        out.push(Output::Log(LogOrder::Release {
            upto: self.raft.base().index,
        }));
    }

    fn remember_snapshot(&mut self, base: LogId) {
        self.snapshots.newest = base;
        self.snapshots.weight = self.bodies.weight(base.index);
        self.snapshots.state_bytes = self.machine.size_bytes();
    }

    /// The last index to forget: some bytes stay for followers a little behind, and more for live
    /// ones that still need them, up to `snapshot_log_bytes`; for one that is being sent a snapshot, up
    /// to the weight that triggers the next one. On a full disk nothing stays.
    fn keep_from(&self, snapshot: Index) -> Index {
        let base = self.raft.base().index;
        if self.is_short() {
            return snapshot.max(base);
        }
        let back = |bytes: u64| {
            let weight = self.bodies.weight(snapshot).saturating_sub(bytes);
            let mut at = snapshot;
            while at > base && self.bodies.weight(at) > weight {
                at = at.prev();
            }
            at
        };
        let options = &self.options;
        let cheap = back(options.log_keep_bytes);
        let floor_of = |weight| back(options.log_keep_bytes.saturating_add(weight));
        let floor = floor_of(options.snapshot_log_bytes);
        let trigger = options.snapshot_log_bytes.max(self.snapshots.state_bytes);
        let floor_sent = floor_of(trigger);
        let needs = |peer: &NodeId| {
            let matched = self.raft.matched(*peer)?;
            let sent = self.snapshots.sending.get(peer).and_then(|at| at.base);
            Some(match sent {
                Some(base) => {
                    // Mark: the log behind a snapshot that is being sent is kept.
                    floor_sent.max(matched.max(base.index))
                }
                None => floor.max(matched),
            })
        };
        let needed = self.links.iter().filter_map(needs);
        needed.fold(cheap, Index::min).max(base)
    }

    // Sending.

    /// Followers that need what the log has forgotten are sent the newest snapshot.
    pub(crate) fn send_pieces(&mut self, out: &mut Vec<Output<M>>) {
        if self.raft.role() != RoleName::Leader {
            return self.snapshots.sending.clear();
        }
        let (now, patience_ns) = (self.now, self.options.core.election_ns);
        let may_send = self.snapshots.send_pace.is_free(now);
        let links = core::mem::take(&mut self.links);
        for &peer in &links {
            if self.raft.pull(peer) != Pull::Snapshot {
                self.snapshots.sending.remove(&peer);
                continue;
            }
            let fresh = Sending {
                base: None,
                offset: 0,
                asked_at: Instant(0),
                is_due: true,
            };
            // The log may have moved on so far that what the peer has now installed is not enough.
            let matched = self.raft.matched(peer).unwrap_or_default();
            let sent = self.snapshots.sending.get(&peer).and_then(|at| at.base);
            if sent.is_some_and(|base| base.index <= matched) {
                // Mark: what a peer has installed is not enough any more.
                self.snapshots.sending.remove(&peer);
                self.snapshots.haste = (self.snapshots.haste + 1).min(HASTE_MAX);
            }
            let sending = self.snapshots.sending.entry(peer).or_insert(fresh);
            // A piece or its answer may be lost: ask again after a silence.
            if !sending.is_due && now.since(sending.asked_at) >= patience_ns {
                // Mark: a piece of a snapshot is asked for anew.
                sending.is_due = true;
            }
            if sending.is_due && may_send {
                self.read_piece(peer, out);
            }
        }
        self.links = links;
        if self.snapshots.sending.is_empty() {
            self.snapshots.haste = 0;
        }
    }

    fn read_piece(&mut self, to: NodeId, out: &mut Vec<Output<M>>) {
        let len = self.options.chunk_bytes;
        let now = self.now;
        let Some(sending) = self.snapshots.sending.get_mut(&to) else {
            return;
        };
        (sending.asked_at, sending.is_due) = (now, false);
        let (base, offset) = (sending.base, sending.offset);
        out.push(Output::File(FileOrder::Read {
            to,
            base,
            offset,
            len,
        }));
    }

    fn send_piece(
        &mut self,
        to: NodeId,
        base: LogId,
        (total_bytes, offset): (u64, u64),
        bytes: Bytes,
        out: &mut Vec<Output<M>>,
    ) {
        // The piece says that its sender leads the term, which may have ended since it was ordered.
        if self.raft.role() != RoleName::Leader {
            // Mark: a piece is not sent because leadership is over.
            return;
        }
        let Some(sending) = self.snapshots.sending.get_mut(&to) else {
            return;
        };
        sending.base = Some(base);
        sending.offset = offset;
        let per_second = self.options.snapshot_send_bytes_per_second;
        let per_second = per_second.saturating_mul(1 << self.snapshots.haste);
        let pace = &mut self.snapshots.send_pace;
        pace.spend(self.now, bytes.len(), per_second);
        let term = self.raft.term();
        let frame = Frame::Piece {
            term,
            base,
            total_bytes,
            offset,
            bytes,
        }
        .encode();
        out.push(Output::urgent(to, frame));
    }

    /// A follower says how far it has received: the next piece follows, at the end of the turn.
    pub(crate) fn on_piece_reply(&mut self, from: NodeId, base: LogId, upto: u64) {
        let Some(sending) = self.snapshots.sending.get_mut(&from) else {
            return;
        };
        if sending.base == Some(base) && upto != sending.offset {
            // Mark: the next piece of a snapshot follows.
            (sending.offset, sending.is_due) = (upto, true);
        }
    }

    /// When the next chunk may be written or the next piece sent, if that waits for the pace alone.
    pub(crate) fn snapshot_deadline(&self) -> Option<Instant> {
        let wants_chunk = |at: &Walking<_>| !at.finished && at.in_flight < CHUNKS_IN_FLIGHT_MAX;
        let written = self.snapshots.walk.as_ref().filter(|at| wants_chunk(at));
        let written = written.map(|_| self.snapshots.write_pace.free_at());
        let leads = self.raft.role() == RoleName::Leader;
        let mut due = self.snapshots.sending.values();
        let sent = (leads && due.any(|at| at.is_due)).then(|| self.snapshots.send_pace.free_at());
        written.into_iter().chain(sent).min()
    }

    // Receiving.

    /// The core wants the leader's snapshot: the piece at hand goes to the file.
    pub(crate) fn on_install(&mut self, from: NodeId, base: LogId, out: &mut Vec<Output<M>>) {
        let Some((total_bytes, offset, bytes)) = self.snapshots.piece.take() else {
            return;
        };
        let term = self.raft.term();
        let begun = self.snapshots.receiving.as_ref();
        let begun = begun.filter(|receiving| receiving.is_of(from, term, base));
        match (begun.map(|receiving| receiving.upto), offset) {
            (None, 0) => {
                self.snapshots.receiving = Some(Receiving {
                    from,
                    term,
                    base,
                    upto: 0,
                });
            }
            (Some(0), 0) | (Some(_), 1..) => {}
            (here, _) => {
                // Mark: a snapshot goes on where it was interrupted.
                // Its leader's connection broke, and it begins anew. Or it goes on with a file of
                // which nothing is here.
                let upto = here.unwrap_or(0);
                let frame = Frame::PieceReply { base, upto }.encode();
                return out.push(Output::urgent(from, frame));
            }
        }
        let order = FileOrder::Receive {
            base,
            total_bytes,
            offset,
            bytes,
        };
        out.push(Output::File(order));
    }

    /// A received snapshot is durable and loaded: it becomes the state, unless the log has
    /// brought more in the meantime.
    fn on_loaded(&mut self, meta: SnapshotMeta, machine: M, out: &mut Vec<Output<M>>) {
        if meta.base.index <= self.applied.index || meta.base.index <= self.raft.commit() {
            return;
        }
        // Mark: a received snapshot becomes the state.
        self.machine = machine;
        self.applied = meta.base;
        self.snapshots.walk = None;
        self.skip_requests(meta.base, out);
        self.core(
            CoreInput::Installed {
                base: meta.base,
                config: meta.config,
            },
            out,
        );
        self.remember_snapshot(meta.base);
    }
}
