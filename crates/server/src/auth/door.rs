//! The door: who a request comes from, by its token or its client's certificate.
//! Never lets through a token that is none; who has none comes through unknown.
//!
//! # Source
//! etcd v3 API: the metadata `token` and `authorization`; etcd's `--client-cert-auth`.

use std::sync::Arc;

use headwater_kv::auth::{Asker, Auth, Proof};
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::AuthSettings;
use crate::auth::passwords::Passwords;
use crate::auth::tokens::Tokens;
use crate::backend::Backend;
use crate::failure::Failure;

/// The name that a client's certificate has, where that makes it a user.
#[derive(Clone, Debug)]
pub struct CommonName(pub Option<Arc<str>>);

/// What it takes to know somebody.
pub struct Doorkeeper {
    /// Tokens.
    pub tokens: Tokens,
    /// Passwords.
    pub passwords: Passwords,
    /// Users and roles, as this member has them.
    known: watch::Receiver<Arc<Auth>>,
}

impl Doorkeeper {
    /// A doorkeeper who is told of users and roles through `known`.
    pub fn new(settings: &AuthSettings, known: watch::Receiver<Arc<Auth>>) -> Self {
        Self {
            tokens: Tokens::new(settings.clone()),
            passwords: Passwords::new(settings.bcrypt_cost),
            known,
        }
    }

    /// In whose name this server's own commands are.
    pub fn server(&self) -> Option<Asker> {
        self.known.borrow().server()
    }

    /// Who a request comes from; `None` if that is not known.
    ///
    /// # Errors
    /// It has a token that is nobody's, or not any more.
    pub async fn who(
        &self,
        backend: &Backend,
        headers: &HeaderMap,
        name: Option<&str>,
    ) -> Result<Option<Asker>, Failure> {
        let Some(token) = token(headers) else {
            let name = name.filter(|_| self.known.borrow().has_users());
            return Ok(name.map(|name| Asker::User(name.to_owned(), Proof::Certificate)));
        };
        let mut auth = Arc::clone(&self.known.borrow());
        if !self.tokens.has_seen(token) {
            auth = self.caught_up(backend, token).await;
        }
        if !auth.is_enabled {
            return Ok(None);
        }
        let asker = self.tokens.check(&auth, token).map_err(Failure::Kv)?;
        Ok(Some(asker))
    }

    /// What is known here once it is as new as a token, or the request's time is up: a member that is
    /// ahead of this one may have made it.
    async fn caught_up(&self, backend: &Backend, token: &str) -> Arc<Auth> {
        let mut known = self.known.clone();
        let revision = Tokens::revision(token).unwrap_or_default();
        let is_new = known.wait_for(|auth| auth.revision >= revision);
        if let Ok(Ok(auth)) = timeout(backend.limits().request_timeout, is_new).await {
            return Arc::clone(&auth);
        }
        Arc::clone(&self.known.borrow())
    }
}

/// The token of a request, if it has one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get("token")
        .or_else(|| headers.get("authorization"))?;
    let token = value.to_str().unwrap_or_default();
    Some(token.strip_prefix("Bearer ").unwrap_or(token))
}
