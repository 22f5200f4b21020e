//! Requests and answers as lines a person can read and write.
//!
//! A script is words. `put KEY VALUE`, `del KEY`, `get KEY`, `compact REVISION`, each followed by
//! options, `grant ID TTL`, `revoke ID`, `ttl ID`, `leases`,
//! `watch NAME KEY`, `told NAME`, and `txn if TARGET KEY RELATION OPERAND .. then .. else .. fi`, in whose branches
//! `3*get KEY` stands for three of them. In a key or value, `""`
//! is the empty one and `\xNN` a byte.

use bytes::Bytes;
use headwater_kv::request::*;
use headwater_kv::watch::WatchRequest;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::SplitWhitespace;

/// A request of a script.
#[derive(Debug)]
pub enum Request {
    Command(Command),
    Query(Query),
    /// A watcher begins, under a name.
    Watch(i64, WatchRequest),
    /// What it was told since the last time.
    Told(i64),
}

/// The requests of a script; lines that begin with `#` say what it is about.
pub fn parse(script: &str) -> Vec<Request> {
    let lines = script.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut words = Words(text.split_whitespace().peekable());
    let mut requests = Vec::new();
    while let Some(word) = words.0.next() {
        requests.push(match word {
            "compact" => {
                let revision = number(words.next());
                let physical = words.option("physical").is_some();
                Request::Command(Command::Compact(CompactionRequest { revision, physical }))
            }
            "grant" => {
                let (id, ttl) = (number(words.next()), number(words.next()));
                Request::Command(Command::LeaseGrant(LeaseGrantRequest { id, ttl }))
            }
            "revoke" => {
                let (id, ended) = (number(words.next()), None);
                Request::Command(Command::LeaseRevoke(LeaseRevokeRequest { id, ended }))
            }
            "ttl" => {
                let id = number(words.next());
                let keys = words.option("keys").is_some();
                let request = LeaseTimeToLiveRequest { id, keys };
                Request::Query(Query::LeaseTimeToLive(request))
            }
            "watch" => Request::Watch(number(words.next()), words.watch()),
            "told" => Request::Told(number(words.next())),
            "leases" => Request::Query(Query::LeaseLeases),
            "read-txn" => Request::Query(Query::Txn(words.txn())),
            word => match words.op(word) {
                RequestOp::Range(request) => Request::Query(Query::Range(request)),
                RequestOp::Put(request) => Request::Command(Command::Put(request)),
                RequestOp::DeleteRange(request) => Request::Command(Command::DeleteRange(request)),
                RequestOp::Txn(request) => Request::Command(Command::Txn(*request)),
                RequestOp::Missing => panic!("nothing is only an operation of a transaction"),
            },
        });
    }
    requests
}

