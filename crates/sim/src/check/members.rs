//! One chain of configurations: each grows out of the one before it by a step that Raft allows, is
//! in force where a log holds it, and comes from a request or from what a leader does by itself.
//! And what became of each request is what was said of it.
//! Never asks a core which configuration is in force: it reads the entries.
//!
//! # Source
//! Raft paper §6; dissertation §4.2.1, §4.3; rules R8, R11 and R13.

use std::collections::BTreeMap;

use headwater_raft::{Config, Index, LogId, NodeId};
use headwater_replica::interface::ReconfigureFate;

use super::{Violation, ensure};
use crate::application::Application;
use crate::image::LogImage;
use crate::node::Node;

/// The configurations of the cluster's one history, and the requests for more.
pub(crate) struct Members {
    /// Before the first entry.
    first: Config,
    /// The committed ones, by the index of their entries.
    committed: Vec<(Index, Config)>,
    /// Those ever appended beyond the commit index: any of them may yet be committed.
    uncommitted: Vec<(Index, Config)>,
    /// Appended for the first time in the turn that is looked at: by the leader that made them.
    made: Vec<Made>,
    asked: BTreeMap<u64, Asked>,
}

/// A configuration that a leader has just made.
struct Made {
    id: LogId,
    before: Config,
    config: Config,
}

/// A request for other members.
struct Asked {
    target: Config,
    /// The entry with which it began.
    first: Option<LogId>,
    is_over: bool,
}

/// Whether a majority of the voters, or both majorities, are counted.
pub(crate) fn is_quorum(config: &Config, counts: impl Fn(NodeId) -> bool) -> bool {
    let most = |ids: &[NodeId]| ids.iter().filter(|&&id| counts(id)).count() * 2 > ids.len();
    most(config.voters()) && (!config.is_joint() || most(config.outgoing()))
}

