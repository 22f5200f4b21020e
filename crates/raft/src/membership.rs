//! Membership: the configuration in force, and how it is changed.
//! Never sends messages; a configuration is an entry, and replication carries it.
//!
//! A configuration is in force from the moment it is appended, committed or not (rule R8), so a
//! truncation can bring the one before back. A change of voters goes through a joint configuration
//! in which both the old and the new majority must agree; the leader leaves it as soon as it is
//! committed. One change is under way at a time, and none before the leader has committed an entry
//! of its term.
//!
//! Specified by: Reconfigure, Promote, LeaveJoint, NameDisk, LeaveOffice, Wipe.
//! With messages by: OnConfig, AppendEntries, TruncateEntries, RestoreConfigs, AppendConfig, ChangeTo,
//! WithDisks, Improved, LeaveOffice, AdvanceMembership, Dismiss, ForgetDisk, OnMet, OnDisowned,
//! OnCaughtUp.
//!
//! # Source
//! Raft paper §6; dissertation §4.1 (configurations in force when appended), §4.2.1 (catching up
//! new servers), §4.2.2 (removing the leader), §4.3 (joint consensus); Ongaro, raft-dev 2015 (no
//! change before an entry of the own term is committed); rules R8 and R13.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::configuration::Config;
use crate::effect::{Effect, NotChanged};
use crate::message::Message;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::types::{Entries, Incarnation, Index, Instant, LogId, NodeId, Term};

/// The configurations that the log holds, and the one it began with.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// In force where the log holds no configuration.
    base: Config,
    entries: Vec<(Index, Config)>,
    /// The disk at the other end of the last connection to each peer.
    met: BTreeMap<NodeId, Incarnation>,
    own_disk: Option<Incarnation>,
}

