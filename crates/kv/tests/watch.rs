//! Watchers are told what a list of all changes says, whatever their speed and whatever becomes of
//! the store.
mod support;

use headwater_kv::Store;
use headwater_kv::request::{
    Command, CompactionRequest, KeyValue, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
};
use headwater_kv::watch::{
    Event, EventKind, PENDING_EVENTS_MAX, Told, WatchId, WatchRefusal, WatchRequest, Watches,
};
use std::collections::BTreeMap;
use support::generator::Generator;
use support::model::{Model, contains};
use support::{apply, b, delete_of, put_of, reload, status};

fn compact_to(revision: i64) -> Command {
    Command::Compact(CompactionRequest {
        revision,
        physical: true,
    })
}

fn watch_of(key: &str, range_end: &str) -> WatchRequest {
    WatchRequest {
        key: b(key),
        range_end: b(range_end),
        ..Default::default()
    }
}

fn all_from(start_revision: i64) -> WatchRequest {
    WatchRequest {
        start_revision,
        ..watch_of("\0", "\0")
    }
}

/// A watcher as a client sees it, beside the list of all changes.
struct Client {
    request: WatchRequest,
    /// How many of all changes it has passed.
    passed: usize,
    /// All revisions up to this one were told.
    told: i64,
    /// Within a revision whose events come in fragments.
    is_within: bool,
    /// Takes what there is once in so many steps.
    pace: u64,
}

impl Client {
    fn wants(&self, version: &support::model::Version) -> bool {
        let WatchRequest { key, range_end, .. } = &self.request;
        let is_filtered = if version.is_tombstone {
            self.request.no_delete
        } else {
            self.request.no_put
        };
        let is_late = version.kv.mod_revision >= self.request.start_revision;
        !is_filtered && is_late && contains(key, range_end, &version.kv.key)
    }

    /// The next event it should be told.
    fn expected(&mut self, model: &Model) -> Option<Event> {
        let versions = model.versions();
        while self.passed < versions.len() && !self.wants(&versions[self.passed]) {
            self.passed += 1;
        }
        let version = versions.get(self.passed)?;
        self.passed += 1;
        let kv = version.kv.clone();
        let before = kv.mod_revision - 1;
        let is_creation = kv.create_revision == kv.mod_revision;
        let has_before = self.request.prev_kv && !is_creation && before >= model.compacted();
        Some(Event {
            kind: if version.is_tombstone {
                EventKind::Delete
            } else {
                EventKind::Put
            },
            prev_kv: model.at(&kv.key, before).filter(|_| has_before).cloned(),
            kv,
        })
    }

    fn on_events(&mut self, model: &Model, events: &[Event], fragment: bool, context: &str) {
        assert!(!events.is_empty(), "{context}");
        for event in events {
            assert_eq!(Some(event), self.expected(model).as_ref(), "{context}");
        }
        let main = events.last().map_or(0, |last| last.kv.mod_revision);
        let passed = self.passed;
        let next = self.expected(model);
        self.passed = passed;
        let goes_on = next.is_some_and(|next| next.kv.mod_revision == main);
        assert_eq!(goes_on, fragment, "{context}: cut within a revision");
        assert!(!fragment || self.request.fragment, "{context}");
        self.is_within = fragment;
        self.told = if fragment { main - 1 } else { main };
    }

    fn assert_knows_all(&mut self, model: &Model, context: &str) {
        assert_eq!(self.expected(model), None, "{context}");
        assert!(!self.is_within, "{context}");
        self.told = model.revision();
    }
}

/// What a run has seen.
#[derive(Default, Debug)]
struct Seen {
    events: usize,
    fragments: usize,
    progress: usize,
    compacted: usize,
    past: usize,
    future: usize,
    restored: usize,
    gone_slow: usize,
}

/// A node with watchers; it may lag behind the truth and be put back from a snapshot of it.
struct Life {
    generator: Generator,
    model: Model,
    /// Has applied everything.
    truth: Store,
    node: Store,
    node_model_lags: bool,
    watches: Watches,
    clients: BTreeMap<WatchId, Client>,
    woken: std::collections::BTreeSet<WatchId>,
    seen: Seen,
    context: String,
}

