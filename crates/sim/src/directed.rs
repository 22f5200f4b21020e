//! What leads a world to a point of the plan's choosing: what a client asks and when, messages that
//! are late or lost, and claims that the point was reached.
//! Never judges the nodes: a claim is about the plan, and is told only where no oracle objects.
//!
//! # Source
//! Raft paper, Figures 7 and 8 (histories told move by move); docs/plans.md.

use bytes::Bytes;
use headwater_raft::{Message, RoleName};
use headwater_replica::message_of;

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::fault::{Fault, MARKS, Mark};
use crate::knobs::MS;
use crate::text::Word;
use crate::trace::Stats;
use crate::world::World;

/// What a client wants, in the application's words, without blanks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish(pub String);

impl Word for Wish {
    fn spell(&self, _: bool) -> String {
        self.0.clone()
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        if word.is_empty() {
            return Err("a wish is wanted".into());
        }
        Ok(Self(word.into()))
    }
}

/// A kind of message of the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(usize);

/// Names of kinds, and the first byte of a frame of it; `all` is any.
const KINDS: &[(&str, u8)] = &[
    ("all", 0),
    ("vote", 1),
    ("pre-vote", 1),
    ("vote-reply", 2),
    ("append", 3),
    ("append-reply", 4),
    ("beat", 5),
    ("beat-reply", 6),
    ("commit", 7),
    ("read-ask", 8),
    ("read-tell", 9),
    ("timeout-now", 10),
];

impl Kind {
    /// Whether a frame is of this kind.
    pub(crate) fn is_of(self, frame: &Bytes) -> bool {
        let (name, first) = KINDS[self.0];
        if name == "all" || frame.first() != Some(&first) {
            return name == "all";
        }
        let is_pre = || matches!(message_of(frame), Some(Message::Vote { pre: true, .. }));
        first != 1 || (name == "pre-vote") == is_pre()
    }
}

impl Word for Kind {
    fn spell(&self, _: bool) -> String {
        KINDS[self.0].0.into()
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let kind = KINDS.iter().position(|(name, _)| *name == word);
        kind.map(Self).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            format!("a kind of message is wanted: {}", names.join(", "))
        })
    }
}

/// Something that is counted.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Figure {
    /// A number that the plan names.
    Number(u64),
    /// A count of the whole run.
    Count(String),
    /// How often something notable has happened.
    Marks(Mark),
    /// How many nodes believe that they lead.
    Leaders,
    /// Something of one node, which is zero while it is down.
    Of(usize, &'static str),
}

/// What can be said of one node.
const OF_NODES: [&str; 7] = ["leads", "term", "last", "commit", "base", "voters", "full"];

impl Figure {
    fn spell(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Count(name) => name.clone(),
            Self::Marks(mark) => mark.spell(false),
            Self::Leaders => "leaders".into(),
            Self::Of(node, what) => format!("{}.{what}", node.spell(false)),
        }
    }

    fn read(word: &str) -> Result<Self, String> {
        if let Ok(number) = u64::read(word, false) {
            return Ok(Self::Number(number));
        }
        if let Some((node, what)) = word.split_once('.') {
            let known = OF_NODES.iter().find(|known| **known == what);
            let known = known.ok_or_else(|| format!("of a node: {}", OF_NODES.join(", ")))?;
            return Ok(Self::Of(usize::read(node, false)?, known));
        }
        let mark = MARKS.iter().find(|mark| mark.spell(false) == word);
        match (word, mark) {
            ("leaders", _) => Ok(Self::Leaders),
            (_, Some(mark)) => Ok(Self::Marks(*mark)),
            _ if Stats::default().named(word).is_some() => Ok(Self::Count(word.into())),
            _ => Err(format!("nothing called \"{word}\" is counted")),
        }
    }
}

/// How one figure stands to another; those of two letters come first.
const SIGNS: [&str; 5] = [">=", "<=", "=", ">", "<"];

/// What must be so, for a plan to be about what it says it is: `leaders>=2`, `n2.last=n1.last`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    left: Figure,
    sign: &'static str,
    right: Figure,
}

