//! `role`: named sets of rights on keys.
//! Never judges a range; the server does.
//!
//! # Source
//! etcdctl's command of this name; the etcd v3 API, service `Auth`.

use bytes::Bytes;
use clap::{Args, Subcommand};
use headwater_api::authpb::Permission;
use headwater_api::authpb::permission::Type;
use headwater_api::etcdserverpb as api;

use crate::failure::{Failure, Result};
use crate::keys::{prefix_end, range};
use crate::session::{Repeat, Session, auth};
use crate::text::{Answer, Format, Style, Text, field, header_fields, line, quote, say};
use crate::users::{done, exactly};

/// What can be done with roles.
#[derive(Subcommand, Debug)]
pub enum RoleCommand {
    /// Make one, which opens nothing yet
    Add(NameArgs),
    /// Delete one
    Delete(NameArgs),
    /// What one opens
    Get(NameArgs),
    /// List all
    List,
    /// Have one open keys
    GrantPermission(RightArgs),
    /// Have one open them no more
    RevokePermission(RightArgs),
}

/// Which role.
#[derive(Args, Debug)]
pub struct NameArgs {
    /// The name
    #[arg(value_name = "ROLE")]
    args: Vec<String>,
}

/// Which role and which keys.
#[derive(Args, Debug)]
pub struct RightArgs {
    /// The role, what may be done (if it is granted), and the key or the first key and the first one no more
    #[arg(value_name = "ROLE [read|write|readwrite] KEY [RANGE_END]")]
    args: Vec<String>,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on
    #[arg(long)]
    from_key: bool,
}

/// Does something with roles.
///
/// # Errors
/// It cannot be done.
pub async fn run(session: &Session, style: Style, command: RoleCommand) -> Result<()> {
    match command {
        RoleCommand::Add(args) => {
            let [name] = exactly(
                args.args,
                "role add command requires role name as its argument",
            )?;
            let request = api::AuthRoleAddRequest { name: name.clone() };
            let add = async |wire| auth(wire).role_add(request.clone()).await;
            let answer = session.ask(Repeat::Never, add).await?;
            done(style, &answer, &format!("Role {name} created"))
        }
        RoleCommand::Delete(args) => {
            let needs = "role delete command requires role name as its argument";
            let [role] = exactly(args.args, needs)?;
            let request = api::AuthRoleDeleteRequest { role: role.clone() };
            let delete = async |wire| auth(wire).role_delete(request.clone()).await;
            let answer = session.ask(Repeat::Never, delete).await?;
            done(style, &answer, &format!("Role {role} deleted"))
        }
        RoleCommand::Get(args) => {
            let [role] = exactly(
                args.args,
                "role get command requires role name as its argument",
            )?;
            role_get(session, style, &role).await
        }
        RoleCommand::List => {
            let list = async |wire| auth(wire).role_list(api::AuthRoleListRequest {}).await;
            style.print(&session.ask(Repeat::Always, list).await?)
        }
        RoleCommand::GrantPermission(args) => grant(session, style, args).await,
        RoleCommand::RevokePermission(args) => revoke(session, style, args).await,
    }
}

async fn grant(session: &Session, style: Style, mut args: RightArgs) -> Result<()> {
    if args.args.len() < 3 {
        return Err(Failure::arguments(
            "role grant command requires role name, permission type, and key [endkey] as its argument",
        ));
    }
    let kind = args.args.remove(1);
    let perm_type = match kind.to_uppercase().as_str() {
        "READ" => Type::Read,
        "WRITE" => Type::Write,
        "READWRITE" => Type::Readwrite,
        _ => {
            return Err(Failure::arguments(format!(
                "invalid permission type: {kind}"
            )));
        }
    };
    let (name, key, range_end) = args.range()?;
    let words = format!("Role {name} updated");
    let permission = Permission {
        perm_type: perm_type.into(),
        key,
        range_end,
    };
    let request = api::AuthRoleGrantPermissionRequest {
        name,
        perm: Some(permission),
    };
    let grant = async |wire| auth(wire).role_grant_permission(request.clone()).await;
    done(style, &session.ask(Repeat::Never, grant).await?, &words)
}

