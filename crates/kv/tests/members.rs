//! What members say of themselves is kept beside the keys: bounded, and in every snapshot.
mod support;

use std::sync::Arc;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::check::check;
use headwater_kv::members::{
    MEMBERS_MAX, NAME_BYTES_MAX, REMOVED_MAX, Roster, URL_BYTES_MAX, URLS_MAX,
};
use headwater_kv::request::{Attributes, Command, KvError, Member, Query, Response};
use headwater_replica::machine::StateMachine;
use support::{
    apply, assert_equal_reads, assert_every_chunk_counts, chunks, load, put_of, reload, status,
};

fn attributes(member: u64, url: &str) -> Attributes {
    Attributes {
        member,
        name: format!("m{member}"),
        client_urls: vec![url.to_string()],
    }
}

fn publish(store: &mut Store, attributes: Attributes) -> Result<Response, KvError> {
    apply(store, &Command::Publish(attributes)).result
}

fn roster(store: &Store) -> Arc<Roster> {
    match store.query(Query::Members).result {
        Ok(Response::Members(roster)) => roster,
        other => panic!("members are always told: {other:?}"),
    }
}

/// What the members say of themselves.
fn members(store: &Store) -> Vec<Attributes> {
    let said = |member: &Member| Attributes {
        member: member.id,
        name: member.name.clone(),
        client_urls: member.client_urls.clone(),
    };
    roster(store).members().map(said).collect()
}

fn urls(url: &str) -> Vec<String> {
    vec![url.to_string()]
}

#[test]
fn a_publication_moves_no_revision_and_holds_until_the_next() {
    let mut store = Store::default();
    apply(&mut store, &put_of("a", "1"));
    let before = status(&store);
    for url in ["http://a:1", "http://b:2"] {
        let outcome = apply(&mut store, &Command::Publish(attributes(7, url)));
        assert_eq!(outcome.result, Ok(Response::Publish));
        assert_eq!(outcome.revision, before.revision);
        assert_eq!(members(&store), [attributes(7, url)]);
    }
    publish(&mut store, attributes(3, "http://c:3")).expect("another member");
    let ids: Vec<u64> = members(&store).iter().map(|told| told.member).collect();
    assert_eq!(ids, [3, 7], "by id");
    assert_eq!(status(&store), before, "the database is as it was");
    assert_eq!(
        apply(&mut store, &put_of("a", "2")).revision,
        before.revision + 1
    );
}

#[test]
fn what_is_too_large_is_refused_before_and_after_the_log() {
    let largest = Attributes {
        member: u64::MAX,
        name: "n".repeat(NAME_BYTES_MAX),
        client_urls: vec!["u".repeat(URL_BYTES_MAX); URLS_MAX],
    };
    let mut too_large = [largest.clone(), largest.clone(), largest.clone()];
    too_large[0].name.push('n');
    too_large[1].client_urls.push(String::new());
    too_large[2].client_urls[URLS_MAX - 1].push('u');
    let mut store = Store::default();
    assert_eq!(
        publish(&mut store, largest.clone()),
        Ok(Response::Publish),
        "the bounds themselves are within"
    );
    for attributes in too_large {
        let command = Command::Publish(attributes);
        let refusal = Err(KvError::AttributesTooLarge);
        assert_eq!(check(&command, 128), refusal);
        assert_eq!(apply(&mut store, &command).result.map(drop), refusal);
    }
    assert_eq!(members(&store), [largest]);
    assert_equal_reads(&reload(&mut store, 1), &store, "the largest");
}

#[test]
fn one_member_too_many_is_refused_and_the_others_may_still_publish() {
    let mut store = Store::default();
    for member in 1..=MEMBERS_MAX as u64 {
        publish(&mut store, attributes(member, "u")).expect("there is room");
    }
    assert_eq!(
        publish(&mut store, attributes(0, "u")),
        Err(KvError::TooManyMembers)
    );
    publish(&mut store, attributes(5, "another")).expect("it is known already");
    let told = members(&store);
    assert_eq!(told.len(), MEMBERS_MAX);
    assert_eq!(told[4], attributes(5, "another"));
    assert_equal_reads(&reload(&mut store, 50), &store, "as many as can be");
}

#[test]
fn a_name_that_is_no_text_is_no_command() {
    let command = Command::Publish(attributes(1, "u")).encode();
    let mut bytes = command.to_vec();
    let at = bytes.iter().position(|&byte| byte == b'm').expect("a name");
    bytes[at] = 0xff;
    assert_eq!(
        Command::decode(&Bytes::from(bytes)),
        Err(KvError::MalformedCommand)
    );
}

