//! What can go wrong when members change, lose their disks, or rest.
//!
//! # Source
//! Dissertation §4; rules R8 and R13 of ARCHITECTURE.md.

mod common;

use common::solo::*;
use common::*;

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|&id| n(id)).collect()
}

/// All of these hold all, until nothing is left to commit.
fn commit_all(solo: &mut Solo, peers: &[u64]) {
    for _ in 0..6 {
        solo.persist();
        for &peer in peers {
            solo.holds_all(peer);
        }
    }
    assert_eq!(solo.raft.commit(), solo.raft.last().index);
}

fn meet(solo: &mut Solo, peer: u64, disk: u128) -> Vec<Effect> {
    let (peer, disk, life) = (n(peer), Incarnation(disk), 1);
    let mut fx = solo.step(Input::Met { peer, disk, life });
    fx.extend(solo.step(Input::Link { peer, up: true }));
    fx
}

#[test]
fn a_wiped_member_that_was_removed_and_added_again_is_taken_in() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    meet(&mut solo, 2, 2);
    meet(&mut solo, 3, 3);
    for _ in 0..2 {
        commit_all(&mut solo, &[2, 3]);
        solo.deadline();
    }
    commit_all(&mut solo, &[2, 3]);
    assert_eq!(solo.raft.config().disk_of(n(3)), Some(Incarnation(3)));
    // Node 3 dies, its disk is lost, and it is removed, and after a while added again.
    let peer = n(3);
    solo.step(Input::Link { peer, up: false });
    solo.change(&Config::of_voters(nodes(&[1, 2])))
        .expect("allowed");
    commit_all(&mut solo, &[2]);
    for _ in 0..30 {
        solo.deadline();
        solo.hear(2, beat_reply(2, 0));
    }
    assert_eq!(solo.raft.peers(), [n(2)]);
    let target = Config::of_voters(nodes(&[1, 2])).with_joining(nodes(&[3]));
    solo.change(&target).expect("allowed");
    commit_all(&mut solo, &[2]);
    // Only now the new node 3 is started.
    let fx = meet(&mut solo, 3, 33);
    let refused = fx.iter().any(|e| matches!(e, Effect::Refused { .. }));
    assert!(!refused, "{fx:?} {:?}", solo.raft.config());
}

#[test]
fn a_learner_that_comes_back_with_another_disk_has_not_caught_up() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    let voters = Config::of_voters(nodes(&[1, 2, 3]));
    solo.change(&voters.clone().with_joining(nodes(&[4])))
        .expect("allowed");
    commit_all(&mut solo, &[2, 3]);
    // It catches up while the entry that names its disk is not committed: no change can begin.
    let joined = solo.raft.last().index.0;
    solo.propose(3);
    meet(&mut solo, 4, 4);
    solo.hear(4, durable(2, joined));
    solo.deadline();
    assert_eq!(solo.raft.config().disk_of(n(4)), Some(Incarnation(4)));
    solo.holds_all(4);
    assert_eq!(solo.raft.config().joining(), nodes(&[4]));
    // That disk is lost, and another is in its place.
    let peer = n(4);
    solo.step(Input::Link { peer, up: false });
    meet(&mut solo, 4, 44);
    commit_all(&mut solo, &[2, 3]);
    assert_eq!(solo.raft.config().voters(), voters.voters());
}

#[test]
fn the_lost_disk_of_a_silent_connection_is_not_written_down_for_who_was_added_again() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    meet(&mut solo, 2, 2);
    meet(&mut solo, 3, 3);
    commit_all(&mut solo, &[2, 3]);
    // Node 3 loses its power and its disk: no connection tells of that. It is removed and added.
    solo.change(&Config::of_voters(nodes(&[1, 2])))
        .expect("allowed");
    commit_all(&mut solo, &[2]);
    let target = Config::of_voters(nodes(&[1, 2])).with_joining(nodes(&[3]));
    solo.change(&target).expect("allowed");
    commit_all(&mut solo, &[2]);
    assert_eq!(solo.raft.config().disk_of(n(3)), None);
    let fx = meet(&mut solo, 3, 33);
    let refused = fx.iter().any(|e| matches!(e, Effect::Refused { .. }));
    assert!(!refused, "{fx:?} {:?}", solo.raft.config());
    // Once it answers as the member it is, its disk is known.
    solo.hear(3, beat_reply(2, 0));
    for _ in 0..3 {
        solo.deadline();
        commit_all(&mut solo, &[2, 3]);
    }
    assert_eq!(solo.raft.config().disk_of(n(3)), Some(Incarnation(33)));
}

