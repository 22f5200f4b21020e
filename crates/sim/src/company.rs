//! What a server has beside its state machine, on every node of a world, and who makes use of it.
//! Never changes a machine: it looks at what each node has applied.
//!
//! # Source
//! ARCHITECTURE.md, "The house": watches and leases stand beside the store.

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::node::Node;
use crate::schedule::Event;
use crate::trace::Stats;
use crate::world::World;

/// What stands beside the machines of a world, with clients of its own and judges of what they are
/// told.
pub trait Company<A: Application> {
    /// A node has started, or died: what stood beside its machine is gone.
    fn on_life(&mut self, node: usize);

    /// A node's turn has ended: it may have applied commands, or loaded a snapshot.
    ///
    /// # Errors
    /// What is wrong.
    fn after_turn(&mut self, node: usize, stage: &Stage<'_, A>) -> Result<(), String>;

    /// The time has come that [`Self::next_ns`] named.
    ///
    /// # Errors
    /// What is wrong.
    fn on_time(&mut self, stage: &Stage<'_, A>) -> Result<(), String>;

    /// When it wants to do something next; only asked at the beginning and after
    /// [`Self::on_time`].
    fn next_ns(&self) -> Option<u64>;

    /// What is not yet as it must become in the calm.
    fn unsettled(&self, stage: &Stage<'_, A>) -> Option<String>;

    /// Adds what has happened.
    fn count(&self, stats: &mut Stats);
}

/// Nobody.
impl<A: Application> Company<A> for () {
    fn on_life(&mut self, _: usize) {}

    fn after_turn(&mut self, _: usize, _: &Stage<'_, A>) -> Result<(), String> {
        Ok(())
    }

    fn on_time(&mut self, _: &Stage<'_, A>) -> Result<(), String> {
        Ok(())
    }

    fn next_ns(&self) -> Option<u64> {
        None
    }

    fn unsettled(&self, _: &Stage<'_, A>) -> Option<String> {
        None
    }

    fn count(&self, _: &mut Stats) {}
}

/// What the company sees of a world.
pub struct Stage<'a, A: Application> {
    now_ns: u64,
    is_calm: bool,
    model: &'a A::Model,
    nodes: &'a [Node<A>],
    members: Vec<usize>,
}

impl<'a, A: Application> Stage<'a, A> {
    /// The time.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Whether the faults are over.
    pub fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// What all commands committed so far make.
    pub fn model(&self) -> &'a A::Model {
        self.model
    }

    /// The machine of a node that runs; nodes are named by their place, from zero.
    pub fn machine(&self, node: usize) -> Option<&'a A::Machine> {
        let live = self.nodes.get(node)?.live.as_ref()?;
        Some(live.replica.machine().machine())
    }

    /// Whether a node is one that must serve in the end.
    pub fn is_member(&self, node: usize) -> bool {
        self.members.contains(&node)
    }
}

impl<A: Application> World<A> {
    pub(crate) fn begin_company(&mut self) {
        if let Some(at) = self.company.next_ns() {
            self.schedule.at(at, Event::Company);
        }
    }

    pub(crate) fn on_company(&mut self) -> Result<(), Violation> {
        let (stage, company) = self.stage();
        let judged = company.on_time(&stage);
        judged.or_else(|why| ensure(false, "company", || why))?;
        self.begin_company();
        Ok(())
    }

    pub(crate) fn company_after_turn(&mut self, node: usize) -> Result<(), Violation> {
        let (stage, company) = self.stage();
        let judged = company.after_turn(node, &stage);
        judged.or_else(|why| ensure(false, "company", || why))
    }

    pub(crate) fn company_unsettled(&mut self) -> Option<String> {
        let (stage, company) = self.stage();
        company.unsettled(&stage)
    }

    fn stage(&mut self) -> (Stage<'_, A>, &mut dyn Company<A>) {
        let stage = Stage {
            now_ns: self.schedule.now(),
            is_calm: self.calm_at.is_some(),
            model: &self.cluster.model,
            members: if self.calm_at.is_some() {
                self.present_members()
            } else {
                Vec::new()
            },
            nodes: &self.nodes,
        };
        (stage, &mut *self.company)
    }
}