impl Life {
    fn new(seed: u64) -> Life {
        Life {
            generator: Generator::new(seed),
            model: Model::default(),
            truth: Store::default(),
            node: Store::default(),
            node_model_lags: false,
            watches: Watches::default(),
            clients: BTreeMap::new(),
            woken: std::collections::BTreeSet::new(),
            seen: Seen::default(),
            context: String::new(),
        }
    }

    fn command(&mut self) {
        self.generator.revision = self.model.revision();
        let command = self.generator.command();
        let outcome = apply(&mut self.truth, &command);
        assert_eq!(outcome, self.model.command(&command), "{}", self.context);
        if !self.node_model_lags {
            apply(&mut self.node, &command);
        }
    }

    /// The node stands still for a while, and is then put back from a snapshot of what went on.
    fn restore(&mut self) {
        self.node_model_lags = true;
        let commands = self.generator.dice.below(30);
        for _ in 0..commands {
            self.command();
        }
        self.node = reload(&mut self.truth, 300);
        self.node_model_lags = false;
        self.seen.restored += 1;
    }

    fn create(&mut self) {
        let revision = self.model.revision();
        let dice = &mut self.generator.dice;
        let start_revision = match dice.below(6) {
            0..=2 => 0,
            3 => 1 + dice.below(revision as u64 + 3) as i64,
            4 => (revision - dice.below(20) as i64).max(1),
            _ => revision + dice.below(9) as i64,
        };
        let flags: [bool; 5] = std::array::from_fn(|_| dice.once_in(4));
        let [no_put, no_delete, prev_kv, progress_notify, fragment] = flags;
        let pace = *dice.pick(&[1, 1, 3, 40, 400]);
        let mut request = WatchRequest {
            key: self.generator.key(),
            range_end: self.generator.range_end(),
            start_revision,
            no_put,
            no_delete,
            prev_kv,
            progress_notify,
            fragment,
        };
        if self.generator.dice.once_in(3) {
            (request.key, request.range_end) = (b("\0"), b("\0"));
        }
        let created = self.watches.create(request.clone(), &self.node);
        if request.key.is_empty() {
            request.key = b("\0");
        }
        let has_end = request.range_end.len() > 1 || request.range_end.iter().any(|&end| end > 0);
        if has_end && request.range_end <= request.key {
            assert_eq!(created, Err(WatchRefusal::EmptyRange));
            return;
        }
        let id = created.expect("it can be watched");
        self.seen.past += usize::from((1..=revision).contains(&start_revision));
        self.seen.future += usize::from(start_revision > revision + 1);
        if start_revision == 0 {
            request.start_revision = revision + 1;
        }
        let told = request.start_revision - 1;
        let client = Client {
            request,
            passed: 0,
            told,
            is_within: false,
            pace,
        };
        self.clients.insert(id, client);
    }

    /// Lets a watcher take what there is, or some of it.
    fn take(&mut self, id: WatchId) {
        let bytes_max = *self.generator.dice.pick(&[1, 60, 200, 4000]);
        let mut takes = 1 + self.generator.dice.below(30);
        let context = format!("{}, {id:?}, {:?}", self.context, self.clients[&id].request);
        let client = self.clients.get_mut(&id).expect("it lives");
        while takes > 0 {
            takes -= 1;
            match self.watches.take(id, &self.node, bytes_max).0 {
                Some(Told::Events {
                    revision,
                    events,
                    fragment,
                }) => {
                    assert_eq!(revision, self.model.revision(), "{context}");
                    client.on_events(&self.model, &events, fragment, &context);
                    self.seen.events += events.len();
                    self.seen.fragments += usize::from(fragment);
                }
                Some(Told::Progress { revision }) => {
                    assert!(client.request.progress_notify, "{context}");
                    assert_eq!(revision, self.model.revision(), "{context}");
                    client.assert_knows_all(&self.model, &context);
                    self.seen.progress += 1;
                }
                Some(Told::Looking) => {}
                Some(Told::Compacted { compact_revision }) => {
                    assert_eq!(compact_revision, self.model.compacted(), "{context}");
                    assert!(client.told + 1 < compact_revision, "{context}");
                    self.seen.compacted += 1;
                    self.clients.remove(&id);
                    self.woken.remove(&id);
                    return;
                }
                None => {
                    client.assert_knows_all(&self.model, &context);
                    self.woken.remove(&id);
                    return;
                }
            }
        }
    }

