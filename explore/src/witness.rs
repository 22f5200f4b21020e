//! What must hold across nodes, checked at the moment it is claimed; and what was claimed so far.
//! Never looks into a node: it judges what was said, told and written.
//!
//! # Source
//! Raft paper, Figure 3; rules R1, R4, R6 and R12 of ARCHITECTURE.md.

use std::hash::{DefaultHasher, Hash, Hasher};

use headwater_raft::{Index, LogId, Term};

use crate::likeness::{ALL, RENAMINGS};
use crate::node::{NODES, Told};
use crate::world::{Letter, Local};

/// What was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// At most one leader a term.
    ElectionSafety,
    /// Two logs that agree on an entry agree on all before it.
    LogMatching,
    /// A leader holds what was committed in earlier terms.
    LeaderCompleteness,
    /// At each index the same entry is committed everywhere, and none that was not.
    StateMachineSafety,
    /// An entry is on a quorum's disks when it is first committed.
    DurableQuorum,
    /// What the leader of the newest term counts as durable on another node is.
    TrueMatch,
    /// A node votes once a term.
    OneVote,
    /// What is sent is true already (R4).
    SafeToSend,
    /// A read sees all that was committed before it was asked.
    LinearizableReads,
    /// No step panics, halts, fails an audit, or is refused by a correct peer (R12).
    Sound,
}

/// A committed entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Committed {
    /// The entry's term.
    pub term: u8,
    /// The term of the node that committed it first.
    pub in_term: u8,
}

/// A read without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Asked {
    id: u8,
    at: u8,
    least: u8,
}

/// The history, as far as it can matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Witness {
    /// The committed entries, from index 1.
    pub committed: Vec<Committed>,
    /// Who led each term, from term 1, as far as anyone did: its place and one.
    pub leaders: Vec<u8>,
    reads: Vec<Asked>,
    /// What was broken, and how.
    pub broken: Option<(Broken, String)>,
    /// The hash of all that must tell states apart, under each renaming.
    pub keys: [u64; RENAMINGS],
}

/// The cluster as the witness sees it just after a step of the node at `at`.
pub struct Scene<'a> {
    /// The node that took the step.
    pub at: usize,
    /// What it was before.
    pub before: &'static Local,
    /// All nodes as they are now.
    pub nodes: &'a [&'static Local; NODES],
}

impl Scene<'_> {
    fn now(&self) -> &'static Local {
        self.nodes[self.at]
    }
}

impl Witness {
    /// Computes the keys anew.
    pub fn seal(&mut self) {
        self.keys = ALL.map(|renaming| {
            let mut hasher = DefaultHasher::new();
            self.committed.hash(&mut hasher);
            for one in &self.leaders {
                let place = usize::from(*one).checked_sub(1);
                place.map(|place| renaming[place]).hash(&mut hasher);
            }
            for asked in &self.reads {
                (asked.id, asked.least, renaming[usize::from(asked.at)]).hash(&mut hasher);
            }
            let broken = self.broken.as_ref();
            broken.map(|(what, _)| *what as u8).hash(&mut hasher);
            hasher.finish()
        });
    }

    /// A client asks node `at` for a read.
    pub fn see_asked(&mut self, id: u8, at: usize) {
        let (at, least) = (at as u8, self.committed.len() as u8);
        self.reads.push(Asked { id, at, least });
    }

    /// What a step told, and what it changed.
    pub fn see(&mut self, scene: &Scene<'_>, told: &[Told]) {
        for event in told {
            match event {
                Told::Leads(term) => self.see_leader(scene, *term),
                Told::Commits(upto) => self.see_commit(scene, *upto),
                Told::Answers(id, at) => self.see_answer(*id, *at),
                Told::Truncates => {}
                Told::Loses(_) => {}
                Told::Lies(how) => self.break_if(true, Broken::SafeToSend, || how.clone()),
                Told::Breaks(how) => self.break_if(true, Broken::Sound, || how.clone()),
            }
        }
        let here = scene.now();
        if here.log != scene.before.log {
            for other in scene.nodes {
                self.break_if(!match_logs(here, other), Broken::LogMatching, || {
                    format!("{:?} and {:?}", here.log, other.log)
                });
            }
        }
        self.see_knowledge(here);
        self.see_match(scene);
    }

    /// A crash takes a node's open reads along: nobody is left to hear the outcome.
    pub fn see_crash(&mut self, at: usize) {
        self.reads.retain(|asked| usize::from(asked.at) != at);
    }

    /// A message was sent for the first time; `others` are all that were sent before.
    pub fn see_letter(&mut self, letter: &Letter, others: impl Iterator<Item = &'static Letter>) {
        let Some((who, term, whom)) = letter.vote else {
            return;
        };
        for (_, _, other) in others
            .filter_map(|other| other.vote)
            .filter(|vote| (vote.0, vote.1) == (who, term))
        {
            self.break_if(other != whom, Broken::OneVote, || {
                format!("node {} in {term:?}", who + 1)
            });
        }
    }