impl Membership {
    /// `base`: in force after the last entry that a snapshot covers; `log`: the entries that are
    /// here, some of which it may cover too.
    pub(crate) fn new(base: Config, log: &Entries, own_disk: Option<Incarnation>) -> Self {
        Self {
            base,
            entries: log.configs.clone(),
            met: BTreeMap::new(),
            own_disk,
        }
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> &Config {
        self.entries.last().map_or(&self.base, |(_, config)| config)
    }

    /// The entry of the configuration in force; zero if the log does not hold it any more.
    pub(crate) fn position(&self) -> Index {
        self.entries.last().map_or(Index(0), |&(at, _)| at)
    }

    /// The configuration in force as of `index`, which the log must not have forgotten.
    fn at(&self, index: Index) -> &Config {
        let upto = self.entries.partition_point(|&(at, _)| at <= index);
        self.entries[..upto]
            .last()
            .map_or(&self.base, |(_, config)| config)
    }

    /// Whether the configuration in force names the disk of this node, `me`.
    pub(crate) fn is_admitted(&self, me: NodeId) -> bool {
        self.own_disk.is_some() && self.current().disk_of(me) == self.own_disk
    }

    /// Whether the configuration in force names a disk that this node, `me`, has lost.
    fn names_lost_disk(&self, me: NodeId) -> bool {
        let is_named = self.current().disk_of(me).is_some();
        self.own_disk.is_some() && is_named && !self.is_admitted(me)
    }

    /// The configurations among the entries `first..=last`.
    fn between(&self, first: Index, last: Index) -> impl Iterator<Item = &(Index, Config)> {
        let inside = move |(at, _): &&(Index, Config)| *at >= first && *at <= last;
        self.entries.iter().filter(inside)
    }

    fn append(&mut self, entries: &Entries) {
        self.entries.extend(entries.configs.iter().cloned());
    }

    /// Configurations come back that could not be read. Whether the one in force is another now.
    fn restore(&mut self, entries: &Entries) -> bool {
        let before = self.position();
        for (at, config) in &entries.configs {
            let place = self.entries.partition_point(|(index, _)| index < at);
            if self.entries.get(place).is_none_or(|(index, _)| index != at) {
                self.entries.insert(place, (*at, config.clone()));
            }
        }
        self.position() != before
    }

    fn truncate(&mut self, from: Index) {
        self.entries.retain(|&(at, _)| at < from);
    }

    /// The log forgets what lies before `base`.
    pub(crate) fn compact(&mut self, base: Index) {
        let upto = self.entries.partition_point(|&(at, _)| at <= base);
        if let Some((_, config)) = self.entries.drain(..upto).next_back() {
            self.base = config;
        }
    }

    /// The disk at the other end of the last connection to `id`.
    pub(crate) fn disk_met(&self, id: NodeId) -> Option<Incarnation> {
        self.met.get(&id).copied()
    }

    /// Whether `id` is connected with another disk than the member of that name has.
    pub(crate) fn is_impostor(&self, id: NodeId) -> bool {
        self.is_other_disk(self.current(), id)
    }

    /// The same, by `config`.
    fn is_other_disk(&self, config: &Config, id: NodeId) -> bool {
        let (member, here) = (config.disk_of(id), self.disk_met(id));
        member.is_some() && here.is_some() && member != here
    }

    /// The latest configuration that names `id`, of those that may count: that of `commit`, and all
    /// that follow it.
    fn naming(&self, id: NodeId, commit: Index) -> Option<&Config> {
        let later = self.entries.iter().rev();
        let later = later.take_while(|&&(at, _)| at > commit);
        let mut counting = later.map(|(_, config)| config).chain([self.at(commit)]);
        counting.find(|config| config.is_member(id))
    }

    /// Whether the configuration in force shows `id` that it is of its cluster: it names the disk
    /// that is there, which the members of a cluster that begins never do before that disk has
    /// acknowledged something; or it has `id` as a learner, as none that begins does.
    pub(crate) fn knows(&self, id: NodeId) -> bool {
        let config = self.current();
        let is_named = config.disk_of(id).is_some() || !config.is_voter(id);
        is_named && !self.is_impostor(id)
    }
}

impl Raft {
    /// Changes who takes part. Returns the identity of the entry that begins the change; its
    /// fate is that of any entry, and once it is committed the rest follows by itself, under this
    /// leader or a later one. [`Effect::Config`] tells of every step.
    ///
    /// `expect`: the members the caller believes in: compare-and-swap (their disks do not matter).
    /// `target`: the members to have; what is known of the disks of those who stay is kept.
    /// `force`: even if fewer than a majority of the new voters answer now.
    ///
    /// # Errors
    /// [`NotChanged`]; nothing was appended.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        expect: &Config,
        target: &Config,
        force: bool,
        fx: &mut Vec<Effect>,
    ) -> Result<LogId, NotChanged> {
        self.tick(now);
        self.may_reconfigure()?;
        let current = self.membership.current();
        if !current.has_same_members(expect) {
            let current = current.clone();
            return Err(NotChanged::Stale { current });
        }
        if target.is_joint() {
            return Err(NotChanged::Invalid("a change leads to one majority"));
        }
        if current.has_same_members(target) {
            return Err(NotChanged::Invalid("this is the configuration in force"));
        }
        if let Some(fault) = target.fault() {
            return Err(NotChanged::Invalid(fault));
        }
        // Nobody is heard while a group rests: that says nothing against anyone.
        self.wake();
        if !force && !self.answers(target) {
            // Mark: a change is refused because it would lose the quorum.
            return Err(NotChanged::LosesQuorum);
        }
        let disks = self.membership.current().disks().iter().copied();
        let target = target.clone().with_disks(disks);
        Ok(self.change_to(target, fx))
    }

    /// Whether this node may begin a change now.
    fn may_reconfigure(&self) -> Result<(), NotChanged> {
        let leadership = self.may_append().map_err(NotChanged::NotTaken)?;
        if self.commit < leadership.first {
            // Mark: a change comes before the first commitment of the term.
            return Err(NotChanged::TooEarly);
        }
        if self.membership.position() > self.commit || self.membership.current().is_joint() {
            // Mark: a change comes while another is in progress.
            return Err(NotChanged::InProgress);
        }
        Ok(())
    }

