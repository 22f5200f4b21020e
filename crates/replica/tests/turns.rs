//! One node alone, among peers that the test plays itself with frames written by hand: what it
//! does in a turn whose events contradict each other, and what it makes of peers that lie.
//!
//! # Source
//! docs/wire.md for the frames; rules R4, R11 and R12.

#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{
    Config, Incarnation, Index, Instant, LogId, Message, NodeId, NotChanged, ReadLevel, Term,
    TransferFailed, TransferRefused, WriteId,
};
use headwater_replica::config_record::decode_change;
use headwater_replica::interface::{
    Input, MemberChange, Options, Output, ProposeFate, ReconfigureFate, RequestId, TransferFate,
};
use headwater_replica::record::encode_entries;
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileDone, FileOrder};
use headwater_replica::{Entry, EntryKind, Identity, LogOrder, SnapshotMeta, message_of};
use wal_common::{Ledger, sum};

const MS: u64 = 1_000_000;

/// Node 1 of three, its disk as quick as thought.
struct Node {
    replica: Replica<Ledger>,
    now: Instant,
}

impl Node {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let disk = Recovered::blank(
            Identity {
                cluster: 1,
                node: NodeId(1),
                incarnation: 1,
            },
            Config::of_voters((1..=3).map(NodeId)),
        );
        let now = Instant(MS);
        let mut node = Self {
            replica: Replica::new(now, options, disk).unwrap(),
            now,
        };
        node.turn(links(true));
        node
    }

    /// One turn, without a disk.
    fn turn(&mut self, inputs: impl IntoIterator<Item = Input<Ledger>>) -> Vec<Output<Ledger>> {
        let mut out = Vec::new();
        for input in inputs {
            self.replica.step(self.now, input, &mut out);
        }
        self.replica.end_turn(self.now, &mut out);
        out
    }

    /// Turns until the log has nothing more to do.
    fn run(&mut self, inputs: impl IntoIterator<Item = Input<Ledger>>) -> Vec<Output<Ledger>> {
        let mut all = self.turn(inputs);
        let mut done = 0;
        while let Some(upto) = all[done..].iter().filter_map(write_id).max() {
            done = all.len();
            all.extend(self.turn([Input::LogDone { upto }]));
        }
        all
    }

    fn wait(&mut self, ms: u64) -> Vec<Output<Ledger>> {
        self.now = self.now.after(ms * MS);
        self.run([])
    }

    /// Node 1 wins an election of nodes 1 and 2; returns its term.
    fn lead(&mut self) -> Term {
        self.wait(2000);
        let term = self.replica.raft().term().next();
        self.run([from(2, vote_reply(term, true))]);
        self.run([from(2, vote_reply(term, false))]);
        assert_eq!(self.replica.status().role, "leader");
        assert_eq!(self.replica.raft().term(), term);
        term
    }

    /// Node 1 follows node 2 in `term`.
    fn follow(&mut self, term: Term) {
        self.run([from(2, beat(term, 0, 0))]);
        assert_eq!(self.replica.raft().leader(), Some(NodeId(2)));
    }
}

fn links(up: bool) -> [Input<Ledger>; 2] {
    [2, 3].map(|peer| Input::Link {
        peer: NodeId(peer),
        up,
    })
}

fn write_id(output: &Output<Ledger>) -> Option<WriteId> {
    match output {
        Output::Log(LogOrder::Write(write)) => Some(write.id),
        Output::Log(LogOrder::Reset { id, .. }) => Some(*id),
        _ => None,
    }
}

// Frames, as docs/wire.md draws them.

fn from(peer: u64, frame: Bytes) -> Input<Ledger> {
    let from = NodeId(peer);
    Input::Frame { from, frame }
}

fn frame(kind: u8, number: u64, rest: &[&[u8]]) -> Bytes {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_le_bytes());
    rest.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.into()
}

fn log_id(id: LogId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.term.0.to_le_bytes());
    bytes[8..].copy_from_slice(&id.index.0.to_le_bytes());
    bytes
}

fn vote_reply(term: Term, pre: bool) -> Bytes {
    frame(2, term.0, &[&[u8::from(pre), 1]])
}

fn durable(term: Term, upto: u64) -> Bytes {
    frame(4, term.0, &[&[1], &upto.to_le_bytes()])
}

fn beat(term: Term, commit: u64, round: u64) -> Bytes {
    let [commit, round] = [commit, round].map(u64::to_le_bytes);
    frame(5, term.0, &[&commit, &round, &commit, &[0]])
}

fn beat_reply(term: Term) -> Bytes {
    promising_reply(term, 0, 0)
}

fn promising_reply(term: Term, round: u64, promise_ns: u64) -> Bytes {
    frame(
        6,
        term.0,
        &[&round.to_le_bytes(), &promise_ns.to_le_bytes(), &[0]],
    )
}

// What came out.

fn frames_to(outputs: &[Output<Ledger>], peer: u64) -> Vec<Bytes> {
    let to_peer = |output: &Output<Ledger>| match output {
        Output::Frame { to, frame, .. } if *to == NodeId(peer) => Some(frame.clone()),
        _ => None,
    };
    outputs.iter().filter_map(to_peer).collect()
}

fn kinds_to(outputs: &[Output<Ledger>], peer: u64) -> Vec<u8> {
    frames_to(outputs, peer)
        .iter()
        .map(|frame| frame[0])
        .collect()
}

/// Which of the notices of a commit index to a peer may wait.
fn notices_to(outputs: &[Output<Ledger>], peer: u64) -> Vec<bool> {
    let notice = |output: &Output<Ledger>| match output {
        Output::Frame {
            to,
            frame,
            can_wait,
        } => {
            let is_notice = matches!(message_of(frame), Some(Message::Commit { .. }));
            assert!(is_notice || !can_wait, "somebody waits for {frame:?}");
            (is_notice && *to == NodeId(peer)).then_some(*can_wait)
        }
        _ => None,
    };
    outputs.iter().filter_map(notice).collect()
}

// Turns in which much happens.

#[test]
fn that_something_is_committed_can_wait_unless_it_was_passed_on_by_who_is_told() {
    let mut node = Node::new(|_| ());
    let term = node.lead();
    let mut last = node.replica.status().last.index.0;
    let acknowledge = |last| [2, 3].map(|peer| from(peer, durable(term, last)));
    node.run(acknowledge(last));
    last = node.replica.status().last.index.0;
    node.run(acknowledge(last));
    let own = Input::Propose {
        request: RequestId(1),
        command: vec![7; 10].into(),
    };
    node.run([own]);
    let fx = node.run(acknowledge(last + 1));
    let notices = [2, 3].map(|peer| notices_to(&fx, peer));
    assert_eq!(notices, [[true], [true]]);
    node.run([from(2, forward(1))]);
    let fx = node.run(acknowledge(last + 2));
    let notices = [2, 3].map(|peer| notices_to(&fx, peer));
    assert_eq!(notices, [[false], [true]]);
    // That was all that it passed on.
    let own = Input::Propose {
        request: RequestId(2),
        command: vec![7; 10].into(),
    };
    node.run([own]);
    let fx = node.run(acknowledge(last + 3));
    assert_eq!(notices_to(&fx, 2), [true]);
}

