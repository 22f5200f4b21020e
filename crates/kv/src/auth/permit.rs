//! The decision: may this one do that, as things stand?
//! Never changes anything, and never believes an old finding: it is decided where the command is
//! applied and where the query is answered.
//!
//! # Source
//! etcd v3 API, service `Auth`: what each request needs. Where etcd asks for less than it should,
//! docs/divergence.md says so.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Auth, AuthQuery, PermissionKind, ROOT, User, ranges};
use crate::mvcc::Mvcc;
use crate::request::{
    Command, DeleteRangeRequest, KvError, PutRequest, Query, RangeRequest, RequestOp, TxnRequest,
};
use crate::watch::WatchRequest;

/// Who asks. What is asked without saying so comes from a client who is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A server of the cluster, on its own.
    Server,
    /// A client that has proved to be this user.
    User(String, Proof),
}

impl Asker {
    /// The same for something that lasts: who has been known at its beginning stays so, for as long as
    /// there is such a user, whatever becomes of the token.
    #[must_use]
    pub fn by_name(self) -> Self {
        match self {
            Self::User(name, _) => Self::User(name, Proof::Certificate),
            Self::Server => Self::Server,
        }
    }
}

/// By what a user is known, and what makes that void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A certificate of this name, or it was known before: nothing, as long as there is such a user.
    Certificate,
    /// A token of ours, for the user who is there since this revision, under this password.
    Since(u64),
    /// A token of elsewhere, of this revision: any later change.
    Revision(u64),
}

/// What may be asked for beside commands and queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// To be known at all.
    User,
    /// To do everything.
    All,
    /// To renew this lease.
    Renew(i64),
}

/// Who asks, as far as rights go.
enum Known<'a> {
    All,
    Some(&'a User),
}

use PermissionKind::{Read, Write};

impl Auth {
    /// Who asks, if that still holds.
    fn known(&self, asker: Option<&Asker>) -> Result<Known<'_>, KvError> {
        let (name, proof) = match asker {
            None => return Err(KvError::UserEmpty),
            Some(Asker::Server) => return Ok(Known::All),
            Some(Asker::User(name, proof)) => (name, *proof),
        };
        let user = self.users.get(name);
        match (user, proof) {
            (_, Proof::Revision(revision)) if revision < self.revision => {
                Err(KvError::OldAuthRevision)
            }
            (Some(user), Proof::Since(since)) if since != user.since => {
                Err(KvError::InvalidAuthToken)
            }
            (None, Proof::Since(_)) => Err(KvError::InvalidAuthToken),
            (None, _) => Err(KvError::PermissionDenied),
            (Some(user), _) if user.roles.contains(ROOT) => Ok(Known::All),
            (Some(user), _) => Ok(Known::Some(user)),
        }
    }

    /// Whether a command may be carried out.
    pub(crate) fn permit(
        &self,
        mvcc: &Mvcc,
        asker: Option<&Asker>,
        command: &Command,
    ) -> Result<(), KvError> {
        if !self.is_enabled {
            return Ok(());
        }
        match command {
            Command::Put(request) => self.scope(mvcc, asker)?.put(request),
            Command::DeleteRange(request) => self.scope(mvcc, asker)?.delete(request),
            Command::Txn(request) => self.scope(mvcc, asker)?.txn(request),
            Command::LeaseGrant(_) => self.known(asker).map(|_| ()),
            Command::LeaseRevoke(request) if request.ended.is_none() => {
                self.scope(mvcc, asker)?.lease(request.id, Write)
            }
            Command::Compact(_) | Command::Alarm(_) | Command::Auth(_) => self.all(asker),
            // What servers alone say: no client's request becomes one of these.
            Command::LeaseRevoke(_)
            | Command::LeaseCheckpoint(_)
            | Command::Publish(_)
            | Command::Found(_)
            | Command::MemberAdd(..)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(..) => Ok(()),
            Command::By(..) => Err(KvError::MalformedCommand),
        }
    }

    /// Whether a query may be answered.
    pub(crate) fn permit_query(
        &self,
        mvcc: &Mvcc,
        asker: Option<&Asker>,
        query: &Query,
    ) -> Result<(), KvError> {
        if !self.is_enabled {
            return Ok(());
        }
        match query {
            Query::Range(request) => self.scope(mvcc, asker)?.range(request),
            Query::Txn(request) => self.scope(mvcc, asker)?.txn(request),
            Query::LeaseTimeToLive(request) if request.keys => {
                self.scope(mvcc, asker)?.lease(request.id, Read)
            }
            Query::LeaseTimeToLive(_) | Query::May(Right::User) => self.known(asker).map(|_| ()),
            Query::LeaseLeases => {
                let scope = self.scope(mvcc, asker)?;
                let mut leases = mvcc.attached_leases();
                leases.try_for_each(|lease| scope.lease(lease, Read))
            }
            Query::May(Right::Renew(lease)) => self.scope(mvcc, asker)?.lease(*lease, Write),
            Query::Auth(query) => self.permit_auth_query(asker, query),
            Query::May(Right::All) => self.all(asker),
            // Servers ask these on their own; a client's service asks for the right first.
            Query::Status
            | Query::Members
            | Query::Alarms(_)
            | Query::AuthState
            | Query::Copy(_)
            | Query::Hash(_) => Ok(()),
            Query::By(..) => Err(KvError::MalformedCommand),
        }
    }

    /// Whether a client may watch.
    pub(crate) fn permit_watch(
        &self,
        mvcc: &Mvcc,
        asker: Option<&Asker>,
        request: &WatchRequest,
    ) -> Result<(), KvError> {
        if !self.is_enabled {
            return Ok(());
        }
        // A watch without a key begins at the lowest one.
        let key = match &request.key[..] {
            [] => &[0],
            key => key,
        };
        self.scope(mvcc, asker)?.keys(Read, key, &request.range_end)
    }

    fn permit_auth_query(&self, asker: Option<&Asker>, query: &AuthQuery) -> Result<(), KvError> {
        let Known::Some(user) = self.known(asker)? else {
            return Ok(());
        };
        let is_own = match (query, asker) {
            (AuthQuery::User(name), Some(Asker::User(own, _))) => name == own,
            (AuthQuery::Role(name), _) => user.roles.contains(name),
            _ => false,
        };
        is_own.then_some(()).ok_or(KvError::PermissionDenied)
    }

    fn all(&self, asker: Option<&Asker>) -> Result<(), KvError> {
        match self.known(asker)? {
            Known::All => Ok(()),
            Known::Some(_) => Err(KvError::PermissionDenied),
        }
    }

    fn scope<'a>(&'a self, mvcc: &'a Mvcc, asker: Option<&Asker>) -> Result<Scope<'a>, KvError> {
        let user = match self.known(asker)? {
            Known::All => None,
            Known::Some(user) => Some(user),
        };
        Ok(Scope {
            auth: self,
            mvcc,
            user,
        })
    }
}