impl Claim {
    fn holds(&self, left: u64, right: u64) -> bool {
        match self.sign {
            ">=" => left >= right,
            "<=" => left <= right,
            ">" => left > right,
            "<" => left < right,
            _ => left == right,
        }
    }
}

impl Word for Claim {
    fn spell(&self, _: bool) -> String {
        format!("{}{}{}", self.left.spell(), self.sign, self.right.spell())
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let split = |sign: &&'static str| Some((*sign, word.split_once(*sign)?));
        let found = SIGNS.iter().find_map(split);
        let (sign, (left, right)) =
            found.ok_or_else(|| "a claim is wanted, as leaders>=2".to_string())?;
        Ok(Self {
            left: Figure::read(left)?,
            sign,
            right: Figure::read(right)?,
        })
    }
}

impl<A: Application> World<A> {
    /// A client asks a node for exactly this, now.
    pub(crate) fn ask(&mut self, node: usize, wish: &Wish) -> Result<(), Violation> {
        if self.company_wish(node, &wish.0)? {
            return Ok(());
        }
        let want = A::wish(&wish.0);
        let want = want.map_err(|why| Violation::new("plan", format!("ask {}: {why}", wish.0)))?;
        let op = self.history.begin(want);
        self.workload.asked.insert(op);
        self.on_ask(op, node)
    }

    /// What is wrong with a claim at this moment.
    fn unmet(&self, claim: &Claim) -> Option<String> {
        let (left, right) = (self.figure(&claim.left), self.figure(&claim.right));
        (!claim.holds(left, right)).then(|| {
            let at_ms = self.schedule.now() / MS;
            let claim = claim.spell(false);
            format!("at {at_ms}ms {claim} was to hold: {left}, {right}")
        })
    }

    /// The run has ended well: did it come to the point?
    pub(crate) fn check_claims(&mut self) -> Result<(), Violation> {
        let unmet = self.unmet.take();
        ensure(unmet.is_none(), "expect", || unmet.unwrap_or_default())
    }

    fn figure(&self, figure: &Figure) -> u64 {
        match figure {
            Figure::Number(number) => *number,
            Figure::Count(name) => {
                let mut stats = self.stats;
                self.company.count(&mut stats);
                stats.committed = self.cluster.commit().0;
                stats.named(name).unwrap_or_default()
            }
            Figure::Marks(mark) => self.marks.get(mark).copied().unwrap_or_default(),
            Figure::Leaders => {
                let all = 0..self.nodes.len();
                all.map(|node| self.of_node(node, "leads")).sum()
            }
            Figure::Of(node, what) => self.of_node(*node, what),
        }
    }

    fn of_node(&self, node: usize, what: &str) -> u64 {
        let live = self.nodes[node].live.as_ref();
        live.map_or(0, |live| {
            let raft = live.replica.raft();
            match what {
                "leads" => u64::from(raft.role() == RoleName::Leader),
                "term" => raft.term().0,
                "last" => raft.last().index.0,
                "commit" => raft.commit().0,
                "base" => raft.base().index.0,
                "full" => live.replica.status().short_of_space.into(),
                _ => raft.config().voters().len() as u64,
            }
        })
    }

    /// A line of the plan that directs the world takes effect.
    pub(crate) fn strike_directed(
        &mut self,
        fault: &Fault,
        marked: Option<usize>,
    ) -> Result<(), Violation> {
        match fault {
            Fault::Ask { whom, want } => {
                let node = self.whom(*whom, marked);
                return self.ask(node, want);
            }
            // A plan that misses its point is told only if nothing else is wrong.
            Fault::Expect { that } => self.unmet = self.unmet.take().or(self.unmet(that)),
            Fault::Demand { that } => {
                let unmet = self.unmet(that);
                return ensure(unmet.is_none(), "demand", || unmet.unwrap_or_default());
            }
            Fault::Hold {
                a,
                b,
                kind,
                for_ns,
                loses,
            } => {
                let until = self.schedule.now() + for_ns;
                let lanes = self.directions(|from, to| a.has(from) && b.has(to));
                self.network.hold(&lanes, *kind, until, *loses);
            }
            _ => unreachable!("carried out elsewhere"),
        }
        Ok(())
    }
}
