//! Disks set back: a node is given an older image of its own disk, as by a restored backup.
//! Never does what the design does not promise to find out (docs/divergence.md): a disk that lacks
//! what it has said is set back only while a peer remembers that, and meets this peer before any
//! other. What nobody has heard of may be gone without harm.
//!
//! A disk set back lacks what a cluster may rest on, so it counts as lost. It is *fenced*: until it
//! has halted it hears one witness alone, on a connection that loses nothing. If the witness dies
//! before it has spoken, the disk is taken away.
//!
//! # Source
//! Rule R13; docs/divergence.md ("A server's disk remembers"); Viewstamped Replication Revisited,
//! §4.3.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater_raft::{AppendResult, Config, Incarnation, Index, LogId, Message, Term, WriteId};
use headwater_replica::recovery::Recovered;
use headwater_replica::{LogOrder, message_of};

use crate::application::Application;
use crate::check::members::is_quorum;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::fault::Fault;
use crate::image::{LogImage, config_of};
use crate::node::{Crash, Node};
use crate::schedule::Event;
use crate::witness::Watched;
use crate::world::World;

/// What a disk has said, or holds: the measure by which a life is found to begin with less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Word {
    term: Term,
    voted: bool,
    /// The end of the log that is safe in that term.
    durable: Index,
}

impl Word {
    fn and(self, other: Self) -> Self {
        match self.term.cmp(&other.term) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self {
                term: self.term,
                voted: self.voted || other.voted,
                durable: self.durable.max(other.durable),
            },
        }
    }

    fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// What a message says of the disk it comes from.
    fn of(message: &Message) -> Option<Self> {
        let (term, voted, durable) = match *message {
            Message::Vote { pre: true, .. }
            | Message::VoteReply { pre: true, .. }
            | Message::RepairAsk { .. }
            | Message::ReadAsk { .. }
            | Message::ReadTell { .. }
            | Message::Heard { .. }
            | Message::Disowned { .. } => return None,
            Message::AppendReply {
                term,
                result: AppendResult::Durable(upto),
            } => (term, false, upto),
            Message::AppendReply { term, .. }
            | Message::BeatReply { term, .. }
            | Message::RepairTell { term, .. } => (term, false, Index(0)),
            Message::VoteReply { term, granted, .. } => (term, granted, Index(0)),
            Message::Beat { term, durable, .. } | Message::Commit { term, durable, .. } => {
                (term, true, durable)
            }
            Message::Vote { term, .. }
            | Message::Append { term, .. }
            | Message::TimeoutNow { term }
            | Message::Rest { term, .. }
            | Message::Snapshot { term, .. } => (term, true, Index(0)),
        };
        Some(Self {
            term,
            voted,
            durable,
        })
    }

    /// What a life begins with.
    fn at_start<M>(found: &Recovered<M>) -> Self {
        let vouched = found.base.term > found.hard.term;
        Self {
            term: found.hard.term.max(found.base.term),
            voted: !vouched && found.hard.voted_for.is_some(),
            durable: Index(found.log_base.index.0 + found.entries.len() as u64),
        }
    }
}

/// What has been heard of one disk, or said by it.
#[derive(Clone, Copy)]
struct Said {
    disk: Option<Incarnation>,
    word: Word,
    /// The last entry that it has called safe in the term of its word.
    last: LogId,
}

/// An image of a disk, and what that disk had to hold when it was made.
struct Image {
    disk: SimDisk,
    incarnation: Option<Incarnation>,
    durable: LogImage,
    issued: VecDeque<LogOrder>,
    snapshot: LogId,
    before_last: WriteId,
    is_rotten: bool,
}

/// Images, and the disks that were set back to them.
#[derive(Default)]
pub(crate) struct Setbacks {
    /// Whether the plan sets any disk back: else nobody keeps count.
    is_planned: bool,
    images: BTreeMap<usize, Image>,
    /// What each node's disk has said to anyone.
    said: BTreeMap<usize, Said>,
    /// What a node has heard of another in its present life.
    heard: BTreeMap<(usize, usize), Said>,
    /// The fenced nodes, and their witnesses.
    fenced: BTreeMap<usize, usize>,
    halted: BTreeSet<usize>,
}

impl Setbacks {
    pub(crate) fn new(faults: &[crate::plan::Planned]) -> Self {
        let mut faults = faults.iter();
        Self {
            is_planned: faults.any(|planned| matches!(planned.fault, Fault::Rollback { .. })),
            ..Self::default()
        }
    }

    /// Whether a node has halted over its disk.
    pub(crate) fn has_halted(&self, node: usize) -> bool {
        self.halted.contains(&node)
    }

    /// A message leaves a node.
    pub(crate) fn on_said<A: Application>(&mut self, from: &Node<A>, message: &Message) {
        let Some(word) = Word::of(message).filter(|_| self.is_planned) else {
            return;
        };
        let at = from.id.0 as usize - 1;
        let said = self.said.get(&at);
        let earlier = said.filter(|said| said.disk == from.incarnation);
        let both = earlier.map_or(word, |said| said.word.and(word));
        let last = match earlier {
            Some(said) if said.word.term == both.term && said.word.durable == both.durable => {
                said.last
            }
            _ => {
                let term = from.durable.term_at(both.durable);
                LogId::new(term.unwrap_or_default(), both.durable)
            }
        };
        let said = Said {
            disk: from.incarnation,
            word: both,
            last,
        };
        self.said.insert(at, said);
    }