    /// Whether a majority of the voters of `target` answered within an election timeout.
    fn answers(&self, target: &Config) -> bool {
        let Some(leadership) = self.role.leadership() else {
            return false;
        };
        let patience_ns = self.options.election_ns;
        leadership.quorum_reaches(target, (self.me, true), |peer| {
            peer.answers(self.now, patience_ns)
        })
    }

    /// The first step towards `target`: the joint configuration if voters change.
    fn change_to(&mut self, target: Config, fx: &mut Vec<Effect>) -> LogId {
        let joint = self.membership.current().joint_with(&target);
        self.append_config(joint.unwrap_or(target), fx)
    }

    /// Leader: appends a configuration; it is in force from here on.
    fn append_config(&mut self, config: Config, fx: &mut Vec<Effect>) -> LogId {
        self.forget_newcomers(&config);
        self.append_own(Some(config), fx)
    }

    /// Whoever is added starts from nothing, though it may have left only just now: what is known
    /// of it then is of an earlier membership, and perhaps of another disk.
    fn forget_newcomers(&mut self, config: &Config) {
        let current = self.membership.current();
        if let Some(leadership) = self.role.leadership_mut() {
            let stays = |id| current.is_member(id) || !config.is_member(id);
            leadership.peers.retain(|id, _| stays(id));
        }
    }

    /// The log grows by `entries`, and the configurations among them are in force.
    pub(crate) fn append_entries(&mut self, entries: &Entries, fx: &mut Vec<Effect>) {
        self.log.append(entries);
        if !entries.configs.is_empty() {
            self.membership.append(entries);
            self.on_config(fx);
        }
    }

    /// Entries of the log can be read again, and the configurations among them are in force.
    pub(crate) fn restore_configs(&mut self, entries: &Entries, fx: &mut Vec<Effect>) {
        if self.membership.restore(entries) {
            // Mark: a configuration can be read again.
            self.on_config(fx);
        }
    }

    /// The log loses the entries from `from` on, and what was in force before them is again.
    pub(crate) fn truncate_entries(&mut self, from: Index, fx: &mut Vec<Effect>) {
        self.log.truncate(from);
        if self.membership.position() >= from {
            // Mark: a configuration is taken back.
            self.membership.truncate(from);
            self.on_config(fx);
        }
    }

    /// The log starts anew after a snapshot, whose configuration is in force and committed;
    /// `before`: the commit index that it replaces.
    pub(crate) fn reset_config(&mut self, config: Config, before: Index, fx: &mut Vec<Effect>) {
        let was_committed = self.membership.position() <= before;
        let is_new = config != *self.membership.current() || !was_committed;
        self.membership.entries.clear();
        self.membership.base = config;
        if is_new {
            // Mark: a snapshot brings another configuration.
            self.on_config(fx);
        }
    }

    /// The log forgets what lies before `base`, and with it perhaps configurations that could not be
    /// read: `config` is what was in force there.
    pub(crate) fn rebase_config(&mut self, base: Index, config: Config, fx: &mut Vec<Effect>) {
        let before = self.membership.current().clone();
        self.membership.compact(base);
        self.membership.base = config;
        if *self.membership.current() != before {
            // Mark: a snapshot brings a configuration that could not be read.
            // Unreached: rare; `tests/repair.rs` drives cores there.
            self.on_config(fx);
        }
    }

    /// Another configuration is in force: the leader takes up who is new. Whoever is no member any
    /// more stays until it has learnt of that.
    fn on_config(&mut self, fx: &mut Vec<Effect>) {
        let (me, now) = (self.me, self.now);
        let config = self.membership.current();
        if let Some(leadership) = self.role.leadership_mut() {
            let unknown = Progress::unknown(self.log.last_id().index, now);
            for id in config.peers_of(me) {
                leadership.peers.add(id, &unknown);
            }
            for (id, progress) in leadership.peers.iter_mut() {
                if !config.joining().contains(&id) {
                    progress.stop_catching_up();
                }
            }
        }
        fx.push(Effect::Config {
            config: config.clone(),
            committed: self.membership.position() <= self.commit,
        });
    }

