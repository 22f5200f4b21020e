//! Clients' requests on their way: commands to the leader's log, questions to a read index, and
//! the wish that another should lead.
//! Never forgets one: what is not taken waits, and `request` ends what waits too long.
//!
//! # Source
//! Dissertation §6.2 (finding the leader), §6.4 (reads by the batch), §10.2.2 (batching), §3.10.

use alloc::vec::Vec;

use bytes::Bytes;
use headwater_raft::{Index, LogId, NodeId, NotTaken, ReadLevel, TransferFailed};

use crate::codec::{Frame, NotForwarded};
use crate::entry::{Entry, EntryKind};
use crate::interface::{Output, ProposeFate, ReadFate, RequestId, TransferFate};
use crate::machine::StateMachine;
use crate::replica::Replica;
use crate::request::{Asking, Waiting};

impl<M: StateMachine> Replica<M> {
    // Commands.

    pub(crate) fn on_propose(
        &mut self,
        request: RequestId,
        command: Bytes,
        out: &mut Vec<Output<M>>,
    ) {
        if command.len() > self.options.command_bytes_max {
            return self.requests.fail(request, ProposeFate::TooLarge, out);
        }
        if self.lacks_room_for(&command) {
            return self.requests.fail(request, ProposeFate::NoSpace, out);
        }
        if self.uncommitted_bytes() > self.options.uncommitted_bytes_max {
            return self.requests.fail(request, ProposeFate::Busy, out);
        }
        self.proposals += 1;
        let deadline = self.now.after(self.options.request_timeout_ns);
        self.requests.hold(Waiting {
            request,
            command,
            deadline,
        });
    }

    /// Bytes accepted but not yet committed.
    fn uncommitted_bytes(&self) -> u64 {
        let last = self.bodies.weight(self.raft.last().index);
        let committed = self.bodies.weight(self.raft.commit());
        self.requests.waiting_bytes() + last.saturating_sub(committed)
    }

    /// Gives the turn's commands to the leader: to the core here, or to another node. Without a
    /// leader they wait for one, and so they do while it hands over or its disk is slow.
    pub(crate) fn propose_held(&mut self, out: &mut Vec<Output<M>>) {
        let Some(leader) = self.reachable_leader() else {
            return;
        };
        if leader != self.raft.me() && self.requests.are_paused(self.now) {
            return;
        }
        while let Some(mut waiting) = self
            .requests
            .take_held(self.options.message_bytes_max as u64)
        {
            if leader == self.raft.me() {
                // Commands that are not appended stay where they are: none is taken before.
                let commands = waiting.iter_mut().map(|w| core::mem::take(&mut w.command));
                match self.append(commands, out) {
                    Ok(first) => self.requests.logged(first, waiting, out),
                    Err(why) => {
                        self.requests.refused(fate_of(why));
                        return self.requests.hold_all(waiting);
                    }
                }
            } else {
                let commands = waiting.iter().map(|w| w.command.clone()).collect();
                let batch = self.requests.forward(leader, waiting);
                let frame = Frame::Forward { batch, commands }.encode();
                out.push(Output::urgent(leader, frame));
            }
        }
    }

    /// Appends commands to the leader's log, or none of them.
    fn append(
        &mut self,
        commands: impl ExactSizeIterator<Item = Bytes>,
        out: &mut Vec<Output<M>>,
    ) -> Result<LogId, NotTaken> {
        let count = commands.len() as u64;
        let first = self.raft.propose(self.now, count, &mut self.effects)?;
        self.source = commands
            .enumerate()
            .map(|(place, command)| {
                let index = Index(first.index.0 + place as u64);
                Entry::new(LogId::new(first.term, index), EntryKind::Command, command)
            })
            .collect();
        self.carry_out(out);
        Ok(first)
    }

    /// A follower passes on its clients' commands.
    pub(crate) fn on_forward(
        &mut self,
        from: NodeId,
        batch: u64,
        commands: Vec<Bytes>,
        out: &mut Vec<Output<M>>,
    ) {
        let busy = self.uncommitted_bytes() > self.options.uncommitted_bytes_max;
        // What this node would not take from a client may be too long to be passed on from here.
        let mut lengths = commands.iter().map(Bytes::len);
        let long = lengths.any(|bytes| bytes > self.options.command_bytes_max);
        let result = if commands.is_empty() || busy || long {
            Err(NotForwarded::Busy)
        } else if self.is_short() && commands.iter().any(M::grows) {
            Err(NotForwarded::NoSpace)
        } else {
            let count = commands.len() as u64;
            let first = self.append(commands.into_iter(), out);
            if let Ok(first) = first {
                let last = Index(first.index.0 + count - 1);
                self.awaited.insert(from, last);
            }
            first.map_err(|why| match why {
                NotTaken::Transferring { .. } => NotForwarded::Transferring,
                NotTaken::DiskSlow => NotForwarded::DiskSlow,
                _ => NotForwarded::NotLeader,
            })
        };
        let frame = Frame::ForwardReply { batch, result }.encode();
        out.push(Output::urgent(from, frame));
    }

