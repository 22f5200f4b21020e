//! A real etcd as a referee, asked through its JSON gateway.

use bytes::Bytes;
use headwater_kv::request::*;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Child};
use std::time::Duration;

/// A connection to an etcd.
pub struct Etcd {
    stream: BufReader<TcpStream>,
}

impl Etcd {
    pub fn connect(address: &str) -> Etcd {
        let stream = TcpStream::connect(address).expect("an etcd listens there");
        stream.set_nodelay(true).unwrap();
        Etcd {
            stream: BufReader::new(stream),
        }
    }

    pub fn command(&mut self, command: &Command) -> Outcome {
        let (path, body) = match command {
            Command::Put(request) => ("kv/put", put_json(request)),
            Command::DeleteRange(request) => ("kv/deleterange", delete_json(request)),
            Command::Txn(request) => ("kv/txn", txn_json(request)),
            Command::Compact(request) => {
                let revision = request.revision.to_string();
                (
                    "kv/compaction",
                    json!({ "revision": revision, "physical": request.physical }),
                )
            }
            Command::LeaseGrant(request) => (
                "lease/grant",
                json!({ "ID": request.id.to_string(), "TTL": request.ttl.to_string() }),
            ),
            Command::LeaseRevoke(request) => {
                ("lease/revoke", json!({ "ID": request.id.to_string() }))
            }
            Command::Publish(_)
            | Command::Found(_)
            | Command::MemberAdd(..)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(..)
            | Command::Alarm(_)
            | Command::Auth(_)
            | Command::By(..)
            | Command::LeaseCheckpoint(_) => {
                panic!("clients cannot do this in etcd")
            }
        };
        let reply = self.post(path, &body);
        self.outcome(reply, |reply| match command {
            Command::Put(_) => Response::Put(put_of(reply)),
            Command::DeleteRange(_) => Response::DeleteRange(delete_of(reply)),
            Command::Txn(_) => Response::Txn(txn_of(reply)),
            Command::Compact(_) => Response::Compact,
            Command::LeaseGrant(_) => Response::LeaseGrant(LeaseGrantResponse {
                id: int(reply, "ID"),
                ttl: int(reply, "TTL"),
            }),
            Command::LeaseRevoke(_) => Response::LeaseRevoke,
            _ => unreachable!("refused above"),
        })
    }

    pub fn query(&mut self, query: &Query) -> Outcome {
        match query {
            Query::Range(request) => {
                let reply = self.post("kv/range", &range_json(request));
                self.outcome(reply, |reply| Response::Range(range_of(reply)))
            }
            Query::Txn(request) => {
                let reply = self.post("kv/txn", &txn_json(request));
                self.outcome(reply, |reply| Response::Txn(txn_of(reply)))
            }
            Query::LeaseTimeToLive(request) => {
                let body = json!({ "ID": request.id.to_string(), "keys": request.keys });
                let reply = self.post("lease/timetolive", &body);
                // An unknown lease is no error to etcd's clients but a time to live of -1.
                let reply = reply.and_then(|reply| match int(&reply, "TTL") {
                    -1 => Err(KvError::LeaseNotFound),
                    _ => Ok(reply),
                });
                self.outcome(reply, |reply| Response::LeaseTimeToLive(lease_of(reply)))
            }
            Query::Hash(_)
            | Query::Copy(_)
            | Query::Auth(_)
            | Query::AuthState
            | Query::May(_)
            | Query::By(..) => panic!("no client asks for it so"),
            Query::LeaseLeases => {
                let reply = self.post("lease/leases", &json!({}));
                self.outcome(reply, |reply| {
                    let leases = list(reply, "leases").iter();
                    let mut ids: Vec<i64> = leases.map(|lease| int(lease, "ID")).collect();
                    ids.sort_unstable();
                    Response::LeaseLeases(ids)
                })
            }
            Query::Status => panic!("etcd's sizes are its own"),
            Query::Members | Query::Alarms(_) => panic!("etcd's members are its own"),
        }
    }

