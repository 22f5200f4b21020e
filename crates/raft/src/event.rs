//! What an observer may see of a node: for traces, metrics, pictures and the specification.
//! Never costs anyone who does not look: a view is taken on demand, and events are the difference
//! of two views.
//!
//! A run of a node is the list of its inputs; with a [`View`] after each of them it is a trace that
//! a specification can be held against. [`between`] says in events what a step did, so that they
//! can be shown and counted; [`View::apply`] is its inverse, so nothing is left unsaid.
//!
//! # Source
//! Raft paper, Figure 2 (the state of a server) and Figure 3; Howard et al., "Smart Casual
//! Verification", NSDI'25, for traces that are checked against a specification.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::configuration::Config;
use crate::effect::RoleName;
use crate::log::TermLog;
use crate::raft::Raft;
use crate::types::{Entries, HardState, Index, LogId, NodeId, Term};

/// One node as an observer sees it: the variables of Figure 2, and what durability and membership
/// add to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The node.
    pub node: NodeId,
    /// Term and vote, durable or not.
    pub hard: HardState,
    /// The role.
    pub role: RoleName,
    /// The leader it knows of in its term.
    pub leader: Option<NodeId>,
    /// The identities of the log's entries; `log.prev` is the log's base.
    pub log: Entries,
    /// The commit index.
    pub commit: Index,
    /// Up to where the log is durable here.
    pub durable: Index,
    /// The configuration in force.
    pub config: Config,
    /// `matchIndex`: what a leader knows its followers to hold durably; empty on other nodes.
    pub matched: BTreeMap<NodeId, Index>,
}

/// One thing that a step did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A newer term, in which no vote is given yet.
    Term(Term),
    /// A vote, for itself or another.
    Vote(NodeId),
    /// Another role.
    Role(RoleName),
    /// Another leader, or none.
    Leader(Option<NodeId>),
    /// The log began anew, empty, after an entry that a snapshot covers.
    Reset(LogId),
    /// The log forgot what a snapshot covers, up to this entry.
    Compact(LogId),
    /// The log lost the entries from here on.
    Truncate(Index),
    /// The log grew by these.
    Append(Entries),
    /// The configuration at this index of the log can be read again.
    Restore(Index, Config),
    /// Everything up to here is durable here; less than before if what was durable was replaced.
    Durable(Index),
    /// Everything up to here is committed.
    Commit(Index),
    /// Another configuration is in force.
    Config(Config),
    /// What a leader knows of a follower's log, by follower: those that changed.
    Match(NodeId, Index),
    /// It leads no more, or a follower has left: nothing is known of that follower's log.
    Forget(NodeId),
}

impl Raft {
    /// The node as it stands; costs copies of the log's terms and configurations.
    pub fn view(&self) -> View {
        let (base, last) = (self.log.base(), self.log.last_id());
        let peers = self
            .role
            .leadership()
            .into_iter()
            .flat_map(|l| l.peers.iter());
        View {
            node: self.me,
            hard: self.hard,
            role: self.role.name(),
            leader: self.leader,
            log: self.entries(base.index.next(), last.index),
            commit: self.commit,
            durable: self.durable.index(),
            config: self.config().clone(),
            matched: peers.map(|(id, peer)| (id, peer.matched())).collect(),
        }
    }
}

/// What happened to a node between two views of it, in an order in which it can have happened.
pub fn between(before: &View, after: &View) -> Vec<Event> {
    let mut events = Vec::new();
    if after.hard.term != before.hard.term {
        events.push(Event::Term(after.hard.term));
    }
    let voted =
        (before.hard.term, before.hard.voted_for) != (after.hard.term, after.hard.voted_for);
    if let Some(candidate) = after.hard.voted_for.filter(|_| voted) {
        events.push(Event::Vote(candidate));
    }
    if after.role != before.role {
        events.push(Event::Role(after.role));
    }
    if after.leader != before.leader {
        events.push(Event::Leader(after.leader));
    }
    events.extend(between_logs(&before.log, &after.log));
    if after.durable != before.durable {
        events.push(Event::Durable(after.durable));
    }
    if after.commit != before.commit {
        events.push(Event::Commit(after.commit));
    }
    if after.config != before.config {
        events.push(Event::Config(after.config.clone()));
    }
    let gone = before.matched.keys();
    let gone = gone.filter(|id| !after.matched.contains_key(id));
    events.extend(gone.map(|&id| Event::Forget(id)));
    let moved = after.matched.iter();
    let moved = moved.filter(|&(id, upto)| before.matched.get(id) != Some(upto));
    events.extend(moved.map(|(&id, &upto)| Event::Match(id, upto)));
    events
}

fn between_logs(before: &Entries, after: &Entries) -> Vec<Event> {
    let mut events = Vec::new();
    let mut log = before.clone();
    if after.prev != log.prev {
        let kept = log.term_at(after.prev.index) == Some(after.prev.term);
        log = if kept {
            events.push(Event::Compact(after.prev));
            log.after(after.prev.index)
        } else {
            events.push(Event::Reset(after.prev));
            Entries::none(after.prev)
        };
    }
    let difference = TermLog::new(&log).first_difference(after);
    let common = difference.map_or(after.last, Index::prev);
    if common < log.last {
        events.push(Event::Truncate(common.next()));
    }
    let restored = after.configs.iter().filter(|(at, _)| *at <= common);
    let restored = restored.filter(|config| !log.configs.contains(config));
    events.extend(restored.map(|(at, config)| Event::Restore(*at, config.clone())));
    if common < after.last {
        events.push(Event::Append(after.after(common)));
    }
    events
}

impl View {
    /// The view after an event that [`between`] named.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Term(term) => {
                self.hard = HardState {
                    term: *term,
                    voted_for: None,
                };
            }
            Event::Vote(candidate) => self.hard.voted_for = Some(*candidate),
            Event::Role(role) => self.role = *role,
            Event::Leader(leader) => self.leader = *leader,
            Event::Reset(base) => self.log = Entries::none(*base),
            Event::Compact(base) => self.log = self.log.after(base.index),
            Event::Truncate(from) => self.log = self.log.upto(from.prev()),
            Event::Append(entries) => self.log = self.log.followed_by(entries),
            Event::Restore(at, config) => {
                let configs = &mut self.log.configs;
                let place = configs.partition_point(|(index, _)| index < at);
                configs.insert(place, (*at, config.clone()));
            }
            Event::Durable(upto) => self.durable = *upto,
            Event::Commit(upto) => self.commit = *upto,
            Event::Config(config) => self.config = config.clone(),
            Event::Match(peer, upto) => {
                self.matched.insert(*peer, *upto);
            }
            Event::Forget(peer) => {
                self.matched.remove(peer);
            }
        }
    }
}
