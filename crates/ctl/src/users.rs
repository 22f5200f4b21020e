//! `auth`, `user` and `role`: who may do what.
//! Never keeps a password.
//!
//! # Source
//! etcdctl's commands of these names; the etcd v3 API, service `Auth`.

use clap::{ArgAction, Args, Subcommand};
use headwater_api::authpb::UserAddOptions;
use headwater_api::etcdserverpb as api;

use crate::failure::{Failure, Result};
use crate::password;
use crate::quantity;
use crate::roles::role_get;
use crate::session::{Repeat, Session, auth};
use crate::text::{Answer, Format, Style, Text, field, header_fields, line, say};

/// What can be done about users at all.
#[derive(Subcommand, Clone, Copy, Debug)]
pub enum AuthCommand {
    /// Let only users in, and to what their roles open; the user root must be there
    Enable,
    /// Let everybody do everything
    Disable,
    /// Whether users are asked for
    Status,
}

/// What can be done with users.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Make one
    Add(AddArgs),
    /// Delete one
    Delete(NameArgs),
    /// The roles of one
    Get(GetArgs),
    /// List all
    List,
    /// Change the password of one
    Passwd(PasswdArgs),
    /// Give one a role
    GrantRole(RoleArgs),
    /// Take a role from one
    RevokeRole(RoleArgs),
}

/// Flags of `user add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The name, or NAME:PASSWORD
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Read the password from the standard input without asking if =false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    interactive: bool,
    /// The password
    #[arg(
        long,
        value_name = "WORD",
        default_value = "",
        hide_default_value = true
    )]
    new_user_password: String,
    /// None: the user comes by a certificate
    #[arg(long)]
    no_password: bool,
}

/// Which user.
#[derive(Args, Debug)]
pub struct NameArgs {
    /// The name
    #[arg(value_name = "NAME")]
    args: Vec<String>,
}

/// Flags of `user get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The name
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// What the roles open, too
    #[arg(long)]
    detail: bool,
}

/// Flags of `user passwd`.
#[derive(Args, Debug)]
pub struct PasswdArgs {
    /// The name
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Read the password from the standard input without asking if =false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = quantity::boolean, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    interactive: bool,
}

/// Which user and which role.
#[derive(Args, Debug)]
pub struct RoleArgs {
    /// The user and the role
    #[arg(value_name = "NAME ROLE")]
    args: Vec<String>,
}

/// The arguments, of which there must be as many as are asked for.
///
/// # Errors
/// There are more or fewer; `needs` says what is needed.
pub fn exactly<const N: usize>(args: Vec<String>, needs: &str) -> Result<[String; N]> {
    args.try_into().map_err(|_| Failure::arguments(needs))
}

/// Prints an answer that is no more than that it was done.
///
/// # Errors
/// There is no such form of it.
pub fn done(style: Style, answer: &impl Answer, words: &str) -> Result<()> {
    match style.format {
        Format::Simple => say(format!("{words}\n").as_bytes()),
        _ => style.print(answer),
    }
}

/// Switches users on or off, or tells which.
///
/// # Errors
/// It cannot be done.
pub async fn run_auth(session: &Session, style: Style, command: AuthCommand) -> Result<()> {
    match command {
        AuthCommand::Enable => enable(session).await,
        AuthCommand::Disable => {
            let disable = async |wire| auth(wire).auth_disable(api::AuthDisableRequest {}).await;
            session.ask(Repeat::Never, disable).await?;
            say(b"Authentication Disabled\n")
        }
        AuthCommand::Status => {
            let status = async |wire| auth(wire).auth_status(api::AuthStatusRequest {}).await;
            style.print(&session.ask(Repeat::Always, status).await?)
        }
    }
}

/// As etcdctl does, the user root gets the role root if it has not got it.
async fn enable(session: &Session) -> Result<()> {
    let enable = async |wire| auth(wire).auth_enable(api::AuthEnableRequest {}).await;
    let first = session.ask(Repeat::Never, enable).await;
    if let Err(failure) = first {
        if !failure
            .to_string()
            .contains("root user does not have root role")
        {
            return Err(failure);
        }
        let root = || "root".to_owned();
        let request = api::AuthRoleAddRequest { name: root() };
        let add = async |wire| auth(wire).role_add(request.clone()).await;
        let added = session.ask(Repeat::Never, add).await.map(|_| ());
        added.or_else(|failure| {
            let is_there = failure.to_string().contains("already exists");
            is_there.then_some(()).ok_or(failure)
        })?;
        let request = api::AuthUserGrantRoleRequest {
            user: root(),
            role: root(),
        };
        let grant = async |wire| auth(wire).user_grant_role(request.clone()).await;
        session.ask(Repeat::Never, grant).await?;
        session.ask(Repeat::Never, enable).await?;
    }
    say(b"Authentication Enabled\n")
}

