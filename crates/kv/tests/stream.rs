//! A client is told of all that it watches through one stream: in order, and of each watcher by the
//! client's own number.
mod support;

use headwater_kv::Store;
use headwater_kv::request::{Command, CompactionRequest, RequestOp, TxnRequest};
use headwater_kv::stream::{NOBODY, REPLIES_MAX, Refusal, StreamId, Streams, Word};
use headwater_kv::watch::{EventKind, WatchRefusal, WatchRequest};
use support::generator::Generator;
use support::{apply, b, put_of};

/// A store, and one client's stream.
struct One {
    store: Store,
    streams: Streams,
    stream: StreamId,
}

impl One {
    fn new() -> Self {
        let mut streams = Streams::default();
        let stream = StreamId(1);
        streams.open(stream, None);
        Self {
            store: Store::default(),
            streams,
            stream,
        }
    }

    fn apply(&mut self, command: &Command) {
        let outcome = apply(&mut self.store, command);
        assert!(outcome.result.is_ok(), "{command:?}: {outcome:?}");
        self.streams.advance(&self.store);
    }

    fn watch(&mut self, number: i64, request: WatchRequest) {
        self.streams
            .create(self.stream, number, request, &self.store);
    }

    fn cancel(&mut self, number: i64) {
        self.streams.cancel(self.stream, number, &self.store);
    }

    fn next(&mut self, bytes_max: usize) -> Option<String> {
        let said = self.streams.next(self.stream, &self.store, bytes_max)?;
        let what = match said.word {
            Word::Created => format!("watches at {}", said.revision),
            Word::Refused(why) => format!("refused: {why:?}"),
            Word::Canceled => String::from("cancelled"),
            Word::Denied => String::from("denied"),
            Word::Compacted(revision) => format!("compacted at {revision}"),
            Word::Progress => format!("all up to {}", said.revision),
            Word::Events { events, fragment } => {
                let spell = |event: &headwater_kv::watch::Event| {
                    let sign = match event.kind {
                        EventKind::Put => '+',
                        EventKind::Delete => '-',
                    };
                    let key = String::from_utf8_lossy(&event.kv.key).into_owned();
                    format!("{sign}{key}@{}", event.kv.mod_revision)
                };
                let events: Vec<String> = events.iter().map(spell).collect();
                let dots = if fragment { " ..." } else { "" };
                format!("{}{dots}", events.join(" "))
            }
        };
        Some(format!("{}: {what}", said.id))
    }

    fn all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next(1 << 20)).collect()
    }
}

fn of(key: &str, start_revision: i64) -> WatchRequest {
    WatchRequest {
        key: b(key),
        start_revision,
        ..WatchRequest::default()
    }
}

fn all_from(start_revision: i64) -> WatchRequest {
    WatchRequest {
        range_end: b("\0"),
        ..of("\0", start_revision)
    }
}

fn compact_to(revision: i64) -> Command {
    Command::Compact(CompactionRequest {
        revision,
        physical: true,
    })
}

fn puts_of(keys: &[&str]) -> Command {
    let put = |key: &&str| match put_of(key, "v") {
        Command::Put(put) => RequestOp::Put(put),
        _ => unreachable!("it is a put"),
    };
    Command::Txn(TxnRequest {
        success: keys.iter().map(put).collect(),
        ..TxnRequest::default()
    })
}

#[test]
fn numbers_are_given_from_zero_on_and_those_that_are_taken_are_passed_over() {
    let mut one = One::new();
    one.watch(0, of("a", 0));
    one.watch(1, of("a", 0));
    one.watch(0, of("a", 0));
    one.watch(1, of("a", 0));
    let nothing = WatchRequest {
        range_end: b("a"),
        ..of("a", 0)
    };
    one.watch(1, nothing);
    one.watch(-5, of("a", 0));
    assert_eq!(
        one.all(),
        [
            "0: watches at 1",
            "1: watches at 1",
            "2: watches at 1",
            "-1: refused: Duplicate",
            "-1: refused: Watch(EmptyRange)",
            "-5: watches at 1"
        ]
    );
    one.cancel(1);
    one.watch(1, of("b", 0));
    assert_eq!(one.all(), ["1: cancelled", "1: watches at 1"]);
    assert_eq!(one.streams.watchers(), 4);
}

