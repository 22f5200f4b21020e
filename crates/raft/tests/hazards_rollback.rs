//! Disks that were set back to an older image keep their incarnation, and are found out by what
//! others have heard (rule R13).
//!
//! # Source
//! Viewstamped Replication Revisited, §4.3.

mod common;

use common::solo::*;
use common::*;

/// The disk that every node here has.
const DISK: Incarnation = Incarnation(7);

fn meet(solo: &mut Solo, peer: u64, life: u64) -> Vec<Message> {
    let (peer, disk) = (n(peer), DISK);
    told(&solo.step(Input::Met { peer, disk, life }))
}

/// What is told of earlier lives.
fn told(fx: &[Effect]) -> Vec<Message> {
    let message = |effect: &Effect| match effect {
        Effect::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    let sent = fx.iter().filter_map(message);
    sent.filter(|message| matches!(message, Message::Heard { .. }))
        .collect()
}

fn heard(life: u64, term: u64, voted: bool, durable: u64) -> Message {
    Message::Heard {
        disk: DISK,
        life,
        term: Term(term),
        voted,
        durable: Index(durable),
    }
}

#[test]
fn another_life_is_told_the_furthest_that_an_earlier_one_said() {
    let said = [
        (durable(2, 2), heard(1, 2, false, 2)),
        (conflict(2, 2, id(0, 0)), heard(1, 2, false, 0)),
        (beat_reply(2, 0), heard(1, 2, false, 0)),
        (vote_reply(Term(2), false, true), heard(1, 2, true, 0)),
    ];
    for (word, told) in said {
        let mut solo = Solo::leading(3, 1, &[1]);
        assert_eq!(meet(&mut solo, 2, 1), []);
        solo.hear(2, word);
        assert_eq!(meet(&mut solo, 2, 1), [], "this life knows it");
        assert_eq!(meet(&mut solo, 2, 2), std::slice::from_ref(&told));
        // What is said later and is less takes nothing back.
        solo.hear(2, beat_reply(1, 0));
        assert_eq!(meet(&mut solo, 2, 3), [told]);
    }
    // What a leader's own disk holds counts too: it may have been one of the majority.
    let mut solo = Solo::new(3, 1, &[1]);
    meet(&mut solo, 2, 1);
    solo.hear(2, commit(4, 1));
    assert_eq!(meet(&mut solo, 2, 2), [heard(1, 4, true, 1)]);
    // A pre-vote is about a term that nobody is in.
    let mut solo = Solo::new(3, 1, &[1]);
    meet(&mut solo, 3, 1);
    solo.hear(3, vote_reply(Term(9), true, true));
    assert_eq!(meet(&mut solo, 3, 2), []);
}

#[test]
fn of_another_disk_nothing_is_told() {
    let mut solo = Solo::leading(3, 1, &[1]);
    meet(&mut solo, 2, 1);
    solo.hear(2, durable(2, 2));
    let (peer, disk, life) = (n(2), Incarnation(8), 2);
    assert_eq!(told(&solo.step(Input::Met { peer, disk, life })), []);
}

/// A node of life 5 that began in term 3 with a log of two entries.
fn began() -> Solo {
    Solo::recovered(life(5), disk_of((3, None), &[1, 3], &[]))
}

#[test]
fn a_life_that_began_with_less_than_an_earlier_one_said_takes_no_part() {
    for (life, term, voted, durable, is_set_back) in [
        (4, 3, false, 2, false),
        (4, 2, true, 9, false),
        (4, 3, false, 3, true),
        (4, 3, true, 0, true),
        (4, 4, false, 0, true),
        // What this life has said it knows itself.
        (5, 9, true, 9, false),
    ] {
        let mut solo = began();
        let fx = solo.hear(2, heard(life, term, voted, durable));
        let halts = fx
            .iter()
            .any(|effect| matches!(effect, Effect::Halt { .. }));
        assert_eq!(halts, is_set_back, "{life} {term} {durable}: {fx:?}");
        assert_eq!(solo.raft.is_halted(), is_set_back);
        let never = solo.raft.next_deadline() == Instant::NEVER;
        assert_eq!(never, is_set_back, "what has halted waits for nothing");
    }
}

#[test]
fn what_another_disk_had_said_does_not_bind_this_one() {
    let mut solo = began();
    let disk = Incarnation(6);
    let (life, term, durable) = (4, Term(9), Index(9));
    solo.hear(
        2,
        Message::Heard {
            disk,
            life,
            term,
            voted: false,
            durable,
        },
    );
    assert!(!solo.raft.is_halted());
}

/// Three nodes that know each other's disks, led by node 1, with some entries.
fn cluster() -> Cluster {
    let mut c = Cluster::new(3);
    c.tells_disks = true;
    for at in c.ids() {
        c.crash(at, 0);
        c.restart(at);
    }
    c.elect(1);
    c.propose(1, 3).expect("it leads");
    c.settle();
    c
}

#[test]
fn a_follower_that_was_set_back_is_found_out_and_the_others_go_on() {
    let mut c = cluster();
    let image = c.node(3).disk.clone();
    c.propose(1, 1).expect("it leads");
    c.settle();
    c.crash(3, 0);
    c.set_back(3, image);
    c.restart(3);
    c.settle();
    assert!(c.raft(3).is_halted());
    let before = c.raft(1).commit();
    c.propose(1, 1).expect("it leads");
    c.settle();
    assert!(c.raft(1).commit() > before);
}

#[test]
fn a_leader_that_was_set_back_within_its_term_is_found_out() {
    let mut c = cluster();
    let image = c.node(1).disk.clone();
    assert_eq!(image.safe.hard.term, c.raft(1).term());
    c.propose(1, 1).expect("it leads");
    c.settle();
    c.crash(1, 0);
    c.set_back(1, image);
    c.restart(1);
    c.settle();
    assert!(c.raft(1).is_halted());
}

#[test]
fn a_disk_that_lost_only_what_it_never_said_takes_part() {
    let mut c = cluster();
    c.hung.insert(n(3));
    c.propose(1, 2).expect("it leads");
    c.settle();
    c.crash(3, 0);
    c.hung.remove(&n(3));
    c.restart(3);
    c.settle();
    c.live(2000 * MS);
    assert!(!c.raft(3).is_halted());
    assert_eq!(c.raft(3).commit(), c.raft(1).commit());
}

#[test]
fn a_vote_that_was_forgotten_is_found_out() {
    let mut two = Solo::new(3, 4, &[1]);
    meet(&mut two, 2, 4);
    two.stand();
    two.hear(2, vote_reply(Term(5), false, true));
    let told = meet(&mut two, 2, 5);
    assert_eq!(told, [heard(4, 5, true, 0)]);
    let mut one = Solo::recovered(life(5), disk_of((5, None), &[1], &[]));
    one.hear(2, told[0].clone());
    assert!(one.raft.is_halted());
}

#[test]
fn the_disk_of_a_member_is_remembered_whatever_is_put_in_its_place() {
    let disk = disk_of((1, None), &[1], &[(2, DISK)]);
    let mut solo = Solo::recovered(life(1), disk).elected();
    meet(&mut solo, 2, 1);
    solo.hear(2, durable(2, 2));
    let (peer, disk, life) = (n(2), Incarnation(8), 2);
    assert_eq!(told(&solo.step(Input::Met { peer, disk, life })), []);
    assert_eq!(meet(&mut solo, 2, 3), [heard(1, 2, false, 2)]);
}

#[test]
fn a_disk_met_before_it_became_the_members_is_remembered() {
    let disk = disk_of((1, None), &[1], &[(2, Incarnation(6))]);
    let config = disk.config.clone().with_disks([(n(2), DISK)]);
    let mut solo = Solo::recovered(life(1), disk);
    meet(&mut solo, 2, 1);
    solo.hear(2, vote_reply(Term(1), false, true));
    assert_eq!(meet(&mut solo, 2, 2), [], "it was nobody's word");
    let mut appended = append(1, id(1, 1), &[1], 2);
    if let Message::Append { entries, .. } = &mut appended {
        entries.configs.push((Index(2), config));
    }
    solo.hear(3, appended);
    solo.hear(2, vote_reply(Term(1), false, true));
    assert_eq!(meet(&mut solo, 2, 3), [heard(2, 1, true, 0)]);
}

#[test]
fn a_disk_set_back_hears_who_was_added_again_since() {
    let mut solo = Solo::recovered(life(5), disk_of((3, None), &[1, 3], &[(2, DISK)]));
    let (peer, disk, life) = (n(2), Incarnation(22), 1);
    solo.step(Input::Met { peer, disk, life });
    solo.hear(2, heard(4, 9, false, 9));
    assert!(solo.raft.is_halted());
}

#[test]
fn what_one_disk_of_a_member_said_is_not_told_to_another() {
    let disk = disk_of((1, None), &[1], &[(2, DISK)]);
    let mut solo = Solo::recovered(life(1), disk);
    meet(&mut solo, 2, 1);
    solo.hear(2, conflict(1, 1, id(0, 0)));
    // Another disk is put in its place by mistake, and the member removed and added for it.
    let (peer, disk, life) = (n(2), Incarnation(8), 2);
    solo.step(Input::Met { peer, disk, life });
    let mut change = entries(id(1, 1), &[2, 2]);
    for (at, ids) in [(2, &[1, 3][..]), (3, &[1, 2, 3])] {
        let config = Config::of_voters(ids.iter().map(|&id| n(id)));
        change.configs.push((Index(at), config));
    }
    let (term, commit, entries) = (Term(2), Index(0), change);
    solo.answer(
        3,
        Message::Append {
            term,
            entries,
            commit,
        },
    );
    assert_eq!(solo.raft.config().disk_of(n(2)), None);
    solo.now = solo.now.after(10_000 * MS);
    solo.answer(2, vote(3, id(2, 3)));
    // That comes to nothing, and the member's own disk is back.
    solo.answer(3, append(4, id(1, 1), &[4], 0));
    assert_eq!(solo.raft.config().disk_of(n(2)), Some(DISK));
    assert_eq!(meet(&mut solo, 2, 3), [heard(1, 1, false, 0)]);
}

/// A disk of this node with this term and vote, whose members have these disks.
fn disk_of(
    (term, vote): (u64, Option<u64>),
    log: &[u64],
    named: &[(u64, Incarnation)],
) -> Recovered {
    let disks = named.iter().map(|&(id, disk)| (n(id), disk));
    Recovered {
        me: n(1),
        hard: HardState {
            term: Term(term),
            voted_for: vote.map(NodeId),
        },
        log: entries(LogId::default(), log),
        applied: LogId::default(),
        config: Config::of_voters([n(1), n(2), n(3)]).with_disks(disks),
        disk: Some(DISK),
        unreadable: Vec::new(),
        commit_hint: Index(0),
        next_write: WriteId(1),
    }
}

fn life(life: u64) -> Options {
    Options {
        life,
        ..Options::default()
    }
}
