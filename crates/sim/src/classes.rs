//! The classes of faults: the names by which plans have them, and how one of each is drawn.
//! Never draws what a plan has left out.
//!
//! # Source
//! Groce et al., "Swarm testing", ISSTA'12.

use crate::dice::Dice;
use crate::fault::{Change, Fault, Heir, Nodes, Place, ROTS, Shape, Whom};
use crate::harm::HARMS;
use crate::knobs::Knobs;

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

    /// Any machine, member or not.
    fn machine(&mut self) -> usize {
        let all = self.knobs.nodes + self.knobs.reserves;
        self.dice.below(all) as usize
    }

    fn change(&mut self) -> Fault {
        let ask = if self.dice.chance(3, 4) {
            Whom::Leader
        } else {
            Whom::Node(self.machine())
        };
        let gone = if self.dice.chance(1, 3) {
            Whom::Leader
        } else {
            Whom::Node(self.machine())
        };
        let what = match self.dice.below(16) {
            0..4 => Change::Join(self.machine()),
            4..6 => Change::Vote(self.machine()),
            6..8 => Change::Learn(self.machine()),
            8..11 => Change::Remove(gone),
            11..14 => Change::Replace(gone, self.machine()),
            _ => self.roles(),
        };
        Fault::Change {
            ask,
            what,
            force: self.dice.chance(1, 4),
            times: self.dice.pick(&[1, 1, 1, 2]),
        }
    }

    fn roles(&mut self) -> Change {
        let mut roles = [0_u64; 3];
        for node in 0..self.knobs.nodes + self.knobs.reserves {
            if let Some(role) = roles.get_mut(self.dice.pick(&[0, 0, 0, 0, 1, 2, 3])) {
                *role |= 1 << node;
            }
        }
        let [voters, learners, joining] = roles.map(Nodes);
        Change::Roles(voters, learners, joining)
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

    fn stray(&mut self, lands: bool) -> Fault {
        Fault::WriteStrays {
            whom: self.whom,
            nth: self.dice.between(1, 12),
            lands,
            cached: self.dice.chance(1, 2),
            for_ns: self.for_ns,
            down_ns: self.for_ns / self.dice.between(1, 8),
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
    ("change", |draw| draw.change()),
    ("transfer", |draw| Fault::Transfer {
        ask: if draw.dice.chance(5, 6) {
            Whom::Leader
        } else {
            draw.whom
        },
        to: if draw.dice.chance(1, 2) {
            Heir::Best
        } else {
            Heir::Node(draw.machine())
        },
    }),
    ("wipe", |draw| Fault::Wipe {
        whom: draw.whom,
        down_ns: draw.for_ns,
        founds: draw.dice.chance(1, 2),
        at_once: draw.dice.chance(1, 2),
    }),
    ("pace", |draw| Fault::Pace {
        whom: draw.whom,
        pace: draw.dice.pick(&[100, 500, 800, 980, 1020, 1200, 3000]),
        for_ns: draw.for_ns,
    }),
    ("leap", |draw| Fault::Leap {
        whom: draw.whom,
        by_ns: draw.for_ns,
    }),
    ("disk-fails", |draw| Fault::DiskFails {
        whom: draw.whom,
        nth: draw.dice.between(1, 12),
        down_ns: draw.for_ns,
    }),
    ("disk-full", |draw| Fault::DiskFull {
        whom: draw.whom,
        room: draw.dice.pick(&[0, 100, 3000, 20_000]),
        for_ns: draw.for_ns,
    }),
    ("disk-hangs", |draw| Fault::DiskHangs {
        whom: draw.whom,
        for_ns: draw.for_ns,
        down_ns: draw.knobs.election_ns / draw.dice.between(1, 20),
    }),
    ("rot", |draw| Fault::Rot {
        whom: draw.whom,
        kind: draw.dice.pick(ROTS),
        down_ns: draw.for_ns,
    }),
    ("decay", |draw| Fault::Decay {
        whom: draw.whom,
        kind: draw.dice.pick(ROTS),
        places: draw.dice.pick(&[1, 1, 3, 10]),
    }),
    ("rollback", |draw| Fault::Rollback {
        whom: draw.whom,
        age_ns: draw.for_ns * draw.dice.between(1, 4),
        down_ns: draw.for_ns / draw.dice.between(1, 8),
    }),
    ("read-fails", |draw| Fault::ReadFails {
        whom: draw.whom,
        nth: draw.dice.between(1, 20),
        starts: draw.dice.chance(1, 2),
        down_ns: draw.for_ns,
    }),
    ("misread", |draw| Fault::Misread {
        whom: draw.whom,
        nth: draw.dice.between(1, 20),
        kind: draw.dice.pick(ROTS),
        starts: draw.dice.chance(2, 3),
        down_ns: draw.for_ns,
    }),
    ("lost-write", |draw| draw.stray(false)),
    ("misdirected-write", |draw| draw.stray(true)),
    ("partial", |draw| Fault::Partial {
        shape: match draw.dice.below(4) {
            0 => Shape::Ring,
            1 => Shape::MajorityRing,
            2 => Shape::Bridge(draw.node()),
            _ => Shape::Star(draw.node()),
        },
        for_ns: draw.for_ns,
        resets: draw.dice.chance(1, 2),
    }),
    ("slow-link", |draw| Fault::SlowLink {
        a: draw.machine(),
        b: draw.machine(),
        pace: draw.dice.pick(&[1, 10, 100, 1000]),
        for_ns: draw.for_ns,
    }),
    ("corrupt-frames", |draw| Fault::CorruptFrames {
        a: draw.machine(),
        b: draw.machine(),
        harm: draw.dice.pick(HARMS),
        share: draw.dice.pick(&[20, 200, 1000]),
        for_ns: draw.for_ns,
    }),
    ("reset", |draw| Fault::Reset {
        a: draw.node(),
        b: draw.node(),
    }),
];
