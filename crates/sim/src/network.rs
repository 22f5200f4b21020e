//! The network made of dice: connections that break, frames that are late, lost, or doubled.
//! Never changes a frame but where one is to be damaged, and keeps the order of a connection, but for
//! messages of the core when the plan says otherwise: those must survive any loss, delay, doubling
//! and reordering (rule R4).
//!
//! # Source
//! What TCP promises and what it does not; TigerBeetle's packet simulator.

use bytes::Bytes;
use headwater_replica::framing::{HEAD_BYTES, head_of};

use crate::dice::Dice;
use crate::directed::Kind;
use crate::harm::Noise;
use crate::plan::{Knobs, MS};
use crate::schedule::{Event, Schedule};

/// Frames of kinds from here on belong to a connection and must not outlive, overtake or repeat.
const CONNECTION_KINDS: u8 = 16;

/// The connection between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    epoch: u64,
    /// Frames of earlier connections are of a disk that is gone.
    oldest: u64,
    open: bool,
    /// Whether an attempt to connect is under way.
    trying: bool,
}

/// Whether a frame may outlive, overtake or repeat; here it is behind its head.
fn is_loose(wire: &Bytes) -> bool {
    let kind = wire.get(HEAD_BYTES);
    kind.is_some_and(|kind| *kind < CONNECTION_KINDS)
}

/// A frame on its way, behind its head.
#[derive(Clone, Debug)]
struct Sent {
    epoch: u64,
    sending: u64,
    wire: Bytes,
}

impl Sent {
    fn arrival(self, from: usize, to: usize) -> Event {
        Event::Frame {
            from,
            to,
            epoch: self.epoch,
            sending: self.sending,
            wire: self.wire,
        }
    }
}

/// One direction between two nodes.
#[derive(Clone, Debug)]
struct Lane {
    /// How many partitions block it.
    blocked: u32,
    /// When the last frame in order arrives.
    last_at: u64,
    held: Vec<Sent>,
    /// Whether nothing is lost, doubled or out of order.
    sure: bool,
    /// Until when it has little bandwidth, how much, and when what was sent has passed.
    narrow: (u64, u64, u64),
    noise: Option<Noise>,
    /// Messages of a kind that are held back: which, until when, and whether for good.
    holds: Vec<(Kind, u64, bool)>,
    dice: Dice,
}