    /// A node takes a frame in.
    pub(crate) fn on_heard(&mut self, node: usize, from: usize, frame: &bytes::Bytes) {
        if self.is_planned
            && let Some(heard) = self.heard.get_mut(&(node, from))
            && let Some(word) = message_of(frame).as_ref().and_then(Word::of)
        {
            heard.word = heard.word.and(word);
        }
    }

    /// A node is told which disk is at the other end of a connection.
    pub(crate) fn on_met(&mut self, node: usize, peer: usize, disk: Incarnation) {
        let pair = (node, peer);
        if self.heard.get(&pair).and_then(|heard| heard.disk) != Some(disk) {
            let unheard = Said {
                disk: Some(disk),
                word: Word::default(),
                last: LogId::default(),
            };
            self.heard.insert(pair, unheard);
        }
    }
}

impl<A: Application> World<A> {
    /// An image is made of a node's disk, as a power cut would leave it; after a while the disk is
    /// set back to it.
    pub(crate) fn strike_rollback(
        &mut self,
        at: usize,
        (age_ns, down_ns): (u64, u64),
        dice: &mut Dice,
    ) {
        let node = &self.nodes[at];
        if node.incarnation.is_none()
            || node.is_doubtful()
            || self.setbacks.images.contains_key(&at)
        {
            return;
        }
        let mut disk = node.disk.clone();
        disk.power_cut(dice);
        disk.restart();
        disk.set_quota(None);
        let image = Image {
            disk,
            incarnation: node.incarnation,
            durable: node.durable.clone(),
            issued: node.issued.clone(),
            snapshot: node.snapshot,
            before_last: node.before_last,
            is_rotten: node.is_rotten,
        };
        self.setbacks.images.insert(at, image);
        let back = Event::SetBack { node: at, down_ns };
        self.schedule.after(age_ns, back);
    }

    /// A disk is set back to its image, if that is within what the design promises.
    pub(crate) fn on_set_back(&mut self, at: usize, down_ns: u64) -> Result<(), Violation> {
        let Some(image) = self.setbacks.images.remove(&at) else {
            return Ok(());
        };
        let same = image.incarnation == self.nodes[at].incarnation;
        if self.calm_at.is_some() || !same || !self.may_lose_disk(at) {
            return Ok(());
        }
        let opened = self.try_open(&mut image.disk.clone(), at);
        let found = match opened {
            Ok(found) => found,
            Err(why) => {
                let what = format!("the image of n{} does not open: {why}", at + 1);
                return Err(Violation::new("rollback", what));
            }
        };
        if self.is_alone(at, &found) {
            return Ok(());
        }
        let began = Word::at_start(&found);
        let witness = self.witness_of(at, began);
        if witness.is_none() && !self.is_harmless(at, began, &image) {
            self.stats.rollbacks_unheard += 1;
            return Ok(());
        }
        let mut dice = Dice::of(
            self.plan.seed,
            "set back",
            &[at as u64, self.nodes[at].life],
        );
        let power = dice.chance(1, 2);
        self.crash(at, Crash::new(power, down_ns, &mut dice))?;
        let now = self.schedule.now();
        self.trace.note(now, Some(at), || {
            format!("is set back to {began:?}, witness {witness:?}")
        });
        self.trace.tell(now, Some(at), "set-back", |object| object);
        self.stats.rollbacks += 1;
        if let Some(witness) = witness {
            self.nodes[at].keep_as_lost();
            self.errands.lose(at);
            self.fence(at, witness);
        } else {
            self.stats.rollbacks_harmless += 1;
        }
        let node = &mut self.nodes[at];
        node.disk = image.disk;
        node.durable = image.durable;
        node.issued = image.issued;
        node.snapshot = image.snapshot;
        node.before_last = image.before_last;
        node.is_rotten = image.is_rotten;
        Ok(())
    }

    /// Whether a node could lead by its own vote, so that it needs no peer to begin.
    fn is_alone(&self, at: usize, found: &Recovered<Watched<A>>) -> bool {
        let id = self.nodes[at].id;
        let last: Option<(Index, Config)> = found.entries.iter().rev().find_map(config_of);
        let config = last.as_ref().map_or(&found.config, |(_, config)| config);
        is_quorum(config, |voter| voter == id)
    }

    /// A peer that lives and has heard more of a node's disk than `began`.
    fn witness_of(&self, at: usize, began: Word) -> Option<usize> {
        let disk = self.nodes[at].incarnation;
        let now = self.schedule.now();
        let remembers = |&peer: &usize| {
            let Some(live) = &self.nodes[peer].live else {
                return false;
            };
            let named = live.replica.raft().config().disk_of(self.nodes[at].id);
            let heard = self.setbacks.heard.get(&(peer, at));
            let heard = heard.filter(|heard| heard.disk == disk);
            peer != at
                && !self.nodes[peer].fenced
                && self.nodes[peer].paused_until <= now
                && named.is_none_or(|named| Some(named) == disk)
                && heard.is_some_and(|heard| !began.covers(heard.word))
        };
        (0..self.nodes.len()).find(remembers)
    }