#[test]
fn what_is_said_before_a_connection_is_not_said_on_it() {
    let mut node = Node::new(|_| ());
    assert_eq!(frames_to(&node.turn([from(2, forward(1))]), 2).len(), 1);
    let peer = NodeId(2);
    let link = |up| Input::Link { peer, up };
    // Another process may be there now, with another disk.
    let (disk, life) = (Incarnation(22), 7);
    let met = || Input::Met { peer, disk, life };
    let said = node.turn([from(2, forward(2)), link(false), met(), link(true)]);
    assert!(frames_to(&said, 2).is_empty());
    let said = node.turn([link(false), from(2, forward(3)), met(), link(true)]);
    assert!(frames_to(&said, 2).is_empty());
}

#[test]
fn a_leader_deposed_in_the_turn_in_which_a_piece_was_read_does_not_send_it_in_the_new_term() {
    let mut node = Node::new(|options| {
        options.snapshot_log_bytes = 1000;
        options.log_keep_bytes = 0;
    });
    let term = node.lead();
    // The first entry, then the one that notes which disk this node has.
    node.run([from(2, durable(term, 1))]);
    node.run([from(2, durable(term, 2))]);
    // A snapshot is taken and the log before it forgotten; node 3 has nothing.
    node.run([Input::Propose {
        request: RequestId(1),
        command: vec![7; 2000].into(),
    }]);
    let fx = node.run([from(2, durable(term, 3))]);
    let begun = fx.iter().find_map(|output| match output {
        Output::File(FileOrder::Begin(meta)) => Some(meta.clone()),
        _ => None,
    });
    let meta: SnapshotMeta = begun.expect("a snapshot is due");
    let taken = Input::FileDone(FileDone::Taken(meta.clone()));
    let [_, down] = links(false);
    let [_, up] = links(true);
    let fx = node.run([from(3, durable(term, 0)), down, taken, up]);
    let read = |output: &Output<Ledger>| {
        matches!(output, Output::File(FileOrder::Read { to: NodeId(3), .. }))
    };
    assert!(fx.iter().any(read), "node 3 needs the snapshot: {fx:?}");
    // Node 3 has what it needs after all and leads the next term; that news and the piece that was
    // read for it come together.
    let piece = FileDone::Piece {
        to: NodeId(3),
        base: meta.base,
        total_bytes: 100,
        offset: 0,
        bytes: vec![1; 50].into(),
    };
    let fx = node.turn([from(3, beat(term.next(), 2, 0)), Input::FileDone(piece)]);
    assert_eq!(node.replica.raft().leader(), Some(NodeId(3)));
    assert!(
        !kinds_to(&fx, 3).contains(&16),
        "a piece says that its sender leads: {fx:?}"
    );
}

/// What the snapshot covers that is begun here.
fn begun(outputs: &[Output<Ledger>]) -> Option<SnapshotMeta> {
    outputs.iter().find_map(|output| match output {
        Output::File(FileOrder::Begin(meta)) => Some(meta.clone()),
        _ => None,
    })
}

/// Node 1 commits so many commands with node 2; what the snapshot covers that it begins meanwhile.
fn commit(node: &mut Node, term: Term, count: u64, bytes: usize) -> Option<SnapshotMeta> {
    let mut meta = None;
    for _ in 0..count {
        let index = node.replica.status().last.index.0 + 1;
        let fx = node.run([Input::Propose {
            request: RequestId(index),
            command: vec![7; bytes].into(),
        }]);
        meta = meta.or(begun(&fx));
        meta = meta.or(begun(&node.run([from(2, durable(term, index))])));
    }
    meta
}

/// Node 1 leads and begins a snapshot after `count` commands of 1000 bytes; what that covers.
fn snapshotting(node: &mut Node, count: u64) -> (Term, SnapshotMeta) {
    let term = node.lead();
    node.run([from(2, durable(term, 1))]);
    node.run([from(2, durable(term, 2))]);
    let meta = commit(node, term, count, 1000);
    (term, meta.expect("a snapshot is due"))
}

/// For whom a piece is read, of which snapshot, and from where.
fn reads(outputs: &[Output<Ledger>]) -> Vec<(u64, Option<LogId>, u64)> {
    let read = |output: &Output<Ledger>| match output {
        Output::File(FileOrder::Read {
            to, base, offset, ..
        }) => Some((to.0, *base, *offset)),
        _ => None,
    };
    outputs.iter().filter_map(read).collect()
}

fn read_piece(to: u64, base: LogId, offset: u64) -> Input<Ledger> {
    Input::FileDone(FileDone::Piece {
        to: NodeId(to),
        base,
        total_bytes: 1000,
        offset,
        bytes: vec![1; 100].into(),
    })
}

#[test]
fn the_log_behind_a_snapshot_is_kept_for_a_live_follower_up_to_a_bound() {
    // Two snapshots of ten entries more; an entry weighs 1024 bytes. Node 3 has none of them.
    for (log_keep_bytes, linked, kept) in [
        (0, true, [10, 10]),
        (2500, true, [12, 12]),
        (2500, false, [3, 3]),
        (0, false, [0, 0]),
    ] {
        let mut node = Node::new(|options| {
            options.snapshot_log_bytes = 9500;
            options.log_keep_bytes = log_keep_bytes;
        });
        let (term, mut meta) = snapshotting(&mut node, 10);
        let [_, down] = links(false);
        match linked {
            true => node.run([from(3, durable(term, 0))]),
            false => node.run([down]),
        };
        for (turn, kept) in kept.into_iter().enumerate() {
            node.run([Input::FileDone(FileDone::Taken(meta.clone()))]);
            let base = node.replica.raft().base();
            let behind = meta.base.index.0 - base.index.0;
            assert_eq!(behind, kept, "{log_keep_bytes} {linked} {turn}");
            if turn == 0 {
                meta = commit(&mut node, term, 10, 1000).expect("another is due");
            }
        }
    }
}

#[test]
fn the_log_behind_a_snapshot_that_is_being_sent_is_kept_as_long_as_the_next_one_takes() {
    for (is_sent, kept) in [(true, 13), (false, 10)] {
        let mut node = Node::new(|options| {
            options.snapshot_log_bytes = 300;
            options.log_keep_bytes = 0;
        });
        let term = node.lead();
        node.run([from(2, durable(term, 1))]);
        node.run([from(2, durable(term, 2))]);
        let [_, down] = links(false);
        let [_, up] = links(true);
        node.run([down]);
        let first = commit(&mut node, term, 50, 8).expect("a snapshot is due");
        // The state weighs 400 bytes by now, and an entry 32.
        let fx = node.run([Input::FileDone(FileDone::Taken(first.clone()))]);
        let second = begun(&fx).expect("another is due");
        let sent = node.run([up, from(3, durable(term, 0))]);
        assert_eq!(reads(&sent), [(3, None, 0)]);
        if is_sent {
            node.run([read_piece(3, first.base, 0)]);
        }
        node.run([Input::FileDone(FileDone::Taken(second.clone()))]);
        let base = node.replica.raft().base();
        assert_eq!(second.base.index.0 - base.index.0, kept);
    }
}

