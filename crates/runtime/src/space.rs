//! What the log tells of a full disk.
//! Never decides anything: the replica says how it is.
//!
//! # Source
//! docs/operating.md, "A full disk".

use headwater_replica::interface::Status;

/// Says that the disk is full, or that it has room again, where that has changed.
pub(crate) fn tell(node: impl Fn() -> String, before: Status, now: Status) {
    match (before.short_of_space, now.short_of_space) {
        (false, true) => tracing::error!(
            node = node(),
            "the disk is full: what can make the state larger is refused; delete and compact, or \
             free some space"
        ),
        (true, false) => {
            tracing::info!(
                node = node(),
                "the disk has room again: everything is taken"
            );
        }
        _ => {}
    }
}
