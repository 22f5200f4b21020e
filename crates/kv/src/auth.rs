//! Users, their roles, and what a role permits: who may do what.
//! Never sees a password: hashes come with the commands, and who somebody is was found out before.
//!
//! It is one value, shared with whoever looks on and another one after each change. Its revision counts
//! the changes and has nothing to do with that of the keys.
//!
//! # Source
//! etcd v3 API, service `Auth`; etcd's rules for the user and the role `root`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::request::KvError;

pub(crate) mod code;
mod permit;
mod ranges;

pub use permit::{Asker, Proof, Right};

/// The user without whom nothing can be enabled, and the role that may do everything.
pub const ROOT: &str = "root";

/// What a permission permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PermissionKind {
    /// Reading.
    Read = 0,
    /// Writing.
    Write = 1,
    /// Both.
    ReadWrite = 2,
}

/// A right on a range of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    /// To do what.
    pub kind: PermissionKind,
    /// The first key.
    pub key: Bytes,
    /// The end; see [`RangeRequest::range_end`](crate::request::RangeRequest::range_end).
    pub range_end: Bytes,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// What the server made of the password; `None` for a user who only comes with a certificate.
    pub password: Option<Bytes>,
    /// The names of the roles.
    pub roles: BTreeSet<String>,
    /// The revision that made the user or last changed the password: older tokens are void.
    pub since: u64,
}

/// A named set of rights: ranges, each by its first key and its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Role(pub BTreeMap<(Bytes, Bytes), PermissionKind>);

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    /// Whether requests need rights.
    pub is_enabled: bool,
    /// Counts the changes, from one on.
    pub revision: u64,
    /// What tokens are signed with; empty until the first one.
    pub secret: Bytes,
    /// The users, by name.
    pub users: BTreeMap<String, User>,
    /// The roles, by name.
    pub roles: BTreeMap<String, Role>,
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthRequest {
    /// From now on requests need rights.
    Enable,
    /// From now on everyone may do everything.
    Disable,
    /// What tokens are signed with from now on, if nothing is yet.
    Secret(Bytes),
    /// A new user, with a hash of the password or without one.
    UserAdd(String, Option<Bytes>),
    /// A user goes.
    UserDelete(String),
    /// Another password, by its hash, for a user who has one.
    UserChangePassword(String, Bytes),
    /// A user gets a role.
    UserGrantRole(String, String),
    /// A user loses a role.
    UserRevokeRole(String, String),
    /// A new role, without rights.
    RoleAdd(String),
    /// A role goes, and every user loses it.
    RoleDelete(String),
    /// A role gets a right; on the same range it replaces the one before.
    RoleGrantPermission(String, Permission),
    /// A role loses the right on a range, of this first key and this end.
    RoleRevokePermission(String, Bytes, Bytes),
}