#[test]
fn pieces_for_all_followers_together_keep_their_pace() {
    let mut node = Node::new(|options| {
        options.snapshot_log_bytes = 1000;
        options.log_keep_bytes = 0;
        // A hundred bytes take ten milliseconds.
        options.snapshot_send_bytes_per_second = 10_000;
    });
    let (term, meta) = snapshotting(&mut node, 2);
    let base = meta.base;
    let [_, down] = links(false);
    let [_, up] = links(true);
    let taken = Input::FileDone(FileDone::Taken(meta));
    let sent = node.run([down, taken, up, from(3, durable(term, 0))]);
    assert_eq!(reads(&sent), [(3, None, 0)]);
    // The first piece leaves at once, and for the second the time before it is made good.
    for offset in [0, 100] {
        let sent = node.run([read_piece(3, base, offset)]);
        assert!(kinds_to(&sent, 3).contains(&16));
        let sent = node.run([from(3, piece_reply(base, offset + 100))]);
        let next = [(3, Some(base), offset + 100)];
        assert_eq!(reads(&sent), next[..usize::from(offset == 0)]);
    }
    assert_eq!(reads(&node.wait(9)), []);
    assert!(node.replica.next_deadline() <= node.now.after(MS));
    assert_eq!(reads(&node.wait(1)), [(3, Some(base), 200)]);
}

#[test]
fn the_pace_is_doubled_when_the_log_has_outrun_a_snapshot() {
    let mut node = Node::new(|options| {
        options.snapshot_log_bytes = 1000;
        options.log_keep_bytes = 0;
        options.snapshot_send_bytes_per_second = 10_000;
    });
    let (term, first) = snapshotting(&mut node, 1);
    let [_, down] = links(false);
    let [_, up] = links(true);
    let taken = |meta: &SnapshotMeta| Input::FileDone(FileDone::Taken(meta.clone()));
    node.run([down, taken(&first), up, from(3, durable(term, 0))]);
    node.run([read_piece(3, first.base, 0)]);
    let second = commit(&mut node, term, 1, 1000).expect("another is due");
    node.run([taken(&second)]);
    // More than is kept for whoever is being sent a snapshot.
    let third = commit(&mut node, term, 1, 1000).expect("a third is due");
    node.run([taken(&third)]);
    assert!(node.replica.raft().base().index > first.base.index);
    node.wait(100);
    // Node 3 has installed the first, and needs another.
    let again = node.run([from(3, durable(term, first.base.index.0))]);
    assert_eq!(reads(&again), [(3, None, 0)]);
    for offset in [0, 100] {
        node.run([read_piece(3, third.base, offset)]);
        node.run([from(3, piece_reply(third.base, offset + 100))]);
    }
    assert_eq!(reads(&node.wait(4)), []);
    assert_eq!(reads(&node.wait(1)), [(3, Some(third.base), 200)]);
}

#[test]
fn an_own_snapshot_keeps_its_pace_unless_room_is_short() {
    for short in [false, true] {
        let mut node = Node::new(|options| {
            options.snapshot_log_bytes = 10_000;
            options.chunk_bytes = 8;
            // A chunk takes ten milliseconds.
            options.snapshot_write_bytes_per_second = 800;
        });
        let chunks = |outputs: &[Output<Ledger>]| {
            let chunk = |output: &&Output<_>| matches!(output, Output::File(FileOrder::Chunk(_)));
            outputs.iter().filter(chunk).count()
        };
        snapshotting(&mut node, 10);
        if short {
            node.run([Input::LogSpace { short }]);
        }
        let wrote = || Input::FileDone(FileDone::Wrote);
        let fx = node.run([wrote(), wrote()]);
        if short {
            assert_eq!(chunks(&fx), 2, "as many as the disk takes");
            continue;
        }
        assert_eq!(chunks(&fx), 0);
        assert_eq!(chunks(&node.wait(9)), 0);
        assert!(node.replica.next_deadline() <= node.now.after(MS));
        assert_eq!(chunks(&node.wait(1)), 1);
        assert_eq!(chunks(&node.wait(10)), 1);
        assert_eq!(chunks(&node.wait(10)), 0, "two wait for the disk");
    }
}

/// A piece of the leader's snapshot of 1000 bytes that covers `base`.
fn piece(term: Term, base: LogId, offset: u64) -> Bytes {
    let (total, offset) = (1000_u64.to_le_bytes(), offset.to_le_bytes());
    frame(16, term.0, &[&log_id(base), &total, &offset, &[7; 100]])
}

fn piece_reply(base: LogId, upto: u64) -> Bytes {
    frame(17, upto, &[&log_id(base)])
}

/// Where the pieces lie that went to the file.
fn received_at(outputs: &[Output<Ledger>]) -> Vec<u64> {
    let place = |output: &Output<Ledger>| match output {
        Output::File(FileOrder::Receive { offset, .. }) => Some(*offset),
        _ => None,
    };
    outputs.iter().filter_map(place).collect()
}

#[test]
fn a_snapshot_of_which_a_part_is_here_goes_on_where_it_was_interrupted() {
    let mut node = Node::new(|_| ());
    node.follow(Term(5));
    let base = LogId::new(Term(4), Index(90));
    for offset in [0, 100] {
        let upto = offset + 100;
        let fx = node.run([from(2, piece(Term(5), base, offset))]);
        assert_eq!(received_at(&fx), [offset]);
        let fx = node.run([Input::FileDone(FileDone::Received { base, upto })]);
        assert_eq!(frames_to(&fx, 2), [piece_reply(base, upto)]);
    }
    // The connection breaks. The leader does not know what has arrived, and begins anew.
    let peer = NodeId(2);
    node.run([false, true].map(|up| Input::Link { peer, up }));
    let fx = node.run([from(2, piece(Term(5), base, 0))]);
    assert_eq!(received_at(&fx), [], "that is here");
    assert!(
        frames_to(&fx, 2).contains(&piece_reply(base, 200)),
        "{fx:?}"
    );
    let fx = node.run([from(2, piece(Term(5), base, 200))]);
    assert_eq!(received_at(&fx), [200]);
}

#[test]
fn of_two_leaders_snapshots_no_file_is_put_together() {
    // They may cover the same and be cut otherwise.
    let base = LogId::new(Term(4), Index(90));
    let later = LogId::new(Term(4), Index(95));
    for (leader, term, covered) in [(3, 6, base), (2, 7, base), (2, 5, later)] {
        let mut node = Node::new(|_| ());
        node.follow(Term(5));
        node.run([from(2, piece(Term(5), base, 0))]);
        let upto = 100;
        node.run([Input::FileDone(FileDone::Received { base, upto })]);
        let fx = node.run([from(leader, piece(Term(term), covered, 100))]);
        assert_eq!(received_at(&fx), [], "not where the other's file ends");
        let nothing = piece_reply(covered, 0);
        assert!(frames_to(&fx, leader).contains(&nothing), "{fx:?}");
        let fx = node.run([from(leader, piece(Term(term), covered, 0))]);
        assert_eq!(received_at(&fx), [0], "it begins anew");
    }
}

