//! The hash of a store says whether two stores hold the same, whatever way they came to it.
mod support;

use headwater_kv::Store;
use headwater_kv::request::{Command, CompactionRequest, HashRequest, HashResponse, KvError};
use support::{apply, delete_of, hash, hash_piece, put_of};

fn compact_to(revision: i64) -> Command {
    Command::Compact(CompactionRequest {
        revision,
        physical: false,
    })
}

fn of(commands: &[Command]) -> Store {
    let mut store = Store::default();
    for command in commands {
        let outcome = apply(&mut store, command);
        assert!(outcome.result.is_ok(), "{command:?}: {outcome:?}");
    }
    store
}

/// What the first piece comes to, if that is not all.
fn first_piece(store: &Store, revision: i64) -> HashRequest {
    let mut request = HashRequest {
        revision,
        so_far: None,
        piece_bytes: 1,
        with_auth: false,
    };
    match hash_piece(store, request.clone()) {
        Ok(HashResponse::Part(part)) => request.so_far = Some(part),
        other => panic!("one piece cannot be all: {other:?}"),
    }
    request
}

/// The rest, in one piece.
fn rest(store: &Store, request: HashRequest) -> Result<HashResponse, KvError> {
    let piece_bytes = usize::MAX;
    hash_piece(
        store,
        HashRequest {
            piece_bytes,
            ..request
        },
    )
}

#[test]
fn every_difference_changes_the_hash() {
    let base = [put_of("a", "1"), put_of("b", "2"), delete_of("a", "")];
    let others = [
        [put_of("a", "1"), put_of("b", "3"), delete_of("a", "")],
        [put_of("b", "2"), put_of("a", "1"), delete_of("a", "")],
        [put_of("a", "1"), put_of("b", "2"), delete_of("b", "")],
        [put_of("a", "1"), put_of("b", "2"), put_of("a", "")],
        [put_of("a", "1"), put_of("bb", "2"), delete_of("a", "")],
        [put_of("a", "0"), put_of("b", "2"), delete_of("a", "")],
    ];
    let expected = hash(&of(&base), 0, 64);
    assert_eq!(expected, hash(&of(&base), 4, 1));
    for other in others {
        assert_ne!(expected, hash(&of(&other), 0, 64), "{other:?}");
    }
}

#[test]
fn what_came_later_does_not_change_the_hash_of_an_earlier_revision() {
    let mut store = of(&[put_of("a", "1"), put_of("b", "2")]);
    let before = hash(&store, 3, 1);
    apply(&mut store, &put_of("a", "3"));
    apply(&mut store, &delete_of("b", ""));
    apply(&mut store, &put_of("c", "4"));
    assert_eq!(before, hash(&store, 3, 1));
    assert_ne!(before, hash(&store, 0, 1));
}

#[test]
fn a_compaction_counts_at_once_whether_or_not_memory_is_free() {
    // More changes than a compaction frees before it answers.
    let commands: Vec<Command> = (0..10_000)
        .map(|number| put_of(&format!("k{}", number % 7), &number.to_string()))
        .collect();
    let (mut lazy, mut thorough) = (of(&commands), of(&commands));
    apply(&mut lazy, &compact_to(10_001));
    let physical = true;
    let revision = 10_001;
    apply(
        &mut thorough,
        &Command::Compact(CompactionRequest { revision, physical }),
    );
    let expected = hash(&thorough, 0, 64);
    assert_eq!(expected.map(|(_, _, compacted)| compacted), Ok(10_001));
    assert_eq!(expected, hash(&lazy, 0, 64));
}

#[test]
fn a_hash_is_refused_before_the_compaction_and_after_the_present() {
    let mut store = of(&[put_of("a", "1"), put_of("a", "2"), put_of("a", "3")]);
    apply(&mut store, &compact_to(3));
    assert_eq!(hash(&store, 2, 64), Err(KvError::Compacted));
    assert!(hash(&store, 3, 64).is_ok());
    assert!(hash(&store, 4, 64).is_ok());
    assert_eq!(hash(&store, 5, 64), Err(KvError::FutureRevision));
}

#[test]
fn commands_between_the_pieces_leave_no_mark() {
    let mut store = of(&[put_of("a", "1"), put_of("b", "2"), put_of("c", "3")]);
    let expected = hash(&store, 0, usize::MAX);
    let request = first_piece(&store, 0);
    for command in [put_of("aa", "4"), put_of("c", "5"), delete_of("b", "")] {
        apply(&mut store, &command);
    }
    let Ok(HashResponse::Whole {
        hash,
        revision,
        compact_revision,
    }) = rest(&store, request)
    else {
        panic!("the rest is all");
    };
    assert_eq!(expected, Ok((hash, revision, compact_revision)));
}

#[test]
fn a_compaction_between_the_pieces_begins_the_hash_anew_or_refuses_it() {
    let mut store = of(&[put_of("a", "1"), put_of("b", "2"), put_of("a", "3")]);
    let (kept, lost) = (first_piece(&store, 0), first_piece(&store, 2));
    apply(&mut store, &compact_to(4));
    let Ok(HashResponse::Whole { hash: found, .. }) = rest(&store, kept) else {
        panic!("the rest is all");
    };
    assert_eq!(hash(&store, 4, usize::MAX), Ok((found, 4, 4)));
    assert_eq!(rest(&store, lost), Err(KvError::Compacted));
}
