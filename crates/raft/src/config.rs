//! The numbers that shape a node's behaviour.
//! Never changed while the node runs.
//!
//! # Source
//! Raft paper §5.6 (timing), §9.3; dissertation §9; rule R10 for slow disks.

/// Limits and timeouts of one node. Durations are nanoseconds of the caller's clock.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seeds the election dice: equal seeds and inputs give equal runs.
    pub seed: u64,
    /// Names this life of the process; never the same for two lives of one node (rule R6).
    pub life: u64,
    /// How often a leader makes itself heard.
    pub heartbeat_ns: u64,
    /// The least silence after which a follower asks for an election; the most is twice this.
    pub election_ns: u64,
    /// Whether a leader to whom nothing happens falls silent, and its followers wait without a
    /// timer. Only for drivers that report [`crate::Input::Link`] down when a peer's process dies
    /// or falls silent: one watch over a process then serves all groups that it is in.
    pub rests: bool,
    /// Appends on their way to one peer, at most.
    pub inflight_max: usize,
    /// The age of a write under way from which the disk counts as slow (rule R10): a leader then
    /// takes no proposals and hands over to a node whose disk keeps up, and a follower asks for no
    /// election. Well above what a sync takes, and below `election_ns`. `u64::MAX` switches it
    /// off; zero makes no sense, since every write is under way for a while.
    pub disk_slow_ns: u64,
    /// How early this node asks for an election, against the others: with the highest as early as
    /// it may, with zero as much as one election timeout later. A preference, not a right: who is
    /// alone with a quorum leads at any priority, and a leader of low priority stays.
    ///
    /// Give all nodes near the clients the highest, and those that should lead only in need less:
    /// with a difference of 255 the lower one always lets the other go first, with less it does so
    /// more often than not.
    pub priority: u8,
    /// Leases: off without a number. With one, no clock of the cluster may run slower than another
    /// by more than so many millionths, or stop while its machine sleeps; else reads of level
    /// lease are stale.
    ///
    /// A cluster with leases replaces a killed leader only after an election timeout, and a
    /// restarted node votes only after one. A lease needs a quorum of voters that have leases on
    /// and an election timeout no shorter than their leader's. To switch leases off on a node, or
    /// shorten its election timeout, keep it down for the old timeout: it has promised that.
    pub lease_drift_ppm: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        const MILLISECOND: u64 = 1_000_000;
        Self {
            seed: 0,
            life: 0,
            heartbeat_ns: 100 * MILLISECOND,
            election_ns: 1000 * MILLISECOND,
            rests: false,
            inflight_max: 256,
            disk_slow_ns: 500 * MILLISECOND,
            priority: u8::MAX,
            lease_drift_ppm: None,
        }
    }
}