#[test]
fn a_snapshot_that_was_dropped_begins_anew() {
    let base = LogId::new(Term(4), Index(90));
    let refused = || FileDone::Refused {
        base,
        why: "damaged".into(),
    };
    let lost = || FileDone::Received { base, upto: 0 };
    for done in [refused(), lost()] {
        let mut node = Node::new(|_| ());
        node.follow(Term(5));
        node.run([from(2, piece(Term(5), base, 0))]);
        let upto = 100;
        node.run([Input::FileDone(FileDone::Received { base, upto })]);
        node.run([Input::FileDone(done)]);
        let fx = node.run([from(2, piece(Term(5), base, 0))]);
        assert_eq!(received_at(&fx), [0]);
    }
}

// Reads.

fn query(request: u64) -> Input<Ledger> {
    query_as(request, ReadLevel::Linearizable)
}

fn query_as(request: u64, level: ReadLevel) -> Input<Ledger> {
    Input::Query {
        request: RequestId(request),
        query: (),
        level: Some(level),
    }
}

fn answered(outputs: &[Output<Ledger>]) -> Vec<u64> {
    let answer = |output: &Output<Ledger>| match output {
        Output::Answered { request, result } if result.is_ok() => Some(request.0),
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

/// The answer to a question for a read: the beginning will do.
fn read_tell(ask: &Bytes) -> Bytes {
    let (id, life) = (&ask[1..9], &ask[9..17]);
    let id = u64::from_le_bytes(id.try_into().unwrap());
    frame(9, id, &[life, &[0], &[0; 8]])
}

/// The answer to a question for a read: not here.
fn read_tell_none(ask: &Bytes) -> Bytes {
    let (id, life) = (&ask[1..9], &ask[9..17]);
    let id = u64::from_le_bytes(id.try_into().unwrap());
    frame(9, id, &[life, &[1], &[0; 8]])
}

fn asks(outputs: &[Output<Ledger>]) -> Vec<Bytes> {
    let mut frames = frames_to(outputs, 2);
    frames.retain(|frame| frame[0] == 8);
    frames
}

#[test]
fn the_queries_of_a_turn_share_one_read_of_their_level() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let bounded = ReadLevel::Bounded { max_lag_ns: MS };
    let levels = [ReadLevel::Linearizable, ReadLevel::Lease, bounded];
    let many = (0..3000).map(|request| query_as(request, levels[request as usize % 3]));
    let asked = asks(&node.run(many));
    let by_lease: Vec<u8> = asked.iter().map(|ask| ask[17]).collect();
    assert_eq!(by_lease, [0, 1, 0], "in the order of levels");
    let told = asked.iter().map(|ask| from(2, read_tell(ask)));
    let told: Vec<_> = told.collect();
    assert_eq!(answered(&node.run(told)).len(), 3000);
}

#[test]
fn a_bounded_query_needs_no_leader_when_something_so_recent_was_read_here() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let asked = asks(&node.run([query(1)]));
    node.run([from(2, read_tell(&asked[0]))]);
    node.run(links(false));
    node.wait(100);
    let within = |ms: u64| ReadLevel::Bounded {
        max_lag_ns: ms * MS,
    };
    let fx = node.run([query_as(2, within(99)), query_as(3, within(100))]);
    assert_eq!(answered(&fx), [3]);
    assert_eq!(asks(&fx), [] as [Bytes; 0], "there is nobody to ask");
    // The other asks once there is.
    node.run(links(true));
    let fx = node.run([from(2, beat(Term(1), 0, 0))]);
    assert_eq!((answered(&fx), asks(&fx).len()), (vec![], 1));
}

#[test]
fn a_leader_with_a_lease_answers_queries_in_their_turn() {
    let mut node = Node::new(|options| options.core.lease_drift_ppm = Some(1000));
    let term = node.lead();
    node.run([from(2, durable(term, 1))]);
    let fx = node.wait(100);
    assert!(kinds_to(&fx, 2).contains(&5), "a heartbeat: {fx:?}");
    node.run([from(2, promising_reply(term, 1, 1000 * MS))]);
    let fx = node.run([query(1), query_as(2, ReadLevel::Lease)]);
    assert_eq!(answered(&fx), [2], "the other waits for a round");
    let beats = kinds_to(&fx, 2).into_iter().filter(|&kind| kind == 5);
    assert_eq!(beats.count(), 1);
}

#[test]
fn a_node_that_is_told_not_here_does_not_ask_again_at_once() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    // Node 2 has stepped down, and the link is as quick as thought: until node 1's patience ends,
    // every answer makes it ask again.
    let mut asked = asks(&node.run([query(1)]));
    let mut count = asked.len();
    for _ in 0..100 {
        node.now = node.now.after(MS / 10);
        let told = asked.iter().map(read_tell_none);
        let inputs: Vec<_> = told.map(|frame| from(2, frame)).collect();
        asked = asks(&node.run(inputs));
        count += asked.len();
    }
    assert!((1..=3).contains(&count), "{count} questions in 10 ms");
    // Another leader is asked at once.
    let fx = node.run([from(3, beat(Term(2), 0, 0))]);
    assert!(kinds_to(&fx, 3).contains(&8), "{fx:?}");
}

#[test]
fn a_read_that_is_told_not_here_is_asked_for_again_after_a_pause() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let asked = asks(&node.run([query(1)]));
    node.run([from(2, read_tell_none(&asked[0]))]);
    let mut count = 0;
    for _ in 0..100 {
        node.now = node.replica.next_deadline();
        count += asks(&node.run([from(2, beat(Term(1), 0, 0))])).len();
        if count > 0 {
            return;
        }
    }
    panic!("never asked again");
}

#[test]
fn reads_without_an_answer_do_not_pile_up() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    // A leader whose first entry is not committed (the others' disks hang) is heard but cannot
    // answer. Requests come and time out.
    let mut names = std::collections::BTreeSet::new();
    let mut most = 0;
    for request in 0..2000 {
        let mut fx = node.run([query(request)]);
        if request % 10 == 9 {
            node.now = node.now.after(100 * MS);
            fx.extend(node.run([from(2, beat(Term(1), 0, 0))]));
        }
        let asked = asks(&fx);
        most = most.max(asked.len());
        names.extend(asked);
    }
    assert!(names.len() <= 64, "{} reads under way", names.len());
    assert!(most <= 65, "{most} questions in one turn");
    // Once it can, all that have not timed out are answered.
    let mut answered = 0;
    for _ in 0..3 {
        let told: Vec<_> = names.iter().map(|ask| from(2, read_tell(ask))).collect();
        let fx = node.run(told);
        names = asks(&fx).into_iter().collect();
        let ok =
            |output: &&Output<Ledger>| matches!(output, Output::Answered { result: Ok(()), .. });
        answered += fx.iter().filter(ok).count();
    }
    assert!(answered >= 600, "{answered} answered");
}