    /// The commit index has moved on from `before`: if the configuration in force is committed
    /// thereby, the driver is told.
    pub(crate) fn tell_config_committed(&self, before: Index, fx: &mut Vec<Effect>) {
        let at = self.membership.position();
        if at > before && at <= self.commit {
            let config = self.membership.current().clone();
            let committed = true;
            fx.push(Effect::Config { config, committed });
        }
    }

    /// Leader: takes the next step that the configuration in force allows: out of a joint
    /// configuration, out of office, or towards the learners that have caught up and the disks
    /// that have been met.
    pub(crate) fn advance_membership(&mut self, fx: &mut Vec<Effect>) {
        let Some(leadership) = self.role.leadership() else {
            return;
        };
        let config = self.membership.current();
        if self.membership.position() > self.commit || self.commit < leadership.first {
            return;
        }
        if leadership.transfer.is_some() && config.is_voter(self.me) {
            // Mark: a change of members waits while leadership is handed over.
            // The target holds the whole log, or it could not win: nothing is added to that.
            return;
        }
        if config.is_joint() {
            // Mark: a joint configuration is left.
            // Its leader may leave office with it, before it could name any disk: and whoever has
            // missed the change hears only those whose disks it names.
            let next = self.with_disks_met(config.without_outgoing());
            self.append_config(next, fx);
        } else if !config.is_voter(self.me) {
            // Mark: a leader that is no voter any more leaves office.
            self.leave_office(fx);
        } else if let Some(next) = self.improved_config() {
            // Mark: learners that have caught up, or disks that were met, enter the configuration.
            self.change_to(next, fx);
        }
    }

    /// The configuration in force with the joining learners that have caught up as voters, and the
    /// disks of members met for the first time. None if nothing is new.
    fn improved_config(&self) -> Option<Config> {
        let leadership = self.role.leadership()?;
        let current = self.config();
        let ready = leadership
            .peers
            .iter()
            .filter(|(_, peer)| peer.has_caught_up());
        let ready: Vec<NodeId> = ready.map(|(id, _)| id).collect();
        // Asked at every commit, and nearly always there is nothing to do.
        let is_new = |id| current.disk_of(id).is_none() && self.newcomer_disk(id).is_some();
        if ready.is_empty() && !current.ids().any(is_new) {
            return None;
        }
        let promoted = current.promoting(&ready);
        let improved = if self.answers(&promoted) {
            promoted
        } else {
            current.clone()
        };
        let improved = self.with_disks_met(improved);
        (improved != *current).then_some(improved)
    }

    /// The same with the disks of members that were met for the first time.
    fn with_disks_met(&self, config: Config) -> Config {
        let disks = config.members().into_iter().filter_map(|id| {
            let known = config.disk_of(id);
            Some((id, known.or_else(|| self.newcomer_disk(id))?))
        });
        let disks: Vec<_> = disks.collect();
        config.with_disks(disks)
    }

    /// The disk of a member of which none is known yet, once it has acknowledged the entry that made
    /// it one: a connection that merely stands may still be that of the disk which was lost.
    fn newcomer_disk(&self, id: NodeId) -> Option<Incarnation> {
        if id == self.me {
            return self.disk();
        }
        let leadership = self.role.leadership()?;
        let since = self.membership.position().max(leadership.first);
        let peer = leadership.peers.get(id)?;
        let disk = self.membership.disk_met(id);
        disk.filter(|_| peer.matched() >= since)
    }

