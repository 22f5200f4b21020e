//! The sizes of things in one world.
//! Never says what goes wrong: faults do.
//!
//! # Source
//! Groce et al., "Swarm testing", ISSTA'12: what has a size is drawn.

use crate::text::{Word, is_time, name_of};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// One knob: its name in a plan, and how it is read and turned.
pub(crate) struct Knob {
    pub(crate) ident: &'static str,
    /// The knob of which a percentage is a part.
    pub(crate) relative_to: Option<&'static str>,
    pub(crate) word: fn(&Knobs) -> String,
    pub(crate) turn: fn(&mut Knobs, &str) -> Result<(), String>,
}

impl Knob {
    pub(crate) fn name(&self) -> String {
        name_of(self.ident)
    }

    /// The knob of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Knob> {
        KNOBS.iter().find(|knob| knob.name() == name)
    }
}

macro_rules! relative {
    () => {
        None
    };
    ($to:ident) => {
        Some(stringify!($to))
    };
}

macro_rules! knobs {
    ($($(#[$doc:meta])* $knob:ident: $type:ty = $default:expr $(, percent of $to:ident)?;)*) => {
        /// The sizes of things in one world. Durations in nanoseconds.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Knobs {
            $($(#[$doc])* pub $knob: $type,)*
        }

        impl Default for Knobs {
            fn default() -> Self {
                Self { $($knob: $default,)* }
            }
        }

        /// All knobs; one that others are relative to comes before them.
        pub(crate) const KNOBS: &[Knob] = &[$(Knob {
            ident: stringify!($knob),
            relative_to: relative!($($to)?),
            word: |knobs| knobs.$knob.spell(is_time(stringify!($knob))),
            turn: |knobs, word| {
                knobs.$knob = Word::read(word, is_time(stringify!($knob)))?;
                Ok(())
            },
        },)*];
    };
}

knobs! {
    /// How many nodes.
    nodes: u64 = 3;
    /// How many more that are no members at first.
    reserves: u64 = 0;
    /// How long faults go on.
    faults_ns: u64 = 3000 * MS;
    /// The replica's numbers of the same names.
    heartbeat_ns: u64 = 20 * MS;
    /// The least silence before an election.
    election_ns: u64 = 80 * MS, percent of heartbeat_ns;
    /// How long a request may wait.
    request_timeout_ns: u64 = 700 * MS;
    /// Bytes of one log segment.
    segment_bytes: u64 = 8192;
    /// The floor under which no snapshot is taken.
    snapshot_log_bytes: u64 = 3000;
    /// Log kept behind a snapshot.
    log_keep_bytes: u64 = 200;
    /// Log that stays in memory once it is applied and durable.
    log_memory_bytes: u64 = 1 << 20;
    /// Bytes of one snapshot chunk.
    chunk_bytes: u64 = 1000;
    /// Bytes a second of a node's own snapshots; zero: as many as the disk takes.
    snapshot_write_pace: u64 = 0;
    /// Bytes a second of the snapshots that a leader sends; zero: as many as the links take.
    snapshot_send_pace: u64 = 0;
    /// After how many bytes a snapshot that is being written or received is synced.
    snapshot_sync_bytes: u64 = 1 << 20;
    /// How many snapshots are kept; zero: all.
    max_snapshots: u64 = 2;
    /// Bytes of one message, about.
    message_bytes_max: u64 = 2000;
    /// Bytes under way to one peer.
    window_bytes_max: u64 = 1000;
    /// The least delay of a frame.
    delay_ns: u64 = MS / 10;
    /// What the dice may add to it.
    delay_spread_ns: u64 = MS / 10, percent of delay_ns;
    /// Frames lost, of a thousand.
    loss: u64 = 0;
    /// Messages of the core that arrive twice, of a thousand.
    double: u64 = 0;
    /// Messages of the core that overtake others, of a thousand.
    shuffle: u64 = 0;
    /// Messages of the core that outlive their connection, of a thousand.
    outlive: u64 = 0;
    /// Whether frames sent into a partition arrive when it ends, as TCP would have it, or never.
    holds: bool = false;
    /// The most that a turn takes.
    turn_ns: u64 = MS / 20;
    /// How long a frame that nobody waits for may wait for another; zero: not at all.
    notice_wait_ns: u64 = 0;
    /// Whether a leader sleeps on when its own disk is done, where that is of no use.
    put_aside: bool = false;
    /// The least that a batch of log or snapshot work takes.
    disk_ns: u64 = MS / 10;
    /// What the dice may add to it.
    disk_spread_ns: u64 = MS;
    /// Bytes set aside on each disk for a snapshot that finds no other room.
    reserve_bytes: u64 = 0;
    /// Whether spare segments are made beforehand.
    spares: bool = true;
    /// Released segments that wait for their next use may take so many bytes; two of them always may.
    spare_bytes: u64 = 0;
    /// Whether an idle log leaves witnesses.
    witnesses: bool = true;
    /// The pause between two readings of all files at rest; zero: nobody reads them again.
    scrub_ns: u64 = 0;
    /// How far clocks may run apart, of a thousand.
    drift: u64 = 0;
    /// Whether reads may rest on leases; clocks then stay within the drift.
    leases: bool = false;
    /// How old a read that need not be linearizable may be; zero: as old as it likes.
    lag_ns: u64 = 0;
    /// Whether nodes differ in how early they stand for election.
    priorities: bool = false;
    /// Starts that are interrupted in the middle of recovery, of a thousand.
    broken_starts: u64 = 0;
    /// How many clients.
    clients: u64 = 2;
    /// The most a client waits between two requests.
    think_ns: u64 = 20 * MS;
    /// How many keys are fought over.
    keys: u64 = 2;
    /// Bytes of a value, at most.
    value_bytes: u64 = 100;
    /// How many clients watch.
    watchers: u64 = 0;
    /// The most that the slowest of them takes to look again.
    watch_pace_ns: u64 = 20 * MS;
    /// How many clients live by leases.
    tenants: u64 = 0;
    /// How often leaders write down what leases have left, where clocks can be trusted.
    checkpoint_ns: u64 = 300 * MS;
}