// Peers that lie.

fn propose(request: u64) -> Input<Ledger> {
    Input::Propose {
        request: RequestId(request),
        command: vec![7; 100].into(),
    }
}

fn forward_reply(batch: u64, first: LogId) -> Bytes {
    frame(19, batch, &[&[0], &log_id(first)])
}

/// The first entry of term 1, committed: the leader's own, empty.
fn first_entry() -> Bytes {
    let id = LogId::new(Term(1), Index(1));
    let mut block = Vec::new();
    encode_entries(&[Entry::new(id, EntryKind::Noop, Bytes::new())], &mut block);
    let commit = 1_u64.to_le_bytes();
    frame(3, 1, &[&log_id(LogId::default()), &commit, &block])
}

fn fates(outputs: &[Output<Ledger>]) -> Vec<(u64, ProposeFate)> {
    let fate = |output: &Output<Ledger>| match output {
        Output::Proposed { request, result } => Some((request.0, (*result).err()?)),
        _ => None,
    };
    outputs.iter().filter_map(fate).collect()
}

#[test]
fn a_leader_that_names_a_place_where_no_command_stands_panics_nobody() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let fx = node.run([propose(1)]);
    assert!(kinds_to(&fx, 2).contains(&18), "passed on: {fx:?}");
    let first = LogId::new(Term(1), Index(1));
    node.run([from(2, forward_reply(1, first))]);
    let fx = node.run([from(2, first_entry())]);
    assert_eq!(fates(&fx), [(1, ProposeFate::Unknown)]);
}

#[test]
fn a_leader_that_names_one_place_twice_leaves_no_request_without_an_outcome() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    node.run([propose(1)]);
    node.run([propose(2)]);
    let first = LogId::new(Term(1), Index(2));
    let mut fx = node.run([from(2, forward_reply(1, first))]);
    fx.extend(node.run([from(2, forward_reply(2, first))]));
    fx.extend(node.wait(8000));
    let mut ended = fates(&fx);
    ended.sort_unstable_by_key(|&(request, _)| request);
    let unknown = ProposeFate::Unknown;
    assert_eq!(ended, [(1, unknown), (2, unknown)]);
}

#[test]
fn each_command_gets_the_outcome_of_its_place_in_whatever_order_places_are_named() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    for request in 1..=3 {
        node.run([propose(request)]);
    }
    let mut fx = Vec::new();
    for (batch, index) in [(1, 3), (2, 2), (3, 2)] {
        let place = LogId::new(Term(1), Index(index));
        fx.extend(node.run([from(2, forward_reply(batch, place))]));
    }
    assert_eq!(
        fates(&fx),
        [(2, ProposeFate::Unknown)],
        "its place was named again"
    );
    let command = |index| {
        let id = LogId::new(Term(1), Index(index));
        Entry::new(id, EntryKind::Command, vec![7; 100].into())
    };
    let mut block = Vec::new();
    encode_entries(&[command(1), command(2), command(3)], &mut block);
    let head = [log_id(LogId::default()).as_slice(), &3_u64.to_le_bytes()].concat();
    let fx = node.run([from(2, frame(3, 1, &[&head, &block]))]);
    let applied = |output: &Output<Ledger>| match output {
        Output::Proposed { request, result } => Some((request.0, (*result).ok()?.0.index.0)),
        _ => None,
    };
    let applied: Vec<_> = fx.iter().filter_map(applied).collect();
    assert_eq!(applied, [(3, 2), (1, 3)]);
}

#[test]
fn a_leader_that_names_the_last_place_of_all_panics_nobody() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    node.run([propose(1), propose(2)]);
    let last = LogId::new(Term(1), Index(u64::MAX));
    let mut fx = node.run([from(2, forward_reply(1, last))]);
    fx.extend(node.wait(8000));
    assert_eq!(fates(&fx).len(), 2);
}

#[test]
fn a_leader_takes_no_command_from_a_peer_that_it_would_not_take_from_a_client() {
    let mut node = Node::new(|options| options.command_bytes_max = 1000);
    let term = node.lead();
    node.run([from(2, durable(term, 1))]);
    let last = node.replica.raft().last();
    // It would have to go out again in a frame with more around it, which may not fit.
    let long = vec![1; 1001];
    let length = 1001_u32.to_le_bytes();
    let fx = node.run([from(2, frame(18, 1, &[&length, &long]))]);
    assert_eq!(frames_to(&fx, 2), [frame(19, 1, &[&[2]])]);
    assert_eq!(node.replica.raft().last(), last);
}

#[test]
fn a_proposal_that_is_passed_on_twice_is_counted_once() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let sent = node.run([propose(1)]);
    let forward = frames_to(&sent, 2).into_iter().find(|f| f[0] == 18);
    let batch = forward.expect("passed on")[1..9].try_into().unwrap();
    // Node 2 does not lead; node 3 does.
    node.run([from(2, frame(19, u64::from_le_bytes(batch), &[&[1]]))]);
    let sent = node.run([from(3, beat(Term(2), 0, 0))]);
    assert!(kinds_to(&sent, 3).contains(&18), "{sent:?}");
    assert_eq!(node.replica.status().proposals, 1);
}

// What can pile up.

/// Node 1 follows node 2, if it `leads` not itself, and may have 1000 bytes on their way to be
/// committed, which are eight commands with what an entry weighs beside its body.
fn narrow(leads: bool) -> (Node, Term) {
    let mut node = Node::new(|options| options.uncommitted_bytes_max = 1000);
    if leads {
        let term = lead_settled(&mut node);
        return (node, term);
    }
    node.follow(Term(1));
    (node, Term(1))
}

/// Proposes until that is refused: how many commands were taken.
fn taken_until_busy(node: &mut Node, names: u64) -> u64 {
    for taken in 0..100 {
        let fx = node.run([propose(names + taken)]);
        if let Some(&(_, fate)) = fates(&fx).first() {
            assert_eq!(fate, ProposeFate::Busy);
            return taken;
        }
    }
    panic!("a hundred commands were taken");
}

#[test]
fn a_leader_takes_no_more_commands_than_may_wait_to_be_committed() {
    let (mut node, term) = narrow(true);
    assert_eq!(
        taken_until_busy(&mut node, 1),
        9,
        "the ninth is one too many"
    );
    // Nor from a peer; and once they are committed, from anyone.
    let fx = node.run([from(2, forward(5))]);
    assert!(frames_to(&fx, 2).contains(&frame(19, 5, &[&[2]])), "{fx:?}");
    let last = last(&node);
    node.run([from(2, durable(term, last))]);
    assert_eq!(taken_until_busy(&mut node, 100), 9);
}

