//! Users and roles: what each request needs, when a right counts, and that nothing of it is lost.
mod support;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::auth::{
    Asker, AuthQuery, AuthRequest, Permission, PermissionKind, Proof, ROOT, Right,
};
use headwater_kv::request::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KvError,
    LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, Query, RequestOp,
    TxnRequest,
};
use headwater_kv::stream::{NOBODY, Refusal, StreamId, Streams, Word};
use headwater_kv::watch::WatchRequest;
use headwater_replica::LogId;
use headwater_replica::machine::StateMachine;
use support::{Dice, apply, b, delete_of, hash_piece, put_of, range_of};

use KvError::{
    InvalidAuthManagement, InvalidAuthToken, OldAuthRevision, PermissionDenied, UserEmpty,
};
use PermissionKind::{Read, ReadWrite, Write};

fn auth(request: AuthRequest) -> Command {
    Command::Auth(request)
}

fn grant(role: &str, kind: PermissionKind, key: &str, range_end: &str) -> Command {
    let (key, range_end) = (b(key), b(range_end));
    let permission = Permission {
        kind,
        key,
        range_end,
    };
    auth(AuthRequest::RoleGrantPermission(role.into(), permission))
}

fn make(store: &mut Store, commands: impl IntoIterator<Item = Command>) {
    for command in commands {
        let outcome = by(store, &Asker::Server, &command);
        assert_eq!(outcome, Ok(()), "{command:?}");
    }
}

/// Requests need rights: `root` has all, `ann` reads from a to c, writes from b to d, and both on x.
fn store() -> Store {
    let mut store = Store::default();
    let root = || ROOT.to_owned();
    let ann = || "ann".to_owned();
    make(
        &mut store,
        [
            auth(AuthRequest::UserAdd(root(), Some(b("hash")))),
            auth(AuthRequest::UserGrantRole(root(), root())),
            auth(AuthRequest::RoleAdd("r".into())),
            auth(AuthRequest::RoleAdd("s".into())),
            grant("r", Read, "a", "c"),
            grant("s", Write, "b", "d"),
            grant("s", ReadWrite, "x", ""),
            auth(AuthRequest::UserAdd(ann(), Some(b("hash")))),
            auth(AuthRequest::UserGrantRole(ann(), "r".into())),
            auth(AuthRequest::UserGrantRole(ann(), "s".into())),
            auth(AuthRequest::UserAdd("eve".into(), None)),
            auth(AuthRequest::Enable),
        ],
    );
    store
}

fn user(name: &str) -> Asker {
    Asker::User(name.to_owned(), Proof::Certificate)
}

fn by(store: &mut Store, asker: &Asker, command: &Command) -> Result<(), KvError> {
    let bytes = command.encode_by(Some(asker));
    store.apply(LogId::default(), &bytes).result.map(|_| ())
}

fn ask(store: &Store, asker: &Asker, query: Query) -> Result<(), KvError> {
    let query = Query::By(asker.clone(), Box::new(query));
    store.query(query).result.map(|_| ())
}

#[test]
fn each_request_needs_its_rights_on_all_its_keys() {
    let mut store = store();
    let ann = user("ann");
    let read = |store: &Store, key, end| ask(store, &ann, Query::Range(range_of(key, end)));
    assert_eq!(read(&store, "a", "c"), Ok(()));
    assert_eq!(read(&store, "a", ""), Ok(()));
    assert_eq!(read(&store, "a", "c\0"), Err(PermissionDenied));
    assert_eq!(read(&store, "a", "\0"), Err(PermissionDenied));
    assert_eq!(read(&store, "c", ""), Err(PermissionDenied));
    assert_eq!(read(&store, "x", ""), Ok(()));
    assert_eq!(by(&mut store, &ann, &put_of("c", "1")), Ok(()));
    assert_eq!(
        by(&mut store, &ann, &put_of("a", "1")),
        Err(PermissionDenied)
    );
    assert_eq!(by(&mut store, &ann, &delete_of("b", "d")), Ok(()));
    assert_eq!(
        by(&mut store, &ann, &delete_of("b", "\0")),
        Err(PermissionDenied)
    );
    // What was there before is read.
    let with_previous = |key| {
        Command::Put(PutRequest {
            key: b(key),
            prev_kv: true,
            ..PutRequest::default()
        })
    };
    assert_eq!(by(&mut store, &ann, &with_previous("b")), Ok(()));
    assert_eq!(
        by(&mut store, &ann, &with_previous("c")),
        Err(PermissionDenied)
    );
    let delete = Command::DeleteRange(DeleteRangeRequest {
        key: b("c"),
        prev_kv: true,
        ..DeleteRangeRequest::default()
    });
    assert_eq!(by(&mut store, &ann, &delete), Err(PermissionDenied));
    let compact = Command::Compact(CompactionRequest {
        revision: 2,
        physical: false,
    });
    assert_eq!(by(&mut store, &ann, &compact), Err(PermissionDenied));
    assert_eq!(by(&mut store, &user(ROOT), &compact), Ok(()));
    assert_eq!(
        ask(&store, &ann, Query::May(Right::All)),
        Err(PermissionDenied)
    );
    assert_eq!(ask(&store, &ann, Query::May(Right::User)), Ok(()));
}

