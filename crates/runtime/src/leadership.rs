//! What the log tells of elections: a line when it changes who leads.
//! Never more lines than people read: of changes that come faster only the outcome is told.
//!
//! # Source
//! Raft paper §5.1, §5.2 (terms and leaders); dissertation §6.2 (a leader that loses its majority).

use headwater_raft::{Instant, NodeId, Term};
use headwater_replica::interface::Status;

use crate::name::Names;

/// How many lines may come at once.
const BURST_MAX: u64 = 10;

/// In what time a further line is earned.
const EARNED_NS: u64 = 1_000_000_000;

/// A line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Somebody leads.
    Leader(String),
    /// Nobody does any more.
    NoLeader(String),
}

/// What was told last, and when the next line may come.
#[derive(Debug)]
pub struct Leadership {
    names: Names,
    told: Option<(NodeId, Term)>,
    /// When all lines told so far are earned.
    earned_at: Instant,
}

impl Leadership {
    /// Nothing told yet, of nodes so called.
    pub fn new(names: Names) -> Self {
        Self {
            names,
            told: None,
            earned_at: Instant(0),
        }
    }

    /// What is new since the last line, if it may be told now.
    pub fn news(&mut self, now: Instant, status: &Status) -> Option<News> {
        let current = status.leader.map(|leader| (leader, status.term));
        if current == self.told || self.earned_at > now.after((BURST_MAX - 1) * EARNED_NS) {
            return None;
        }
        self.earned_at = self.earned_at.max(now).after(EARNED_NS);
        let before = std::mem::replace(&mut self.told, current);
        let me = status.node;
        Some(match (current, before) {
            (Some((leader, term)), _) if leader == me => {
                News::Leader(format!("leads in term {}", term.0))
            }
            (Some((leader, term)), _) => {
                let name = self.names.of(leader);
                News::Leader(format!("follows {name} in term {}", term.0))
            }
            (None, Some((leader, term))) if leader == me && term == status.term => {
                News::NoLeader(format!(
                    "no leader: leads no longer in term {}, for it lost its majority",
                    term.0
                ))
            }
            (None, Some((leader, term))) => {
                let name = self.names.of(leader);
                News::NoLeader(format!("no leader since {name} in term {}", term.0))
            }
            (None, None) => unreachable!("that is no change"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(leader: Option<u64>, term: u64) -> Status {
        Status {
            node: NodeId(1),
            leader: leader.map(NodeId),
            term: Term(term),
            ..Status::default()
        }
    }

    fn leadership() -> Leadership {
        Leadership::new(Names::from_iter([(NodeId(0xb2), "n2".to_owned())]))
    }

    #[test]
    fn each_change_of_the_leader_is_told_once_and_by_name() {
        let mut log = leadership();
        let mut told = Vec::new();
        let moments = [
            status(None, 0),
            status(Some(0xb2), 3),
            status(Some(0xb2), 3),
            status(None, 3),
            status(None, 5),
            status(Some(1), 5),
            status(None, 5),
            status(Some(1), 6),
            status(None, 7),
            status(Some(3), 7),
        ];
        for (second, moment) in moments.iter().enumerate() {
            told.extend(log.news(Instant(second as u64 * EARNED_NS), moment));
        }
        assert_eq!(
            told,
            [
                News::Leader("follows n2 (b2) in term 3".into()),
                News::NoLeader("no leader since n2 (b2) in term 3".into()),
                News::Leader("leads in term 5".into()),
                News::NoLeader(
                    "no leader: leads no longer in term 5, for it lost its majority".into()
                ),
                News::Leader("leads in term 6".into()),
                News::NoLeader("no leader since 1 in term 6".into()),
                News::Leader("follows 3 in term 7".into()),
            ]
        );
    }

    #[test]
    fn changes_that_come_too_fast_are_told_as_they_end() {
        let mut log = leadership();
        let fast = (1..=100).filter_map(|term| log.news(Instant(term), &status(Some(3), term)));
        assert_eq!(fast.count() as u64, BURST_MAX);
        let last = log.news(Instant(100 + EARNED_NS), &status(Some(3), 100));
        assert_eq!(last, Some(News::Leader("follows 3 in term 100".into())));
    }
}