#[test]
fn a_follower_takes_no_more_commands_than_may_wait_for_its_leaders_answer() {
    let (mut node, term) = narrow(false);
    assert_eq!(taken_until_busy(&mut node, 1), 9);
    // They were passed on one by one; the first three are answered.
    for batch in 1..=3 {
        let place = LogId::new(term, Index(batch + 1));
        node.run([from(2, forward_reply(batch, place))]);
    }
    assert_eq!(taken_until_busy(&mut node, 100), 3);
    // What ends as unknown waits no more.
    node.wait(8000);
    node.follow(Term(2));
    assert_eq!(taken_until_busy(&mut node, 200), 9);
}

#[test]
fn without_a_leader_even_commands_of_no_length_do_not_pile_up() {
    let mut node = Node::new(|options| options.uncommitted_bytes_max = 1000);
    let commands = (1..=100).map(|request| Input::Propose {
        request: RequestId(request),
        command: Bytes::new(),
    });
    let fx = node.run(commands);
    let busy = fates(&fx)
        .iter()
        .filter(|(_, fate)| *fate == ProposeFate::Busy)
        .count();
    assert_eq!(
        busy,
        100 - 42,
        "42 are more than 1000 bytes with what an entry weighs"
    );
}

/// The appends that left for node 2: how many, and how long their frames are together.
fn appends(outputs: &[Output<Ledger>]) -> (usize, usize) {
    let frames = frames_to(outputs, 2);
    let appends = frames.iter().filter(|frame| frame[0] == 3);
    appends.fold((0, 0), |(count, bytes), frame| {
        (count + 1, bytes + frame.len())
    })
}

#[test]
fn a_peer_is_sent_no_more_bytes_than_its_window_and_one_message_before_it_answers() {
    let (window, message) = (2000, 300);
    let mut node = Node::new(|options| {
        options.window_bytes_max = window;
        options.message_bytes_max = message;
    });
    let term = lead_settled(&mut node);
    let held = last(&node);
    let fx = node.run((1..=100).map(propose));
    let (count, bytes) = appends(&fx);
    // Two commands of 124 bytes fit a message, in a frame with some 80 bytes more.
    assert_eq!(count, 9);
    assert!(bytes <= window as usize + message + count * 80, "{bytes}");
    let fx = node.run([from(2, durable(term, held))]);
    assert_eq!(appends(&fx).0, 0, "that was known");
    let fx = node.run([from(2, durable(term, held + 6))]);
    assert_eq!(appends(&fx).0, 3, "as much as was answered");
}

#[test]
fn a_peer_is_sent_no_more_messages_than_may_be_on_their_way() {
    let mut node = Node::new(|options| {
        options.core.inflight_max = 4;
        options.message_bytes_max = 1;
    });
    let term = lead_settled(&mut node);
    let held = last(&node);
    let fx = node.run((1..=100).map(propose));
    assert_eq!(appends(&fx).0, 4);
    let fx = node.run([from(2, durable(term, held + 3))]);
    assert_eq!(appends(&fx).0, 3);
}

// Changes of members.

fn change(request: u64, voters: &[u64]) -> Input<Ledger> {
    let nodes = |ids: &[u64]| Config::of_voters(ids.iter().map(|&id| NodeId(id)));
    Input::Reconfigure {
        request: RequestId(request),
        change: MemberChange {
            expect: nodes(&[1, 2, 3]),
            target: nodes(voters),
            force: false,
            command: Bytes::new(),
        },
    }
}

fn changed(outputs: &[Output<Ledger>]) -> Vec<(u64, Result<(), ReconfigureFate>)> {
    let outcome = |output: &Output<Ledger>| match output {
        Output::Reconfigured { request, result } => Some((request.0, result.clone())),
        _ => None,
    };
    outputs.iter().filter_map(outcome).collect()
}

/// Node 1 leads, and its first entries are committed.
fn leading() -> (Node, Term) {
    let mut node = Node::new(|_| {});
    let term = node.lead();
    node.run([from(2, durable(term, 1))]);
    node.run([from(2, durable(term, 2))]);
    (node, term)
}

#[test]
fn a_change_of_members_ends_well_when_its_last_step_is_committed() {
    let (mut node, term) = leading();
    assert_eq!(changed(&node.run([change(7, &[1, 2])])), []);
    let fx = node.run([from(2, durable(term, 3))]);
    assert_eq!(changed(&fx), [], "it is joint");
    let fx = node.run([from(2, durable(term, 4))]);
    assert_eq!(changed(&fx), [(7, Ok(()))]);
    let members = node.replica.raft().config().voters();
    assert_eq!(members, [NodeId(1), NodeId(2)]);
}

fn change_telling(request: u64, voters: &[u64], command: &'static [u8]) -> Input<Ledger> {
    let Input::Reconfigure { request, change } = change(request, voters) else {
        panic!("made above");
    };
    let command = Bytes::from_static(command);
    let change = MemberChange { command, ..change };
    Input::Reconfigure { request, change }
}

#[test]
fn what_comes_with_a_change_is_applied_with_its_first_entry_and_once() {
    let (mut node, term) = leading();
    let fx = node.run([change_telling(7, &[1, 2], b"two go on")]);
    let told = |node: &Node| node.replica.machine().sums.clone();
    assert_eq!(told(&node), [], "nothing is committed");
    let followers = fx.iter().filter_map(|output| match output {
        Output::Log(LogOrder::Write(write)) => Some(write.entries.clone()),
        _ => None,
    });
    let written: Vec<Entry> = followers.flatten().collect();
    let (config, command) = decode_change(&written[0].body).expect("a configuration");
    assert!(config.is_joint());
    assert_eq!(command, &b"two go on"[..]);
    assert_eq!(written[0].command().as_deref(), Some(&command));
    node.run([from(2, durable(term, 3))]);
    assert_eq!(told(&node), [sum(b"two go on")], "joint, and applied");
    let fx = node.run([from(2, durable(term, 4))]);
    assert_eq!(changed(&fx), [(7, Ok(()))]);
    assert_eq!(told(&node), [sum(b"two go on")]);
}

#[test]
fn what_comes_with_a_change_that_does_not_begin_is_told_to_nobody() {
    let (mut node, term) = leading();
    node.run([change(7, &[1, 2])]);
    let refused = Err(ReconfigureFate::NotChanged(NotChanged::InProgress));
    let fx = node.run([change_telling(8, &[1, 3], b"too early")]);
    assert_eq!(changed(&fx), [(8, refused)]);
    node.run([from(2, durable(term, 3))]);
    node.run([from(2, durable(term, 4))]);
    assert_eq!(node.replica.machine().sums, []);
}

#[test]
fn a_change_that_does_not_begin_says_why_at_once() {
    let (mut node, _) = leading();
    node.run([change(7, &[1, 2])]);
    let refused = Err(ReconfigureFate::NotChanged(NotChanged::InProgress));
    assert_eq!(changed(&node.run([change(8, &[1, 3])])), [(8, refused)]);
}

