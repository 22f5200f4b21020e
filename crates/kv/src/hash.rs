//! One number for all versions up to a revision: what members that agree agree on.
//! Never takes longer than a piece: a hash of everything is many questions, and commands go on
//! between them.
//!
//! It covers what a compaction keeps, whether or not the memory of the rest is free yet. A
//! compaction between two pieces makes what was hashed meaningless, and the hash begins anew.
//!
//! # Source
//! The etcd v3 API, `HashKVRequest`. The number is this project's own: it cannot be compared with
//! that of an etcd.

use headwater_replica::checksum::crc32c;

use crate::auth::Auth;
use crate::auth::code::whole;
use crate::mvcc::{LOOK_BYTES, Mvcc};
use crate::record::Record;
use crate::request::{HashPart, HashRequest, HashResponse, KvError};

/// Hashes one piece.
pub(crate) fn hash(
    mvcc: &Mvcc,
    auth: &Auth,
    request: &HashRequest,
) -> Result<HashResponse, KvError> {
    let compact_revision = mvcc.compact_revision();
    let wanted = match &request.so_far {
        Some(part) => part.revision,
        None if request.revision > 0 => request.revision,
        None => mvcc.revision(),
    };
    if wanted < compact_revision {
        return Err(KvError::Compacted);
    }
    if wanted > mvcc.revision() {
        return Err(KvError::FutureRevision);
    }
    let same = |part: &&HashPart| part.compact_revision == compact_revision;
    let mut part = match request.so_far.as_ref().filter(same) {
        Some(part) => part.clone(),
        None => {
            // Mark: a hash begins, or begins anew.
            // Unreached: simulated stores are compared whole, and nobody asks for a hash.
            HashPart {
                hash: 0,
                revision: wanted,
                compact_revision,
                last: None,
            }
        }
    };
    let start = part.last.take();
    // Even the smallest piece gets somewhere.
    let mut left_bytes = request.piece_bytes.max(1);
    let mut last: Option<&Record> = None;
    for record in mvcc.kept_after(start.as_ref(), wanted, compact_revision) {
        if left_bytes == 0 {
            part.last = last.cloned();
            return Ok(HashResponse::Part(part));
        }
        last = Some(record);
        left_bytes = left_bytes.saturating_sub(LOOK_BYTES);
        if record.main() <= wanted {
            left_bytes = left_bytes.saturating_sub(record.as_bytes().len());
            part.hash = mix(part.hash, record.as_bytes());
        }
    }
    if request.with_auth {
        part.hash = mix(part.hash, &whole(auth));
    }
    Ok(HashResponse::Whole {
        hash: part.hash,
        revision: part.revision,
        compact_revision: part.compact_revision,
    })
}

/// The hash of all so far and of these bytes.
fn mix(hash: u32, bytes: &[u8]) -> u32 {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&hash.to_le_bytes());
    both[4..].copy_from_slice(&crc32c(bytes).to_le_bytes());
    crc32c(&both)
}