#[test]
fn who_is_not_known_may_do_nothing_and_who_has_no_role_hardly_more() {
    let mut store = store();
    assert_eq!(apply(&mut store, &put_of("x", "1")).result, Err(UserEmpty));
    let read = Query::Range(range_of("x", ""));
    assert_eq!(store.query(read.clone()).result, Err(UserEmpty));
    let lists = [
        Query::LeaseLeases,
        Query::Auth(AuthQuery::All),
        Query::May(Right::User),
    ];
    for query in lists {
        assert_eq!(store.query(query).result, Err(UserEmpty));
    }
    let eve = user("eve");
    assert_eq!(ask(&store, &eve, read.clone()), Err(PermissionDenied));
    assert_eq!(
        by(&mut store, &eve, &put_of("x", "1")),
        Err(PermissionDenied)
    );
    assert_eq!(
        ask(&store, &eve, Query::Auth(AuthQuery::User("eve".into()))),
        Ok(())
    );
    let others = Query::Auth(AuthQuery::User("ann".into()));
    assert_eq!(ask(&store, &eve, others), Err(PermissionDenied));
    let role = |name: &str| Query::Auth(AuthQuery::Role(name.into()));
    assert_eq!(ask(&store, &user("ann"), role("r")), Ok(()));
    assert_eq!(ask(&store, &eve, role("r")), Err(PermissionDenied));
    assert_eq!(ask(&store, &user("nobody"), read), Err(PermissionDenied));
    let revoke = |asker| {
        let revoke = AuthRequest::UserRevokeRole("ann".into(), "r".into());
        by(&mut store, asker, &auth(revoke))
    };
    let mut revoke = revoke;
    assert_eq!(revoke(&eve), Err(PermissionDenied));
    assert_eq!(revoke(&user(ROOT)), Ok(()));
}

#[test]
fn every_part_of_a_transaction_needs_its_rights() {
    let mut store = store();
    let ann = user("ann");
    let empty = TxnRequest::default;
    let put = |key| match put_of(key, "1") {
        Command::Put(put) => RequestOp::Put(put),
        _ => unreachable!(),
    };
    let compare = |key, range_end| Compare {
        result: CompareResult::Equal,
        target: CompareTarget::Version(0),
        key: b(key),
        range_end: b(range_end),
    };
    let in_success = |op| TxnRequest {
        success: vec![op],
        ..empty()
    };
    let in_failure = |op| TxnRequest {
        failure: vec![op],
        ..empty()
    };
    let nested = |txn| RequestOp::Txn(Box::new(txn));
    let comparing = |key, range_end| TxnRequest {
        compare: vec![compare(key, range_end)],
        ..empty()
    };
    let cases = [
        (comparing("a", "c"), true),
        (comparing("a", "d"), false),
        (comparing("c", ""), false),
        (in_success(put("x")), true),
        (in_success(put("a")), false),
        // The branch that is not taken counts as well.
        (in_failure(put("a")), false),
        (in_failure(put("b")), true),
        (in_success(RequestOp::Range(range_of("a", "c"))), true),
        (in_success(RequestOp::Range(range_of("c", ""))), false),
        (in_success(nested(in_success(put("b")))), true),
        (in_success(nested(in_success(put("a")))), false),
        (in_failure(nested(in_failure(put("a")))), false),
        (in_success(nested(comparing("c", ""))), false),
    ];
    for (txn, may) in cases {
        let expected = if may { Ok(()) } else { Err(PermissionDenied) };
        let command = Command::Txn(txn);
        assert_eq!(by(&mut store, &ann, &command), expected, "{command:?}");
    }
}

