//! Forgetting history: when old versions may no longer be read, and when their memory goes.
//! Never removes what a snapshot under way still has to show.
//!
//! Readers and the store's size feel a compaction at once. The memory goes bit by bit afterwards, with
//! pauses, so that forgetting a million versions stops nobody for long.
//!
//! # Source
//! etcd v3 API, `CompactionRequest`; etcd likewise compacts logically, then in the background.

use alloc::sync::{Arc, Weak};

use crate::mvcc::Mvcc;
use crate::request::{CompactionRequest, KvError};

/// How many changes a bit of the work looks at: about a tenth of a millisecond.
const BIT_CHANGES: usize = 512;

/// Which versions must outlive a compaction because a snapshot walk shows them.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Dead once the walk has ended or was dropped.
    walk: Weak<()>,
    /// What was compacted when the walk began.
    floor: i64,
}

impl Hold {
    /// Holds all that a compaction to `floor` keeps, for as long as what is returned lives.
    pub(crate) fn begin(&mut self, floor: i64) -> Arc<()> {
        let walk = Arc::new(());
        *self = Hold {
            walk: Arc::downgrade(&walk),
            floor,
        };
        walk
    }

    /// The revision up to which memory may be freed.
    fn floor(&self, mvcc: &Mvcc) -> i64 {
        let compacted = mvcc.compact_revision();
        if self.walk.strong_count() == 0 {
            compacted
        } else {
            compacted.min(self.floor)
        }
    }
}

/// Carries out a compaction.
pub(crate) fn compact(mvcc: &mut Mvcc, request: &CompactionRequest) -> Result<(), KvError> {
    if request.revision <= mvcc.compact_revision() {
        // Mark: a compaction comes to what is compacted already.
        return Err(KvError::Compacted);
    }
    if request.revision > mvcc.revision() {
        // Mark: a compaction of the future is refused.
        return Err(KvError::FutureRevision);
    }
    mvcc.compact(request.revision);
    Ok(())
}

/// Frees a bit of what compactions left in memory; whether more of it can go now.
pub(crate) fn purge_some(mvcc: &mut Mvcc, hold: &Hold) -> bool {
    mvcc.purge(hold.floor(mvcc), BIT_CHANGES)
}
