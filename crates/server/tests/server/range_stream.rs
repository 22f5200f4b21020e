//! A range in chunks is, put together, the range.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::kv_client::KvClient;
use crate::support::Server;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const VALUE_BYTES: usize = 10_000;

/// A chunk of a mebibyte, and the key that made it one.
const CHUNK_BYTES_MAX: usize = (1 << 20) + 2 * VALUE_BYTES;

/// A server with 700 keys, of which some have been written again, and revisions up to a few hundred
/// compacted.
fn with_keys(test: impl AsyncFnOnce(&Server, KvClient<Channel>)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), &[]);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let url = format!("http://127.0.0.1:{}", server.port);
            // So little that the server is not far ahead of who reads.
            let endpoint = Endpoint::from_shared(url).expect("a URL");
            let endpoint = endpoint.initial_stream_window_size(1 << 16);
            let channel = endpoint.connect_lazy();
            let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);
            for round in 0..8 {
                let put = |number: usize| api::RequestOp {
                    request: Some(api::request_op::Request::RequestPut(api::PutRequest {
                        key: format!("k{number:04}").into(),
                        value: vec![b'v'; VALUE_BYTES].into(),
                        ..Default::default()
                    })),
                };
                let txn = api::TxnRequest {
                    success: (round * 100..round * 100 + 100)
                        .map(|n| put(n % 700))
                        .collect(),
                    ..Default::default()
                };
                kv.txn(txn).await.expect("written");
            }
            let request = api::CompactionRequest {
                revision: 3,
                physical: true,
            };
            kv.compact(request).await.expect("compacted");
            test(&server, kv).await;
        });
}

fn all() -> api::RangeRequest {
    api::RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    }
}

/// The chunks put together, and how many there were.
async fn merged(
    kv: &mut KvClient<Channel>,
    request: api::RangeRequest,
) -> Result<(api::RangeResponse, usize), Status> {
    let mut stream = kv.range_stream(request).await?.into_inner();
    let (mut whole, mut chunks) = (api::RangeResponse::default(), 0);
    while let Some(chunk) = stream.message().await? {
        let part = chunk.range_response.expect("a chunk has a part");
        let bytes = part.kvs.iter().map(|kv| kv.key.len() + kv.value.len());
        assert!(
            bytes.sum::<usize>() <= CHUNK_BYTES_MAX,
            "a chunk is too large"
        );
        whole.header = part.header.or(whole.header);
        whole.more |= part.more;
        whole.count += part.count;
        whole.kvs.extend(part.kvs);
        chunks += 1;
    }
    Ok((whole, chunks))
}

#[test]
fn the_chunks_of_a_range_are_together_what_a_range_answers() {
    with_keys(async |_, mut kv| {
        let (_, chunks) = merged(&mut kv, all()).await.expect("a stream");
        assert!(chunks > 5, "seven megabytes in {chunks} chunks");
        let requests = [
            all(),
            api::RangeRequest {
                limit: 300,
                ..all()
            },
            api::RangeRequest {
                limit: 700,
                ..all()
            },
            api::RangeRequest {
                limit: 1,
                serializable: true,
                ..all()
            },
            api::RangeRequest {
                keys_only: true,
                ..all()
            },
            api::RangeRequest {
                count_only: true,
                ..all()
            },
            api::RangeRequest {
                revision: 5,
                ..all()
            },
            api::RangeRequest {
                min_mod_revision: 4,
                limit: 350,
                ..all()
            },
            api::RangeRequest {
                max_create_revision: 2,
                ..all()
            },
            api::RangeRequest {
                min_create_revision: 3,
                max_mod_revision: 6,
                limit: 400,
                ..all()
            },
            api::RangeRequest {
                sort_order: 1,
                ..all()
            },
            api::RangeRequest {
                key: "k0007".into(),
                range_end: "".into(),
                ..all()
            },
            api::RangeRequest {
                range_end: "\0".into(),
                ..all()
            },
            api::RangeRequest {
                key: "x".into(),
                range_end: "y".into(),
                ..all()
            },
        ];
        for request in requests {
            let whole = kv
                .range(request.clone())
                .await
                .expect("a range")
                .into_inner();
            let (streamed, _) = merged(&mut kv, request.clone()).await.expect("a stream");
            assert!(streamed == whole, "{request:?}");
        }
    });
}

#[test]
fn what_a_range_refuses_is_refused_before_the_first_chunk() {
    with_keys(async |_, mut kv| {
        let refused = [
            api::RangeRequest {
                key: "".into(),
                ..all()
            },
            api::RangeRequest {
                revision: 2,
                ..all()
            },
            api::RangeRequest {
                revision: 1000,
                ..all()
            },
        ];
        for request in refused {
            let whole = kv.range(request.clone()).await.expect_err("refused");
            let streamed = kv.range_stream(request).await.expect_err("refused");
            assert_eq!(
                (streamed.code(), streamed.message()),
                (whole.code(), whole.message())
            );
        }
        let sorted = [(2, 0), (0, 1), (1, 4)];
        for (sort_order, sort_target) in sorted {
            let request = api::RangeRequest {
                sort_order,
                sort_target,
                ..all()
            };
            let status = kv.range_stream(request).await.expect_err("refused");
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    });
}

#[test]
fn a_stream_goes_on_at_its_revision_until_that_is_compacted() {
    with_keys(async |_, mut kv| {
        let mut stream = kv.range_stream(all()).await.expect("a stream").into_inner();
        let first = stream.message().await.expect("a chunk").expect("a chunk");
        let put = api::PutRequest {
            key: "k0699".into(),
            value: "new".into(),
            ..Default::default()
        };
        let revision = kv.put(put).await.expect("written").into_inner().header;
        let revision = revision.expect("a header").revision;
        let mut keys = first.range_response.expect("a part").kvs;
        while let Some(chunk) = stream.message().await.expect("it goes on") {
            keys.extend(chunk.range_response.expect("a part").kvs);
        }
        assert_eq!(keys.len(), 700);
        assert_eq!(keys[699].value.len(), VALUE_BYTES, "written since");

        let mut stream = kv.range_stream(all()).await.expect("a stream").into_inner();
        let put = api::PutRequest {
            key: "other".into(),
            ..Default::default()
        };
        kv.put(put).await.expect("written");
        let physical = true;
        let request = api::CompactionRequest {
            revision: revision + 1,
            physical,
        };
        kv.compact(request).await.expect("compacted");
        let end = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it was not read by then"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::OutOfRange);
        assert!(end.message().contains("has been compacted"), "{end:?}");
    });
}

#[test]
fn the_gateway_has_a_line_for_each_chunk() {
    with_keys(async |server, _| {
        let body = r#"{"key":"aw==","range_end":"bA==","keys_only":true}"#;
        let head = format!(
            "POST /v3beta/kv/rangestream HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).expect("a door");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(
            answer.contains("{\"result\":{\"range_response\":"),
            "{answer}"
        );
        assert!(answer.contains("\"count\":\"700\""), "{answer}");
    });
}
