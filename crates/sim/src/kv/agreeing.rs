//! The members compare what they have written, as servers do: in a world where all stores obey the same
//! commands, nobody may find to have parted from a leader.
//! Never tells a node: only whoever watches the world.
//!
//! # Source
//! `headwater_kv::agreement`.

use headwater_kv::agreement::{Agreement, Claim};

use super::Kv;
use crate::company::{Company, Stage};
use crate::trace::Stats;

/// Of how many turns a leader's claim is heard once.
const TURNS: u64 = 8;

/// What each node compares.
#[derive(Debug, Default)]
pub(super) struct Agreeing {
    agreements: Vec<Agreement>,
    turns: u64,
    /// What agreements counted that are gone.
    compared: u64,
}

impl Agreeing {
    fn of(&mut self, node: usize) -> &mut Agreement {
        if self.agreements.len() <= node {
            self.agreements.resize_with(node + 1, Agreement::default);
        }
        &mut self.agreements[node]
    }

    fn tell(&mut self, leader: usize, stage: &Stage<'_, Kv>) -> Result<(), String> {
        let Some(store) = stage.machine(leader) else {
            return Ok(());
        };
        let claim = Claim {
            life: (leader as u64) << 32 | stage.life(leader),
            sum: store.sum(),
        };
        for node in (0..stage.nodes()).filter(|&node| node != leader) {
            if stage.machine(node).is_some()
                && let Some(parting) = self.of(node).hear(claim)
            {
                return Err(format!("node {node} from {leader}: {parting:?}"));
            }
        }
        Ok(())
    }
}

impl Company<Kv> for Agreeing {
    fn on_life(&mut self, node: usize) {
        self.compared += self.of(node).compared();
        *self.of(node) = Agreement::default();
    }

    fn after_turn(&mut self, node: usize, stage: &Stage<'_, Kv>) -> Result<(), String> {
        let Some(store) = stage.machine(node) else {
            return Ok(());
        };
        if let Some(parting) = self.of(node).observe(store) {
            return Err(format!("node {node} from a leader: {parting:?}"));
        }
        self.turns += 1;
        if self.turns.is_multiple_of(TURNS) && stage.leads(node).is_some() {
            self.tell(node, stage)?;
        }
        Ok(())
    }

    fn on_time(&mut self, _: &Stage<'_, Kv>) -> Result<(), String> {
        Ok(())
    }

    fn next_ns(&self) -> Option<u64> {
        None
    }

    fn unsettled(&self, _: &Stage<'_, Kv>) -> Option<String> {
        None
    }

    fn count(&self, stats: &mut Stats) {
        let now = self.agreements.iter().map(Agreement::compared);
        stats.agreements += self.compared + now.sum::<u64>();
    }
}
