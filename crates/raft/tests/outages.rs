//! Published outages, and the scenarios of papers, in which some node could reach a quorum and yet
//! a Raft cluster came to a halt: each told again on the test cluster, with the bound of time
//! within which it must serve.
//!
//! # Source
//! Cloudflare, "A Byzantine failure in the real world" (2 November 2020); Ng, Haridi and Carbone,
//! "Omni-Paxos", EuroSys'23, §2 (quorum loss, constrained election, chained); openraft#2080;
//! hashicorp/raft#503; dissertation §6.2, §9.6; rule R10.

mod common;

use common::solo::*;
use common::*;
use headwater_raft::random::Dice;

/// Cuts the nodes off from each other but for these pairs.
fn only(cluster: &mut Cluster, pairs: &[(u64, u64)]) {
    cluster.heal();
    for a in cluster.ids() {
        for b in cluster.ids().into_iter().filter(|&b| b != a) {
            if !pairs.contains(&(a, b)) && !pairs.contains(&(b, a)) {
                cluster.cut_one_way(a, b);
            }
        }
    }
}

fn cut(cluster: &mut Cluster, a: u64, b: u64) {
    cluster.cut_one_way(a, b);
    cluster.cut_one_way(b, a);
}

fn elections(cluster: &mut Cluster, count: u64) {
    cluster.live(count * cluster.options.election_ns);
}

/// Whoever leads commits a command at once.
#[track_caller]
fn serves(cluster: &mut Cluster) {
    let leader = cluster.leader().expect("somebody leads");
    let before = cluster.truth.committed.len();
    cluster
        .propose(leader, 1)
        .expect("the leader takes commands");
    cluster.settle();
    assert!(
        cluster.truth.committed.len() > before,
        "n{leader} does not commit"
    );
}

fn highest_term(cluster: &Cluster) -> u64 {
    let terms = cluster
        .ids()
        .into_iter()
        .map(|at| cluster.raft(at).term().0);
    terms.max().expect("there are nodes")
}

/// Cloudflare, 2020: a switch let the leader and one follower no longer hear each other, while the
/// third heard both. That follower's elections took the leadership away again and again.
#[test]
fn a_follower_that_alone_cannot_hear_the_leader_disturbs_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let term = highest_term(&cluster);
    cut(&mut cluster, 1, 3);
    for _ in 0..50 {
        elections(&mut cluster, 1);
        assert_eq!(cluster.leader(), Some(1));
        serves(&mut cluster);
    }
    assert_eq!(highest_term(&cluster), term, "nobody stood");
    cluster.heal();
    elections(&mut cluster, 1);
    assert_eq!(cluster.raft(3).leader(), Some(n(1)));
}

/// The same, one way at a time: the follower hears nothing, or is not heard.
#[test]
fn a_link_that_is_broken_one_way_disturbs_nobody() {
    for (from, to) in [(1, 3), (3, 1)] {
        let mut cluster = Cluster::new(3);
        cluster.elect(1);
        let term = highest_term(&cluster);
        cluster.cut_one_way(from, to);
        for _ in 0..50 {
            elections(&mut cluster, 1);
            serves(&mut cluster);
        }
        assert_eq!(
            (cluster.leader(), highest_term(&cluster)),
            (Some(1), term),
            "n{from} does not reach n{to}"
        );
    }
}

/// Omni-Paxos, quorum loss: every link fails but those of one node, and another leads.
#[test]
fn when_only_one_node_still_reaches_a_quorum_that_node_leads_soon() {
    for leader in [1, 2, 4, 5] {
        let mut cluster = Cluster::new(5);
        cluster.elect(leader);
        serves(&mut cluster);
        only(&mut cluster, &[(1, 3), (2, 3), (4, 3), (5, 3)]);
        // The leader notices within one timeout and a heartbeat; the hub's patience ends within
        // two more.
        elections(&mut cluster, 4);
        assert_eq!(cluster.leader(), Some(3), "n{leader} led");
        let term = highest_term(&cluster);
        for _ in 0..20 {
            elections(&mut cluster, 1);
            serves(&mut cluster);
        }
        assert_eq!(highest_term(&cluster), term, "leadership stays");
    }
}

