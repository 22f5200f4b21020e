//! Users, roles and rights, and tokens for passwords.
//! Never judges: the store does, and `auth` knows passwords.
//!
//! # Source
//! The etcd v3 API, service `Auth`.

use std::sync::Arc;

use bytes::Bytes;
use headwater_kv::auth::{
    Auth as State, AuthQuery, AuthRequest, Permission, PermissionKind, Right, names,
};
use headwater_kv::request::{Command, KvError, Outcome, Query, Response as KvResponse};
use headwater_runtime::{ReadLevel, dice};
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::client::Client;
use crate::convert;
use crate::failure::Failure;
use crate::generated::authpb;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::auth_server::Auth;

/// The service, on a backend shared with the others.
pub struct AuthService(pub Arc<Backend>);

type Answer<T> = Result<Response<T>, Status>;

fn state(outcome: Outcome) -> Result<(i64, Arc<State>), Failure> {
    match outcome.result.map_err(Failure::Kv)? {
        KvResponse::Auth(state) => Ok((outcome.revision, state)),
        _ => Err(Failure::MISMATCH),
    }
}

impl AuthService {
    /// Makes a change in the name of whoever asks for it; the header of the answer.
    async fn change<T>(
        &self,
        request: &Request<T>,
        change: AuthRequest,
    ) -> Result<Option<api::ResponseHeader>, Failure> {
        let client = Client::of(&self.0, request);
        let (revision, _) = state(client.propose(&Command::Auth(change)).await?)?;
        Ok(Some(client.header(revision)))
    }

    /// What there is of users and roles, for whoever asks.
    async fn ask<T>(
        &self,
        request: &Request<T>,
        query: AuthQuery,
    ) -> Result<(Option<api::ResponseHeader>, Arc<State>), Failure> {
        let client = Client::of(&self.0, request);
        let query = Query::Auth(query);
        let (revision, state) = state(client.query(query, ReadLevel::Linearizable).await?)?;
        Ok((Some(client.header(revision)), state))
    }

    /// Hashes a password for whoever may change it. It is work, and not for everyone.
    async fn hash<T>(&self, request: &Request<T>, password: &str) -> Result<Bytes, Failure> {
        let client = Client::of(&self.0, request);
        client.demand(Right::All, ReadLevel::Local).await?;
        self.0.door().passwords.hash(password.to_owned()).await
    }

    /// A token for a name and a password. Whichever of the two is wrong, the answer is the same.
    async fn token(
        &self,
        request: api::AuthenticateRequest,
    ) -> Result<api::AuthenticateResponse, Failure> {
        let door = self.0.door();
        let outcome = self
            .0
            .query(Query::AuthState, ReadLevel::Linearizable)
            .await?;
        let (mut revision, mut known) = state(outcome)?;
        if !known.is_enabled {
            return Err(Failure::AuthNotEnabled);
        }
        let user = known.users.get(&request.name);
        let since = user.map(|user| user.since);
        let hash = user.and_then(|user| user.password.clone());
        let fits = door.passwords.fits(request.password, hash).await?;
        let Some(since) = since.filter(|_| fits) else {
            return Err(Failure::AuthFailed);
        };
        if known.secret.is_empty() && door.tokens.need_secret() {
            let secret = [dice::u128().to_le_bytes(), dice::u128().to_le_bytes()].concat();
            let change = Command::Auth(AuthRequest::Secret(secret.into()));
            (revision, known) = state(self.0.propose(&change).await?)?;
        }
        Ok(api::AuthenticateResponse {
            header: Some(self.0.header(revision)),
            token: door.tokens.issue(&known, &request.name, since)?,
        })
    }
}

fn permission(permission: authpb::Permission) -> Result<Permission, Failure> {
    let kind = PermissionKind::of_number(permission.perm_type);
    Ok(Permission {
        kind: kind.ok_or(Failure::Kv(KvError::InvalidAuthManagement))?,
        key: permission.key,
        range_end: permission.range_end,
    })
}