/// Does something with users.
///
/// # Errors
/// It cannot be done.
pub async fn run_user(session: &Session, style: Style, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Add(args) => add(session, style, args).await,
        UserCommand::Delete(args) => {
            let [name] = exactly(
                args.args,
                "user delete command requires user name as its argument",
            )?;
            let request = api::AuthUserDeleteRequest { name: name.clone() };
            let delete = async |wire| auth(wire).user_delete(request.clone()).await;
            let answer = session.ask(Repeat::Never, delete).await?;
            done(style, &answer, &format!("User {name} deleted"))
        }
        UserCommand::Get(args) => get(session, style, args).await,
        UserCommand::List => {
            let list = async |wire| auth(wire).user_list(api::AuthUserListRequest {}).await;
            style.print(&session.ask(Repeat::Always, list).await?)
        }
        UserCommand::Passwd(args) => passwd(session, style, args).await,
        UserCommand::GrantRole(args) => {
            let needs = "user grant command requires user name and role name as its argument";
            let [user, role] = exactly(args.args, needs)?;
            let words = format!("Role {role} is granted to user {user}");
            let request = api::AuthUserGrantRoleRequest { user, role };
            let grant = async |wire| auth(wire).user_grant_role(request.clone()).await;
            done(style, &session.ask(Repeat::Never, grant).await?, &words)
        }
        UserCommand::RevokeRole(args) => {
            let needs = "user revoke-role requires user name and role name as its argument";
            let [name, role] = exactly(args.args, needs)?;
            let words = format!("Role {role} is revoked from user {name}");
            let request = api::AuthUserRevokeRoleRequest { name, role };
            let revoke = async |wire| auth(wire).user_revoke_role(request.clone()).await;
            done(style, &session.ask(Repeat::Never, revoke).await?, &words)
        }
    }
}

async fn add(session: &Session, style: Style, args: AddArgs) -> Result<()> {
    let [given] = exactly(
        args.args,
        "user add command requires user name as its argument",
    )?;
    let (name, password) = if args.no_password {
        (given, String::new())
    } else if !args.new_user_password.is_empty() {
        (given, args.new_user_password)
    } else if let Some((name, password)) = given.split_once(':') {
        if name.is_empty() {
            return Err(Failure::arguments("empty user name is not allowed"));
        }
        (name.to_owned(), password.to_owned())
    } else {
        let password = password::new(&given, args.interactive)?;
        (given, password)
    };
    let words = format!("User {name} created");
    let options = args.no_password;
    let request = api::AuthUserAddRequest {
        name,
        password,
        options: Some(UserAddOptions {
            no_password: options,
        }),
        ..Default::default()
    };
    let add = async |wire| auth(wire).user_add(request.clone()).await;
    done(style, &session.ask(Repeat::Never, add).await?, &words)
}

async fn get(session: &Session, style: Style, args: GetArgs) -> Result<()> {
    let [name] = exactly(
        args.args,
        "user get command requires user name as its argument",
    )?;
    let request = api::AuthUserGetRequest { name: name.clone() };
    let get = async |wire| auth(wire).user_get(request.clone()).await;
    let answer = session.ask(Repeat::Always, get).await?;
    if args.detail {
        say(format!("User: {name}\n").as_bytes())?;
        for role in &answer.roles {
            say(b"\n")?;
            role_get(session, style, role).await?;
        }
        return Ok(());
    }
    let roles: String = answer.roles.iter().map(|role| format!(" {role}")).collect();
    done(style, &answer, &format!("User: {name}\nRoles:{roles}"))
}

async fn passwd(session: &Session, style: Style, args: PasswdArgs) -> Result<()> {
    let [name] = exactly(
        args.args,
        "user passwd command requires user name as its argument",
    )?;
    let password = password::new(&name, args.interactive)?;
    let request = api::AuthUserChangePasswordRequest {
        name,
        password,
        ..Default::default()
    };
    let change = async |wire| auth(wire).user_change_password(request.clone()).await;
    done(
        style,
        &session.ask(Repeat::Never, change).await?,
        "Password updated",
    )
}

/// Answers that say no more than that it was done.
macro_rules! only_done {
    ($($answer:ident)*) => {$(
        impl Answer for api::$answer {
            const NAME: &'static str = concat!("etcdserverpb.", stringify!($answer));

            fn simple(&self, _text: &mut Text, _style: Style) {}

            fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
                header_fields(text, self.header.as_ref());
                Ok(())
            }
        }
    )*};
}

only_done! {
    AuthUserAddResponse AuthUserDeleteResponse AuthUserChangePasswordResponse
    AuthUserGrantRoleResponse AuthUserRevokeRoleResponse
    AuthRoleAddResponse AuthRoleDeleteResponse
    AuthRoleGrantPermissionResponse AuthRoleRevokePermissionResponse
}

impl Answer for api::AuthStatusResponse {
    const NAME: &'static str = "etcdserverpb.AuthStatusResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        line(text, format!("Authentication Status: {}", self.enabled));
        line(text, format!("AuthRevision: {}", self.auth_revision));
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "Enabled", self.enabled);
        field(text, "AuthRevision", self.auth_revision);
        Ok(())
    }
}

impl Answer for api::AuthUserGetResponse {
    const NAME: &'static str = "etcdserverpb.AuthUserGetResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        self.roles.iter().for_each(|role| line(text, role));
    }
}

impl Answer for api::AuthUserListResponse {
    const NAME: &'static str = "etcdserverpb.AuthUserListResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        self.users.iter().for_each(|user| line(text, user));
    }
}