/// Omni-Paxos, constrained election: only the hub reaches a quorum, but it lacks an entry that is
/// committed. No node can lead, and by the rules of Raft none may: docs/divergence.md says why.
/// No harm is done meanwhile, and one more link is enough.
#[test]
fn a_hub_that_lacks_committed_entries_is_not_elected_but_one_more_link_is_enough() {
    let mut cluster = Cluster::new(5);
    cluster.elect(5);
    cluster.isolate(3);
    serves(&mut cluster);
    let (term, committed) = (highest_term(&cluster), cluster.truth.committed.len());
    // The leader is cut off, the hub is back, and the others hear it alone.
    only(&mut cluster, &[(1, 3), (2, 3), (4, 3)]);
    elections(&mut cluster, 30);
    assert_eq!(cluster.leader(), None);
    assert_eq!(highest_term(&cluster), term, "nobody stands in vain");
    assert_eq!(cluster.truth.committed.len(), committed);
    only(&mut cluster, &[(1, 3), (2, 3), (4, 3), (1, 2)]);
    elections(&mut cluster, 4);
    serves(&mut cluster);
}

/// Omni-Paxos, chained: three nodes in a row, and the leader at one end.
#[test]
fn in_a_chain_of_three_the_leader_stays_wherever_it_is() {
    for leader in 1..=3 {
        let mut cluster = Cluster::new(3);
        cluster.elect(leader);
        let term = highest_term(&cluster);
        only(&mut cluster, &[(1, 2), (2, 3)]);
        for _ in 0..50 {
            elections(&mut cluster, 1);
            serves(&mut cluster);
        }
        let now = (cluster.leader(), highest_term(&cluster));
        assert_eq!(now, (Some(leader), term));
    }
}

/// The same with five: the ends reach no quorum, the three between them do.
#[test]
fn in_a_chain_of_five_one_that_reaches_a_quorum_leads_and_stays() {
    for leader in 1..=5 {
        let mut cluster = Cluster::new(5);
        cluster.elect(leader);
        serves(&mut cluster);
        only(&mut cluster, &[(1, 2), (2, 3), (3, 4), (4, 5)]);
        elections(&mut cluster, 8);
        serves(&mut cluster);
        let now = (cluster.leader(), highest_term(&cluster));
        for _ in 0..50 {
            elections(&mut cluster, 1);
            serves(&mut cluster);
        }
        assert_eq!((cluster.leader(), highest_term(&cluster)), now, "n{leader}");
    }
}

/// openraft#2080: a leader that reaches everyone but hears nobody went on heartbeating for ever.
#[test]
fn a_leader_that_hears_nobody_makes_room_for_another() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for deaf_to in [2, 3] {
        cluster.cut_one_way(deaf_to, 1);
    }
    elections(&mut cluster, 4);
    let leader = cluster.leader().expect("somebody leads");
    assert_ne!(leader, 1);
    let term = highest_term(&cluster);
    for _ in 0..20 {
        elections(&mut cluster, 1);
        serves(&mut cluster);
    }
    assert_eq!(
        (cluster.leader(), highest_term(&cluster)),
        (Some(leader), term)
    );
}

// Disks.

/// Lives until somebody else than `old` leads; how long that took, in election timeouts' tenths.
fn handed_over_within(cluster: &mut Cluster, old: u64, tenths: u64) -> u64 {
    for tenth in 1..=tenths {
        cluster.live(cluster.options.election_ns / 10);
        if cluster.leader().is_some_and(|id| id != old) {
            return tenth;
        }
    }
    panic!("n{old} still leads after {tenths} tenths of an election timeout");
}

/// hashicorp/raft#503: the leader's disk hangs, its heartbeats go on, and nothing commits.
#[test]
fn a_leader_whose_disk_hangs_is_replaced_within_an_election_timeout() {
    for count in [3, 5] {
        let mut cluster = Cluster::new(count);
        cluster.elect(1);
        cluster.hung.insert(n(1));
        let last = cluster.propose(1, 5).expect("it has not noticed yet");
        cluster.settle();
        // Half a timeout until the disk counts as slow, two heartbeats to hear how the others'
        // are, and then at once.
        assert!(handed_over_within(&mut cluster, 1, 8) >= 5);
        serves(&mut cluster);
        let leader = cluster.leader().expect("somebody leads");
        assert!(
            cluster.raft(leader).commit() >= last.index,
            "in flight, and kept"
        );
        // Back among the living, it is a follower and leadership stays where it is.
        cluster.hung.clear();
        elections(&mut cluster, 20);
        assert_eq!(cluster.leader(), Some(leader));
        serves(&mut cluster);
        assert_eq!(cluster.raft(1).commit(), cluster.raft(leader).commit());
    }
}

