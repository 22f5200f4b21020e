//! Users, roles, changes of them and who asks, as bytes of commands and snapshots.
//! Never believes a length, and never panics on any bytes.
//!
//! # Source
//! The format is this project's own.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Asker, Auth, AuthRequest, Permission, PermissionKind, Proof, Role, User};
use crate::wire::{Reader, put_slice, put_uint};

const SERVER: u8 = 0;
const CERTIFICATE: u8 = 1;
const SINCE: u8 = 2;
const REVISION: u8 = 3;

const ENABLE: u8 = 1;
const DISABLE: u8 = 2;
const SECRET: u8 = 3;
const USER_ADD: u8 = 4;
const USER_DELETE: u8 = 5;
const USER_CHANGE_PASSWORD: u8 = 6;
const USER_GRANT_ROLE: u8 = 7;
const USER_REVOKE_ROLE: u8 = 8;
const ROLE_ADD: u8 = 9;
const ROLE_DELETE: u8 = 10;
const ROLE_GRANT_PERMISSION: u8 = 11;
const ROLE_REVOKE_PERMISSION: u8 = 12;

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_slice(out, text.as_bytes());
}

fn read_text(reader: &mut Reader<'_>) -> Option<String> {
    let bytes = reader.slice()?;
    core::str::from_utf8(bytes).ok().map(String::from)
}

fn read_bytes(reader: &mut Reader<'_>) -> Option<Bytes> {
    reader.slice().map(Bytes::copy_from_slice)
}

fn put_password(out: &mut Vec<u8>, password: Option<&Bytes>) {
    out.push(u8::from(password.is_some()));
    if let Some(hash) = password {
        put_slice(out, hash);
    }
}

fn read_password(reader: &mut Reader<'_>) -> Option<Option<Bytes>> {
    match reader.byte()? {
        0 => Some(None),
        1 => read_bytes(reader).map(Some),
        _ => None,
    }
}

/// Writes who asks.
pub(crate) fn put_asker(out: &mut Vec<u8>, asker: &Asker) {
    let (name, proof) = match asker {
        Asker::Server => return out.push(SERVER),
        Asker::User(name, proof) => (name, proof),
    };
    match proof {
        Proof::Certificate => out.push(CERTIFICATE),
        Proof::Since(revision) => {
            out.push(SINCE);
            put_uint(out, *revision);
        }
        Proof::Revision(revision) => {
            out.push(REVISION);
            put_uint(out, *revision);
        }
    }
    put_text(out, name);
}

/// Reads what [`put_asker`] wrote.
pub(crate) fn read_asker(reader: &mut Reader<'_>) -> Option<Asker> {
    let proof = match reader.byte()? {
        SERVER => return Some(Asker::Server),
        CERTIFICATE => Proof::Certificate,
        SINCE => Proof::Since(reader.uint()?),
        REVISION => Proof::Revision(reader.uint()?),
        _ => return None,
    };
    Some(Asker::User(read_text(reader)?, proof))
}

/// Writes a change.
pub(crate) fn put_request(out: &mut Vec<u8>, request: &AuthRequest) {
    let mut named = |kind, names: &[&str]| {
        out.push(kind);
        for name in names {
            put_text(out, name);
        }
    };
    match request {
        AuthRequest::Enable => named(ENABLE, &[]),
        AuthRequest::Disable => named(DISABLE, &[]),
        AuthRequest::Secret(secret) => {
            named(SECRET, &[]);
            put_slice(out, secret);
        }
        AuthRequest::UserAdd(name, password) => {
            named(USER_ADD, &[name]);
            put_password(out, password.as_ref());
        }
        AuthRequest::UserDelete(name) => named(USER_DELETE, &[name]),
        AuthRequest::UserChangePassword(name, hash) => {
            named(USER_CHANGE_PASSWORD, &[name]);
            put_slice(out, hash);
        }
        AuthRequest::UserGrantRole(name, role) => named(USER_GRANT_ROLE, &[name, role]),
        AuthRequest::UserRevokeRole(name, role) => named(USER_REVOKE_ROLE, &[name, role]),
        AuthRequest::RoleAdd(name) => named(ROLE_ADD, &[name]),
        AuthRequest::RoleDelete(name) => named(ROLE_DELETE, &[name]),
        AuthRequest::RoleGrantPermission(name, permission) => {
            named(ROLE_GRANT_PERMISSION, &[name]);
            put_permission(
                out,
                (&permission.key, &permission.range_end),
                permission.kind,
            );
        }
        AuthRequest::RoleRevokePermission(name, key, range_end) => {
            named(ROLE_REVOKE_PERMISSION, &[name]);
            put_slice(out, key);
            put_slice(out, range_end);
        }
    }
}