#[async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<api::AuthEnableRequest>,
    ) -> Answer<api::AuthEnableResponse> {
        let header = self.change(&request, AuthRequest::Enable).await?;
        Ok(api::AuthEnableResponse { header }.into())
    }

    async fn auth_disable(
        &self,
        request: Request<api::AuthDisableRequest>,
    ) -> Answer<api::AuthDisableResponse> {
        let header = self.change(&request, AuthRequest::Disable).await?;
        Ok(api::AuthDisableResponse { header }.into())
    }

    async fn auth_status(
        &self,
        request: Request<api::AuthStatusRequest>,
    ) -> Answer<api::AuthStatusResponse> {
        let (header, state) = self.ask(&request, AuthQuery::All).await?;
        Ok(api::AuthStatusResponse {
            header,
            enabled: state.is_enabled,
            auth_revision: state.revision,
        }
        .into())
    }

    async fn authenticate(
        &self,
        request: Request<api::AuthenticateRequest>,
    ) -> Answer<api::AuthenticateResponse> {
        Ok(self.token(request.into_inner()).await?.into())
    }

    async fn user_add(
        &self,
        request: Request<api::AuthUserAddRequest>,
    ) -> Answer<api::AuthUserAddResponse> {
        let asked = request.get_ref();
        let has_password = !asked.options.is_some_and(|options| options.no_password);
        let password = match has_password {
            true => Some(self.hash(&request, &asked.password).await?),
            false => None,
        };
        let change = AuthRequest::UserAdd(asked.name.clone(), password);
        let header = self.change(&request, change).await?;
        Ok(api::AuthUserAddResponse { header }.into())
    }

    async fn user_get(
        &self,
        request: Request<api::AuthUserGetRequest>,
    ) -> Answer<api::AuthUserGetResponse> {
        let name = &request.get_ref().name;
        let (header, state) = self.ask(&request, AuthQuery::User(name.clone())).await?;
        let user = state.user(name).map_err(Failure::Kv)?;
        let roles = user.roles.iter().cloned().collect();
        let answer = api::AuthUserGetResponse { header, roles };
        Ok(self.0.answers().fit(answer).await?)
    }

    async fn user_list(
        &self,
        request: Request<api::AuthUserListRequest>,
    ) -> Answer<api::AuthUserListResponse> {
        let (header, state) = self.ask(&request, AuthQuery::All).await?;
        let users = names(&state.users);
        let answer = api::AuthUserListResponse { header, users };
        Ok(self.0.answers().fit(answer).await?)
    }

    async fn user_delete(
        &self,
        request: Request<api::AuthUserDeleteRequest>,
    ) -> Answer<api::AuthUserDeleteResponse> {
        let change = AuthRequest::UserDelete(request.get_ref().name.clone());
        let header = self.change(&request, change).await?;
        Ok(api::AuthUserDeleteResponse { header }.into())
    }

    async fn user_change_password(
        &self,
        request: Request<api::AuthUserChangePasswordRequest>,
    ) -> Answer<api::AuthUserChangePasswordResponse> {
        let asked = request.get_ref();
        let hash = self.hash(&request, &asked.password).await?;
        let change = AuthRequest::UserChangePassword(asked.name.clone(), hash);
        let header = self.change(&request, change).await?;
        Ok(api::AuthUserChangePasswordResponse { header }.into())
    }

    async fn user_grant_role(
        &self,
        request: Request<api::AuthUserGrantRoleRequest>,
    ) -> Answer<api::AuthUserGrantRoleResponse> {
        let api::AuthUserGrantRoleRequest { user, role } = request.get_ref().clone();
        let change = AuthRequest::UserGrantRole(user, role);
        let header = self.change(&request, change).await?;
        Ok(api::AuthUserGrantRoleResponse { header }.into())
    }

    async fn user_revoke_role(
        &self,
        request: Request<api::AuthUserRevokeRoleRequest>,
    ) -> Answer<api::AuthUserRevokeRoleResponse> {
        let api::AuthUserRevokeRoleRequest { name, role } = request.get_ref().clone();
        let change = AuthRequest::UserRevokeRole(name, role);
        let header = self.change(&request, change).await?;
        Ok(api::AuthUserRevokeRoleResponse { header }.into())
    }

    async fn role_add(
        &self,
        request: Request<api::AuthRoleAddRequest>,
    ) -> Answer<api::AuthRoleAddResponse> {
        let change = AuthRequest::RoleAdd(request.get_ref().name.clone());
        let header = self.change(&request, change).await?;
        Ok(api::AuthRoleAddResponse { header }.into())
    }

    async fn role_get(
        &self,
        request: Request<api::AuthRoleGetRequest>,
    ) -> Answer<api::AuthRoleGetResponse> {
        let name = &request.get_ref().role;
        let (header, state) = self.ask(&request, AuthQuery::Role(name.clone())).await?;
        let role = state.role(name).map_err(Failure::Kv)?;
        let perm = convert::permissions(role);
        let answer = api::AuthRoleGetResponse { header, perm };
        Ok(self.0.answers().fit(answer).await?)
    }

    async fn role_list(
        &self,
        request: Request<api::AuthRoleListRequest>,
    ) -> Answer<api::AuthRoleListResponse> {
        let (header, state) = self.ask(&request, AuthQuery::All).await?;
        let roles = names(&state.roles);
        let answer = api::AuthRoleListResponse { header, roles };
        Ok(self.0.answers().fit(answer).await?)
    }

    async fn role_delete(
        &self,
        request: Request<api::AuthRoleDeleteRequest>,
    ) -> Answer<api::AuthRoleDeleteResponse> {
        let change = AuthRequest::RoleDelete(request.get_ref().role.clone());
        let header = self.change(&request, change).await?;
        Ok(api::AuthRoleDeleteResponse { header }.into())
    }

    async fn role_grant_permission(
        &self,
        request: Request<api::AuthRoleGrantPermissionRequest>,
    ) -> Answer<api::AuthRoleGrantPermissionResponse> {
        let asked = request.get_ref().clone();
        let permitted = permission(asked.perm.ok_or(Failure::PermissionNotGiven)?)?;
        let change = AuthRequest::RoleGrantPermission(asked.name, permitted);
        let header = self.change(&request, change).await?;
        Ok(api::AuthRoleGrantPermissionResponse { header }.into())
    }

    async fn role_revoke_permission(
        &self,
        request: Request<api::AuthRoleRevokePermissionRequest>,
    ) -> Answer<api::AuthRoleRevokePermissionResponse> {
        let asked = request.get_ref().clone();
        let change = AuthRequest::RoleRevokePermission(asked.role, asked.key, asked.range_end);
        let header = self.change(&request, change).await?;
        Ok(api::AuthRoleRevokePermissionResponse { header }.into())
    }
}
