//! How far an exploration goes: without bounds it would not end.
//! Never bounds what costs nothing: lost, doubled and late messages, and retries, are free.
//!
//! # Source
//! Jackson, "Software Abstractions" (2006), on small scopes.

use crate::node::{NODES, Setup};

/// The bounds of one exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The highest term in which anyone may campaign.
    pub terms: u8,
    /// How often patience may run out.
    pub campaigns: u8,
    /// How many commands clients propose.
    pub proposals: u8,
    /// How many crashes there are.
    pub crashes: u8,
    /// How many reads are asked for.
    pub reads: u8,
    /// How often a follower's question for a read arrives: each time begins a round of heartbeats.
    pub questions: u8,
    /// How many snapshots are taken.
    pub snapshots: u8,
    /// How many writes of a node may be under way; a node with as many waits for its disk. None:
    /// every write is durable at once.
    pub writes: u8,
    /// How often a leader's connection to a follower is renewed.
    pub links: u8,
    /// How often a leader is asked to hand over to a node of the asker's choice.
    pub transfers: u8,
    /// Whether leaders may fall silent: an election timeout without an answer deposes them.
    pub silence: bool,
    /// How often a follower may think its leader silent before its own deadline comes.
    pub forgets: u8,
    /// Whether that may be as often as it likes, and of its followers for a leader, too.
    pub ticks: bool,
    /// Whether a message that only causes answers is answered at once, as none is lost by that.
    pub eager: bool,
    /// How many entries fit one append; zero: all.
    pub batch: u8,
    /// The logs that the nodes begin with, by the terms of their entries; nothing of them is
    /// committed, and the highest of these terms has been heard of everywhere.
    pub logs: [&'static [u64]; NODES],
    /// Which of these entries cannot be read, by their indices.
    pub lost: [&'static [u64]; NODES],
    /// Whether nobody stands but who cannot read its log.
    pub menders: bool,
    /// Whether all ends when somebody leads.
    pub ends_when_led: bool,
    /// Whether states that differ in the nodes' names only count as one.
    pub symmetry: bool,
}

impl Bounds {
    /// Sets one of them by name; whether there is one of this name.
    pub fn set(&mut self, name: &str, value: u8) -> bool {
        match name {
            "terms" => self.terms = value,
            "campaigns" => self.campaigns = value,
            "proposals" => self.proposals = value,
            "crashes" => self.crashes = value,
            "reads" => self.reads = value,
            "forgets" => self.forgets = value,
            "transfers" => self.transfers = value,
            "questions" => self.questions = value,
            "snapshots" => self.snapshots = value,
            "writes" => self.writes = value,
            "links" => self.links = value,
            "silence" => self.silence = value > 0,
            "ticks" => self.ticks = value > 0,
            "eager" => self.eager = value > 0,
            "batch" => self.batch = value,
            "symmetry" => self.symmetry = value > 0,
            _ => return false,
        }
        true
    }

    /// How the nodes begin.
    pub fn setup(&self, seed: u64) -> [Setup; NODES] {
        let terms = self.logs.iter().flat_map(|log| log.iter());
        let term = terms.max().copied().unwrap_or_default();
        [0, 1, 2].map(|at: usize| Setup {
            is_slow: self.writes > 0,
            batch: if self.batch > 0 {
                self.batch.into()
            } else {
                u64::MAX
            },
            seed,
            term,
            log: self.logs[at],
            lost: self.lost[at],
        })
    }

    /// Almost nothing: what scopes add to.
    pub const LEAST: Self = Self {
        terms: 1,
        campaigns: 2,
        proposals: 0,
        crashes: 0,
        reads: 0,
        questions: 0,
        snapshots: 0,
        writes: 0,
        links: 0,
        transfers: 0,
        silence: false,
        forgets: 0,
        ticks: false,
        eager: true,
        batch: 0,
        logs: [&[]; NODES],
        lost: [&[]; NODES],
        menders: false,
        ends_when_led: false,
        symmetry: true,
    };
}

/// A named exploration.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its bounds.
    pub bounds: Bounds,
}

