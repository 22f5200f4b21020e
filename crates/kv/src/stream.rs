//! Streams of watches: what one client is told, in order, of all that it watches through one
//! connection.
//! Never holds more for a client than it has asked for: what is next is found when it is wanted.
//!
//! A client calls its watchers by numbers of its own; on a node they have names ([`WatchId`]). What
//! a client is told in reply to its requests goes before events, and watchers that have events take
//! turns. The fragments of one revision follow each other with nothing in between, because clients
//! put them together by that.
//!
//! # Source
//! etcd v3 API, service `Watch`; etcd's server side of it, and how its client reads fragments.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::apply::Store;
use crate::auth::{Asker, Auth};
use crate::watch::{Event, Told, WatchId, WatchRefusal, WatchRequest, Watches};

/// How many watchers a node has at most.
pub const WATCHERS_MAX: usize = 1 << 20;

/// How many replies to requests wait for a client; see [`Streams::is_behind`].
pub const REPLIES_MAX: usize = 64;

/// A stream's name on this node, given by whoever opens it and never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);

/// What a stream says next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The store's revision, or with [`Word::Progress`] how far the client is; zero where etcd names
    /// none.
    pub revision: i64,
    /// Whom it concerns, by the client's number.
    pub id: i64,
    /// What it says.
    pub word: Word,
}

/// What a stream says of one watcher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// It watches from now on.
    Created,
    /// Nothing is watched, and the number is [`NOBODY`].
    Refused(Refusal),
    /// It has ended, as the client wished.
    Canceled,
    /// It has ended: the client may not watch that any more.
    Denied,
    /// It has ended: what it was to be told is compacted away, up to this revision.
    Compacted(i64),
    /// These events, each revision's together.
    Events {
        /// At least one; shared by those who are told the same.
        events: Arc<[Event]>,
        /// Whether the next word goes on with the last revision.
        fragment: bool,
    },
    /// There is no event up to the revision that was not told: to it, or with the number
    /// [`NOBODY`] to all watchers of the stream.
    Progress,
}

/// The number of no watcher.
pub const NOBODY: i64 = -1;

/// Why nothing is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The client's number is taken.
    Duplicate,
    /// The node has as many watchers as it may.
    TooMany,
    /// There can be nothing to tell.
    Watch(WatchRefusal),
    /// The client may not watch that.
    Denied,
}

/// All streams of one node, and what is watched through them.
#[derive(Debug, Default)]
pub struct Streams {
    watches: Watches,
    streams: BTreeMap<StreamId, Stream>,
    /// Through which stream, and by which number.
    owners: BTreeMap<WatchId, (StreamId, i64)>,
    /// Those that may have something to say since they last had said all.
    woken: Vec<StreamId>,
    /// What all watchers were found to be permitted by.
    auth: Arc<Auth>,
}

/// One client's watchers.
#[derive(Debug, Default)]
struct Stream {
    /// Who watches, if that is known.
    asker: Option<Asker>,
    watchers: BTreeMap<i64, WatchId>,
    /// The next number to give.
    next: i64,
    /// Replies to requests.
    replies: VecDeque<Said>,
    /// Who may have something to be told; whoever comes first is next.
    ready: VecDeque<Turn>,
    /// Who is in the midst of a revision.
    unfinished: Option<i64>,
    /// The progress that is asked for; its turn stands in the line.
    owed: Option<Owed>,
    /// Whether it was named as one that may have something to say, or will be, and has not said all since.
    is_awake: bool,
}

/// What is next in the line of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Watcher(i64),
    Progress,
}

/// Progress that a client has asked for: it waits to be told everything up to what was the store's
/// revision then. What has come since may still be missing, or it might wait for ever.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// When it asked first.
    first: i64,
    /// When it asked last.
    last: i64,
}

impl Streams {
    /// A client, known or not, begins to watch, nothing so far, through a stream of a new name.
    ///
    /// # Panics
    /// If the name is in use.
    pub fn open(&mut self, stream: StreamId, asker: Option<Asker>) {
        let opened = Stream {
            asker,
            ..Stream::default()
        };
        let before = self.streams.insert(stream, opened);
        assert!(before.is_none(), "two streams of one name");
    }

    /// A client is gone, with all its watchers.
    pub fn close(&mut self, stream: StreamId) {
        let Some(closed) = self.streams.remove(&stream) else {
            return;
        };
        for id in closed.watchers.into_values() {
            self.watches.cancel(id);
            self.owners.remove(&id);
        }
    }

