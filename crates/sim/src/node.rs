//! One simulated machine: its disk, what that disk must hold, and the process on it while it runs.
//! Never decides when anything happens.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use headwater_raft::{Config, Incarnation, Index, LogId, NodeId, Unreadable, WriteId};
use headwater_replica::LogOrder;
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::snapshot_file::{FileOrder, SnapshotStore};
use headwater_replica::telling::{self, Object, calls};
use headwater_replica::wal::Wal;

use crate::ailing::BadRead;
use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::image::LogImage;
use crate::scrubber::Round;
use crate::trace::Trace;
use crate::waits::Waits;
use crate::witness::Watched;

/// A machine.
pub(crate) struct Node<A: Application> {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    /// The name of that disk, once it is formatted and until it is lost.
    pub(crate) incarnation: Option<Incarnation>,
    /// The configuration that an empty disk begins with.
    pub(crate) first_config: Config,
    /// What the disks held that this node has lost.
    pub(crate) lost: Vec<LostDisk>,
    /// When its present life began.
    pub(crate) born_at: u64,
    /// How often it has been started.
    pub(crate) life: u64,
    pub(crate) live: Option<Live<A>>,
    /// What the log must hold, by what has been said to be durable.
    pub(crate) durable: LogImage,
    /// Orders that the log worker has and has not acknowledged.
    pub(crate) issued: VecDeque<LogOrder>,
    /// The newest snapshot said to be durable.
    pub(crate) snapshot: LogId,
    pub(crate) clock: Clock,
    /// How long its turns take.
    pub(crate) turn_dice: Dice,
    /// How long they take to end once their outputs have left.
    pub(crate) rest_dice: Dice,
    /// How long its disk takes.
    pub(crate) disk_dice: Dice,
    pub(crate) paused_until: u64,
    pub(crate) slow: Slow,
    /// Until when its disk answers nothing.
    pub(crate) hung_until: u64,
    /// The last write that was durable before the last batch: damage to that batch may pass for a
    /// crash.
    pub(crate) before_last: WriteId,
    /// Whether its disk was ever damaged.
    pub(crate) is_rotten: bool,
    /// Whether recovery will refuse its disk, as it did when tried on a copy.
    pub(crate) is_refused: bool,
    /// Whether its disk may have lied, and nobody has looked since.
    pub(crate) ails: bool,
    /// Whether files at rest were damaged while it ran, and no reading of all has been clean since.
    pub(crate) decays: bool,
    /// Whether its disk was set back, and it hears a witness alone.
    pub(crate) fenced: bool,
    /// What goes wrong with a read of its next start, and whether that makes recovery refuse.
    pub(crate) bad_start: Option<BadRead>,
    pub(crate) misreads: bool,
    /// What kind of crash comes when the disk gives out.
    pub(crate) armed: Option<Crash>,
    /// How long the node stays down when a sync fails, if one is to.
    pub(crate) sync_armed: Option<u64>,
}

/// A disk that is gone, and what it held.
pub(crate) struct LostDisk {
    incarnation: Incarnation,
    log: LogImage,
    snapshot: LogId,
}