    /// The leader is no voter of the committed configuration: its work is done (dissertation
    /// §4.2.2). The others learn of the commitment first, and the fittest of them need not wait for
    /// its timer.
    fn leave_office(&mut self, fx: &mut Vec<Effect>) {
        let (term, commit, durable) = (self.hard.term, self.commit, self.durable.index());
        if let Some(leadership) = self.role.leadership() {
            for (to, _) in leadership.peers.iter() {
                let message = Message::Commit {
                    term,
                    commit,
                    durable,
                };
                fx.push(Effect::Send { to, message });
            }
        }
        if let Some(to) = self.fittest() {
            let message = Message::TimeoutNow { term };
            fx.push(Effect::Send { to, message });
        }
        self.follow(term, None, fx);
    }

    /// Leader: `from` holds more than before; if it is joining, it may have caught up.
    pub(crate) fn on_caught_up(&mut self, from: NodeId, fx: &mut Vec<Effect>) {
        if !self.config().joining().contains(&from) {
            return;
        }
        let (now, patience_ns) = (self.now, self.options.election_ns);
        let last = self.log.last_id().index;
        if let Some(progress) = self.progress_mut(from) {
            // Mark: a joining learner acknowledges something.
            progress.catch_up(last, now, patience_ns);
            self.advance_membership(fx);
        }
    }

    /// Leader: lets go of nodes that are no members any more, once they know it or are gone.
    pub(crate) fn dismiss(&mut self) {
        let (now, patience_ns) = (self.now, self.options.election_ns);
        let (config, at) = (self.membership.current(), self.membership.position());
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        if at <= self.commit && !config.is_joint() {
            leadership.peers.retain(|id, progress| {
                let told = progress.matched() >= at && progress.commit_sent() >= at;
                let gone = now.since(progress.heard_at()) >= patience_ns;
                config.is_member(id) || !(told || gone)
            });
        }
    }

    /// Whether this node may stand for election: as a voter of the configuration in force or, while
    /// that is not committed, of the one before it. A node whose removal is not committed may be
    /// the only one whose log is long enough to commit it (dissertation §4.2.2, Figure 4.6).
    pub(crate) fn may_stand(&self) -> bool {
        if self.membership.names_lost_disk(self.me) {
            // Mark: a blank disk in its member's place does not stand.
            // It replays a log from before that: the vote it has there is that disk's.
            return false;
        }
        let at = self.membership.position();
        let before = self.membership.at(at.prev());
        self.config().is_voter(self.me) || at > self.commit && before.is_voter(self.me)
    }

    /// The peer at the other end of a connection that is about to come up has this disk.
    pub(crate) fn on_met(&mut self, peer: NodeId, disk: Incarnation, fx: &mut Vec<Effect>) {
        let before = self.membership.met.insert(peer, disk);
        if before.is_some_and(|before| before != disk) {
            self.forget_disk(peer);
        }
        if self.membership.is_impostor(peer) {
            // Mark: an impostor connects.
            let why = "has another disk than the member of that name: remove it and add it again";
            fx.push(Effect::Refused { from: peer, why });
            let message = Message::Disowned { disk };
            fx.push(Effect::Send { to: peer, message });
        }
        self.advance_membership(fx);
    }

    /// The disk of `peer` has given way to another, whether a configuration names it or not. What it
    /// held is gone, it has not been heard since, the vote that it gave may be given again, and what
    /// it asked for is not for the other: a vote that waits to be told would elect a disk which never
    /// stood in that term.
    fn forget_disk(&mut self, peer: NodeId) {
        self.durable.keep_silent_to(peer);
        self.durable.repair.forget_word_of(peer);
        if let Some(tally) = self.role.tally_mut() {
            tally.votes.remove(&peer);
        }
        let last = self.log.last_id().index;
        if let Some(progress) = self.progress_mut(peer) {
            *progress = Progress::unknown(last, progress.heard_at());
        }
    }

    /// A peer says that this node's disk is not that of the member of its name. Who was added again
    /// knows better than a peer that has missed it.
    pub(crate) fn on_disowned(&self, by: NodeId, disk: Incarnation, fx: &mut Vec<Effect>) {
        if self.disk() == Some(disk) && !self.membership.is_admitted(self.me) {
            // Mark: a node learns that its disk is not its member's.
            fx.push(Effect::Disowned { by });
        }
    }