    /// All that have woken take, each at its pace; the others have nothing to take.
    fn take_all(&mut self, is_patient: bool) {
        // Who was woken may have ended since.
        let new = self.watches.woken().into_iter();
        self.woken
            .extend(new.filter(|id| self.clients.contains_key(id)));
        for id in self.woken.clone() {
            let pace = self.clients[&id].pace;
            if is_patient || self.generator.dice.once_in(pace) {
                self.take(id);
            } else {
                self.seen.gone_slow += 1;
            }
        }
        // Only who has woken has something to take.
        for (id, client) in &mut self.clients {
            if !self.woken.contains(id) {
                client.assert_knows_all(&self.model, &format!("{}, {id:?}", self.context));
            }
        }
    }

    fn step(&mut self) {
        match self.generator.dice.below(400) {
            0 => self.restore(),
            1..=16 if self.clients.len() < 40 => self.create(),
            17..=19 => {
                let nth = self.generator.dice.below(40) as usize;
                let id = self.clients.keys().nth(nth).copied();
                if let Some(id) = id {
                    assert!(self.watches.cancel(id), "{}", self.context);
                    assert!(!self.watches.cancel(id), "{}", self.context);
                    assert_eq!(self.watches.take(id, &self.node, 1).0, None);
                    self.clients.remove(&id);
                    self.woken.remove(&id);
                }
            }
            20..=25 => self.watches.remind(),
            26..=27 => {
                let revision = self.model.revision() - self.generator.dice.below(30) as i64;
                self.model.command(&compact_to(revision));
                apply(&mut self.truth, &compact_to(revision));
                apply(&mut self.node, &compact_to(revision));
            }
            _ => self.command(),
        }
        // A server that is behind sees several commands at once.
        if !self.generator.dice.once_in(10) {
            self.watches.advance(&self.node);
        }
        let is_some_time = self.generator.dice.once_in(2);
        if is_some_time {
            self.watches.advance(&self.node);
            self.take_all(false);
            self.check_progress();
        }
        assert_eq!(self.watches.len(), self.clients.len(), "{}", self.context);
    }

    fn check_progress(&mut self) {
        let few: Vec<WatchId> = self.clients.keys().copied().take(3).collect();
        let told = self
            .watches
            .progress(few.iter().copied(), self.model.revision(), &self.node);
        if let Some(revision) = told {
            assert_eq!(revision, self.model.revision());
            for id in few {
                let client = self.clients.get_mut(&id).expect("it lives");
                client.assert_knows_all(&self.model, &self.context);
            }
        }
    }
}

#[test]
fn watchers_are_told_what_a_list_of_all_changes_says() {
    let mut all = Seen::default();
    for seed in 0..60 {
        let mut life = Life::new(seed);
        for step in 0..1500 {
            life.context = format!("seed {seed}, step {step}");
            life.step();
        }
        // In the end all catch up, and then nothing is left to tell.
        life.context = format!("seed {seed}, at the end");
        life.watches.advance(&life.node);
        while {
            life.take_all(true);
            !life.woken.is_empty()
        } {}
        let ids: Vec<WatchId> = life.clients.keys().copied().collect();
        let revision = life.watches.progress(ids, 0, &life.node);
        assert_eq!(revision, Some(life.model.revision()));
        let seen = life.seen;
        all.events += seen.events;
        all.fragments += seen.fragments;
        all.progress += seen.progress;
        all.compacted += seen.compacted;
        all.past += seen.past;
        all.future += seen.future;
        all.restored += seen.restored;
        all.gone_slow += seen.gone_slow;
    }
    let Seen {
        events,
        fragments,
        progress,
        compacted,
        past,
        future,
        restored,
        gone_slow,
    } = all;
    println!("{all:?}");
    assert!(events > 50_000 && gone_slow > 10_000, "{all:?}");
    let rare = [fragments, progress, compacted, past, future, restored];
    assert!(rare.iter().all(|&count| count > 100), "{all:?}");
}

