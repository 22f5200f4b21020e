//! A snapshot shows the moment it began, and a store loaded from it lives on like the original.
mod support;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{Command, CompactionRequest, Outcome};
use headwater_replica::machine::StateMachine;
use support::generator::Generator;
use support::{Dice, apply, assert_equal_reads, delete_of, put_of, reload, status};

fn replay(commands: &[Command]) -> Store {
    let mut store = Store::default();
    for command in commands {
        apply(&mut store, command);
    }
    store
}

fn load(chunks: &[Bytes]) -> Store {
    let mut store = Store::default();
    for chunk in chunks {
        store
            .load_chunk(chunk.clone())
            .expect("a chunk just written");
    }
    store.finish_load().expect("a snapshot just written");
    store
}

fn compact_to(revision: i64) -> Command {
    Command::Compact(CompactionRequest {
        revision,
        physical: true,
    })
}

/// A life of random commands in which snapshots begin, get on and end or are dropped at random.
struct Life {
    generator: Generator,
    store: Store,
    commands: Vec<Command>,
    replies: Vec<Outcome>,
}

impl Life {
    fn new(seed: u64) -> Life {
        Life {
            generator: Generator::new(seed),
            store: Store::default(),
            commands: Vec::new(),
            replies: Vec::new(),
        }
    }

    fn live(&mut self, commands: u64) {
        for _ in 0..commands {
            self.generator.revision = status(&self.store).revision;
            let mut command = self.generator.command();
            // Compactions are what a walk must survive, so they are frequent here.
            if self.generator.dice.once_in(20) {
                command = Command::Compact(self.generator.compaction());
            }
            self.replies.push(apply(&mut self.store, &command));
            self.commands.push(command);
        }
    }

    /// Takes a snapshot while commands go on; `None` if it was dropped on the way.
    fn snapshot(&mut self) -> Option<Vec<Bytes>> {
        let mut walk = self.store.begin_snapshot();
        let mut chunks = Vec::new();
        let chunk_bytes = 1 + self.generator.dice.below(400) as usize;
        let is_dropped = self.generator.dice.once_in(3);
        while let Some(chunk) = self.store.next_chunk(&mut walk, chunk_bytes) {
            chunks.push(chunk);
            let commands = self.generator.dice.below(8);
            self.live(commands);
            if is_dropped && self.generator.dice.once_in(5) {
                return None;
            }
        }
        assert_eq!(
            self.store.next_chunk(&mut walk, chunk_bytes),
            None,
            "the end stays the end"
        );
        Some(chunks)
    }
}

#[test]
fn a_snapshot_taken_while_commands_go_on_shows_when_it_began() {
    let mut taken = 0;
    for seed in 0..60 {
        let mut life = Life::new(seed);
        for round in 0..4 {
            let commands = life.generator.dice.below(120);
            life.live(commands);
            let begun = life.commands.len();
            let Some(chunks) = life.snapshot() else {
                continue;
            };
            taken += 1;
            let context = format!("seed {seed}, round {round}");
            let mut loaded = load(&chunks);
            assert_equal_reads(&loaded, &replay(&life.commands[..begun]), &context);
            let rest = life.commands[begun..].iter().zip(&life.replies[begun..]);
            for (command, reply) in rest {
                assert_eq!(
                    apply(&mut loaded, command),
                    *reply,
                    "{context}: {command:?}"
                );
            }
            assert_equal_reads(&loaded, &life.store, &context);
        }
        let untouched = replay(&life.commands);
        assert_equal_reads(
            &life.store,
            &untouched,
            &format!("seed {seed}: snapshots left a mark"),
        );
    }
    assert!(taken > 100, "most snapshots must reach their end: {taken}");
}

