//! The door: who a request comes from, by its token or its client's certificate.
//! Never lets through a token that is none; who has none comes through unknown.
//!
//! # Source
//! etcd v3 API: the metadata `token` and `authorization`; etcd's `--client-cert-auth`.

use std::sync::Arc;

use headwater_kv::auth::{Asker, Auth, Proof};
use headwater_kv::request::{Query, Response};
use headwater_runtime::ReadLevel;
use http::HeaderMap;
use tokio::sync::watch;

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
        if self.tokens.may_be_newer(&auth, token) && backend.has_leader() {
            // Boxed: it is rare, and would make every call's future larger.
            auth = Box::pin(caught_up(backend)).await.unwrap_or(auth);
        }
        if !auth.is_enabled {
            return Ok(None);
        }
        let asker = self.tokens.check(&auth, token).map_err(Failure::Kv)?;
        Ok(Some(asker))
    }
}

/// What is known once all is that was before this moment: whichever member has made a token, what it is
/// to be checked by was in the log before. A token's own word for how new it is would be anybody's.
async fn caught_up(backend: &Backend) -> Option<Arc<Auth>> {
    let asked = backend.query(Query::AuthState, ReadLevel::Linearizable);
    match asked.await.ok()?.result.ok()? {
        Response::Auth(auth) => Some(auth),
        _ => None,
    }
}

/// The heads in which a request may bring its token; the first that is there counts.
pub const TOKEN_HEADERS: [&str; 2] = ["token", "authorization"];

/// The token of a request, if it has one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = TOKEN_HEADERS.iter().find_map(|name| headers.get(*name))?;
    let token = value.to_str().unwrap_or_default();
    Some(token.strip_prefix("Bearer ").unwrap_or(token))
}
