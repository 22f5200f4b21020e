//! A range in chunks, for those that are too large for one message.
//! Never holds more than a page of keys, whose values are the store's own bytes, and one chunk that the
//! client has yet to take.
//!
//! All of it is read at the revision of the first page. A compaction beyond that ends the stream.
//!
//! # Source
//! etcd's `RangeStream` (KEP-5966): the chunks, merged, are what `Range` would answer; only the last
//! one has a header, the count, and whether there is more.

use bytes::{BufMut, Bytes, BytesMut};
use headwater_kv::check::check_query;
use headwater_kv::request::{
    KeyValue, KvError, Query, RangeRequest, RangeResponse, Response, SortOrder, SortTarget,
};
use headwater_runtime::ReadLevel;
use tokio::sync::mpsc;
use tonic::Status;

use crate::client::Client;
use crate::convert;
use crate::failure::Failure;
use crate::generated::etcdserverpb as api;
use crate::service::kv::read_level;

/// How many keys are read in one turn of the node.
const PAGE_KEYS: i64 = 256;

/// A chunk ends with the key that makes it as large as this.
const CHUNK_BYTES: usize = 1 << 20;

/// What of a stream is here at one time, about: a chunk on its way, the next, and a page.
pub const STREAM_BYTES: usize = 4 * CHUNK_BYTES;

/// A range on its way to a client.
pub struct RangeStream {
    client: Client,
    /// What is still to be read.
    request: RangeRequest,
    /// How many keys the client wants still; `None` for all.
    left: Option<usize>,
    /// The page that was read last.
    page: Vec<KeyValue>,
    has_more_pages: bool,
    /// What the last chunk says.
    end: api::RangeResponse,
}

impl RangeStream {
    /// Begins to read.
    ///
    /// # Errors
    /// The range is refused, as `Range` would, or must be sorted.
    pub async fn open(client: Client, request: api::RangeRequest) -> Result<Self, Failure> {
        let level = read_level(request.serializable);
        let request = convert::range(request);
        let query = Query::Range(request.clone());
        check_query(&query, client.limits().txn_ops_max).map_err(Failure::Kv)?;
        if request.sort_order == SortOrder::Descend || request.sort_target != SortTarget::Key {
            return Err(Failure::Kv(KvError::InvalidSortOption));
        }
        let left = usize::try_from(request.limit).ok().filter(|&left| left > 0);
        let mut stream = Self {
            client,
            request,
            left,
            page: Vec::new(),
            has_more_pages: false,
            end: api::RangeResponse::default(),
        };
        let first = match stream.read(level).await {
            // As for `Range`: another member may have told it.
            Err(Failure::Kv(KvError::FutureRevision)) if level == ReadLevel::Local => {
                stream.read(ReadLevel::Linearizable).await
            }
            first => first,
        };
        let (revision, first) = first?;
        stream.end.header = Some(stream.client.header(revision));
        stream.end.count = first.count;
        if stream.request.revision <= 0 {
            stream.request.revision = revision;
        }
        stream.turn_to(first);
        Ok(stream)
    }

    /// Tells the client all of it, until it is gone.
    pub async fn tell(mut self, told: mpsc::Sender<Result<api::RangeStreamResponse, Status>>) {
        // Whoever is gone hears neither the end nor why there is none.
        let _ = match self.tell_chunks(&told).await {
            Ok(Some(last)) => told.send(Ok(last)).await,
            Ok(None) => return,
            Err(failure) => told.send(Err(failure.into())).await,
        };
    }

    /// Tells all chunks but the last, which it gives back; `None` if the client is gone.
    async fn tell_chunks(
        &mut self,
        told: &mpsc::Sender<Result<api::RangeStreamResponse, Status>>,
    ) -> Result<Option<api::RangeStreamResponse>, Failure> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        loop {
            for kv in std::mem::take(&mut self.page) {
                if !self.request.lets_pass(kv.mod_revision, kv.create_revision) {
                    continue;
                }
                if self.left == Some(0) {
                    self.end.more = true;
                    break;
                }
                self.left = self.left.map(|left| left - 1);
                if bytes >= CHUNK_BYTES {
                    let kvs = std::mem::take(&mut chunk);
                    if told.send(Ok(chunk_of(kvs))).await.is_err() {
                        return Ok(None);
                    }
                    bytes = 0;
                }
                bytes += kv.key.len() + kv.value.len();
                chunk.push(convert::key_value(kv));
            }
            if !self.has_more_pages || self.end.more {
                break;
            }
            // The revision is known here: nobody else need be asked.
            let (_, next) = self.read(ReadLevel::Local).await?;
            self.turn_to(next);
        }
        let range_response = Some(api::RangeResponse {
            kvs: chunk,
            ..std::mem::take(&mut self.end)
        });
        Ok(Some(api::RangeStreamResponse { range_response }))
    }

    /// Reads the next page, unfiltered.
    async fn read(&self, level: ReadLevel) -> Result<(i64, RangeResponse), Failure> {
        let page = RangeRequest {
            limit: PAGE_KEYS,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
            ..self.request.clone()
        };
        let outcome = self.client.query(Query::Range(page), level).await?;
        match outcome.result.map_err(Failure::Kv)? {
            Response::Range(response) => Ok((outcome.revision, response)),
            _ => Err(Failure::Internal("the store did not answer with a range")),
        }
    }

    fn turn_to(&mut self, page: RangeResponse) {
        self.has_more_pages = page.more;
        if let Some(last) = page.kvs.last() {
            self.request.key = after(&last.key);
        }
        self.page = page.kvs;
    }
}

/// The least key that is greater.
fn after(key: &Bytes) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.put_u8(0);
    after.freeze()
}

fn chunk_of(kvs: Vec<headwater_api::mvccpb::KeyValue>) -> api::RangeStreamResponse {
    let range_response = Some(api::RangeResponse {
        kvs,
        ..Default::default()
    });
    api::RangeStreamResponse { range_response }
}
