//! Users and roles as etcd's database has them, and back.
//! Never shows what tokens are signed with: whoever restores a snapshot gets new ones.
//!
//! # Source
//! etcd 3.5: the buckets `auth`, `authUsers` and `authRoles`, and their messages in `authpb`.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_kv::auth::{Auth, PermissionKind, Role, User};
use prost::Message;

use crate::bolt::Database;
use crate::convert;
use crate::generated::authpb;

type Content = Vec<(Vec<u8>, Vec<u8>)>;

/// The buckets, by their names.
pub fn buckets(auth: &Auth) -> [(&'static str, Content); 3] {
    let state = vec![
        (b"authEnabled".to_vec(), vec![u8::from(auth.is_enabled)]),
        (
            b"authRevision".to_vec(),
            auth.revision.to_be_bytes().to_vec(),
        ),
    ];
    let roles = auth.roles.iter().map(|(name, role)| {
        let role = authpb::Role {
            name: Bytes::copy_from_slice(name.as_bytes()),
            key_permission: convert::permissions(role),
        };
        (name.as_bytes().to_vec(), role.encode_to_vec())
    });
    let users = auth.users.iter().map(|(name, user)| {
        let no_password = user.password.is_none();
        let user = authpb::User {
            name: Bytes::copy_from_slice(name.as_bytes()),
            password: user.password.clone().unwrap_or_default(),
            roles: user.roles.iter().cloned().collect(),
            options: Some(authpb::UserAddOptions { no_password }),
        };
        (name.as_bytes().to_vec(), user.encode_to_vec())
    });
    [
        ("auth", state),
        ("authRoles", roles.collect()),
        ("authUsers", users.collect()),
    ]
}

/// What a database has of them.
///
/// # Errors
/// It is damaged.
pub fn read(database: &Database<'_>) -> Result<Auth> {
    let mut auth = Auth::default();
    database.visit("auth", |key, value| {
        match key {
            b"authEnabled" => auth.is_enabled = value == [1],
            b"authRevision" => {
                let number = value.try_into().context("a broken revision of users")?;
                auth.revision = u64::from_be_bytes(number);
            }
            _ => {}
        }
        Ok(())
    })?;
    database.visit("authRoles", |key, value| {
        let stored = authpb::Role::decode(value).context("a broken role")?;
        let mut role = Role::default();
        for permission in stored.key_permission {
            take(&mut role, permission)?;
        }
        auth.roles.insert(name(key)?, role);
        Ok(())
    })?;
    let since = auth.revision;
    database.visit("authUsers", |key, value| {
        let stored = authpb::User::decode(value).context("a broken user")?;
        let has_password = !stored.options.is_some_and(|options| options.no_password);
        let user = User {
            password: has_password.then_some(stored.password),
            roles: stored.roles.into_iter().collect(),
            since,
        };
        auth.users.insert(name(key)?, user);
        Ok(())
    })?;
    ensure!(
        !auth.is_enabled || !auth.users.is_empty(),
        "it asks for users and has none"
    );
    Ok(auth)
}

fn name(bytes: &[u8]) -> Result<String> {
    let name = std::str::from_utf8(bytes).context("a name of a user or a role")?;
    Ok(name.to_owned())
}

/// Gives a role a right, unless it is on no key: etcd takes such, and even the same twice.
fn take(role: &mut Role, permission: authpb::Permission) -> Result<()> {
    let kind = PermissionKind::of_number(permission.perm_type).context("a right of no kind")?;
    let (mut key, range_end) = (permission.key, permission.range_end);
    if key.is_empty() {
        // The lowest key there can be.
        key = Bytes::from_static(b"\0");
    }
    let is_single = range_end.is_empty();
    let has_keys = is_single || range_end[..] == [0] || key < range_end;
    if has_keys {
        let had = role.0.insert((key.clone(), range_end.clone()), kind);
        if had.is_some_and(|had| had != kind) {
            role.0.insert((key, range_end), PermissionKind::ReadWrite);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::{Items, Plan};

    #[test]
    fn users_and_roles_come_back_as_they_went() {
        let range = |key: &'static str, end: &'static str| {
            (
                Bytes::from_static(key.as_bytes()),
                Bytes::from_static(end.as_bytes()),
            )
        };
        let role = Role(
            [
                (range("a", "c"), PermissionKind::Read),
                (range("a", ""), PermissionKind::ReadWrite),
                (range("x", "\0"), PermissionKind::Write),
            ]
            .into(),
        );
        let user = |password: Option<&'static [u8]>| User {
            password: password.map(Bytes::from_static),
            roles: ["r".to_owned()].into(),
            since: 9,
        };
        let auth = Auth {
            is_enabled: true,
            revision: 9,
            secret: Bytes::new(),
            users: [
                ("ann".to_owned(), user(Some(b"hash"))),
                ("cert".to_owned(), user(None)),
            ]
            .into(),
            roles: [("r".to_owned(), role)].into(),
        };
        let items = |(name, items)| (name, Box::new(items) as Box<dyn Items>);
        let plan = Plan::new(buckets(&auth).map(items).into());
        let file: Vec<u8> = plan.into_pieces().flatten().collect();
        let database = Database::open(&file).expect("just written");
        assert_eq!(read(&database).expect("just written"), auth);
    }
}