    fn see_leader(&mut self, scene: &Scene<'_>, term: Term) {
        let (me, slot) = (scene.at as u8 + 1, term.0 as usize - 1);
        self.leaders.resize(self.leaders.len().max(slot + 1), 0);
        let known = self.leaders[slot];
        self.break_if(known != 0 && known != me, Broken::ElectionSafety, || {
            format!("nodes {known} and {me} lead {term:?}")
        });
        self.leaders[slot] = me;
        self.see_completeness(scene.now());
    }

    /// A leader holds what was committed in terms before its own. In later ones, others may have
    /// committed what it never hears of.
    fn see_completeness(&mut self, leader: &Local) {
        let (base, terms) = &leader.log;
        let own = leader.node.term().0;
        for at in base.0 as usize..self.committed.len() {
            let entry = self.committed[at];
            let here = terms.get(at - base.0 as usize);
            let lacks = here != Some(&Term(entry.term.into()));
            self.break_if(
                lacks && u64::from(entry.in_term) < own,
                Broken::LeaderCompleteness,
                || format!("the leader of {own} lacks entry {}", at + 1),
            );
        }
    }

    fn see_commit(&mut self, scene: &Scene<'_>, upto: Index) {
        let here = scene.now();
        let (base, terms) = &here.log;
        let mut is_new = false;
        for index in base.0 + 1..=upto.0 {
            let Some(&term) = terms.get((index - base.0) as usize - 1) else {
                return self.break_if(true, Broken::StateMachineSafety, || {
                    format!("commits {index}, which is not there")
                });
            };
            match self.committed.get(index as usize - 1) {
                Some(known) => {
                    let differs = u64::from(known.term) != term.0;
                    self.break_if(differs, Broken::StateMachineSafety, || {
                        format!("entry {index} of {term:?}")
                    });
                }
                None => {
                    let id = LogId::new(term, Index(index));
                    let copies = scene.nodes.iter().filter(|node| node.node.holds(id));
                    let copies = copies.count();
                    self.break_if(copies * 2 <= NODES, Broken::DurableQuorum, || {
                        format!("{id} has {copies} durable copies")
                    });
                    self.committed.push(Committed {
                        term: term.0 as u8,
                        in_term: here.node.term().0 as u8,
                    });
                    is_new = true;
                }
            }
        }
        if is_new {
            for leader in scene.nodes.iter().filter(|local| local.node.is_leader()) {
                self.see_completeness(leader);
            }
        }
    }

    /// What a node takes for committed is, and a start has not changed that.
    fn see_knowledge(&mut self, here: &Local) {
        let commit = here.node.commit();
        let (base, terms) = &here.log;
        let known = self.committed.get((commit.0 as usize).wrapping_sub(1));
        let is_false = match known {
            None => commit.0 > 0,
            Some(_) if commit <= *base => false,
            Some(known) => terms[(commit.0 - base.0) as usize - 1].0 != u64::from(known.term),
        };
        self.break_if(is_false, Broken::StateMachineSafety, || {
            format!("takes {commit:?} for committed")
        });
    }

    /// Only while nobody leads a newer term is a leader's knowledge of others still true.
    fn see_match(&mut self, scene: &Scene<'_>) {
        for leader in scene.nodes {
            let Some(matched) = leader.matched else {
                continue;
            };
            if leader.node.term().0 < self.leaders.len() as u64 {
                continue;
            }
            let (base, terms) = &leader.log;
            for (other, upto) in scene.nodes.iter().zip(matched) {
                let Some(behind) = upto.0.checked_sub(base.0 + 1) else {
                    continue;
                };
                let id = LogId::new(terms[behind as usize], upto);
                self.break_if(!other.node.holds(id), Broken::TrueMatch, || {
                    format!("a leader counts {id}, which is on no disk")
                });
            }
        }
    }

    fn see_answer(&mut self, id: u8, at: Option<Index>) {
        let place = self.reads.iter().position(|asked| asked.id == id);
        let Some(place) = place else {
            return self.break_if(true, Broken::LinearizableReads, || {
                format!("answers read {id}, which nobody waits for")
            });
        };
        let asked = self.reads.remove(place);
        let Some(at) = at else { return };
        let (least, most) = (u64::from(asked.least), self.committed.len() as u64);
        self.break_if(at.0 < least, Broken::LinearizableReads, || {
            format!("read {id} at {at:?} misses entry {least}")
        });
        self.break_if(at.0 > most, Broken::LinearizableReads, || {
            format!("read {id} at {at:?}, of which only {most} is committed")
        });
    }

    /// Keeps the first thing that was broken.
    fn break_if(&mut self, broken: bool, what: Broken, how: impl FnOnce() -> String) {
        if broken && self.broken.is_none() {
            self.broken = Some((what, how()));
        }
    }
}

/// Log Matching, as far as two logs still hold the same indices.
fn match_logs(one: &Local, other: &Local) -> bool {
    let (one, other) = (&one.log, &other.log);
    let base = one.0.max(other.0);
    let after =
        |log: &(Index, Vec<Term>)| log.1.get((base.0 - log.0.0) as usize..).map(<[_]>::to_vec);
    let (Some(one), Some(other)) = (after(one), after(other)) else {
        return true;
    };
    let agree = one.iter().zip(&other).map(|(one, other)| one == other);
    let agree: Vec<bool> = agree.collect();
    let last = agree.iter().rposition(|same| *same);
    last.is_none_or(|last| agree[..last].iter().all(|same| *same))
}
