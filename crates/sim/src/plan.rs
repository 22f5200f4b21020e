//! What a seed means: the knobs of a world and the faults that strike it, as plain data.
//! Never executes anything: a world runs a plan, and a plan can be edited and run again.
//!
//! Swarm testing: each seed leaves whole classes of faults out and draws the size of everything
//! that has one, because what is always mixed hides what is rare.
//!
//! # Source
//! Groce et al., "Swarm testing", ISSTA'12; TigerBeetle's VOPR for the classes of faults.

use crate::dice::Dice;

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// Everything a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The sizes of things.
    pub knobs: Knobs,
    /// What goes wrong.
    pub faults: Vec<Planned>,
}

/// The sizes of things in one world. Durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// How many nodes.
    pub nodes: usize,
    /// The replica's numbers of the same names.
    pub heartbeat_ns: u64,
    /// The least silence before an election.
    pub election_ns: u64,
    /// How long a request may wait.
    pub request_timeout_ns: u64,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// The floor under which no snapshot is taken.
    pub snapshot_log_bytes: u64,
    /// Log kept behind a snapshot.
    pub log_keep_bytes: u64,
    /// Bytes of one snapshot chunk.
    pub chunk_bytes: usize,
    /// Bytes of one message, about.
    pub message_bytes_max: usize,
    /// Bytes under way to one peer.
    pub window_bytes_max: u64,
    /// The least delay of a frame.
    pub delay_ns: u64,
    /// What the dice may add to it.
    pub delay_spread_ns: u64,
    /// Frames lost, of a thousand.
    pub loss: u64,
    /// Messages of the core that arrive twice, of a thousand.
    pub double: u64,
    /// Messages of the core that overtake others, of a thousand.
    pub shuffle: u64,
    /// Messages of the core that outlive their connection, of a thousand.
    pub outlive: u64,
    /// Whether frames sent into a partition arrive when it ends, as TCP would have it, or never.
    pub holds: bool,
    /// The most that a turn takes.
    pub turn_ns: u64,
    /// The least that a batch of log or snapshot work takes.
    pub disk_ns: u64,
    /// What the dice may add to it.
    pub disk_spread_ns: u64,
    /// Whether spare segments are made beforehand.
    pub spares: bool,
    /// Whether an idle log leaves witnesses.
    pub witnesses: bool,
    /// How far clocks may run apart, of a thousand.
    pub drift: u64,
    /// Starts that are interrupted in the middle of recovery, of a thousand.
    pub broken_starts: u64,
    /// How many clients.
    pub clients: usize,
    /// The most a client waits between two requests.
    pub think_ns: u64,
    /// How many keys are fought over.
    pub keys: u64,
    /// Bytes of a value, at most.
    pub value_bytes: u64,
    /// How long faults go on.
    pub faults_ns: u64,
}

/// A fault and its moment.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When it strikes.
    pub when: When,
    /// What strikes.
    pub fault: Fault,
}

/// The moment of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At a time.
    At(u64),
    /// Right after the turn in which something notable happened for the n-th time (from one).
    Mark(Mark, u64),
}

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
const MARKS: [Mark; 6] = [
    Mark::Leader,
    Mark::Candidate,
    Mark::Truncation,
    Mark::SnapshotTaken,
    Mark::SnapshotLoaded,
    Mark::SnapshotPiece,
];

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

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
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
    },
    /// All nodes lose power at once.
    Blackout {
        /// How long they stay down, at most.
        down_ns: u64,
    },
    /// A node does nothing for a while; what is sent to it waits.
    Pause {
        /// Which.
        whom: Whom,
        /// How long.
        for_ns: u64,
    },
    /// A node's disk becomes slower.
    SlowDisk {
        /// Which.
        whom: Whom,
        /// How many times.
        factor: u64,
        /// How long.
        for_ns: u64,
    },
    /// The nodes in `side` (a bit each) and the others cannot talk.
    Split {
        /// Who is on one side.
        side: u64,
        /// How long.
        for_ns: u64,
        /// Whether the connections break, or merely fall silent.
        resets: bool,
    },
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
    },
    /// A sync fails: what it did not write counts as clean. The process ends, as it must.
    SyncFails {
        /// Whose.
        whom: Whom,
        /// Which of the next (from one).
        nth: u64,
        /// How long the node stays down.
        down_ns: u64,
    },
    /// A connection breaks and comes back.
    Reset {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
    },
}

/// One of a few.
pub(crate) fn pick<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.below(of.len() as u64) as usize]
}

/// A number in `low..=high`.
pub(crate) fn between(dice: &mut Dice, low: u64, high: u64) -> u64 {
    low + dice.below(high - low + 1)
}

/// Seeds from here on are of the next generation, and so on: how plans are drawn changes only
/// with a new generation, so that a kept seed stays the world it was.
pub const GENERATION: u64 = 1_000_000_000;

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5bd1_e995);
        let is_second = seed >= GENERATION;
        let mut knobs = Knobs::draw(&mut dice.fork());
        let mut fault_dice = dice.fork();
        if is_second {
            knobs.draw_second(&mut dice);
        }
        let faults = draw_faults(&mut fault_dice, &knobs, is_second);
        Self {
            seed,
            knobs,
            faults,
        }
    }
}

