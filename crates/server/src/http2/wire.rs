//! A connection below HTTP/2: what is written between two flushes leaves at once, and it is known when something
//! last came.
//! Never holds what was flushed.
//!
//! `h2` gives the socket each frame of more than a few hundred bytes by a call of its own, where the socket takes
//! several parts in one call. So this one says that it does not, and puts them together.
//!
//! # Source
//! RFC 9113; docs/performance.md, "Where the time goes".

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// From so many bytes on a part is not copied.
const LARGE_BYTES: usize = 4 << 10;

/// The most bytes that are held until the next flush.
const HELD_BYTES_MAX: usize = 16 << 10;

/// What a connection that has flushed keeps at most for the next bytes.
const KEPT_BYTES_MAX: usize = 1 << 10;

/// When a connection's client was last heard of.
pub struct LastHeard {
    opened: Instant,
    after_ms: AtomicU64,
}

impl LastHeard {
    /// Now.
    pub fn new() -> Self {
        Self {
            opened: Instant::now(),
            after_ms: AtomicU64::new(0),
        }
    }

    fn now(&self) {
        let after = self.opened.elapsed().as_millis();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.after_ms.store(after, Ordering::Relaxed);
    }

    /// When that was.
    pub fn at(&self) -> Instant {
        self.opened + Duration::from_millis(self.after_ms.load(Ordering::Relaxed))
    }
}

/// A connection.
pub struct Wire<S> {
    inner: S,
    heard: Arc<LastHeard>,
    held: Vec<u8>,
}

impl<S> Wire<S> {
    /// Wraps a connection, and tells of its client there.
    pub fn new(inner: S, heard: Arc<LastHeard>) -> Self {
        Self {
            inner,
            heard,
            held: Vec::new(),
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let inner = Pin::new(&mut self.inner);
            let written = ready!(inner.poll_write(context, &self.held))?;
            self.on_written(written)?;
        }
        if self.held.capacity() > KEPT_BYTES_MAX {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Some of what is held has gone.
    fn on_written(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held.drain(..bytes);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.inner).poll_read(context, out);
        if read.is_ready() {
            this.heard.now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.len() < LARGE_BYTES && this.held.len() + bytes.len() <= HELD_BYTES_MAX {
            this.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !this.held.is_empty() {
            let parts = [IoSlice::new(&this.held), IoSlice::new(bytes)];
            let inner = Pin::new(&mut this.inner);
            let written = ready!(inner.poll_write_vectored(context, &parts))?;
            let of_these = written.saturating_sub(this.held.len());
            this.on_written(written - of_these)?;
            if of_these > 0 {
                return Poll::Ready(Ok(of_these));
            }
        }
        Pin::new(&mut this.inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_held(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_held(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes out is what went in, whatever the sizes of the parts and of what the other end takes at once.
    #[tokio::test]
    async fn all_bytes_come_out_in_their_order() {
        for room in [1, 100, 5000, 1 << 20] {
            let (near, mut far) = tokio::io::duplex(room);
            let mut wire = Wire::new(near, Arc::new(LastHeard::new()));
            assert!(!wire.is_write_vectored());
            let sizes = [
                1, 9, 300, 4095, 4096, 3, 20_000, 4000, 4000, 4000, 4000, 4000, 7,
            ];
            let bytes: Vec<u8> = (0..sizes.iter().sum()).map(|n: usize| n as u8).collect();
            let writing = async {
                let mut at = 0;
                for size in sizes {
                    wire.write_all(&bytes[at..at + size]).await.unwrap();
                    at += size;
                    if size == 3 {
                        wire.flush().await.unwrap();
                        assert!(wire.held.is_empty());
                    }
                }
                wire.shutdown().await.unwrap();
                drop(wire);
            };
            let mut out = Vec::new();
            let (_, read) = tokio::join!(writing, far.read_to_end(&mut out));
            read.unwrap();
            assert!(out == bytes, "{} bytes, room {room}", out.len());
        }
    }

    #[tokio::test]
    async fn what_is_small_leaves_with_the_next_flush() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(near, Arc::new(LastHeard::new()));
        for part in [&b"head"[..], &[7; 1000], b"end"] {
            wire.write_all(part).await.unwrap();
        }
        assert_eq!(wire.held.len(), 1007);
        wire.flush().await.unwrap();
        let mut out = [0; 2000];
        assert_eq!(far.read(&mut out).await.unwrap(), 1007);
        assert!(wire.held.capacity() <= KEPT_BYTES_MAX);
    }
}
