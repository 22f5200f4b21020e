//! Tokens: what a client shows instead of its password.
//! Never asks another member: each can check what any of them signed. Never logs one.
//!
//! A token names the user and the moment, and is signed: with a secret that all members of the cluster
//! hold in their store, or with the operator's keys. What makes it void is in the store as well. How
//! long it is good is counted from its making, and at each member from its last use there.
//!
//! # Source
//! RFC 7519 (JSON Web Token); etcd's tokens, whose lifetimes these are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater_kv::auth::{Asker, Auth, Proof};
use headwater_kv::request::KvError;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::auth::AuthSettings;
use crate::failure::Failure;

/// How many tokens are remembered; beyond that, those that were not used for long are forgotten, and
/// then all of them.
const REMEMBERED_MAX: usize = 1 << 14;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 1 << 13;

/// What a token says. Those of etcd have the first three.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    /// That of users and roles when it was made.
    revision: u64,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// When it was made, in a token of the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    /// Since when the user is there, under this password; in a token of the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

/// A token that was found to be genuine.
struct Known {
    claims: Claims,
    /// What it was signed with, if that is the cluster's.
    secret: Bytes,
    used: Instant,
}

/// What makes tokens and checks them.
pub struct Tokens {
    settings: AuthSettings,
    known: Mutex<HashMap<String, Known>>,
}

impl Tokens {
    /// Tokens after these settings.
    pub fn new(settings: AuthSettings) -> Self {
        Self {
            settings,
            known: Mutex::default(),
        }
    }

    /// Whether they are signed with a secret that the store must hold.
    pub fn need_secret(&self) -> bool {
        self.settings.jwt.is_none()
    }

    /// A token for a user who has proved to be there since that revision.
    ///
    /// # Errors
    /// The keys here can only check.
    pub fn issue(&self, auth: &Auth, name: &str, since: u64) -> Result<String, Failure> {
        let mut claims = Claims {
            username: name.to_owned(),
            revision: auth.revision,
            exp: None,
            iat: None,
            since: None,
        };
        let signed = match &self.settings.jwt {
            None => {
                claims.iat = Some(now_s());
                claims.since = Some(since);
                let key = EncodingKey::from_secret(&auth.secret);
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            }
            Some(jwt) => {
                let Some(key) = &jwt.signs else {
                    return Err(Failure::Unknown(
                        "auth: token signing attempted with verify-only key",
                    ));
                };
                claims.exp = Some(now_s().saturating_add(jwt.ttl.as_secs()));
                jsonwebtoken::encode(&Header::new(jwt.algorithm), &claims, key)
            }
        };
        signed.map_err(|_| Failure::Internal("a token could not be signed"))
    }

    /// The revision of users and roles that a token speaks of, whoever has made it.
    fn revision(token: &str) -> Option<u64> {
        let mut any = validation(Algorithm::HS256);
        any.insecure_disable_signature_validation();
        any.algorithms = ALGORITHMS.to_vec();
        let bounded = Some(token).filter(|token| token.len() <= TOKEN_BYTES_MAX)?;
        let claims = jsonwebtoken::decode::<Claims>(bounded, &DecodingKey::from_secret(&[]), &any);
        claims.ok().map(|decoded| decoded.claims.revision)
    }

    /// Whether a token may have been made by a member that is ahead of what is known here. What it says
    /// of that is not believed, only looked into: whoever likes can write it.
    pub fn may_be_newer(&self, auth: &Auth, token: &str) -> bool {
        if self.has_seen(token) {
            return false;
        }
        let lacks_secret = auth.is_enabled && auth.secret.is_empty() && self.need_secret();
        let is_ahead = Self::revision(token).is_some_and(|of| of > auth.revision || lacks_secret);
        // The operator's keys do not change: what they did not sign then, they did not sign now.
        is_ahead && (self.need_secret() || self.verify(auth, token, now_s()).is_some())
    }

    /// Whether a token was found to be genuine before.
    fn has_seen(&self, token: &str) -> bool {
        self.known().contains_key(token)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// Nobody's, or it has ended.
    pub fn check(&self, auth: &Auth, token: &str) -> Result<Asker, KvError> {
        let (now, now_s) = (Instant::now(), now_s());
        let mut known = self.known();
        if let Some(seen) = known.get_mut(token) {
            let claims = &seen.claims;
            let is_good = match claims.exp {
                Some(exp) => now_s < exp,
                None => seen.secret == auth.secret && now - seen.used < self.settings.ttl,
            };
            if !is_good {
                known.remove(token);
                return Err(KvError::InvalidAuthToken);
            }
            seen.used = now;
            return Ok(asker(claims));
        }
        let claims = self
            .verify(auth, token, now_s)
            .ok_or(KvError::InvalidAuthToken)?;
        make_room(&mut known, now, self.settings.ttl);
        let asker = asker(&claims);
        let seen = Known {
            claims,
            secret: auth.secret.clone(),
            used: now,
        };
        known.insert(token.to_owned(), seen);
        Ok(asker)
    }

    fn verify(&self, auth: &Auth, token: &str, now_s: u64) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let own;
        let (key, algorithm) = match &self.settings.jwt {
            Some(jwt) => (&jwt.checks, jwt.algorithm),
            // An empty secret is nobody's.
            None if auth.secret.is_empty() => return None,
            None => {
                own = DecodingKey::from_secret(&auth.secret);
                (&own, Algorithm::HS256)
            }
        };
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &validation(algorithm));
        let claims = decoded.ok()?.claims;
        let is_good = match (&self.settings.jwt, claims.exp, claims.iat) {
            (Some(_), Some(exp), _) => now_s < exp,
            (None, None, Some(made)) => {
                claims.since.is_some() && now_s.saturating_sub(made) < self.settings.ttl.as_secs()
            }
            _ => false,
        };
        is_good.then_some(claims)
    }
}

const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

/// The signature alone; times are judged here, to the second.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

fn asker(claims: &Claims) -> Asker {
    let proof = match claims.since {
        Some(since) => Proof::Since(since),
        None => Proof::Revision(claims.revision),
    };
    Asker::User(claims.username.clone(), proof)
}

fn make_room(known: &mut HashMap<String, Known>, now: Instant, ttl: Duration) {
    if known.len() >= REMEMBERED_MAX {
        known.retain(|_, seen| now - seen.used < ttl);
    }
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
