//! One simulated machine: its disk, what that disk must hold, and the process on it while it runs.
//! Never decides when anything happens.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater_raft::{Index, LogId, NodeId, WriteId};
use headwater_replica::LogOrder;
use headwater_replica::interface::Input;
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileOrder, SnapshotStore};
use headwater_replica::wal::Wal;

use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::image::LogImage;
use crate::json::Object;
use crate::telling;
use crate::witness::Witness;

/// A machine.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    /// How often it has been started.
    pub(crate) life: u64,
    pub(crate) live: Option<Live>,
    /// What the log must hold, by what has been said to be durable.
    pub(crate) durable: LogImage,
    /// Orders that the log worker has and has not acknowledged.
    pub(crate) issued: VecDeque<LogOrder>,
    /// The newest snapshot said to be durable.
    pub(crate) snapshot: LogId,
    pub(crate) clock: Clock,
    /// How long its turns take.
    pub(crate) turn_dice: Dice,
    /// How long its disk takes.
    pub(crate) disk_dice: Dice,
    pub(crate) paused_until: u64,
    pub(crate) slow: Slow,
    /// What kind of crash comes when the disk gives out.
    pub(crate) armed: Option<Crash>,
    /// How long the node stays down when a sync fails, if one is to.
    pub(crate) sync_armed: Option<u64>,
}

/// A running process.
pub(crate) struct Live {
    pub(crate) replica: Replica<Witness>,
    pub(crate) wal: Wal,
    pub(crate) store: SnapshotStore,
    pub(crate) inbox: Vec<Input<Witness>>,
    /// The sendings that the frames in the inbox come from.
    pub(crate) sendings: VecDeque<u64>,
    pub(crate) turn_due: bool,
    pub(crate) timer_at: u64,
    pub(crate) log_queue: Vec<LogOrder>,
    pub(crate) log_batch: Option<Vec<LogOrder>>,
    pub(crate) file_queue: VecDeque<FileOrder>,
    pub(crate) file_busy: bool,
    pub(crate) spare_due: bool,
    pub(crate) idle_due: bool,
    /// The connections it knows of: peer and epoch.
    pub(crate) links: BTreeMap<usize, u64>,
    /// The newest connection to each that it has heard of, whether or not it stands.
    pub(crate) met: BTreeMap<usize, u64>,
    /// What its orders to the log add up to.
    pub(crate) log_image: LogImage,
    /// The same up to the output being carried out: what a message of a turn speaks of may be
    /// overtaken by the end of that turn.
    pub(crate) told_image: LogImage,
    pub(crate) commit_seen: Index,
    /// Requests without an outcome.
    pub(crate) pending: BTreeSet<u64>,
    /// The highest revision shown to a client.
    pub(crate) revision_seen: i64,
    /// After how many outputs of the next turn it dies.
    pub(crate) crash_in_turn: Option<(u64, Crash)>,
}

/// How a process dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) power: bool,
    pub(crate) down_ns: u64,
    /// The seed of all that chance decides about it.
    pub(crate) chance: u64,
}

impl Crash {
    pub(crate) fn new(power: bool, down_ns: u64, dice: &mut Dice) -> Self {
        Self {
            power,
            down_ns,
            chance: dice.next(),
        }
    }
}

/// A disk that takes longer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slow {
    pub(crate) factor: u64,
    pub(crate) until: u64,
}

/// A clock of its own pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) rate: u64,
    pub(crate) offset: u64,
}

impl Clock {
    fn draw(dice: &mut Dice, drift: u64) -> Self {
        Self {
            rate: 1000 - drift + dice.below(2 * drift + 1),
            offset: dice.below(1 << 40),
        }
    }

    /// What the clock shows at a time of the world.
    pub(crate) fn at(&self, now: u64) -> headwater_raft::Instant {
        headwater_raft::Instant(now * self.rate / 1000 + self.offset)
    }

