//! Who takes part. Members are named when the cluster starts; changing them is not served yet.
//! Never asks other members: what this one knows was said on the command line.
//!
//! # Source
//! The etcd v3 API, service `Cluster`.

use std::sync::Arc;

use headwater_kv::request::Query;
use headwater_runtime::ReadLevel;
use tonic::{Request, Response, Status, async_trait};

use crate::backend::Backend;
use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::cluster_server::Cluster;
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
        if request.get_ref().linearizable {
            // The members do not change, but whoever asks so also asks whether a quorum is there.
            self.0.query(Query::Status, ReadLevel::Linearizable).await?;
        }
        let members = self.0.cluster().members.iter();
        let members = members.map(|member| api::Member {
            id: member.id.0,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
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