#[test]
fn who_was_away_while_its_leader_lost_a_disk_and_came_back_hears_it() {
    // Node 1 knows members 2 and 3 by their disks.
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    meet(&mut solo, 2, 2);
    meet(&mut solo, 3, 3);
    commit_all(&mut solo, &[2, 3]);
    let last = solo.raft.last();
    // Meanwhile node 3 was wiped, removed, added again, and elected by node 2 and itself.
    meet(&mut solo, 3, 33);
    let term = solo.raft.term().0 + 1;
    solo.answer(3, knowing_beat(term));
    let answers = solo.answer(3, append(term, last, &[term], 0));
    assert_eq!(solo.raft.leader(), Some(n(3)), "{answers:?}");
    assert_eq!(solo.raft.last(), id(term, last.index.0 + 1));
    // It has no vote to ask for here all the same, unless it shows that it was added again.
    solo.now = solo.now.after(10_000 * MS);
    let later = term + 1;
    let last = id(term, 99);
    let answers = solo.hear(3, vote(later, last));
    assert!(sent_to(&answers, 3).is_empty(), "{answers:?}");
    let admitted = Message::Vote {
        term: Term(later),
        pre: false,
        transfer: false,
        last,
        admitted: true,
    };
    let answers = solo.answer(3, admitted);
    assert_eq!(answers, [vote_reply(Term(later), false, true)]);
}

#[test]
fn who_was_disowned_hears_of_it_unless_it_was_added_again() {
    let mut solo = Solo::recovered(Options::default(), disk_of_three(7, None));
    let told = solo.hear(
        2,
        Message::Disowned {
            disk: Incarnation(7),
        },
    );
    assert_eq!(told, [Effect::Disowned { by: n(2) }]);
    // Of another disk, and by who has missed that this one was added again.
    let none = solo.hear(
        2,
        Message::Disowned {
            disk: Incarnation(6),
        },
    );
    assert_eq!(none, []);
    let mut solo = Solo::recovered(Options::default(), disk_of_three(7, Some(7)));
    let none = solo.hear(
        2,
        Message::Disowned {
            disk: Incarnation(7),
        },
    );
    assert_eq!(none, []);
}

/// An empty disk of node 1 of three, with this incarnation, and the one that its members name.
fn disk_of_three(disk: u128, named: Option<u128>) -> Recovered {
    let named = named.map(|disk| (n(1), Incarnation(disk)));
    Recovered {
        me: n(1),
        hard: HardState::default(),
        log: Entries::default(),
        applied: LogId::default(),
        config: Config::of_voters(nodes(&[1, 2, 3])).with_disks(named),
        disk: Some(Incarnation(disk)),
        unreadable: Vec::new(),
        commit_hint: Index(0),
        next_write: WriteId(1),
    }
}

#[test]
fn a_node_added_again_at_once_starts_from_nothing() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    let peer = n(3);
    solo.step(Input::Link { peer, up: false });
    solo.change(&Config::of_voters(nodes(&[1, 2])))
        .expect("allowed");
    commit_all(&mut solo, &[2]);
    // Before the next heartbeat: a script removes and adds.
    let target = Config::of_voters(nodes(&[1, 2])).with_learners(nodes(&[3]));
    solo.change(&target).expect("allowed");
    commit_all(&mut solo, &[2]);
    solo.step(Input::Link { peer, up: true });
    // Node 3 has an empty disk now and says so each time it is asked.
    let mut asked = Vec::new();
    for _ in 0..5 {
        let Pull::Append { first, last } = solo.raft.pull(peer) else {
            break;
        };
        asked.push(first.0);
        let now = solo.now;
        solo.raft.sent(now, peer, last);
        solo.hear(3, conflict(2, first.prev().0, id(0, 0)));
    }
    assert_eq!(
        solo.raft.matched(peer),
        Some(Index(0)),
        "asked after {asked:?}"
    );
}