/// A store and its watchers, which see every command at once.
#[derive(Default)]
struct Pair {
    store: Store,
    watches: Watches,
}

impl Pair {
    fn apply(&mut self, command: &Command) {
        let outcome = apply(&mut self.store, command);
        assert!(outcome.result.is_ok(), "{command:?}: {outcome:?}");
        self.watches.advance(&self.store);
    }

    fn create(&mut self, request: WatchRequest) -> WatchId {
        let created = self.watches.create(request, &self.store);
        created.expect("it can be watched")
    }

    fn take(&mut self, id: WatchId) -> Option<Told> {
        self.watches.take(id, &self.store, 1 << 20).0
    }

    /// All events until there is nothing more, as text, by batch.
    fn told(&mut self, id: WatchId) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(next) = self.take(id) {
            match next {
                Told::Events { events, .. } => {
                    let events: Vec<String> = events.iter().map(spell).collect();
                    told.push(events.join(" "));
                }
                Told::Looking => {}
                Told::Progress { revision } => told.push(format!("all up to {revision}")),
                Told::Compacted { compact_revision } => {
                    told.push(format!("compacted at {compact_revision}"));
                }
            }
        }
        told
    }
}

fn spell(event: &Event) -> String {
    let key = event.kv.key.escape_ascii();
    let before = event.prev_kv.as_ref().map(|kv| kv.value.escape_ascii());
    let before = before.map_or(String::new(), |value| format!("(was {value})"));
    match event.kind {
        EventKind::Put => {
            let value = event.kv.value.escape_ascii();
            format!("{key}={value}@{}{before}", event.kv.mod_revision)
        }
        EventKind::Delete => {
            let only_named = KeyValue {
                key: event.kv.key.clone(),
                mod_revision: event.kv.mod_revision,
                ..Default::default()
            };
            assert_eq!(
                event.kv, only_named,
                "of a deleted key only its name is told"
            );
            format!("-{key}@{}{before}", event.kv.mod_revision)
        }
    }
}

#[test]
fn a_put_wakes_those_it_concerns_and_no_other() {
    let mut pair = Pair::default();
    let ids: Vec<WatchId> = (0..10_000)
        .map(|number| pair.create(watch_of(&format!("k{number:05}"), "")))
        .collect();
    let range = pair.create(watch_of("k01000", "k02000"));
    pair.apply(&put_of("k01234", "v"));
    let woken: Vec<WatchId> = pair.watches.woken().into_iter().collect();
    assert_eq!(woken, [ids[1234], range]);
    pair.apply(&put_of("k01234", "w"));
    assert!(pair.watches.woken().is_empty(), "each is named once");
    assert_eq!(pair.told(ids[1234]), ["k01234=v@2 k01234=w@3"]);
    pair.apply(&put_of("k01234", "x"));
    let woken: Vec<WatchId> = pair.watches.woken().into_iter().collect();
    assert_eq!(woken, [ids[1234]], "the other has not taken all yet");
}

#[test]
fn a_revoked_leases_keys_are_deleted_in_one_batch() {
    let mut pair = Pair::default();
    let id = pair.create(WatchRequest {
        prev_kv: true,
        ..all_from(0)
    });
    pair.apply(&Command::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 60 }));
    for key in ["c", "a", "b"] {
        pair.apply(&Command::Put(PutRequest {
            key: b(key),
            value: b("v"),
            lease: 7,
            ..Default::default()
        }));
    }
    assert_eq!(pair.told(id).len(), 1, "what waits is one batch");
    let revoke = LeaseRevokeRequest { id: 7, ended: None };
    pair.apply(&Command::LeaseRevoke(revoke));
    let told = pair.told(id);
    assert_eq!(told, ["-a@5(was v) -b@5(was v) -c@5(was v)"]);
}

