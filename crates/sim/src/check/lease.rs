//! A leader with a lease knows of all that anyone was told: while it lasts, nobody else is elected.
//! Never waits for a read: whoever would answer wrongly is wrong already.
//!
//! # Source
//! Dissertation §6.4.1; rule R7.

use super::{Violation, ensure};
use crate::application::Application;
use crate::world::World;

impl<A: Application> World<A> {
    /// Something was answered: no lease is about less.
    pub(crate) fn check_leases(&self) -> Result<(), Violation> {
        if !self.plan.knobs.leases {
            return Ok(());
        }
        let floor = self.history.floor();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(live) = &node.live else {
                continue;
            };
            let commit = live.replica.raft().commit();
            ensure(commit >= floor || !self.has_lease(at), "lease", || {
                format!("n{} has a lease at {commit}, and {floor} was seen", at + 1)
            })?;
        }
        Ok(())
    }
}
