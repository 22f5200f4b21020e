//! Watchers: clients that watch keys at some node, each through a stream, at their own pace, and go
//! on at another when they lose it.
//! Never judges what they are told: `watch` does.
//!
//! # Source
//! etcd's clientv3 (a watch goes on after the last revision it saw); its robustness tests.

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{Query, Response};
use headwater_kv::stream::{NOBODY, Said, StreamId, Streams, Word};
use headwater_kv::watch::{Told, WatchRequest};
use headwater_replica::machine::StateMachine;

use super::Kv;
use super::watch::{Judge, Teller};
use super::wish::number;
use crate::company::{Company, Stage};
use crate::dice::Dice;
use crate::knobs::MS;
use crate::plan::Knobs;
use crate::trace::Stats;

/// How long a watcher without a node waits, and in the calm any watcher.
const SOON_NS: u64 = 5 * MS;

/// How often nodes remind their watchers of how far they are.
const REMIND_NS: u64 = 50 * MS;

/// All watchers, and the streams of all nodes.
#[derive(Debug)]
pub(super) struct Watchers {
    streams: Vec<Streams>,
    watchers: Vec<Watcher>,
    remind_ns: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    created: u64,
    resumed: u64,
    events: u64,
    fragments: u64,
    progress: u64,
    compacted: u64,
}

impl Counts {
    /// How many streams there were so far: each watch has its own.
    fn streams(&self) -> u64 {
        self.created + self.resumed
    }
}

/// One client that watches.
#[derive(Debug)]
struct Watcher {
    dice: Dice,
    /// How long it takes to look again, at most.
    pace_ns: u64,
    keys: u64,
    next_ns: u64,
    judge: Option<Judge>,
    /// Where it watches now, through which stream, and whether there may be something for it.
    at: Option<(usize, StreamId)>,
    is_awake: bool,
}

impl Watchers {
    pub(super) fn new(seed: u64, knobs: &Knobs) -> Self {
        let watchers = (0..knobs.watchers).map(|watcher| {
            let mut dice = Dice::of(seed, "watcher", &[watcher]);
            Watcher {
                pace_ns: MS + dice.below(knobs.watch_pace_ns),
                keys: knobs.keys,
                next_ns: dice.below(100 * MS),
                judge: None,
                at: None,
                is_awake: false,
                dice,
            }
        });
        let nodes = knobs.nodes + knobs.reserves;
        Self {
            streams: (0..nodes).map(|_| Streams::default()).collect(),
            watchers: watchers.collect(),
            remind_ns: REMIND_NS,
            counts: Counts::default(),
        }
    }
}

impl Company<Kv> for Watchers {
    fn on_life(&mut self, node: usize) {
        self.streams[node] = Streams::default();
        for watcher in &mut self.watchers {
            watcher.at = watcher.at.filter(|(at, _)| *at != node);
        }
    }

    /// `watch:KEY:REVISION:PACE`: one more watcher, which begins at this node, and takes so many
    /// milliseconds to look again; of all keys, if the key is a star.
    fn wish(&mut self, node: usize, words: &str, stage: &Stage<'_, Kv>) -> Result<bool, String> {
        let words: Vec<&str> = words.split(':').collect();
        let ["watch", key, start, pace] = words[..] else {
            return Ok(false);
        };
        let (start, pace) = (number(start)?, number(pace)?);
        let Some(store) = stage.machine(node) else {
            return Ok(true);
        };
        let all = Bytes::from_static(b"\0");
        let (key, range_end) = match key {
            "*" => (all.clone(), all),
            key => (key.to_owned().into(), Bytes::new()),
        };
        let request = WatchRequest {
            key,
            range_end,
            start_revision: start,
            prev_kv: true,
            progress_notify: true,
            ..WatchRequest::default()
        };
        let next = if start > 0 {
            start
        } else {
            teller(store).revision + 1
        };
        self.counts.created += 1;
        let id = StreamId(self.counts.streams());
        begin(&mut self.streams[node], id, request.clone(), store)?;
        let nth = self.watchers.len() as u64;
        self.watchers.push(Watcher {
            dice: Dice::of(0, "asked", &[nth]),
            pace_ns: pace.max(1) as u64 * MS,
            keys: 1,
            next_ns: stage.now_ns(),
            judge: Some(Judge::new(request, next)),
            at: Some((node, id)),
            is_awake: false,
        });
        Ok(true)
    }