async fn revoke(session: &Session, style: Style, args: RightArgs) -> Result<()> {
    if args.args.len() < 2 {
        return Err(Failure::arguments(
            "role revoke-permission command requires role name and key [endkey] as its argument",
        ));
    }
    let (role, key, range_end) = args.range()?;
    let (from, to) = (
        String::from_utf8_lossy(&key),
        String::from_utf8_lossy(&range_end),
    );
    let what = match &range_end[..] {
        b"" => format!("key {from}"),
        b"\0" => format!("range [{from}, <open ended>"),
        _ => format!("range [{from}, {to})"),
    };
    let words = format!("Permission of {what} is revoked from role {role}");
    let request = api::AuthRoleRevokePermissionRequest {
        role,
        key,
        range_end,
    };
    let revoke = async |wire| auth(wire).role_revoke_permission(request.clone()).await;
    done(style, &session.ask(Repeat::Never, revoke).await?, &words)
}

impl RightArgs {
    /// The role and its keys.
    fn range(self) -> Result<(String, Bytes, Bytes)> {
        let Some((role, keys)) = self.args.split_first().filter(|(_, keys)| keys.len() <= 2) else {
            return Err(Failure::arguments("too many arguments"));
        };
        if self.prefix && self.from_key {
            return Err(Failure::arguments(
                "--from-key and --prefix flags are mutually exclusive",
            ));
        }
        let flag = if self.prefix {
            "--prefix"
        } else {
            "--from-key"
        };
        let too_many = format!("unexpected endkey argument with {flag} flag");
        let (key, range_end) = range(keys, self.prefix, self.from_key, &too_many)?;
        Ok((role.clone(), key, range_end))
    }
}

/// Prints what a role opens.
///
/// # Errors
/// It is not told.
pub async fn role_get(session: &Session, style: Style, role: &str) -> Result<()> {
    let request = api::AuthRoleGetRequest {
        role: role.to_owned(),
    };
    let get = async |wire| auth(wire).role_get(request.clone()).await;
    let mut answer = session.ask(Repeat::Always, get).await?;
    if style.format != Format::Simple {
        return style.print(&answer);
    }
    if role == "root" && answer.perm.is_empty() {
        answer.perm.push(Permission {
            perm_type: Type::Readwrite.into(),
            key: Bytes::new(),
            range_end: Bytes::from_static(b"\0"),
        });
    }
    let mut text = Text::new();
    line(&mut text, format!("Role {role}"));
    answer.simple(&mut text, style);
    say(&text)
}

fn right(permission: &Permission) -> Text {
    let mut text = b"\t".to_vec();
    let (key, end) = (&permission.key, &permission.range_end);
    if end.is_empty() {
        text.extend_from_slice(key);
        return text;
    }
    let end: &[u8] = if &end[..] == b"\0" {
        b"<open ended>"
    } else {
        end
    };
    let close: &[u8] = if end == b"<open ended>" { b"" } else { b")" };
    for part in [b"[", &key[..], b", ", end, close] {
        text.extend_from_slice(part);
    }
    if !key.is_empty() && prefix_end(key) == permission.range_end[..] {
        text.extend_from_slice(b" (prefix ");
        text.extend_from_slice(key);
        text.push(b')');
    }
    text
}

impl Answer for api::AuthRoleGetResponse {
    const NAME: &'static str = "etcdserverpb.AuthRoleGetResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        for (title, other) in [("KV Read:", Type::Write), ("KV Write:", Type::Read)] {
            line(text, title);
            let rights = self.perm.iter();
            rights
                .filter(|permission| permission.perm_type() != other)
                .for_each(|permission| line(text, right(permission)));
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        for permission in &self.perm {
            // etcdctl's has two spaces, by mistake, on which somebody may count.
            let kind = permission.perm_type().as_str_name();
            field(text, "PermType", format!(" {kind}"));
            field(text, "Key", quote(&permission.key));
            field(text, "RangeEnd", quote(&permission.range_end));
        }
        Ok(())
    }
}

impl Answer for api::AuthRoleListResponse {
    const NAME: &'static str = "etcdserverpb.AuthRoleListResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        self.roles.iter().for_each(|role| line(text, role));
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        let roles = self.roles.iter().map(|role| format!(" {role:?}"));
        line(text, format!("\"Roles\" :{}", roles.collect::<String>()));
        Ok(())
    }
}