/// A running process.
pub(crate) struct Live<A: Application> {
    pub(crate) replica: Replica<Watched<A>>,
    pub(crate) wal: Wal,
    pub(crate) store: SnapshotStore,
    /// What has arrived, and what is to leave.
    pub(crate) waits: Waits<A>,
    /// The sendings that the frames in the inbox come from.
    pub(crate) sendings: VecDeque<u64>,
    pub(crate) turn_due: bool,
    pub(crate) timer_at: u64,
    pub(crate) log_queue: Vec<LogOrder>,
    pub(crate) log_batch: Option<Vec<LogOrder>>,
    pub(crate) file_queue: VecDeque<FileOrder>,
    pub(crate) file_busy: bool,
    pub(crate) spare_due: bool,
    /// Whether it was told that its log is short of room.
    pub(crate) is_short: bool,
    pub(crate) idle_due: bool,
    /// The files at rest that are still to be read again.
    pub(crate) round: Round,
    /// The connections it knows of: peer and epoch.
    pub(crate) links: BTreeMap<usize, u64>,
    /// The bytes that came over them, up to the last whole frame gone.
    pub(crate) unread: BTreeMap<usize, BytesMut>,
    /// The newest connection to each that it has heard of, whether or not it stands.
    pub(crate) met: BTreeMap<usize, u64>,
    /// What its orders to the log add up to.
    pub(crate) log_image: LogImage,
    /// The same up to the output being carried out: what a message of a turn speaks of may be
    /// overtaken by the end of that turn.
    pub(crate) told_image: LogImage,
    pub(crate) commit_seen: Index,
    /// The configuration in force at the end of its last turn.
    pub(crate) config_seen: Config,
    /// Requests without an outcome.
    pub(crate) pending: BTreeSet<u64>,
    /// Changes of members and transfers without an outcome.
    pub(crate) errands: BTreeSet<u64>,
    /// The last command whose effect was shown to a client.
    pub(crate) command_seen: Index,
    /// Snapshots dropped because a disk had spoilt them, and not yet told of.
    pub(crate) spoilt: u64,
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
    /// Thousandths of the true pace.
    pub(crate) pace: u64,
    /// The pace it has when nothing is wrong with it.
    pub(crate) usual: u64,
    offset: i128,
    /// Since when it has kept this pace.
    since: u64,
}

impl Clock {
    fn draw(dice: &mut Dice, drift: u64) -> Self {
        let pace = 1000 - drift + dice.below(2 * drift + 1);
        Self {
            pace,
            usual: pace,
            offset: i128::from(dice.below(1 << 40)),
            since: 0,
        }
    }

    /// What the clock shows at a time of the world.
    pub(crate) fn at(&self, now: u64) -> headwater_raft::Instant {
        let shown = i128::from(now) * i128::from(self.pace) / 1000 + self.offset;
        headwater_raft::Instant(u64::try_from(shown).expect("clocks show no less than nothing"))
    }

    /// When the clock will show an instant, at its present pace.
    pub(crate) fn when(&self, instant: headwater_raft::Instant) -> u64 {
        let since = (i128::from(instant.0) - self.offset).max(0);
        let at = since * 1000 / i128::from(self.pace);
        u64::try_from(at).unwrap_or(u64::MAX - 1).min(u64::MAX - 1) + 1
    }

    /// When it showed so much less than now, if it has kept its pace since then.
    pub(crate) fn before(&self, now: u64, ns: u64) -> Option<u64> {
        let then = now.checked_sub(ns * 1000 / self.pace + 1)?;
        (then >= self.since).then_some(then)
    }

    /// From now on it runs at this pace; it goes on from where it is.
    pub(crate) fn run_at(&mut self, now: u64, pace: u64) {
        let shown = i128::from(self.at(now).0);
        self.pace = pace;
        self.offset = shown - i128::from(now) * i128::from(pace) / 1000;
        self.since = now;
    }

    /// It leaps ahead.
    pub(crate) fn leap(&mut self, now: u64, by_ns: u64) {
        self.since = now;
        self.offset += i128::from(by_ns);
    }

    /// Another life of its machine: it shows anything.
    pub(crate) fn begin_anew(&mut self, now: u64, dice: &mut Dice) {
        let shown = dice.below(1 << 40);
        self.offset = i128::from(shown) - i128::from(now) * i128::from(self.pace) / 1000;
    }
}

impl<A: Application> Live<A> {
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

    /// Tells a trace file what the core was asked since the last time.
    pub(crate) fn tell_calls(
        &mut self,
        trace: &mut Trace,
        (now, node): (u64, usize),
        sending: Option<u64>,
    ) {
        for taken in self.replica.take_calls() {
            if calls::is_worth_a_line(&taken) {
                trace.tell(now, Some(node), "core", |object| {
                    calls::taken(object, &taken, sending)
                });
            }
        }
    }