    fn after_turn(&mut self, node: usize, stage: &Stage<'_, Kv>) -> Result<(), String> {
        if let Some(store) = stage.machine(node) {
            self.streams[node].advance(store);
            self.wake(node);
        }
        Ok(())
    }

    fn on_time(&mut self, stage: &Stage<'_, Kv>) -> Result<(), String> {
        let now = stage.now_ns();
        if self.remind_ns <= now {
            self.remind_ns = now + REMIND_NS;
            self.streams.iter_mut().for_each(Streams::remind);
        }
        for node in 0..self.streams.len() {
            self.wake(node);
        }
        for watcher in &mut self.watchers {
            if watcher.next_ns <= now {
                let acted = watcher.act(&mut self.streams, stage, &mut self.counts);
                acted.map_err(|why| format!("a watcher: {why}"))?;
            }
        }
        Ok(())
    }

    fn patience_ns(&self) -> u64 {
        // When the calm comes, the slowest may just have looked.
        let waits = self.watchers.iter().map(|watcher| watcher.pace_ns * 3 / 2);
        waits.max().unwrap_or(0)
    }

    fn next_ns(&self) -> Option<u64> {
        let next = self.watchers.iter().map(|watcher| watcher.next_ns);
        next.min()
    }

    fn unsettled(&self, stage: &Stage<'_, Kv>) -> Option<String> {
        let mut judges = self
            .watchers
            .iter()
            .filter_map(|watcher| watcher.judge.as_ref());
        judges.find_map(|judge| judge.missing(stage.model()))
    }

    fn count(&self, stats: &mut Stats) {
        let judges = self
            .watchers
            .iter()
            .filter_map(|watcher| watcher.judge.as_ref());
        let events = judges.map(|judge| judge.events).sum::<u64>();
        stats.watches_created += self.counts.created;
        stats.watches_resumed += self.counts.resumed;
        stats.watch_events += self.counts.events + events;
        stats.watch_fragments += self.counts.fragments;
        stats.watch_progress += self.counts.progress;
        stats.watches_compacted += self.counts.compacted;
    }
}

impl Watchers {
    /// Tells watchers at a node that there is something for them.
    fn wake(&mut self, node: usize) {
        let woken = self.streams[node].woken();
        for watcher in &mut self.watchers {
            let is_woken = |(at, id): (usize, StreamId)| at == node && woken.contains(&id);
            watcher.is_awake |= watcher.at.is_some_and(is_woken);
        }
    }
}

impl Watcher {
    fn act(
        &mut self,
        streams: &mut [Streams],
        stage: &Stage<'_, Kv>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let is_calm = stage.is_calm();
        let left = match self.at {
            Some((node, _)) if is_calm => !stage.is_member(node),
            Some(_) => self.dice.chance(1, 12),
            None => false,
        };
        if let Some((node, id)) = self.at.filter(|_| left) {
            streams[node].close(id);
            self.at = None;
        }
        let done = !is_calm && self.at.is_none() && self.dice.chance(1, 10);
        if let Some(judge) = self.judge.take_if(|_| done) {
            counts.events += judge.events;
        }
        if self.at.is_none() {
            self.begin(streams, stage, counts)?;
        }
        let Some((node, id)) = self.at else {
            self.next_ns = stage.now_ns() + SOON_NS;
            return Ok(());
        };
        if let Some(store) = stage.machine(node) {
            let streams = &mut streams[node];
            self.read((streams, id), store, stage, counts)?;
        }
        let pace_ns = if is_calm { SOON_NS } else { self.pace_ns };
        self.next_ns = stage.now_ns() + pace_ns / 2 + self.dice.below(pace_ns);
        Ok(())
    }

    /// Begins to watch at some node, or goes on there.
    fn begin(
        &mut self,
        streams: &mut [Streams],
        stage: &Stage<'_, Kv>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let node = self.dice.below(streams.len() as u64) as usize;
        let Some(store) = stage.machine(node) else {
            return Ok(());
        };
        if stage.is_calm() && !stage.is_member(node) {
            return Ok(());
        }
        let teller = teller(store);
        let judge = match &mut self.judge {
            Some(judge) => {
                counts.resumed += 1;
                judge
            }
            None => {
                counts.created += 1;
                let request = request(&mut self.dice, self.keys);
                let start = start(&mut self.dice, teller);
                self.judge.insert(Judge::new(request, start))
            }
        };
        let mut request = judge.resume();
        if request.start_revision == teller.revision + 1 && self.dice.chance(1, 2) {
            // That is what this means.
            request.start_revision = 0;
        }
        let id = StreamId(counts.streams());
        begin(&mut streams[node], id, request, store)?;
        self.at = Some((node, id));
        // Whether there is something for it will be said.
        self.is_awake = false;
        Ok(())
    }