fn resting(count: u64) -> Cluster {
    let mut cluster = Cluster::new(count);
    cluster.options.rests = true;
    for at in 1..=count {
        cluster.crash(at, 0);
        cluster.restart(at);
    }
    cluster.elect(1);
    cluster
}

#[test]
fn members_can_be_changed_in_a_group_at_rest() {
    let mut cluster = resting(3);
    cluster.live(10 * cluster.options.election_ns);
    assert!(cluster.raft(1).is_resting());
    let target = Config::of_voters(nodes(&[1, 2]));
    cluster
        .change(1, &target, false)
        .expect("everybody is well");
}

#[test]
fn a_follower_at_rest_whose_leader_leads_no_more_comes_back() {
    let mut cluster = resting(3);
    let election_ns = cluster.options.election_ns;
    cluster.deadline(1);
    cluster.settle();
    // The connection between 2 and 3 is broken; nobody needs it.
    cluster.cut_one_way(2, 3);
    cluster.cut_one_way(3, 2);
    cluster.step(
        2,
        Input::Link {
            peer: n(3),
            up: false,
        },
    );
    cluster.step(
        3,
        Input::Link {
            peer: n(2),
            up: false,
        },
    );
    cluster.advance(10 * MS);
    cluster.hung.insert(n(3));
    cluster.transfer(1, Some(3)).expect("nothing is in the way");
    cluster.live(3 * election_ns);
    assert!(cluster.raft(1).is_resting() && cluster.raft(2).is_resting());
    // The disk of node 3 answers: it asks for the vote that it was told to ask for, and leads.
    cluster.hung.remove(&n(3));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(3));
    cluster.crash(3, 0);
    cluster.step(
        1,
        Input::Link {
            peer: n(3),
            up: false,
        },
    );
    cluster.live(30 * election_ns);
    let state = (
        cluster.raft(1).role(),
        cluster.raft(2).role(),
        cluster.raft(2).is_resting(),
    );
    assert!(
        cluster.leader().is_some(),
        "two of three are well: {state:?}"
    );
}

#[test]
fn a_configuration_that_a_snapshot_commits_is_told_as_committed() {
    let mut solo = Solo::new(3, 1, &[1]);
    let mut entries = entries(id(1, 1), &[1]);
    let config = Config::of_voters(nodes(&[1, 2]));
    entries.configs.push((Index(2), config.clone()));
    let (term, commit) = (Term(1), Index(1));
    solo.hear(
        2,
        Message::Append {
            term,
            entries,
            commit,
        },
    );
    solo.persist();
    let base = id(1, 9);
    solo.hear(2, Message::Snapshot { term, base });
    let fx = solo.step(Input::Installed {
        base,
        config: config.clone(),
    });
    let committed = true;
    assert!(fx.contains(&Effect::Config { config, committed }), "{fx:?}");
}

/// Node 1, whose first entry names the disks of all three members.
fn knows_all(term: u64, log: &[u64]) -> Solo {
    let disks = [1, 2, 3].map(|id| (n(id), Incarnation(id.into())));
    let members = Config::of_voters(nodes(&[1, 2, 3]));
    let mut log = entries(LogId::default(), log);
    log.configs
        .push((Index(1), members.clone().with_disks(disks)));
    let disk = Recovered {
        hard: HardState {
            term: Term(term),
            voted_for: None,
        },
        log,
        config: members,
        commit_hint: Index(1),
        ..disk_of_three(1, None)
    };
    Solo::recovered(Options::default(), disk)
}

#[test]
fn a_stranger_whom_others_without_memory_elected_is_no_leader_here() {
    // Nodes 2 and 3 were wiped, and started as if the cluster were new: node 3 leads in term 1.
    let mut solo = knows_all(1, &[1, 1, 1]);
    meet(&mut solo, 3, 33);
    let answers = solo.answer(3, append(1, id(0, 0), &[1, 1, 1], 3));
    assert_eq!((answers, solo.raft.leader()), (vec![], None));
    // Nor does it unseat the rightful leader.
    let mut solo = knows_all(1, &[1, 1, 1]).elected();
    meet(&mut solo, 3, 33);
    let term = solo.raft.term().0;
    solo.hear(3, append(term, id(0, 0), &[term], 0));
    assert_eq!(solo.raft.role().as_str(), "leader");
}