    /// Whether a disk that is set back to `image` lacks nothing that anyone may rest on.
    fn is_harmless(&self, at: usize, began: Word, image: &Image) -> bool {
        let node = &self.nodes[at];
        let said = self.setbacks.said.get(&at);
        let said = said.filter(|said| said.disk == node.incarnation);
        // A leader counts itself without a word.
        let has_led = self.cluster.has_led(node.id, began.term);
        let holds = |last: LogId| {
            last.index <= image.snapshot.index
                || image.durable.term_at(last.index) == Some(last.term)
        };
        !has_led
            && said.is_none_or(|said| {
                let in_term = said.word.term == began.term;
                began.covers(said.word) && (!in_term || holds(said.last))
            })
    }

    fn fence(&mut self, at: usize, witness: usize) {
        self.nodes[at].fenced = true;
        self.setbacks.fenced.insert(at, witness);
        self.network.forget(at);
        let cut = self.directions(|from, to| is_fenced(at, witness, (from, to)));
        self.network.block(&cut);
        self.network.set_sure((at, witness), true);
        let patience = self.plan.knobs.election_ns * 8;
        self.schedule
            .after(patience, Event::TakeAway { node: at, witness });
    }

    /// A node has died: whom it was to tell something will not hear it.
    pub(crate) fn forget_setbacks(&mut self, at: usize) {
        self.setbacks.heard.retain(|&(node, _), _| node != at);
        let fenced = self.setbacks.fenced.iter();
        let waiting = fenced.filter(|&(_, &witness)| witness == at);
        for (&node, &witness) in waiting {
            self.schedule.after(0, Event::TakeAway { node, witness });
        }
    }

    /// A node halts. Only one whose disk was set back may.
    pub(crate) fn on_halt(&mut self, at: usize, why: &str) -> Result<(), Violation> {
        let expected = self.nodes[at].fenced && why.contains("set back to an older image");
        ensure(expected, "halt", || format!("n{}: {why}", at + 1))?;
        let now = self.schedule.now();
        self.trace.note(now, Some(at), || format!("halts: {why}"));
        if self.setbacks.halted.insert(at) {
            self.stats.rollbacks_halted += 1;
            let witness = self.setbacks.fenced[&at];
            // The operator does not come at once, and whoever has halted waits in silence.
            let after = self.plan.knobs.election_ns / 2;
            self.schedule
                .after(after, Event::TakeAway { node: at, witness });
        }
        Ok(())
    }

    /// A node starts: who has halted in an earlier life may speak until it is reminded anew.
    pub(crate) fn begin_life(&mut self, at: usize) {
        self.setbacks.halted.remove(&at);
    }

    /// A node that has halted says nothing of Raft's any more.
    pub(crate) fn check_silence(&self, at: usize) -> Result<(), Violation> {
        ensure(!self.setbacks.has_halted(at), "rollback", || {
            format!("n{} has halted, and speaks", at + 1)
        })
    }

    /// A fenced node has had a turn: if it heard its witness, it has halted, or died before it could.
    pub(crate) fn check_halted(&self, at: usize, has_heard: bool) -> Result<(), Violation> {
        let node = &self.nodes[at];
        let lives = node.fenced && node.live.is_some();
        let goes_on = lives && !self.setbacks.has_halted(at) && has_heard;
        ensure(!goes_on, "rollback", || {
            format!("n{} goes on with a disk that was set back", at + 1)
        })
    }

    /// The operator takes a disk away that was set back.
    pub(crate) fn on_take_away(&mut self, node: usize, witness: usize) -> Result<(), Violation> {
        if self.setbacks.fenced.get(&node) == Some(&witness) {
            return self.take_away(node);
        }
        Ok(())
    }

    pub(crate) fn take_away(&mut self, at: usize) -> Result<(), Violation> {
        let Some(witness) = self.setbacks.fenced.remove(&at) else {
            return Ok(());
        };
        let mut dice = Dice::of(
            self.plan.seed,
            "take away",
            &[at as u64, self.nodes[at].life],
        );
        self.crash(at, Crash::new(true, 1, &mut dice))?;
        self.setbacks.halted.remove(&at);
        self.nodes[at].fenced = false;
        self.lose_disk(at, false);
        let cut = self.directions(|from, to| is_fenced(at, witness, (from, to)));
        self.network.unblock(&mut self.schedule, &cut);
        self.network.set_sure((at, witness), false);
        Ok(())
    }
}

/// Whether a fence around a node that hears only its witness lies between two nodes.
fn is_fenced(at: usize, witness: usize, (from, to): (usize, usize)) -> bool {
    let other = if from == at { to } else { from };
    (from == at || to == at) && other != witness
}
