//! How calls of the core look in a trace: what it was asked, what it wants done, how it is then.
//! Never tells what a specification could not check: docs/trace.md names all of it.
//!
//! # Source
//! `crate::calls`; Raft paper, Figure 2, for the words.

use alloc::format;
use alloc::vec::Vec;

use headwater_raft::{Effect, Input, LogChange, LogId, Message, NodeId, Raft, Write, WriteId};

use crate::calls::{Call, Taken};
use crate::telling::{self, Object};

fn kind(kind: &str) -> Object {
    Object::new().text("type", kind)
}

/// A call of the core. `sending`: of the frame that caused it.
pub fn taken(object: Object, taken: &Taken, sending: Option<u64>) -> Object {
    object
        .object("call", call(&taken.call, sending))
        .objects("effects", taken.effects.iter().filter_map(effect))
        .object("state", state(&taken.after))
}

/// Whether a call is worth a line: turns end all the time, and mostly nothing is left to do.
pub fn is_worth_a_line(taken: &Taken) -> bool {
    taken.call != Call::EndTurn || !taken.effects.is_empty()
}

fn call(call: &Call, sending: Option<u64>) -> Object {
    match call {
        Call::Step(Input::Deadline) => kind("deadline"),
        Call::Step(Input::Receive { from, message }) => kind("receive")
            .number("from", from.0)
            .maybe("sending", sending)
            .object("message", telling::message(message)),
        Call::Step(Input::Persisted { upto }) => kind("persisted").number("write", upto.0),
        Call::Step(Input::Compacted { base }) => {
            telling::id(kind("compacted"), "base", "base_term", *base)
        }
        Call::Step(Input::Installed { base, config }) => {
            telling::id(kind("installed"), "base", "base_term", *base)
                .object("config", telling::config(config))
        }
        Call::Step(Input::Met { peer, disk, life }) => kind("met")
            .number("peer", peer.0)
            .text("disk", &format!("{:x}", disk.0))
            .number("life", *life),
        Call::Step(Input::Link { peer, up }) => kind("link").number("peer", peer.0).flag("up", *up),
        Call::Propose(count) => kind("propose").number("count", *count),
        Call::Reconfigure(target) => kind("reconfigure").object("target", telling::config(target)),
        Call::Transfer(to) => kind("transfer").number("to", to.0),
        Call::Read(id, level) => kind("read")
            .number("read", id.0)
            .text("level", telling::level(Some(*level))),
        Call::Sent(to, message) => kind("sent")
            .number("to", to.0)
            .object("message", telling::message(message)),
        Call::EndTurn => kind("end-turn"),
    }
}

/// An effect; none for what is to be read off the state.
fn effect(effect: &Effect) -> Option<Object> {
    Some(match effect {
        Effect::Send { to, message } => kind("send")
            .number("to", to.0)
            .object("message", telling::message(message)),
        Effect::Persist(write) => persist(write),
        Effect::Read { id, result } => kind("read")
            .number("read", id.0)
            .maybe("at", result.ok().map(|at| at.0)),
        Effect::Install { from, base } => telling::id(
            kind("install").number("from", from.0),
            "base",
            "base_term",
            *base,
        ),
        Effect::Transferred { to, result } => kind("transferred")
            .number("to", to.0)
            .flag("ok", result.is_ok()),
        Effect::Disowned { by } => kind("disowned").number("by", by.0),
        Effect::Refused { from, .. } => kind("refused").number("from", from.0),
        Effect::Halt { .. } => kind("halt"),
        Effect::Commit { .. } | Effect::Config { .. } | Effect::Role { .. } => return None,
    })
}

