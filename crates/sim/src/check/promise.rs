//! What a frame promises must be durable where it comes from, at the moment it leaves.
//! Never judges what a message asks for, only what it vouches for.
//!
//! # Source
//! Raft paper, Figure 2 ("updated on stable storage before responding to RPCs"); rules R1 and R4.

use headwater_raft::{AppendResult, Index, Message, NodeId};

use super::{Violation, ensure};
use crate::application::Application;
use crate::image::LogImage;
use crate::node::Node;

/// Looks at a message that leaves `node` for `to`.
pub(crate) fn check<A: Application>(
    node: &Node<A>,
    to: NodeId,
    message: &Message,
) -> Result<(), Violation> {
    let durable = &node.durable;
    match *message {
        // A pre-vote is about a term that nobody is in.
        Message::Vote { pre: true, .. } | Message::VoteReply { pre: true, .. } => Ok(()),
        Message::RepairAsk { .. }
        | Message::ReadAsk { .. }
        | Message::ReadTell { .. }
        | Message::Heard { .. }
        | Message::Disowned { .. } => Ok(()),
        Message::Vote { term, .. } => {
            let (has, me) = (durable.hard, node.id);
            ensure(
                has.term == term && has.voted_for == Some(me),
                "promise",
                || format!("{me:?} asks for votes in {term:?} with {has:?} on disk"),
            )
        }
        Message::VoteReply {
            term,
            granted: true,
            ..
        } => {
            let has = durable.hard;
            ensure(
                has.term == term && has.voted_for == Some(to),
                "promise",
                || {
                    format!(
                        "{:?} votes for {to:?} in {term:?} with {has:?} on disk",
                        node.id
                    )
                },
            )
        }
        Message::AppendReply {
            term,
            result: AppendResult::Durable(upto),
        } => {
            check_term(node, term)?;
            let current = node.live.as_ref().map(|live| &live.told_image);
            let agrees = |log: &LogImage| durable.term_at(upto) == log.term_at(upto);
            let covered = upto <= node.snapshot.index;
            check_readable(node, upto)?;
            ensure(covered || current.is_some_and(agrees), "promise", || {
                format!(
                    "{:?} acknowledges {upto:?} with {} on disk",
                    node.id,
                    durable.last()
                )
            })
        }
        Message::VoteReply { term, .. }
        | Message::Append { term, .. }
        | Message::AppendReply { term, .. }
        | Message::Beat { term, .. }
        | Message::BeatReply { term, .. }
        | Message::Commit { term, .. }
        | Message::Rest { term, .. }
        | Message::TimeoutNow { term }
        | Message::RepairTell { term, .. }
        | Message::Snapshot { term, .. } => check_term(node, term),
    }
}

/// What is acknowledged can be read, in the log or in a snapshot.
fn check_readable<A: Application>(node: &Node<A>, upto: Index) -> Result<(), Violation> {
    let unreadable = &node.durable.unreadable;
    let lost = unreadable.range(node.snapshot.index.next()..).next();
    let readable = lost.is_none_or(|&lost| lost > upto);
    ensure(readable, "promise", || {
        format!("{:?} acknowledges {upto:?}, which it cannot read", node.id)
    })
}

fn check_term<A: Application>(node: &Node<A>, term: headwater_raft::Term) -> Result<(), Violation> {
    let (has, snapshot) = (node.durable.hard, node.snapshot);
    // A snapshot vouches for the term it ends in.
    ensure(has.term.max(snapshot.term) >= term, "promise", || {
        format!("{:?} speaks in {term:?} with {has:?} on disk", node.id)
    })
}
