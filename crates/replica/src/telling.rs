//! How messages, inputs and orders of nodes look in a trace, for programs: every field is a number of
//! JSON, or a word. `calls` has those of the core, `json` writes them down.
//! Never tells what a program could not check: docs/trace.md names all of it.
//!
//! # Source
//! Raft paper, Figure 2, for the words.

use alloc::format;

use headwater_raft::{
    AppendResult, Config, Entries, HardState, Holding, Incarnation, Index, LogId, Message, NodeId,
    ReadLevel,
};

use crate::codec::header_of;
use crate::entry::{LogOrder, SnapshotMeta};
use crate::interface::Input;
use crate::machine::StateMachine;
use crate::snapshot_file::FileDone;

pub mod calls;
mod json;

pub use json::Object;

/// The identity of an entry.
pub fn id(object: Object, index: &str, term: &str, id: LogId) -> Object {
    object.number(index, id.index.0).number(term, id.term.0)
}

fn nodes(of: &[NodeId]) -> impl Iterator<Item = u64> {
    of.iter().map(|node| node.0)
}

/// A configuration.
pub fn config(config: &Config) -> Object {
    Object::new()
        .numbers("voters", nodes(config.voters()))
        .numbers("outgoing", nodes(config.outgoing()))
        .numbers("learners", nodes(config.learners()))
        .numbers("joining", nodes(config.joining()))
        .objects("disks", config.disks().iter().map(disk_of))
}

/// A node and its disk.
pub(crate) fn disk_of((node, disk): &(NodeId, Incarnation)) -> Object {
    let object = Object::new().number("of", node.0);
    object.text("disk", &format!("{:x}", disk.0))
}

/// The configurations among entries.
pub(crate) fn configs(object: Object, entries: &Entries) -> Object {
    let one = |(at, config): &(Index, Config)| {
        let object = Object::new().number("at", at.0);
        object.object("config", self::config(config))
    };
    object.objects("configs", entries.configs.iter().map(one))
}

/// What Figure 2 keeps on stable storage beside the log.
pub fn hard(object: Object, hard: HardState) -> Object {
    let vote = hard.voted_for.map_or(0, |node| node.0);
    object.number("term", hard.term.0).number("vote", vote)
}

pub(crate) fn terms(entries: &Entries) -> impl Iterator<Item = u64> {
    let indices = entries.prev.index.0 + 1..=entries.last.0;
    indices.map(|index| {
        let term = entries.term_at(Index(index));
        term.map_or(0, |term| term.0)
    })
}

/// A message of the core.
pub fn message(told: &Message) -> Object {
    let kind = |kind| Object::new().text("type", kind);
    match told {
        Message::Vote {
            term,
            pre,
            transfer,
            last,
            admitted,
        } => {
            let object = kind("vote").number("term", term.0).flag("pre", *pre);
            id(
                object
                    .flag("transfer", *transfer)
                    .flag("admitted", *admitted),
                "last",
                "last_term",
                *last,
            )
        }
        Message::VoteReply { term, pre, granted } => kind("vote-reply")
            .number("term", term.0)
            .flag("pre", *pre)
            .flag("granted", *granted),
        Message::Append {
            term,
            entries,
            commit,
        } => {
            let object = kind("append").number("term", term.0);
            let object = id(object, "prev", "prev_term", entries.prev);
            let object = object.numbers("terms", terms(entries));
            configs(object, entries).number("commit", commit.0)
        }
        Message::AppendReply { term, result } => {
            let object = kind("append-reply").number("term", term.0);
            match result {
                AppendResult::Durable(upto) => object.flag("ok", true).number("match", upto.0),
                AppendResult::Conflict { prev, hint } => {
                    let object = object.flag("ok", false).number("prev", prev.0);
                    id(object, "hint", "hint_term", *hint)
                }
            }
        }
        _ => beside(told),
    }
}

/// A message that moves no entries and no votes.
fn beside(told: &Message) -> Object {
    let kind = |kind| Object::new().text("type", kind);
    match told {
        Message::Beat {
            term,
            commit,
            durable,
            round,
            knows,
        } => kind("beat")
            .number("term", term.0)
            .number("commit", commit.0)
            .number("durable", durable.0)
            .number("round", *round)
            .flag("knows", *knows),
        Message::BeatReply {
            term,
            round,
            disk,
            promise_ns,
        } => kind("beat-reply")
            .number("term", term.0)
            .number("round", *round)
            .number("pace", *disk as u64)
            .number("promise_ns", *promise_ns),
        Message::Heard { .. } | Message::Disowned { .. } => of_disk(told),
        Message::TimeoutNow { term } => kind("timeout-now").number("term", term.0),
        Message::Rest { term, last } => id(
            kind("rest").number("term", term.0),
            "last",
            "last_term",
            *last,
        ),
        Message::Commit {
            term,
            commit,
            durable,
        } => kind("commit")
            .number("term", term.0)
            .number("commit", commit.0)
            .number("durable", durable.0),
        Message::Snapshot { term, base } => id(
            kind("snapshot").number("term", term.0),
            "base",
            "base_term",
            *base,
        ),
        Message::ReadAsk { id, life, lease } => kind("read-ask")
            .number("read", id.0)
            .number("life", *life)
            .flag("lease", *lease),
        Message::ReadTell { id, life, at } => kind("read-tell")
            .number("read", id.0)
            .number("life", *life)
            .maybe("at", at.ok().map(|at| at.0)),
        Message::RepairAsk { first, last } => {
            let object = id(kind("repair-ask"), "first", "first_term", *first);
            object.number("last", last.0)
        }
        Message::RepairTell { term, holding } => {
            self::holding(kind("repair-tell").number("term", term.0), holding)
        }
        Message::Vote { .. }
        | Message::VoteReply { .. }
        | Message::Append { .. }
        | Message::AppendReply { .. } => unreachable!("these are told above"),
    }
}