struct Words<'a>(Peekable<SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.0.next().expect("the script ends within a request")
    }

    /// The value of an option if it comes next; empty for a flag.
    fn option(&mut self, name: &str) -> Option<&'a str> {
        let word = *self.0.peek()?;
        let rest = word.strip_prefix(name)?;
        let value = if rest.is_empty() {
            rest
        } else {
            rest.strip_prefix('=')?
        };
        self.0.next();
        Some(value)
    }

    fn op(&mut self, word: &str) -> RequestOp {
        match word {
            "put" => RequestOp::Put(self.put()),
            "del" => RequestOp::DeleteRange(self.delete()),
            "get" => RequestOp::Range(self.range()),
            "txn" => RequestOp::Txn(Box::new(self.txn())),
            "nothing" => RequestOp::Missing,
            other => panic!("no such request: {other}"),
        }
    }

    fn put(&mut self) -> PutRequest {
        let (key, value) = (bytes(self.next()), bytes(self.next()));
        let mut request = PutRequest {
            key,
            value,
            ..Default::default()
        };
        loop {
            if let Some(lease) = self.option("lease") {
                request.lease = number(lease);
            } else if self.option("prev_kv").is_some() {
                request.prev_kv = true;
            } else if self.option("ignore_value").is_some() {
                request.ignore_value = true;
            } else if self.option("ignore_lease").is_some() {
                request.ignore_lease = true;
            } else {
                return request;
            }
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let mut request = DeleteRangeRequest {
            key: bytes(self.next()),
            ..Default::default()
        };
        loop {
            if let Some(end) = self.option("end") {
                request.range_end = bytes(end);
            } else if self.option("prev_kv").is_some() {
                request.prev_kv = true;
            } else {
                return request;
            }
        }
    }

    fn range(&mut self) -> RangeRequest {
        let mut request = RangeRequest {
            key: bytes(self.next()),
            ..Default::default()
        };
        loop {
            if let Some(end) = self.option("end") {
                request.range_end = bytes(end);
            } else if self.option("keys_only").is_some() {
                request.keys_only = true;
            } else if self.option("count_only").is_some() {
                request.count_only = true;
            } else if let Some(order) = self.option("order") {
                request.sort_order = match order {
                    "ascend" => SortOrder::Ascend,
                    "descend" => SortOrder::Descend,
                    other => panic!("no such order: {other}"),
                };
            } else if let Some(target) = self.option("target") {
                request.sort_target = match target {
                    "key" => SortTarget::Key,
                    "version" => SortTarget::Version,
                    "create" => SortTarget::Create,
                    "mod" => SortTarget::Mod,
                    "value" => SortTarget::Value,
                    other => panic!("no such target: {other}"),
                };
            } else if !self.range_number(&mut request) {
                return request;
            }
        }
    }

    fn range_number(&mut self, request: &mut RangeRequest) -> bool {
        let places = [
            ("limit", &mut request.limit),
            ("revision", &mut request.revision),
            ("min_mod", &mut request.min_mod_revision),
            ("max_mod", &mut request.max_mod_revision),
            ("min_create", &mut request.min_create_revision),
            ("max_create", &mut request.max_create_revision),
        ];
        for (name, place) in places {
            if let Some(value) = self.option(name) {
                *place = number(value);
                return true;
            }
        }
        false
    }

    fn watch(&mut self) -> WatchRequest {
        let mut request = WatchRequest {
            key: bytes(self.next()),
            ..Default::default()
        };
        loop {
            if let Some(end) = self.option("end") {
                request.range_end = bytes(end);
            } else if let Some(start) = self.option("start") {
                request.start_revision = number(start);
            } else if self.option("prev_kv").is_some() {
                request.prev_kv = true;
            } else if self.option("no_put").is_some() {
                request.no_put = true;
            } else if self.option("no_delete").is_some() {
                request.no_delete = true;
            } else {
                return request;
            }
        }
    }

    fn txn(&mut self) -> TxnRequest {
        let mut txn = TxnRequest::default();
        loop {
            match self.next() {
                "if" => txn.compare.push(self.compare()),
                "128*if" => txn.compare.extend(vec![self.compare(); 128]),
                "then" => txn.success = self.branch(),
                "else" => txn.failure = self.branch(),
                "fi" => return txn,
                other => panic!("not part of a transaction: {other}"),
            }
        }
    }

    fn branch(&mut self) -> Vec<RequestOp> {
        let mut ops = Vec::new();
        while !matches!(self.0.peek(), Some(&"then" | &"else" | &"fi")) {
            let word = self.next();
            let (times, word) = word.split_once('*').unwrap_or(("1", word));
            let op = self.op(word);
            ops.extend((0..number(times)).map(|_| op.clone()));
        }
        ops
    }

    fn compare(&mut self) -> Compare {
        let (target, key) = (self.next(), bytes(self.next()));
        let range_end = self.option("end").map_or(Bytes::new(), bytes);
        let result = match self.next() {
            "=" => CompareResult::Equal,
            ">" => CompareResult::Greater,
            "<" => CompareResult::Less,
            "!=" => CompareResult::NotEqual,
            "~" => CompareResult::Unknown,
            other => panic!("no such relation: {other}"),
        };
        let operand = self.next();
        let target = match target {
            "version" => CompareTarget::Version(number(operand)),
            "create" => CompareTarget::Create(number(operand)),
            "mod" => CompareTarget::Mod(number(operand)),
            "value" => CompareTarget::Value(bytes(operand)),
            "lease" => CompareTarget::Lease(number(operand)),
            "unknown" => CompareTarget::Unknown,
            other => panic!("no such target: {other}"),
        };
        Compare {
            result,
            target,
            key,
            range_end,
        }
    }
}

