//! What may wait: frames that nobody waits for, and the word that a leader's own disk is done.
//! Never decides whether it does: production's `Coalescer` and `Mailbox` do, and the core.
//!
//! A turn ends when the node says what it wants to be woken for, a little after its outputs have left;
//! so a disk may be done in between, as it may beside a loop on a thread of its own.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use bytes::Bytes;
use headwater_raft::{Input as CoreInput, Instant, NodeId, NotTaken, Raft, WriteId};
use headwater_replica::coalescer::Coalescer;
use headwater_replica::interface::Input;
use headwater_replica::mailbox::Mailbox;
use headwater_replica::telling;

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::node::Node;
use crate::plan::Knobs;
use crate::schedule::Event;
use crate::witness::Watched;
use crate::world::World;

/// A frame that its sender has not written yet.
struct Queued {
    to: NodeId,
    /// The connection, and which sending of all it will be.
    epoch: u64,
    sending: u64,
    frame: Bytes,
    can_wait: bool,
    /// Since when, on the sender's clock.
    at: Instant,
}

/// What waits at a node.
pub(crate) struct Waits<A: Application> {
    frames: Vec<Queued>,
    coalescer: Coalescer,
    wait_ns: u64,
    mailbox: Mailbox<Input<Watched<A>>>,
    /// The newest write that the mailbox says is durable.
    acknowledged: Option<WriteId>,
    /// When the last turn was, on the node's clock.
    turned_at: Instant,
    /// Whether the last turn has ended.
    rests: bool,
}

impl<A: Application> Waits<A> {
    /// Nothing waits yet.
    pub(crate) fn new(knobs: &Knobs) -> Self {
        Self {
            frames: Vec::new(),
            coalescer: Coalescer::new(knobs.notice_wait_ns),
            wait_ns: knobs.notice_wait_ns,
            mailbox: Mailbox::default(),
            acknowledged: None,
            turned_at: Instant(0),
            rests: false,
        }
    }

    /// Something arrives; the node is to be woken.
    pub(crate) fn put(&mut self, input: Input<Watched<A>>) {
        self.mailbox.put(input);
    }

    /// A turn begins: all that has arrived.
    pub(crate) fn take(&mut self, now: Instant) -> Result<Vec<Input<Watched<A>>>, Violation> {
        (self.turned_at, self.rests) = (now, false);
        let mut taken = Vec::new();
        self.mailbox.take(&mut taken);
        let durable = taken.iter().filter_map(|input| match input {
            Input::LogDone { upto } => Some(*upto),
            _ => None,
        });
        let (told, said) = (durable.last(), self.acknowledged.take());
        ensure(told == said, "put aside", || {
            format!("{said:?} was durable, and the node is told of {told:?}")
        })?;
        Ok(taken)
    }

    /// When the node must be woken because of frames.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.coalescer.next_deadline()
    }

    /// Until when the first frame that waits may do so.
    fn due(&self) -> Option<Instant> {
        let all = self.frames.iter().map(|queued| {
            let wait_ns = if queued.can_wait { self.wait_ns } else { 0 };
            queued.at.after(wait_ns)
        });
        all.min()
    }
}

impl<A: Application> World<A> {
    /// A node has something to send.
    pub(crate) fn queue(&mut self, node: usize, to: NodeId, frame: Bytes, can_wait: bool) {
        let (now, peer) = (self.schedule.now(), to.0 as usize - 1);
        let at = self.nodes[node].clock.at(now);
        let told = self.trace.has_file().then(|| telling::frame(&frame));
        let live = self.nodes[node].live.as_mut();
        let linked = live.and_then(|live| Some((*live.links.get(&peer)?, live)));
        let sending = linked.map(|(epoch, live)| {
            let sending = self.network.next_sending();
            live.waits.coalescer.queue(to, can_wait);
            live.waits.frames.push(Queued {
                to,
                epoch,
                sending,
                frame,
                can_wait,
                at,
            });
            sending
        });
        if let Some(told) = told {
            self.trace.tell(now, Some(node), "send", |object| {
                let object = object.number("to", to.0).maybe("sending", sending);
                object.object("message", told)
            });
        }
    }

