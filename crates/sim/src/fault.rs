//! What can go wrong. A fault is added here in three lines: a variant, whose fields spell
//! themselves; a class, by which plans name it; and what carries it out, in `chaos`.
//! Never strikes by itself.
//!
//! # Source
//! TigerBeetle's VOPR and Jepsen's nemeses for the classes of faults.

use std::fmt;

use crate::dice::Dice;
use crate::knobs::Knobs;
use crate::text::{Line, Malformed, Word, field, name_of};

/// Something notable: moments at which a fault is likelier to hurt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// A node has become leader.
    Leader,
    /// A node has begun to stand for election.
    Candidate,
    /// A node has ordered the log to void entries.
    Truncation,
    /// A node has finished an own snapshot.
    SnapshotTaken,
    /// A node has loaded another's snapshot.
    SnapshotLoaded,
    /// A node has begun to receive a snapshot.
    SnapshotPiece,
}

/// All marks.
pub(crate) const MARKS: &[Mark] = &[
    Mark::Leader,
    Mark::Candidate,
    Mark::Truncation,
    Mark::SnapshotTaken,
    Mark::SnapshotLoaded,
    Mark::SnapshotPiece,
];

impl Word for Mark {
    fn spell(&self, _: bool) -> String {
        name_of(&format!("{self:?}"))
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let found = MARKS.iter().find(|mark| mark.spell(false) == word);
        found.copied().ok_or_else(|| {
            let names: Vec<String> = MARKS.iter().map(|mark| mark.spell(false)).collect();
            format!("a mark is wanted: {}", names.join(", "))
        })
    }
}

/// Whom a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// This node.
    Node(usize),
    /// The leader of the highest term, if any.
    Leader,
    /// The node of the mark that set the fault off; else the first.
    Marked,
}

impl Word for Whom {
    fn spell(&self, _: bool) -> String {
        match self {
            Self::Node(node) => node.spell(false),
            Self::Leader => "leader".into(),
            Self::Marked => "marked".into(),
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        match word {
            "leader" => Ok(Self::Leader),
            "marked" => Ok(Self::Marked),
            _ => Word::read(word, false)
                .map(Self::Node)
                .map_err(|_| "n1, n2 and so on, leader or marked is wanted".into()),
        }
    }
}

/// Where in a node's work a crash comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At once, with disk work under way carried out in part.
    Now,
    /// After so many outputs of the next turn.
    InTurn(u64),
    /// At the n-th next call to the disk (from one).
    InDisk(u64),
}