    /// Whether `peer` is connected with another disk than the member of that name has: whatever
    /// that member promised, this one has forgotten (rule R13). It is neither heard nor served,
    /// until it leads or stands as one that was added again.
    pub(crate) fn is_impostor(&self, peer: NodeId) -> bool {
        self.membership.is_impostor(peer)
    }

    /// Whether this node is a member by its disk, for certain: whoever leads after that knows it.
    fn is_established(&self) -> bool {
        let committed = self.membership.at(self.commit);
        self.disk().is_some() && committed.disk_of(self.me) == self.disk()
    }

    /// Whether a message is heard, for all that is known here of its sender. Who may not vote here,
    /// by its disk or because nobody knows it, may be a blank machine that took part once, and those
    /// whom it elects with others of its kind lead another cluster under the same name (rule R13).
    pub(crate) fn hears(&self, from: NodeId, message: &Message) -> bool {
        let is_strange = match self.membership.naming(from, self.commit) {
            Some(config) => self.membership.is_other_disk(config, from),
            None => self.is_established(),
        };
        if !is_strange {
            return true;
        }
        // What a leader shows with its heartbeat holds for all that it says in its term.
        let follows = |term| self.leader == Some(from) && term == self.hard.term;
        let (term, is_shown) = match *message {
            // True, whoever tells it.
            Message::Heard { .. } | Message::Disowned { .. } => return true,
            Message::Vote { term, admitted, .. } => (term, admitted),
            Message::Beat { term, knows, .. } => (term, knows || !self.is_established()),
            Message::Append { term, .. }
            | Message::Commit { term, .. }
            | Message::Rest { term, .. }
            | Message::TimeoutNow { term }
            | Message::Snapshot { term, .. } => (term, follows(term) || !self.is_established()),
            // Answers, and those of one who leaves are needed still.
            _ => return !self.is_impostor(from),
        };
        is_shown && self.may_be_new(term)
    }

    /// Whether who leads or stands in `term` may be a member that this node has missed: one that was
    /// added after the configuration known here, and so leads or stands in a later term.
    fn may_be_new(&self, term: Term) -> bool {
        let known = self.log.term_at(self.membership.position());
        term > known.unwrap_or(self.log.base().term) && !self.role.is_leader()
    }

    /// The disk at the other end of the last connection to each peer.
    pub fn disks_met(&self) -> impl Iterator<Item = (NodeId, Incarnation)> {
        self.membership.met.iter().map(|(&id, &disk)| (id, disk))
    }

    /// This life of the node's disk, if the driver tells disks apart.
    pub fn disk(&self) -> Option<Incarnation> {
        self.membership.own_disk
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        self.membership.current()
    }

    /// The configuration as of `index`: what a snapshot that ends there must bear. Only of a
    /// committed index is it the last word. `None`: this node joined a cluster that had no change
    /// of members up to there, and does not know its first ones.
    ///
    /// # Panics
    /// If the log has forgotten `index`.
    pub fn config_at(&self, index: Index) -> Option<&Config> {
        assert!(index >= self.log.base().index, "long forgotten");
        let config = self.membership.at(index);
        (!config.voters().is_empty()).then_some(config)
    }

    /// Whom the leader sends its log to: the other members, and those who are leaving. On other
    /// nodes: the other members.
    pub fn peers(&self) -> Vec<NodeId> {
        match self.role.leadership() {
            Some(leadership) => leadership.peers.iter().map(|(id, _)| id).collect(),
            None => self.config().peers_of(self.me),
        }
    }

    /// The identities of the entries `first..=last`, for a caller that reads their bodies.
    ///
    /// # Panics
    /// If the log does not hold them.
    pub fn entries(&self, first: Index, last: Index) -> Entries {
        let mut entries = self.log.entries(first, last);
        let configs = self.membership.between(first, last);
        entries.configs.extend(configs.cloned());
        entries
    }
}
