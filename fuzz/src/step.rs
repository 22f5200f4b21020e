//! The core, fed with any messages in any order, between deadlines, writes, proposals and reads.
//! The driver is a correct one: only peers may say anything.
//!
//! # Source
//! Rule R12: bad input is refused, a broken invariant halts the node, neither panics.

use headwater_raft::{
    Config, Effect, Entries, HardState, Incarnation, Index, Input, Instant, LogId, NodeId, Options,
    Pull, Raft, ReadId, Recovered, Term, Unreadable, WriteId,
};

use crate::assert_sound;
use crate::draw::Draw;
use crate::memory::Limit;

/// A read takes one byte here, and once the term's first entry is committed a heartbeat to each
/// peer and an answer, all effects of one step.
const CORE: Limit = Limit {
    bytes: 32 << 10,
    bytes_per_byte: 4 << 10,
};
/// The effects of one step, beside those that earlier inputs wait for.
const EFFECTS: usize = 64;
/// The effects that one earlier input can wait for: a heartbeat to each peer, and an answer.
const EFFECTS_PER_INPUT: usize = 6;

/// Runs one input.
pub fn run(data: &[u8]) {
    CORE.hold(data.len(), || walk(data));
}

fn walk(data: &[u8]) {
    let mut draw = Draw::new(data);
    let Some(mut node) = Node::start(&mut draw) else {
        return;
    };
    let mut inputs = 0;
    while !draw.is_done() && !node.raft.is_halted() {
        inputs += 1;
        node.event(&mut draw);
        let effects = std::mem::take(&mut node.fx);
        // Reads and answers may have waited for this very step, and each read that waited for the
        // term's first commit begins a round of heartbeats of its own.
        assert!(
            effects.len() <= EFFECTS + EFFECTS_PER_INPUT * inputs,
            "{} effects",
            effects.len()
        );
        effects.iter().for_each(|effect| node.note(effect));
        assert_sound(&node.raft);
    }
}

/// A core and what its driver knows.
struct Node {
    raft: Raft,
    now: Instant,
    fx: Vec<Effect>,
    issued: WriteId,
    offered: Vec<LogId>,
    reads: u64,
}

impl Node {
    fn start(draw: &mut Draw<'_>) -> Option<Self> {
        let prev = LogId::new(Term(draw.below(3)), Index(draw.below(3)));
        let mut log = Entries::none(prev);
        for _ in 0..draw.below(3) {
            let term = Term(log.last_id().term.0 + 1 + draw.below(2));
            log.runs.push((log.last.next(), term));
            log.last = Index(log.last.0 + 1 + draw.below(3));
        }
        let voters = 3 + 2 * draw.below(2);
        let mut unreadable = Vec::new();
        if draw.below(4) == 0 && !log.is_empty() {
            let first = Index(log.first().0 + draw.below(log.count()));
            unreadable.push(Unreadable {
                first,
                last: Index(first.0 + draw.below(log.last.0 - first.0 + 1)),
                may_hold_config: draw.coin(),
            });
        }
        let disk = Recovered {
            me: NodeId(1),
            hard: HardState {
                term: Term(log.last_id().term.0 + draw.below(3)),
                voted_for: draw.coin().then_some(NodeId(2)),
            },
            applied: prev,
            log,
            config: Config::of_voters((1..=voters).map(NodeId)),
            unreadable,
            commit_hint: Index(draw.below(8)),
            next_write: WriteId(1),
            disk: draw.coin().then_some(Incarnation(1)),
        };
        let now = Instant(0);
        let options = Options {
            rests: draw.coin(),
            priority: draw.byte(),
            lease_drift_ppm: draw.coin().then_some(1000),
            ..Options::default()
        };
        let raft = Raft::recover(now, options, disk).ok()?;
        Some(Self {
            raft,
            now,
            fx: Vec::new(),
            issued: WriteId(0),
            offered: Vec::new(),
            reads: 0,
        })
    }

    fn event(&mut self, draw: &mut Draw<'_>) {
        match draw.below(20) {
            0 => {
                self.now = self.now.max(self.raft.next_deadline());
                self.step(Input::Deadline);
            }
            1 => self.now = self.now.after(draw.number()),
            2 => {
                let upto = WriteId(self.issued.0.saturating_sub(draw.below(4)));
                self.step(Input::Persisted { upto });
            }
            3 => {
                let count = 1 + draw.number() % (1 << 20);
                // Not being the leader is an answer, too.
                let _ = self.raft.propose(self.now, count, &mut self.fx);
            }
            4 => {
                self.reads += 1;
                let (id, level) = (ReadId(self.reads), draw.level());
                self.raft.read(self.now, id, level, &mut self.fx);
            }
            5 => {
                let (peer, up) = (draw.node(), draw.coin());
                self.step(Input::Link { peer, up });
            }
            6 => self.send(draw),
            7 => self.raft.end_turn(&mut self.fx),
            8 => {
                let commit = self.raft.commit();
                let term = self.raft.term_at(commit).expect("the commit index is here");
                let base = LogId::new(term, commit);
                self.step(Input::Compacted { base });
            }
            9 => {
                if let Some(base) = self.offered.pop() {
                    let config = self.raft.config().clone();
                    self.step(Input::Installed { base, config });
                }
            }
            10 => {
                let (peer, disk) = (draw.node(), Incarnation(draw.below(2).into()));
                let life = draw.below(3);
                self.step(Input::Met { peer, disk, life });
            }
            11 => {
                let expect = self.raft.config().clone();
                let (target, force) = (draw.config(), draw.coin());
                let fx = &mut self.fx;
                let _ = self.raft.reconfigure(self.now, &expect, &target, force, fx);
            }
            12 => {
                let to = draw.coin().then(|| draw.node());
                let _ = self.raft.transfer(self.now, to, &mut self.fx);
            }
            _ => {
                let (from, message) = (draw.node(), draw.message());
                self.step(Input::Receive { from, message });
            }
        }
    }

    fn step(&mut self, input: Input) {
        self.raft.step(self.now, input, &mut self.fx);
    }

    fn send(&mut self, draw: &mut Draw<'_>) {
        let peer = draw.node();
        if let Pull::Append { first, last } = self.raft.pull(peer) {
            let upto = Index(last.0.min(first.0 + draw.below(4))).max(first.prev());
            self.raft.sent(self.now, peer, upto);
        }
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Persist(write) => {
                assert_eq!(write.id, self.issued.next(), "writes have no gaps");
                self.issued = write.id;
            }
            Effect::Install { base, .. } => self.offered = vec![*base],
            _ => {}
        }
    }
}
