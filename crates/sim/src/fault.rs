//! What can go wrong. A fault is added here in three lines: a variant, whose fields spell
//! themselves; a class, by which plans name it; and what carries it out, in `chaos`.
//! Never strikes by itself.
//!
//! # Source
//! TigerBeetle's VOPR and Jepsen's nemeses for the classes of faults.

use std::fmt;

use crate::directed::{Claim, Kind, Wish};
use crate::harm::Harm;
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

/// A change of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A node joins: it learns, and votes once it has caught up.
    Join(usize),
    /// A node votes from now on, whatever it was.
    Vote(usize),
    /// A node learns from now on, whatever it was.
    Learn(usize),
    /// A node is no member any more.
    Remove(Whom),
    /// A node leaves, and another joins.
    Replace(Whom, usize),
    /// All roles anew: who votes, who learns, who joins.
    Roles(Nodes, Nodes, Nodes),
}

impl Word for Change {
    fn spell(&self, _: bool) -> String {
        let node = |node: &usize| node.spell(false);
        match self {
            Self::Join(it) => format!("join:{}", node(it)),
            Self::Vote(it) => format!("vote:{}", node(it)),
            Self::Learn(it) => format!("learn:{}", node(it)),
            Self::Remove(it) => format!("remove:{}", it.spell(false)),
            Self::Replace(it, by) => format!("replace:{}:{}", it.spell(false), node(by)),
            Self::Roles(voters, learners, joining) => {
                let all = [voters, learners, joining].map(|nodes| nodes.spell(false));
                format!("roles:{}", all.join(":"))
            }
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let words: Vec<&str> = word.split(':').collect();
        let node = |word: &str| usize::read(word, false);
        let whom = |word: &str| Whom::read(word, false);
        let nodes = |word: &str| Nodes::read(word, false);
        match words[..] {
            ["join", it] => node(it).map(Self::Join),
            ["vote", it] => node(it).map(Self::Vote),
            ["learn", it] => node(it).map(Self::Learn),
            ["remove", it] => whom(it).map(Self::Remove),
            ["replace", it, by] => Ok(Self::Replace(whom(it)?, node(by)?)),
            ["roles", voters, learners, joining] => Ok(Self::Roles(
                nodes(voters)?,
                nodes(learners)?,
                nodes(joining)?,
            )),
            _ => Err("join:n4, vote:n4, learn:n4, remove:n1, replace:n1:n4 or \
                      roles:n1+n2:n3:none is wanted"
                .into()),
        }
    }
}

/// What happens to bytes at rest, or to bytes that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// Some bits turn over.
    Bits,
    /// A sector reads as zeros: a write that was lost.
    Zeros,
    /// A sector holds what was meant for another: a write, or a read, that went astray.
    Astray,
    /// A file has lost its end, or a read stops too early.
    Cut,
}

/// All kinds of rot.
pub(crate) const ROTS: &[Rot] = &[Rot::Bits, Rot::Zeros, Rot::Astray, Rot::Cut];

impl Word for Rot {
    fn spell(&self, _: bool) -> String {
        name_of(&format!("{self:?}"))
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let found = ROTS.iter().find(|rot| rot.spell(false) == word);
        found
            .copied()
            .ok_or_else(|| "bits, zeros, astray or cut is wanted".into())
    }
}

/// The shape of a partial partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Each node talks only with its neighbours in a circle.
    Ring,
    /// Two halves, and one node that talks with all.
    Bridge(usize),
    /// Each node talks with a majority, and no two with the same.
    MajorityRing,
    /// All talk with one node, and only with it.
    Star(usize),
}

impl Shape {
    /// Whether two of `nodes` nodes still talk.
    pub(crate) fn joins(self, a: usize, b: usize, nodes: usize) -> bool {
        let apart = (a + nodes - b) % nodes;
        let apart = apart.min(nodes - apart);
        match self {
            Self::Ring => apart <= 1,
            Self::MajorityRing => apart <= nodes / 4 + 1,
            Self::Bridge(bridge) => a == bridge || b == bridge || (a % 2) == (b % 2),
            Self::Star(middle) => a == middle || b == middle,
        }
    }
}

impl Word for Shape {
    fn spell(&self, _: bool) -> String {
        match self {
            Self::Ring => "ring".into(),
            Self::MajorityRing => "majority-ring".into(),
            Self::Bridge(node) => format!("bridge:{}", node.spell(false)),
            Self::Star(node) => format!("star:{}", node.spell(false)),
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let node = |word: &str| usize::read(word, false);
        match word.split_once(':') {
            None if word == "ring" => Ok(Self::Ring),
            None if word == "majority-ring" => Ok(Self::MajorityRing),
            Some(("bridge", it)) => node(it).map(Self::Bridge),
            Some(("star", it)) => node(it).map(Self::Star),
            _ => Err("ring, majority-ring, bridge:n1 or star:n1 is wanted".into()),
        }
    }
}

/// Who is to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heir {
    /// Whoever is best placed.
    Best,
    /// This node.
    Node(usize),
}

impl Word for Heir {
    fn spell(&self, _: bool) -> String {
        match self {
            Self::Best => "best".into(),
            Self::Node(node) => node.spell(false),
        }
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        match word {
            "best" => Ok(Self::Best),
            _ => usize::read(word, false).map(Self::Node),
        }
    }
}

