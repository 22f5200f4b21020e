//! What a log must hold, by the orders given to it: the measure for the core, for what nodes
//! promise each other, and for what recovery finds.
//! Never looks at a disk: it believes the orders.
//!
//! # Source
//! Raft paper, Figure 2, persistent state.

use std::collections::BTreeSet;

use headwater_raft::{Config, HardState, Index, LogId, Term, Unreadable, WriteId};
use headwater_replica::config_record::decode_change;
use headwater_replica::recovery::Recovered;
use headwater_replica::{Entry, EntryKind, LogOrder};

/// One entry without its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ident {
    pub(crate) term: Term,
    kind: EntryKind,
    crc: u32,
    len: usize,
}

impl Ident {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            term: entry.id.term,
            kind: entry.kind,
            crc: entry.crc,
            len: entry.body.len(),
        }
    }
}

/// The configuration that an entry is, if it is one.
pub(crate) fn config_of(entry: &Entry) -> Option<(Index, Config)> {
    if entry.kind != EntryKind::Config {
        return None;
    }
    let config = decode_change(&entry.body).expect("the core has read it").0;
    Some((entry.id.index, config))
}

/// A log after some orders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogImage {
    pub(crate) hard: HardState,
    base: LogId,
    /// The entries after `base`.
    idents: Vec<Ident>,
    /// The configurations among them.
    pub(crate) configs: Vec<(Index, Config)>,
    /// The entries that a disk cannot give back, though their names.
    pub(crate) unreadable: BTreeSet<Index>,
    pub(crate) last_write: WriteId,
    /// The log before it was last reset.
    before_reset: Option<Box<LogImage>>,
}

impl LogImage {
    /// The entry before the first.
    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    /// The last entry, or the base.
    pub(crate) fn last(&self) -> LogId {
        let term = self
            .idents
            .last()
            .map_or(self.base.term, |ident| ident.term);
        LogId::new(term, Index(self.base.index.0 + self.idents.len() as u64))
    }

    /// The entry at `index`, if it is here.
    pub(crate) fn get(&self, index: Index) -> Option<Ident> {
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.idents.get(at as usize).copied()
    }

    /// The term at `index`, if it is here or the base.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|ident| ident.term)
    }

    /// The configurations before `index`, in an otherwise empty log.
    pub(crate) fn before(&self, index: Index) -> Self {
        let upto = self.configs.partition_point(|&(at, _)| at < index);
        Self {
            base: self.base,
            configs: self.configs[..upto].to_vec(),
            ..Self::default()
        }
    }

    /// Obeys an order.
    pub(crate) fn obey(&mut self, order: &LogOrder) {
        match order {
            LogOrder::Write(write) => {
                self.hard = write.hard;
                self.last_write = write.id;
                if let Some(from) = write.truncate_from {
                    let kept = from.0.saturating_sub(self.base.index.0 + 1);
                    self.idents.truncate(kept as usize);
                    self.configs.retain(|&(at, _)| at < from);
                    self.unreadable.split_off(&from);
                }
                self.idents.extend(write.entries.iter().map(Ident::of));
                self.configs
                    .extend(write.entries.iter().filter_map(config_of));
            }
            LogOrder::Repair {
                id, hard, entries, ..
            } => {
                self.hard = *hard;
                self.last_write = *id;
                for entry in entries {
                    self.unreadable.remove(&entry.id.index);
                }
            }
            LogOrder::Reset { id, base, hard } => {
                let hard = *hard;
                *self = Self {
                    hard,
                    ..self.voided(*base, *id)
                };
            }
            // What may be forgotten may also be kept.
            LogOrder::Release { .. } | LogOrder::GiveRoom => {}
        }
    }

    /// The log as a recovery leaves it that found the snapshot `base` ahead of this log.
    pub(crate) fn voided(&self, base: LogId, last_write: WriteId) -> Self {
        Self {
            hard: self.hard,
            base,
            idents: Vec::new(),
            configs: Vec::new(),
            unreadable: BTreeSet::new(),
            last_write,
            before_reset: Some(Box::new(Self {
                before_reset: None,
                ..self.clone()
            })),
        }
    }

    /// The log as it reads where the frame that reset it is lost to rot, if the names of what the reset
    /// skipped are known: it went on from the log before, within one term.
    pub(crate) fn without_reset(&self) -> Option<Self> {
        let before = self.before_reset.as_deref()?;
        let (last, base) = (before.last(), self.base);
        if last.term != base.term || last.index >= base.index {
            return None;
        }
        let nameless = (last.index.next().0..=base.index.0)
            .map(|index| Ident::of(&Entry::unreadable(LogId::new(base.term, Index(index)))));
        let idents = before.idents.iter().copied().chain(nameless);
        Some(Self {
            base: before.base,
            idents: idents.chain(self.idents.iter().copied()).collect(),
            configs: [&before.configs[..], &self.configs].concat(),
            before_reset: None,
            ..self.clone()
        })
    }

    /// Why what recovery found is not this log, or a later part of it. `is_rotten`: of entries that it
    /// names it may lack all else.
    pub(crate) fn differs<M>(&self, found: &Recovered<M>, is_rotten: bool) -> Option<String> {
        if found.hard != self.hard {
            return Some(format!("{:?} instead of {:?}", found.hard, self.hard));
        }
        if self.term_at(found.log_base.index) != Some(found.log_base.term) {
            return Some(format!(
                "the log begins after {}, which was never its base",
                found.log_base
            ));
        }
        let end = found.log_base.index.0 + found.entries.len() as u64;
        if end != self.last().index.0 {
            return Some(format!("the log ends at {end} instead of {}", self.last()));
        }
        for entry in &found.entries {
            let (ident, index) = (Ident::of(entry), entry.id.index);
            let is_lost = entry.kind == EntryKind::Unreadable;
            if is_lost != is_among(&found.unreadable, index) {
                return Some(format!("{} is called unreadable, or is not", entry.id));
            }
            if is_lost && (is_rotten || self.unreadable.contains(&index)) {
                if self.term_at(index) == Some(entry.id.term) {
                    continue;
                }
                return Some(format!("{} is not what cannot be read", entry.id));
            }
            if self.get(index) != Some(ident) {
                return Some(format!("{} is not the entry that was written", entry.id));
            }
        }
        None
    }
}

fn is_among(ranges: &[Unreadable], index: Index) -> bool {
    let mut ranges = ranges.iter();
    ranges.any(|range| range.first <= index && index <= range.last)
}
