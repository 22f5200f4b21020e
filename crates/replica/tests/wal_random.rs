//! The log against a model of it, under crashes at any call, power cuts and failed syncs.
//!
//! Each seed is a short life of a directory: random orders, a crash at a random call, openings
//! that may crash too, and after each opening a comparison: everything acknowledged is there
//! exactly; anything beyond it is what the orders given next would have made, no more and in
//! order; what was void stays void; the hard state is never older than acknowledged.
//!
//! `SEEDS=100000 cargo test -p headwater-replica --test wal_random` runs more;
//! `SEED=17` runs one and tells what it does.
#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{HardState, Index, LogId, NodeId, WriteId};
use headwater_replica::port::Disk;
use headwater_replica::recovery::{Expect, OpenError, Recovered, open};
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::wal::Wal;
use headwater_replica::{DiskError, Entry, EntryKind, LogOrder, LogWrite, SnapshotMeta};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use wal_common::{CLUSTER, Ledger, NODE, first_config, meta, options, take_snapshot, wanted};

const SEEDS: u64 = 1000;
const STEPS: u64 = 40;

/// What the log should hold after some order.
#[derive(Clone, Debug, Default)]
struct State {
    next_write: u64,
    base: LogId,
    entries: Vec<Entry>,
    hard: HardState,
    commit: u64,
}

impl State {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    fn id_at(&self, index: u64) -> Option<LogId> {
        if index == self.base.index.0 {
            return Some(self.base);
        }
        let at = index.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(at as usize).map(|entry| entry.id)
    }

    fn apply(&mut self, order: &LogOrder) {
        match order {
            LogOrder::Write(write) => {
                if let Some(from) = write.truncate_from {
                    self.entries.retain(|entry| entry.id.index < from);
                }
                self.entries.extend(write.entries.iter().cloned());
                self.hard = write.hard;
                self.commit = self.commit.max(write.commit.0);
                self.next_write = write.id.0 + 1;
            }
            LogOrder::Repair {
                id, hard, commit, ..
            } => {
                self.hard = *hard;
                self.commit = self.commit.max(commit.0);
                self.next_write = id.0 + 1;
            }
            LogOrder::Reset { id, base, hard } => self.reset(id.0, *base, *hard),
            LogOrder::Release { .. } | LogOrder::GiveRoom => {}
        }
    }

    fn reset(&mut self, id: u64, base: LogId, hard: HardState) {
        self.entries.clear();
        self.base = base;
        self.hard = hard;
        self.commit = self.commit.max(base.index.0);
        self.next_write = id + 1;
    }

    /// What an opening should answer if it finds this log beside a snapshot of `base`.
    fn beside(&self, base: LogId) -> Self {
        let mut state = self.clone();
        if state.id_at(base.index.0) != Some(base) && base.index > state.base.index {
            let id = state.next_write;
            state.reset(id, base, state.hard);
        }
        state.commit = state.commit.max(base.index.0);
        state
    }

    fn is_met_by(&self, found: &Recovered<Ledger>) -> bool {
        let after = |entry: &&Entry| entry.id.index > found.log_base.index;
        self.next_write == found.next_write.0
            && self.hard == found.hard
            && self.commit == found.commit.0
            && self.id_at(found.log_base.index.0) == Some(found.log_base)
            && self.entries.iter().filter(after).eq(&found.entries)
    }
}

struct Life {
    seed: u64,
    told: bool,
    dice: Dice,
    disk: SimDisk,
    segment_bytes: u64,
    /// Acknowledged first, then after each order given since.
    states: Vec<State>,
    /// The newest durable snapshot, then those being made.
    snapshots: Vec<LogId>,
    crashes: u64,
    /// Segments begun in the files of released ones.
    recycled: u64,
    /// What is behind this index may be read back.
    released: u64,
    /// Entries read back while the log was written to.
    read_back: u64,
}

impl Life {
    fn new(seed: u64, told: bool) -> Self {
        let mut dice = Dice(seed);
        Self {
            seed,
            told,
            disk: SimDisk::new(),
            segment_bytes: 4096 + (1 << (8 + dice.below(6))),
            dice,
            states: vec![State {
                next_write: 1,
                ..State::default()
            }],
            snapshots: vec![LogId::default()],
            crashes: 0,
            recycled: 0,
            released: 0,
            read_back: 0,
        }
    }

    fn tell(&self, what: impl Fn() -> String) {
        if self.told {
            println!("{}", what());
        }
    }

    fn given(&self) -> &State {
        self.states.last().unwrap()
    }

