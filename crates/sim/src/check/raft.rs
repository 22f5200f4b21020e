//! Figure 3 across nodes: one leader a term, matching logs, complete leaders, one history.
//! Never trusts a node's word for another's: it compares what each has in hand.
//!
//! # Source
//! Raft paper, Figure 3; dissertation §3.6.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headwater_raft::{Config, Incarnation, Index, LogId, Message, NodeId, Raft, RoleName, Term};
use headwater_replica::{Entry, EntryKind, LogOrder, SnapshotMeta};

use super::members::{Members, is_quorum};
use super::{Violation, ensure};
use crate::application::{Application, Model};
use crate::image::{Ident, LogImage, config_of};
use crate::node::{Live, Node};
use crate::witness::{Watched, digest_after};

/// What is known of an entry that any log ever held.
#[derive(Clone, Debug)]
struct Known {
    ident: Ident,
    prev: Term,
    body: Bytes,
    /// What the machine is told.
    command: Option<Bytes>,
    config: Option<Config>,
}

/// A committed entry and what it did.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) id: LogId,
    /// The term of the leader that committed it.
    by: Term,
    pub(crate) body: Bytes,
    /// The last command up to here, and the digest of all.
    command: Index,
    digest: u64,
}

/// The cluster's one history, as far as anyone has seen it committed.
pub(crate) struct Cluster<A: Application> {
    pub(crate) members: Members,
    /// Votes that have left their voter: term, voter, the voter's disk, candidate.
    votes: BTreeSet<(Term, NodeId, Option<Incarnation>, NodeId)>,
    leaders: BTreeMap<Term, NodeId>,
    /// Leaders of terms that others have followed: since when, and when each was last seen.
    outdated: BTreeMap<NodeId, (u64, u64)>,
    entries: BTreeMap<(Index, Term), Known>,
    /// By index, from one.
    pub(crate) committed: Vec<Committed>,
    /// The command after which all add up to a digest.
    digests: BTreeMap<u64, Index>,
    pub(crate) model: A::Model,
}

impl<A: Application> Cluster<A> {
    pub(crate) fn new(first: Config) -> Self {
        Self {
            members: Members::new(first),
            votes: BTreeSet::new(),
            leaders: BTreeMap::new(),
            outdated: BTreeMap::new(),
            entries: BTreeMap::new(),
            committed: Vec::new(),
            digests: BTreeMap::from([(0, Index(0))]),
            model: A::Model::default(),
        }
    }

    /// How much is committed.
    pub(crate) fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// About how many bytes all commands together have.
    pub(crate) fn content_bytes(&self) -> u64 {
        let bytes = self.committed.iter().map(|at| at.body.len() as u64 + 64);
        bytes.sum()
    }

    fn at(&self, index: Index) -> Option<&Committed> {
        self.committed.get((index.0 as usize).checked_sub(1)?)
    }

    /// The identity of the committed entry at `index`.
    pub(crate) fn id_at(&self, index: Index) -> Option<LogId> {
        if index == Index(0) {
            return Some(LogId::default());
        }
        self.at(index).map(|committed| committed.id)
    }

    /// The last command up to `index`.
    pub(crate) fn command_at(&self, index: Index) -> Index {
        self.at(index)
            .map_or(Index(0), |committed| committed.command)
    }

    /// The command after which all commands add up to `digest`, if ever they did.
    pub(crate) fn command_of(&self, digest: u64) -> Option<Index> {
        self.digests.get(&digest).copied()
    }

    fn digest_at(&self, index: Index) -> u64 {
        self.at(index).map_or(0, |committed| committed.digest)
    }