/// A heartbeat of a leader whose configuration names the receiver's disk.
fn knowing_beat(term: u64) -> Message {
    Message::Beat {
        term: Term(term),
        commit: Index(0),
        round: 0,
        durable: Index(0),
        knows: true,
    }
}

/// What a leader of `term` may say, whose log and snapshots are nobody's here.
fn words_of_leader(term: u64) -> [Message; 6] {
    let (term, last) = (Term(term), id(term, 99));
    [
        beat(term.0, 9, 1),
        append(term.0, id(0, 0), &[term.0; 9], 9),
        commit(term.0, 9),
        Message::Rest { term, last },
        Message::TimeoutNow { term },
        Message::Snapshot { term, base: last },
    ]
}

/// Node 1, whose first entry makes 1, 4 and 5 the members, by their disks: 2 and 3 were removed.
fn outlived(commit: u64) -> Solo {
    let disks = [1, 4, 5].map(|id| (n(id), Incarnation(id.into())));
    let members = Config::of_voters(nodes(&[1, 4, 5])).with_disks(disks);
    let mut log = entries(LogId::default(), &[1, 1, 1]);
    log.configs.push((Index(2), members));
    let mut disk = disk_of_three(1, None);
    disk.hard.term = Term(1);
    disk.config = disk
        .config
        .with_disks([1, 2, 3].map(|id| (n(id), Incarnation(id.into()))));
    (disk.log, disk.commit_hint) = (log, Index(commit));
    Solo::recovered(Options::default(), disk)
}

/// Nothing that `peer` says as a leader or a candidate is heard, whatever its term, nor answered.
fn assert_deaf_to(mut solo: Solo, peer: u64) {
    meet(&mut solo, peer, 10 * u128::from(peer) + u128::from(peer));
    let before = (solo.raft.hard_state(), solo.raft.last(), solo.raft.commit());
    for message in words_of_leader(7) {
        let fx = solo.hear(peer, message.clone());
        assert_eq!(fx, [], "{message:?}");
    }
    solo.now = solo.now.after(10_000 * MS);
    let fx = solo.hear(peer, vote(7, id(7, 99)));
    assert_eq!(fx, [], "a vote");
    let after = (solo.raft.hard_state(), solo.raft.last(), solo.raft.commit());
    assert_eq!((after, solo.raft.leader()), (before, None));
}

#[test]
fn wiped_machines_lead_nobody_whom_their_configuration_does_not_know() {
    // Two of three were wiped and started as if the cluster were new, and had many elections.
    assert_deaf_to(knows_all(1, &[1, 1, 1]), 3);
    // Two were removed before; whether their removal is known to be committed makes no difference.
    assert_deaf_to(outlived(3), 2);
    assert_deaf_to(outlived(1), 2);
}

#[test]
fn a_leader_that_was_added_while_this_node_was_away_shows_that_it_knows_it() {
    for (mut solo, peer) in [(knows_all(1, &[1, 1, 1]), 3), (outlived(3), 7)] {
        meet(&mut solo, peer, 77);
        // It does not in an entry's own right, but with a heartbeat for all of its term.
        let late = append(7, id(1, 3), &[7], 3);
        assert_eq!(solo.answer(peer, late.clone()), []);
        solo.answer(peer, knowing_beat(7));
        solo.answer(peer, late);
        assert_eq!(
            (solo.raft.leader(), solo.raft.last()),
            (Some(n(peer)), id(7, 4))
        );
        // In a later term it shows so again.
        assert_eq!(solo.answer(peer, append(8, id(7, 4), &[8], 3)), []);
    }
}

#[test]
fn who_is_a_member_by_any_configuration_that_may_count_is_heard() {
    // Node 4 by an entry that may not be committed, node 2 if that entry is taken back.
    for peer in [4, 2] {
        let mut solo = outlived(1);
        meet(&mut solo, peer, peer.into());
        solo.answer(peer, append(7, id(1, 3), &[7], 3));
        assert_eq!(solo.raft.leader(), Some(n(peer)));
    }
    // Once it is committed, node 2 is a stranger with its old disk, too.
    let mut solo = outlived(3);
    meet(&mut solo, 2, 2);
    solo.answer(2, append(7, id(1, 3), &[7], 3));
    assert_eq!(solo.raft.leader(), None);
}