/// Reads what [`put_request`] wrote.
pub(crate) fn read_request(reader: &mut Reader<'_>) -> Option<AuthRequest> {
    let kind = reader.byte()?;
    Some(match kind {
        ENABLE => AuthRequest::Enable,
        DISABLE => AuthRequest::Disable,
        SECRET => AuthRequest::Secret(read_bytes(reader)?),
        USER_ADD => AuthRequest::UserAdd(read_text(reader)?, read_password(reader)?),
        USER_DELETE => AuthRequest::UserDelete(read_text(reader)?),
        USER_CHANGE_PASSWORD => {
            AuthRequest::UserChangePassword(read_text(reader)?, read_bytes(reader)?)
        }
        USER_GRANT_ROLE => AuthRequest::UserGrantRole(read_text(reader)?, read_text(reader)?),
        USER_REVOKE_ROLE => AuthRequest::UserRevokeRole(read_text(reader)?, read_text(reader)?),
        ROLE_ADD => AuthRequest::RoleAdd(read_text(reader)?),
        ROLE_DELETE => AuthRequest::RoleDelete(read_text(reader)?),
        ROLE_GRANT_PERMISSION => {
            AuthRequest::RoleGrantPermission(read_text(reader)?, read_permission(reader)?)
        }
        ROLE_REVOKE_PERMISSION => AuthRequest::RoleRevokePermission(
            read_text(reader)?,
            read_bytes(reader)?,
            read_bytes(reader)?,
        ),
        _ => return None,
    })
}

fn put_permission(out: &mut Vec<u8>, (key, range_end): (&Bytes, &Bytes), kind: PermissionKind) {
    out.push(kind as u8);
    put_slice(out, key);
    put_slice(out, range_end);
}

fn read_permission(reader: &mut Reader<'_>) -> Option<Permission> {
    Some(Permission {
        kind: PermissionKind::of_number(reader.byte()?.into())?,
        key: read_bytes(reader)?,
        range_end: read_bytes(reader)?,
    })
}

/// Writes what there is beside users and roles.
pub(crate) fn put_head(out: &mut Vec<u8>, auth: &Auth) {
    out.push(u8::from(auth.is_enabled));
    put_uint(out, auth.revision);
    put_slice(out, &auth.secret);
}

/// Reads what [`put_head`] wrote.
pub(crate) fn read_head(reader: &mut Reader<'_>, auth: &mut Auth) -> Option<()> {
    auth.is_enabled = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    auth.revision = reader.uint()?;
    auth.secret = read_bytes(reader)?;
    Some(())
}

/// Writes a role.
pub(crate) fn put_role(out: &mut Vec<u8>, name: &str, role: &Role) {
    put_text(out, name);
    put_uint(out, role.0.len() as u64);
    for ((key, range_end), kind) in &role.0 {
        put_permission(out, (key, range_end), *kind);
    }
}

/// Reads what [`put_role`] wrote; names come in order.
pub(crate) fn read_role(reader: &mut Reader<'_>, auth: &mut Auth) -> Option<()> {
    let name = read_text(reader)?;
    let mut role = Role::default();
    for _ in 0..reader.uint()? {
        let Permission {
            kind,
            key,
            range_end,
        } = read_permission(reader)?;
        role.0.insert((key, range_end), kind);
    }
    let is_next = auth
        .roles
        .last_key_value()
        .is_none_or(|(last, _)| *last < name);
    auth.roles.insert(name, role);
    is_next.then_some(())
}

/// Writes a user.
pub(crate) fn put_user(out: &mut Vec<u8>, name: &str, user: &User) {
    put_text(out, name);
    put_password(out, user.password.as_ref());
    put_uint(out, user.since);
    put_uint(out, user.roles.len() as u64);
    for role in &user.roles {
        put_text(out, role);
    }
}

/// Reads what [`put_user`] wrote; names come in order.
pub(crate) fn read_user(reader: &mut Reader<'_>, auth: &mut Auth) -> Option<()> {
    let name = read_text(reader)?;
    let (password, since) = (read_password(reader)?, reader.uint()?);
    let mut roles = BTreeSet::new();
    for _ in 0..reader.uint()? {
        roles.insert(read_text(reader)?);
    }
    let user = User {
        password,
        roles,
        since,
    };
    let is_next = auth
        .users
        .last_key_value()
        .is_none_or(|(last, _)| *last < name);
    auth.users.insert(name, user);
    is_next.then_some(())
}

/// All of it, as one string of bytes: equal ones are equal.
pub(crate) fn whole(auth: &Auth) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, auth);
    for (name, role) in &auth.roles {
        put_role(&mut out, name, role);
    }
    for (name, user) in &auth.users {
        put_user(&mut out, name, user);
    }
    out
}