#[test]
fn a_leader_whose_very_first_write_hangs_is_replaced_too() {
    let mut cluster = Cluster::new(3);
    cluster.stand(1);
    // Both rounds of voting, one disk at a time; then node 1 leads, and its first entry hangs.
    while cluster.raft(1).role() != RoleName::Leader {
        cluster.deliver(1, 2);
        cluster.persist(2);
        cluster.deliver(2, 1);
        let leads = cluster.raft(1).role() == RoleName::Leader;
        if !leads {
            cluster.persist(1);
        }
    }
    cluster.hung.insert(n(1));
    handed_over_within(&mut cluster, 1, 8);
    serves(&mut cluster);
}

#[test]
fn a_hung_leader_whose_word_reaches_nobody_falls_silent_within_an_election_timeout() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.hung.insert(n(1));
    cluster.propose(1, 1).expect("it has not noticed yet");
    let slow_at = cluster.now.after(cluster.options.disk_slow_ns);
    while cluster.raft(1).role() == RoleName::Leader {
        let next = (1..=3)
            .map(|at| (cluster.raft(at).next_deadline(), at))
            .min();
        let (due, at) = next.expect("there are nodes");
        assert!(
            due <= slow_at.after(cluster.options.election_ns),
            "leads on"
        );
        cluster.deadline(at);
        cluster.settle_but(|_, _, message| matches!(message, Message::TimeoutNow { .. }));
    }
    elections(&mut cluster, 3);
    assert!(cluster.leader().is_some_and(|id| id != 1));
    serves(&mut cluster);
}

#[test]
fn a_cluster_whose_disks_all_hang_recovers_by_itself() {
    for count in [1, 3, 5] {
        let mut cluster = Cluster::new(count);
        cluster.elect(1);
        cluster.hung = (1..=count).map(n).collect();
        cluster.propose(1, 1).expect("it has not noticed yet");
        elections(&mut cluster, 30);
        assert_eq!(cluster.leader(), Some(1), "nobody could do better");
        assert_eq!(cluster.propose(1, 1), Err(NotTaken::DiskSlow));
        cluster.hung.clear();
        cluster.settle();
        serves(&mut cluster);
        // The same in the middle of an election.
        if count > 1 {
            cluster.crash(1, 0);
            cluster.hung = (1..=count).map(n).collect();
            elections(&mut cluster, 30);
            cluster.hung.clear();
            elections(&mut cluster, 4);
            serves(&mut cluster);
        }
    }
}

/// What becomes of a cluster under steady load whose every sync takes so long, or up to twice so
/// long if there are `dice`: commands committed and leaders seen.
fn with_syncs_of(sync_ms: [u64; 3], elections: u64, mut dice: Option<Dice>) -> (u64, usize) {
    let mut cluster = Cluster::new(3);
    cluster.thorough = false;
    cluster.records = false;
    let election_ns = cluster.options.election_ns;
    let end = cluster.now.after(elections * election_ns);
    // When the sync under way at each node ends, and what it covers.
    let mut syncs: [Option<(Instant, u64)>; 3] = [None; 3];
    let mut client = cluster.now;
    while cluster.now < end {
        for (at, sync) in (1..).zip(&mut syncs) {
            if let (None, Some((write, _))) = (*sync, cluster.node(at).disk.queue.back()) {
                let least = sync_ms[at as usize - 1] * MS;
                let more = dice.as_mut().map_or(0, |dice| dice.below(least));
                let done = cluster.now.after(least + more);
                *sync = Some((done, write.id.0));
            }
        }
        let due = (1..=3).map(|at| cluster.raft(at).next_deadline()).min();
        let done = syncs.iter().flatten().map(|&(at, _)| at).min();
        let next = due.into_iter().chain(done).chain([client]).min();
        cluster.now = cluster.now.max(next.expect("there is always a client"));
        for (at, sync) in (1..).zip(&mut syncs) {
            if let Some((_, upto)) = sync.take_if(|(done, _)| *done <= cluster.now) {
                cluster.persist_upto(at, upto);
            }
            cluster.step(at, Input::Deadline);
        }
        if client <= cluster.now {
            client = cluster.now.after(20 * MS);
            if let Some(leader) = cluster.leader() {
                // A refusal is an answer too.
                let _ = cluster.propose(leader, 1);
            }
        }
        // Wires are quick, disks are not.
        while let Some(parcel) = cluster.wire.pop_front() {
            cluster.receive(parcel.from.0, parcel.to.0, parcel.message);
        }
    }
    let truth = &cluster.truth;
    (truth.committed.len() as u64, truth.leaders.len())
}

