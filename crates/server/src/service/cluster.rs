//! Who takes part, and changes of that.
//! Never asks other members for the list: what they say of themselves comes through the log.
//!
//! # Source
//! The etcd v3 API, service `Cluster`.

use std::sync::Arc;

use headwater_kv::auth::Right;
use headwater_runtime::ReadLevel;
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::changes::{self, Change, Kind};
use crate::client::Client;
use crate::config::Member;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::cluster_server::Cluster;
use crate::members;

/// The service, on a backend shared with the others.
pub struct ClusterService(pub Arc<Backend>);

impl ClusterService {
    /// etcd, too, leaves the revision out of this service's headers.
    fn header(&self) -> Option<api::ResponseHeader> {
        Some(self.0.header(0))
    }

    /// Carries a change out; the member concerned, if it is still one, and all members then.
    async fn change(
        &self,
        client: Client,
        kind: Kind,
        id: u64,
        peer_urls: Vec<String>,
    ) -> Result<(Option<api::Member>, Vec<api::Member>), Failure> {
        client.demand(Right::All, ReadLevel::Linearizable).await?;
        let change = Change {
            kind: kind as i32,
            id,
            peer_urls,
        };
        let id = changes::request(&self.0, change).await?;
        // Who removed itself can confirm nothing any more, and has nothing to add.
        let level = if kind == Kind::Remove && id == self.0.cluster().me {
            ReadLevel::Local
        } else {
            ReadLevel::Linearizable
        };
        let listed = members::list(&self.0, level).await?;
        let listed: Vec<_> = listed.into_iter().map(to_api).collect();
        let member = listed.iter().find(|member| member.id == id.0);
        Ok((member.cloned(), listed))
    }
}

fn to_api(member: Member) -> api::Member {
    api::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}

#[async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<api::MemberListRequest>,
    ) -> Result<Response<api::MemberListResponse>, Status> {
        // Clients from before etcd 3.5 cannot say what they want and get what is known here.
        let level = if request.get_ref().linearizable {
            ReadLevel::Linearizable
        } else {
            ReadLevel::Local
        };
        let client = Client::of(&self.0, &request);
        client.demand(Right::User, ReadLevel::Local).await?;
        let members = members::list(&self.0, level).await?;
        let answer = api::MemberListResponse {
            header: self.header(),
            members: members.into_iter().map(to_api).collect(),
        };
        Ok(self.0.answers().fit(answer).await?)
    }

    async fn member_add(
        &self,
        request: Request<api::MemberAddRequest>,
    ) -> Result<Response<api::MemberAddResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let request = request.into_inner();
        let kind = if request.is_learner {
            Kind::AddLearner
        } else {
            Kind::AddVoter
        };
        let (member, members) = self.change(client, kind, 0, request.peer_ur_ls).await?;
        Ok(Response::new(api::MemberAddResponse {
            header: self.header(),
            member,
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<api::MemberRemoveRequest>,
    ) -> Result<Response<api::MemberRemoveResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let id = request.get_ref().id;
        let (_, members) = self.change(client, Kind::Remove, id, Vec::new()).await?;
        Ok(Response::new(api::MemberRemoveResponse {
            header: self.header(),
            members,
        }))
    }

    async fn member_update(
        &self,
        request: Request<api::MemberUpdateRequest>,
    ) -> Result<Response<api::MemberUpdateResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let request = request.into_inner();
        let change = self.change(client, Kind::Update, request.id, request.peer_ur_ls);
        let (_, members) = change.await?;
        Ok(Response::new(api::MemberUpdateResponse {
            header: self.header(),
            members,
        }))
    }

    async fn member_promote(
        &self,
        request: Request<api::MemberPromoteRequest>,
    ) -> Result<Response<api::MemberPromoteResponse>, Status> {
        let client = Client::of(&self.0, &request);
        let id = request.get_ref().id;
        let (_, members) = self.change(client, Kind::Promote, id, Vec::new()).await?;
        Ok(Response::new(api::MemberPromoteResponse {
            header: self.header(),
            members,
        }))
    }
}
