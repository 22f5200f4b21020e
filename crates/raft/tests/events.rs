//! What a step did, in events.
//!
//! # Source
//! Raft paper, Figure 2.

mod common;

use common::solo::*;
use common::*;
use event::{Event, between};

/// The events of what `act` does to a node.
fn events_of(solo: &mut Solo, act: impl FnOnce(&mut Solo)) -> Vec<Event> {
    let before = solo.raft.view();
    act(solo);
    let after = solo.raft.view();
    let events = between(&before, &after);
    let mut view = before;
    events.iter().for_each(|event| view.apply(event));
    assert_eq!(view, after, "the events leave something unsaid");
    events
}

#[test]
fn an_election_is_told_from_the_candidacy_to_the_first_entry() {
    let mut solo = Solo::new(3, 1, &[1]);
    let events = events_of(&mut solo, |solo| {
        solo.deadline();
    });
    assert_eq!(events, [Event::Role(RoleName::PreCandidate)]);
    let events = events_of(&mut solo, |solo| {
        solo.hear(2, vote_reply(Term(2), true, true));
    });
    let candidate = Event::Role(RoleName::Candidate);
    assert_eq!(events, [Event::Term(Term(2)), Event::Vote(n(1)), candidate]);
    solo.persist();
    let events = events_of(&mut solo, |solo| {
        solo.hear(2, vote_reply(Term(2), false, true));
    });
    let first = Event::Append(entries(id(1, 1), &[2]));
    let leads = [
        Event::Role(RoleName::Leader),
        Event::Leader(Some(n(1))),
        first,
        Event::Match(n(2), Index(0)),
        Event::Match(n(3), Index(0)),
    ];
    assert_eq!(events, leads);
}

#[test]
fn what_replaces_entries_is_told_as_a_truncation_and_an_append() {
    let mut solo = Solo::new(3, 2, &[1, 1, 2]);
    solo.hear(3, beat(3, 0, 0));
    let events = events_of(&mut solo, |solo| {
        solo.hear(3, append(3, id(1, 2), &[3, 3], 3));
    });
    let replaced = [
        Event::Truncate(Index(3)),
        Event::Append(entries(id(1, 2), &[3, 3])),
        Event::Durable(Index(2)),
        Event::Commit(Index(3)),
    ];
    assert_eq!(events, replaced);
    let events = events_of(&mut solo, |solo| {
        solo.persist();
    });
    assert_eq!(events, [Event::Durable(Index(4))]);
}

#[test]
fn forgetting_and_starting_anew_are_two_different_things() {
    let mut solo = Solo::new(3, 1, &[1, 1, 1]);
    solo.hear(2, append(1, id(1, 3), &[], 3));
    let base = id(1, 2);
    let events = events_of(&mut solo, |solo| {
        solo.step(Input::Compacted { base });
    });
    assert_eq!(events, [Event::Compact(base)]);
    let base = id(1, 9);
    let events = events_of(&mut solo, |solo| {
        let config = solo.raft.config().clone();
        solo.step(Input::Installed { base, config });
    });
    let anew = [
        Event::Reset(base),
        Event::Durable(Index(9)),
        Event::Commit(Index(9)),
    ];
    assert_eq!(events, anew);
}

#[test]
fn a_step_that_does_nothing_has_no_events() {
    let mut solo = Solo::new(3, 1, &[1]);
    assert_eq!(events_of(&mut solo, |_| ()), []);
}