    /// Log Matching: entries of one index and term are the same, and so are those before them.
    pub(crate) fn on_order(&mut self, node: &Node<A>, order: &LogOrder) -> Result<(), Violation> {
        let Some(Live { log_image: log, .. }) = &node.live else {
            return Ok(());
        };
        let write = match order {
            LogOrder::Write(write) => write,
            LogOrder::Repair { entries, .. } => {
                for entry in entries {
                    let prev = log.term_at(entry.id.index.prev()).unwrap_or_default();
                    let is_new = self.know(entry, prev)?;
                    ensure(!is_new, "repair", || format!("{} is made up", entry.id))?;
                }
                return Ok(());
            }
            LogOrder::Reset { .. } | LogOrder::Release { .. } | LogOrder::GiveRoom => {
                return Ok(());
            }
        };
        // Recovery believes the hint of the last write it finds, and this may become the last.
        let hint = self.id_at(write.commit);
        let is_void = write.commit > log.last().index;
        let term = log.term_at(write.commit);
        let differs = term.is_some() && term != hint.map(|id| id.term);
        ensure(
            !is_void && (hint.is_none() || !differs),
            "commit hint",
            || {
                format!(
                    "{} calls {:?} committed while it leaves {term:?} there, not {hint:?}",
                    write.id, write.commit
                )
            },
        )?;
        for entry in &write.entries {
            let prev = log.term_at(entry.id.index.prev());
            let prev = prev.ok_or_else(|| {
                Violation::new("order", format!("{} continues no entry", entry.id))
            })?;
            if self.know(entry, prev)? && entry.kind == EntryKind::Config {
                self.on_config_made(node, log, entry.id)?;
            }
        }
        Ok(())
    }

    /// A leader has appended a configuration: `log` holds it.
    fn on_config_made(
        &mut self,
        node: &Node<A>,
        log: &LogImage,
        id: LogId,
    ) -> Result<(), Violation> {
        let place = log.configs.partition_point(|&(at, _)| at < id.index);
        let before = log.before(id.index);
        let before = self.members.in_force(node, &before).clone();
        let (_, config) = &log.configs[place];
        self.members.on_made(id, &before, config)
    }

    /// Takes note of an entry; whether it was unknown.
    fn know(&mut self, entry: &Entry, prev: Term) -> Result<bool, Violation> {
        let key = (entry.id.index, entry.id.term);
        let ident = Ident::of(entry);
        if let Some(known) = self.entries.get(&key) {
            return ensure(
                known.ident == ident && known.prev == prev,
                "log matching",
                || format!("{} is two different entries", entry.id),
            )
            .map(|()| false);
        }
        let known = Known {
            ident,
            prev,
            body: entry.body.clone(),
            command: entry.command().map(Cow::into_owned),
            config: config_of(entry).map(|(_, config)| config),
        };
        self.entries.insert(key, known);
        Ok(true)
    }

    /// Looks at the node that has just ended a turn. Its orders have been heard.
    pub(crate) fn after_turn(&mut self, nodes: &[Node<A>], at: usize) -> Result<bool, Violation> {
        let Some(live) = &nodes[at].live else {
            return Ok(false);
        };
        let (raft, log) = (live.replica.raft(), &live.log_image);
        let audit = raft.audit().and_then(|()| raft.audit_log());
        audit.map_err(|why| Violation::new("audit", why))?;
        ensure(
            raft.last() == log.last() && raft.hard_state() == log.hard,
            "orders",
            || {
                format!(
                    "the core is at {} {:?}, its orders at {} {:?}",
                    raft.last(),
                    raft.hard_state(),
                    log.last(),
                    log.hard
                )
            },
        )?;
        let config = self.members.in_force(&nodes[at], log);
        ensure(raft.config() == config, "configuration chain", || {
            format!(
                "{:?} goes by {:?} instead of {config:?}",
                raft.me(),
                raft.config()
            )
        })?;
        let mut is_new = false;
        if raft.role() == RoleName::Leader {
            let config = config.clone();
            is_new = self.on_leader((raft.me(), &config), raft.term(), log, raft.base())?;
        }
        self.on_commit(nodes, at)?;
        self.on_applied(&live.replica)?;
        Ok(is_new)
    }