fn number(word: &str) -> i64 {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn bytes(word: &str) -> Bytes {
    if word == "\"\"" {
        return Bytes::new();
    }
    let mut pieces = word.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).expect("two digits after \\x"));
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    Bytes::from(bytes)
}

/// An answer, in as many lines as it takes.
pub fn print(outcome: &Outcome) -> String {
    let mut text = format!("@{} ", outcome.revision);
    match &outcome.result {
        Err(error) => writeln!(text, "refused: {error:?}").unwrap(),
        Ok(Response::Range(response)) => range(&mut text, response, 1),
        Ok(Response::Put(response)) => put(&mut text, response, 1),
        Ok(Response::DeleteRange(response)) => delete(&mut text, response, 1),
        Ok(Response::Txn(response)) => txn(&mut text, response, 1),
        Ok(Response::Compact) => text.push_str("compacted\n"),
        Ok(Response::Publish) => text.push_str("published\n"),
        Ok(Response::LeaseGrant(granted)) => {
            writeln!(text, "granted {} ttl {}", granted.id, granted.ttl).unwrap();
        }
        Ok(Response::LeaseRevoke) => text.push_str("revoked\n"),
        Ok(Response::LeaseCheckpoint) => text.push_str("checkpointed\n"),
        Ok(Response::LeaseTimeToLive(lease)) => {
            writeln!(text, "lease {} ttl {}", lease.id, lease.granted_ttl).unwrap();
            for key in &lease.keys {
                writeln!(text, "  {}", key.escape_ascii()).unwrap();
            }
        }
        Ok(Response::LeaseLeases(ids)) => writeln!(text, "leases {ids:?}").unwrap(),
        Ok(Response::Alarms(alarms)) => writeln!(text, "alarms {alarms:?}").unwrap(),
        Ok(Response::Members(members)) => writeln!(text, "{members:?}").unwrap(),
        Ok(Response::Hash(hash)) => writeln!(text, "{hash:?}").unwrap(),
        Ok(Response::May | Response::Auth(_)) => panic!("no script asks for rights"),
        Ok(Response::Copy(copy)) => writeln!(text, "{copy:?}").unwrap(),
        Ok(Response::Status(status)) => writeln!(text, "{status:?}").unwrap(),
    }
    text
}

fn range(text: &mut String, response: &RangeResponse, depth: usize) {
    let more = if response.more { ", more" } else { "" };
    writeln!(text, "count {}{more}", response.count).unwrap();
    for kv in &response.kvs {
        key_value(text, kv, depth);
    }
}

fn put(text: &mut String, response: &PutResponse, depth: usize) {
    text.push_str("put\n");
    if let Some(kv) = &response.prev_kv {
        key_value(text, kv, depth);
    }
}

fn delete(text: &mut String, response: &DeleteRangeResponse, depth: usize) {
    writeln!(text, "deleted {}", response.deleted).unwrap();
    for kv in &response.prev_kvs {
        key_value(text, kv, depth);
    }
}

fn txn(text: &mut String, response: &TxnResponse, depth: usize) {
    let branch = if response.succeeded { "then" } else { "else" };
    writeln!(text, "{branch}").unwrap();
    for op in &response.responses {
        text.push_str(&"  ".repeat(depth));
        match op {
            ResponseOp::Range(response) => range(text, response, depth + 1),
            ResponseOp::Put(response) => put(text, response, depth + 1),
            ResponseOp::DeleteRange(response) => delete(text, response, depth + 1),
            ResponseOp::Txn(response) => txn(text, response, depth + 1),
        }
    }
}

pub fn key_value(text: &mut String, kv: &KeyValue, depth: usize) {
    let indent = "  ".repeat(depth);
    let (key, value) = (kv.key.escape_ascii(), kv.value.escape_ascii());
    let (create, change, version) = (kv.create_revision, kv.mod_revision, kv.version);
    write!(
        text,
        "{indent}{key}={value} create {create} mod {change} version {version}"
    )
    .unwrap();
    if kv.lease != 0 {
        write!(text, " lease {}", kv.lease).unwrap();
    }
    text.push('\n');
}
