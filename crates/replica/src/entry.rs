//! Log entries with their bodies, and the orders given to the log.
//! Never interprets a command.
//!
//! # Source
//! Raft paper §5.3; Alagappan et al., FAST'18 (identifiers apart from bodies).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{Config, HardState, Index, LogId, NodeId, WriteId};

use crate::config_record::decode_change;

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// A command for the state machine.
    Command = 1,
    /// A leader's first entry: empty, only there to be committed (paper §8).
    Noop = 2,
    /// A cluster configuration.
    Config = 3,
    /// Any of these: its body cannot be read. Only in memory, until a peer has sent the entry again.
    Unreadable = 0,
}

impl EntryKind {
    /// The kind that a byte on disk or on the wire names.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Command),
            2 => Some(Self::Noop),
            3 => Some(Self::Config),
            _ => None,
        }
    }
}

/// One log entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its identity.
    pub id: LogId,
    /// What it is for.
    pub kind: EntryKind,
    /// The command, or the encoded configuration and the command with it; empty for a no-op.
    pub body: Bytes,
    /// CRC-32C of the body: computed once, where the entry is born, and checked at every border.
    pub crc: u32,
}

impl Entry {
    /// An entry whose checksum is computed here: where it is born.
    pub fn new(id: LogId, kind: EntryKind, body: Bytes) -> Self {
        let crc = crate::checksum::crc32c(&body);
        Self {
            id,
            kind,
            body,
            crc,
        }
    }

    /// An entry that is known by name alone.
    pub fn unreadable(id: LogId) -> Self {
        Self::new(id, EntryKind::Unreadable, Bytes::new())
    }

    /// What the state machine is told: the command, or that which came with a change of members.
    pub fn command(&self) -> Option<Cow<'_, Bytes>> {
        match self.kind {
            // Others may share the body, on other threads: not even a count of them is touched.
            EntryKind::Command => Some(Cow::Borrowed(&self.body)),
            EntryKind::Noop => None,
            EntryKind::Unreadable => panic!("entry {} cannot be read", self.id),
            EntryKind::Config => {
                let (_, command) = decode_change(&self.body).ok()?;
                (!command.is_empty()).then_some(Cow::Owned(command))
            }
        }
    }
}

/// Who a data directory belongs to; in every file's head, so that files of another cluster, node
/// or life are never mistaken for one's own (rule R13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: NodeId,
    /// Drawn when the directory was formatted.
    pub incarnation: u128,
}

impl Identity {
    /// The life in which the directory was formatted: [`crate::record::FrameHead::life`].
    pub(crate) fn first_life(&self) -> u64 {
        life(self.incarnation)
    }
}

/// The life in which a number was drawn for a new incarnation, needed or not.
pub(crate) fn life(fresh_incarnation: u128) -> u64 {
    (fresh_incarnation ^ (fresh_incarnation >> 64)) as u64
}

/// One order to the log. Orders are carried out in the order given; all given while a sync runs
/// share the next one (group commit).
#[derive(Clone, Debug)]
pub enum LogOrder {
    /// A durable change, one of the core's writes.
    Write(LogWrite),
    /// A received snapshot is durable and loaded: the log now starts after `base`, empty.
    Reset {
        /// The order's place in the write queue.
        id: WriteId,
        /// The last entry that the snapshot covers.
        base: LogId,
        /// The hard state in force.
        hard: HardState,
    },
    /// Entries of the log that could not be read are written again, in their places.
    Repair {
        /// The order's place in the write queue.
        id: WriteId,
        /// The hard state in force.
        hard: HardState,
        /// As that of [`LogWrite`].
        commit: Index,
        /// The entries, contiguous; their identities are those that the log has there.
        entries: Vec<Entry>,
    },
    /// A snapshot covers everything up to and including `upto`: older segments may go.
    /// Needs no sync and gets no answer.
    Release {
        /// The last index no longer needed.
        upto: Index,
    },
    /// The disk has no room for something else: of the files that wait to become segments one is enough.
    /// Needs no sync and gets no answer.
    GiveRoom,
}

/// One durable change: hard state, then truncation, then append, in this order, all or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogWrite {
    /// Its place in the write queue.
    pub id: WriteId,
    /// Term and vote in force with this write, changed or not.
    pub hard: HardState,
    /// A commit index that this write and those before it bear out: a hint for recovery, never
    /// more.
    pub commit: Index,
    /// Entries from this index on are void.
    pub truncate_from: Option<Index>,
    /// New entries, contiguous.
    pub entries: Vec<Entry>,
}

/// A snapshot's head: what it covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMeta {
    /// The last entry covered.
    pub base: LogId,
    /// The committed configuration as of `base`.
    pub config: Config,
}
