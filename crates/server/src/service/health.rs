//! gRPC's health protocol: load balancers and orchestrators ask it whether to send requests here.
//! Never looks at the cluster: a server that answers serves, as in etcd.
//!
//! # Source
//! gRPC's health checking protocol; etcd's answers to it.

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};

use crate::failure::Failure;
use crate::generated::health::health_check_response::ServingStatus;
use crate::generated::health::health_server::Health;
use crate::generated::health::{HealthCheckRequest, HealthCheckResponse};
use crate::service::not_yet;

/// The service.
pub struct HealthService;

#[async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Failure::UnknownService.into());
        }
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(not_yet(
            "grpc.health.v1.Health",
            "Watch",
        )))
    }
}
