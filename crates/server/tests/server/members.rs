//! What a member says of itself, from one life to the next.

use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::cluster_client::ClusterClient;
use crate::generated::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::support::{Server, free_port, headwater};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

fn channel(port: u16) -> Channel {
    let url = format!("http://127.0.0.1:{port}");
    Endpoint::from_shared(url).expect("a URL").connect_lazy()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

async fn list(channel: &Channel, linearizable: bool) -> Result<Vec<api::Member>, tonic::Status> {
    let mut cluster = ClusterClient::new(channel.clone());
    let request = api::MemberListRequest { linearizable };
    let list = cluster.member_list(request).await?.into_inner();
    assert_eq!(
        list.header.expect("a header").revision,
        0,
        "as etcd has it for this service"
    );
    Ok(list.members)
}

async fn status(channel: &Channel) -> api::StatusResponse {
    let mut care = MaintenanceClient::new(channel.clone());
    let answer = care.status(api::StatusRequest {}).await;
    answer.expect("a status").into_inner()
}

/// The URLs told, the length of the log and the revision, in one life on the data in `dir`.
async fn one_life(dir: &std::path::Path, flag: &str) -> (Vec<String>, u64, i64) {
    let mut server = Server::start(dir, &["--name=solo", flag]);
    let channel = channel(server.port);
    let mut told = Vec::new();
    for linearizable in [false, true] {
        let members = list(&channel, linearizable).await.expect("listed");
        assert_eq!((members.len(), members[0].name.as_str()), (1, "solo"));
        assert!(told.is_empty() || told == members[0].client_ur_ls);
        told = members[0].client_ur_ls.clone();
    }
    let status = status(&channel).await;
    server.signal("TERM");
    server.wait();
    let revision = status.header.expect("a header").revision;
    (told, status.raft_index, revision)
}

#[test]
fn a_member_publishes_when_it_has_moved_and_only_then() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    block_on(async {
        let here = "--advertise-client-urls=http://here:1,http://here:2";
        let (told, first, revision) = one_life(dir.path(), here).await;
        assert_eq!(told, ["http://here:1", "http://here:2"]);
        assert_eq!(revision, 1, "no client has written");
        let (_, second, _) = one_life(dir.path(), here).await;
        assert_eq!(second, first + 1, "an election's entry and nothing else");
        let (told, third, revision) =
            one_life(dir.path(), "--advertise-client-urls=http://a:3").await;
        assert_eq!(told, ["http://a:3"]);
        assert_eq!(third, second + 2, "an election's entry and a publication");
        assert_eq!(revision, 1);
    });
}

#[test]
fn without_a_quorum_only_who_asks_for_less_is_answered() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ports = [(); 4].map(|()| free_port());
    let [client, own, other, third] = ports.each_ref().map(|port| port.number);
    let mut child = headwater()
        .args(["--name=a", "--initial-cluster-token=alone"])
        .arg(format!("--data-dir={}", dir.path().display()))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{own}"))
        .arg(format!(
            "--initial-advertise-peer-urls=http://127.0.0.1:{own}"
        ))
        .arg(format!(
            "--initial-cluster=a=http://127.0.0.1:{own},b=http://127.0.0.1:{other},\
             c=http://127.0.0.1:{third}"
        ))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is there");
    let told = block_on(async {
        let channel = channel(client);
        let since = Instant::now();
        let local = loop {
            match list(&channel, false).await {
                Ok(members) => break members,
                Err(status) => assert!(since.elapsed() < Duration::from_secs(20), "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        (local, list(&channel, true).await)
    });
    child.kill().expect("it is our child");
    child.wait().expect("it was killed");
    let (local, linearizable) = told;
    let mut names: Vec<&str> = local.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    for member in &local {
        let is_own = member.name == "a";
        assert_eq!(!member.client_ur_ls.is_empty(), is_own, "{member:?}");
    }
    let refusal = linearizable.expect_err("nobody can vouch for it");
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
}

#[test]
fn an_authority_that_is_a_url_is_understood() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), &[]);
    let url = format!("http://127.0.0.1:{}", server.port);
    assert_eq!(answer_to(server.port, url.as_bytes()), Some(1), "HEADERS");
    let address = &url.as_bytes()["http://".len()..];
    assert_eq!(answer_to(server.port, address), Some(1), "HEADERS");
    assert_eq!(answer_to(server.port, b"no host"), Some(3), "RST_STREAM");
}

/// The type of the first frame on the stream of a call of `Status` with this authority.
fn answer_to(port: u16, authority: &[u8]) -> Option<u8> {
    use std::io::{Read, Write};
    let field = |way: &[u8], value: &[u8]| {
        let mut field = way.to_vec();
        field.push(value.len() as u8);
        field.extend_from_slice(value);
        field
    };
    let block = [
        vec![0x83, 0x86],
        field(&[0x44], b"/etcdserverpb.Maintenance/Status"),
        field(&[0x41], authority),
        field(&[0x5f], b"application/grpc"),
    ]
    .concat();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend_from_slice(payload);
        frame
    };
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &block),
        frame(0, 1, 1, &[0; 5]),
    ]
    .concat();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(&request).expect("it reads");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).ok()?;
        if head[8] == 1 {
            return Some(head[3]);
        }
    }
}