#[test]
fn where_every_disk_is_always_slower_than_the_limit_leadership_does_not_go_round() {
    for sync_ms in [
        [600, 600, 600],
        [600, 650, 700],
        [900, 800, 550],
        [1500, 1500, 1500],
    ] {
        let (committed, leaders) = with_syncs_of(sync_ms, 40, None);
        assert!(leaders <= 3, "{leaders} leaders with syncs of {sync_ms:?}");
        // A leader takes commands for as long as it does not stall, in each sync.
        assert!(committed > 250, "{committed} with syncs of {sync_ms:?}");
    }
}

#[test]
fn where_disks_are_now_and_then_slower_than_the_limit_leadership_does_not_go_round() {
    for seed in 0..10 {
        for sync_ms in [[300; 3], [450; 3], [600; 3]] {
            let (committed, leaders) = with_syncs_of(sync_ms, 40, Some(Dice::new(seed)));
            let what = format!("seed {seed}, syncs of {sync_ms:?} and more");
            assert!(leaders <= 3, "{leaders} leaders, {what}");
            assert!(committed > 250, "{committed} committed, {what}");
        }
    }
}

#[test]
fn a_disk_slower_than_an_election_timeout_still_elects_and_commits() {
    let (committed, leaders) = with_syncs_of([3000, 3000, 3000], 80, None);
    assert!(committed > 250 && leaders <= 4, "{committed}, {leaders}");
}

#[test]
fn where_one_disk_is_always_slow_another_node_leads_and_stays() {
    let (committed, leaders) = with_syncs_of([5, 5, 700], 40, None);
    assert!(committed > 1700 && leaders <= 3, "{committed}, {leaders}");
}

#[test]
fn an_election_that_could_be_won_is_not_begun_once_the_disk_stalls() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, beat(1, 1, 0));
    let election_ns = Options::default().election_ns;
    // A write begins just before the node's patience ends.
    let due = solo.raft.next_deadline();
    solo.now = solo.now.after(election_ns).max(Instant(due.0 - MS));
    solo.hear(3, vote(2, id(0, 0)));
    solo.deadline();
    assert_eq!(solo.raft.role(), RoleName::PreCandidate);
    solo.now = solo.now.after(Options::default().disk_slow_ns);
    solo.hear(3, vote_reply(Term(3), true, true));
    assert_eq!(solo.raft.term(), Term(2), "it could not vote for itself");
    solo.persist();
    solo.hear(3, vote_reply(Term(3), true, true));
    assert_eq!(solo.raft.role(), RoleName::Candidate);
}

#[test]
fn an_answer_that_waited_for_the_disk_says_how_that_is_now() {
    let mut solo = Solo::new(3, 1, &[1]);
    solo.hear(2, beat(2, 1, 0));
    solo.now = solo.now.after(Options::default().disk_slow_ns);
    let reply = Message::BeatReply {
        term: Term(2),
        round: 0,
        disk: Pace::Late,
        promise_ns: 0,
    };
    assert_eq!(sent_to(&solo.persist(), 2), [reply]);
}

// The numbers of the rule.

#[test]
fn a_hung_disk_is_noticed_between_heartbeats_with_no_other_input() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.advance(30 * MS);
    cluster.hung.insert(n(1));
    cluster.propose(1, 1).expect("it has not noticed yet");
    let pause_ns = 2 * cluster.options.heartbeat_ns;
    let slow_at = cluster.now.after(cluster.options.disk_slow_ns + pause_ns);
    cluster.settle();
    while cluster.now < slow_at {
        let from = cluster.seen.len();
        cluster.deadline(1);
        let word = |fx: &Effect| {
            let message = Message::TimeoutNow { term: Term(1) };
            *fx == Effect::Send { to: n(2), message }
        };
        assert_eq!(cluster.saw(from, 1, word), cluster.now == slow_at);
        cluster.settle();
    }
    assert_eq!(cluster.now, slow_at);
}