#[test]
fn whom_no_committed_entry_names_hears_whoever_leads() {
    // A member that has just begun, and one whose naming may yet be taken back.
    for commit in [0, 1] {
        let mut solo = knows_all(1, &[1, 1, 1]);
        if commit == 0 {
            let mut disk = disk_of_three(1, None);
            disk.hard.term = Term(1);
            disk.log = entries(LogId::default(), &[1, 1, 1]);
            solo = Solo::recovered(Options::default(), disk);
        }
        meet(&mut solo, 9, 99);
        solo.answer(9, beat(7, 0, 1));
        let leader = (commit == 0).then_some(n(9));
        assert_eq!(solo.raft.leader(), leader);
    }
}

#[test]
fn a_leader_knows_learners_and_whose_disk_is_named() {
    let knows = |fx: &[Effect], peer| {
        let beats = sent_to(fx, peer).into_iter();
        let mut beats = beats.filter_map(|message| match message {
            Message::Beat { knows, .. } => Some(knows),
            _ => None,
        });
        beats.next().expect("a heartbeat")
    };
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    let fx = solo.deadline();
    assert!(!knows(&fx, 2), "it has named nobody yet");
    meet(&mut solo, 2, 2);
    meet(&mut solo, 3, 3);
    for _ in 0..2 {
        commit_all(&mut solo, &[2, 3]);
        solo.deadline();
    }
    let members = Config::of_voters(nodes(&[1, 2, 3])).with_joining(nodes(&[4]));
    solo.change(&members).expect("allowed");
    let fx = solo.deadline();
    assert!(knows(&fx, 2) && knows(&fx, 4));
}

#[test]
fn a_late_answer_of_the_lost_disk_does_not_write_it_down() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    for peer in [2, 3] {
        meet(&mut solo, peer, peer.into());
    }
    commit_all(&mut solo, &[2, 3]);
    let two = Config::of_voters(nodes(&[1, 2]));
    solo.change(&two).expect("allowed");
    commit_all(&mut solo, &[2]);
    solo.change(&two.with_joining(nodes(&[3])))
        .expect("allowed");
    commit_all(&mut solo, &[2]);
    solo.hear(3, beat_reply(2, 0));
    for _ in 0..3 {
        solo.deadline();
        commit_all(&mut solo, &[2]);
    }
    assert_eq!(solo.raft.config().disk_of(n(3)), None);
}

#[test]
fn who_replays_a_log_from_before_its_disk_was_lost_does_not_stand() {
    // Node 1 was the only voter then, with another disk than it has now.
    let alone = Config::of_voters([n(1)]).with_disks([(n(1), Incarnation(1))]);
    for (disk, role) in [(1, RoleName::Candidate), (11, RoleName::Follower)] {
        let disk = Recovered {
            config: alone.clone(),
            ..disk_of_three(disk, None)
        };
        let mut solo = Solo::recovered(Options::default(), disk);
        solo.deadline();
        assert_eq!(solo.raft.role(), role);
    }
}

/// Node 3 was removed and added again, and nobody has heard of its lost disk but by what it said.
fn added_again(joining: bool) -> (Solo, u64) {
    let mut solo = Solo::leading(3, 1, &[1; 4]);
    for peer in [2, 3] {
        meet(&mut solo, peer, peer.into());
    }
    for _ in 0..2 {
        commit_all(&mut solo, &[2, 3]);
        solo.deadline();
    }
    let two = Config::of_voters(nodes(&[1, 2]));
    solo.change(&two).expect("allowed");
    commit_all(&mut solo, &[2]);
    let target = match joining {
        true => two.with_joining(nodes(&[3])),
        false => Config::of_voters(nodes(&[1, 2, 3])),
    };
    let added = solo.change(&target).expect("allowed").index.0;
    (solo, added)
}

#[test]
fn what_a_lost_disk_held_is_not_asked_of_the_one_in_its_place() {
    for joining in [true, false] {
        let (mut solo, added) = added_again(joining);
        commit_all(&mut solo, &[2]);
        // A late answer of the lost disk; then the new one is connected, and holds nothing.
        solo.hear(3, durable(2, added - 1));
        let peer = n(3);
        solo.step(Input::Link { peer, up: false });
        meet(&mut solo, 3, 33);
        let mut asked = Vec::new();
        for _ in 0..5 {
            let Pull::Append { first, last } = solo.raft.pull(peer) else {
                break;
            };
            asked.push(first.0);
            let now = solo.now;
            solo.raft.sent(now, peer, last);
            solo.hear(3, conflict(2, first.prev().0, id(0, 0)));
        }
        assert_eq!(solo.raft.matched(peer), Some(Index(0)), "asked {asked:?}");
        assert!(asked.contains(&1), "asked {asked:?}");
    }
}