#[test]
fn a_watcher_of_the_past_is_told_from_there_on_unless_it_is_compacted() {
    let mut pair = Pair::default();
    for number in 2..=6 {
        pair.apply(&put_of("a", &number.to_string()));
    }
    pair.apply(&delete_of("a", ""));
    pair.apply(&compact_to(7));
    let too_early = pair.create(all_from(6));
    let with_before = pair.create(WatchRequest {
        prev_kv: true,
        ..all_from(7)
    });
    let future = pair.create(all_from(9));
    assert_eq!(pair.told(too_early), ["compacted at 7"]);
    assert!(!pair.watches.cancel(too_early), "it is gone");
    pair.apply(&put_of("a", "8"));
    pair.apply(&put_of("a", "9"));
    // What was before the deletion is compacted away.
    assert_eq!(pair.told(with_before), ["-a@7 a=8@8 a=9@9(was 8)"]);
    assert_eq!(pair.told(future), ["a=9@9"]);
}

#[test]
fn a_compaction_takes_nothing_from_who_is_nearly_up_to_date() {
    let mut pair = Pair::default();
    let id = pair.create(all_from(0));
    for number in 0..PENDING_EVENTS_MAX {
        pair.apply(&put_of("a", &number.to_string()));
    }
    let revision = status(&pair.store).revision;
    pair.apply(&compact_to(revision));
    pair.apply(&put_of("b", "1"));
    pair.apply(&compact_to(revision + 1));
    let told = pair.told(id).join(" ");
    assert_eq!(told.split(' ').count(), PENDING_EVENTS_MAX + 1);
}

#[test]
fn what_waits_for_a_slow_watcher_is_bounded() {
    let mut pair = Pair::default();
    let (slow, quick) = (pair.create(all_from(0)), pair.create(all_from(0)));
    let mut quick_told = 0;
    for number in 0..10 * PENDING_EVENTS_MAX {
        pair.apply(&put_of("a", &number.to_string()));
        quick_told += pair.told(quick).len();
    }
    assert_eq!(quick_told, 10 * PENDING_EVENTS_MAX);
    let revision = status(&pair.store).revision;
    pair.apply(&compact_to(revision));
    let told = pair.told(slow);
    assert_eq!(told[0].split(' ').count(), PENDING_EVENTS_MAX);
    assert_eq!(told[1..], [format!("compacted at {revision}")]);
}

#[test]
fn large_values_wait_for_few() {
    let mut pair = Pair::default();
    let ids: Vec<WatchId> = (0..100).map(|_| pair.create(all_from(0))).collect();
    pair.apply(&put_of("a", &"v".repeat(1 << 20)));
    pair.apply(&compact_to(2));
    pair.apply(&put_of("a", "w"));
    pair.apply(&compact_to(3));
    // 63 times a little more than a mebibyte has room; the others had to look for themselves.
    let cancelled = ids.iter().filter(|&&id| {
        let told = pair.told(id);
        told == ["compacted at 3"]
    });
    assert_eq!(cancelled.count(), 100 - 63);
    // What was taken makes room again.
    let id = pair.create(all_from(0));
    pair.apply(&put_of("a", &"v".repeat(1 << 20)));
    pair.apply(&put_of("a", "w"));
    pair.apply(&compact_to(5));
    assert_eq!(pair.told(id).len(), 1);
}

#[test]
fn a_look_into_the_log_is_bounded() {
    let mut pair = Pair::default();
    for number in 0..10_000 {
        apply(&mut pair.store, &put_of("a", &number.to_string()));
    }
    apply(&mut pair.store, &put_of("b", "1"));
    let id = pair.create(WatchRequest {
        start_revision: 1,
        ..watch_of("b", "")
    });
    assert_eq!(pair.take(id), Some(Told::Looking));
    assert_eq!(pair.take(id), Some(Told::Looking));
    assert!(matches!(pair.take(id), Some(Told::Events { .. })));
    assert_eq!(pair.take(id), None);
}

