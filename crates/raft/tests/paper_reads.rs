//! The dissertation's §6.4 and §6.4.1, sentence by sentence, in this core's words.
//!
//! Steps 4 and 5 of §6.4 (wait until the read index is applied, then ask the state machine) live
//! with the driver: `Effect::Read` names the index.
//!
//! # Source
//! Dissertation §6.4 (processing read-only queries more efficiently), §6.4.1 (using clocks to
//! reduce messaging).

mod common;

use common::*;

const LINEARIZABLE: ReadLevel = ReadLevel::Linearizable;
const ELECTION_NS: u64 = 1000 * MS;

/// With a drift bound of a tenth.
fn with_leases() -> Options {
    Options {
        lease_drift_ppm: Some(100_000),
        ..Options::default()
    }
}

fn new(options: Options) -> Cluster {
    let disks = (0..3).map(|_| disk::Disk::holding(0, &[])).collect();
    Cluster::with_options(options, disks)
}

/// Three nodes, of which node 1 leads, with a lease.
fn leased() -> Cluster {
    let mut c = new(with_leases());
    c.elect(1);
    c.deadline(1);
    c.settle();
    let at = c.read_as(1, ReadLevel::Lease);
    assert_eq!(c.answer(1, at), Some(Ok(Index(1))));
    c
}

fn read_now(c: &mut Cluster, level: ReadLevel) -> Option<Result<Index, ReadLost>> {
    let id = c.read_as(1, level);
    c.answer(1, id)
}

fn sends_beat(effect: &Effect) -> bool {
    let Effect::Send { message, .. } = effect else {
        return false;
    };
    matches!(message, Message::Beat { .. })
}

// §6.4.

#[test]
fn at_the_start_of_its_term_a_leader_does_not_know_what_is_committed_and_commits_an_empty_entry() {
    // All hold index 2 and it is committed, but the new leader cannot tell.
    let mut c = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1, 1])]);
    c.pulls = false;
    c.elect(1);
    assert_eq!((c.raft(1).commit(), c.raft(1).last()), (Index(0), id(2, 3)));
    let first = c.seen.iter().find_map(|(at, effect)| match effect {
        Effect::Persist(write) if *at == n(1) => write.append().map(|_| write.is_internal()),
        _ => None,
    });
    assert_eq!(first, Some(true));
}

#[test]
fn step_1_a_leader_that_has_committed_nothing_of_its_term_waits_until_it_has() {
    let mut c = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1, 1])]);
    c.pulls = false;
    c.elect(1);
    let early = c.read(1);
    c.pull_all(1);
    c.settle_but(|from, _, m| from != 1 && matches!(m, Message::AppendReply { .. }));
    assert_eq!(c.answer(1, early), None);
    c.pulls = true;
    for _ in 0..12 {
        c.deadline(1);
        c.settle();
    }
    assert_eq!(c.answer(1, early), Some(Ok(Index(3))));
}

#[test]
fn once_that_entry_is_committed_the_leader_knows_at_least_as_much_as_any_other() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 3).expect("leads");
    c.settle();
    c.isolate(1);
    c.elect(2);
    assert_eq!(c.raft(2).commit(), Index(5));
    assert!(c.ids().iter().all(|&at| c.raft(at).commit() <= Index(5)));
}

#[test]
fn step_2_the_read_index_is_the_commit_index_of_when_the_round_was_sent() {
    let mut c = Cluster::new(3);
    c.elect(1);
    let read = c.read(1);
    let answers: Vec<_> = [2, 3].into_iter().map(|at| (at, c.take(1, at))).collect();
    c.propose(1, 2).expect("leads");
    c.settle();
    assert_eq!((c.raft(1).commit(), c.answer(1, read)), (Index(3), None));
    for (at, beat) in answers {
        c.receive(1, at, beat.expect("a heartbeat"));
    }
    c.settle();
    assert_eq!(c.answer(1, read), Some(Ok(Index(1))));
}

#[test]
fn step_3_a_new_round_of_heartbeats_is_sent_and_a_majority_must_acknowledge_it() {
    let mut c = Cluster::new(5);
    c.elect(1);
    let from = c.seen.len();
    let read = c.read(1);
    let sent = c.seen[from..].iter().filter(|(_, fx)| sends_beat(fx));
    assert_eq!(sent.count(), 4);
    for (at, answer) in [(2, None), (3, Some(Ok(Index(1))))] {
        c.deliver(1, at);
        c.deliver(at, 1);
        assert_eq!(c.answer(1, read), answer, "the leader and {at}");
    }
}

#[test]
fn step_3_acknowledgements_of_heartbeats_sent_before_the_read_say_nothing() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.deadline(1);
    let read = c.read(1);
    for at in [2, 3] {
        c.deliver(1, at);
        c.deliver(at, 1);
    }
    assert_eq!(c.answer(1, read), None);
    c.settle();
    assert_eq!(c.answer(1, read), Some(Ok(Index(1))));
}

#[test]
fn a_leader_that_was_replaced_unawares_answers_nothing() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.isolate(1);
    c.elect(2);
    let read = c.read(1);
    c.settle();
    assert_eq!(c.answer(1, read), None);
}