#[test]
fn a_lease_is_as_protected_as_its_keys() {
    let mut store = store();
    let ann = user("ann");
    let grant = |id| Command::LeaseGrant(LeaseGrantRequest { id, ttl: 9 });
    assert_eq!(apply(&mut store, &grant(1)).result, Err(UserEmpty));
    assert_eq!(by(&mut store, &ann, &grant(1)), Ok(()));
    let put = |key, lease| {
        Command::Put(PutRequest {
            key: b(key),
            lease,
            ..PutRequest::default()
        })
    };
    assert_eq!(by(&mut store, &ann, &put("b", 1)), Ok(()));
    let renew = Query::May(Right::Renew(1));
    let look = |keys| Query::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 1, keys });
    assert_eq!(ask(&store, &ann, renew.clone()), Ok(()));
    assert_eq!(ask(&store, &ann, look(true)), Ok(()));
    assert_eq!(ask(&store, &ann, Query::LeaseLeases), Ok(()));
    // Root puts another key under it, and it is no more only hers.
    assert_eq!(by(&mut store, &user(ROOT), &put("secret", 1)), Ok(()));
    assert_eq!(ask(&store, &ann, renew), Err(PermissionDenied));
    assert_eq!(ask(&store, &ann, look(true)), Err(PermissionDenied));
    assert_eq!(ask(&store, &ann, look(false)), Ok(()));
    assert_eq!(ask(&store, &ann, Query::LeaseLeases), Err(PermissionDenied));
    assert_eq!(by(&mut store, &ann, &put("b", 1)), Err(PermissionDenied));
    let revoke = Command::LeaseRevoke(LeaseRevokeRequest { id: 1, ended: None });
    assert_eq!(by(&mut store, &ann, &revoke), Err(PermissionDenied));
    assert_eq!(by(&mut store, &user(ROOT), &revoke), Ok(()));
}

#[test]
fn a_right_counts_as_things_stand_when_the_command_is_applied() {
    let mut store = store();
    let since = |store: &Store, name: &str| {
        let since = store.auth().user(name).expect("there").since;
        Asker::User(name.to_owned(), Proof::Since(since))
    };
    let ann = since(&store, "ann");
    let of_keys = Asker::User("ann".to_owned(), Proof::Revision(store.auth().revision));
    assert_eq!(by(&mut store, &ann, &put_of("x", "1")), Ok(()));
    assert_eq!(by(&mut store, &of_keys, &put_of("x", "1")), Ok(()));
    let revoke = AuthRequest::UserRevokeRole("ann".into(), "s".into());
    make(&mut store, [auth(revoke)]);
    // The token is still hers, the right is not.
    assert_eq!(
        by(&mut store, &ann, &put_of("x", "1")),
        Err(PermissionDenied)
    );
    assert_eq!(
        by(&mut store, &of_keys, &put_of("x", "1")),
        Err(OldAuthRevision)
    );
    let give = AuthRequest::UserGrantRole("ann".into(), "s".into());
    make(&mut store, [auth(give.clone())]);
    assert_eq!(by(&mut store, &ann, &put_of("x", "1")), Ok(()));
    // Another password, or another user of the name: another token.
    let change = AuthRequest::UserChangePassword("ann".into(), b("other"));
    make(&mut store, [auth(change)]);
    assert_eq!(
        by(&mut store, &ann, &put_of("x", "1")),
        Err(InvalidAuthToken)
    );
    // What lasts goes on.
    assert_eq!(
        by(&mut store, &ann.clone().by_name(), &put_of("x", "1")),
        Ok(())
    );
    let ann = since(&store, "ann");
    let anew = [
        AuthRequest::UserDelete("ann".into()),
        AuthRequest::UserAdd("ann".into(), Some(b("hash"))),
        give,
    ];
    make(&mut store, anew.map(auth));
    assert_eq!(
        by(&mut store, &ann, &put_of("x", "1")),
        Err(InvalidAuthToken)
    );
    make(&mut store, [auth(AuthRequest::Disable)]);
    assert!(apply(&mut store, &put_of("x", "1")).result.is_ok());
}