#[test]
fn who_is_idle_is_reminded_of_how_far_it_is() {
    let mut pair = Pair::default();
    let asked = WatchRequest {
        progress_notify: true,
        ..watch_of("a", "")
    };
    let (id, other) = (pair.create(asked), pair.create(watch_of("a", "")));
    pair.apply(&put_of("b", "1"));
    pair.watches.remind();
    assert_eq!(pair.watches.woken().into_iter().collect::<Vec<_>>(), [id]);
    assert_eq!(pair.told(id), ["all up to 2"]);
    pair.apply(&put_of("a", "1"));
    assert_eq!(pair.told(id), ["a=1@3"]);
    pair.watches.remind();
    assert_eq!(pair.told(id), [""; 0], "it was not idle");
    pair.watches.remind();
    pair.apply(&put_of("a", "2"));
    assert_eq!(pair.told(id), ["a=2@4"], "an event says as much");
    pair.watches.remind();
    pair.watches.remind();
    assert_eq!(pair.told(id), ["all up to 4"]);
    assert_eq!(pair.watches.progress([id, other], 3, &pair.store), None);
    assert_eq!(pair.watches.progress([id, other], 2, &pair.store), Some(2));
    assert_eq!(pair.told(other), ["a=1@3 a=2@4"]);
    assert_eq!(pair.watches.progress([id, other], 4, &pair.store), Some(4));
}

#[test]
fn what_can_never_be_told_is_refused() {
    let mut pair = Pair::default();
    let mut create = |request| pair.watches.create(request, &pair.store);
    for (key, end) in [("b", "b"), ("b", "a")] {
        let refused = create(watch_of(key, end));
        assert_eq!(refused, Err(WatchRefusal::EmptyRange));
    }
    assert_eq!(create(all_from(-1)), Err(WatchRefusal::Compacted));
    let lowest = create(watch_of("", "")).expect("the empty key stands for the lowest");
    pair.apply(&put_of("\0", "1"));
    pair.apply(&put_of("a", "1"));
    assert_eq!(pair.told(lowest), ["\\x00=1@2"]);
}

#[test]
fn a_revision_larger_than_a_look_comes_whole() {
    let mut pair = Pair::default();
    for number in 0..5_000 {
        apply(&mut pair.store, &put_of(&format!("k{number}"), "v"));
    }
    apply(&mut pair.store, &delete_of("\0", "\0"));
    apply(&mut pair.store, &put_of("a", "1"));
    let id = pair.create(WatchRequest {
        no_put: true,
        ..all_from(4_900)
    });
    let fragments = pair.create(WatchRequest {
        fragment: true,
        ..all_from(5_002)
    });
    let told = pair.told(id);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].split(' ').count(), 5_000);
    let (mut batches, mut events_told) = (0, 0);
    while let Some(Told::Events {
        events, fragment, ..
    }) = pair.watches.take(fragments, &pair.store, 4_000).0
    {
        assert_eq!(fragment, events_told + events.len() < 5_000);
        batches += 1;
        events_told += events.len();
    }
    assert_eq!(events_told, 5_001);
    assert!(batches > 20, "{batches} batches of 4000 bytes at most");
}

#[test]
fn a_watcher_of_the_future_waits_through_a_restore() {
    let mut pair = Pair::default();
    let (early, late) = (pair.create(all_from(20)), pair.create(all_from(70)));
    let mut other = Store::default();
    for number in 2..=60 {
        apply(&mut other, &put_of("a", &number.to_string()));
    }
    apply(&mut other, &compact_to(50));
    pair.store = reload(&mut other, 1 << 20);
    pair.watches.advance(&pair.store);
    assert_eq!(pair.told(early), ["compacted at 50"]);
    assert_eq!(pair.told(late), [""; 0]);
    for number in 61..=70 {
        pair.apply(&put_of("a", &number.to_string()));
    }
    assert_eq!(pair.told(late), ["a=70@70"]);
}
