//! Events that many watchers are told at once, in the same words: they are encoded for the first, and the others'
//! messages differ in what stands before them, if at all.
//! Never looks at an event.
//!
//! # Source
//! Protocol Buffers (a message's fields may come one after the other as two messages would); gRPC over HTTP/2.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headwater_kv::stream::{Said, Word};
use headwater_kv::watch::Event;
use prost::Message;

use crate::convert;
use crate::generated::etcdserverpb as api;
use crate::grpc::{HEAD_BYTES, framed_parts};

/// What a stream says, and how others were told the same, if it has events.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it says.
    pub said: Said,
    /// Its message.
    pub once: Arc<Once>,
}

/// A message with events, once somebody has encoded it.
#[derive(Debug, Default)]
pub struct Once(OnceLock<Encoded>);

#[derive(Debug)]
struct Encoded {
    /// Without its events.
    response: api::WatchResponse,
    framed: Bytes,
    /// Where the events begin.
    events_at: usize,
}

impl Once {
    /// A response, which has no events in it, and these, as gRPC sends it. They are the same each time.
    pub fn framed(&self, response: &api::WatchResponse, events: &[Event]) -> Bytes {
        let encoded = self.0.get_or_init(|| {
            let all = api::WatchResponse {
                events: events.iter().cloned().map(convert::event).collect(),
                ..Default::default()
            };
            Encoded {
                framed: framed_parts(response, &all.encode_to_vec()),
                events_at: HEAD_BYTES + response.encoded_len(),
                response: response.clone(),
            }
        });
        if encoded.response == *response {
            return encoded.framed.clone();
        }
        framed_parts(response, &encoded.framed[encoded.events_at..])
    }
}

/// Finds out which of those that are told something in a turn are told the same.
#[derive(Debug, Default)]
pub struct Alike {
    last: Option<(Arc<[Event]>, Arc<Once>)>,
    /// For what has no events.
    none: Arc<Once>,
}

impl Alike {
    /// Something that is told.
    pub fn tell(&mut self, said: Said) -> Told {
        let Word::Events { events, .. } = &said.word else {
            let once = Arc::clone(&self.none);
            return Told { said, once };
        };
        let once = match &self.last {
            Some((last, once)) if Arc::ptr_eq(last, events) => Arc::clone(once),
            _ => {
                let once = Arc::<Once>::default();
                self.last = Some((Arc::clone(events), Arc::clone(&once)));
                once
            }
        };
        Told { said, once }
    }

    /// The turn is over.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use headwater_kv::request::KeyValue;
    use headwater_kv::watch::EventKind;

    use super::*;

    fn events() -> Arc<[Event]> {
        let event = |version| Event {
            kind: EventKind::Put,
            kv: KeyValue {
                key: Bytes::from_static(b"key"),
                value: Bytes::from(vec![7; 300]),
                mod_revision: 8,
                create_revision: 8,
                version,
                lease: 0,
            },
            prev_kv: None,
        };
        [event(1), event(2)].into()
    }

    fn response(watch_id: i64, fragment: bool) -> api::WatchResponse {
        api::WatchResponse {
            header: Some(api::ResponseHeader {
                cluster_id: 1,
                member_id: 2,
                revision: 8,
                raft_term: 4,
            }),
            watch_id,
            fragment,
            ..Default::default()
        }
    }

    #[test]
    fn each_is_told_what_a_message_of_its_own_would_tell() {
        let (once, events) = (Once::default(), events());
        for response in [response(0, false), response(7, true), response(0, false)] {
            let framed = once.framed(&response, &events);
            let whole = api::WatchResponse {
                events: events.iter().cloned().map(convert::event).collect(),
                ..response
            };
            assert_eq!(framed, crate::grpc::framed(&whole));
        }
    }

    #[test]
    fn who_is_told_the_same_is_told_in_the_same_bytes() {
        let (mut alike, same) = (Alike::default(), events());
        let mut told = |events: &Arc<[Event]>| {
            let word = Word::Events {
                events: Arc::clone(events),
                fragment: false,
            };
            let said = Said {
                revision: 8,
                id: 0,
                word,
            };
            alike.tell(said).once.framed(&response(0, false), events)
        };
        let (first, second, other) = (told(&same), told(&same), told(&events()));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first.as_ptr(), other.as_ptr());
    }
}