    /// What a node has to send leaves, but for what still waits.
    pub(crate) fn flush(&mut self, node: usize) {
        let now = self.schedule.now();
        let at = self.nodes[node].clock.at(now);
        let Some(live) = &mut self.nodes[node].live else {
            return;
        };
        let waits = &mut live.waits;
        let mut peers = Vec::new();
        waits.coalescer.flush(at, |peer| peers.push(peer));
        let frames = std::mem::take(&mut waits.frames);
        let leaves = |queued: &Queued| peers.contains(&queued.to);
        let (leaving, staying): (Vec<_>, Vec<_>) = frames.into_iter().partition(leaves);
        waits.frames = staying;
        for peer in peers {
            let to_it = leaving.iter().filter(|queued| queued.to == peer);
            let waited = to_it.clone().filter(|queued| queued.at < at).count();
            self.stats.frames_waited += waited as u64;
            let is_alone = waited > 0 && waited == to_it.count();
            self.stats.frames_alone += u64::from(is_alone);
        }
        for queued in leaving {
            let pair = (node, queued.to.0 as usize - 1);
            let sent = (queued.epoch, queued.sending);
            self.network
                .send(&mut self.schedule, pair, sent, queued.frame);
        }
        self.stats.frames_damaged = self.network.damaged;
    }

    /// A node's log worker says that all up to this write is durable.
    pub(crate) fn give_durable(&mut self, node: usize, upto: WriteId) -> Result<(), Violation> {
        let Some(live) = &mut self.nodes[node].live else {
            return Ok(());
        };
        live.waits.acknowledged = Some(upto);
        if live.waits.mailbox.put_aside(Input::LogDone { upto }) {
            self.wake(node);
        } else if !live.turn_due {
            self.stats.put_aside += 1;
        }
        self.check_asleep(node)
    }

    /// A node has carried out what its turn wanted, and will be woken in time for its frames.
    pub(crate) fn rest_soon(&mut self, node: usize) -> Result<(), Violation> {
        let Node {
            clock, life, live, ..
        } = &self.nodes[node];
        let Some(live) = live else {
            return Ok(());
        };
        if let Some(due) = live.waits.due() {
            let (at, wakes_at) = (live.waits.turned_at, live.timer_at);
            ensure(at < due && wakes_at <= clock.when(due), "frames", || {
                format!(
                    "n{} lets a frame wait beyond {due:?}, and it is {at:?}",
                    node + 1
                )
            })?;
        }
        if self.plan.knobs.put_aside {
            let life = *life;
            let after = self.nodes[node].rest_dice.below(self.plan.knobs.turn_ns);
            self.schedule.after(after, Event::Rest { node, life });
        }
        Ok(())
    }

    /// A node's turn has ended: it says whether it is to be woken by its disk.
    pub(crate) fn on_rest(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let paused_until = self.nodes[node].paused_until;
        let Some(live) = self.nodes[node].living(life) else {
            return Ok(());
        };
        if paused_until > self.schedule.now() {
            self.schedule.at(paused_until, Event::Rest { node, life });
            return Ok(());
        }
        live.waits.rests = true;
        let awaits_disk = live.replica.raft().awaits_own_disk();
        if live.waits.mailbox.want_all(awaits_disk) {
            self.stats.put_aside_wakes += u64::from(!live.turn_due);
            self.wake(node);
        }
        self.check_asleep(node)
    }

    /// Nobody sleeps on although its disk is done and that is of use: something would be committed or
    /// said, or commands would be taken again.
    fn check_asleep(&self, node: usize) -> Result<(), Violation> {
        let live = self.nodes[node].live.as_ref();
        let Some(live) = live.filter(|live| live.waits.rests && !live.turn_due) else {
            return Ok(());
        };
        let Some(upto) = live.waits.acknowledged else {
            return Ok(());
        };
        let (raft, mut effects) = (live.replica.raft(), Vec::new());
        // Not the turn's time: a turn of which the core hears nothing asks it nothing, and whoever
        // asks it later is behind the disk's word.
        let at = raft.now();
        let mut told = raft.clone();
        told.step(at, CoreInput::Persisted { upto }, &mut effects);
        told.end_turn(&mut effects);
        let is_of_use = !effects.is_empty() || refuses(raft, at) && !refuses(&told, at);
        ensure(!is_of_use, "asleep", || {
            let me = node + 1;
            format!("n{me} is not woken for {upto:?}, and would have {effects:?}")
        })
    }
}

/// Whether a node takes no commands because its disk is slow.
fn refuses(raft: &Raft, now: Instant) -> bool {
    let taken = raft.clone().propose(now, 1, &mut Vec::new());
    taken == Err(NotTaken::DiskSlow)
}
