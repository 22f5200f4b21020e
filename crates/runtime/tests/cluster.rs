//! Whole clusters in one process: real files, real connections, real elections.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Cluster, PATIENCE, ended, until};
use headwater_raft::NodeId;
use headwater_runtime::{NodeConfig, ProposeError, ReadLevel, StopReason, TransferError};

fn plain(_: &mut NodeConfig) {}

fn with_leases(config: &mut NodeConfig) {
    config.lease_drift_ppm = Some(1000);
}

fn word(n: u64) -> Bytes {
    Bytes::from(format!("command {n}"))
}

/// Proposes to node `id` until it is applied; only outcomes that leave nothing open are retried.
async fn propose(cluster: &Cluster, id: u64, command: Bytes) -> u64 {
    let asked = Instant::now();
    loop {
        match cluster.node(id).propose(command.clone()).await {
            Ok(applied) => return applied.reply,
            Err(ProposeError::Unknown(why)) => panic!("outcome unknown: {why}"),
            Err(e) => assert!(asked.elapsed() < PATIENCE, "not taken: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_proposal_to_a_follower_is_seen_by_a_linearizable_read_of_any_node() {
    let cluster = Cluster::started(3, plain).await;
    for n in 1..=20 {
        let follower = cluster.follower().await;
        assert_eq!(propose(&cluster, follower, word(n)).await, n);
        for id in 1..=3 {
            let journal = cluster.journal(id, ReadLevel::Linearizable).await;
            assert_eq!(journal.len() as u64, n, "node {id}");
        }
    }
}

fn with_rare_heartbeats(config: &mut NodeConfig) {
    config.heartbeat = Duration::from_secs(1);
    config.election = Duration::from_millis(1500);
}

#[tokio::test]
async fn followers_hear_what_is_committed_though_nothing_follows() {
    let cluster = Cluster::started(3, with_rare_heartbeats).await;
    let leader = cluster.leader().await;
    let begun = Instant::now();
    for n in 1..=10 {
        propose(&cluster, leader, word(n)).await;
        let commit = cluster.node(leader).status().commit;
        for id in 1..=3 {
            let is_applied = || cluster.node(id).status().applied >= commit;
            until("it is applied everywhere", is_applied).await;
        }
    }
    // Heartbeats alone would have taken ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn reads_of_every_level_see_what_their_level_promises() {
    for change in [plain, with_leases] {
        let cluster = Cluster::started(3, change).await;
        let within = |ms| ReadLevel::Bounded {
            max_lag: Duration::from_millis(ms),
        };
        for n in 1..=20 {
            let follower = cluster.follower().await;
            assert_eq!(propose(&cluster, follower, word(n)).await, n);
            for id in 1..=3 {
                for level in [ReadLevel::Lease, ReadLevel::Linearizable, within(0)] {
                    let journal = cluster.journal(id, level).await;
                    assert_eq!(journal.len() as u64, n, "node {id}, {level:?}");
                }
                let journal = cluster.journal(id, within(60_000)).await;
                assert!(journal.len() as u64 <= n, "node {id}");
            }
        }
    }
}

#[tokio::test]
async fn a_bounded_read_is_answered_by_a_node_that_is_left_alone() {
    let mut cluster = Cluster::started(3, plain).await;
    let id = cluster.follower().await;
    propose(&cluster, id, word(1)).await;
    cluster.journal(id, ReadLevel::Linearizable).await;
    for other in (1..=3).filter(|&other| other != id) {
        cluster.stop(other).await;
    }
    let max_lag = Duration::from_secs(60);
    let journal = cluster.node(id).query((), ReadLevel::Bounded { max_lag });
    assert_eq!(journal.await.expect("it knows enough").len(), 1);
}

#[tokio::test]
async fn proposals_through_all_nodes_at_once_are_applied_each_once_in_one_order() {
    let cluster = Cluster::started(3, plain).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..30 {
        let node = cluster.node(client % 3 + 1).clone();
        clients.spawn(async move {
            for n in 0..30 {
                let command = word(client * 1000 + n);
                node.propose(command).await.expect("nothing fails here");
            }
        });
    }
    while let Some(end) = clients.join_next().await {
        end.expect("the client is well");
    }
    let mut journal = cluster.settled().await;
    journal.sort();
    journal.dedup();
    assert_eq!(journal.len(), 900);
    let leader = cluster.node(cluster.leader().await).status();
    let (counters, syncs) = (&leader.counters, leader.times["syncs"].count);
    assert!(syncs > 0 && counters["frames_sent"] > 0);
    assert!(
        syncs < 900,
        "thirty clients at once, and no two commands shared a sync: {counters:?}"
    );
}

#[tokio::test]
async fn when_the_leader_stops_the_others_go_on_and_it_catches_up_later() {
    let mut cluster = Cluster::started(3, plain).await;
    for round in 1..=3 {
        let leader = cluster.leader().await;
        propose(&cluster, leader, word(round * 10)).await;
        cluster.stop(leader).await;
        let other = cluster.follower().await;
        assert_eq!(
            propose(&cluster, other, word(round * 10 + 1)).await,
            round * 2
        );
        cluster.start(leader).await;
        assert_eq!(cluster.settled().await.len() as u64, round * 2);
    }
}

#[tokio::test]
async fn a_cluster_that_was_stopped_whole_has_everything_when_it_starts_again() {
    let mut cluster = Cluster::started(3, plain).await;
    let leader = cluster.leader().await;
    for n in 0..50 {
        propose(&cluster, leader, word(n)).await;
    }
    let before = cluster.settled().await;
    for _ in 0..2 {
        cluster.stop_all().await;
        for id in 1..=3 {
            cluster.start(id).await;
        }
        assert_eq!(cluster.settled().await, before);
    }
}

#[tokio::test]
async fn a_cluster_of_one_needs_no_peers_and_keeps_its_state() {
    let mut cluster = Cluster::started(1, |config| config.listen_peer.clear()).await;
    for round in 0..3 {
        for n in 1..=10 {
            assert_eq!(propose(&cluster, 1, word(n)).await, round * 10 + n);
        }
        cluster.stop(1).await;
        cluster.start(1).await;
    }
    assert_eq!(cluster.settled().await.len(), 30);
}

#[tokio::test]
async fn a_follower_far_behind_is_brought_up_by_a_snapshot() {
    let mut cluster = Cluster::started(3, |config| {
        config.snapshot_log_bytes = 256 << 10;
        config.segment_bytes = 256 << 10;
    })
    .await;
    let behind = cluster.follower().await;
    cluster.stop(behind).await;
    let leader = cluster.leader().await;
    // More than the replica keeps behind a snapshot.
    let large = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..400 {
        propose(&cluster, leader, large.clone()).await;
    }
    until("the leader has taken a snapshot", || {
        cluster.node(leader).status().counters["snapshot_index"] > 300
    })
    .await;
    cluster.start(behind).await;
    assert_eq!(cluster.settled().await.len(), 400);
    let (there, here) = (cluster.node(leader).status(), cluster.node(behind).status());
    assert!(there.times["snapshots_taken"].count > 0);
    assert_eq!(there.peers[&NodeId(behind)].snapshots_sent, 1);
    assert_eq!(here.peers[&NodeId(leader)].snapshots_received, 1);
    assert_eq!(here.times["snapshots_received"].count, 1);
    let received: u64 = here.peers.values().map(|peer| peer.received_bytes).sum();
    assert!(
        received < 20 << 20,
        "{received} bytes came: the log rather than a snapshot"
    );
    cluster.stop_all().await;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    assert_eq!(cluster.settled().await.len(), 400);
}

#[tokio::test]
async fn without_a_majority_every_request_still_ends() {
    let mut cluster = Cluster::started(3, |config| {
        config.request_timeout = Duration::from_millis(500)
    })
    .await;
    let leader = cluster.leader().await;
    for id in 1..=3 {
        if id != leader {
            cluster.stop(id).await;
        }
    }
    let (proposed, read) = tokio::join!(
        cluster.node(leader).propose(word(1)),
        cluster.node(leader).query((), ReadLevel::Linearizable),
    );
    assert!(proposed.is_err() && read.is_err(), "{proposed:?} {read:?}");
    // What needs no majority is still there.
    let local = cluster.node(leader).query((), ReadLevel::Local).await;
    assert_eq!(local.expect("a local answer").len(), 0);
}

#[tokio::test]
async fn a_stopped_node_says_so_and_a_command_too_large_is_not_taken() {
    let cluster = Cluster::started(1, |config| config.command_bytes_max = 100).await;
    let node = cluster.node(1);
    let large = node.propose(vec![0; 101].into()).await;
    assert_eq!(large, Err(ProposeError::TooLarge(101)));
    let fits = node.propose(vec![0; 100].into()).await;
    assert_eq!(fits.map(|applied| applied.reply), Ok(1));
    node.shutdown().await;
    assert_eq!(ended(node).await, StopReason::Shutdown);
    assert_eq!(node.propose(word(1)).await, Err(ProposeError::Stopped));
    let read = node.query((), ReadLevel::Local).await;
    assert_eq!(read, Err(headwater_runtime::ReadError::Stopped));
    let status = node.status();
    assert_eq!(status.applied, status.commit);
    assert_eq!((status.role, status.leader), ("stopped", None));
}

#[tokio::test]
async fn a_node_ends_with_its_last_handle() {
    let mut cluster = Cluster::started(1, plain).await;
    let node = cluster.nodes.pop_first().expect("it runs").1;
    let second = node.clone();
    drop(node);
    assert_eq!(second.propose(word(1)).await.map(|a| a.reply), Ok(1));
    drop(second);
    let asked = Instant::now();
    while let Err(e) = cluster.try_start(1).await {
        assert!(asked.elapsed() < PATIENCE, "{e}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cluster.settled().await.len(), 1);
}

#[tokio::test]
async fn a_leader_whose_disk_fails_halts_and_the_others_go_on() {
    let mut cluster = Cluster::started(3, |config| config.segment_bytes = 64 << 10).await;
    let leader = cluster.leader().await;
    propose(&cluster, leader, word(1)).await;
    // No file can be made where a directory is, so the log finds no room for its next segment.
    for name in ["next.tmp", "spare.tmp"] {
        let path = cluster.data_dir(leader).join("wal").join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::create_dir_all(path).expect("made");
    }
    let node = cluster.nodes.remove(&headwater_runtime::NodeId(leader));
    let node = node.expect("it runs");
    let mut refused = None;
    for _ in 0..100 {
        if let Err(e) = node.propose(vec![7; 4 << 10].into()).await {
            refused = Some(e);
            break;
        }
    }
    // The command under way may have reached the others before the disk refused it here; if they
    // had committed it already, the next one met a node that had stopped.
    let open = matches!(refused, Some(ProposeError::Unknown(_)));
    assert!(
        open || refused == Some(ProposeError::Stopped),
        "{refused:?}"
    );
    let StopReason::Halted(text) = ended(&node).await else {
        panic!("it went on without a disk");
    };
    assert!(text.contains("wal/next.tmp"), "{text}");
    assert_eq!(node.propose(word(2)).await, Err(ProposeError::Stopped));
    let before = cluster.settled().await.len() as u64;
    let other = cluster.leader().await;
    assert_ne!(other, leader);
    assert_eq!(propose(&cluster, other, word(3)).await, before + 1);
}

#[tokio::test]
async fn a_leader_that_goes_is_replaced_before_any_timeout_could_show_it() {
    let mut cluster = Cluster::started(3, |config| {
        config.heartbeat = Duration::from_millis(500);
        config.election = Duration::from_secs(10);
    })
    .await;
    let leader = cluster.leader().await;
    let gone = Instant::now();
    cluster.stop(leader).await;
    cluster.leader().await;
    let silent = gone.elapsed();
    // The last heartbeat may be half a second older.
    assert!(silent < Duration::from_secs(9), "{silent:?}");
}

#[tokio::test]
async fn the_snapshot_a_node_started_from_gives_its_space_back_once_it_is_old() {
    let small = |config: &mut headwater_runtime::NodeConfig| config.snapshot_log_bytes = 64 << 10;
    let mut cluster = Cluster::started(1, small).await;
    let mut taken = 0;
    for life in 0..2 {
        for _ in 0..4 {
            for _ in 0..20 {
                let command = vec![b'x'; 4 << 10];
                let applied = cluster.node(1).propose(command.into()).await;
                applied.expect("a cluster of one");
            }
            until("a snapshot is taken", || {
                let index = cluster.node(1).status().counters["snapshot_index"];
                index > std::mem::replace(&mut taken, index)
            })
            .await;
        }
        if life == 0 {
            cluster.stop(1).await;
            cluster.start(1).await;
        }
    }
    // A file that is removed while somebody has it open keeps its space.
    let data_dir = cluster.data_dir(1);
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let gone: Vec<_> = open
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|path| path.starts_with(&data_dir) && path.to_string_lossy().ends_with("(deleted)"))
        .collect();
    assert!(gone.is_empty(), "removed but open: {gone:?}");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_node_joins_catches_up_votes_and_is_removed_again() {
    let mut cluster = Cluster::started(3, plain).await;
    for n in 1..=50 {
        propose(&cluster, 1, word(n)).await;
    }
    let leader = cluster.leader().await;
    let joiner = cluster.join().await;
    let voters = cluster.node(leader).members();
    let target = voters.clone().with_joining([joiner]);
    let changed = cluster
        .node(leader)
        .reconfigure(voters.clone(), target, false);
    changed.await.expect("a learner costs no quorum");
    until("the joiner is a voter", || {
        let members = cluster.node(joiner.0).members();
        members.voters().contains(&joiner) && !members.is_joint()
    })
    .await;
    assert_eq!(propose(&cluster, joiner.0, word(51)).await, 51);
    let stale = cluster
        .node(leader)
        .reconfigure(voters.clone(), voters.clone(), false);
    let refused = stale.await.expect_err("the members are others now");
    assert!(refused.to_string().contains("expected"), "{refused}");
    // Out again: it learns of that, and the others go on.
    let now = cluster.node(leader).members();
    let removed = cluster.node(leader).reconfigure(now, voters, false);
    removed.await.expect("three of three answer");
    until("the joiner knows", || {
        !cluster.node(joiner.0).members().is_member(joiner)
    })
    .await;
    assert_eq!(propose(&cluster, leader, word(52)).await, 52);
}

#[tokio::test]
async fn a_member_that_lost_its_directory_is_refused_and_loses_nothing_for_the_others() {
    let mut cluster = Cluster::started(3, plain).await;
    let leader = cluster.leader().await;
    until("all disks are known", || {
        (1..=3).all(|id| cluster.node(id).members().disks().len() == 3)
    })
    .await;
    // One member is away while a write is acknowledged by the other two; then one of these two
    // loses its disk, and the write has one copy left.
    let away = if leader == 1 { 2 } else { 1 };
    let wiped = 6 - leader - away;
    cluster.stop(away).await;
    propose(&cluster, leader, word(1)).await;
    cluster.stop(leader).await;
    cluster.stop(wiped).await;
    cluster.wipe(wiped);
    cluster.start(away).await;
    cluster.start(wiped).await;
    // The two would be a majority; but one of them has forgotten what it promised.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(cluster.node(away).leader(), None);
    }
    cluster.start(leader).await;
    until("the two that remember elect a leader", || {
        cluster.node(away).leader().is_some()
    })
    .await;
    let journal = cluster.journal(away, ReadLevel::Linearizable).await;
    assert_eq!(journal, [word(1)]);
    // Removed and added again, it is a new member, and learns everything.
    let leader = cluster.node(away).leader().expect("just elected").0;
    let all = cluster.node(leader).members();
    let wiped = NodeId(wiped);
    let rest = all.voters().iter().copied().filter(|&id| id != wiped);
    let rest = headwater_runtime::Config::of_voters(rest);
    let removed = cluster.node(leader).reconfigure(all, rest.clone(), false);
    removed.await.expect("two of two answer");
    let address = cluster.members[&wiped].to_string();
    for &id in rest.voters() {
        cluster.node(id.0).set_peer_address(wiped, address.clone());
    }
    let target = rest.clone().with_joining([wiped]);
    let added = cluster.node(leader).reconfigure(rest, target, false);
    added.await.expect("a learner costs no quorum");
    until("the wiped node votes again", || {
        let members = cluster.node(wiped.0).members();
        members.voters().contains(&wiped) && !members.is_joint()
    })
    .await;
    let journal = cluster.journal(wiped.0, ReadLevel::Linearizable).await;
    assert_eq!(journal, [word(1)]);
}

#[tokio::test]
async fn a_member_whose_directory_was_set_back_halts_and_says_why() {
    let mut cluster = Cluster::started(3, plain).await;
    let (leader, victim) = (cluster.leader().await, cluster.follower().await);
    let other = 6 - leader - victim;
    propose(&cluster, leader, word(1)).await;
    cluster.settled().await;
    cluster.stop(victim).await;
    let image = cluster.image(victim);
    cluster.start(victim).await;
    cluster.settled().await;
    // Without the third it takes the victim's word that the command is on its disk: what no other
    // has heard of a disk may be gone without harm, and nobody would notice.
    cluster.stop(other).await;
    propose(&cluster, leader, word(2)).await;
    cluster.start(other).await;
    cluster.settled().await;
    cluster.stop(victim).await;
    cluster.set_back(victim, &image);
    cluster.start(victim).await;
    let StopReason::Halted(text) = ended(cluster.node(victim)).await else {
        panic!("it takes part with less than it has acknowledged");
    };
    assert!(text.contains("set back to an older image"), "{text}");
    // It stays away as long as anyone remembers, and the others go on.
    cluster.start(victim).await;
    let again = ended(cluster.node(victim)).await;
    assert!(matches!(again, StopReason::Halted(_)), "{again:?}");
    propose(&cluster, leader, word(3)).await;
}

#[tokio::test]
async fn leadership_goes_where_it_is_told_to_and_no_command_is_lost_meanwhile() {
    // A transfer may take an election timeout, and this machine may be busy.
    let cluster = Cluster::started(3, |config| config.election = Duration::from_secs(3)).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6 {
        let node = cluster.node(client % 3 + 1).clone();
        clients.spawn(async move {
            for n in 0..100 {
                let command = word(client * 1000 + n);
                node.propose(command)
                    .await
                    .expect("commands wait for the next leader");
            }
        });
    }
    for _ in 0..5 {
        let (leader, to) = (cluster.leader().await, cluster.follower().await);
        let node = cluster.node(leader);
        assert_eq!(
            node.transfer_leadership(Some(NodeId(to))).await,
            Ok(NodeId(to))
        );
        until("the target leads", || {
            cluster.node(to).status().role == "leader"
        })
        .await;
    }
    while let Some(end) = clients.join_next().await {
        end.expect("the client is well");
    }
    let mut journal = cluster.settled().await;
    journal.sort();
    journal.dedup();
    assert_eq!(journal.len(), 600);
}

#[tokio::test]
async fn a_transfer_that_cannot_be_says_why() {
    let cluster = Cluster::started(3, plain).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let node = cluster.node(leader);
    let here = TransferError::NotLeader(Some(NodeId(leader)));
    assert_eq!(
        cluster.node(follower).transfer_leadership(None).await,
        Err(here)
    );
    let own = node.transfer_leadership(Some(NodeId(leader))).await;
    assert_eq!(own, Err(TransferError::Itself));
    let stranger = node.transfer_leadership(Some(NodeId(9))).await;
    assert_eq!(stranger, Err(TransferError::NotVoter));
}
