//! Passwords: hashed, and held against a hash; both are slow on purpose, so other threads do it, few
//! at a time.
//! Never kept, logged, or sent to other members: only hashes are.
//!
//! # Source
//! Provos and Mazières, "A Future-Adaptable Password Scheme", USENIX 1999 (bcrypt); etcd's
//! `--bcrypt-cost`.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::workers::Workers;

/// How many are worked at, at one time: the loop needs a processor, too.
const WORKED_AT_MAX: usize = 2;

/// How many more may wait; who comes then is told to come again.
const WAITING_MAX: usize = 128;

/// Where passwords are worked at.
#[derive(Clone)]
pub struct Passwords {
    cost: u32,
    places: Arc<Semaphore>,
    workers: Workers,
}

impl Passwords {
    /// A place for passwords of this cost.
    pub fn new(cost: u32) -> Self {
        Self {
            cost,
            places: Arc::new(Semaphore::new(WORKED_AT_MAX + WAITING_MAX)),
            workers: Workers::new(WORKED_AT_MAX),
        }
    }

    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn hash(&self, password: String) -> Result<Bytes, Failure> {
        let cost = self.cost;
        let hashed = self.work(move || hash(&password, cost)).await?;
        hashed.ok_or(Failure::Internal("a password could not be hashed"))
    }

    /// Whether a password is that of a hash. Without one it is not, and that takes as long to find out:
    /// whoever asks does not learn from the clock which users there are.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn fits(&self, password: String, hash_of: Option<Bytes>) -> Result<bool, Failure> {
        let cost = self.cost;
        self.work(move || {
            let Some(hash_of) = hash_of else {
                let _ = hash(&password, cost);
                return false;
            };
            let hash_of = std::str::from_utf8(&hash_of).unwrap_or_default();
            bcrypt::verify(password, hash_of).unwrap_or(false)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Failure::Busy)?;
        let working = self.workers.work(move || {
            let worked = work();
            drop(place);
            worked
        });
        working.await
    }
}

/// In the form that Go's bcrypt writes, so that an etcd can take it over.
fn hash(password: &str, cost: u32) -> Option<Bytes> {
    let parts = bcrypt::hash_with_result(password, cost).ok()?;
    Some(parts.format_for_version(bcrypt::Version::TwoA).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("secret".to_owned()).await.expect("a hash");
        assert!(hash.starts_with(b"$2a$04$"), "{hash:?}");
        let fits = async |password: &str, hash: Option<Bytes>| {
            passwords
                .fits(password.to_owned(), hash)
                .await
                .expect("room")
        };
        assert!(fits("secret", Some(hash.clone())).await);
        assert!(!fits("Secret", Some(hash.clone())).await);
        assert!(!fits("", Some(hash)).await);
        assert!(!fits("", None).await);
        assert!(!fits("secret", Some(Bytes::from_static(b"no hash"))).await);
    }
}
