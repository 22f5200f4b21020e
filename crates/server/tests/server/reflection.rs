//! The API described to tools that have none of its files.

use crate::generated::descriptors::FILES;
use crate::support::Server;
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn asking(request: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    }
}

fn said(answer: Option<ServerReflectionResponse>) -> MessageResponse {
    let answer = answer.expect("an answer to each question");
    answer.message_response.expect("it says something")
}

#[test]
fn tools_are_told_of_every_service_and_of_its_messages() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), &[]);
    runtime().block_on(async {
        let url = format!("http://127.0.0.1:{}", server.port);
        let channel = Endpoint::from_shared(url).expect("a URL").connect_lazy();
        let questions = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("etcdserverpb.KV.RangeStream".to_owned()),
            MessageRequest::FileContainingSymbol("etcdserverpb.Nothing".to_owned()),
        ];
        let questions = tonic::codegen::tokio_stream::iter(questions.map(asking));
        let mut client = ServerReflectionClient::new(channel);
        let answers = client.server_reflection_info(questions).await;
        let mut answers = answers.expect("a stream").into_inner();
        let MessageResponse::ListServicesResponse(listed) = said(answers.message().await.unwrap())
        else {
            panic!("no list of services");
        };
        let names: Vec<_> = listed.service.into_iter().map(|one| one.name).collect();
        for service in ["etcdserverpb.KV", "etcdserverpb.Auth", "v3lockpb.Lock"] {
            assert!(names.iter().any(|name| name == service), "{names:?}");
        }
        let MessageResponse::FileDescriptorResponse(files) = said(answers.message().await.unwrap())
        else {
            panic!("no file");
        };
        let file = &files.file_descriptor_proto[0];
        let has = |bytes: &[u8]| FILES.windows(bytes.len()).any(|part| part == bytes);
        assert!(has(file), "the file is another than ours");
        assert!(answers.message().await.is_err(), "there is no such thing");
    });
}

#[test]
fn older_tools_are_told_in_their_own_version() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), &[]);
    runtime().block_on(async {
        let url = format!("http://127.0.0.1:{}", server.port);
        let channel = Endpoint::from_shared(url).expect("a URL").connect_lazy();
        use v1alpha::server_reflection_request::MessageRequest;
        let question = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let questions = tonic::codegen::tokio_stream::iter([question]);
        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
        let answers = client.server_reflection_info(questions).await;
        let mut answers = answers.expect("a stream").into_inner();
        let answer = answers.message().await.expect("it goes on");
        assert!(answer.expect("an answer").message_response.is_some());
    });
}
