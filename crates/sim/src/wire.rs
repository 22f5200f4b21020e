//! What comes over a connection: bytes, read by the decoder that runs in production, until it
//! refuses them and the connection ends.
//! Never looks into a frame.
//!
//! # Source
//! docs/wire.md, "Frames on a connection".

use bytes::{Bytes, BytesMut};
use headwater_replica::checksum::crc32c;
use headwater_replica::framing::{FramingError, next_frame};
use headwater_replica::interface::Input;

use crate::application::Application;
use crate::words;
use crate::world::World;

impl<A: Application> World<A> {
    /// Bytes arrive: those of one sending, whole or not.
    pub(crate) fn on_wire(
        &mut self,
        lane: (usize, usize),
        epoch: u64,
        sending: u64,
        bytes: &Bytes,
    ) {
        let (from, to) = lane;
        self.trace.mix(u64::from(crc32c(bytes)));
        let Some(live) = &mut self.nodes[to].live else {
            return;
        };
        if self.network.is_buried(lane, epoch) {
            return;
        }
        if live.links.get(&from) == Some(&epoch) {
            let mut unread = live.unread.remove(&from).unwrap_or_default();
            unread.extend_from_slice(bytes);
            let outcome = self.take_frames(lane, sending, &mut unread);
            if let Err(why) = outcome {
                self.refuse_bytes(lane, epoch, why);
            } else if !unread.is_empty()
                && let Some(live) = &mut self.nodes[to].live
            {
                live.unread.insert(from, unread);
            }
        } else {
            // No frame comes before its connection, but some outlive it.
            let met = live.met.get(&from).is_some_and(|&newest| epoch <= newest);
            if met && self.network.outlives(lane, bytes) {
                // What is damaged has no connection left that it could end.
                let _ = self.take_frames(lane, sending, &mut BytesMut::from(&bytes[..]));
            }
        }
    }

    /// Hands on all frames that are whole.
    fn take_frames(
        &mut self,
        (from, to): (usize, usize),
        sending: u64,
        unread: &mut BytesMut,
    ) -> Result<(), FramingError> {
        while let Some(frame) = next_frame(unread)? {
            self.stats.frames += 1;
            let now = self.schedule.now();
            self.trace.note(now, Some(to), || {
                format!("<- n{} {}", from + 1, words::frame(&frame))
            });
            if let Some(live) = &mut self.nodes[to].live {
                live.sendings.push_back(sending);
            }
            let from = self.nodes[from].id;
            self.give(to, Input::Frame { from, frame });
        }
        Ok(())
    }

    /// Where the next frame starts is not known: the connection ends, here at once.
    fn refuse_bytes(&mut self, (from, to): (usize, usize), epoch: u64, why: FramingError) {
        self.stats.links_damaged += 1;
        let now = self.schedule.now();
        self.trace
            .note(now, Some(to), || format!("from n{}: {why}", from + 1));
        let pair = (from.min(to), from.max(to));
        if self.network.is_current(pair, epoch) {
            self.network.close(&mut self.schedule, pair, [true; 2]);
        }
        self.on_link(to, from, epoch, false);
    }
}
