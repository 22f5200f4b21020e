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
use clap::Args;

use self::jwt::Jwt;

/// Flags of users.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Users")]
pub struct AuthArgs {
    /// What clients show instead of a password: simple, or
    /// jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m
    #[arg(long, value_name = "KIND", default_value = "simple")]
    pub auth_token: String,

    /// How many seconds a simple token is good without being used
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub auth_token_ttl: u64,

    /// How much work a password is, as a power of two, for who checks it and for who guesses it
    #[arg(long, value_name = "POWER", default_value_t = 10)]
    pub bcrypt_cost: u32,
}

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

impl AuthArgs {
    /// What the flags say.
    ///
    /// # Errors
    /// See [`AuthSettings::parse`].
    pub fn settings(&self) -> Result<AuthSettings> {
        AuthSettings::parse(&self.auth_token, self.auth_token_ttl, self.bcrypt_cost)
    }
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
