//! The bytes of a connection, cut anywhere: any bytes, and true frames of which bits were turned
//! over on their way.
//!
//! # Source
//! docs/wire.md, "Frames on a connection".

use bytes::{Bytes, BytesMut};
use headwater_replica::framing::{FRAME_BYTES_MAX, FramingError, head_of, next_frame};

use crate::draw::Draw;
use crate::memory::Limit;

/// A head that is whole may ask for room for the longest frame, and nothing else may.
const DECODED: Limit = Limit {
    bytes: 2 * FRAME_BYTES_MAX as u64,
    bytes_per_byte: 64,
};

/// Flips that a CRC-32C never misses, whatever they meet.
const FLIPS_MAX: u64 = 3;

/// Runs one input.
pub fn run(data: &[u8]) {
    DECODED.hold(data.len(), || {
        let mut any = BytesMut::from(data);
        while let Ok(Some(_)) = next_frame(&mut any) {}
        damage(&mut Draw::new(data));
    });
}

/// Frames are put on the wire, damaged, and read in pieces: what comes out are the first of those
/// that went in, and then nothing or an error; and that comes at once.
fn damage(draw: &mut Draw<'_>) {
    let flips: Vec<(u64, u64)> = (0..draw.below(FLIPS_MAX + 1))
        .map(|_| (draw.below(256) << 8 | draw.below(256), draw.below(8)))
        .collect();
    let piece = draw.below(64) as usize + 1;
    let mut frames: Vec<Bytes> = Vec::new();
    let mut whole = Vec::new();
    while !draw.is_done() {
        let frame = draw.bytes(255);
        if !frame.is_empty() {
            whole.extend(head_of(&frame));
            whole.extend(&frame);
            frames.push(frame.into());
        }
    }
    let mut wire = whole.clone();
    for (at, bit) in flips.into_iter().filter(|_| !whole.is_empty()) {
        wire[at as usize % whole.len()] ^= 1 << bit;
    }
    let (heard, error) = read(&wire, piece);
    assert!(frames.starts_with(&heard), "a frame that was never sent");
    let is_whole = wire == whole;
    assert_eq!(error.is_none(), is_whole, "{error:?}");
    assert_eq!(heard.len() == frames.len(), is_whole);
}

/// The frames in these bytes, which come in pieces of this size.
fn read(wire: &[u8], piece: usize) -> (Vec<Bytes>, Option<FramingError>) {
    let (mut buffer, mut heard) = (BytesMut::new(), Vec::new());
    for piece in wire.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match next_frame(&mut buffer) {
                Ok(Some(frame)) => heard.push(frame),
                Ok(None) => break,
                Err(error) => return (heard, Some(error)),
            }
        }
    }
    (heard, None)
}
