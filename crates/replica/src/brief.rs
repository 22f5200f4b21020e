//! Frames without entries: most frames are, and they have a few bytes each.
//! Never holds a frame back: it leaves in the moment it is made.
//!
//! # Source
//! The crate `bytes`: parts of one buffer are freed together.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use headwater_raft::Message;

use crate::codec::put_message;

/// How many bytes are allocated at once. A frame that waits long keeps no more than that.
const BLOCK_BYTES: usize = 1024;

/// Makes brief frames, which share blocks of memory: each for itself would cost an allocation.
#[derive(Debug)]
pub(crate) struct BriefFrames {
    block: BytesMut,
    scratch: Vec<u8>,
}

impl BriefFrames {
    pub(crate) fn new() -> Self {
        Self {
            block: BytesMut::with_capacity(BLOCK_BYTES),
            scratch: Vec::new(),
        }
    }

    /// Encodes a message that has no entries.
    pub(crate) fn encode(&mut self, message: &Message) -> Bytes {
        self.scratch.clear();
        put_message(&mut self.scratch, message, &[]);
        // Takes the old block again once all its frames have left, else a new one of that size.
        self.block.reserve(self.scratch.len());
        self.block.extend_from_slice(&self.scratch);
        self.block.split().freeze()
    }
}
