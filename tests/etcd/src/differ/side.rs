//! One of the two servers, as a client sees it: carries operations out, and collects what its
//! watches tell.
//! Never compares.

use crate::cluster::{Cluster, Server};
use crate::differ::answer::Answer;
use crate::differ::operation::Operation;
use crate::http;
use anyhow::{Context, Result};
use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::kv_client::KvClient;
use headwater_api::etcdserverpb::lease_client::LeaseClient;
use headwater_api::etcdserverpb::maintenance_client::MaintenanceClient;
use headwater_api::etcdserverpb::watch_client::WatchClient;
use headwater_api::mvccpb;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

/// The key that is written to learn how far the watches are.
pub const SENTINEL: &[u8] = b"sentinel";

/// The watch of [`SENTINEL`]; no operation uses its number.
pub const SENTINEL_ID: i64 = 1000;

/// The number in what is said to no watch alone.
const FOR_ALL: i64 = -1;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a watch told; of several events in one message, each.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// It was made, at this revision.
    Created(i64),
    /// It ended, at this revision; with the compacted revision, and the reason.
    Ended(i64, i64, String),
    /// Something happened.
    Event(mvccpb::Event),
    /// All up to this revision was told.
    Progress(i64),
}

/// A server with one member, its clients, and one stream of watches.
pub struct Side {
    /// The server's process.
    pub cluster: Cluster,
    /// What each watch has told and nobody has compared yet, by its number.
    pub told: BTreeMap<i64, Vec<Word>>,
    /// The last revision at which [`SENTINEL`] was seen.
    pub sentinel: i64,
    /// How many answers to requests for progress are still to come.
    progress_due: usize,
    member: u64,
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    requests: mpsc::UnboundedSender<api::WatchRequest>,
    words: Streaming<api::WatchResponse>,
}

