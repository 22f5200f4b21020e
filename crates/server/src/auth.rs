//! Who somebody is: passwords, tokens and the names of certificates.
//! Never what they may do: the store decides that, where a request is carried out.
//!
//! # Source
//! etcd v3 API, `Authenticate`; etcd's flags `--auth-token`, `--auth-token-ttl` and `--bcrypt-cost`.

pub mod door;
pub mod jwt;
pub mod passwords;
pub mod tokens;

use std::time::Duration;

use anyhow::{Result, ensure};

use self::jwt::Jwt;

/// How tokens and passwords are made.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Keys for tokens that others can check; without them each cluster has a secret of its own.
    pub jwt: Option<Jwt>,
    /// How long a token of the cluster's own is good without being used.
    pub ttl: Duration,
    /// How much work a password is, as a power of two.
    pub bcrypt_cost: u32,
}

impl AuthSettings {
    /// What the flags say.
    ///
    /// # Errors
    /// One of them says nothing that can be done; the text says which and what to do.
    pub fn parse(token: &str, ttl_seconds: u64, bcrypt_cost: u32) -> Result<Self> {
        // bcrypt's own bounds.
        ensure!(
            (4..=31).contains(&bcrypt_cost),
            "--bcrypt-cost ({bcrypt_cost}) must lie between 4 and 31"
        );
        ensure!(
            ttl_seconds > 0,
            "--auth-token-ttl must be at least 1 (second)"
        );
        Ok(Self {
            jwt: Jwt::parse(token)?,
            ttl: Duration::from_secs(ttl_seconds),
            bcrypt_cost,
        })
    }
}