#[test]
fn one_round_serves_any_number_of_queries_that_have_gathered() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.pulls = false;
    let reads: Vec<_> = (0..1000).map(|_| c.read(1)).collect();
    let from = c.seen.len();
    c.pulls = true;
    c.pull_all(1);
    c.settle();
    let sent = c.seen[from..].iter().filter(|(_, fx)| sends_beat(fx));
    assert_eq!(sent.count(), 2);
    let all = |&id: &ReadId| c.answer(1, id) == Some(Ok(Index(1)));
    assert!(reads.iter().all(all));
}

#[test]
fn a_follower_asks_the_leader_for_a_read_index_and_serves_its_queries_itself() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 2).expect("leads");
    c.settle();
    let read = c.read(3);
    assert!(matches!(c.on_wire(3, 1)[..], [Message::ReadAsk { .. }]));
    c.deliver(3, 1);
    let beats = c.on_wire(1, 2);
    assert!(matches!(beats[..], [Message::Beat { round: 1, .. }]));
    c.settle();
    assert_eq!(c.answer(3, read), Some(Ok(Index(3))));
}

// §6.4.1.

#[test]
fn the_normal_heartbeats_are_the_lease() {
    let mut c = leased();
    // Nobody reads, and yet there is a lease at any time.
    for _ in 0..50 {
        c.live(99 * MS);
        assert_eq!(read_now(&mut c, ReadLevel::Lease), Some(Ok(Index(1))));
    }
}

#[test]
fn once_a_majority_has_acknowledged_heartbeats_the_leader_answers_without_messages() {
    let mut c = new(with_leases());
    c.elect(1);
    c.deadline(1);
    assert_eq!(read_now(&mut c, ReadLevel::Lease), None);
    c.settle();
    let from = c.seen.len();
    assert_eq!(read_now(&mut c, ReadLevel::Lease), Some(Ok(Index(1))));
    assert!(!c.saw(from, 1, |fx| matches!(fx, Effect::Send { .. })));
}

#[test]
fn figure_6_3_the_lease_runs_from_the_start_of_the_round_for_an_election_timeout_less_the_drift() {
    let mut c = new(with_leases());
    c.elect(1);
    c.deadline(1);
    let start = c.now;
    c.advance(70 * MS);
    c.settle();
    let until = start.after(ELECTION_NS * 9 / 10);
    assert_eq!(c.raft(1).lease_until(), Some(until));
    c.now = Instant(until.0 - 1);
    assert_eq!(read_now(&mut c, ReadLevel::Lease), Some(Ok(Index(1))));
    c.now = until;
    assert_eq!(read_now(&mut c, ReadLevel::Lease), None);
}

#[test]
fn during_the_lease_nobody_else_becomes_leader_though_all_want_to() {
    let mut c = leased();
    let until = c.raft(1).lease_until().expect("a lease");
    c.isolate(1);
    for at in [2, 3] {
        let (peer, up) = (n(1), false);
        c.step(at, Input::Link { peer, up });
    }
    while c.leader() == Some(1) {
        let next = [2, 3].into_iter().min_by_key(|&at| c.due(at));
        c.deadline(next.expect("two nodes"));
        c.settle();
    }
    assert!(c.now >= until, "elected at {:?}", c.now);
    // And then it is quick, since the connection had told them.
    assert!(c.now < until.after(ELECTION_NS / 5), "{:?}", c.now);
}

#[test]
fn a_leader_lets_its_lease_expire_before_it_transfers_leadership() {
    let mut c = leased();
    c.void_lease(1);
    assert_eq!(c.raft(1).lease_until(), None);
    assert_eq!(read_now(&mut c, ReadLevel::Lease), None);
    c.live(ELECTION_NS);
    assert_eq!(
        read_now(&mut c, ReadLevel::Lease),
        None,
        "nor later in the term"
    );
    let other = read_now(&mut c, LINEARIZABLE);
    c.settle();
    assert_eq!(other, None, "ordinary reads go on, with a round");
}

#[test]
fn the_drift_bound_compares_clocks_and_the_slowest_leader_is_still_safe() {
    let mut c = leased();
    // The leader's clock runs as slow as may be from now on; the voters' do not.
    let shown = c.now_at(1);
    c.node_mut(1).clock.rate_ppm = 900_000;
    let behind = shown.since(c.now_at(1));
    c.node_mut(1).clock.ahead_ns = behind;
    c.deadline(1);
    let start = c.now;
    c.settle();
    let until = c.raft(1).lease_until().expect("a lease");
    let end = c.node(1).clock.moment_of(until);
    let voters = start.after(ELECTION_NS);
    assert!(end <= voters.after(2), "{end:?} is later than {voters:?}");
}

#[test]
fn even_if_clocks_misbehave_the_bounded_reads_of_a_node_never_go_back() {
    // They trust no other node's clock: here the leader's stands still, and it keeps its lease.
    let mut c = leased();
    c.node_mut(1).clock.rate_ppm = 1;
    let within = ReadLevel::Bounded {
        max_lag_ns: u64::MAX,
    };
    let mut last = Index(0);
    for round in 0..20 {
        let level = [within, ReadLevel::Lease, LINEARIZABLE][round % 3];
        let read = c.read_as(2, level);
        c.propose(1, 1).expect("leads");
        c.settle();
        let at = c.answer(2, read).expect("answered").expect("served");
        if level == within {
            assert!(at >= last);
            last = at;
        }
    }
    assert!(last > Index(10), "they follow, though: {last}");
}
