//! Complaints that would fill the log: what others do wrong again and again is said once in a while.
//! Never forgets to say what is new.
//!
//! # Source
//! syslog's "last message repeated"; a port that anybody may knock at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the same complaint is held back.
const PAUSE: Duration = Duration::from_secs(10);

/// How many complaints are told apart; who makes more of them is heard less.
const COMPLAINTS_MAX: usize = 64;

/// How long what lasts is held back.
const REMIND: Duration = Duration::from_secs(60);

/// Which complaints were made, and when. The lock is held for a look.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<BTreeMap<String, Instant>>);

impl Seldom {
    /// Whether it is time to make this complaint; then it counts as made.
    pub fn is_due(&self, complaint: &str) -> bool {
        self.is_due_at(complaint, Instant::now())
    }

    fn is_due_at(&self, complaint: &str, now: Instant) -> bool {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, &mut at| now < at + PAUSE);
        let is_due = !made.contains_key(complaint) && made.len() < COMPLAINTS_MAX;
        if is_due {
            made.insert(complaint.to_owned(), now);
        }
        is_due
    }
}

/// What was last said of something that is tried again and again: the same news ten times a second would
/// bury all other.
#[derive(Debug, Default)]
pub struct Told(Option<(String, Instant)>);

impl Told {
    /// Whether this is news, or was said long ago; then it counts as said.
    pub fn is_due(&mut self, news: &str) -> bool {
        self.is_due_at(news, Instant::now())
    }

    fn is_due_at(&mut self, news: &str, now: Instant) -> bool {
        let was_said =
            |(said, at): &(String, Instant)| said == news && now.duration_since(*at) < REMIND;
        let is_due = !self.0.as_ref().is_some_and(was_said);
        if is_due {
            self.0 = Some((news.to_owned(), now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_in_a_while_and_others_beside_it() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert!(seldom.is_due_at("a", start));
        assert!(!seldom.is_due_at("a", start + PAUSE / 2));
        assert!(seldom.is_due_at("b", start + PAUSE / 2));
        assert!(seldom.is_due_at("a", start + PAUSE));
    }

    #[test]
    fn whoever_always_has_another_complaint_is_heard_less() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let made = (0..1000).filter(|i| seldom.is_due_at(&i.to_string(), start));
        assert_eq!(made.count(), COMPLAINTS_MAX);
        assert!(seldom.is_due_at("more", start + PAUSE));
    }

    #[test]
    fn what_lasts_is_said_again_after_a_while_and_what_is_new_at_once() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert!(told.is_due_at("a", start));
        assert!(!told.is_due_at("a", start + REMIND / 2));
        assert!(told.is_due_at("b", start + REMIND / 2));
        assert!(!told.is_due_at("b", start + REMIND));
        assert!(told.is_due_at("b", start + REMIND * 3 / 2));
    }
}