fn persist(write: &Write) -> Object {
    let object = kind("persist").number("write", write.id.0);
    let object = telling::hard(object, write.hard);
    match &write.log {
        LogChange::Same => object.text("change", "same"),
        LogChange::Reset(base) => {
            telling::id(object.text("change", "reset"), "base", "base_term", *base)
        }
        LogChange::Repair(entries) => {
            let object = object
                .text("change", "repair")
                .number("first", entries.first().0)
                .numbers("terms", telling::terms(entries));
            telling::configs(object, entries)
        }
        LogChange::Append {
            entries, replaces, ..
        } => {
            let change = if *replaces { "replace" } else { "append" };
            let object = object
                .text("change", change)
                .number("first", entries.first().0)
                .numbers("terms", telling::terms(entries));
            telling::configs(object, entries)
        }
    }
}

fn sent(to: NodeId, message: &Message) -> Object {
    let object = Object::new().number("to", to.0);
    object.object("message", telling::message(message))
}

/// The core as it stands: Figure 2, and what a leader knows of its followers.
fn state(raft: &Raft) -> Object {
    let object = Object::new().text("role", raft.role().as_str());
    let object = telling::hard(object, raft.hard_state())
        .number("leader", raft.leader().map_or(0, |leader| leader.0));
    let object = telling::id(object, "last", "last_term", raft.last());
    telling::id(object, "base", "base_term", raft.base())
        .number("durable", raft.durable().0)
        .number("commit", raft.commit().0)
        .number("verified", raft.verified().0)
        .number("transfer", raft.transferring().map_or(0, |(to, _)| to.0))
        .flag("urged", raft.transferring().is_some_and(|(_, urged)| urged))
        .object("config", telling::config(raft.config()))
        .objects("met", raft.disks_met().map(|met| telling::disk_of(&met)))
        .objects("waiting", raft.waiting().map(|(to, m)| sent(to, m)))
        .objects("peers", peers(raft))
}

fn peers(raft: &Raft) -> impl Iterator<Item = Object> {
    let leads = raft.leader() == Some(raft.me());
    let ids = if leads { raft.peers() } else { Vec::new() };
    ids.into_iter().filter_map(|id| peer(raft, id))
}

fn peer(raft: &Raft, id: NodeId) -> Option<Object> {
    let peer = raft.following(id)?;
    Some(
        Object::new()
            .number("peer", id.0)
            .number("matched", peer.matched.0)
            .number("next", peer.next.0)
            .flag("probing", peer.is_probing)
            .numbers("flight", peer.in_flight.iter().map(|end| end.0))
            .number("commit_sent", peer.commit_sent.0)
            .number("round", peer.round)
            .flag("caught_up", peer.has_caught_up),
    )
}

/// What a node has found when it starts, beside its core.
#[derive(Debug)]
pub struct Start {
    /// The life that begins, unlike any other of this node.
    pub life: u64,
    /// The last write found.
    pub write: WriteId,
    /// Whether leases are on.
    pub leases: bool,
    /// The last entry that its newest snapshot covers.
    pub snapshot: LogId,
}

/// The start of a node with this core.
pub fn start(object: Object, start: &Start, raft: &Raft) -> Object {
    let object = object
        .number("life", start.life)
        .number("write", start.write.0)
        .flag("leases", start.leases);
    telling::id(object, "snapshot", "snapshot_term", start.snapshot).object("core", found(raft))
}

/// The core as it has just been found on its disk.
fn found(raft: &Raft) -> Object {
    let (base, last) = (raft.base().index, raft.last().index);
    let log = raft.entries(base.next(), last);
    let object = Object::new().numbers("terms", telling::terms(&log));
    let disk = raft.disk().map_or(0, |disk| disk.0);
    let unreadable = raft.unreadable().map(|index| index.0);
    let configs = raft.unreadable_configs().map(|index| index.0);
    let first = raft.config_at(base).cloned().unwrap_or_default();
    telling::configs(object, &log)
        .object("base_config", telling::config(&first))
        .text("disk", &format!("{disk:x}"))
        .numbers("unreadable", unreadable)
        .numbers("unreadable_configs", configs)
        .object("state", state(raft))
}