    pub(crate) fn new(
        replica: Replica<Watched<A>>,
        (wal, store): (Wal, SnapshotStore),
        log_image: LogImage,
        waits: Waits<A>,
    ) -> Self {
        Self {
            config_seen: replica.raft().config().clone(),
            replica,
            wal,
            store,
            waits,
            sendings: VecDeque::new(),
            turn_due: false,
            timer_at: u64::MAX,
            log_queue: Vec::new(),
            log_batch: None,
            file_queue: VecDeque::new(),
            file_busy: false,
            spare_due: false,
            is_short: false,
            idle_due: false,
            round: Round::default(),
            links: BTreeMap::new(),
            unread: BTreeMap::new(),
            met: BTreeMap::new(),
            told_image: log_image.clone(),
            log_image,
            commit_seen: Index(0),
            pending: BTreeSet::new(),
            errands: BTreeSet::new(),
            command_seen: Index(0),
            spoilt: 0,
            crash_in_turn: None,
        }
    }
}

impl<A: Application> Node<A> {
    pub(crate) fn new(seed: u64, at: usize, drift: u64, first_config: Config) -> Self {
        let dice = |concern| Dice::of(seed, concern, &[at as u64]);
        Self {
            id: NodeId(at as u64 + 1),
            disk: SimDisk::new(),
            incarnation: None,
            first_config,
            lost: Vec::new(),
            born_at: 0,
            life: 0,
            live: None,
            durable: LogImage::default(),
            issued: VecDeque::new(),
            snapshot: LogId::default(),
            clock: Clock::draw(&mut dice("clock"), drift),
            turn_dice: dice("turns"),
            rest_dice: dice("rests"),
            disk_dice: dice("disk"),
            paused_until: 0,
            slow: Slow::default(),
            hung_until: 0,
            before_last: WriteId(0),
            is_rotten: false,
            is_refused: false,
            ails: false,
            decays: false,
            fenced: false,
            bad_start: None,
            misreads: false,
            armed: None,
            sync_armed: None,
        }
    }

    /// A snapshot it was sent is dropped, because a disk has spoilt it.
    pub(crate) fn count_spoilt(&mut self) {
        if let Some(live) = &mut self.live {
            live.spoilt += 1;
        }
    }

    /// The process, if it is that of this life.
    pub(crate) fn living(&mut self, life: u64) -> Option<&mut Live<A>> {
        self.live.as_mut().filter(|_| self.life == life)
    }

    /// Whether the member of `config` that this node is, or was before it lost its disk, has a
    /// committed entry durably, in the log or in a snapshot. What a lost disk held still counts: its
    /// member votes for nobody any more, so whoever is elected is elected by others.
    pub(crate) fn holds(&self, config: &Config, id: LogId) -> bool {
        let member = config.disk_of(self.id);
        let mut lost = self.lost.iter();
        let lost = lost.find(|lost| Some(lost.incarnation) == member);
        let (log, snapshot) = match lost {
            Some(lost) => (&lost.log, lost.snapshot),
            None if self.is_impostor(config) => return false,
            None => (&self.durable, self.snapshot),
        };
        id.index <= snapshot.index || log.term_at(id.index) == Some(id.term)
    }

    /// Whether this node has another disk than the member of that name in `config`.
    pub(crate) fn is_impostor(&self, config: &Config) -> bool {
        let member = config.disk_of(self.id);
        member.is_some() && member != self.incarnation
    }