    /// Election Safety, and Leader Completeness when a leader is new.
    fn on_leader(
        &mut self,
        (node, config): (NodeId, &Config),
        term: Term,
        log: &LogImage,
        base: LogId,
    ) -> Result<bool, Violation> {
        if let Some(&leader) = self.leaders.get(&term) {
            return ensure(leader == node, "election safety", || {
                format!("{leader:?} and {node:?} both lead in {term:?}")
            })
            .map(|()| false);
        }
        self.leaders.insert(term, node);
        ensure(
            is_quorum(config, |id| {
                id == node || self.has_voted(term, id, config, node)
            }),
            "election quorum",
            || format!("{node:?} leads in {term:?} without a majority of {config:?}"),
        )?;
        for committed in &self.committed {
            let (index, id) = (committed.id.index, committed.id);
            let forgotten = index <= base.index;
            ensure(
                committed.by >= term || forgotten || log.term_at(index) == Some(id.term),
                "leader completeness",
                || format!("{node:?} leads in {term:?} without {id}"),
            )?;
        }
        Ok(true)
    }

    /// Whether a node has led in this term or a later one.
    pub(crate) fn has_led(&self, node: NodeId, term: Term) -> bool {
        self.leaders
            .range(term..)
            .any(|(_, &leader)| leader == node)
    }

    /// A message leaves a node: it may be a vote.
    pub(crate) fn on_message(&mut self, from: &Node<A>, to: NodeId, message: &Message) {
        if let Message::VoteReply {
            term,
            pre: false,
            granted: true,
        } = *message
        {
            self.votes.insert((term, from.id, from.incarnation, to));
        }
    }

    /// Whether the member of that name, and not a blank disk in its place, has voted so.
    fn has_voted(&self, term: Term, id: NodeId, config: &Config, candidate: NodeId) -> bool {
        let votes = (term, id, None, NodeId(0))
            ..=(term, id, Some(Incarnation(u128::MAX)), NodeId(u64::MAX));
        let mut votes = self.votes.range(votes);
        let member = config.disk_of(id);
        votes.any(|&(.., disk, chosen)| chosen == candidate && (member.is_none() || disk == member))
    }

    /// A leader whose quorum has gone over to another notices, unless it was paused (rule R10).
    pub(crate) fn check_office(
        &mut self,
        raft: &Raft,
        now: u64,
        election_ns: u64,
    ) -> Result<(), Violation> {
        let newest = self.leaders.last_key_value().map(|(&term, _)| term);
        if raft.role() != RoleName::Leader || Some(raft.term()) >= newest {
            self.outdated.remove(&raft.me());
            return Ok(());
        }
        let (since, seen) = self.outdated.entry(raft.me()).or_insert((now, now));
        if now - *seen > election_ns {
            *since = now;
        }
        *seen = now;
        // Answers from before may come late once, and be believed for a timeout.
        ensure(now - *since <= 4 * election_ns, "stale leader", || {
            format!(
                "{:?} still leads in {:?}, and another long since in {newest:?}",
                raft.me(),
                raft.term()
            )
        })
    }

