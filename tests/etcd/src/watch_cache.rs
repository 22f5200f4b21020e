//! The cache that an API server of Kubernetes keeps of its objects: filled by a list, kept up by a watch that
//! brings what each event replaced, and called fresh up to a revision by bookmarks.
//! Never lets a wrong word pass: an event that is lost, doubled or out of order does not fit what is known here.
//!
//! # Source
//! What Kubernetes documents of its watch cache and of consistent reads from it.

use crate::apiserver::{Object, Page};
use etcd_client::{Event, EventType, WatchOptions, WatchResponse};
use std::collections::BTreeMap;

/// What an event said: a key that was written, or that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its revision.
    pub version: i64,
    /// The key.
    pub key: String,
    /// What was written, if it has not gone.
    pub value: Option<String>,
}

/// A watch that begins at a revision that is compacted away: the cache must be filled again.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired;

/// All objects whose keys begin alike.
#[derive(Debug, Default)]
pub struct Cache {
    /// How the keys begin.
    pub prefix: String,
    /// The objects by key.
    pub objects: BTreeMap<String, Object>,
    /// All up to this revision is known here; zero before the first list.
    pub version: i64,
    /// All events, over all watches.
    pub told: Vec<Told>,
    /// What was never told, for a list took its place: after the first revision up to the second.
    pub gaps: Vec<(i64, i64)>,
    /// How often it was called fresh.
    pub bookmarks: usize,
}

impl Cache {
    /// An empty one.
    pub fn new(prefix: &str) -> Cache {
        Cache {
            prefix: prefix.to_string(),
            ..Cache::default()
        }
    }

    /// Begins anew with the whole list, of one revision.
    pub fn fill(&mut self, pages: &[Page]) {
        let version = pages.first().expect("a list has a page").version;
        assert!(version >= self.version, "a list from the past");
        self.gaps.push((self.version, version));
        self.version = version;
        let objects = pages.iter().flat_map(|page| &page.objects);
        self.objects = objects
            .map(|object| (object.key.clone(), object.clone()))
            .collect();
    }

    /// How it is to be watched from here on.
    pub fn options(&self) -> WatchOptions {
        WatchOptions::new()
            .with_prefix()
            .with_start_revision(self.version + 1)
            .with_prev_key()
            .with_progress_notify()
    }

    /// Takes a word of the watch in.
    ///
    /// # Errors
    /// If the watch has ended because its past is compacted away.
    pub fn take(&mut self, said: &WatchResponse) -> Result<(), Expired> {
        if said.compact_revision() != 0 {
            return Err(Expired);
        }
        assert!(!said.canceled(), "ended: {}", said.cancel_reason());
        if said.created() {
            return Ok(());
        }
        let header = said.header().expect("a word has a header").revision();
        let before = self.version;
        for event in said.events() {
            let told = self.apply(event);
            let last = self.version.max(before);
            assert!(told.version > before, "{told:?} after revision {before}");
            assert!(told.version >= last, "{told:?} after one of {last}");
            self.version = told.version;
            self.told.push(told);
        }
        assert!(header >= self.version, "{header} after {}", self.version);
        if said.events().is_empty() {
            self.version = header;
            self.bookmarks += 1;
        }
        Ok(())
    }

    fn apply(&mut self, event: &Event) -> Told {
        let kv = event.kv().expect("an event is of a key");
        let object = Object::of(kv);
        let known = self.objects.get(&object.key);
        let replaced = event.prev_kv().map(Object::of);
        assert_eq!(replaced.as_ref(), known, "{object:?} replaces another");
        let deleted = event.event_type() == EventType::Delete;
        let is_new = kv.create_revision() == kv.mod_revision();
        assert!(deleted || is_new == known.is_none(), "made anew: {kv:?}");
        assert!(!deleted || known.is_some(), "gone twice: {kv:?}");
        let told = Told {
            version: object.version,
            key: object.key.clone(),
            value: (!deleted).then(|| object.value.clone()),
        };
        if deleted {
            self.objects.remove(&object.key);
        } else {
            self.objects.insert(object.key.clone(), object);
        }
        told
    }

    /// Whether a list has taken the place of the events of this revision.
    pub fn skipped(&self, version: i64) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|(after, upto)| *after < version && version <= *upto)
    }
}