#[test]
fn a_store_lives_on_alike_through_many_reloads() {
    for seed in 100..110 {
        let mut life = Life::new(seed);
        let mut other = Store::default();
        for round in 0..30 {
            let begun = life.commands.len();
            life.live(20);
            for (command, reply) in life.commands[begun..].iter().zip(&life.replies[begun..]) {
                assert_eq!(
                    apply(&mut other, command),
                    *reply,
                    "seed {seed}, round {round}"
                );
            }
            other = reload(&mut other, 64);
            assert_equal_reads(&other, &life.store, &format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn a_fresh_store_has_a_snapshot_too() {
    let loaded = reload(&mut Store::default(), 1 << 20);
    assert_equal_reads(&loaded, &Store::default(), "fresh");
}

#[test]
fn chunks_are_about_as_large_as_asked() {
    let mut store = Store::default();
    for number in 0..2_000 {
        apply(
            &mut store,
            &put_of(&format!("key{number:06}"), &"v".repeat(100)),
        );
    }
    let mut walk = store.begin_snapshot();
    let mut chunks = Vec::new();
    while let Some(chunk) = store.next_chunk(&mut walk, 10_000) {
        chunks.push(chunk);
    }
    assert!((20..30).contains(&chunks.len()), "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() < 10_200));
}

#[test]
fn a_key_with_more_versions_than_fit_a_chunk_is_cut_between_them() {
    let mut store = Store::default();
    for number in 0..500 {
        apply(&mut store, &put_of("hot", &format!("{number:0100}")));
    }
    let loaded = reload(&mut store, 1_000);
    assert_equal_reads(&loaded, &store, "one hot key");
}

#[test]
fn a_compaction_during_a_walk_holds_at_once_for_readers_and_spares_the_walk() {
    let mut store = Store::default();
    let mut commands: Vec<Command> = (0..50)
        .map(|n| put_of(&format!("k{}", n % 5), &n.to_string()))
        .collect();
    commands.push(delete_of("k1", "k3"));
    for command in &commands {
        apply(&mut store, command);
    }
    let mut walk = store.begin_snapshot();
    let mut chunks = vec![store.next_chunk(&mut walk, 1).expect("the first chunk")];
    let revision = status(&store).revision;
    assert!(apply(&mut store, &compact_to(revision)).result.is_ok());
    let compacted = status(&store);
    assert_eq!(compacted.compact_revision, revision);
    assert_eq!(compacted.size_bytes, compacted.size_in_use_bytes);
    apply(&mut store, &delete_of("\0", "\0"));
    apply(&mut store, &compact_to(revision + 1));
    while let Some(chunk) = store.next_chunk(&mut walk, 50) {
        chunks.push(chunk);
    }
    assert_equal_reads(&load(&chunks), &replay(&commands), "as it began");
}

#[test]
fn a_chunk_is_bounded_in_work_when_most_keys_came_after_the_walk_began() {
    let mut store = Store::default();
    apply(&mut store, &put_of("a", "1"));
    let mut walk = store.begin_snapshot();
    for number in 0..1_000 {
        apply(&mut store, &put_of(&format!("b{number}"), "later"));
    }
    let mut chunks = 0;
    while let Some(chunk) = store.next_chunk(&mut walk, 160) {
        assert!(
            !chunk.is_empty(),
            "an empty chunk could be taken for an end"
        );
        chunks += 1;
    }
    assert!(
        chunks > 50,
        "a thousand keys looked at within {chunks} chunks of ten looks"
    );
}

#[test]
fn a_damaged_snapshot_is_refused_or_at_least_harmless() {
    let mut life = Life::new(9);
    life.live(150);
    let mut walk = life.store.begin_snapshot();
    let mut whole = Vec::new();
    while let Some(chunk) = life.store.next_chunk(&mut walk, 1 << 20) {
        whole.extend_from_slice(&chunk);
    }
    let load = |bytes: Vec<u8>| {
        let mut store = Store::default();
        store
            .load_chunk(Bytes::from(bytes))
            .and_then(|()| store.finish_load())
    };
    assert!(load(whole.clone()).is_ok());
    for cut in 0..whole.len() {
        assert!(load(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        refused += usize::from(load(damaged).is_err());
    }
    assert!(
        refused > whole.len() / 4,
        "{refused} of {} damaged refused",
        whole.len()
    );
    // What gets through must not panic later either; a store is not asked to notice more.
    let mut dice = Dice(10);
    for _ in 0..10_000 {
        let mut damaged = whole.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(whole.len() as u64) as usize;
            damaged[at] = if dice.once_in(3) {
                0xff
            } else {
                dice.next() as u8
            };
        }
        let mut store = Store::default();
        let loaded = store
            .load_chunk(Bytes::from(damaged))
            .and_then(|()| store.finish_load());
        if loaded.is_ok() {
            apply(&mut store, &put_of("a", "1"));
            apply(&mut store, &delete_of("\0", "\0"));
            let revision = status(&store).revision;
            apply(&mut store, &compact_to(revision));
        }
    }
}

#[test]
fn a_snapshot_without_one_of_its_versions_is_refused() {
    let mut store = Store::default();
    for number in 0..5 {
        apply(&mut store, &put_of(&format!("k{number}"), "v"));
    }
    let mut walk = store.begin_snapshot();
    let mut chunks = Vec::new();
    while let Some(chunk) = store.next_chunk(&mut walk, 1) {
        chunks.push(chunk);
    }
    for missing in 0..chunks.len() {
        let mut loaded = Store::default();
        let rest = chunks
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != missing);
        let result = rest
            .map(|(_, chunk)| loaded.load_chunk(chunk.clone()))
            .collect::<Result<Vec<()>, _>>()
            .and_then(|_| loaded.finish_load());
        assert!(result.is_err(), "without chunk {missing}");
    }
}