#[test]
fn a_snapshot_shows_the_members_as_they_were_when_it_began() {
    let mut store = Store::default();
    for member in 1..=3 {
        publish(&mut store, attributes(member, "before")).expect("there is room");
        apply(&mut store, &put_of("k", "v"));
    }
    let expected = reload(&mut store, 1 << 20);
    let mut walk = store.begin_snapshot();
    let mut shown = vec![store.next_chunk(&mut walk, 1).expect("the first chunk")];
    publish(&mut store, attributes(2, "during")).expect("there is room");
    publish(&mut store, attributes(9, "during")).expect("there is room");
    while let Some(chunk) = store.next_chunk(&mut walk, 1) {
        shown.push(chunk);
    }
    let loaded = load(&shown).expect("a snapshot just written");
    assert_equal_reads(&loaded, &expected, "as it began");
    assert_eq!(members(&loaded)[1], attributes(2, "before"));
    assert_eq!(members(&store).len(), 4, "the walk changes nothing");
}

#[test]
fn a_snapshot_that_lacks_or_repeats_a_member_is_refused() {
    let mut store = Store::default();
    for member in 1..=3 {
        publish(&mut store, attributes(member, "u")).expect("there is room");
    }
    let whole = chunks(&mut store, 1);
    assert_eq!(whole.len(), 5, "a head, three members, an end");
    assert_every_chunk_counts(&whole);
    let mut chunks = whole.clone();
    chunks.swap(1, 2);
    assert!(load(&chunks).is_err(), "out of order");
    assert_equal_reads(&load(&whole).expect("whole"), &store, "whole");
}

/// Bytes that the version before peer URLs wrote, for a store that knows one member.
#[test]
fn a_snapshot_from_before_peer_urls_is_read() {
    let old: &[u8] = &[
        1, 3, 2, 1, 0, 0, // The head: version, revision 1, never compacted, no checkpoint.
        6, 7, 2, b'm', b'7', 1, 1, b'u', // The member 7, m7, at u.
        4, 0, 0, 1, 0, // The end: no records, no changes, one member, no leases.
    ];
    let loaded = load(&[Bytes::from_static(old)]).expect("an older version");
    assert_eq!(members(&loaded), [attributes(7, "u")]);
    let urls_of_peers = roster(&loaded)
        .member(7)
        .map(|member| member.peer_urls.len());
    assert_eq!(urls_of_peers, Some(0));
}

#[test]
fn who_was_removed_never_comes_back_and_is_in_every_snapshot() {
    let mut store = Store::default();
    for id in [5, 3] {
        let added = apply(&mut store, &Command::MemberAdd(id, urls("http://p:1")));
        assert_eq!(added.result, Ok(Response::Publish));
        apply(&mut store, &Command::MemberRemove(id));
    }
    publish(&mut store, attributes(4, "u")).expect("there is room");
    for command in [
        Command::Publish(attributes(5, "u")),
        Command::MemberAdd(3, urls("http://p:1")),
        Command::MemberUpdate(3, urls("http://p:1")),
    ] {
        let result = apply(&mut store, &command).result;
        assert_eq!(result, Err(KvError::MemberNotFound), "{command:?}");
    }
    let founders = [3, 6].map(|id| Member {
        id,
        name: format!("f{id}"),
        ..Member::default()
    });
    apply(&mut store, &Command::Found(founders.to_vec()));
    let ids: Vec<u64> = members(&store).iter().map(|told| told.member).collect();
    assert_eq!(ids, [6], "the fourth is of another cluster");
    assert_eq!(
        roster(&store).removed(),
        [5, 3],
        "in the order of their going"
    );
    let loaded = reload(&mut store, 1);
    assert_eq!(roster(&loaded), roster(&store));
    assert_every_chunk_counts(&chunks(&mut store, 1));
}

#[test]
fn the_removed_have_a_bound() {
    let mut store = Store::default();
    for id in 1..=REMOVED_MAX as u64 + 2 {
        apply(&mut store, &Command::MemberRemove(id));
    }
    let known = roster(&store);
    assert_eq!(known.removed().len(), REMOVED_MAX);
    assert!(
        !known.has_removed(2) && known.has_removed(3),
        "the oldest go"
    );
    assert_eq!(roster(&reload(&mut store, 1 << 10)), known);
}

