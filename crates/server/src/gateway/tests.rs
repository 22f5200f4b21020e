//! What is found in bodies, and who may not ask.
use super::*;
use std::time::Duration;

fn gateway() -> Gateway {
    let room = pressure::Answers::new(Duration::from_secs(1));
    Gateway::new(1, Requests::new(room.crowd().clone()), room)
}

#[test]
fn every_path_has_a_method() {
    let gateway = gateway();
    for (path, service, method) in PATHS {
        let found = gateway.methods.get(path);
        assert!(
            found.is_some_and(|found| found.name() == method),
            "{service}/{method}"
        );
    }
}

#[test]
fn objects_are_found_however_they_are_cut() {
    let text = br#" {"a":"}{\\\"}","b":{"c":[{}]}} {}{"d":1}
"#;
    for piece in 1..text.len() {
        let (mut objects, mut found) = (Objects::default(), Vec::new());
        for part in text.chunks(piece) {
            objects.gathered.extend_from_slice(part);
            while let Ok(Some(object)) = objects.next() {
                found.push(serde_json::from_slice::<serde_json::Value>(&object).unwrap());
            }
        }
        let a = json!({"a": "}{\\\"}", "b": {"c": [{}]}});
        assert_eq!(
            found,
            [a, json!({}), json!({"d": 1})],
            "in pieces of {piece}"
        );
        assert!(objects.gathered.iter().all(u8::is_ascii_whitespace));
    }
    let mut objects = Objects::default();
    objects.gathered.extend_from_slice(b"{} 7");
    assert!(objects.next().ok().flatten().is_some());
    assert!(objects.next().is_err());
}

#[test]
fn pages_of_another_origin_are_known() {
    let with = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        is_foreign(&pairs.collect())
    };
    assert!(!with(&[("host", "a:1")]));
    assert!(!with(&[("host", "a:1"), ("origin", "http://a:1")]));
    assert!(with(&[("host", "a:1"), ("origin", "http://b:1")]));
    assert!(with(&[("host", "a:1"), ("origin", "null")]));
    assert!(with(&[("host", "a:1"), ("sec-fetch-site", "cross-site")]));
}

#[test]
fn what_is_no_message_is_refused() {
    let gateway = gateway();
    let kind = gateway.methods["kv/put"].input();
    for bad in [
        json!(7),
        json!({"key": 7}),
        json!({"key": "not base64!"}),
        json!({"lease": "x"}),
    ] {
        assert!(to_frame(bad.clone(), kind.clone()).is_err(), "{bad}");
    }
    let good = json!({"key": "Zm9v", "value": "YmFy", "lease": "77", "unheard_of": 1});
    let frame = to_frame(good, kind).ok().expect("it is one");
    assert_eq!(frame[..], *b"\0\0\0\0\x0c\x0a\x03foo\x12\x03bar\x18\x4d");
}

#[test]
fn a_name_that_an_enumeration_has_not_is_refused_and_no_zero() {
    let gateway = gateway();
    let refused = |path: &str, body: serde_json::Value| {
        let refusal = to_frame(body, gateway.methods[path].input()).err();
        refusal.map(|refusal| refusal.text).unwrap_or_default()
    };
    let range = |order: &str| json!({"key": "Zm9v", "sort_order": order, "unheard_of": {"a": 1}});
    assert!(refused("kv/range", range("DOWNWARDS")).contains("'DOWNWARDS'"));
    assert_eq!(refused("kv/range", range("DESCEND")), "");
    let txn =
        |result: &str| json!({"compare": [{"key": "Zm9v", "result": result, "unheard_of": 1}]});
    assert!(refused("kv/txn", txn("SAME")).contains("'SAME'"));
    assert_eq!(refused("kv/txn", txn("EQUAL")), "");
    assert_eq!(refused("kv/range", json!({"sortOrder": 2})), "");
}