    /// Whether nobody should rest on what its disk holds.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.ails || self.decays || self.fenced
    }

    /// Whether there are entries that its disk holds by name alone, and no snapshot stands for.
    pub(crate) fn has_gaps(&self) -> bool {
        let unreadable = &self.durable.unreadable;
        unreadable
            .last()
            .is_some_and(|&last| last > self.snapshot.index)
    }

    /// What the disk holds is about to be less than it was.
    pub(crate) fn keep_as_lost(&mut self) {
        self.lost
            .extend(self.incarnation.map(|incarnation| LostDisk {
                incarnation,
                log: self.durable.clone(),
                snapshot: self.snapshot,
            }));
    }

    /// What the node's disk holds is lost: no life will begin with it.
    pub(crate) fn lose_content(&mut self) {
        self.keep_as_lost();
        self.incarnation = None;
        self.durable = LogImage::default();
        self.snapshot = LogId::default();
        self.issued.clear();
        (self.is_rotten, self.ails, self.is_refused) = (false, false, true);
        self.decays = false;
    }

    /// The node gets a blank disk.
    pub(crate) fn lose_disk(&mut self, first_config: Config) {
        self.lose_content();
        self.is_refused = false;
        self.disk = SimDisk::new();
        self.first_config = first_config;
    }

    /// The log worker says that these orders are carried out.
    pub(crate) fn on_durable(&mut self, count: usize) {
        let before = self.durable.last_write;
        for order in self.issued.drain(..count) {
            self.durable.obey(&order);
        }
        // What writes nothing syncs nothing.
        if self.durable.last_write > before {
            self.before_last = before;
        }
    }

    /// Whether recovery found what was acknowledged, and nothing that was never ordered: the log
    /// must be that after all acknowledged orders and some of the others, in order. What it is then.
    /// `is_rotten`: a snapshot may be lost, if an older one and the log make up for it, and of entries
    /// all but their names.
    pub(crate) fn recovers(
        &self,
        found: &Recovered<Watched<A>>,
        is_rotten: bool,
    ) -> Result<LogImage, Violation> {
        let stands_in = || found.entries.iter().any(|entry| entry.id == self.snapshot);
        let has_it = found.base >= self.snapshot || is_rotten && stands_in();
        ensure(has_it, "recovery", || {
            format!(
                "the snapshot {} was durable, and {} is found",
                self.snapshot, found.base
            )
        })?;
        ensure(
            found.found_write >= self.durable.last_write,
            "recovery",
            || {
                format!(
                    "write {} was durable, and {} is the last found",
                    self.durable.last_write, found.found_write
                )
            },
        )?;
        let last_write = WriteId(found.next_write.0.saturating_sub(1));
        let mut image = self.durable.clone();
        let mut why = Vec::new();
        let mut rest = self.issued.iter();
        loop {
            let void = found.base.index >= image.base().index
                && image.term_at(found.base.index) != Some(found.base.term);
            let mut expected = if void {
                image.voided(found.base, last_write)
            } else {
                image.clone()
            };
            let mut difference = expected.differs(found, is_rotten);
            if difference.is_some()
                && is_rotten
                && let Some(image) = expected.without_reset()
                && image.differs(found, is_rotten).is_none()
            {
                (expected, difference) = (image, None);
            }
            let Some(difference) = difference else {
                expected.last_write = last_write;
                expected.unreadable = indices(&found.unreadable).collect();
                return Ok(expected);
            };
            why.push(difference);
            match rest.next() {
                Some(order) => image.obey(order),
                None => return Err(Violation::new("recovery", why.join("; or "))),
            }
        }
    }

    /// Checks what recovery found, and goes on from there.
    pub(crate) fn check_recovered(
        &mut self,
        found: &Recovered<Watched<A>>,
        is_rotten: bool,
    ) -> Result<(), Violation> {
        self.durable = self.recovers(found, is_rotten)?;
        self.snapshot = found.base;
        self.issued.clear();
        Ok(())
    }
}

/// Every index in these ranges.
pub(crate) fn indices(ranges: &[Unreadable]) -> impl Iterator<Item = Index> {
    let all = ranges.iter().map(|range| range.first.0..=range.last.0);
    all.flatten().map(Index)
}
