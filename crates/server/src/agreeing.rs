//! The members compare what they have written, all the time: the leader tells of its sum, and whoever has
//! parted from it says so to everyone.
//! Never decides who is right: that takes a person, or a majority.
//!
//! # Source
//! etcd's corruption monitor and its alarm; `headwater_kv::agreement`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::agreement::{Agreement, Claim, Parting};
use headwater_kv::request::{Alarm, AlarmKind, AlarmRequest, Command};
use headwater_runtime::{Instant, NodeId, Stage};
use tracing::error;

use crate::leases::encode_claim;

/// What this member compares, and when it tells the others.
#[derive(Debug)]
pub struct Agreeing {
    agreement: Agreement,
    /// A number that no other life has.
    life: u64,
    /// None: nothing is told, and nothing that is told is compared.
    every: Option<Duration>,
    tell_at: Instant,
    /// Whose store this one has parted from; not said yet.
    parting: Option<(NodeId, Parting)>,
    /// The leader whose claim waits for this store.
    claimed_by: NodeId,
    partings: u64,
}

impl Agreeing {
    /// Tells of this member's sum so often, if it leads.
    pub fn new(every: Option<Duration>) -> Self {
        Self {
            agreement: Agreement::default(),
            life: RandomState::new().hash_one(0u8),
            every,
            tell_at: Instant(0),
            parting: None,
            claimed_by: NodeId(0),
            partings: 0,
        }
    }

    /// How often this member was compared with a leader, and how often it turned out to have parted.
    pub fn counts(&self) -> (u64, u64) {
        (self.agreement.compared(), self.partings)
    }

    /// A command was applied.
    pub fn after_command(&mut self, store: &Store) {
        if self.every.is_some() {
            let parting = self.agreement.observe(store);
            self.take(self.claimed_by, parting);
        }
    }

    /// Another member's company says what it has written.
    pub fn hear(&mut self, from: NodeId, claim: Claim) {
        if self.every.is_some() {
            self.claimed_by = from;
            let parting = self.agreement.hear(claim);
            self.take(from, parting);
        }
    }

    fn take(&mut self, from: NodeId, parting: Option<Parting>) {
        if let Some(parting) = parting {
            self.partings += 1;
            self.parting = Some((from, parting));
        }
    }

    /// A turn has ended.
    pub fn after_turn(&mut self, stage: &Stage<'_, Store>) {
        let Some(every) = self.every else { return };
        // A snapshot may have brought another store.
        self.after_command(stage.machine());
        if let Some((leader, parting)) = self.parting.take() {
            say(stage, leader, parting);
        }
        if stage.reign().is_some() && self.tell_at <= stage.now() {
            let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
            self.tell_at = stage.now().after(every_ns);
            let claim = Claim {
                life: self.life,
                sum: stage.machine().sum(),
            };
            let note: Bytes = encode_claim(&claim);
            for peer in stage.config().peers_of(stage.node()) {
                stage.note(peer, 0, note.clone());
            }
        }
    }

    /// When a turn must end at the latest: the leader's next claim is due.
    pub fn next_deadline(&self, leads: bool) -> Option<Instant> {
        (leads && self.every.is_some()).then_some(self.tell_at)
    }
}

/// Says it to the operator here, and to everyone by an alarm.
fn say(stage: &Stage<'_, Store>, leader: NodeId, parting: Parting) {
    let (Parting { after, by }, me) = (parting, stage.node());
    error!(
        leader = %format_args!("{:x}", leader.0),
        agreed_at_revision = after,
        differs_at_revision = by,
        "this member and the leader have carried out the same commands and have not written the same: \
         one of them is corrupt. No member takes anything in until `etcdctl alarm disarm`; see \
         docs/operating.md, \"Members that have parted\""
    );
    let alarm = Alarm {
        kind: AlarmKind::Corrupt,
        member: me.0,
    };
    let is_raised = true;
    let server = stage.machine().auth().server();
    let command = Command::Alarm(AlarmRequest { alarm, is_raised });
    stage.propose(command.encode_by(server.as_ref()));
}
