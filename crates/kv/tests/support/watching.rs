//! Watchers of scripts: at the store, and at a real etcd through its JSON gateway.

use super::etcd::{decode, encode, int, kv_of, list};
use headwater_kv::Store;
use headwater_kv::watch::{Event, EventKind, Told, WatchId, WatchRequest, Watches};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// So long after its last word an etcd has no more to say.
const SILENCE: Duration = Duration::from_millis(300);

/// The watchers of a script at the store, by the names it gives them.
#[derive(Default)]
pub struct AtStore {
    watches: Watches,
    names: BTreeMap<i64, WatchId>,
}

impl AtStore {
    pub fn create(&mut self, store: &Store, name: i64, request: &WatchRequest) -> String {
        match self.watches.create(request.clone(), store) {
            Ok(id) => {
                self.names.insert(name, id);
                String::from("watched\n")
            }
            Err(refusal) => format!("refused: {refusal:?}\n"),
        }
    }

    /// A command was applied.
    pub fn advance(&mut self, store: &Store) {
        self.watches.advance(store);
    }

    pub fn told(&mut self, store: &Store, name: i64) -> String {
        let mut text = String::from("told\n");
        while let Some(told) = self.watches.take(self.names[&name], store, 1 << 20).0 {
            match told {
                Told::Events { events, .. } => events.iter().for_each(|e| spell(&mut text, e)),
                Told::Compacted { compact_revision } => cancelled(&mut text, compact_revision),
                Told::Progress { .. } | Told::Looking => {}
            }
        }
        text
    }
}

/// The watchers of a script at an etcd.
#[derive(Default)]
pub struct AtEtcd(BTreeMap<i64, TcpStream>);

impl AtEtcd {
    pub fn create(&mut self, address: &str, name: i64, request: &WatchRequest) -> String {
        let mut filters = Vec::new();
        filters.extend(request.no_put.then_some("NOPUT"));
        filters.extend(request.no_delete.then_some("NODELETE"));
        let body = json!({ "create_request": {
            "key": encode(&request.key),
            "range_end": encode(&request.range_end),
            "start_revision": request.start_revision.to_string(),
            "prev_kv": request.prev_kv,
            "filters": filters,
        }});
        let body = body.to_string();
        let length = body.len();
        let head =
            format!("POST /v3/watch HTTP/1.1\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(address).expect("an etcd listens there");
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        // What follows the creation at once is already told.
        self.0.insert(name, stream);
        String::from("watched\n")
    }

    pub fn told(&mut self, name: i64) -> String {
        let stream = self.0.get_mut(&name).expect("it was created");
        let mut text = String::from("told\n");
        for reply in replies(&read_until_silent(stream)) {
            let reply = &reply["result"];
            for event in list(reply, "events") {
                spell(&mut text, &event_of(event));
            }
            if reply["canceled"].as_bool().unwrap_or(false) {
                cancelled(&mut text, int(reply, "compact_revision"));
            }
        }
        text
    }
}

fn read_until_silent(stream: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return bytes,
            Err(error) => panic!("an etcd hung up: {error}"),
        }
    }
}

/// The JSON values in the chunks of a reply, after its head if that is there.
fn replies(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(bytes);
    let json = text.lines().filter(|line| line.starts_with('{'));
    json.map(|line| serde_json::from_str(line).expect("a chunk is one JSON value"))
        .collect()
}

fn event_of(event: &Value) -> Event {
    let is_delete = event["type"].as_str() == Some("DELETE");
    let kv = kv_of(&event["kv"]);
    assert_eq!(decode(&event["kv"], "key"), kv.key);
    Event {
        kind: if is_delete {
            EventKind::Delete
        } else {
            EventKind::Put
        },
        kv,
        prev_kv: event.get("prev_kv").map(kv_of),
    }
}

fn spell(text: &mut String, event: &Event) {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "del",
    };
    writeln!(text, "  {kind}").unwrap();
    super::script::key_value(text, &event.kv, 2);
    if let Some(before) = &event.prev_kv {
        writeln!(text, "    before").unwrap();
        super::script::key_value(text, before, 2);
    }
}

fn cancelled(text: &mut String, compact_revision: i64) {
    writeln!(text, "  cancelled, compacted at {compact_revision}").unwrap();
}