#[test]
fn a_change_whose_place_another_entry_takes_is_surely_lost() {
    let (mut node, term) = leading();
    node.run([change(7, &[1, 2])]);
    // Node 3 leads the next term, and an entry of its own stands in that place.
    let next = term.next();
    let prev = LogId::new(term, Index(2));
    let own = Entry::new(LogId::new(next, Index(3)), EntryKind::Noop, Bytes::new());
    let mut block = Vec::new();
    encode_entries(&[own], &mut block);
    let append = frame(3, next.0, &[&log_id(prev), &3_u64.to_le_bytes(), &block]);
    let fx = node.run([from(3, append)]);
    assert_eq!(changed(&fx), [(7, Err(ReconfigureFate::Lost))]);
    let members = node.replica.raft().config().voters();
    assert_eq!(members.len(), 3, "as if it had never been asked for");
}

#[test]
fn a_change_that_takes_too_long_is_of_unknown_outcome() {
    let (mut node, term) = leading();
    node.run([change(7, &[1, 2])]);
    let fx = node.wait(Options::default().request_timeout_ns / MS);
    assert_eq!(changed(&fx), [(7, Err(ReconfigureFate::Unknown))]);
    // Whatever comes of it later, nobody is told twice.
    let fx = node.run([from(2, durable(term, 3))]);
    assert_eq!(changed(&fx), []);
}

// Handing over.

fn transfer(request: u64, to: Option<u64>) -> Input<Ledger> {
    Input::Transfer {
        request: RequestId(request),
        to: to.map(NodeId),
    }
}

type Transfers = Vec<(Option<RequestId>, Result<NodeId, TransferFate>)>;

fn transfers(outputs: &[Output<Ledger>]) -> Transfers {
    let ended = |output: &Output<Ledger>| match output {
        Output::Transferred { request, result } => Some((*request, *result)),
        _ => None,
    };
    outputs.iter().filter_map(ended).collect()
}

fn last(node: &Node) -> u64 {
    node.replica.raft().last().index.0
}

/// Node 1 leads, and node 2 holds all that it had to write of its own accord.
fn lead_settled(node: &mut Node) -> Term {
    let (term, mut held) = (node.lead(), 0);
    while held < last(node) {
        held = last(node);
        node.run([from(2, durable(term, held))]);
    }
    term
}

fn forward(batch: u64) -> Bytes {
    frame(18, batch, &[&1_u32.to_le_bytes(), &[7]])
}

#[test]
fn a_transfer_that_cannot_be_begun_ends_at_once_with_the_reason() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let fx = node.run([transfer(7, Some(3))]);
    let leader = Some(NodeId(2));
    let why = TransferFate::Refused(TransferRefused::NotLeader { leader });
    assert_eq!(transfers(&fx), [(Some(RequestId(7)), Err(why))]);
}

#[test]
fn a_transfer_tells_the_target_to_stand_and_ends_with_its_term() {
    let mut node = Node::new(|_| ());
    let term = lead_settled(&mut node);
    let fx = node.run([transfer(7, None)]);
    assert!(kinds_to(&fx, 2).contains(&10), "{fx:?}");
    assert_eq!(transfers(&fx), []);
    let fx = node.run([from(2, beat(term.next(), 1, 0))]);
    assert_eq!(transfers(&fx), [(Some(RequestId(7)), Ok(NodeId(2)))]);
}

#[test]
fn a_command_that_comes_during_a_transfer_waits_and_goes_to_the_next_leader() {
    let mut node = Node::new(|_| ());
    let term = lead_settled(&mut node);
    node.run([transfer(7, Some(2))]);
    let last = node.replica.raft().last();
    let fx = node.run([propose(1), from(3, forward(5))]);
    assert_eq!(node.replica.raft().last(), last, "nothing is appended");
    assert_eq!(fates(&fx), [], "and nothing is lost");
    assert!(
        frames_to(&fx, 3).contains(&frame(19, 5, &[&[3]])),
        "another's is told to wait: {fx:?}"
    );
    let fx = node.run([from(2, beat(term.next(), 1, 0))]);
    assert!(kinds_to(&fx, 2).contains(&18), "passed on: {fx:?}");
}

#[test]
fn a_command_that_comes_during_a_transfer_is_taken_here_if_that_fails() {
    let mut node = Node::new(|_| ());
    let term = lead_settled(&mut node);
    let last = last(&node);
    node.run([transfer(7, Some(3)), propose(1)]);
    let mut fx = Vec::new();
    while transfers(&fx).is_empty() {
        node.now = node.replica.next_deadline();
        fx = node.run([from(2, beat_reply(term))]);
    }
    let (to, why) = (NodeId(3), TransferFailed::TimedOut);
    let failed = TransferFate::Failed { to, why };
    assert_eq!(transfers(&fx), [(Some(RequestId(7)), Err(failed))]);
    let now = node.replica.raft().last().index.0;
    assert_eq!(now, last + 1, "in the same turn");
}

#[test]
fn a_leader_that_refuses_commands_is_asked_again_soon_but_not_at_once() {
    for refusal in [1, 3, 4] {
        let mut node = Node::new(|_| ());
        node.follow(Term(1));
        let mut sent = frames_to(&node.run([propose(1)]), 2);
        let (mut asked, begun) = (0, node.now);
        while asked < 5 {
            let forwards: Vec<Bytes> = sent.into_iter().filter(|f| f[0] == 18).collect();
            asked += forwards.len();
            let told = forwards.iter().map(|forward| {
                let batch = u64::from_le_bytes(forward[1..9].try_into().unwrap());
                from(2, frame(19, batch, &[&[refusal]]))
            });
            let told: Vec<_> = told.chain([from(2, beat(Term(1), 0, 0))]).collect();
            let fx = node.run(told);
            sent = frames_to(&fx, 2);
            node.now = node.now.after(MS);
            sent.extend(frames_to(&node.run([]), 2));
        }
        let passed_ms = node.now.since(begun) / MS;
        assert!(
            (150..400).contains(&passed_ms),
            "five times in {passed_ms} ms"
        );
    }
}

#[test]
fn what_a_peer_refused_before_it_led_does_not_keep_commands_from_it_once_it_leads() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    let sent = frames_to(&node.run([propose(1)]), 2);
    let forward = sent.iter().find(|f| f[0] == 18).expect("passed on");
    let batch = u64::from_le_bytes(forward[1..9].try_into().unwrap());
    // Node 2 has stood down, refuses, and is elected again; its refusal comes after its heartbeat.
    node.run([from(2, beat(Term(2), 0, 0))]);
    let mut fx = node.run([from(2, frame(19, batch, &[&[1]]))]);
    for _ in 0..2 {
        fx.extend(node.wait(50));
        fx.extend(node.run([from(2, beat(Term(2), 0, 0))]));
    }
    assert_eq!(fates(&fx), []);
    assert!(kinds_to(&fx, 2).contains(&18), "passed on to the leader");
}

