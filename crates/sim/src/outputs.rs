//! What a node wants done, carried out: frames leave, disks get orders, clients get answers.
//! Never reorders it: what comes first in a turn is done first (rule R2).
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use headwater_raft::{LogId, NodeId};
use headwater_replica::interface::{Output, ProposeFate, ReadFate};
use headwater_replica::machine::StateMachine;
use headwater_replica::{message_of, telling};

use crate::application::{Application, Told};
use crate::check::{Violation, ensure, promise};
use crate::witness::{Seen, Watched};
use crate::words;
use crate::world::World;

impl<A: Application> World<A> {
    pub(crate) fn carry_out(
        &mut self,
        node: usize,
        outputs: Vec<Output<Watched<A>>>,
    ) -> Result<(), Violation> {
        let Some(live) = &mut self.nodes[node].live else {
            return Ok(());
        };
        let crash = live.crash_in_turn.take();
        let kept = crash.map_or(u64::MAX, |(kept, _)| kept);
        for (place, output) in outputs.into_iter().enumerate() {
            if place as u64 >= kept {
                break;
            }
            self.carry_out_one(node, output)?;
        }
        self.flush(node);
        self.start_log(node);
        self.start_file(node);
        if let Some((_, crash)) = crash {
            self.stats.crashes_in_turn += 1;
            return self.crash(node, crash);
        }
        Ok(())
    }

    fn carry_out_one(&mut self, node: usize, output: Output<Watched<A>>) -> Result<(), Violation> {
        let now = self.schedule.now();
        match output {
            Output::Frame {
                to,
                frame,
                can_wait,
            } => {
                if let Some(message) = message_of(&frame) {
                    self.check_silence(node)?;
                    self.setbacks.on_said(&self.nodes[node], &message);
                    promise::check(&self.nodes[node], to, &message)?;
                    self.cluster.on_message(&self.nodes[node], to, &message);
                    self.peace_after_message(node, to, &message)?;
                }
                self.trace.note(now, Some(node), || {
                    format!("-> {to:?} {}", words::frame(&frame))
                });
                self.queue(node, to, frame, can_wait);
            }
            Output::Log(order) => {
                self.trace
                    .note(now, Some(node), || format!("log {}", words::order(&order)));
                self.trace.tell(now, Some(node), "order", |object| {
                    object.object("order", telling::order(&order))
                });
                self.nodes[node].issued.push_back(order.clone());
                if let Some(live) = &mut self.nodes[node].live {
                    live.told_image.obey(&order);
                    live.log_queue.push(order);
                }
            }
            Output::File(order) => {
                if let Some(live) = &mut self.nodes[node].live {
                    live.file_queue.push_back(order);
                }
            }
            Output::Proposed { request, result } => self.on_written(node, request.0, result)?,
            Output::Answered { request, result } => self.on_read(node, request.0, result)?,
            Output::Config { .. } => {}
            Output::Reconfigured { request, result } => {
                self.on_reconfigured(node, request.0, &result)?;
            }
            Output::Transferred { request, result } => {
                self.on_transferred(node, request, result)?;
            }
            // Simulated company asks a node itself.
            Output::Note { .. } => {}
            Output::Refused { from, why } => self.on_refused(node, from, &why)?,
            Output::Disowned { by } => {
                let me = self.nodes[node].id;
                ensure(self.errands.has_lost_disk(me), "disowned", || {
                    format!("{by:?} does not hear {me:?}")
                })?;
            }
            Output::Halt(why) => self.on_halt(node, &why)?,
        }
        Ok(())
    }

    fn on_written(
        &mut self,
        node: usize,
        op: u64,
        result: Result<(LogId, <A::Machine as StateMachine>::Reply), ProposeFate>,
    ) -> Result<(), Violation> {
        let now = self.schedule.now();
        let at = result.as_ref().map(|(at, _)| at.index.0);
        self.trace
            .note(now, Some(node), || format!("write {op} ends: {at:?}"));
        self.trace.tell(now, Some(node), "written", |object| {
            object.number("request", op).maybe("at", at.ok())
        });
        self.settle(node, op)?;
        self.history.on_proposed(&self.cluster, op, &result)?;
        match &result {
            Ok((_, reply)) => self.hearsay.on_told(op, &Told::Reply(reply)),
            Err(ProposeFate::Unknown) => {}
            Err(fate) => {
                self.stats.refused_full += u64::from(*fate == ProposeFate::NoSpace);
                self.hearsay.on_lost(op);
            }
        }
        self.check_leases()?;
        let told = result.as_ref().ok().map(|(_, reply)| Told::Reply(reply));
        self.on_outcome(op, told);
        Ok(())
    }

    fn on_read(
        &mut self,
        node: usize,
        op: u64,
        result: Result<Seen<<A::Machine as StateMachine>::Answer>, ReadFate>,
    ) -> Result<(), Violation> {
        let now = self.schedule.now();
        let seen = result.as_ref().ok();
        let at = seen.and_then(|seen| self.cluster.command_of(seen.digest));
        self.trace
            .note(now, Some(node), || format!("read {op} ends: {at:?}"));
        self.trace.tell(now, Some(node), "read", |object| {
            object.number("request", op).maybe("at", at.map(|at| at.0))
        });
        self.settle(node, op)?;
        let live = self.nodes[node].live.as_mut();
        let last = &mut live.expect("it has just answered").command_seen;
        if let Some(Seen { answer, .. }) = seen {
            let history = &mut self.history;
            let at = history.on_answered(&self.cluster, op, (at, last), answer)?;
            self.check_bound(op, at)?;
            self.hearsay.on_told(op, &Told::Answer(answer));
        }
        self.on_outcome(op, seen.map(|seen| Told::Answer(&seen.answer)));
        Ok(())
    }

    /// A node does not hear another: all are of one make, so only a blank disk can be the reason,
    /// or a snapshot that a disk has spoilt.
    fn on_refused(&mut self, node: usize, from: NodeId, why: &str) -> Result<(), Violation> {
        if let Some(live) = &mut self.nodes[node].live
            && live.spoilt > 0
        {
            live.spoilt -= 1;
            return Ok(());
        }
        self.stats.impostors += 1;
        ensure(self.errands.has_lost_disk(from), "refused", || {
            format!("n{} did not hear {from:?}: {why}", node + 1)
        })
    }

    /// Every request ends once (rule R11).
    fn settle(&mut self, node: usize, op: u64) -> Result<(), Violation> {
        let live = self.nodes[node].live.as_mut();
        let waited = live.is_some_and(|live| live.pending.remove(&op));
        ensure(waited, "outcome", || {
            format!("n{} ends request {op} twice, or one never made", node + 1)
        })
    }
}