/// What somebody may do with keys.
struct Scope<'a> {
    auth: &'a Auth,
    mvcc: &'a Mvcc,
    /// `None`: everything.
    user: Option<&'a User>,
}

impl Scope<'_> {
    fn keys(&self, wanted: PermissionKind, key: &[u8], range_end: &[u8]) -> Result<(), KvError> {
        let Some(user) = self.user else { return Ok(()) };
        let fits = |kind| kind == wanted || kind == PermissionKind::ReadWrite;
        let permissions = self.auth.permissions(user);
        let granted = permissions.filter(|(_, kind)| fits(*kind));
        let mut granted: Vec<_> = granted.map(|(range, _)| range).collect();
        granted.sort_unstable();
        match ranges::hold(granted.into_iter(), key, range_end) {
            true => Ok(()),
            false => Err(KvError::PermissionDenied),
        }
    }

    fn range(&self, request: &RangeRequest) -> Result<(), KvError> {
        self.keys(Read, &request.key, &request.range_end)
    }

    fn put(&self, request: &PutRequest) -> Result<(), KvError> {
        self.keys(Write, &request.key, &[])?;
        // Whoever puts a key under a lease ends that with it, or keeps the lease's other keys alive.
        self.lease(request.lease, Write)?;
        if request.prev_kv {
            self.keys(Read, &request.key, &[])?;
        }
        Ok(())
    }

    fn delete(&self, request: &DeleteRangeRequest) -> Result<(), KvError> {
        self.keys(Write, &request.key, &request.range_end)?;
        if request.prev_kv {
            self.keys(Read, &request.key, &request.range_end)?;
        }
        Ok(())
    }

    /// All conditions and both branches: which of them is taken tells of the keys, too.
    fn txn(&self, request: &TxnRequest) -> Result<(), KvError> {
        for compare in &request.compare {
            self.keys(Read, &compare.key, &compare.range_end)?;
        }
        for op in request.success.iter().chain(&request.failure) {
            match op {
                RequestOp::Range(request) => self.range(request)?,
                RequestOp::Put(request) => self.put(request)?,
                RequestOp::DeleteRange(request) => self.delete(request)?,
                RequestOp::Txn(nested) => self.txn(nested)?,
                RequestOp::Missing => {}
            }
        }
        Ok(())
    }

    /// All keys of a lease.
    fn lease(&self, lease: i64, kind: PermissionKind) -> Result<(), KvError> {
        if self.user.is_none() {
            return Ok(());
        }
        let mut keys = self.mvcc.attached(lease);
        keys.try_for_each(|key| self.keys(kind, key, &[]))
    }
}
