//! A pretend disk: the queue of writes, and what its durable prefix amounts to.
//! It knows nothing but the writes, so recovery from it tests that the writes say everything.

use std::collections::{BTreeSet, VecDeque};

use headwater_raft::{
    Config, Entries, HardState, Index, LogChange, LogId, NodeId, Recovered, Term, Unreadable,
    Write, WriteId,
};

/// Term, vote and log as the writes so far leave them.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: HardState,
    pub base: LogId,
    /// The terms of the entries after `base`.
    pub terms: Vec<Term>,
    /// The configurations among them.
    pub configs: Vec<(Index, Config)>,
    /// The entries whose bodies cannot be read.
    pub unreadable: BTreeSet<Index>,
    pub commit_hint: Index,
    pub next: WriteId,
}

impl Image {
    pub fn last(&self) -> LogId {
        let term = self.terms.last().copied().unwrap_or(self.base.term);
        LogId::new(term, Index(self.base.index.0 + self.terms.len() as u64))
    }

    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let behind = index.0.checked_sub(self.base.index.0)?;
        self.terms.get(behind as usize - 1).copied()
    }

    pub fn has(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Carries out one write, in the order of its fields, and checks that it makes sense here.
    fn apply(&mut self, write: &Write, hint: Index) {
        assert_eq!(write.id, self.next, "writes are numbered without gaps");
        self.next = write.id.next();
        let (old, new) = (self.hard, write.hard);
        assert!(new.term >= old.term, "a write takes the term back");
        let changed = new.term == old.term && old.voted_for.is_some();
        assert!(
            !changed || new.voted_for == old.voted_for,
            "a write changes a vote"
        );
        self.hard = new;
        if let LogChange::Reset(base) = write.log {
            self.base = base;
            self.terms.clear();
            self.configs.clear();
            self.unreadable.clear();
        }
        if let LogChange::Repair(entries) = &write.log {
            assert!(entries.is_well_formed() && !entries.is_empty());
            for index in (entries.first().0..=entries.last.0).map(Index) {
                let known = self.term_at(index);
                assert_eq!(known, entries.term_at(index), "a repair changes {index}");
                self.unreadable.remove(&index);
            }
            for (at, config) in &entries.configs {
                assert!(self.configs.contains(&(*at, config.clone())));
            }
        }
        if let Some(from) = write.truncate_from() {
            assert!(from > self.base.index, "a write truncates the base");
            assert!(from <= self.last().index, "a write truncates nothing");
            self.terms
                .truncate((from.0 - self.base.index.0 - 1) as usize);
            self.configs.retain(|&(at, _)| at < from);
            self.unreadable.retain(|&at| at < from);
        }
        if let Some(append) = write.append() {
            assert_eq!(append.prev, self.last(), "a write leaves a gap: {write:?}");
            let cuts = write.truncate_from().is_some();
            assert!(append.is_well_formed() && (cuts || !append.is_empty()));
            for index in append.first().0..=append.last.0 {
                let term = append.term_at(Index(index)).expect("inside the range");
                self.terms.push(term);
            }
            self.configs.extend(append.configs.iter().cloned());
            assert!(
                !write.is_internal() || append.count() == 1,
                "what the core makes itself is one entry"
            );
        }
        assert!(
            self.last().term <= self.hard.term,
            "an entry of a future term"
        );
        self.commit_hint = hint;
    }

    /// Drops the entries up to `upto` if the image reaches that far.
    fn forget(&mut self, upto: LogId) {
        if self.has(upto) {
            self.terms
                .drain(..(upto.index.0 - self.base.index.0) as usize);
            self.base = upto;
            self.configs.retain(|&(at, _)| at > upto.index);
            self.unreadable.retain(|&at| at > upto.index);
        }
    }

    /// Every entry by itself, though recovery names ranges: the core makes no difference.
    fn gaps(&self, applied: Index) -> Vec<Unreadable> {
        let gap = |&at: &Index| Unreadable {
            first: at,
            last: at,
            may_hold_config: self.configs.iter().any(|&(config, _)| config == at),
        };
        self.unreadable.range(applied.next()..).map(gap).collect()
    }

    fn entries(&self, applied: Index) -> Entries {
        let terms: Vec<u64> = self.terms.iter().map(|term| term.0).collect();
        let mut configs = self.configs.clone();
        configs.retain(|(at, _)| *at <= applied || !self.unreadable.contains(at));
        Entries {
            configs,
            ..super::entries(self.base, &terms)
        }
    }
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What a crash leaves.
    pub safe: Image,
    /// What has been issued since, with the commit index known at that moment.
    pub queue: VecDeque<(Write, Index)>,
    /// The newest durable snapshot: what it covers stands for the state itself.
    pub snapshot: LogId,
    /// The configuration in it; before the first snapshot, the one the node began with.
    pub config: Config,
}