impl Members {
    pub(crate) fn new(first: Config) -> Self {
        Self {
            first,
            committed: Vec::new(),
            uncommitted: Vec::new(),
            made: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The configuration as of a committed index.
    pub(crate) fn at(&self, index: Index) -> &Config {
        let upto = self.committed.partition_point(|&(at, _)| at <= index);
        let last = self.committed[..upto].last();
        last.map_or(&self.first, |(_, config)| config)
    }

    /// The last committed configuration.
    pub(crate) fn current(&self) -> &Config {
        self.at(Index(u64::MAX))
    }

    /// The last committed configuration and all that may come to be committed.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &Config> {
        let open = self.uncommitted.iter().map(|(_, config)| config);
        let asked = self.asked.values();
        let waiting = asked.filter(|asked| asked.first.is_none() && !asked.is_over);
        let waiting = waiting.map(|asked| &asked.target);
        open.chain(waiting).chain([self.current()])
    }

    /// The configuration in force by what a node can read of its log.
    pub(crate) fn in_force<'a, A: Application>(
        &'a self,
        node: &'a Node<A>,
        log: &'a LogImage,
    ) -> &'a Config {
        let can_be_read =
            |(at, _): &&(Index, Config)| *at <= node.snapshot.index || !log.unreadable.contains(at);
        match log.configs.iter().rfind(can_be_read) {
            Some((_, config)) => config,
            None if log.base().index == Index(0) => &node.first_config,
            None => self.at(log.base().index),
        }
    }

    /// A configuration was appended that no log had before.
    pub(crate) fn on_made(
        &mut self,
        id: LogId,
        before: &Config,
        config: &Config,
    ) -> Result<(), Violation> {
        let fault = config.fault();
        ensure(fault.is_none(), "configuration chain", || {
            format!("{id} makes {config:?}: {fault:?}")
        })?;
        ensure(follows(before, config), "configuration chain", || {
            format!("{id} makes {config:?} of {before:?}")
        })?;
        self.uncommitted.push((id.index, config.clone()));
        self.made.push(Made {
            id,
            before: before.clone(),
            config: config.clone(),
        });
        Ok(())
    }

    /// A configuration is committed.
    pub(crate) fn on_committed(&mut self, index: Index, config: Option<Config>) {
        self.uncommitted.retain(|&(at, _)| at > index);
        self.committed.extend(config.map(|config| (index, config)));
    }

    /// A node is asked for other members.
    pub(crate) fn ask(&mut self, name: u64, target: Config) {
        let asked = Asked {
            target,
            first: None,
            is_over: false,
        };
        self.asked.insert(name, asked);
    }

    /// Whoever was asked has died: nobody will hear what became of it.
    pub(crate) fn lose(&mut self, name: u64) {
        if let Some(asked) = self.asked.get_mut(&name) {
            asked.is_over = true;
        }
    }

    /// A turn has ended in which `begun` were taken in and not refused: each has made one entry,
    /// and every other entry is the leader's own next step.
    pub(crate) fn end_turn(&mut self, begun: &[u64]) -> Result<(), Violation> {
        let mut made = std::mem::take(&mut self.made);
        for name in begun {
            let asked = self.asked.get_mut(name).expect("it was asked");
            let is_it = |made: &Made| {
                made.config
                    .clone()
                    .with_outgoing([])
                    .has_same_members(&asked.target)
            };
            let place = made.iter().position(is_it);
            let place = place.ok_or_else(|| {
                Violation::new("change", format!("change {name} began, and made no entry"))
            })?;
            asked.first = Some(made.remove(place).id);
        }
        for Made { id, before, config } in made {
            ensure(is_next_step(&before, &config), "change", || {
                format!("{id} makes {config:?} of {before:?}, and nobody asked for it")
            })?;
        }
        Ok(())
    }

    /// The entry with which a request began.
    pub(crate) fn first_of(&self, name: u64) -> Option<LogId> {
        self.asked.get(&name)?.first
    }

    /// What a request is said to have come to; `stands`: whether its first entry is the one that
    /// is committed in its place, if any is.
    pub(crate) fn on_outcome(
        &mut self,
        name: u64,
        stands: Option<bool>,
        result: &Result<(), ReconfigureFate>,
    ) -> Result<(), Violation> {
        let asked = self.asked.get_mut(&name);
        let asked =
            asked.ok_or_else(|| Violation::new("change", format!("{name} was never asked")))?;
        ensure(!asked.is_over, "change", || {
            format!("change {name} ends twice")
        })?;
        asked.is_over = true;
        let (first, target) = (asked.first, asked.target.clone());
        let holds = match result {
            Ok(()) => stands == Some(true) && self.has_come(first, &target),
            Err(ReconfigureFate::Lost) => stands == Some(false),
            Err(ReconfigureFate::NotChanged(_)) => first.is_none(),
            Err(ReconfigureFate::Unknown) => first.is_some(),
        };
        ensure(holds, "change", || {
            format!("change {name} to {target:?}, begun at {first:?}, ends as {result:?}")
        })
    }

    /// Whether the change that began with `first` has led to its target.
    fn has_come(&self, first: Option<LogId>, target: &Config) -> bool {
        let from = first.map_or(Index(0), |first| first.index);
        let mut later = self.committed.iter().filter(|(at, _)| *at >= from);
        let end = later.find(|(_, config)| !config.is_joint());
        end.is_some_and(|(_, config)| config.has_same_members(target))
    }
}

/// Whether a leader may append `config` where `before` is in force.
fn follows(before: &Config, config: &Config) -> bool {
    let stays = |id: &NodeId| before.is_member(*id) && config.is_member(*id);
    let keeps = |&(id, disk)| !stays(&id) || config.disk_of(id) == Some(disk);
    let steps = if before.is_joint() {
        before.clone().with_outgoing([]).has_same_members(config)
    } else if config.is_joint() {
        config.outgoing() == before.voters()
    } else {
        config.voters() == before.voters()
    };
    steps && before.disks().iter().all(keeps)
}

/// Whether this is what a leader does unasked: leaves a joint configuration, makes voters of
/// learners that have caught up, writes down disks.
fn is_next_step(before: &Config, config: &Config) -> bool {
    if before.is_joint() {
        return true;
    }
    let is_new = |id: &&NodeId| !before.voters().contains(id);
    let promoted: Vec<NodeId> = config.voters().iter().filter(is_new).copied().collect();
    let joining = before.joining().iter().filter(|id| !promoted.contains(id));
    let expected = Config::of_voters(before.voters().iter().chain(&promoted).copied())
        .with_learners(before.learners().iter().copied())
        .with_joining(joining.copied());
    let joined = promoted.iter().all(|id| before.joining().contains(id));
    joined && expected.has_same_members(&config.clone().with_outgoing([]))
}