#[test]
fn no_two_members_are_reached_at_one_url_after_an_update() {
    let mut store = Store::default();
    for id in [1, 2] {
        apply(
            &mut store,
            &Command::MemberAdd(id, urls(&format!("http://p:{id}"))),
        );
    }
    let mut update = |id, url| apply(&mut store, &Command::MemberUpdate(id, urls(url))).result;
    assert_eq!(update(1, "http://p:2"), Err(KvError::PeerUrlsExist));
    assert_eq!(update(1, "http://p:1"), Ok(Response::Publish), "its own");
    assert_eq!(update(1, "http://p:3"), Ok(Response::Publish));
    assert_eq!(update(9, "http://p:9"), Err(KvError::MemberNotFound));
    let known = roster(&store);
    let at = known.member(1).map(|member| member.peer_urls.clone());
    assert_eq!(at, Some(urls("http://p:3")));
}

#[test]
fn founders_take_nothing_from_what_is_known_better() {
    let mut store = Store::default();
    publish(&mut store, attributes(1, "http://c:1")).expect("there is room");
    let founders = [1, 2].map(|id| Member {
        id,
        name: "flag".to_string(),
        peer_urls: urls("http://flag:1"),
        client_urls: Vec::new(),
    });
    publish(&mut store, attributes(9, "of another cluster")).expect("there is room");
    apply(&mut store, &Command::Found(founders.to_vec()));
    assert_eq!(members(&store).len(), 2);
    apply(&mut store, &Command::MemberAdd(5, urls("http://later:1")));
    apply(&mut store, &Command::MemberUpdate(2, urls("http://new:1")));
    apply(&mut store, &Command::Found(founders.to_vec()));
    let known = roster(&store);
    let of = |id| {
        let member = known.member(id).expect("a founder");
        (member.name.clone(), member.peer_urls.clone())
    };
    assert_eq!(of(1), ("m1".to_string(), urls("http://flag:1")));
    assert_eq!(of(2), ("flag".to_string(), urls("http://new:1")));
    assert_eq!(
        of(5),
        (String::new(), urls("http://later:1")),
        "nothing is founded twice"
    );
}

#[test]
fn a_cluster_is_not_founded_again_once_a_removed_founder_is_forgotten() {
    let mut store = Store::default();
    let founders = [1, 2].map(|id| Member {
        id,
        name: format!("f{id}"),
        peer_urls: urls(&format!("http://p:{id}")),
        client_urls: Vec::new(),
    });
    let found = Command::Found(founders.to_vec());
    apply(&mut store, &found);
    apply(&mut store, &Command::MemberAdd(5, urls("http://later:1")));
    apply(&mut store, &Command::MemberRemove(1));
    for id in 10..=REMOVED_MAX as u64 + 10 {
        apply(&mut store, &Command::MemberRemove(id));
    }
    let before = roster(&store);
    assert!(!before.has_removed(1), "forgotten");
    apply(&mut store, &found);
    assert_eq!(roster(&store), before);
}

/// Bytes that the version before members wrote, for a store of one put.
#[test]
fn a_snapshot_from_before_there_were_members_is_read() {
    let mut store = Store::default();
    apply(&mut store, &put_of("k", "v"));
    let old: &[u8] = &[
        1, 1, 4, 1, // The head: version, revision 2, never compacted.
        2, 8, 1, b'k', 2, 0, 1, 0, 0, b'v', // The one record.
        4, 1, 0, // The end: one record, no changes.
    ];
    let loaded = load(&[Bytes::from_static(old)]).expect("an older version");
    assert_equal_reads(&loaded, &store, "from an older version");
    let has_member = [&old[..4], &[6, 1, 0, 0], &old[4..]].concat();
    let refusal = load(&[Bytes::from(has_member)]).expect_err("it had no such item");
    assert!(refusal.contains("an unknown item"), "{refusal}");
}

#[test]
fn an_older_reader_refuses_at_the_head_and_so_do_we_for_what_is_newer() {
    let newest = chunks(&mut Store::default(), 1 << 20).concat();
    assert_eq!(newest[..2], [1, 7], "the head says the seventh version");
    for version in [0, 8, 255] {
        let mut other = newest.clone();
        other[1] = version;
        let refusal = load(&[Bytes::from(other)]).expect_err("another version");
        assert!(refusal.contains("unknown version"), "{refusal}");
    }
}