    /// Opens until it succeeds, crashing on the way if the dice say so; checks what is there.
    fn open(&mut self) -> (Wal, SnapshotStore) {
        loop {
            let again = self.dice.chance(1, 3);
            if again {
                let at = 1 + self.dice.below(30);
                self.disk.crash_after(at);
                self.tell(|| format!("open, to crash at call {at}"));
            } else if self.dice.chance(1, 10) {
                let (at, dice) = (1 + self.dice.below(4), Dice(self.dice.next()));
                self.disk.fail_sync(at, dice);
                self.tell(|| format!("open, sync {at} to fail"));
            }
            let expect = Expect {
                cluster: CLUSTER,
                node: NODE,
                fresh_incarnation: u128::from(self.dice.next()),
                first_config: first_config(),
            };
            match open::<Ledger>(&mut self.disk, &options(self.segment_bytes), expect) {
                Ok((found, wal, mut store)) => {
                    self.disk.restart();
                    assert!(found.mended.is_empty(), "{:?}", found.mended);
                    self.check(&found);
                    self.released = found.log_base.index.0;
                    self.read_back(&mut store);
                    return (wal, store);
                }
                Err(OpenError::Disk(error)) => self.crash(&error),
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
    }

    /// All of the log that is not released can be read back, in pieces, and is what was written.
    fn read_back(&mut self, store: &mut SnapshotStore) {
        let (now, mut disk) = (self.given().clone(), self.disk.clone());
        disk.restart();
        let behind = |entry: &&Entry| entry.id.index.0 > self.released;
        let held: Vec<&Entry> = now.entries.iter().filter(behind).collect();
        let mut from = self.dice.below(held.len() as u64 + 1) as usize;
        while from < held.len() {
            let upto = (from + self.dice.below(6) as usize).min(held.len() - 1);
            let asked = &held[from..=upto];
            let prev = now.id_at(asked[0].id.index.0 - 1).unwrap();
            let wanted = wanted(prev, asked.iter().map(|entry| entry.id));
            let to = NodeId(self.dice.below(2));
            let order = FileOrder::ReadLog { to, wanted };
            match store.run::<Ledger>(&mut disk, order) {
                Ok(Some(FileDone::LogRead {
                    entries,
                    damage: None,
                    ..
                })) => assert!(
                    entries.iter().eq(asked.iter().copied()),
                    "seed {}: {entries:?} instead of {asked:?}",
                    self.seed
                ),
                other => panic!("seed {}: {other:?} instead of {asked:?}", self.seed),
            }
            self.read_back += asked.len() as u64;
            from = upto + 1;
        }
    }

    fn crash(&mut self, error: &DiskError) {
        self.crashes += 1;
        let power = self.dice.chance(2, 3);
        self.tell(|| format!("{error}: {}", if power { "power cut" } else { "kill" }));
        if power {
            self.disk.power_cut(&mut self.dice);
        } else {
            self.disk.kill();
        }
        self.disk.restart();
    }

    fn check(&mut self, found: &Recovered<Ledger>) {
        self.tell(|| {
            format!(
                "opened: snapshot {}, log {} + {}, next write {}, torn {}",
                found.base,
                found.log_base,
                found.entries.len(),
                found.next_write,
                found.torn_bytes
            )
        });
        let seed = self.seed;
        assert!(
            self.snapshots.contains(&found.base),
            "seed {seed}: snapshot {} of {:?}",
            found.base,
            self.snapshots
        );
        if found.base.index > Index(0) {
            assert_eq!(found.machine, machine(found.base), "seed {seed}");
        }
        assert!(
            found.log_base.index <= found.base.index,
            "seed {seed}: a gap"
        );
        let met = self.states.iter().map(|state| state.beside(found.base));
        let met = met.into_iter().find(|state| state.is_met_by(found));
        let Some(state) = met else {
            panic!("seed {seed}: {found:?}\nis none of\n{:#?}", self.states);
        };
        self.states = vec![state];
        self.snapshots = vec![found.base];
    }

    fn entries(&mut self, after: LogId, term: u64) -> Vec<Entry> {
        let count = self.dice.below(4);
        let entries = (1..=count).map(|at| {
            let len = match self.dice.below(40) {
                0 => 5000,
                1..=5 => 0,
                _ => self.dice.below(300),
            };
            let body: Vec<u8> = (0..len).map(|_| self.dice.next() as u8).collect();
            let kind = match self.dice.below(8) {
                0 => EntryKind::Noop,
                1 => EntryKind::Config,
                _ => EntryKind::Command,
            };
            let id = wal_common::id(term, after.index.0 + at);
            Entry::new(id, kind, Bytes::from(body))
        });
        entries.collect()
    }

    fn order(&mut self) -> LogOrder {
        let now = self.given().clone();
        if self.dice.chance(1, 8) {
            let upto = Index(self.dice.below(self.snapshots[0].index.0 + 1));
            return LogOrder::Release { upto };
        }
        if self.dice.chance(1, 40) {
            return LogOrder::GiveRoom;
        }
        let floor = now.commit.max(now.base.index.0);
        let last = now.last().index.0;
        if self.dice.chance(1, 10) && !now.entries.is_empty() {
            return self.repair(now);
        }
        let mut term = now.hard.term.0.max(1);
        let mut truncate_from = None;
        // What a reset voided may have had these places: no two entries have one name.
        term += u64::from(now.entries.is_empty());
        if self.dice.chance(1, 5) && last > floor {
            truncate_from = Some(floor + 1 + self.dice.below(last - floor));
            term += 1;
        } else if self.dice.chance(1, 6) {
            term += 1 + self.dice.below(2);
        }
        let prev = truncate_from.map_or(now.last(), |from| now.id_at(from - 1).unwrap());
        let entries = self.entries(prev, term);
        let end = prev.index.0 + entries.len() as u64;
        let commit = floor.min(end) + self.dice.below(end.saturating_sub(floor) + 1);
        LogOrder::Write(LogWrite {
            id: WriteId(now.next_write),
            hard: HardState {
                term: headwater_raft::Term(term),
                voted_for: self.dice.chance(1, 2).then_some(NODE),
            },
            commit: Index(commit),
            truncate_from: truncate_from.map(Index),
            entries,
        })
    }

    /// Some of the log's entries are written once more: that changes nothing.
    fn repair(&mut self, now: State) -> LogOrder {
        let count = now.entries.len() as u64;
        let first = self.dice.below(count);
        let last = first + self.dice.below((count - first).min(3));
        LogOrder::Repair {
            id: WriteId(now.next_write),
            hard: now.hard,
            commit: Index(now.commit),
            entries: now.entries[first as usize..=last as usize].to_vec(),
        }
    }

    fn run_orders(&mut self, wal: &mut Wal, orders: &[LogOrder]) -> Result<(), DiskError> {
        self.tell(|| format!("run {}", orders.iter().map(brief).collect::<String>()));
        let done = wal.run(&mut self.disk, orders);
        let ids = orders.iter().filter_map(|order| match order {
            LogOrder::Write(write) => Some(write.id),
            LogOrder::Repair { id, .. } | LogOrder::Reset { id, .. } => Some(*id),
            LogOrder::Release { .. } | LogOrder::GiveRoom => None,
        });
        match done {
            Ok(upto) => {
                assert_eq!(upto, ids.max());
                for order in orders {
                    match order {
                        LogOrder::Release { upto } => self.released = self.released.max(upto.0),
                        LogOrder::Reset { base, .. } => self.released = base.index.0,
                        _ => {}
                    }
                }
                self.states.drain(..self.states.len() - 1);
                Ok(())
            }
            Err(error) => {
                // Whatever the disk would say now, nothing later is acknowledged.
                self.disk.restart();
                wal.run(&mut self.disk, orders).unwrap_err();
                wal.idle(&mut self.disk).unwrap_err();
                Err(error)
            }
        }
    }

    fn write_some(&mut self, wal: &mut Wal) -> Result<(), DiskError> {
        let mut orders = Vec::new();
        for _ in 0..1 + self.dice.below(5) {
            let order = self.order();
            let mut state = self.given().clone();
            state.apply(&order);
            self.states.push(state);
            orders.push(order);
        }
        self.run_orders(wal, &orders)
    }

    fn own_snapshot(&mut self, store: &mut SnapshotStore) -> Result<(), DiskError> {
        let now = self.given();
        let newest = self.snapshots[0];
        let index = now.commit;
        let Some(base) = now.id_at(index).filter(|_| index > newest.index.0) else {
            return Ok(());
        };
        self.tell(|| format!("snapshot {base}"));
        self.snapshots.push(base);
        let meta = meta(base.term.0, base.index.0);
        take_snapshot(&mut self.disk, store, meta, &mut machine(base), 16)?;
        self.snapshots = vec![base];
        Ok(())
    }

    /// A leader's snapshot arrives in pieces and is loaded; then the log is reset.
    fn received_snapshot(
        &mut self,
        wal: &mut Wal,
        store: &mut SnapshotStore,
    ) -> Result<(), DiskError> {
        let now = self.given().clone();
        let floor = now.commit.max(self.snapshots[0].index.0);
        let index = floor + 1 + self.dice.below(12);
        let base = wal_common::id(now.hard.term.0.max(now.last().term.0).max(1), index);
        let file = file_of(base);
        self.tell(|| format!("receive {base}"));
        self.snapshots.push(base);
        let mut offset = 0;
        while offset < file.len() {
            let len = (1 + self.dice.below(60) as usize).min(file.len() - offset);
            let order = FileOrder::Receive {
                base,
                total_bytes: file.len() as u64,
                offset: offset as u64,
                bytes: file.slice(offset..offset + len),
            };
            offset += len;
            let done = store.run::<Ledger>(&mut self.disk, order)?;
            match done {
                Some(FileDone::Received { upto, .. }) => assert_eq!(upto, offset as u64),
                Some(FileDone::Loaded { meta: loaded, .. }) => {
                    assert_eq!(offset, file.len());
                    assert_eq!(loaded.base, base);
                }
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
        self.snapshots = vec![base];
        let reset = LogOrder::Reset {
            id: WriteId(now.next_write),
            base,
            hard: now.hard,
        };
        let mut state = now;
        state.apply(&reset);
        self.states.push(state);
        self.run_orders(wal, &[reset])
    }

    fn make_spare(&mut self, wal: &mut Wal) -> Result<(), DiskError> {
        if let Some((name, len)) = wal.spare_wanted() {
            self.tell(|| "spare".into());
            self.disk.create_zeroed(&name, len)?;
            self.disk.sync(&name)?;
            wal.spare_ready(len);
        }
        Ok(())
    }

    fn step(&mut self, wal: &mut Wal, store: &mut SnapshotStore) -> Result<(), DiskError> {
        if self.dice.chance(1, 12) {
            let at = 1 + self.dice.below(16);
            self.disk.crash_after(at);
            self.tell(|| format!("to crash at call {at}"));
        } else if self.dice.chance(1, 30) {
            let (at, dice) = (1 + self.dice.below(3), Dice(self.dice.next()));
            self.disk.fail_sync(at, dice);
            self.tell(|| format!("sync {at} to fail"));
        }
        match self.dice.below(20) {
            0 | 1 => self.own_snapshot(store),
            2 => self.received_snapshot(wal, store),
            3 | 4 => self.make_spare(wal),
            5 | 6 => wal.idle(&mut self.disk),
            _ => self.write_some(wal),
        }
    }

    fn run(&mut self) {
        let (mut wal, mut store) = self.open();
        for _ in 0..STEPS {
            if self.dice.chance(1, 8) {
                self.read_back(&mut store);
            }
            if let Err(error) = self.step(&mut wal, &mut store) {
                self.recycled += wal.recycled();
                self.crash(&error);
                (wal, store) = self.open();
            }
        }
        self.recycled += wal.recycled();
        // Whatever was planned never came; the power fails on a log at rest.
        self.disk.restart();
        self.disk.power_cut(&mut self.dice);
        self.disk.restart();
        self.open();
    }
}

fn brief(order: &LogOrder) -> String {
    match order {
        LogOrder::Write(write) => format!(
            "[{} t{} commit {} cut {:?} {:?}] ",
            write.id,
            write.hard.term,
            write.commit,
            write.truncate_from,
            write.entries.iter().map(|e| e.id).collect::<Vec<_>>()
        ),
        other => format!("{other:?} "),
    }
}

fn machine(base: LogId) -> Ledger {
    Ledger::of(&[base.term.0, base.index.0, 42, base.index.0 * 7])
}

/// The bytes of a snapshot file that another node wrote.
fn file_of(base: LogId) -> Bytes {
    let mut disk = SimDisk::new();
    let expect = Expect {
        cluster: CLUSTER,
        node: headwater_raft::NodeId(8),
        fresh_incarnation: 3,
        first_config: first_config(),
    };
    let (_, _, mut store) = open::<Ledger>(&mut disk, &options(0), expect).unwrap();
    let meta: SnapshotMeta = meta(base.term.0, base.index.0);
    take_snapshot(&mut disk, &mut store, meta, &mut machine(base), 16).unwrap();
    let order = FileOrder::Read {
        to: NODE,
        base: None,
        offset: 0,
        len: 1 << 20,
    };
    match store.run::<Ledger>(&mut disk, order) {
        Ok(Some(FileDone::Piece { bytes, .. })) => bytes,
        other => panic!("no file: {other:?}"),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_is_acknowledged_survives_and_nothing_else_comes_back() {
    if let Some(seed) = number("SEED") {
        Life::new(seed, true).run();
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let (mut crashes, mut recycled, mut read_back) = (0, 0, 0);
    for seed in 0..seeds {
        let mut life = Life::new(seed, false);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.run()));
        if let Err(panic) = ran {
            eprintln!("repeat with: SEED={seed} cargo test -p headwater-replica --test wal_random");
            std::panic::resume_unwind(panic);
        }
        crashes += life.crashes;
        recycled += life.recycled;
        read_back += life.read_back;
    }
    println!(
        "{seeds} seeds, {crashes} crashes, {recycled} segments used again, {read_back} entries read back"
    );
    assert!(read_back > 20 * seeds, "hardly an entry is read back");
    assert!(crashes > seeds, "the dice hardly crash");
    assert!(recycled > seeds / 4, "hardly a segment is used again");
}