/// A question about users and roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthQuery {
    /// All that there is.
    All,
    /// One user; for those who ask after themselves, too.
    User(String),
    /// One role; for those who have it, too.
    Role(String),
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            is_enabled: false,
            revision: 1,
            secret: Bytes::new(),
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// Whether there are users, or were.
    pub fn has_users(&self) -> bool {
        self.revision > Self::default().revision
    }

    /// In whose name a server's own commands are. Where there are no users it is nobody's, as members of an
    /// earlier version know of no askers.
    pub fn server(&self) -> Option<Asker> {
        self.has_users().then_some(Asker::Server)
    }

    /// A user.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn user(&self, name: &str) -> Result<&User, KvError> {
        self.users.get(name).ok_or(KvError::UserNotFound)
    }

    /// A role.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn role(&self, name: &str) -> Result<&Role, KvError> {
        self.roles.get(name).ok_or(KvError::RoleNotFound)
    }

    /// Makes a change, or none at all.
    pub(crate) fn change(this: &mut Arc<Auth>, request: &AuthRequest) -> Result<(), KvError> {
        // What is refused must not look like a change, nor cost a copy.
        this.check(request)?;
        let auth = Arc::make_mut(this);
        let next = auth.revision + 1;
        let mut is_counted = true;
        match request {
            AuthRequest::Enable => {
                is_counted = false;
                auth.is_enabled = true;
            }
            AuthRequest::Disable => {
                is_counted = auth.is_enabled;
                auth.is_enabled = false;
                // Tokens of before are void, should it be enabled again.
                auth.secret = Bytes::new();
            }
            AuthRequest::Secret(secret) => {
                is_counted = false;
                if auth.secret.is_empty() {
                    auth.secret = secret.clone();
                }
            }
            AuthRequest::UserAdd(name, password) => {
                let user = User {
                    password: password.clone(),
                    roles: BTreeSet::new(),
                    since: next,
                };
                auth.users.insert(name.clone(), user);
            }
            AuthRequest::UserDelete(name) => drop(auth.users.remove(name)),
            AuthRequest::UserChangePassword(name, hash) => {
                let user = auth.user_mut(name)?;
                user.password = user.password.take().map(|_| hash.clone());
                user.since = next;
            }
            AuthRequest::UserGrantRole(name, role) => {
                is_counted = auth.user_mut(name)?.roles.insert(role.clone());
            }
            AuthRequest::UserRevokeRole(name, role) => {
                auth.user_mut(name)?.roles.remove(role);
            }
            AuthRequest::RoleAdd(name) => drop(auth.roles.insert(name.clone(), Role::default())),
            AuthRequest::RoleDelete(name) => {
                auth.roles.remove(name);
                for user in auth.users.values_mut() {
                    user.roles.remove(name);
                }
            }
            AuthRequest::RoleGrantPermission(name, permission) => {
                let Permission {
                    kind,
                    key,
                    range_end,
                } = permission.clone();
                auth.role_mut(name)?.0.insert((key, range_end), kind);
            }
            AuthRequest::RoleRevokePermission(name, key, range_end) => {
                let range = (key.clone(), range_end.clone());
                auth.role_mut(name)?.0.remove(&range);
            }
        }
        if is_counted {
            auth.revision = next;
        }
        Ok(())
    }

    /// Whether a change can be made.
    fn check(&self, request: &AuthRequest) -> Result<(), KvError> {
        let protects = |is_root: bool| match is_root && self.is_enabled {
            true => Err(KvError::InvalidAuthManagement),
            false => Ok(()),
        };
        match request {
            AuthRequest::Enable if self.is_enabled => Ok(()),
            AuthRequest::Enable => match self.users.get(ROOT) {
                None => Err(KvError::RootUserNotFound),
                Some(root) if root.roles.contains(ROOT) => Ok(()),
                Some(_) => Err(KvError::RootRoleNotGranted),
            },
            AuthRequest::Disable | AuthRequest::Secret(_) => Ok(()),
            AuthRequest::UserAdd(name, _) if name.is_empty() => Err(KvError::UserEmpty),
            AuthRequest::UserAdd(name, _) => match self.users.contains_key(name) {
                true => Err(KvError::UserExists),
                false => Ok(()),
            },
            AuthRequest::UserDelete(name) => {
                protects(name == ROOT)?;
                self.user(name).map(|_| ())
            }
            AuthRequest::UserChangePassword(name, _) => self.user(name).map(|_| ()),
            AuthRequest::UserGrantRole(name, role) => {
                self.user(name)?;
                // As in etcd, the role that may do everything need not be there.
                if role != ROOT {
                    self.role(role)?;
                }
                Ok(())
            }
            AuthRequest::UserRevokeRole(name, role) => {
                protects(name == ROOT && role == ROOT)?;
                match self.user(name)?.roles.contains(role) {
                    true => Ok(()),
                    false => Err(KvError::RoleNotGranted),
                }
            }
            AuthRequest::RoleAdd(name) if name.is_empty() => Err(KvError::RoleEmpty),
            AuthRequest::RoleAdd(name) => match self.roles.contains_key(name) {
                true => Err(KvError::RoleExists),
                false => Ok(()),
            },
            AuthRequest::RoleDelete(name) => {
                protects(name == ROOT)?;
                self.role(name).map(|_| ())
            }
            AuthRequest::RoleGrantPermission(name, permission) => {
                self.role(name)?;
                check_range(permission)
            }
            AuthRequest::RoleRevokePermission(name, key, range_end) => {
                let range = (key.clone(), range_end.clone());
                match self.role(name)?.0.contains_key(&range) {
                    true => Ok(()),
                    false => Err(KvError::PermissionNotGranted),
                }
            }
        }
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, KvError> {
        self.users.get_mut(name).ok_or(KvError::UserNotFound)
    }

    fn role_mut(&mut self, name: &str) -> Result<&mut Role, KvError> {
        self.roles.get_mut(name).ok_or(KvError::RoleNotFound)
    }

    /// How many users and roles there are.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [self.users.len() as u64, self.roles.len() as u64]
    }

    /// The rights of a user, of all roles.
    fn permissions<'a>(
        &'a self,
        user: &'a User,
    ) -> impl Iterator<Item = (&'a (Bytes, Bytes), PermissionKind)> {
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        roles.flat_map(|role| role.0.iter().map(|(range, kind)| (range, *kind)))
    }
}

/// Whether a right is on any key at all.
fn check_range(permission: &Permission) -> Result<(), KvError> {
    let (key, range_end) = (&permission.key, &permission.range_end);
    let has_keys = range_end.is_empty() || range_end[..] == [0] || key < range_end;
    if key.is_empty() || !has_keys {
        return Err(KvError::InvalidAuthManagement);
    }
    Ok(())
}

impl PermissionKind {
    /// The kind of this number.
    pub fn of_number(number: i32) -> Option<Self> {
        let known = [Self::Read, Self::Write, Self::ReadWrite];
        known.into_iter().find(|kind| *kind as i32 == number)
    }
}

impl AuthRequest {
    /// Whether it makes the store larger.
    pub(crate) fn grows(&self) -> bool {
        matches!(
            self,
            Self::UserAdd(..) | Self::RoleAdd(_) | Self::RoleGrantPermission(..)
        )
    }
}

/// The names of what there is, in order.
pub fn names<T>(of: &BTreeMap<String, T>) -> Vec<String> {
    of.keys().map(|name| name.to_string()).collect()
}