    fn outcome(
        &mut self,
        reply: Result<Value, KvError>,
        convert: impl FnOnce(&Value) -> Response,
    ) -> Outcome {
        match reply {
            Ok(reply) => {
                let revision = int(&reply["header"], "revision");
                Outcome {
                    revision,
                    result: Ok(convert(&reply)),
                }
            }
            Err(error) => {
                // An error carries no header, so its revision is asked for.
                let body = json!({ "key": encode(b"\0"), "count_only": true });
                let reply = self
                    .post("kv/range", &body)
                    .expect("a count is never refused");
                Outcome {
                    revision: int(&reply["header"], "revision"),
                    result: Err(error),
                }
            }
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Value, KvError> {
        let body = body.to_string();
        let head = format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        self.stream.get_mut().write_all(&request).unwrap();
        let reply: Value = serde_json::from_slice(&self.read_body()).expect("a JSON reply");
        match reply.get("message").and_then(Value::as_str) {
            None => Ok(reply),
            Some(message) => Err(error_of(message)),
        }
    }

    fn read_body(&mut self) -> Vec<u8> {
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.read_line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let mut body = Vec::new();
        if !is_chunked {
            body.resize(length, 0);
            self.stream.read_exact(&mut body).unwrap();
            return body;
        }
        loop {
            let size = usize::from_str_radix(&self.read_line(), 16).unwrap();
            if size == 0 {
                // Trailers follow.
                while !self.read_line().is_empty() {}
                return body;
            }
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..]).unwrap();
            self.read_line();
        }
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).unwrap();
        assert!(read > 0, "etcd hung up");
        line.trim_end().to_string()
    }
}

fn error_of(message: &str) -> KvError {
    match message.trim_start_matches("etcdserver: ") {
        "key is not provided" => KvError::EmptyKey,
        "key not found" => KvError::KeyNotFound,
        "value is provided" => KvError::ValueProvided,
        "lease is provided" => KvError::LeaseProvided,
        "too many operations in txn request" => KvError::TooManyOps,
        "duplicate key given in txn request" => KvError::DuplicateKey,
        "invalid sort option" => KvError::InvalidSortOption,
        "mvcc: required revision has been compacted" => KvError::Compacted,
        "mvcc: required revision is a future revision" => KvError::FutureRevision,
        "requested lease not found" => KvError::LeaseNotFound,
        "lease already exists" => KvError::LeaseExists,
        "too large lease TTL" => KvError::LeaseTtlTooLarge,
        other => panic!("an error not in the list: {other}"),
    }
}

fn range_json(request: &RangeRequest) -> Value {
    json!({
        "key": encode(&request.key),
        "range_end": encode(&request.range_end),
        "limit": request.limit.to_string(),
        "revision": request.revision.to_string(),
        "sort_order": request.sort_order as u8,
        "sort_target": request.sort_target as u8,
        "keys_only": request.keys_only,
        "count_only": request.count_only,
        "min_mod_revision": request.min_mod_revision.to_string(),
        "max_mod_revision": request.max_mod_revision.to_string(),
        "min_create_revision": request.min_create_revision.to_string(),
        "max_create_revision": request.max_create_revision.to_string(),
    })
}

fn put_json(request: &PutRequest) -> Value {
    json!({
        "key": encode(&request.key),
        "value": encode(&request.value),
        "lease": request.lease.to_string(),
        "prev_kv": request.prev_kv,
        "ignore_value": request.ignore_value,
        "ignore_lease": request.ignore_lease,
    })
}

fn delete_json(request: &DeleteRangeRequest) -> Value {
    json!({
        "key": encode(&request.key),
        "range_end": encode(&request.range_end),
        "prev_kv": request.prev_kv,
    })
}

fn txn_json(request: &TxnRequest) -> Value {
    json!({
        "compare": request.compare.iter().map(compare_json).collect::<Vec<_>>(),
        "success": request.success.iter().map(op_json).collect::<Vec<_>>(),
        "failure": request.failure.iter().map(op_json).collect::<Vec<_>>(),
    })
}

fn op_json(op: &RequestOp) -> Value {
    match op {
        RequestOp::Range(request) => json!({ "request_range": range_json(request) }),
        RequestOp::Put(request) => json!({ "request_put": put_json(request) }),
        RequestOp::DeleteRange(request) => {
            json!({ "request_delete_range": delete_json(request) })
        }
        RequestOp::Txn(request) => json!({ "request_txn": txn_json(request) }),
        RequestOp::Missing => json!({}),
    }
}

fn compare_json(compare: &Compare) -> Value {
    let (target, name, operand) = match &compare.target {
        CompareTarget::Version(operand) => (0, "version", operand.to_string()),
        CompareTarget::Create(operand) => (1, "create_revision", operand.to_string()),
        CompareTarget::Mod(operand) => (2, "mod_revision", operand.to_string()),
        CompareTarget::Value(operand) => (3, "value", encode(operand)),
        CompareTarget::Lease(operand) => (4, "lease", operand.to_string()),
        CompareTarget::Unknown => (77, "version", "0".to_string()),
    };
    let mut json = json!({
        "result": compare.result as u8,
        "target": target,
        "key": encode(&compare.key),
        "range_end": encode(&compare.range_end),
    });
    json[name] = Value::String(operand);
    json
}