    /// A client wants to watch; `number` is its own for that, or zero for any. The stream says what
    /// came of it.
    pub fn create(&mut self, stream: StreamId, number: i64, request: WatchRequest, store: &Store) {
        let created = self.watch(stream, number, request, store);
        let (id, word) = match created {
            Ok(number) => (number, Word::Created),
            Err(refusal) => (NOBODY, Word::Refused(refusal)),
        };
        self.reply(stream, id, word, store);
    }

    fn watch(
        &mut self,
        id: StreamId,
        number: i64,
        request: WatchRequest,
        store: &Store,
    ) -> Result<i64, Refusal> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Err(Refusal::TooMany);
        };
        // Both may be wrong with it; a client is told the same as by an etcd.
        if request.keys().is_none() {
            return Err(Refusal::Watch(WatchRefusal::EmptyRange));
        }
        if stream.watchers.contains_key(&number) && number != 0 {
            return Err(Refusal::Duplicate);
        }
        if self.watches.len() >= WATCHERS_MAX {
            return Err(Refusal::TooMany);
        }
        let permitted = store.may_watch(stream.asker.as_ref(), &request);
        permitted.map_err(|_| Refusal::Denied)?;
        let created = self.watches.create(request, store);
        let watch = created.map_err(Refusal::Watch)?;
        let number = stream.number(number);
        stream.watchers.insert(number, watch);
        self.owners.insert(watch, (id, number));
        Ok(number)
    }

    /// A client does not want to watch any more. If there was no such watcher, nothing is said.
    pub fn cancel(&mut self, stream: StreamId, number: i64, store: &Store) {
        if self.forget(stream, number) {
            self.reply(stream, number, Word::Canceled, store);
        }
    }

    /// A client wants to know up to which revision it was told everything. That is said once it was
    /// told all there is now, if it watches anything.
    pub fn progress(&mut self, stream: StreamId) {
        let last = self.watches.seen();
        let Some(asked) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(owed) = &mut asked.owed {
            owed.last = last;
        } else {
            asked.owed = Some(Owed { first: last, last });
            asked.ready.push_back(Turn::Progress);
        }
        wake(&mut self.woken, stream, asked);
    }

    /// Whether so many replies wait for a client that no more of its requests should be heard.
    pub fn is_behind(&self, stream: StreamId) -> bool {
        let stream = self.streams.get(&stream);
        stream.is_some_and(|stream| stream.replies.len() >= REPLIES_MAX)
    }

    /// Commands were applied; see [`Watches::advance`].
    pub fn advance(&mut self, store: &Store) {
        if !Arc::ptr_eq(&self.auth, store.auth()) {
            self.auth = Arc::clone(store.auth());
            self.deny(store);
        }
        self.watches.advance(store);
    }

    /// Users, roles or rights have changed: ends what may not be watched any more.
    fn deny(&mut self, store: &Store) {
        let mut denied = Vec::new();
        for (&watch, &(stream, number)) in &self.owners {
            let asker = self
                .streams
                .get(&stream)
                .and_then(|stream| stream.asker.as_ref());
            let request = self.watches.request(watch);
            if request.is_some_and(|request| store.may_watch(asker, request).is_err()) {
                denied.push((stream, number));
            }
        }
        for (stream, number) in denied {
            self.forget(stream, number);
            // Mark: a watch is ended because its client may not watch any more.
            // Unreached: simulated clients have no users.
            self.reply(stream, number, Word::Denied, store);
        }
    }

    /// Some time has passed; see [`Watches::remind`].
    pub fn remind(&mut self) {
        self.watches.remind();
    }

    /// How many watchers there are.
    pub fn watchers(&self) -> usize {
        self.watches.len()
    }

    /// How many watchers are behind, and read what they missed.
    pub fn watchers_behind(&self) -> usize {
        self.watches.behind()
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The streams for which there may be something since [`Self::next`] last gave them all, or nothing. Among them
    /// may be such as were closed.
    pub fn woken(&mut self) -> Vec<StreamId> {
        self.rouse();
        core::mem::take(&mut self.woken)
    }

    /// Whether a stream may have something to say, and has been named since it said all.
    pub fn is_awake(&self, stream: StreamId) -> bool {
        let stream = self.streams.get(&stream);
        stream.is_some_and(|stream| stream.is_awake)
    }

    /// Wakes the streams of those who are awake.
    fn rouse(&mut self) {
        for watch in self.watches.woken() {
            // One that was woken may have been cancelled since.
            let Some(&(id, number)) = self.owners.get(&watch) else {
                continue;
            };
            let owner = self.streams.get_mut(&id).expect("it has a watcher");
            owner.ready.push_back(Turn::Watcher(number));
            wake(&mut self.woken, id, owner);
        }
    }

    /// What a stream says next, about `bytes_max` of it; `None` if there is nothing.
    pub fn next(&mut self, id: StreamId, store: &Store, bytes_max: usize) -> Option<Said> {
        self.advance(store);
        self.rouse();
        loop {
            let stream = self.streams.get_mut(&id)?;
            if stream.unfinished.is_none()
                && let Some(reply) = stream.replies.pop_front()
            {
                stream.is_awake = stream.has_more();
                return Some(reply);
            }
            let unfinished = stream.unfinished.take().map(Turn::Watcher);
            let number = match unfinished.or_else(|| stream.ready.pop_front()) {
                Some(Turn::Watcher(number)) => number,
                Some(Turn::Progress) => {
                    let is_last = stream.ready.is_empty();
                    let said = self.tell_progress(id, store);
                    if said.is_none() && !is_last {
                        continue;
                    }
                    // Whoever is not so far yet is woken when it is: then its turn comes again.
                    let stream = self.streams.get_mut(&id)?;
                    stream.is_awake = said.is_some() && stream.has_more();
                    return said;
                }
                None => {
                    stream.is_awake = false;
                    return None;
                }
            };
            // One that was cancelled may still stand in the line.
            let Some(watch) = stream.watchers.get(&number).copied() else {
                continue;
            };
            match self.watches.take(watch, store, bytes_max) {
                (None, _) => {}
                (Some(Told::Looking), _) => {
                    stream.ready.push_back(Turn::Watcher(number));
                    self.woken.push(id);
                    return None;
                }
                (Some(told), sleeps) => return Some(self.say(id, (number, sleeps), told)),
            }
        }
    }

    /// In a client's words, what one of its watchers is told. If that is not all, it goes to the end of the
    /// line.
    fn say(&mut self, id: StreamId, (number, sleeps): (i64, bool), told: Told) -> Said {
        let is_unfinished = matches!(told, Told::Events { fragment: true, .. });
        if let Some(stream) = self.streams.get_mut(&id) {
            if is_unfinished {
                stream.unfinished = Some(number);
            } else if !sleeps {
                stream.ready.push_back(Turn::Watcher(number));
            }
            stream.is_awake = stream.has_more();
        }
        let (revision, word) = match told {
            Told::Looking => unreachable!("nothing is said of that"),
            Told::Progress { revision } => (revision, Word::Progress),
            Told::Events {
                revision,
                events,
                fragment,
            } => (revision, Word::Events { events, fragment }),
            Told::Compacted { compact_revision } => {
                self.forget(id, number);
                (0, Word::Compacted(compact_revision))
            }
        };
        Said {
            revision,
            id: number,
            word,
        }
    }

    /// Says how far the client is, if it is as far as it asked for; else its turn comes again.
    fn tell_progress(&mut self, id: StreamId, store: &Store) -> Option<Said> {
        let stream = self.streams.get_mut(&id)?;
        let owed = stream.owed.take()?;
        if stream.watchers.is_empty() {
            return None;
        }
        let watchers = stream.watchers.values().copied();
        let told = self.watches.progress(watchers, owed.first, store);
        // It may have asked again for what is not told by that.
        if told.is_none_or(|revision| revision < owed.last) {
            let first = if told.is_some() {
                owed.last
            } else {
                owed.first
            };
            stream.owed = Some(Owed { first, ..owed });
            stream.ready.push_back(Turn::Progress);
        }
        told.map(|revision| Said {
            revision,
            id: NOBODY,
            word: Word::Progress,
        })
    }

    fn forget(&mut self, stream: StreamId, number: i64) -> bool {
        let stream = self.streams.get_mut(&stream);
        let Some(watch) = stream.and_then(|stream| stream.forget(number)) else {
            return false;
        };
        self.watches.cancel(watch);
        self.owners.remove(&watch);
        true
    }

    fn reply(&mut self, id: StreamId, number: i64, word: Word, store: &Store) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.replies.push_back(Said {
                revision: store.mvcc().revision(),
                id: number,
                word,
            });
            wake(&mut self.woken, id, stream);
        }
    }
}

fn wake(woken: &mut Vec<StreamId>, id: StreamId, stream: &mut Stream) {
    if !core::mem::replace(&mut stream.is_awake, true) {
        woken.push(id);
    }
}

impl Stream {
    /// The number that a watcher gets: the one it wants, or the next that is free.
    fn number(&mut self, wanted: i64) -> i64 {
        if wanted != 0 {
            return wanted;
        }
        while self.watchers.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1).max(0);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(0);
        number
    }

    fn has_more(&self) -> bool {
        self.unfinished.is_some() || !self.replies.is_empty() || !self.ready.is_empty()
    }

    fn forget(&mut self, number: i64) -> Option<WatchId> {
        self.unfinished.take_if(|unfinished| *unfinished == number);
        self.watchers.remove(&number)
    }
}