#[test]
fn nothing_is_watched_where_there_can_be_nothing_to_tell() {
    let mut one = One::new();
    let empty = WatchRequest {
        range_end: b("a"),
        ..of("b", 0)
    };
    one.watch(7, empty);
    one.watch(7, of("b", -1));
    let refused = |why| format!("{NOBODY}: refused: {:?}", Refusal::Watch(why));
    assert_eq!(
        one.all(),
        [
            refused(WatchRefusal::EmptyRange),
            refused(WatchRefusal::Compacted)
        ]
    );
    assert_eq!(one.streams.watchers(), 0);
}

#[test]
fn creation_is_told_before_events_and_no_event_after_the_end() {
    let mut one = One::new();
    one.apply(&put_of("a", "1"));
    one.watch(3, of("a", 2));
    one.watch(4, of("a", 0));
    one.apply(&put_of("a", "2"));
    one.cancel(4);
    one.cancel(4);
    one.cancel(99);
    assert_eq!(
        one.all(),
        [
            "3: watches at 2",
            "4: watches at 2",
            "4: cancelled",
            "3: +a@2 +a@3"
        ]
    );
}

#[test]
fn watchers_take_turns() {
    let mut one = One::new();
    for _ in 0..3 {
        one.apply(&put_of("a", "v"));
    }
    one.watch(1, of("a", 2));
    one.watch(2, of("a", 2));
    // One event at a time.
    let told: Vec<String> = std::iter::from_fn(|| one.next(1)).collect();
    assert_eq!(
        told,
        [
            "1: watches at 4",
            "2: watches at 4",
            "1: +a@2",
            "2: +a@2",
            "1: +a@3",
            "2: +a@3",
            "1: +a@4",
            "2: +a@4"
        ]
    );
}

#[test]
fn nothing_comes_between_the_fragments_of_a_revision() {
    let mut one = One::new();
    one.apply(&puts_of(&["a", "b", "c"]));
    let fragments = WatchRequest {
        fragment: true,
        ..all_from(2)
    };
    one.watch(1, fragments);
    one.watch(2, all_from(2));
    assert_eq!(one.next(1).as_deref(), Some("1: watches at 2"));
    assert_eq!(one.next(1).as_deref(), Some("2: watches at 2"));
    assert_eq!(one.next(1).as_deref(), Some("1: +a@2 ..."));
    one.watch(3, of("x", 0));
    let rest: Vec<String> = std::iter::from_fn(|| one.next(1)).collect();
    assert_eq!(
        rest,
        [
            "1: +b@2 ...",
            "1: +c@2",
            "3: watches at 2",
            "2: +a@2 +b@2 +c@2"
        ]
    );
}

#[test]
fn a_watcher_that_a_compaction_has_passed_ends_and_its_number_is_free() {
    let mut one = One::new();
    for _ in 0..3 {
        one.apply(&put_of("a", "v"));
    }
    one.apply(&compact_to(4));
    one.watch(1, of("a", 2));
    assert_eq!(one.all(), ["1: watches at 4", "1: compacted at 4"]);
    assert_eq!(one.streams.watchers(), 0);
    one.watch(1, of("a", 4));
    assert_eq!(one.all(), ["1: watches at 4", "1: +a@4"]);
}

#[test]
fn progress_is_told_once_everything_else_was() {
    let mut one = One::new();
    one.streams.progress(one.stream);
    assert_eq!(one.all(), Vec::<String>::new(), "nothing is watched");
    one.apply(&put_of("a", "v"));
    one.watch(1, of("a", 2));
    one.streams.progress(one.stream);
    assert_eq!(one.all(), ["1: watches at 2", "1: +a@2", "-1: all up to 2"]);
    let reminded = WatchRequest {
        progress_notify: true,
        ..of("b", 0)
    };
    one.watch(2, reminded);
    one.streams.remind();
    assert_eq!(one.all(), ["2: watches at 2", "2: all up to 2"]);
}

