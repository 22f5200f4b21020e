//! What runs were made of: counts that tell whether a plan did what it was meant to.
//! Never influences a run.
//!
//! # Source
//! TigerBeetle's VOPR (a fault that never struck proves nothing).

use crate::text::name_of;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a run was made of; tells whether a plan did what it was meant to.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Adds another run's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// All counts, by their names here.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// The count of this name, as plans spell it.
            pub(crate) fn named(&self, name: &str) -> Option<u64> {
                let found = self.all().into_iter().find(|(its, _)| name_of(its) == name);
                found.map(|(_, count)| count)
            }
        }
    };
}

stats! {
    /// Events.
    events,
    /// Turns of nodes.
    turns,
    /// Frames taken in.
    frames,
    /// Frames that waited for another one to the same peer.
    frames_waited,
    /// Times that such frames left without one.
    frames_alone,
    /// Batches of a leader's log that woke nobody.
    put_aside,
    /// Turns that came because such a batch, done before the last had ended, was of use after all.
    put_aside_wakes,
    /// Batches of the log made durable.
    syncs,
    /// Segments of logs begun in the files of released ones.
    recycled,
    /// Starts that found the log's end in such a segment.
    recycled_starts,
    /// Faults that struck.
    faults,
    /// Nodes that died.
    crashes,
    /// Syncs that failed.
    failed_syncs,
    /// Starts that were interrupted.
    broken_starts,
    /// Starts that found a torn tail.
    torn,
    /// Leaders that came to be.
    elections,
    /// Own snapshots finished.
    taken,
    /// Snapshots of others loaded.
    loaded,
    /// Snapshots of others gone on with after a restart, or by another leader that has the same file.
    resumed,
    /// Requests that reached a node.
    requests,
    /// Requests with an answer.
    answered,
    /// Requests that the plan asked for, and that were answered.
    asked_answered,
    /// Requests that the plan asked for, and that ended without an answer.
    asked_failed,
    /// Entries committed.
    committed,
    /// How long after the faults all was well.
    calm_ns,
    /// Simulated time.
    simulated_ns,
    /// Changes of members that somebody asked for.
    changes_asked,
    /// Of these, begun.
    changes_begun,
    /// Of these, complete.
    changes_done,
    /// Changes of members that surely never happened.
    changes_lost,
    /// Changes of members refused because others were expected.
    changes_stale,
    /// Transfers of leadership that somebody asked for.
    transfers_asked,
    /// Of these, those that ended in a newer term.
    transfers_done,
    /// Transfers that a leader began because of its disk.
    transfers_for_disk,
    /// Nodes that lost their disks.
    lost_disks,
    /// Words of a blank disk in a member's place that were not heard.
    impostors,
    /// Nodes that did nothing for a while.
    pauses,
    /// Disks that became slower.
    slow_disks,
    /// Clocks that changed their pace.
    paces,
    /// Clocks that leapt ahead.
    leaps,
    /// Processes killed because their disk hung.
    hangs,
    /// How often a full disk kept a node from starting, or from having a log segment, a snapshot or
    /// its reserve.
    full,
    /// Writes that were refused because a disk was full.
    refused_full,
    /// Calls to a disk that failed.
    failed_calls,
    /// Partial partitions.
    partials,
    /// Links with little bandwidth.
    slow_links,
    /// Frames damaged on their way.
    frames_damaged,
    /// Calms in which those outside had the time to disturb a leader, and did not.
    peaces,
    /// Connections that ended because a byte was not as it should be.
    links_damaged,
    /// Crashes between two outputs of a turn.
    crashes_in_turn,
    /// Crashes in the middle of a call to the disk.
    crashes_in_disk,
    /// Crashes while a snapshot was being received.
    crashes_in_install,
    /// Damage to the disk of a node that was down.
    rotten,
    /// Of these: recovery refused to start.
    rot_refused,
    /// Of these: recovery went on without what was damaged.
    rot_mended,
    /// Entries of a log that recovery knew by name alone.
    rot_named,
    /// Entries written again that could not be read.
    repaired,
    /// Of these: what was damaged was of no use any more.
    rot_harmless,
    /// Entries that had left memory, read back for peers.
    read_back,
    /// Damage to the last sync, which nothing can tell from a crash, and which was not done.
    rot_last_sync,
    /// Places damaged in files at rest of running nodes.
    decayed,
    /// Rounds over all files at rest that were begun.
    scrubs,
    /// Damage that such a round found.
    scrub_found,
    /// Tries of what can be kept of damaged disks.
    salvaged,
    /// Of these: not all that was committed.
    salvaged_short,
    /// Disks set back to an older image.
    rollbacks,
    /// Of these: the node was told, and halted.
    rollbacks_halted,
    /// Of these: nobody had heard of what was gone.
    rollbacks_harmless,
    /// Disks not set back, because nobody would have told.
    rollbacks_unheard,
    /// Reads that failed.
    failed_reads,
    /// Reads of a running node that brought other bytes than the disk held.
    misreads,
    /// The same in starts.
    misread_starts,
    /// Snapshots of others dropped, because a disk had spoilt them.
    snapshots_spoilt,
    /// Writes that a disk acknowledged and made nowhere or elsewhere.
    strays,
    /// Of these: recovery refused to start.
    strays_refused,
    /// Reads answered that may rest on a lease, at a leader that had one.
    lease_reads,
    /// Reads of a bounded age answered.
    bounded_reads,
    /// How often a node compared what it had written with a leader.
    agreements,
    /// Watches begun.
    watches_created,
    /// Watches that went on, at another node or later.
    watches_resumed,
    /// Events that watchers were told.
    watch_events,
    /// Batches of events that end within a revision.
    watch_fragments,
    /// Times that a watcher was told how far it is.
    watch_progress,
    /// Watches cancelled because of a compaction.
    watches_compacted,
    /// Leases granted to those who live by them.
    leases_granted,
    /// Leases renewed.
    leases_renewed,
    /// Renewals that came too late.
    leases_gone,
    /// Leases that ended because nobody renewed them.
    leases_ended,
    /// Times that a leader wrote down what leases have left.
    lease_checkpoints,
}
