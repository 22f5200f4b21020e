//! How frames and orders look in a trace that people read.
//! Never tells anything that a program should rely on: `headwater_replica::telling` does.
//!
//! # Source
//! TigerBeetle's VOPR (one line an event).

use headwater_replica::{LogOrder, message_of};

/// A frame in words.
pub(crate) fn frame(frame: &bytes::Bytes) -> String {
    match message_of(frame) {
        Some(message) => format!("{message:?}"),
        None => format!(
            "kind {} of {} bytes",
            frame.first().copied().unwrap_or_default(),
            frame.len()
        ),
    }
}

pub(crate) fn order(order: &LogOrder) -> String {
    match order {
        LogOrder::Write(write) => {
            let ends = write.entries.first().zip(write.entries.last());
            let entries = ends.map(|(first, last)| (first.id, last.id));
            format!(
                "{:?} {:?} truncate {:?} entries {entries:?}",
                write.id, write.hard, write.truncate_from
            )
        }
        order => format!("{order:?}"),
    }
}