#[test]
fn progress_is_told_to_a_client_for_whom_there_is_always_more() {
    let mut one = One::new();
    one.watch(1, of("a", 0));
    one.watch(2, of("b", 0));
    one.all();
    one.apply(&put_of("a", "v"));
    one.streams.progress(one.stream);
    // Whenever it has taken a word, something new has happened.
    let mut told = Vec::new();
    for round in 0..6 {
        told.extend(one.next(1));
        one.apply(&put_of("a", "v"));
        if round == 2 {
            // It asks twice before it is told, and both are answered.
            one.streams.progress(one.stream);
            one.apply(&put_of("a", "v"));
            one.streams.progress(one.stream);
        }
    }
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "1: +a@2",
            "-1: all up to 2",
            "1: +a@3",
            "1: +a@4",
            "1: +a@5",
            "-1: all up to 5"
        ]
    );
    assert_eq!(one.next(1 << 20).as_deref(), Some("1: +a@6 +a@7 +a@8 +a@9"));
    assert_eq!(one.all(), ["-1: all up to 9"]);
}

#[test]
fn who_has_something_to_say_is_named_until_it_has_nothing() {
    let mut one = One::new();
    let other = StreamId(2);
    one.streams.open(other, None);
    assert!(one.streams.woken().is_empty());
    one.watch(1, of("a", 0));
    assert_eq!(Vec::from_iter(one.streams.woken()), [one.stream]);
    one.all();
    assert!(one.streams.woken().is_empty());
    one.apply(&put_of("a", "v"));
    assert_eq!(Vec::from_iter(one.streams.woken()), [one.stream]);
    one.all();
    one.streams.close(other);
    one.streams.close(one.stream);
    one.apply(&put_of("a", "v"));
    assert!(one.streams.woken().is_empty());
    assert_eq!((one.streams.watchers(), one.streams.len()), (0, 0));
}

#[test]
fn who_does_not_listen_is_behind_and_catches_up() {
    let mut one = One::new();
    for number in 1..=REPLIES_MAX as i64 {
        assert!(!one.streams.is_behind(one.stream));
        one.watch(number, of("a", 0));
    }
    assert!(one.streams.is_behind(one.stream));
    one.next(1);
    assert!(!one.streams.is_behind(one.stream));
}

/// Many watchers of all changes, some slow: each is told the very same, whatever batches it takes.
#[test]
fn every_watcher_of_a_stream_is_told_the_same_in_order() {
    for seed in 0..20 {
        let mut one = One::new();
        let mut generator = Generator::new(seed);
        for number in 1..=5 {
            let fragment = number % 2 == 0;
            let request = WatchRequest {
                fragment,
                ..all_from(2)
            };
            one.watch(number, request);
        }
        let mut told = vec![String::new(); 6];
        for step in 0..400u64 {
            let command = generator.command();
            if matches!(command, Command::Compact(_)) {
                continue;
            }
            apply(&mut one.store, &command);
            one.streams.advance(&one.store);
            if step % 7 == seed % 7 {
                for _ in 0..step % 5 {
                    note(&mut told, one.next(40));
                }
            }
        }
        while let Some(said) = one.next(100) {
            note(&mut told, Some(said));
        }
        assert!(told[1].len() > 100, "seed {seed}: {told:?}");
        for number in 2..=5 {
            assert_eq!(told[number], told[1], "seed {seed}, watcher {number}");
        }
    }
}

fn note(told: &mut [String], said: Option<String>) {
    let Some(said) = said else { return };
    let (number, what) = said.split_once(": ").expect("that is how it is spelled");
    let number: usize = number.parse().expect("a watcher's number");
    if what.starts_with(['+', '-']) {
        told[number] += what.trim_end_matches(" ...");
        told[number] += " ";
    }
}
