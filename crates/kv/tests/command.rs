//! The codec of commands: what goes in comes out, and nothing else gets through or harms.
mod support;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::check::NESTED_TXNS_MAX;
use headwater_kv::request::{
    Alarm, AlarmKind, AlarmRequest, Command, Ended, KvError, LeaseCheckpointRequest,
    LeaseGrantRequest, LeaseLeft, LeaseRevokeRequest, Member, PutRequest, RequestOp, Response,
    TxnRequest,
};
use headwater_replica::LogId;
use headwater_replica::machine::StateMachine;
use support::generator::Generator;
use support::{Dice, put_of, status};

#[test]
fn a_command_decodes_to_itself() {
    let mut generator = Generator::new(1);
    for _ in 0..20_000 {
        generator.revision = (i64::MAX - 10) >> generator.dice.below(58);
        let command = generator.command();
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn the_extremes_of_numbers_survive() {
    for lease in [i64::MIN, -1, 0, 1, i64::MAX] {
        let command = Command::Put(PutRequest {
            lease,
            ..Default::default()
        });
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

/// The bytes of the commands that leases came with: a log that holds them must stay readable.
#[test]
fn commands_about_leases_are_drawn_so() {
    let grant = Command::LeaseGrant(LeaseGrantRequest { id: -3, ttl: 60 });
    let revoke = |ended| Command::LeaseRevoke(LeaseRevokeRequest { id: 7, ended });
    let ended = Ended {
        term: 200,
        granted: 3,
    };
    let left = |id, seconds| LeaseLeft {
        id,
        granted: 9,
        seconds,
    };
    let checkpoint = Command::LeaseCheckpoint(LeaseCheckpointRequest {
        term: 5,
        number: 300,
        leases: vec![left(7, 100), left(-1, 0)],
    });
    let drawn: [(Command, &[u8]); 4] = [
        // Version, kind, then zigzag: the id, seconds.
        (grant, &[1, 8, 5, 120]),
        // No finding, the id.
        (revoke(None), &[1, 9, 0, 14]),
        // A finding, the id, the leader's term, the index that granted it.
        (revoke(Some(ended)), &[1, 9, 1, 14, 0xc8, 1, 3]),
        // Term, number, how many; of each the id, the index that granted it, and the seconds left.
        (checkpoint, &[1, 10, 5, 0xac, 2, 2, 14, 9, 0xc8, 1, 1, 9, 0]),
    ];
    for (command, bytes) in drawn {
        assert_eq!(command.encode(), bytes, "{command:?}");
        assert_eq!(Command::decode(&Bytes::from_static(bytes)), Ok(command));
    }
}

#[test]
fn commands_about_members_are_drawn_so() {
    let urls = vec!["u".to_string()];
    let founder = Member {
        id: 5,
        name: "n".to_string(),
        peer_urls: urls.clone(),
        client_urls: Vec::new(),
    };
    let alarm = AlarmRequest {
        alarm: Alarm {
            kind: AlarmKind::Corrupt,
            member: 300,
        },
        is_raised: true,
    };
    let drawn: [(Command, &'static [u8]); 5] = [
        // Whether it is raised, its kind, the member.
        (Command::Alarm(alarm), &[1, 15, 1, 2, 0xac, 2]),
        // How many; of each the id, the name, how many client URLs, how many peer URLs, the URLs.
        (
            Command::Found(vec![founder]),
            &[1, 11, 1, 5, 1, b'n', 0, 1, 1, b'u'],
        ),
        // The id, how many peer URLs, the URLs.
        (
            Command::MemberAdd(300, urls.clone()),
            &[1, 12, 0xac, 2, 1, 1, b'u'],
        ),
        (Command::MemberRemove(300), &[1, 13, 0xac, 2]),
        (Command::MemberUpdate(7, urls), &[1, 14, 7, 1, 1, b'u']),
    ];
    for (command, bytes) in drawn {
        assert_eq!(command.encode(), bytes, "{command:?}");
        assert_eq!(Command::decode(&Bytes::from_static(bytes)), Ok(command));
    }
}

#[test]
fn no_part_of_a_command_is_a_command_nor_is_more() {
    let mut generator = Generator::new(2);
    for _ in 0..500 {
        let whole = generator.command().encode();
        for cut in 0..whole.len() {
            assert_eq!(
                Command::decode(&whole.slice(..cut)),
                Err(KvError::MalformedCommand)
            );
        }
        let more = Bytes::from([&whole[..], &[0]].concat());
        assert_eq!(Command::decode(&more), Err(KvError::MalformedCommand));
    }
}

#[test]
fn any_bytes_are_a_reply_and_never_a_panic() {
    let mut dice = Dice(3);
    let mut store = Store::default();
    for _ in 0..50_000 {
        let mut bytes = vec![1, 1 + dice.below(14) as u8];
        bytes.extend(dice.bytes(40));
        store.apply(LogId::default(), &Bytes::from(bytes));
    }
    let mut generator = Generator::new(4);
    for _ in 0..20_000 {
        let mut bytes = generator.command().encode().to_vec();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] = dice.next() as u8;
        store.apply(LogId::default(), &Bytes::from(bytes));
    }
    let before = status(&store);
    let outcome = store.apply(LogId::default(), &Bytes::from_static(b"\x02\x01"));
    assert_eq!(
        outcome.result,
        Err(KvError::MalformedCommand),
        "another version"
    );
    assert_eq!(outcome.revision, before.revision);
    assert_eq!(status(&store), before);
}

#[test]
fn keys_and_values_are_slices_of_the_log() {
    let bytes = put_of("key", "a value").encode();
    let Ok(Command::Put(put)) = Command::decode(&bytes) else {
        panic!("a put decodes to a put");
    };
    let log = bytes.as_ptr_range();
    assert!(log.contains(&put.key.as_ptr()) && log.contains(&put.value.as_ptr()));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let innermost = TxnRequest::default();
        let wrap = |inner, _| TxnRequest {
            success: vec![RequestOp::Txn(Box::new(inner))],
            ..Default::default()
        };
        Command::Txn((1..levels).fold(innermost, wrap))
    };
    let deepest = nested(NESTED_TXNS_MAX);
    assert_eq!(Command::decode(&deepest.encode()), Ok(deepest.clone()));
    assert_eq!(headwater_kv::check::check(&deepest, 128), Ok(()));
    let outcome = Store::default().apply(LogId::default(), &deepest.encode());
    assert!(
        matches!(outcome.result, Ok(Response::Txn(_))),
        "as deep as is allowed is done"
    );
    let deeper = nested(NESTED_TXNS_MAX + 1);
    assert_eq!(
        Command::decode(&deeper.encode()),
        Err(KvError::MalformedCommand)
    );
    assert_eq!(
        headwater_kv::check::check(&deeper, 1_000),
        Err(KvError::TooManyOps)
    );
    // Bytes that say "a transaction" without end.
    let endless = Bytes::from([&[1][..], &[3, 0, 1].repeat(100_000)].concat());
    assert_eq!(Command::decode(&endless), Err(KvError::MalformedCommand));
}