/// What a node knows of an entry that another cannot read.
fn holding(object: Object, holding: &Holding) -> Object {
    let of = |object: Object, word, first| {
        id(object.text("holding", word), "first", "first_term", first)
    };
    match holding {
        Holding::Has(entries) => {
            let object = id(
                object.text("holding", "has"),
                "prev",
                "prev_term",
                entries.prev,
            );
            configs(object.numbers("terms", terms(entries)), entries)
        }
        Holding::Lacks(first) => of(object, "lacks", *first),
        Holding::Unreadable(first) => of(object, "unreadable", *first),
    }
}

/// A message about a disk of the receiver.
fn of_disk(told: &Message) -> Object {
    match told {
        Message::Heard {
            disk,
            life,
            term,
            voted,
            durable,
        } => Object::new()
            .text("type", "heard")
            .number("term", term.0)
            .flag("voted", *voted)
            .number("durable", durable.0)
            .text("disk", &format!("{:x}", disk.0))
            .number("life", *life),
        Message::Disowned { disk } => {
            let object = Object::new().text("type", "disowned");
            object.text("disk", &format!("{:x}", disk.0))
        }
        _ => unreachable!("the others are told above"),
    }
}

/// A frame: a message of the core, or what a driver says to another.
pub fn frame(frame: &bytes::Bytes) -> Object {
    match header_of(frame) {
        Some(told) => message(&told),
        None => Object::new()
            .text("type", "driver")
            .number("kind", frame.first().copied().unwrap_or_default().into())
            .number("bytes", frame.len() as u64),
    }
}

/// An order to the log.
pub fn order(order: &LogOrder) -> Object {
    match order {
        LogOrder::Write(write) => {
            let object = Object::new()
                .text("type", "write")
                .number("write", write.id.0);
            hard(object, write.hard)
                .maybe("truncate", write.truncate_from.map(|index| index.0))
                .maybe("first", write.entries.first().map(|entry| entry.id.index.0))
                .numbers("terms", write.entries.iter().map(|entry| entry.id.term.0))
        }
        LogOrder::Repair {
            id: write,
            hard: state,
            entries,
            ..
        } => {
            let object = Object::new()
                .text("type", "repair")
                .number("write", write.0);
            hard(object, *state)
                .maybe("first", entries.first().map(|entry| entry.id.index.0))
                .numbers("terms", entries.iter().map(|entry| entry.id.term.0))
        }
        LogOrder::Reset {
            id: write,
            base,
            hard: state,
        } => {
            let object = Object::new().text("type", "reset").number("write", write.0);
            id(hard(object, *state), "base", "base_term", *base)
        }
        LogOrder::Release { .. } => Object::new().text("type", "release"),
        LogOrder::GiveRoom => Object::new().text("type", "give-room"),
    }
}

pub(crate) fn level(level: Option<ReadLevel>) -> &'static str {
    match level {
        Some(ReadLevel::Linearizable) => "linearizable",
        Some(ReadLevel::Lease) => "lease",
        Some(ReadLevel::Bounded { .. }) => "bounded",
        None => "local",
    }
}

fn snapshot(object: Object, meta: &SnapshotMeta) -> Object {
    id(object, "base", "base_term", meta.base).object("config", config(&meta.config))
}

/// What a node takes in. `sending`: of the frame, if it is one and has a number.
pub fn input<M: StateMachine>(input: &Input<M>, sending: Option<u64>) -> Object {
    let kind = |kind| Object::new().text("type", kind);
    match input {
        Input::Frame { from, frame } => kind("frame")
            .number("from", from.0)
            .maybe("sending", sending)
            .object("message", self::frame(frame)),
        Input::Propose { request, .. } => kind("propose").number("request", request.0),
        Input::Query { request, level, .. } => kind("query")
            .number("request", request.0)
            .text("level", self::level(*level)),
        Input::Transfer { request, to } => kind("transfer")
            .number("request", request.0)
            .maybe("to", to.map(|to| to.0)),
        Input::Met { peer, .. } => kind("met").number("peer", peer.0),
        Input::Reconfigure { request, change } => kind("reconfigure")
            .number("request", request.0)
            .object("target", config(&change.target)),
        Input::Link { peer, up } => kind("link").number("peer", peer.0).flag("up", *up),
        Input::LogDone { upto } => kind("log-done").number("write", upto.0),
        Input::LogSpace { short } => kind("log-space").flag("short", *short),
        Input::FileDone(done) => match done {
            FileDone::Taken(meta) => snapshot(kind("taken"), meta),
            FileDone::Loaded { meta, .. } => snapshot(kind("loaded"), meta),
            _ => kind("file-done"),
        },
    }
}
