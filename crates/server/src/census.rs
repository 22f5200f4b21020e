//! What this node's network and strangers are told of the members, whenever that changes; and that
//! this member is none any more.
//! Never decides who is a member: the configuration does.
//!
//! # Source
//! etcd: peers are added to and removed from the transport as changes of members are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_kv::Store;
use headwater_kv::members::Roster;
use headwater_runtime::{Config, NodeId, Stage};
use tokio::sync::mpsc;

use crate::card::Card;
use crate::config::{Cluster, address};
use crate::members;

/// Where the reason goes for which this server has to end.
pub type Ending = mpsc::UnboundedSender<String>;

/// What was told last.
#[derive(Debug)]
pub struct Census {
    cluster: Cluster,
    ending: Ending,
    roster: Arc<Roster>,
    config: Config,
    addresses: BTreeMap<NodeId, String>,
    removed: BTreeSet<u64>,
    /// Whether the configuration taken in last is committed. One that is not may be taken back, and
    /// whoever leaves may still be needed to commit it.
    is_settled: bool,
    /// Why this member is none any more.
    farewell: Option<String>,
}

impl Census {
    /// Nothing told so far.
    pub fn new(cluster: Cluster, ending: Ending) -> Self {
        Self {
            cluster,
            ending,
            roster: Arc::default(),
            config: Config::default(),
            addresses: BTreeMap::new(),
            removed: BTreeSet::new(),
            is_settled: true,
            farewell: None,
        }
    }

    /// A turn has ended.
    pub fn after_turn(&mut self, stage: &Stage<'_, Store>) {
        let (roster, config) = (stage.machine().roster(), stage.config());
        let is_other = !Arc::ptr_eq(roster, &self.roster) || *config != self.config;
        if is_other || !self.is_settled && stage.is_config_committed() {
            self.take_in(stage);
        }
        // A leader leaves office first.
        if self.farewell.is_some() && stage.reign().is_none() {
            let why = self.farewell.take().expect("looked at above");
            // Whoever should hear it is gone when the server ends anyway.
            let _ = self.ending.send(why);
        }
    }

    fn take_in(&mut self, stage: &Stage<'_, Store>) {
        let (roster, config) = (stage.machine().roster(), stage.config());
        self.roster = Arc::clone(roster);
        self.config = config.clone();
        self.is_settled = stage.is_config_committed();
        self.tell_addresses(stage);
        for member in roster.members().filter(|member| !member.name.is_empty()) {
            stage.set_name(NodeId(member.id), &member.name);
        }
        let members = members::known(&self.cluster, roster, config);
        let when = (config, stage.applied());
        let card = Card::new(self.cluster.id, &members, roster.removed(), when);
        stage.set_card(card.encode());
        let me = self.cluster.me;
        let is_gone = roster.has_removed(me.0) && !config.is_member(me) && self.is_settled;
        self.farewell = card
            .refuses((&self.cluster.name, me.0), None)
            .filter(|_| is_gone);
    }

    fn tell_addresses(&mut self, stage: &Stage<'_, Store>) {
        for member in self.roster.members() {
            let (id, url) = (NodeId(member.id), member.peer_urls.first());
            // Data may come from another cluster, and its members with them.
            if !self.config.is_member(id) {
                continue;
            }
            let Some(address) = url.and_then(|url| address(url)) else {
                continue;
            };
            if self.addresses.get(&id) != Some(&address) {
                stage.set_peer_address(id, address.clone());
                self.addresses.insert(id, address);
            }
        }
        for &gone in self.roster.removed().iter().filter(|_| self.is_settled) {
            // Until then it is needed.
            let id = NodeId(gone);
            if !self.config.is_member(id) && self.removed.insert(gone) {
                stage.refuse_peer(id);
                self.addresses.remove(&id);
            }
        }
    }
}
