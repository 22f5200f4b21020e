//! One node alone, among peers that the test plays itself with frames written by hand: what it
//! does in a turn whose events contradict each other, and what it makes of peers that lie.
//!
//! # Source
//! docs/wire.md for the frames; rules R4, R11 and R12.

#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{Config, HardState, Index, Instant, LogId, NodeId, ReadLevel, Term, WriteId};
use headwater_replica::interface::{Input, Options, Output, ProposeFate, RequestId};
use headwater_replica::record::encode_entries;
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileDone, FileOrder};
use headwater_replica::{Entry, EntryKind, Identity, LogOrder, SnapshotMeta};
use wal_common::Ledger;

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
        let disk = Recovered {
            identity: Identity {
                cluster: 1,
                node: NodeId(1),
                incarnation: 1,
            },
            hard: HardState::default(),
            base: LogId::default(),
            config: Config::of_voters((1..=3).map(NodeId)),
            machine: Ledger::default(),
            log_base: LogId::default(),
            entries: Vec::new(),
            commit: Index(0),
            next_write: WriteId(1),
            torn_bytes: 0,
        };
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
    frame(5, term.0, &[&commit.to_le_bytes(), &round.to_le_bytes()])
}

// What came out.

fn frames_to(outputs: &[Output<Ledger>], peer: u64) -> Vec<Bytes> {
    let to_peer = |output: &Output<Ledger>| match output {
        Output::Frame { to, frame } if *to == NodeId(peer) => Some(frame.clone()),
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

// Turns in which much happens.

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
    let mut node = Node::new(|options| options.lease_drift_ppm = Some(1000));
    let term = node.lead();
    node.run([from(2, durable(term, 1))]);
    let fx = node.wait(100);
    assert!(kinds_to(&fx, 2).contains(&5), "a heartbeat: {fx:?}");
    let promise = 1000 * MS;
    let reply = frame(6, term.0, &[&1_u64.to_le_bytes(), &promise.to_le_bytes()]);
    node.run([from(2, reply)]);
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