    pub(crate) fn on_forward_reply(
        &mut self,
        from: NodeId,
        batch: u64,
        result: Result<LogId, NotForwarded>,
        out: &mut Vec<Output<M>>,
    ) {
        let Some(waiting) = self.requests.take_forwarded(batch, from) else {
            return;
        };
        match result {
            Ok(first) if first.index > self.applied.index => {
                self.requests.logged(first, waiting, out);
            }
            // The entries came and were applied before the answer: the replies are gone.
            Ok(_) => {
                for waiting in waiting {
                    self.requests
                        .fail(waiting.request, ProposeFate::Unknown, out);
                }
            }
            Err(NotForwarded::Busy) => {
                for waiting in waiting {
                    self.requests.fail(waiting.request, ProposeFate::Busy, out);
                }
            }
            // The others had the bad luck to be in one batch with these.
            Err(NotForwarded::NoSpace) => {
                if self.raft.leader() == Some(from) {
                    self.on_leader_short();
                }
                for waiting in waiting {
                    if M::grows(&waiting.command) {
                        let fate = ProposeFate::NoSpace;
                        self.requests.fail(waiting.request, fate, out);
                    } else {
                        self.requests.hold(waiting);
                    }
                }
            }
            Err(why) => {
                self.requests.hold_all(waiting);
                // What a leader of the past says is no word on the present one.
                if self.raft.leader() == Some(from) {
                    self.requests.pause(self.now, why);
                }
            }
        }
    }

    // Leadership.

    pub(crate) fn on_transfer(
        &mut self,
        request: RequestId,
        to: Option<NodeId>,
        out: &mut Vec<Output<M>>,
    ) {
        match self.raft.transfer(self.now, to, &mut self.effects) {
            Ok(_) => self.transfer = Some(request),
            Err(why) => out.push(Output::Transferred {
                request: Some(request),
                result: Err(TransferFate::Refused(why)),
            }),
        }
        self.carry_out(out);
    }

    pub(crate) fn on_transferred(
        &mut self,
        to: NodeId,
        result: Result<(), TransferFailed>,
        out: &mut Vec<Output<M>>,
    ) {
        out.push(Output::Transferred {
            request: self.transfer.take(),
            result: result
                .map(|()| to)
                .map_err(|why| TransferFate::Failed { to, why }),
        });
    }

    // Questions.

    pub(crate) fn on_query(
        &mut self,
        request: RequestId,
        query: M::Query,
        level: Option<ReadLevel>,
        out: &mut Vec<Output<M>>,
    ) {
        let Some(level) = level else {
            let result = Ok(self.machine.query(query));
            return out.push(Output::Answered { request, result });
        };
        if self.requests.queries() >= self.options.queries_max {
            return out.push(Output::Answered {
                request,
                result: Err(ReadFate::Busy),
            });
        }
        let deadline = self.now.after(self.options.request_timeout_ns);
        let asking = Asking {
            request,
            query,
            deadline,
        };
        self.requests.ask(level, asking);
    }

    /// One read of the core stands for all queries of a level that came in the turn.
    pub(crate) fn begin_reads(&mut self, out: &mut Vec<Output<M>>) {
        loop {
            let reachable = self.reachable_leader().is_some();
            // What is known here needs no leader.
            let known = |level| match level {
                ReadLevel::Bounded { max_lag_ns } => self.raft.mark(self.now, max_lag_ns).is_some(),
                ReadLevel::Linearizable | ReadLevel::Lease => false,
            };
            let begun = self.requests.begin_read(self.now, reachable, known);
            let Some((id, level)) = begun else {
                return;
            };
            self.raft.read(self.now, id, level, &mut self.effects);
            self.carry_out(out);
        }
    }
}

/// What a command ends as that waits too long for this to change.
fn fate_of(why: NotTaken) -> ProposeFate {
    match why {
        NotTaken::DiskSlow => ProposeFate::DiskSlow,
        _ => ProposeFate::NoLeader,
    }
}