fn range_of(reply: &Value) -> RangeResponse {
    RangeResponse {
        kvs: list(reply, "kvs").iter().map(kv_of).collect(),
        more: reply["more"].as_bool().unwrap_or(false),
        count: int(reply, "count"),
    }
}

fn put_of(reply: &Value) -> PutResponse {
    PutResponse {
        prev_kv: reply.get("prev_kv").map(kv_of),
    }
}

fn delete_of(reply: &Value) -> DeleteRangeResponse {
    let prev_kvs = list(reply, "prev_kvs").iter().map(kv_of).collect();
    DeleteRangeResponse {
        deleted: int(reply, "deleted"),
        prev_kvs,
    }
}

/// What is left of a lease is not compared: it depends on the time, and no checkpoint is made.
fn lease_of(reply: &Value) -> LeaseTimeToLiveResponse {
    let granted_ttl = int(reply, "grantedTTL");
    let keys = list(reply, "keys").iter();
    let mut keys: Vec<Bytes> = keys.map(|key| decode_text(key.as_str().unwrap())).collect();
    keys.sort();
    LeaseTimeToLiveResponse {
        id: int(reply, "ID"),
        granted_ttl,
        remaining_ttl: granted_ttl,
        keys,
    }
}

fn txn_of(reply: &Value) -> TxnResponse {
    let response = |op: &Value| {
        let (name, reply) = op.as_object().and_then(|op| op.iter().next()).unwrap();
        match name.as_str() {
            "response_range" => ResponseOp::Range(range_of(reply)),
            "response_put" => ResponseOp::Put(put_of(reply)),
            "response_delete_range" => ResponseOp::DeleteRange(delete_of(reply)),
            "response_txn" => ResponseOp::Txn(txn_of(reply)),
            other => panic!("an unknown response {other}"),
        }
    };
    TxnResponse {
        succeeded: reply["succeeded"].as_bool().unwrap_or(false),
        responses: list(reply, "responses").iter().map(response).collect(),
    }
}

pub fn kv_of(kv: &Value) -> KeyValue {
    KeyValue {
        key: decode(kv, "key"),
        create_revision: int(kv, "create_revision"),
        mod_revision: int(kv, "mod_revision"),
        version: int(kv, "version"),
        value: decode(kv, "value"),
        lease: int(kv, "lease"),
    }
}

pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], |list| list)
}

/// An integer, which the gateway writes as a string and leaves out if zero.
pub fn int(value: &Value, name: &str) -> i64 {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    fields
        .get(name)
        .map_or(0, |text| text.as_str().unwrap().parse().unwrap())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let is_padding = digit > chunk.len();
            text.push(if is_padding {
                '='
            } else {
                DIGITS[value as usize] as char
            });
        }
    }
    text
}

pub fn decode(value: &Value, name: &str) -> Bytes {
    decode_text(value.get(name).and_then(Value::as_str).unwrap_or(""))
}

fn decode_text(text: &str) -> Bytes {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|&digit| digit != b'=') {
        let value = DIGITS
            .iter()
            .position(|&known| known == digit)
            .expect("base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Bytes::from(bytes)
}

/// An etcd of one's own, fresh and gone when dropped.
pub struct Process {
    child: Child,
    directory: PathBuf,
    /// Where its clients connect.
    pub address: String,
}

impl Process {
    /// Starts the etcd at `program` and waits until it answers.
    pub fn start(program: &str) -> Process {
        let port = || {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (client, peer) = (port(), port());
        let directory = std::env::temp_dir().join(format!("referee-{}-{client}", process::id()));
        let address = format!("127.0.0.1:{client}");
        let (client, peer) = (
            format!("http://{address}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let child = process::Command::new(program)
            .args(["--unsafe-no-fsync", "--name", "referee"])
            .arg("--data-dir")
            .arg(&directory)
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("referee={peer}")])
            .stdout(process::Stdio::null())
            .stderr(process::Stdio::null())
            .spawn()
            .expect("the program can be started");
        while TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Process {
            child,
            directory,
            address,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing depends on either: the directory is temporary, the process has a parent.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
