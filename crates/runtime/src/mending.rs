//! What the log tells of entries that come back from other members.
//! Never decides anything: the replica says how it is.
//!
//! # Source
//! docs/operating.md, "Damaged data".

use headwater_replica::interface::Status;

/// Says that entries which the disk could not give back are missing, and that all are back.
pub(crate) fn tell(node: impl Fn() -> String, before: Status, now: Status) {
    match (before.unreadable, now.unreadable) {
        (0, entries) if entries > 0 => tracing::warn!(
            node = node(),
            entries,
            "entries cannot be read: they are asked of the other members"
        ),
        (1.., 0) => tracing::info!(
            node = node(),
            written_again = now.repaired,
            "no entry is missing any more: they came back from other members, or a snapshot has them"
        ),
        _ => {}
    }
}
