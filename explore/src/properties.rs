//! What must hold in every state, and what must happen in some: an empty model proves nothing.
//! Never computes: the witness has judged already.
//!
//! # Source
//! Raft paper, Figures 3 and 8.

use std::sync::atomic::Ordering::Relaxed;

use stateright::Property;

use crate::bounds::Bounds;
use crate::model::{Cluster, State};
use crate::witness::Broken;

fn holds(state: &State, what: Broken) -> bool {
    state
        .witness
        .broken
        .as_ref()
        .is_none_or(|(broken, _)| *broken != what)
}

/// The properties for these bounds: what cannot happen within them is not asked for.
pub fn all(bounds: &Bounds) -> Vec<Property<Cluster>> {
    use Broken::*;
    let mut all: Vec<Property<Cluster>> = vec![
        Property::always("Sound", |m: &Cluster, s: &State| {
            // Evaluated once a state, so it takes note of them, too.
            m.see(s);
            holds(s, Sound)
        }),
        Property::always("Election Safety", |_, s| holds(s, ElectionSafety)),
        Property::always("Log Matching", |_, s| holds(s, LogMatching)),
        Property::always("Leader Completeness", |_, s| holds(s, LeaderCompleteness)),
        Property::always("State Machine Safety", |_, s| holds(s, StateMachineSafety)),
        Property::always("Durable Quorum", |_, s| holds(s, DurableQuorum)),
        Property::always("True Match", |_, s| holds(s, TrueMatch)),
        Property::always("One Vote", |_, s| holds(s, OneVote)),
        Property::always("Safe to Send", |_, s| holds(s, SafeToSend)),
        Property::always("Linearizable Reads", |_, s| holds(s, LinearizableReads)),
        Property::sometimes("a leader is elected", |_, s: &State| {
            !s.witness.leaders.is_empty()
        }),
    ];
    if !bounds.ends_when_led {
        all.push(Property::sometimes(
            "an entry is committed",
            |_, s: &State| !s.witness.committed.is_empty(),
        ));
    }
    let is_alone = bounds.logs[1..].iter().all(|log| log.is_empty());
    if !bounds.lost[0].is_empty() && is_alone {
        all.push(Property::sometimes(
            "what cannot be read is cut off",
            |m: &Cluster, _| m.seen.truncations.load(Relaxed) > 0,
        ));
    }
    if bounds.terms > 1 && bounds.campaigns > 1 {
        all.push(Property::sometimes(
            "two nodes lead, one after the other",
            |_, s: &State| {
                let mut leaders = s.witness.leaders.iter().filter(|one| **one > 0);
                leaders
                    .next()
                    .is_some_and(|first| leaders.any(|one| one != first))
            },
        ));
        all.push(Property::sometimes("a log is cut", |m: &Cluster, _| {
            m.seen.truncations.load(Relaxed) > 0
        }));
        all.push(Property::sometimes(
            "an entry of an older term is committed",
            |_, s: &State| {
                let mut committed = s.witness.committed.iter();
                committed.any(|entry| entry.term < entry.in_term)
            },
        ));
    }
    if bounds.crashes > 0 && bounds.writes > 0 {
        all.push(Property::sometimes(
            "a crash loses a write",
            |m: &Cluster, _| m.seen.losses.load(Relaxed) > 0,
        ));
    }
    if bounds.reads > 0 {
        all.push(Property::sometimes(
            "a read is answered",
            |m: &Cluster, _| m.seen.answers.load(Relaxed) > 0,
        ));
    }
    all
}