#[test]
fn roots_place_is_safe_while_rights_are_needed() {
    let mut store = store();
    let root = || ROOT.to_owned();
    let moves = [
        AuthRequest::UserDelete(root()),
        AuthRequest::UserRevokeRole(root(), root()),
        AuthRequest::RoleDelete(root()),
    ];
    make(&mut store, [auth(AuthRequest::RoleAdd(root()))]);
    for request in moves {
        let refused = by(&mut store, &user(ROOT), &auth(request));
        assert_eq!(refused, Err(InvalidAuthManagement));
    }
    make(
        &mut store,
        [
            auth(AuthRequest::Disable),
            auth(AuthRequest::RoleDelete(root())),
        ],
    );
    // With the role, everybody lost it.
    let outcome = apply(&mut store, &auth(AuthRequest::Enable));
    assert_eq!(outcome.result, Err(KvError::RootRoleNotGranted));
    make(&mut store, [auth(AuthRequest::UserDelete(root()))]);
    let outcome = apply(&mut store, &auth(AuthRequest::Enable));
    assert_eq!(outcome.result, Err(KvError::RootUserNotFound));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut store = store();
    let before = std::sync::Arc::clone(store.auth());
    let refused = [
        AuthRequest::UserAdd("ann".into(), None),
        AuthRequest::UserAdd(String::new(), None),
        AuthRequest::UserDelete("nobody".into()),
        AuthRequest::UserGrantRole("ann".into(), "no".into()),
        AuthRequest::RoleAdd("r".into()),
        AuthRequest::RoleDelete("no".into()),
        AuthRequest::RoleRevokePermission("r".into(), b("a"), Bytes::new()),
    ];
    for request in refused {
        assert!(by(&mut store, &Asker::Server, &auth(request)).is_err());
    }
    for (key, range_end) in [("", ""), ("", "\0"), ("b", "b"), ("b", "a")] {
        let refused = by(
            &mut store,
            &Asker::Server,
            &grant("r", Read, key, range_end),
        );
        assert_eq!(refused, Err(InvalidAuthManagement));
    }
    assert!(std::sync::Arc::ptr_eq(&before, store.auth()));
}

fn watch_of(key: &str, range_end: &str) -> WatchRequest {
    WatchRequest {
        key: b(key),
        range_end: b(range_end),
        ..WatchRequest::default()
    }
}

#[test]
fn a_watch_ends_when_its_client_may_not_watch_any_more() {
    let mut store = store();
    let mut streams = Streams::default();
    let (ann, nobody) = (StreamId(1), StreamId(2));
    streams.open(ann, Some(user("ann")));
    streams.open(nobody, None);
    let words = |streams: &mut Streams, store: &Store, id| {
        let mut words = Vec::new();
        while let Some(said) = streams.next(id, store, 1 << 20) {
            words.push((said.id, said.word));
        }
        words
    };
    let refused = || (NOBODY, Word::Refused(Refusal::Denied));
    streams.create(nobody, 0, watch_of("x", ""), &store);
    assert_eq!(words(&mut streams, &store, nobody), [refused()]);
    streams.create(ann, 5, watch_of("a", "c"), &store);
    streams.create(ann, 6, watch_of("x", ""), &store);
    streams.create(ann, 7, watch_of("a", "\0"), &store);
    streams.create(ann, 8, watch_of("", "\0"), &store);
    assert_eq!(
        words(&mut streams, &store, ann),
        [(5, Word::Created), (6, Word::Created), refused(), refused()]
    );
    make(
        &mut store,
        [auth(AuthRequest::UserRevokeRole("ann".into(), "s".into()))],
    );
    streams.advance(&store);
    assert_eq!(words(&mut streams, &store, ann), [(6, Word::Denied)]);
    make(&mut store, [put_of("x", "1"), put_of("b", "1")]);
    streams.advance(&store);
    let told = words(&mut streams, &store, ann);
    assert!(matches!(&told[..], [(5, Word::Events { events, .. })] if events.len() == 1));
}

fn chunks(store: &mut Store, bytes_max: usize) -> Vec<Bytes> {
    let mut walk = store.begin_snapshot();
    std::iter::from_fn(|| store.next_chunk(&mut walk, bytes_max)).collect()
}

fn load(chunks: &[Bytes]) -> Result<Store, String> {
    let mut store = Store::default();
    for chunk in chunks {
        store.load_chunk(chunk.clone()).map_err(|error| error.0)?;
    }
    store.finish_load().map_err(|error| error.0)?;
    Ok(store)
}

