//! Who takes part. Members are named when the cluster starts; changing them is not served yet.
//! Never asks other members: what they say of themselves comes through the log.
//!
//! # Source
//! The etcd v3 API, service `Cluster`.

use std::sync::Arc;

use headwater_runtime::ReadLevel;
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::cluster_server::Cluster;
use crate::members;
use crate::service::not_yet;

/// The service, on a backend shared with the others.
pub struct ClusterService(pub Arc<Backend>);

fn refuse<T>(method: &str) -> Result<Response<T>, Status> {
    let text = not_yet("etcdserverpb.Cluster", method);
    Err(Status::unimplemented(text))
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
        let members = members::list(&self.0, level).await?;
        let members = members.into_iter().map(|member| api::Member {
            id: member.id.0,
            name: member.name,
            peer_ur_ls: member.peer_urls,
            client_ur_ls: member.client_urls,
            is_learner: false,
        });
        Ok(Response::new(api::MemberListResponse {
            // etcd, too, leaves the revision out of this service's headers.
            header: Some(self.0.header(0)),
            members: members.collect(),
        }))
    }

    async fn member_add(
        &self,
        _request: Request<api::MemberAddRequest>,
    ) -> Result<Response<api::MemberAddResponse>, Status> {
        refuse("MemberAdd")
    }

    async fn member_remove(
        &self,
        _request: Request<api::MemberRemoveRequest>,
    ) -> Result<Response<api::MemberRemoveResponse>, Status> {
        refuse("MemberRemove")
    }

    async fn member_update(
        &self,
        _request: Request<api::MemberUpdateRequest>,
    ) -> Result<Response<api::MemberUpdateResponse>, Status> {
        refuse("MemberUpdate")
    }

    async fn member_promote(
        &self,
        _request: Request<api::MemberPromoteRequest>,
    ) -> Result<Response<api::MemberPromoteResponse>, Status> {
        refuse("MemberPromote")
    }
}