/// Scopes that together take less than a minute on two free cores.
pub const QUICK: &[Scope] = &[
    Scope {
        name: "elections",
        about: "two terms, and a voter may forget the first leader",
        bounds: Bounds {
            terms: 2,
            writes: 1,
            forgets: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "slow-disks",
        about: "two terms, with two writes under way on each node",
        bounds: Bounds {
            terms: 2,
            writes: 2,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "crashes",
        about: "two terms, and a crash at any moment",
        bounds: Bounds {
            terms: 2,
            writes: 1,
            crashes: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "figure-7",
        about: "logs that differ in length and in terms",
        bounds: Bounds {
            terms: 4,
            forgets: 1,
            logs: [&[1, 1], &[2], &[]],
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "last-entry",
        about: "a long log of an old term against a short one of a new term",
        bounds: Bounds {
            terms: 3,
            forgets: 1,
            logs: [&[1, 1], &[], &[]],
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "reads",
        about: "a read of a leader that may have been deposed",
        bounds: Bounds {
            terms: 2,
            reads: 1,
            questions: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "snapshots",
        about: "a follower behind the log's beginning",
        bounds: Bounds {
            campaigns: 1,
            proposals: 1,
            snapshots: 1,
            writes: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "snapshot-over-log",
        about: "a snapshot for a follower whose log differs",
        bounds: Bounds {
            terms: 2,
            campaigns: 1,
            snapshots: 1,
            logs: [&[], &[], &[1, 1]],
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "time",
        about: "leaders that are forgotten, and leaders that lose their quorum",
        bounds: Bounds {
            ticks: true,
            silence: true,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "links",
        about: "connections that are renewed while appends are under way",
        bounds: Bounds {
            campaigns: 1,
            proposals: 1,
            links: 2,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "transfer",
        about: "leadership handed over while all else goes on",
        bounds: Bounds {
            terms: 2,
            transfers: 1,
            campaigns: 1,
            ..Bounds::LEAST
        },
    },
];

/// Scopes that take minutes, and gigabytes of memory.
pub const DEEP: &[Scope] = &[
    Scope {
        name: "late-writes",
        about: "entries replaced while their write is under way",
        bounds: Bounds {
            terms: 2,
            writes: 3,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "figure-8",
        about: "entries of older terms that a majority holds, sent one by one",
        bounds: Bounds {
            terms: 4,
            batch: 1,
            forgets: 1,
            logs: [&[1], &[2], &[]],
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "forgotten-crashes",
        about: "two terms, a crash, and a voter that forgets the first leader",
        bounds: Bounds {
            terms: 2,
            writes: 1,
            crashes: 1,
            forgets: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "forgotten-reads",
        about: "a read, and a voter that forgets the first leader",
        bounds: Bounds {
            terms: 2,
            reads: 1,
            questions: 1,
            forgets: 1,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "commands",
        about: "two terms, and a command",
        bounds: Bounds {
            terms: 2,
            proposals: 1,
            ..Bounds::LEAST
        },
    },
];

/// Scopes of which the specification has the same states (`spec/MCRaft.tla`): messages are not
/// answered eagerly there.
pub const SPEC: &[Scope] = &[
    Scope {
        name: "spec-election",
        about: "one election, its first entry, and a disk that takes its time",
        bounds: Bounds {
            campaigns: 1,
            writes: 1,
            eager: false,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "spec-logs",
        about: "the same in a second term, over logs that differ",
        bounds: Bounds {
            terms: 2,
            campaigns: 1,
            writes: 1,
            logs: [&[1, 1], &[1], &[]],
            eager: false,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "spec-restart",
        about: "the first with a crash at any moment",
        bounds: Bounds {
            campaigns: 1,
            writes: 1,
            crashes: 1,
            eager: false,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "spec-rot",
        about: "who cannot read an entry that another has stands, with a crash at any moment",
        bounds: Bounds {
            terms: 2,
            campaigns: 1,
            writes: 2,
            crashes: 1,
            logs: [&[1], &[1], &[]],
            lost: [&[1], &[], &[]],
            menders: true,
            ends_when_led: true,
            eager: false,
            ..Bounds::LEAST
        },
    },
    Scope {
        name: "spec-lacking",
        about: "who cannot read an entry that nobody else has stands",
        bounds: Bounds {
            terms: 2,
            campaigns: 1,
            writes: 2,
            logs: [&[1], &[], &[]],
            lost: [&[1], &[], &[]],
            menders: true,
            ends_when_led: true,
            eager: false,
            ..Bounds::LEAST
        },
    },
];