    /// State Machine Safety at commitment; and whoever commits first has a durable quorum.
    fn on_commit(&mut self, nodes: &[Node<A>], at: usize) -> Result<(), Violation> {
        let Some(live) = &nodes[at].live else {
            return Ok(());
        };
        let (raft, log) = (live.replica.raft(), &live.log_image);
        let known = live.commit_seen;
        ensure(raft.commit() >= known, "commit", || {
            format!("{:?} fell behind {known}", raft.commit())
        })?;
        // What it learned while it still followed has been seen committed before.
        let counts = raft.role() == RoleName::Leader && raft.commit() > self.commit();
        ensure(
            !counts || log.term_at(raft.commit()) == Some(raft.term()),
            "figure 8",
            || {
                format!(
                    "{:?} commits {:?} of an earlier term than {:?} by counting",
                    raft.me(),
                    raft.commit(),
                    raft.term()
                )
            },
        )?;
        for index in known.0 + 1..=raft.commit().0 {
            let index = Index(index);
            let Some(term) = log.term_at(index) else {
                // A snapshot covers it; the digest will tell.
                continue;
            };
            let id = LogId::new(term, index);
            if index <= self.commit() {
                let first = self.id_at(index);
                ensure(first == Some(id), "state machine safety", || {
                    format!("{:?} commits {id} where {first:?} is committed", raft.me())
                })?;
                continue;
            }
            ensure(
                index == self.commit().next(),
                "state machine safety",
                || format!("{id} is committed before {} is", self.commit().next()),
            )?;
            // A turn may commit by one configuration and append the next.
            let config = self.members.in_force(&nodes[at], log);
            let holds = |config: &Config| {
                is_quorum(config, |member| {
                    nodes[member.0 as usize - 1].holds(config, id)
                })
            };
            // But a joint configuration is left only once it is committed, by both its majorities.
            let joint = log.configs.iter().rev().find(|(_, known)| known.is_joint());
            let leaves = !config.is_joint() && joint.is_some_and(|(at, _)| id.index <= *at);
            ensure(
                (!leaves && holds(config)) || holds(&live.config_seen),
                "durable quorum",
                || {
                    format!(
                        "{:?} commits {id} without a durable quorum of {config:?}",
                        raft.me()
                    )
                },
            )?;
            self.commit_entry(id, raft.term())?;
        }
        Ok(())
    }

    fn commit_entry(&mut self, id: LogId, by: Term) -> Result<(), Violation> {
        let known = self.entries.get(&(id.index, id.term));
        let known = known.ok_or_else(|| Violation::new("commit", format!("{id} is no entry")))?;
        let mut digest = self.digest_at(id.index.prev());
        let mut command = self.command_at(id.index.prev());
        if let Some(told) = &known.command {
            digest = digest_after(digest, id, told);
            command = id.index;
            self.digests.insert(digest, command);
            let applied = self.model.apply(id, told);
            applied.map_err(|why| Violation::new("commit", format!("{id}: {why}")))?;
        }
        self.members.on_committed(id.index, known.config.clone());
        let body = known.body.clone();
        self.committed.push(Committed {
            id,
            by,
            body,
            command,
            digest,
        });
        Ok(())
    }

    /// State Machine Safety as applied: the digest stands for all commands and their order.
    fn on_applied(
        &self,
        replica: &headwater_replica::replica::Replica<Watched<A>>,
    ) -> Result<(), Violation> {
        let status = replica.status();
        ensure(
            status.applied <= status.commit && status.commit <= self.commit(),
            "applied",
            || {
                format!(
                    "applied {} of {} with {} committed",
                    status.applied,
                    status.commit,
                    self.commit()
                )
            },
        )?;
        let (has, expected) = (replica.machine().digest(), self.digest_at(status.applied));
        ensure(has == expected, "state machine safety", || {
            format!(
                "{:?} has applied other commands up to {}",
                status.node, status.applied
            )
        })
    }

    /// Whether a snapshot names the members as of the entry it ends with.
    pub(crate) fn check_snapshot(&self, meta: &SnapshotMeta) -> Result<(), Violation> {
        let config = self.members.at(meta.base.index);
        ensure(meta.config == *config, "configuration chain", || {
            format!(
                "the snapshot {} names {:?} instead of {config:?}",
                meta.base, meta.config
            )
        })
    }

    /// Whether a machine holds what all commands up to `base` made.
    pub(crate) fn check_content(&self, base: Index, machine: &Watched<A>) -> Result<(), Violation> {
        ensure(base <= self.commit(), "content", || {
            format!("{base} is not committed")
        })?;
        let digest = self.digest_at(base);
        ensure(machine.digest() == digest, "content", || {
            format!("a machine at {base} was given other commands")
        })?;
        let at = self.command_at(base);
        let judged = self.model.judge_machine(at, machine.machine());
        judged.map_err(|why| Violation::new("content", format!("a machine at {base}: {why}")))
    }
}