#[test]
fn what_a_lost_disk_held_is_not_counted_for_the_one_in_its_place() {
    // The disk of a voter is lost before any entry names it.
    let (mut solo, added) = added_again(false);
    solo.persist();
    solo.propose(3);
    solo.persist();
    let last = solo.holds_all(3);
    assert_eq!(
        commits(&last),
        [0_u64; 0],
        "node 2 lacks the entry that adds it"
    );
    let peer = n(3);
    solo.step(Input::Link { peer, up: false });
    meet(&mut solo, 3, 33);
    solo.hear(2, durable(2, added));
    solo.persist();
    assert_eq!(solo.raft.commit(), Index(added));
    assert_eq!(solo.raft.config().disk_of(peer), None);
}

#[test]
fn a_learner_that_is_made_a_voter_is_one_by_its_disk() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    let voters = Config::of_voters(nodes(&[1, 2, 3]));
    solo.change(&voters.with_joining(nodes(&[4])))
        .expect("allowed");
    // It holds everything before the entry that adds it is committed, and dies then.
    meet(&mut solo, 4, 4);
    solo.persist();
    solo.holds_all(4);
    let peer = n(4);
    solo.step(Input::Link { peer, up: false });
    commit_all(&mut solo, &[2, 3]);
    assert!(solo.raft.config().voters().contains(&peer));
    assert_eq!(solo.raft.config().disk_of(peer), Some(Incarnation(4)));
}

#[test]
fn a_leader_that_goes_names_the_disks_of_those_who_stay() {
    let mut solo = Solo::leading(3, 1, &[]);
    commit_all(&mut solo, &[2, 3]);
    // Node 4, which knows nothing, is to vote at once in the leader's place. Node 2 is away.
    let target = Config::of_voters(nodes(&[2, 3, 4]));
    solo.change(&target).expect("allowed");
    meet(&mut solo, 4, 4);
    solo.persist();
    solo.holds_all(4);
    solo.holds_all(3);
    // Nothing follows this entry: with it the leader's work is done. But once node 3 has lost its
    // disk, nobody but node 4 can lead, and node 2, which has missed all of it, must hear it.
    let left = solo.raft.config().clone();
    assert!(
        !left.is_joint() && left.voters() == target.voters(),
        "{left:?}"
    );
    assert_eq!(left.disk_of(n(4)), Some(Incarnation(4)));
    solo.persist();
    solo.holds_all(4);
    solo.holds_all(3);
    assert_eq!(solo.raft.role(), RoleName::Follower);
    assert_eq!(*solo.raft.config(), left);
}

#[test]
fn a_vote_for_a_lost_disk_is_not_told_to_the_one_in_its_place() {
    let mut solo = Solo::new(3, 1, &[1]);
    meet(&mut solo, 2, 2);
    let asked = solo.hear(2, vote(2, id(1, 1)));
    assert_eq!(sent_to(&asked, 2), [], "it is not durable yet");
    let peer = n(2);
    solo.step(Input::Link { peer, up: false });
    meet(&mut solo, 2, 22);
    let told = solo.persist();
    assert_eq!(sent_to(&told, 2), []);
}

#[test]
fn a_vote_of_a_lost_disk_is_not_counted_for_the_one_in_its_place() {
    let mut solo = Solo::new(5, 1, &[1]);
    for id in 2..=5 {
        meet(&mut solo, id, id.into());
    }
    solo.stand();
    let term = solo.raft.term();
    let yes = || vote_reply(term, false, true);
    solo.hear(3, yes());
    // The new disk knows of no vote, and may vote for another.
    let peer = n(3);
    solo.step(Input::Link { peer, up: false });
    meet(&mut solo, 3, 33);
    solo.hear(4, yes());
    assert_eq!(solo.raft.role().as_str(), "candidate");
    solo.hear(3, yes());
    assert_eq!(solo.raft.role().as_str(), "leader");
}
