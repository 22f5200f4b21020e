//! What a server has beside its state machine, on every node of a world, and who makes use of it.
//! Never changes a machine: it looks at what each node has applied.
//!
//! # Source
//! ARCHITECTURE.md, "The house": watches and leases stand beside the store.

use std::cell::RefCell;

use headwater_raft::RoleName;
use headwater_replica::machine::StateMachine;

use crate::application::{Application, Told, Want};
use crate::check::raft::Cluster;
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

    /// What it asked for under this name has ended, with an outcome or without.
    fn on_told(&mut self, _name: u64, _told: Option<Told<'_, A::Machine>>, _: &Stage<'_, A>) {}

    /// A plan asks for something at a node: `ask whom=n1 want=WORDS`. Whether the words are meant
    /// for the company.
    ///
    /// # Errors
    /// What is wrong with them.
    fn wish(&mut self, _node: usize, _words: &str, _: &Stage<'_, A>) -> Result<bool, String> {
        Ok(false)
    }

    /// How long after the faults its own matters may take, beside what the world needs.
    fn patience_ns(&self) -> u64 {
        0
    }

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

/// Two kinds of it.
impl<A: Application, First: Company<A>, Second: Company<A>> Company<A> for (First, Second) {
    fn on_life(&mut self, node: usize) {
        self.0.on_life(node);
        self.1.on_life(node);
    }

    fn after_turn(&mut self, node: usize, stage: &Stage<'_, A>) -> Result<(), String> {
        self.0.after_turn(node, stage)?;
        self.1.after_turn(node, stage)
    }

    fn on_time(&mut self, stage: &Stage<'_, A>) -> Result<(), String> {
        self.0.on_time(stage)?;
        self.1.on_time(stage)
    }

    /// Names are the second's: the first asks for nothing.
    fn on_told(&mut self, name: u64, told: Option<Told<'_, A::Machine>>, stage: &Stage<'_, A>) {
        self.1.on_told(name, told, stage);
    }

    fn wish(&mut self, node: usize, words: &str, stage: &Stage<'_, A>) -> Result<bool, String> {
        Ok(self.0.wish(node, words, stage)? || self.1.wish(node, words, stage)?)
    }

    fn patience_ns(&self) -> u64 {
        self.0.patience_ns() + self.1.patience_ns()
    }

    fn next_ns(&self) -> Option<u64> {
        let both = [self.0.next_ns(), self.1.next_ns()];
        both.into_iter().flatten().min()
    }

    fn unsettled(&self, stage: &Stage<'_, A>) -> Option<String> {
        self.0.unsettled(stage).or_else(|| self.1.unsettled(stage))
    }

    fn count(&self, stats: &mut Stats) {
        self.0.count(stats);
        self.1.count(stats);
    }
}

/// What the company asks for: of which node, under which name.
type Asked<A> = (
    usize,
    u64,
    Want<<<A as Application>::Machine as StateMachine>::Query>,
);

/// What the company sees of a world.
pub struct Stage<'a, A: Application> {
    now_ns: u64,
    is_calm: bool,
    cluster: &'a Cluster<A>,
    nodes: &'a [Node<A>],
    asked: RefCell<Vec<Asked<A>>>,
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
        &self.cluster.model
    }

    /// The machine of a node that runs; nodes are named by their place, from zero.
    pub fn machine(&self, node: usize) -> Option<&'a A::Machine> {
        let live = self.nodes.get(node)?.live.as_ref()?;
        Some(live.replica.machine().machine())
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How often a node has been started.
    pub fn life(&self, node: usize) -> u64 {
        self.nodes[node].life
    }

    /// What the clock of a node shows.
    pub fn clock_ns(&self, node: usize) -> u64 {
        self.nodes[node].clock.at(self.now_ns).0
    }

    /// The term in which a node leads, once it has applied an entry of that term.
    pub fn leads(&self, node: usize) -> Option<u64> {
        let replica = &self.nodes[node].live.as_ref()?.replica;
        let (raft, applied) = (replica.raft(), replica.status().applied);
        let is_own = self.cluster.id_at(applied)?.term == raft.term();
        (raft.role() == RoleName::Leader && is_own).then_some(raft.term().0)
    }

    /// Asks a node for something; [`Company::on_told`] tells what became of it. A read waits for
    /// a quorum.
    pub fn ask(&self, node: usize, name: u64, want: Want<<A::Machine as StateMachine>::Query>) {
        self.asked.borrow_mut().push((node, name, want));
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
        let asked = stage.asked.into_inner();
        self.company_asks(asked);
        judged.or_else(|why| ensure(false, "company", || why))?;
        self.begin_company();
        Ok(())
    }

    pub(crate) fn company_after_turn(&mut self, node: usize) -> Result<(), Violation> {
        let (stage, company) = self.stage();
        let judged = company.after_turn(node, &stage);
        let asked = stage.asked.into_inner();
        self.company_asks(asked);
        judged.or_else(|why| ensure(false, "company", || why))
    }

    pub(crate) fn company_told(&mut self, name: u64, told: Option<Told<'_, A::Machine>>) {
        let (stage, company) = self.stage();
        company.on_told(name, told, &stage);
        let asked = stage.asked.into_inner();
        self.company_asks(asked);
    }

    pub(crate) fn company_wish(&mut self, node: usize, words: &str) -> Result<bool, Violation> {
        let was_idle = self.company.next_ns().is_none();
        let (stage, company) = self.stage();
        let taken = company.wish(node, words, &stage);
        let asked = stage.asked.into_inner();
        self.company_asks(asked);
        if was_idle {
            self.begin_company();
        }
        taken.map_err(|why| Violation::new("plan", format!("ask {words}: {why}")))
    }

    fn company_asks(&mut self, asked: Vec<Asked<A>>) {
        for (node, name, want) in asked {
            let op = self.history.begin(want);
            self.workload.company.insert(op, name);
            self.schedule.after(10_000, Event::Ask { op, node });
        }
    }

    pub(crate) fn company_unsettled(&mut self) -> Option<String> {
        let (stage, company) = self.stage();
        company.unsettled(&stage)
    }

    fn stage(&mut self) -> (Stage<'_, A>, &mut dyn Company<A>) {
        let stage = Stage {
            now_ns: self.schedule.now(),
            is_calm: self.calm_at.is_some(),
            cluster: &self.cluster,
            asked: RefCell::default(),
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
