//! A connection whose first request may name a whole URL where HTTP/2 wants a host: etcdctl 3.4
//! sends `:authority: http://host:port` when it asks one endpoint after the other. Go's servers do
//! not mind, the HTTP library here would end the call, so `http://` is taken away before it looks.
//! Never touches anything after a connection's first header block, and nothing in it but that.
//!
//! The first block is where the field stands in full; the later ones refer to it. The table that
//! they refer to holds less here than the client thinks, which only lets entries live longer that
//! the client no longer names.
//!
//! # Source
//! RFC 9113 §3.4, §4.1, §6.2 (frames); RFC 7541 §5, §6, appendices A and B (header fields).

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How every HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's length, type, flags and stream.
const FRAME_HEAD_BYTES: usize = 9;

/// The largest frame before the first request that is waited for; larger ones are not allowed
/// without our consent.
const FRAME_BYTES_MAX: usize = 1 << 14;

/// How much is read at once until the first request is here.
const READ_BYTES: usize = 1 << 10;

const HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x08;
const FLAG_PRIORITY: u8 = 0x20;

/// `:authority` in the table that every connection begins with.
const AUTHORITY: usize = 1;

/// What is taken away.
const SCHEME: &[u8] = b"http://";

/// Huffman's code of the printable characters: how many bits, the first code of so many, and the
/// characters of this and the following codes. Hosts have no others.
const CODE: &[(u32, usize, &[u8])] = &[
    (5, 0x0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (10, 0x3f8, b"!\"()?"),
    (11, 0x7fa, b"'+|"),
    (12, 0xffa, b"#>"),
    (13, 0x1ff8, b"\0$@[]~"),
];

/// A connection as it should be.
pub struct Mended<S> {
    inner: S,
    /// What was read and not handed on yet.
    held: Vec<u8>,
    /// How much of it may be handed on.
    cleared: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The beginning has not been seen.
    Preface,
    /// It is HTTP/2; the first request is to come.
    Frames,
    /// There is nothing left to look for.
    Done,
}

impl<S> Mended<S> {
    /// Wraps a connection of which nothing has been read.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            held: Vec::new(),
            cleared: 0,
            phase: Phase::Preface,
        }
    }

    /// Looks at what is held, and clears what needs no more looking at.
    fn look(&mut self) {
        if self.phase == Phase::Preface {
            let length = self.held.len().min(PREFACE.len());
            if self.held[..length] != PREFACE[..length] {
                self.phase = Phase::Done;
            } else if length == PREFACE.len() {
                self.cleared = length;
                self.phase = Phase::Frames;
            }
        }
        while self.phase == Phase::Frames {
            let rest = &self.held[self.cleared..];
            let Some((head, payload)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() else {
                return;
            };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if length > FRAME_BYTES_MAX {
                self.phase = Phase::Done;
            } else if payload.len() < length {
                return;
            } else if head[3] == HEADERS {
                let end = self.cleared + FRAME_HEAD_BYTES + length;
                if let Some(frame) = mend_frame(&self.held[self.cleared..end]) {
                    self.held.splice(self.cleared..end, frame);
                }
                self.phase = Phase::Done;
            } else {
                self.cleared += FRAME_HEAD_BYTES + length;
            }
        }
        if self.phase == Phase::Done {
            self.cleared = self.held.len();
        }
    }
}

/// A HEADERS frame without the scheme in its authority; `None` if there is none.
fn mend_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let is_padded = head[4] & FLAG_PADDED != 0;
    let has_priority = head[4] & FLAG_PRIORITY != 0;
    let start = usize::from(is_padded) + if has_priority { 5 } else { 0 };
    let padding = if is_padded {
        usize::from(*payload.first()?)
    } else {
        0
    };
    let end = payload.len().checked_sub(padding)?;
    let block = payload.get(start..end)?;
    let place = find_authority(block)?;
    let value = without_scheme(&block[place.clone()])?;

    let before = &payload[..start + place.start];
    let after = &payload[start + place.end..];
    let length = u32::try_from(before.len() + value.len() + after.len()).ok()?;
    let mut mended = length.to_be_bytes()[1..].to_vec();
    mended.extend_from_slice(&head[3..]);
    for part in [before, &value, after] {
        mended.extend_from_slice(part);
    }
    Some(mended)
}

/// Where in a header block the value of `:authority` stands, its length included.
fn find_authority(block: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        let first = *block.get(at)?;
        let (prefix_bits, has_value) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (name, after_name) = int(block, at, prefix_bits)?;
        at = after_name;
        if !has_value {
            continue;
        }
        if name == 0 {
            at = string(block, at)?.end;
        }
        let value = string(block, at)?;
        if name == AUTHORITY {
            return Some(at..value.end);
        }
        at = value.end;
    }
}

/// A string, its length in front, without the scheme; `None` if it does not begin with it.
fn without_scheme(encoded: &[u8]) -> Option<Vec<u8>> {
    let is_coded = encoded.first()? & 0x80 != 0;
    let bytes = &encoded[string(encoded, 0)?];
    let text = if is_coded {
        decode(bytes)?
    } else {
        bytes.to_vec()
    };
    let host = text.strip_prefix(SCHEME)?;
    // A host before which one byte for the length is enough; others are left as they are.
    let length = u8::try_from(host.len()).ok().filter(|&n| n < 0x7f)?;
    let mut shorter = vec![length];
    shorter.extend_from_slice(host);
    Some(shorter)
}

/// The text that `bytes` are the code of.
fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut bits) = (0_usize, 0);
    for at in 0..8 * bytes.len() {
        code = code << 1 | usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
        bits += 1;
        let level = CODE.iter().find(|(length, ..)| *length == bits);
        let character = level.and_then(|(_, first, all)| all.get(code.checked_sub(*first)?));
        if let Some(&character) = character {
            text.push(character);
            (code, bits) = (0, 0);
        } else if bits > 13 {
            return None;
        }
    }
    // The last byte is filled up with ones.
    let is_padding = bits < 8 && code + 1 == 1 << bits;
    is_padding.then_some(text)
}

/// The string at `at`, without its length.
fn string(block: &[u8], at: usize) -> Option<Range<usize>> {
    let (length, start) = int(block, at, 7)?;
    let end = start.checked_add(length)?;
    (end <= block.len()).then_some(start..end)
}

/// The number in the low bits of the byte at `at` and, if it does not fit, in those that follow;
/// and where it ends.
fn int(block: &[u8], at: usize, prefix_bits: u32) -> Option<(usize, usize)> {
    let full = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(at)?) & full;
    let mut at = at + 1;
    if value < full {
        return Some((value, at));
    }
    // Nothing in a frame is longer than three such bytes can say.
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

impl<S: AsyncRead + Unpin> Mended<S> {
    /// Whether HTTP/2 is spoken; waits until that is clear.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn is_http2(&mut self) -> io::Result<bool> {
        while self.phase == Phase::Preface {
            poll_fn(|context| self.poll_more(context)).await?;
        }
        Ok(self.held.starts_with(PREFACE))
    }

    /// Reads more, and looks at it.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
        if read.filled().is_empty() {
            // The connection ends in the middle: whoever reads it will say what that means.
            self.phase = Phase::Done;
        }
        self.held.extend_from_slice(read.filled());
        self.look();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let length = this.cleared.min(out.remaining());
                out.put_slice(&this.held[..length]);
                this.held.drain(..length);
                this.cleared -= length;
                return Poll::Ready(Ok(()));
            }
            if this.phase == Phase::Done {
                return Pin::new(&mut this.inner).poll_read(cx, out);
            }
            ready!(this.poll_more(cx))?;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