impl Fault {
    /// Whether nothing goes wrong by it.
    pub(crate) fn is_no_fault(&self) -> bool {
        matches!(
            self,
            Self::Ask { .. } | Self::Expect { .. } | Self::Demand { .. }
        )
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
                    line.only(kind, &[$(stringify!($field),)*])?;
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
    /// Somebody asks for other members, expecting those that the node asked knows of.
    Change {
        /// Who is asked.
        ask: Whom,
        /// For what.
        what: Change,
        /// Even if the new voters do not answer.
        force: bool,
        /// How often the same is asked.
        times: u64,
    }
    /// Somebody asks a node to hand its leadership over.
    Transfer {
        /// Who is asked.
        ask: Whom,
        /// To whom.
        to: Heir,
    }
    /// A node loses its disk and comes back with a blank one, if enough other disks are whole and
    /// all know which one it had.
    Wipe {
        /// Which.
        whom: Whom,
        /// How long it stays down.
        down_ns: u64,
        /// It is started as if the cluster were new; else as one that is to join.
        founds: bool,
        /// It is removed and added again at once; else when the faults have ended.
        at_once: bool,
    }
    /// A node's clock runs at another pace for a while, within the drift if leases rest on it.
    Pace {
        /// Whose.
        whom: Whom,
        /// How many thousandths of the true pace.
        pace: u64,
        /// How long.
        for_ns: u64,
    }
    /// A node's clock leaps ahead, unless leases rest on it.
    Leap {
        /// Whose.
        whom: Whom,
        /// How far.
        by_ns: u64,
    }
    /// A call to a disk fails. The process ends, as it must.
    DiskFails {
        /// Whose.
        whom: Whom,
        /// Which of the next calls (from one).
        nth: u64,
        /// How long the node stays down.
        down_ns: u64,
    }
    /// A disk has only so much room for a while. What finds none waits, or is refused.
    DiskFull {
        /// Whose.
        whom: Whom,
        /// How much, in bytes.
        room: u64,
        /// How long.
        for_ns: u64,
    }
    /// A disk answers nothing any more, until the process on it dies.
    DiskHangs {
        /// Whose.
        whom: Whom,
        /// How long that takes.
        for_ns: u64,
        /// How long the node stays down then.
        down_ns: u64,
    }
    /// Something is damaged on the disk of a node that is down, if enough other disks are whole.
    Rot {
        /// Whose.
        whom: Whom,
        /// How.
        kind: Rot,
        /// How long it stays down.
        down_ns: u64,
    }
    /// Files at rest of a running node are damaged, if enough other disks are whole; it runs on.
    Decay {
        /// Whose.
        whom: Whom,
        /// How.
        kind: Rot,
        /// In how many places.
        places: u64,
    }
    /// A node's disk is imaged, and set back to that image after a while, if a peer that remembers
    /// what it has said since is the first to meet it, or if it has said nothing.
    Rollback {
        /// Whose.
        whom: Whom,
        /// How old the image is then.
        age_ns: u64,
        /// How long the node stays down.
        down_ns: u64,
    }
    /// A read fails. The process ends, as it must.
    ReadFails {
        /// Whose.
        whom: Whom,
        /// Which of the next reads (from one).
        nth: u64,
        /// Whether the node dies first, and the read is one of its next start's.
        starts: bool,
        /// How long it stays down.
        down_ns: u64,
    }
    /// A read brings other bytes than the disk holds, once.
    Misread {
        /// Whose.
        whom: Whom,
        /// Which of the next reads (from one).
        nth: u64,
        /// How they differ.
        kind: Rot,
        /// Whether the node dies first, and the read is one of its next start's.
        starts: bool,
        /// How long it stays down.
        down_ns: u64,
    }
    /// A disk calls a sector durable that it has not written, or has written in the place of
    /// another, if enough other disks are whole. After a while the node dies.
    WriteStrays {
        /// Whose.
        whom: Whom,
        /// Which of the next syncs that write anything (from one).
        nth: u64,
        /// Whether it lands in the place of another sector; else nowhere.
        lands: bool,
        /// Whether the page cache hides that until the power goes.
        cached: bool,
        /// How long until the node dies.
        for_ns: u64,
        /// How long it stays down then.
        down_ns: u64,
    }
    /// A partial partition.
    Partial {
        /// Who still talks with whom.
        shape: Shape,
        /// How long.
        for_ns: u64,
        /// Whether the connections break, or merely fall silent.
        resets: bool,
    }
    /// One direction between two nodes has little bandwidth.
    SlowLink {
        /// From whom.
        a: usize,
        /// To whom.
        b: usize,
        /// Bytes in a millisecond.
        pace: u64,
        /// How long.
        for_ns: u64,
    }
    /// Frames in one direction between two nodes are damaged on their way.
    CorruptFrames {
        /// From whom.
        a: usize,
        /// To whom.
        b: usize,
        /// How.
        harm: Harm,
        /// Of a thousand, how many.
        share: u64,
        /// How long.
        for_ns: u64,
    }
    /// A client asks for exactly this.
    Ask {
        /// Whom.
        whom: Whom,
        /// For what, in the application's words.
        want: Wish,
    }
    /// Something must be so now, or the plan is not about what it says it is about.
    Expect {
        /// What.
        that: Claim,
    }
    /// Something must be so now, or the nodes are wrong.
    Demand {
        /// What.
        that: Claim,
    }
    /// Messages of a kind that are sent from now on arrive together when that ends, in order.
    Hold {
        /// From whom.
        a: Nodes,
        /// To whom.
        b: Nodes,
        /// Which.
        kind: Kind,
        /// How long.
        for_ns: u64,
        /// They never arrive.
        loses: bool,
    }
    /// A connection breaks and comes back.
    Reset {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
    }
}