#[test]
fn a_target_whose_disk_hangs_too_is_given_up_for_another() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    cluster.hung.insert(n(1));
    cluster.propose(1, 1).expect("it has not noticed yet");
    cluster.settle();
    cluster.live(450 * MS);
    // All are equally far, so the leader will turn to node 2; but that one's next entry hangs.
    cluster.propose(1, 1).expect("it has not noticed yet");
    cluster.hung.insert(n(2));
    cluster.settle_but(|_, to, message| to > 2 && matches!(message, Message::Append { .. }));
    let from = cluster.seen.len();
    cluster.live(1050 * MS);
    let unfit = |fx: &Effect| {
        let (to, result) = (n(2), Err(TransferFailed::TargetUnfit));
        *fx == Effect::Transferred { to, result }
    };
    assert!(cluster.saw(from, 1, unfit));
    assert_eq!(
        cluster.raft(1).role(),
        RoleName::Follower,
        "an election timeout after the stall"
    );
    elections(&mut cluster, 3);
    assert!(cluster.leader().is_some_and(|id| id > 2));
    serves(&mut cluster);
}

/// Nodes 1, 2 and 3 are being replaced by 1, 4 and 5, and the disks of `hung` answer no more.
fn joint(hung: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.spare();
    cluster.spare();
    cluster.elect(1);
    cluster.hung = hung.iter().map(|&at| n(at)).collect();
    let target = Config::of_voters([n(1), n(4), n(5)]);
    cluster
        .change(1, &target, true)
        .expect("nothing else is under way");
    cluster.settle();
    cluster
}

#[test]
fn in_a_joint_configuration_both_majorities_must_be_able_to_elect() {
    for hung in 2..=5 {
        let mut cluster = joint(&[1, hung]);
        elections(&mut cluster, 5);
        assert!(cluster.raft(1).config().is_joint());
        assert_eq!(
            cluster.leader(),
            Some(1),
            "without n{hung} one majority is lost"
        );
    }
    let mut cluster = joint(&[1]);
    handed_over_within(&mut cluster, 1, 8);
    assert!(cluster.leader().is_some_and(|id| id > 3), "one that stays");
    serves(&mut cluster);
}

#[test]
fn a_node_that_is_no_member_yet_may_have_a_disk_that_hangs() {
    let mut cluster = joint(&[4]);
    elections(&mut cluster, 5);
    serves(&mut cluster);
    cluster.hung.clear();
    elections(&mut cluster, 5);
    let leader = cluster.leader().expect("somebody leads");
    assert_eq!(cluster.raft(4).commit(), cluster.raft(leader).commit());
}

#[test]
fn a_limit_without_end_switches_the_rule_off() {
    let mut cluster = Cluster::new(3);
    cluster.options.disk_slow_ns = u64::MAX;
    for at in 1..=3 {
        cluster.crash(at, 0);
        cluster.restart(at);
    }
    cluster.elect(1);
    cluster.hung.insert(n(1));
    for _ in 0..20 {
        elections(&mut cluster, 1);
        serves(&mut cluster);
    }
    assert_eq!(cluster.leader(), Some(1));
}

#[test]
fn nodes_of_the_lowest_priority_alone_still_elect_one() {
    let mut cluster = Cluster::new(3);
    for at in 1..=3 {
        cluster.priorities.insert(n(at), 0);
        cluster.crash(at, 0);
        cluster.restart(at);
    }
    elections(&mut cluster, 1);
    serves(&mut cluster);
    for _ in 0..10 {
        let leader = cluster.leader().expect("somebody leads");
        cluster.crash(leader, 0);
        // Three election timeouts at most, and then once more if two stood at once.
        elections(&mut cluster, 5);
        serves(&mut cluster);
        cluster.restart(leader);
        elections(&mut cluster, 1);
    }
}

#[test]
fn a_leader_of_low_priority_is_left_in_office() {
    let mut cluster = Cluster::new(3);
    cluster.priorities.insert(n(1), 0);
    cluster.crash(1, 0);
    cluster.restart(1);
    cluster.elect(1);
    elections(&mut cluster, 20);
    assert_eq!(cluster.leader(), Some(1));
}

#[test]
fn after_a_broken_connection_low_priority_costs_a_twentieth_of_a_timeout_at_most() {
    for (priority, least, most) in [(255, 0, 50), (128, 24, 75), (0, 49, 100)] {
        let mut cluster = Cluster::new(3);
        cluster.priorities.insert(n(2), priority);
        cluster.crash(2, 0);
        cluster.restart(2);
        cluster.elect(1);
        let (peer, up) = (n(1), false);
        cluster.step(2, Input::Link { peer, up });
        let wait = cluster.raft(2).next_deadline().since(cluster.now);
        assert!(
            (least * MS..most * MS).contains(&wait),
            "{priority}: {wait} ns"
        );
    }
}