impl Knobs {
    fn draw(dice: &mut Dice) -> Self {
        let heartbeat_ns = pick(dice, &[10, 20, 30, 50, 80]) * MS;
        let election_ns = heartbeat_ns * pick(dice, &[3, 4, 6, 10]);
        let delay_ns = pick(dice, &[20_000, 100_000, 300_000, MS, 3 * MS]);
        let mut rare = |of: &[u64]| if dice.chance(1, 2) { pick(dice, of) } else { 0 };
        let (loss, double) = (rare(&[2, 20, 100]), rare(&[5, 30, 150]));
        let (shuffle, outlive) = (rare(&[5, 50, 200]), rare(&[100, 500, 1000]));
        let (drift, broken_starts) = (rare(&[5, 20]), rare(&[100, 400]));
        Self {
            nodes: pick(dice, &[1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5]),
            heartbeat_ns,
            election_ns,
            request_timeout_ns: pick(dice, &[300, 700, 1500]) * MS,
            segment_bytes: pick(dice, &[4096, 4096, 8192, 16 << 10, 64 << 10]),
            snapshot_log_bytes: pick(dice, &[300, 1000, 3000, 10_000, 1 << 20]),
            log_keep_bytes: pick(dice, &[0, 0, 200, 2000, 20_000]),
            chunk_bytes: pick(dice, &[64, 200, 1000, 10_000]) as usize,
            message_bytes_max: pick(dice, &[1, 50, 300, 2000, 100_000]) as usize,
            window_bytes_max: pick(dice, &[0, 100, 1000, 100_000]),
            delay_ns,
            delay_spread_ns: delay_ns * pick(dice, &[1, 3, 10, 30]),
            loss,
            double,
            shuffle,
            outlive,
            holds: dice.chance(1, 2),
            turn_ns: pick(dice, &[5_000, 50_000, 500_000, 2 * MS]),
            disk_ns: pick(dice, &[10_000, 100_000, MS]),
            disk_spread_ns: pick(dice, &[100_000, MS, 5 * MS, 20 * MS]),
            spares: dice.chance(1, 2),
            witnesses: dice.chance(1, 2),
            drift,
            broken_starts,
            clients: pick(dice, &[1, 2, 3, 5]) as usize,
            think_ns: pick(dice, &[5, 20, 60]) * MS,
            keys: pick(dice, &[1, 2, 5]),
            value_bytes: pick(dice, &[10, 100, 1000]),
            faults_ns: pick(dice, &[1500, 3000, 5000]) * MS,
        }
    }
}

impl Knobs {
    /// The second generation: some worlds last, and snapshots matter more.
    fn draw_second(&mut self, dice: &mut Dice) {
        if dice.chance(1, 8) {
            self.faults_ns *= 4;
        }
        if dice.chance(1, 2) {
            self.snapshot_log_bytes = pick(dice, &[200, 500]);
            self.log_keep_bytes = pick(dice, &[0, 100]);
            self.value_bytes = pick(dice, &[10, 50]);
        }
    }
}

fn draw_faults(dice: &mut Dice, knobs: &Knobs, is_second: bool) -> Vec<Planned> {
    // Each class is in half of the worlds, and each of its faults as likely as the others'.
    let classes = if is_second { 8 } else { 7 };
    let classes: Vec<u64> = (0..classes).filter(|_| dice.chance(1, 2)).collect();
    let spans: &[u64] = if is_second {
        &[1, 5, 20, 80]
    } else {
        &[1, 5, 20]
    };
    let mut faults = Vec::new();
    if classes.is_empty() {
        return faults;
    }
    let count = pick(dice, &[2, 5, 10, 20, 40]);
    for _ in 0..count {
        let class = pick(dice, &classes);
        let conditional = dice.chance(1, 3);
        let when = if conditional {
            When::Mark(pick(dice, &MARKS), between(dice, 1, 6))
        } else {
            When::At(dice.below(knobs.faults_ns))
        };
        let whom = draw_whom(dice, knobs, conditional);
        let for_ns_max = knobs.election_ns * pick(dice, spans) / 4;
        let for_ns = between(dice, 1, for_ns_max);
        let fault = draw_fault(dice, knobs, class, (whom, for_ns));
        faults.push(Planned { when, fault });
    }
    faults
}

fn draw_whom(dice: &mut Dice, knobs: &Knobs, conditional: bool) -> Whom {
    match dice.below(4) {
        0 => Whom::Leader,
        1 | 2 if conditional => Whom::Marked,
        _ => Whom::Node(dice.below(knobs.nodes as u64) as usize),
    }
}

fn draw_fault(dice: &mut Dice, knobs: &Knobs, class: u64, (whom, for_ns): (Whom, u64)) -> Fault {
    let nodes = knobs.nodes as u64;
    match class {
        0 | 1 => Fault::Crash {
            whom,
            power: class == 0,
            place: match dice.below(3) {
                0 => Place::Now,
                1 => Place::InTurn(dice.below(8)),
                _ => Place::InDisk(between(dice, 1, 12)),
            },
            down_ns: for_ns,
        },
        2 if dice.chance(1, 4) => Fault::Blackout { down_ns: for_ns },
        2 | 3 if dice.chance(1, 2) => Fault::SlowDisk {
            whom,
            factor: pick(dice, &[3, 10, 50]),
            for_ns,
        },
        2 | 3 => Fault::Pause { whom, for_ns },
        4 => Fault::Split {
            side: dice.below(1 << nodes),
            for_ns,
            resets: dice.chance(1, 2),
        },
        5 => {
            let way = dice.below(3);
            Fault::Isolate {
                whom,
                inbound: way != 1,
                outbound: way != 2,
                for_ns,
                resets: dice.chance(1, 3),
            }
        }
        7 => Fault::SyncFails {
            whom,
            nth: between(dice, 1, 6),
            down_ns: for_ns,
        },
        _ => Fault::Reset {
            a: dice.below(nodes) as usize,
            b: dice.below(nodes) as usize,
        },
    }
}