/// All connections.
pub(crate) struct Network {
    nodes: usize,
    pairs: Vec<Pair>,
    lanes: Vec<Lane>,
    /// How many frames have been sent, or are to be.
    sendings: u64,
    /// How many have been damaged.
    pub(crate) damaged: u64,
    delay_ns: u64,
    delay_spread_ns: u64,
    loss: u64,
    double: u64,
    shuffle: u64,
    outlive: u64,
    holds: bool,
    /// When all that was on its way as the calm came has arrived.
    calm_from: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, knobs: &Knobs) -> Self {
        let nodes = (knobs.nodes + knobs.reserves) as usize;
        let lanes = (0..nodes * nodes).map(|lane| Lane {
            blocked: 0,
            last_at: 0,
            held: Vec::new(),
            sure: false,
            narrow: (0, 1, 0),
            noise: None,
            holds: Vec::new(),
            dice: Dice::of(
                seed,
                "lane",
                &[(lane / nodes) as u64, (lane % nodes) as u64],
            ),
        });
        Self {
            nodes,
            pairs: vec![Pair::default(); nodes * nodes],
            lanes: lanes.collect(),
            sendings: 0,
            damaged: 0,
            delay_ns: knobs.delay_ns,
            delay_spread_ns: knobs.delay_spread_ns,
            loss: knobs.loss,
            double: knobs.double,
            shuffle: knobs.shuffle,
            outlive: knobs.outlive,
            holds: knobs.holds,
            calm_from: u64::MAX,
        }
    }

    /// From now on nothing is lost, damaged, doubled, or out of order, and delays are far below the
    /// election timeout.
    pub(crate) fn calm(&mut self, knobs: &Knobs) {
        (self.loss, self.double, self.shuffle, self.outlive) = (0, 0, 0, 0);
        let arrivals = self.lanes.iter().map(|lane| lane.last_at);
        self.calm_from = arrivals.max().expect("there are nodes");
        for lane in &mut self.lanes {
            lane.narrow = (0, 1, 0);
            lane.noise = None;
            lane.holds.clear();
        }
        self.delay_ns = self.delay_ns.min(knobs.heartbeat_ns / 10);
        self.delay_spread_ns = self.delay_spread_ns.min(knobs.heartbeat_ns / 5);
    }

    /// Whether the calm has come, and no frame of the time before holds up those that follow it.
    pub(crate) fn is_calm(&self, now: u64) -> bool {
        now > self.calm_from
    }

    fn pair(&mut self, a: usize, b: usize) -> &mut Pair {
        &mut self.pairs[a.min(b) * self.nodes + a.max(b)]
    }

    fn lane(&mut self, from: usize, to: usize) -> &mut Lane {
        &mut self.lanes[from * self.nodes + to]
    }

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let (least, spread) = (self.delay_ns, self.delay_spread_ns);
        least + self.lane(from, to).dice.below(spread + 1)
    }

    fn chance(&mut self, (from, to): (usize, usize), of_1000: u64) -> bool {
        self.lane(from, to).dice.chance(of_1000, 1000)
    }

    /// The number for the next sending.
    pub(crate) fn next_sending(&mut self) -> u64 {
        self.sendings += 1;
        self.sendings
    }

    /// Sends a frame over the connection that the sender knows as `epoch`, as this sending.
    pub(crate) fn send(
        &mut self,
        schedule: &mut Schedule,
        (from, to): (usize, usize),
        (epoch, sending): (u64, u64),
        frame: Bytes,
    ) {
        let pair = *self.pair(from, to);
        if !pair.open || pair.epoch != epoch {
            return;
        }
        let wire = [&head_of(&frame), &frame[..]].concat().into();
        let mut sent = Sent {
            epoch,
            sending,
            wire,
        };
        let holds = self.holds;
        let lane = self.lane(from, to);
        if lane.blocked > 0 {
            if holds || lane.sure {
                lane.held.push(sent);
            }
            return;
        }
        if let Some((until, loses)) = self.held(schedule.now(), (from, to), &sent.wire) {
            if !loses {
                schedule.at(until, sent.arrival(from, to));
            }
            return;
        }
        let sure = self.lane(from, to).sure;
        if !sure && self.chance((from, to), self.loss) {
            return;
        }
        let loose = !sure && is_loose(&sent.wire);
        if !sure {
            self.harm(schedule.now(), (from, to), &mut sent.wire);
        }
        if loose && self.chance((from, to), self.double) {
            let times = self.lane(from, to).dice.below(4);
            let after = self.delay(from, to) + self.delay(from, to) * times;
            schedule.after(after, sent.clone().arrival(from, to));
        }
        let overtaken = loose && self.chance((from, to), self.shuffle);
        self.deliver(schedule, (from, to), sent, overtaken);
    }

    /// Damages a frame, if its direction is noisy and it is one of those that are struck.
    fn harm(&mut self, now: u64, (from, to): (usize, usize), wire: &mut Bytes) {
        let noise = self.lane(from, to).noise.as_mut();
        let Some(noise) = noise.filter(|noise| now < noise.until) else {
            return;
        };
        if noise.dice.chance(noise.share, 1000) {
            let mut bytes = wire.to_vec();
            noise.harm.strike(&mut bytes, &mut noise.dice);
            *wire = bytes.into();
            self.damaged += 1;
        }
    }

    /// Until when a frame is held back, if it is, and whether for good.
    fn held(&mut self, now: u64, (from, to): (usize, usize), wire: &Bytes) -> Option<(u64, bool)> {
        let frame = wire.slice(HEAD_BYTES..);
        let mut holds = self.lane(from, to).holds.iter();
        let holds = holds.find(|(kind, until, _)| *until > now && kind.is_of(&frame));
        holds
            .filter(|_| is_loose(wire))
            .map(|&(_, until, loses)| (until, loses))
    }

    /// Messages of a kind are held back in these directions until then; `loses`: for good.
    pub(crate) fn hold(&mut self, lanes: &[(usize, usize)], kind: Kind, until: u64, loses: bool) {
        for &(from, to) in lanes {
            self.lane(from, to).holds.push((kind, until, loses));
        }
    }

    fn deliver(
        &mut self,
        schedule: &mut Schedule,
        (from, to): (usize, usize),
        sent: Sent,
        overtaken: bool,
    ) {
        let mut at = schedule.now() + self.delay(from, to);
        let (until, pace, free_at) = &mut self.lane(from, to).narrow;
        if *until > schedule.now() {
            let passed = (*free_at).max(schedule.now()) + sent.wire.len() as u64 * MS / *pace;
            *free_at = passed.min(*until);
            at = at.max(*free_at);
        }
        if overtaken {
            let times = self.lane(from, to).dice.between(1, 8);
            at += self.delay(from, to) * times;
        } else {
            let lane = self.lane(from, to);
            at = at.max(lane.last_at + 1);
            lane.last_at = at;
        }
        schedule.at(at, sent.arrival(from, to));
    }

    /// Whether a frame of another connection than the present one is taken in nevertheless.
    pub(crate) fn outlives(&mut self, lane: (usize, usize), wire: &Bytes) -> bool {
        is_loose(wire) && self.chance(lane, self.outlive)
    }

    /// Tries to connect two nodes; if they are down or cannot hear each other, again later.
    pub(crate) fn connect(&mut self, schedule: &mut Schedule, (a, b): (usize, usize), alive: bool) {
        let blocked = self.lane(a, b).blocked + self.lane(b, a).blocked > 0;
        let now = schedule.now();
        let (at_a, at_b) = (now + self.delay(b, a), now + self.delay(a, b));
        let pair = self.pair(a, b);
        if pair.open {
            pair.trying = false;
            return;
        }
        if !alive || blocked {
            let after = MS * 5 + self.lane(a, b).dice.below(40 * MS);
            return schedule.after(after, Event::Connect { a, b });
        }
        pair.trying = false;
        pair.epoch += 1;
        pair.open = true;
        let epoch = pair.epoch;
        for (from, to, at) in [(a, b, at_b), (b, a, at_a)] {
            let lane = self.lane(from, to);
            lane.last_at = at;
            lane.held.clear();
            let (node, peer) = (to, from);
            schedule.at(
                at,
                Event::Link {
                    node,
                    peer,
                    epoch,
                    up: true,
                },
            );
        }
    }

    /// Breaks a connection; `tells` says which of the two ends learn of it.
    pub(crate) fn close(
        &mut self,
        schedule: &mut Schedule,
        (a, b): (usize, usize),
        tells: [bool; 2],
    ) {
        let pair = self.pair(a, b);
        let (was_open, epoch, trying) = (pair.open, pair.epoch, pair.trying);
        pair.open = false;
        pair.trying = true;
        if was_open {
            for (node, peer, tell) in [(a, b, tells[0]), (b, a, tells[1])] {
                if tell {
                    let after = self.delay(peer, node);
                    schedule.after(
                        after,
                        Event::Link {
                            node,
                            peer,
                            epoch,
                            up: false,
                        },
                    );
                }
            }
        }
        if !trying {
            let after = self.delay(a, b) + self.lane(a, b).dice.below(20 * MS);
            schedule.after(after, Event::Connect { a, b });
        }
    }

    /// Whether a frame is of a connection of two disks of which one is gone.
    pub(crate) fn is_buried(&mut self, (from, to): (usize, usize), epoch: u64) -> bool {
        epoch < self.pair(from, to).oldest
    }

    /// A node's disk is gone: what was sent to or by the life it held reaches nobody. A connection
    /// is between two disks, and its handshake says which.
    pub(crate) fn forget(&mut self, node: usize) {
        for other in (0..self.nodes).filter(|&other| other != node) {
            let pair = self.pair(node, other);
            pair.oldest = pair.epoch + 1;
        }
    }

    /// Whether this is the connection that two nodes have now.
    pub(crate) fn is_current(&mut self, (a, b): (usize, usize), epoch: u64) -> bool {
        let pair = self.pair(a, b);
        pair.open && pair.epoch == epoch
    }

    /// Whether a node can make itself heard by another.
    pub(crate) fn is_blocked(&mut self, from: usize, to: usize) -> bool {
        self.lane(from, to).blocked > 0
    }

    /// Whether nothing that two nodes send each other is lost, doubled or out of order.
    pub(crate) fn set_sure(&mut self, (a, b): (usize, usize), sure: bool) {
        self.lane(a, b).sure = sure;
        self.lane(b, a).sure = sure;
    }

    /// One direction has little bandwidth until then: so many bytes in a millisecond.
    pub(crate) fn narrow(&mut self, (from, to): (usize, usize), until: u64, pace: u64) {
        self.lane(from, to).narrow = (until, pace.max(1), 0);
    }

    /// Frames in one direction are damaged for a while.
    pub(crate) fn disturb(&mut self, (from, to): (usize, usize), noise: Noise) {
        self.lane(from, to).noise = Some(noise);
    }

    /// Blocks these directions.
    pub(crate) fn block(&mut self, directions: &[(usize, usize)]) {
        for &(from, to) in directions {
            self.lane(from, to).blocked += 1;
        }
    }

    /// Unblocks these directions; what was held back arrives.
    pub(crate) fn unblock(&mut self, schedule: &mut Schedule, directions: &[(usize, usize)]) {
        for &(from, to) in directions {
            let lane = self.lane(from, to);
            // The calm has ended all partitions, also those whose own end is yet to come.
            let is_last = lane.blocked == 1;
            lane.blocked = lane.blocked.saturating_sub(1);
            if !is_last {
                continue;
            }
            for sent in std::mem::take(&mut lane.held) {
                self.deliver(schedule, (from, to), sent, false);
            }
        }
    }

    /// Ends all partitions.
    pub(crate) fn unblock_all(&mut self, schedule: &mut Schedule, directions: &[(usize, usize)]) {
        for &(from, to) in directions {
            let lane = self.lane(from, to);
            lane.blocked = lane.blocked.min(1);
        }
        self.unblock(schedule, directions);
    }
}
