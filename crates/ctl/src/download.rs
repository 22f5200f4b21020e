//! A snapshot of a running member, piece by piece.
//! Never looks into it, and never keeps it.
//!
//! # Source
//! The etcd v3 API, `Maintenance.Snapshot`: a database of etcd's, and its SHA-256 behind it.

use bytes::Bytes;
use headwater_api::etcdserverpb as api;
use tonic::Streaming;

use crate::failure::{Failure, Result, is_transport};
use crate::session::{Repeat, Session, kv, maintenance};

/// A database is made of pages of so many bytes at least, and behind it stands a SHA-256.
const PAGE_BYTES_MIN: u64 = 512;
const SUM_BYTES: u64 = 32;

/// A snapshot that is on its way.
pub struct Download<'a> {
    session: &'a Session,
    pieces: Streaming<api::SnapshotResponse>,
    bytes: u64,
    left_bytes: u64,
}

impl<'a> Download<'a> {
    /// Asks the first member that can be reached for a snapshot.
    ///
    /// # Errors
    /// None can be reached, or it gives none.
    pub async fn begin(session: &'a Session) -> Result<Self> {
        let begun = async |wire| maintenance(wire).snapshot(api::SnapshotRequest {}).await;
        Ok(Self {
            pieces: session.ask(Repeat::Always, begun).await?,
            session,
            bytes: 0,
            left_bytes: 0,
        })
    }

    /// The next piece; `None` after the last one.
    ///
    /// # Errors
    /// The member refuses, or the snapshot breaks off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        match self.pieces.message().await {
            Ok(Some(piece)) => {
                self.bytes += piece.blob.len() as u64;
                self.left_bytes = piece.remaining_bytes;
                Ok(Some(piece.blob))
            }
            Ok(None) if self.bytes % PAGE_BYTES_MIN == SUM_BYTES => Ok(None),
            Ok(None) => Err(Failure::error(format!(
                "the snapshot ends too early, after {} bytes",
                self.bytes
            ))),
            Err(status) if is_transport(&status) => {
                let failure = self.session.broken(self.session.at(), &status).await;
                let before = format!("the snapshot broke off after {} bytes", self.bytes);
                Err(failure.within(&before))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// How many bytes there are in all, as far as the member has said.
    pub fn bytes_expected(&self) -> u64 {
        self.bytes + self.left_bytes
    }
}

/// The revision that the cluster has reached, as a majority of it says.
///
/// # Errors
/// It does not say.
pub async fn revision(session: &Session) -> Result<i64> {
    let request = api::RangeRequest {
        key: Bytes::from_static(b"\0"),
        count_only: true,
        ..api::RangeRequest::default()
    };
    let get = async |wire| kv(wire).range(request.clone()).await;
    let answer = session.ask(Repeat::Always, get).await?;
    Ok(answer.header.map_or(0, |header| header.revision))
}