impl Side {
    /// Starts a server of one member, whose data lie under `parent`, and opens its stream.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(server: &Server, parent: &Path, flags: &[&str]) -> Result<Side> {
        let mut cluster = Cluster::new(server, 1, parent, flags)?;
        cluster.spawn(0)?;
        cluster.ready().await?;
        let endpoint = Endpoint::from_shared(cluster.members[0].client_url())?;
        let channel = endpoint.timeout(LIMIT).connect().await?;
        let endless = Endpoint::from_shared(cluster.members[0].client_url())?;
        let endless = endless.connect().await?;
        let mut maintenance = MaintenanceClient::new(channel.clone());
        let status = maintenance.status(api::StatusRequest {}).await?;
        let header = status.get_ref().header;
        let (requests, receiver) = mpsc::unbounded_channel();
        requests.send(watch_sentinel())?;
        let receiver = UnboundedReceiverStream::new(receiver);
        let words = WatchClient::new(endless).watch(receiver).await?;
        Ok(Side {
            cluster,
            told: BTreeMap::new(),
            sentinel: 0,
            progress_due: 0,
            member: header.context("a status has a header")?.member_id,
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel),
            maintenance,
            requests,
            words: words.into_inner(),
        })
    }

    /// Carries an operation out.
    pub async fn perform(&mut self, operation: &Operation) -> Answer {
        use api::watch_request::RequestUnion;
        let answer = match operation.clone() {
            Operation::Range(request) => of(self.kv.range(request).await, Answer::Range),
            Operation::Put(request) => of(self.kv.put(request).await, Answer::Put),
            Operation::Delete(request) => of(self.kv.delete_range(request).await, Answer::Delete),
            Operation::Txn(request) => of(self.kv.txn(request).await, Answer::Txn),
            Operation::Compact(request) => of(self.kv.compact(request).await, Answer::Compact),
            Operation::Brief(request) => self.brief(request).await,
            Operation::Grant(request) => of(self.lease.lease_grant(request).await, Answer::Grant),
            Operation::Revoke(request) => {
                of(self.lease.lease_revoke(request).await, Answer::Revoke)
            }
            Operation::KeepAlive(request) => self.keep_alive(request).await,
            Operation::TimeToLive(request) => of(
                self.lease.lease_time_to_live(request).await,
                Answer::TimeToLive,
            ),
            Operation::Leases => {
                let request = api::LeaseLeasesRequest {};
                of(self.lease.lease_leases(request).await, Answer::Leases)
            }
            Operation::Alarm(mut request) => {
                if request.member_id == 1 {
                    request.member_id = self.member;
                }
                of(self.maintenance.alarm(request).await, Answer::Alarm)
            }
            Operation::Watch(request) => self.ask(RequestUnion::CreateRequest(request)).await,
            Operation::Cancel(watch_id) => {
                let request = api::WatchCancelRequest { watch_id };
                self.ask(RequestUnion::CancelRequest(request)).await
            }
            Operation::Progress => {
                let request = api::WatchProgressRequest {};
                self.ask(RequestUnion::ProgressRequest(request)).await
            }
        };
        answer.anonymous(self.member)
    }

    /// Asks something on the stream, and waits until that has been taken up: requests for progress
    /// are answered in their turn.
    async fn ask(&mut self, request: api::watch_request::RequestUnion) -> Answer {
        use api::watch_request::RequestUnion;
        let progress = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
        for request in [request, progress] {
            self.progress_due += usize::from(matches!(request, RequestUnion::ProgressRequest(_)));
            let request_union = Some(request);
            // Where the stream has ended, what it does not tell is missed.
            let _ = self.requests.send(api::WatchRequest { request_union });
        }
        let began = Instant::now();
        while self.progress_due > 0 && began.elapsed() < LIMIT {
            if self.listen(LIMIT).await.is_err() {
                break;
            }
        }
        Answer::Nothing
    }

    async fn keep_alive(&mut self, request: api::LeaseKeepAliveRequest) -> Answer {
        let requests = tokio_stream::once(request);
        let stream = self.lease.lease_keep_alive(requests).await;
        let first = match stream {
            Ok(mut stream) => stream.get_mut().message().await,
            Err(status) => Err(status),
        };
        match first {
            Ok(Some(answer)) => Answer::KeepAlive(answer),
            Ok(None) => Answer::Nothing,
            Err(status) => Answer::Refused(i32::from(status.code()), status.message().to_string()),
        }
    }

    async fn brief(&mut self, request: api::LeaseGrantRequest) -> Answer {
        let granted = of(self.lease.lease_grant(request).await, Answer::Grant);
        let Answer::Grant(grant) = &granted else {
            return granted;
        };
        let is_chosen = request.id == 0;
        let id = grant.id;
        let look = api::LeaseTimeToLiveRequest { id, keys: true };
        let left = of(
            self.lease.lease_time_to_live(look).await,
            Answer::TimeToLive,
        );
        let renewed = self.keep_alive(api::LeaseKeepAliveRequest { id }).await;
        let revoke = self
            .lease
            .lease_revoke(api::LeaseRevokeRequest { id })
            .await;
        let mut answers = vec![granted, left, renewed, of(revoke, Answer::Revoke)];
        for answer in &mut answers {
            let id = match answer {
                Answer::Grant(answer) => &mut answer.id,
                Answer::TimeToLive(answer) => &mut answer.id,
                Answer::KeepAlive(answer) => &mut answer.id,
                _ => continue,
            };
            if is_chosen {
                *id = id.signum();
            }
        }
        Answer::Several(answers)
    }

    /// Whether there is an alarm.
    pub async fn has_alarm(&mut self) -> bool {
        let alarms = self.maintenance.alarm(api::AlarmRequest::default()).await;
        alarms.is_ok_and(|answer| !answer.get_ref().alarms.is_empty())
    }

    /// Whether an etcd has yet to look through the past for one of its watches.
    ///
    /// # Errors
    /// If its metrics cannot be read.
    pub fn is_behind(&self) -> Result<bool> {
        let port = self.cluster.members[0].client_port.number;
        let page = http::get(port, "/metrics")?.body;
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix("etcd_debugging_mvcc_slow_watcher_total "));
        Ok(count.context("an etcd counts its slow watchers")? != "0")
    }

    /// The watches that have told that a compaction ended them.
    pub fn ended_by_compaction(&self) -> Vec<i64> {
        let is_end = |word: &Word| matches!(word, Word::Ended(_, compacted, _) if *compacted > 0);
        let ended = self.told.iter().filter(|(_, told)| told.iter().any(is_end));
        ended.map(|(id, _)| *id).collect()
    }

    /// Collects what the watches have told by now, and waits for more at most so long.
    ///
    /// # Errors
    /// If the stream has ended.
    pub async fn listen(&mut self, wait: Duration) -> Result<()> {
        if let Ok(word) = tokio::time::timeout(wait, self.words.message()).await {
            let word = word?.context("the stream of watches has ended")?;
            self.take(word);
        }
        Ok(())
    }

    fn take(&mut self, response: api::WatchResponse) {
        let revision = response.header.map_or(0, |header| header.revision);
        if response.watch_id == SENTINEL_ID {
            let events = response.events.iter().filter_map(|event| event.kv.as_ref());
            let newest = events.map(|kv| kv.mod_revision).max();
            self.sentinel = self.sentinel.max(newest.unwrap_or(0));
            return;
        }
        let told = self.told.entry(response.watch_id).or_default();
        if response.created {
            told.push(Word::Created(revision));
        }
        if response.canceled {
            let (compacted, why) = (response.compact_revision, response.cancel_reason);
            told.push(Word::Ended(revision, compacted, why));
        } else if response.events.is_empty() && !response.created {
            told.push(Word::Progress(revision));
            if response.watch_id == FOR_ALL {
                self.progress_due = self.progress_due.saturating_sub(1);
            }
        }
        told.extend(response.events.into_iter().map(Word::Event));
    }
}

fn watch_sentinel() -> api::WatchRequest {
    use api::watch_request::RequestUnion;
    let request = api::WatchCreateRequest {
        key: SENTINEL.into(),
        watch_id: SENTINEL_ID,
        ..Default::default()
    };
    api::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(request)),
    }
}

fn of<T>(answer: Result<Response<T>, Status>, kind: impl FnOnce(T) -> Answer) -> Answer {
    match answer {
        Ok(answer) => kind(answer.into_inner()),
        Err(status) => Answer::Refused(i32::from(status.code()), status.message().to_string()),
    }
}