impl Word for Place {
    fn spell(&self, _: bool) -> String {
        match self {
            Self::Now => "now".into(),
            Self::InTurn(outputs) => format!("turn:{outputs}"),
            Self::InDisk(calls) => format!("disk:{calls}"),
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let number = |word: &str| u64::read(word, false);
        match word.split_once(':') {
            None if word == "now" => Ok(Self::Now),
            Some(("turn", outputs)) => number(outputs).map(Self::InTurn),
            Some(("disk", calls)) => number(calls).map(Self::InDisk),
            _ => Err("now, turn:N or disk:N is wanted".into()),
        }
    }
}

/// Some nodes, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nodes(pub u64);

impl Nodes {
    /// Whether a node is one of them.
    pub fn has(self, node: usize) -> bool {
        self.0 >> node & 1 == 1
    }
}

impl Word for Nodes {
    fn spell(&self, _: bool) -> String {
        let nodes = (0..64).filter(|&node| self.has(node));
        let names: Vec<String> = nodes.map(|node| node.spell(false)).collect();
        if names.is_empty() {
            "none".into()
        } else {
            names.join("+")
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        if word == "none" {
            return Ok(Self(0));
        }
        let nodes = word.split('+').map(|name| usize::read(name, false));
        let bits = nodes.map(|node| node.map(|node| 1 << node));
        bits.sum::<Result<u64, _>>().map(Self)
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        /// What goes wrong.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Fault {
            $($(#[$doc])* $fault { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl fmt::Display for Fault {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$fault { $($field,)* } => {
                        f.write_str(&name_of(stringify!($fault)))?;
                        $(write!(f, " {}", field(stringify!($field), $field))?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl Fault {
            /// Reads what [`fmt::Display`] writes.
            pub(crate) fn read(line: &mut Line<'_>) -> Result<Self, Malformed> {
                let kind = line.word("a fault")?;
                $(if kind == name_of(stringify!($fault)) {
                    return Ok(Self::$fault { $($field: line.field(stringify!($field))?,)* });
                })*
                let names = [$(name_of(stringify!($fault)),)*];
                Err(line.wrong(kind, format!("a fault is one of {}", names.join(", "))))
            }
        }
    };
}

faults! {
    /// A node dies and starts again after a while.
    Crash {
        /// Which.
        whom: Whom,
        /// The power goes: what was not synced may be lost. Otherwise only the process dies.
        power: bool,
        /// Where.
        place: Place,
        /// How long it stays down.
        down_ns: u64,
    }
    /// All nodes lose power at once.
    Blackout {
        /// How long they stay down, at most.
        down_ns: u64,
    }
    /// A node does nothing for a while; what is sent to it waits.
    Pause {
        /// Which.
        whom: Whom,
        /// How long.
        for_ns: u64,
    }
    /// A node's disk becomes slower.
    SlowDisk {
        /// Which.
        whom: Whom,
        /// How many times.
        factor: u64,
        /// How long.
        for_ns: u64,
    }
    /// Some nodes and the others cannot talk.
    Split {
        /// Who is on one side.
        side: Nodes,
        /// How long.
        for_ns: u64,
        /// Whether the connections break, or merely fall silent.
        resets: bool,
    }
    /// A node is cut off, in one direction or both.
    Isolate {
        /// Which.
        whom: Whom,
        /// Whether it cannot hear.
        inbound: bool,
        /// Whether it cannot be heard.
        outbound: bool,
        /// How long.
        for_ns: u64,
        /// Whether the connections break, or merely fall silent.
        resets: bool,
    }
    /// A sync fails: what it did not write counts as clean. The process ends, as it must.
    SyncFails {
        /// Whose.
        whom: Whom,
        /// Which of the next (from one).
        nth: u64,
        /// How long the node stays down.
        down_ns: u64,
    }
    /// A connection breaks and comes back.
    Reset {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
    }
}

/// What a class draws its faults from.
pub(crate) struct Draw<'a> {
    pub(crate) dice: Dice,
    pub(crate) knobs: &'a Knobs,
    pub(crate) whom: Whom,
    pub(crate) for_ns: u64,
}

impl Draw<'_> {
    fn node(&mut self) -> usize {
        self.dice.below(self.knobs.nodes) as usize
    }

    fn crash(&mut self, power: bool) -> Fault {
        let place = match self.dice.below(3) {
            0 => Place::Now,
            1 => Place::InTurn(self.dice.below(8)),
            _ => Place::InDisk(self.dice.between(1, 12)),
        };
        Fault::Crash {
            whom: self.whom,
            power,
            place,
            down_ns: self.for_ns,
        }
    }

    fn isolate(&mut self) -> Fault {
        let way = self.dice.below(3);
        Fault::Isolate {
            whom: self.whom,
            inbound: way != 1,
            outbound: way != 2,
            for_ns: self.for_ns,
            resets: self.dice.chance(1, 3),
        }
    }
}

/// A class of faults: its name, and how one of it is drawn.
pub(crate) type Class = (&'static str, fn(&mut Draw<'_>) -> Fault);

/// All classes.
pub(crate) const CLASSES: &[Class] = &[
    ("power", |draw| draw.crash(true)),
    ("kill", |draw| draw.crash(false)),
    ("blackout", |draw| Fault::Blackout {
        down_ns: draw.for_ns,
    }),
    ("pause", |draw| Fault::Pause {
        whom: draw.whom,
        for_ns: draw.for_ns,
    }),
    ("slow-disk", |draw| Fault::SlowDisk {
        whom: draw.whom,
        factor: draw.dice.pick(&[3, 10, 50]),
        for_ns: draw.for_ns,
    }),
    ("split", |draw| Fault::Split {
        side: Nodes(draw.dice.below(1 << draw.knobs.nodes)),
        for_ns: draw.for_ns,
        resets: draw.dice.chance(1, 2),
    }),
    ("isolate", |draw| draw.isolate()),
    ("sync-fails", |draw| Fault::SyncFails {
        whom: draw.whom,
        nth: draw.dice.between(1, 6),
        down_ns: draw.for_ns,
    }),
    ("reset", |draw| Fault::Reset {
        a: draw.node(),
        b: draw.node(),
    }),
];