impl Disk {
    /// A disk that holds this log.
    pub fn holding(term: u64, terms: &[u64]) -> Self {
        let mut disk = Self::default();
        disk.safe.next = WriteId(1);
        disk.safe.hard.term = Term(term);
        disk.safe.terms = terms.iter().map(|&term| Term(term)).collect();
        disk
    }

    pub fn enqueue(&mut self, write: Write, hint: Index) {
        self.queue.push_back((write, hint));
    }

    /// A durable entry that no snapshot covers cannot be read any more; whether there is such a one.
    pub fn rot(&mut self, index: Index) -> bool {
        let is_held = self.safe.term_at(index).is_some() && index > self.safe.base.index;
        let rots = is_held && index > self.snapshot.index;
        if rots {
            self.safe.unreadable.insert(index);
        }
        rots
    }

    /// Makes all writes up to `upto` durable.
    pub fn persist(&mut self, upto: WriteId) {
        while self
            .queue
            .front()
            .is_some_and(|(write, _)| write.id <= upto)
        {
            let (write, hint) = self.queue.pop_front().expect("looked at just now");
            self.safe.apply(&write, hint);
        }
    }

    /// A crash: the first `kept` unacknowledged writes happen to be on the disk, the rest is lost.
    pub fn crash(&mut self, kept: usize) {
        let kept = kept.min(self.queue.len());
        if let Some((write, _)) = kept.checked_sub(1).and_then(|at| self.queue.get(at)) {
            self.persist(write.id);
        }
        self.queue.clear();
    }

    /// What the disk will hold once everything issued is durable.
    pub fn eventually(&self) -> Image {
        let mut image = self.safe.clone();
        for (write, hint) in &self.queue {
            image.apply(write, *hint);
        }
        image
    }

    /// Whether this very entry would survive a crash now, by itself or in a snapshot.
    pub fn holds(&self, id: LogId) -> bool {
        self.snapshot.index >= id.index || self.safe.has(id)
    }

    /// The term that would survive a crash now.
    pub fn term(&self) -> Term {
        self.safe.hard.term.max(self.snapshot.term)
    }

    /// A durable snapshot at `upto` exists from now on.
    pub fn snapshot(&mut self, upto: LogId, config: Config) {
        assert!(upto.index > self.snapshot.index, "snapshots grow");
        self.snapshot = upto;
        self.config = config;
    }

    /// The log may forget what a snapshot covers.
    pub fn release(&mut self, upto: LogId) {
        assert!(
            upto.index <= self.snapshot.index,
            "forgetting what no snapshot covers"
        );
        self.safe.forget(upto);
    }

    /// What a process that starts now finds. A log that the snapshot does not continue is void.
    pub fn recover(&mut self, me: NodeId) -> Recovered {
        assert!(self.queue.is_empty(), "a crash comes before a recovery");
        let log = &mut self.safe;
        if self.snapshot.index > log.base.index && !log.has(self.snapshot) {
            log.base = self.snapshot;
            log.terms.clear();
            log.configs.clear();
            log.unreadable.clear();
        }
        let applied = self.snapshot.max(log.base);
        let covered = |(at, _): &&(Index, Config)| *at <= applied.index;
        let logged = log.configs.iter().rfind(covered);
        let config = logged.map_or(&self.config, |(_, config)| config).clone();
        Recovered {
            me,
            hard: log.hard,
            log: log.entries(applied.index),
            applied,
            config,
            disk: None,
            unreadable: log.gaps(applied.index),
            commit_hint: log.commit_hint,
            next_write: log.next,
        }
    }
}