    /// When the clock will show an instant.
    pub(crate) fn when(&self, instant: headwater_raft::Instant) -> u64 {
        let since = instant.0.saturating_sub(self.offset);
        u64::try_from(u128::from(since) * 1000 / u128::from(self.rate)).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Live {
    /// The state of the node, as a trace file has it.
    pub(crate) fn state(&self) -> Object {
        let raft = self.replica.raft();
        let object = Object::new().text("role", raft.role().as_str());
        let object = telling::hard(object, raft.hard_state());
        let object = telling::id(object, "last", "last_term", raft.last());
        telling::id(object, "base", "base_term", raft.base())
            .number("durable", raft.durable().0)
            .number("commit", raft.commit().0)
            .number("applied", self.replica.status().applied.0)
            .object("config", telling::config(raft.config()))
    }

    pub(crate) fn new(
        replica: Replica<Witness>,
        (wal, store): (Wal, SnapshotStore),
        log_image: LogImage,
    ) -> Self {
        Self {
            replica,
            wal,
            store,
            inbox: Vec::new(),
            sendings: VecDeque::new(),
            turn_due: false,
            timer_at: u64::MAX,
            log_queue: Vec::new(),
            log_batch: None,
            file_queue: VecDeque::new(),
            file_busy: false,
            spare_due: false,
            idle_due: false,
            links: BTreeMap::new(),
            met: BTreeMap::new(),
            told_image: log_image.clone(),
            log_image,
            commit_seen: Index(0),
            pending: BTreeSet::new(),
            revision_seen: 0,
            crash_in_turn: None,
        }
    }
}

impl Node {
    pub(crate) fn new(seed: u64, at: usize, drift: u64) -> Self {
        let dice = |concern| Dice::of(seed, concern, &[at as u64]);
        Self {
            id: NodeId(at as u64 + 1),
            disk: SimDisk::new(),
            life: 0,
            live: None,
            durable: LogImage::default(),
            issued: VecDeque::new(),
            snapshot: LogId::default(),
            clock: Clock::draw(&mut dice("clock"), drift),
            turn_dice: dice("turns"),
            disk_dice: dice("disk"),
            paused_until: 0,
            slow: Slow::default(),
            armed: None,
            sync_armed: None,
        }
    }

    /// The process, if it is that of this life.
    pub(crate) fn living(&mut self, life: u64) -> Option<&mut Live> {
        self.live.as_mut().filter(|_| self.life == life)
    }

    /// Whether a committed entry is durable here, in the log or in a snapshot.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        id.index <= self.snapshot.index || self.durable.term_at(id.index) == Some(id.term)
    }

    /// The log worker says that these orders are carried out.
    pub(crate) fn on_durable(&mut self, orders: &[LogOrder]) {
        for order in orders {
            self.durable.obey(order);
            self.issued.pop_front();
        }
    }

    /// Whether recovery found what was acknowledged, and nothing that was never ordered: the log
    /// must be that after all acknowledged orders and some of the others, in order.
    pub(crate) fn check_recovered(&mut self, found: &Recovered<Witness>) -> Result<(), Violation> {
        ensure(found.base >= self.snapshot, "recovery", || {
            format!(
                "the snapshot {} was durable, and {} is found",
                self.snapshot, found.base
            )
        })?;
        let last_write = WriteId(found.next_write.0.saturating_sub(1));
        ensure(last_write >= self.durable.last_write, "recovery", || {
            format!(
                "write {} was durable, and {last_write} is the last found",
                self.durable.last_write
            )
        })?;
        let mut image = self.durable.clone();
        let mut why = Vec::new();
        let mut rest = self.issued.iter();
        loop {
            let void = image.term_at(found.base.index) != Some(found.base.term);
            let expected = if void {
                image.voided(found.base, last_write)
            } else {
                image.clone()
            };
            match expected.differs(found) {
                None => {
                    self.durable = expected;
                    break;
                }
                Some(difference) => why.push(difference),
            }
            match rest.next() {
                Some(order) => image.obey(order),
                None => return Err(Violation::new("recovery", why.join("; or "))),
            }
        }
        self.durable.last_write = last_write;
        self.snapshot = found.base;
        self.issued.clear();
        Ok(())
    }
}
