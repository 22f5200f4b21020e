//! How many calls are open, from their head to the last byte of their answer: those of one request and one
//! answer, which are to be short.
//! Never counts streams, which may stay for as long as they like.
//!
//! # Source
//! etcd's "too many requests".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::failure::Failure;

/// How many calls may be open; those that come then are refused.
const CALLS_MAX: usize = 1 << 17;

/// From so many on, none of them may stand still, however small it is.
const CROWD: usize = 1 << 14;

/// The open calls of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Crowd {
    open: Arc<AtomicUsize>,
}

/// A call that is open until this is dropped.
pub struct Open(Crowd);

impl Crowd {
    /// One more call.
    ///
    /// # Errors
    /// There are too many.
    pub fn enter(&self) -> Result<Open, Failure> {
        // The guard first: whoever is refused leaves again.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.clone());
        match before < CALLS_MAX {
            true => Ok(open),
            false => Err(Failure::Busy),
        }
    }

    /// Whether there are so many that each must get on.
    pub fn is_dense(&self) -> bool {
        self.open.load(Ordering::Relaxed) > CROWD
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_one_too_many_is_refused_until_another_leaves() {
        let crowd = Crowd::default();
        let mut inside: Vec<_> = (0..CALLS_MAX).map(|_| crowd.enter().ok()).collect();
        assert!(inside.iter().all(Option::is_some) && crowd.is_dense());
        for _ in 0..3 {
            assert_eq!(crowd.enter().err(), Some(Failure::Busy));
        }
        inside.pop();
        assert!(crowd.enter().is_ok());
        inside.truncate(CROWD);
        assert!(!crowd.is_dense());
    }
}