    /// Takes some of what there is for it, if it was woken.
    fn read(
        &mut self,
        (streams, id): (&mut Streams, StreamId),
        store: &Store,
        stage: &Stage<'_, Kv>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let Some(judge) = &mut self.judge else {
            return Ok(());
        };
        let teller = teller(store);
        if self.dice.chance(1, 10) {
            streams.progress(id);
        }
        let takes = if stage.is_calm() {
            u64::MAX
        } else {
            1 + self.dice.below(4)
        };
        let bytes_max = self.dice.pick(&[1, 200, 2000, 1 << 20]);
        for _ in 0..takes {
            if !self.is_awake {
                break;
            }
            let Some(said) = streams.next(id, store, bytes_max) else {
                self.is_awake = false;
                break;
            };
            let is_for_all = said.id == NOBODY;
            let told = told(said)?;
            if let (true, Told::Progress { revision }) = (is_for_all, &told) {
                counts.progress += 1;
                judge.judge_progress(stage.model(), teller, *revision)?;
                continue;
            }
            judge.judge(stage.model(), teller, &told)?;
            match told {
                Told::Events { fragment, .. } => counts.fragments += u64::from(fragment),
                Told::Progress { .. } => counts.progress += 1,
                Told::Looking => {}
                Told::Compacted { compact_revision } => {
                    counts.compacted += 1;
                    judge.begin_at(compact_revision);
                    streams.close(id);
                    self.at = None;
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Begins to watch through a stream of its own, which says so first.
fn begin(
    streams: &mut Streams,
    id: StreamId,
    request: WatchRequest,
    store: &Store,
) -> Result<(), String> {
    streams.open(id, None);
    streams.create(id, 0, request, store);
    match streams.next(id, store, 1).map(|said| said.word) {
        Some(Word::Created) => Ok(()),
        other => Err(format!("a watch begins with {other:?}")),
    }
}

/// What a stream with one watcher says of it.
fn told(Said { revision, word, .. }: Said) -> Result<Told, String> {
    Ok(match word {
        Word::Events { events, fragment } => Told::Events {
            revision,
            events,
            fragment,
        },
        Word::Progress => Told::Progress { revision },
        Word::Compacted(compact_revision) => Told::Compacted { compact_revision },
        other => return Err(format!("told {other:?}, which nobody asked for")),
    })
}

fn teller(store: &Store) -> Teller {
    let told = store.query(Query::Status);
    let Ok(Response::Status(status)) = told.result else {
        unreachable!("a store tells its status");
    };
    Teller {
        revision: told.revision,
        compacted: status.compact_revision,
    }
}

/// What to watch: a key or several, all that happens or some.
fn request(dice: &mut Dice, keys: u64) -> WatchRequest {
    let key = format!("k{}", dice.below(keys));
    let all = Bytes::from_static(b"\0");
    let (key, range_end) = match dice.below(6) {
        0..2 => (key.into(), Bytes::new()),
        2 => (key.into(), "u5".into()),
        3 => ("k".into(), "l".into()),
        4 => (Bytes::new(), all),
        _ => ("k1".into(), all),
    };
    WatchRequest {
        key,
        range_end,
        start_revision: 0,
        no_put: dice.chance(1, 8),
        no_delete: dice.chance(1, 8),
        prev_kv: dice.chance(1, 2),
        progress_notify: dice.chance(1, 2),
        fragment: dice.chance(1, 3),
    }
}

/// From where: now, the past, what is just not compacted, or the future.
fn start(dice: &mut Dice, at: Teller) -> i64 {
    let revision = at.revision as u64;
    let start = match dice.below(8) {
        0..3 => revision + 1,
        3..5 => 1 + dice.below(revision),
        5..7 => at.compacted.max(1) as u64,
        _ => revision + 1 + dice.below(20),
    };
    start as i64
}