#[test]
fn a_command_ends_as_disk_slow_if_the_leaders_disk_hangs_and_nobody_else_could_lead() {
    let mut node = Node::new(|_| ());
    let term = lead_settled(&mut node);
    // Node 3 has not been heard for long, so nodes 2 and 3 are no quorum. Node 1's disk takes this
    // and no more.
    for _ in 0..10 {
        node.wait(100);
        node.run([from(2, beat_reply(term))]);
    }
    node.turn([propose(1)]);
    let last = last(&node);
    node.turn([from(2, durable(term, last))]);
    let mut ended = Vec::new();
    for at in 0..100 {
        node.now = node.now.after(100 * MS);
        let input = (at == 20).then(|| propose(2));
        let fx = node.turn(input.into_iter().chain([from(2, beat_reply(term))]));
        assert_eq!(transfers(&fx), [], "there is nobody to hand over to");
        ended.extend(fates(&fx));
    }
    assert_eq!(
        ended,
        [(1, ProposeFate::Unknown), (2, ProposeFate::DiskSlow)]
    );
    assert_eq!(node.replica.status().role, "leader");
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_unasked() {
    let mut node = Node::new(|options| options.core.disk_slow_ns = 40 * MS);
    let term = lead_settled(&mut node);
    let last = last(&node);
    node.run([from(3, durable(term, last))]);
    node.turn([propose(1)]);
    let mut fx = node.turn([2, 3].map(|peer| from(peer, durable(term, last + 1))));
    let begun = node.now;
    while !kinds_to(&fx, 2).contains(&10) {
        node.now = node.replica.next_deadline();
        assert!(node.now <= begun.after(240 * MS));
        fx = node.turn([]);
    }
    // Two heartbeats after the write has become too old.
    assert_eq!(node.now, begun.after(240 * MS));
    let fx = node.turn([from(2, beat(term.next(), 2, 0))]);
    assert_eq!(transfers(&fx), [(None, Ok(NodeId(2)))]);
}

#[test]
fn a_command_passed_on_to_a_leader_that_is_replaced_has_the_fate_that_this_one_tells() {
    let passed_on = || {
        let mut node = Node::new(|_| ());
        node.follow(Term(1));
        let sent = frames_to(&node.run([propose(1)]), 2);
        assert!(sent.iter().any(|f| f[0] == 18), "passed on: {sent:?}");
        let fx = node.run([from(3, beat(Term(2), 0, 0))]);
        assert_eq!(fates(&fx), [], "node 2 may still say what it did");
        node
    };
    // It took nothing: the command goes to the new leader, which is not blamed for that.
    let fx = passed_on().run([from(2, frame(19, 1, &[&[1]]))]);
    assert_eq!(kinds_to(&fx, 3), [18]);
    // It took the command: the place it names decides.
    let mut node = passed_on();
    node.run([from(2, forward_reply(1, LogId::new(Term(1), Index(1))))]);
    assert_eq!(fates(&node.wait(1000)), []);
    // It says nothing, or its connection breaks: nobody knows.
    let unknown = [(1, ProposeFate::Unknown)];
    assert_eq!(fates(&passed_on().wait(300)), unknown);
    let [down, _] = links(false);
    assert_eq!(fates(&passed_on().run([down])), unknown);
}

// A full disk.

fn propose_small(request: u64) -> Input<Ledger> {
    Input::Propose {
        request: RequestId(request),
        command: vec![0; 10].into(),
    }
}

fn space(short: bool) -> Input<Ledger> {
    Input::LogSpace { short }
}

fn refused(request: u64) -> (u64, ProposeFate) {
    (request, ProposeFate::NoSpace)
}

#[test]
fn a_leader_whose_disk_is_full_refuses_what_grows_and_hands_over_once() {
    let mut node = Node::new(|_| ());
    let term = lead_settled(&mut node);
    let fx = node.run([space(true)]);
    assert!(
        frames_to(&fx, 2).iter().any(|frame| frame[0] == 10),
        "told to stand: {fx:?}"
    );
    // The other does not, so it leads on, and takes what makes the state smaller.
    for _ in 0..10 {
        node.wait(150);
        node.run([from(2, beat_reply(term))]);
    }
    let fx = node.run([propose(1), propose_small(2)]);
    assert_eq!(fates(&fx), [refused(1)]);
    assert!(fx.iter().any(|output| write_id(output).is_some()), "{fx:?}");
    let fx = node.run([from(3, forward(5))]);
    assert!(frames_to(&fx, 3).contains(&frame(19, 5, &[&[5]])), "{fx:?}");
    assert!(node.replica.status().short_of_space);
    let fx = node.run([space(false), propose(3)]);
    assert_eq!(fates(&fx), []);
}

#[test]
fn a_follower_passes_on_what_its_full_leader_takes_and_asks_again_later() {
    let mut node = Node::new(|_| ());
    node.follow(Term(1));
    node.run([propose(1), propose_small(2)]);
    let fx = node.run([from(2, frame(19, 1, &[&[5]]))]);
    assert_eq!(fates(&fx), [refused(1)]);
    let batch = |fx: &[Output<Ledger>]| {
        let frames = frames_to(fx, 2);
        frames.into_iter().filter(|frame| frame[0] == 18).count()
    };
    assert_eq!(batch(&fx), 1, "the other is passed on again: {fx:?}");
    let fx = node.run([propose(3), propose_small(4)]);
    assert_eq!((fates(&fx), batch(&fx)), (vec![refused(3)], 1));
    assert!(!node.replica.status().short_of_space);
    node.wait(2500);
    node.follow(Term(1));
    let fx = node.run([propose(5)]);
    assert_eq!((fates(&fx), batch(&fx)), (vec![], 1));
}

#[test]
fn a_reserve_is_asked_for_until_it_is_there_and_again_once_it_is_used() {
    let mut node = Node::new(|options| options.reserve_bytes = 1000);
    let asks = |fx: &[Output<Ledger>]| {
        let is_it = |output: &&Output<Ledger>| {
            matches!(output, Output::File(FileOrder::Reserve { bytes: 1000 }))
        };
        fx.iter().filter(is_it).count()
    };
    assert_eq!(asks(&node.run([])), 0, "asked for with the first turn");
    assert_eq!(asks(&node.wait(3000)), 1);
    let gives_room = |fx: &[Output<Ledger>]| {
        let is_it = |output: &Output<Ledger>| matches!(output, Output::Log(LogOrder::GiveRoom));
        fx.iter().any(is_it)
    };
    let fx = node.run([Input::FileDone(FileDone::Reserved(false))]);
    assert!(gives_room(&fx) && node.replica.status().short_of_space);
    assert_eq!(asks(&node.wait(3000)), 1);
    node.run([Input::FileDone(FileDone::Reserved(true))]);
    assert!(!node.replica.status().short_of_space);
    assert_eq!(asks(&node.wait(3000)), 0);
    let fx = node.run([Input::FileDone(FileDone::NoRoom)]);
    assert!(gives_room(&fx) && node.replica.status().short_of_space);
    assert_eq!(asks(&node.wait(3000)), 1);
}