#[test]
fn a_snapshot_carries_users_and_roles() {
    let mut store = store();
    make(
        &mut store,
        [put_of("x", "1"), auth(AuthRequest::Secret(b("secret")))],
    );
    for bytes_max in [1, 20, 1 << 20] {
        let chunks = chunks(&mut store, bytes_max);
        let loaded = load(&chunks).expect("a snapshot just written");
        assert_eq!(loaded.auth(), store.auth());
        for missing in 0..chunks.len() {
            let mut rest = chunks.clone();
            rest.remove(missing);
            assert!(
                load(&rest).is_err(),
                "without chunk {missing} of {}",
                chunks.len()
            );
        }
    }
}

#[test]
fn a_snapshot_of_before_there_were_users_is_read() {
    let mut store = Store::default();
    apply(&mut store, &put_of("x", "1"));
    let now = &chunks(&mut store, 1 << 20)[0];
    // The head ends with what holds for all users, before the first record; the end says how many of
    // users and roles there were.
    let at = now.windows(4).position(|part| part == [0, 1, 0, 2]);
    let (head, rest) = now.split_at(at.expect("no users, no roles"));
    let rest = rest[3..].strip_suffix(&[0, 0]).expect("no users, no roles");
    let mut before = [head, rest].concat();
    assert_eq!(before[1], 7);
    before[1] = 6;
    let loaded = load(&[before.into()]).expect("the version before");
    assert!(!loaded.auth().is_enabled);
    assert_eq!(loaded.query(Query::Status), store.query(Query::Status));
}

#[test]
fn commands_of_users_decode_to_themselves_and_cut_ones_to_none() {
    let mut dice = Dice(7);
    let texts = ["", "ann", "ünï", "a very long name"];
    for _ in 0..2000 {
        let mut text = || (*dice.pick(&texts)).to_owned();
        let (one, two) = (text(), text());
        let request = match dice.below(11) {
            0 => AuthRequest::Enable,
            1 => AuthRequest::Disable,
            2 => AuthRequest::Secret(b(&one)),
            3 => AuthRequest::UserAdd(one, dice.once_in(2).then(|| b(&two))),
            4 => AuthRequest::UserDelete(one),
            5 => AuthRequest::UserChangePassword(one, b(&two)),
            6 => AuthRequest::UserGrantRole(one, two),
            7 => AuthRequest::UserRevokeRole(one, two),
            8 => AuthRequest::RoleDelete(one),
            9 => AuthRequest::RoleRevokePermission(one, b(&two), b("")),
            _ => AuthRequest::RoleAdd(one),
        };
        let asker = match dice.below(4) {
            0 => Asker::Server,
            1 => Asker::User("ann".into(), Proof::Certificate),
            2 => Asker::User("ann".into(), Proof::Since(dice.next())),
            _ => Asker::User("ann".into(), Proof::Revision(dice.next())),
        };
        let inner = match dice.below(3) {
            0 => grant("r", *dice.pick(&[Read, Write, ReadWrite]), "a", "b"),
            1 => put_of("k", "v"),
            _ => auth(request),
        };
        let bytes = inner.encode_by(Some(&asker));
        let command = Command::By(asker, Box::new(inner));
        assert_eq!(command.encode(), bytes);
        assert_eq!(Command::decode(&bytes), Ok(command.clone()));
        for len in 0..bytes.len() {
            let cut = Command::decode(&bytes.slice(..len));
            assert_eq!(cut, Err(KvError::MalformedCommand));
        }
        // Nobody asks in the name of somebody who asks.
        let twice = Command::By(Asker::Server, Box::new(command)).encode();
        assert_eq!(Command::decode(&twice), Err(KvError::MalformedCommand));
    }
}

#[test]
fn users_count_in_the_hash_of_everything() {
    let hash = |store: &Store, with_auth| {
        let request = headwater_kv::request::HashRequest {
            piece_bytes: usize::MAX,
            with_auth,
            ..Default::default()
        };
        hash_piece(store, request).expect("a hash")
    };
    let (one, mut other) = (store(), store());
    assert_eq!(hash(&one, true), hash(&other, true));
    make(&mut other, [auth(AuthRequest::RoleAdd("more".into()))]);
    assert_eq!(hash(&one, false), hash(&other, false));
    assert_ne!(hash(&one, true), hash(&other, true));
}
