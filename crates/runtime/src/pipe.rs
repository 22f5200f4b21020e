//! What carries bytes to a peer and back, with TLS or without, without waiting where there is
//! nothing to wait for.
//! Never knows what the bytes mean: `tcp` shakes hands through it, `link` sends frames.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors" (the loop writes without waiting).

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BufMut;
use rustls::Connection;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes taken from TLS at once, about: as many as without it.
const READ_BYTES: usize = 64 << 10;

/// A connection to a peer.
#[derive(Debug)]
pub struct Pipe {
    stream: TcpStream,
    tls: Option<Mutex<Connection>>,
}

impl Pipe {
    /// A connection in the clear.
    pub fn plain(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// One whose TLS handshake is done.
    pub(crate) fn secure(stream: TcpStream, tls: Connection) -> Self {
        let tls = Some(Mutex::new(tls));
        Self { stream, tls }
    }

    /// Writes as much as goes now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if that is nothing, and what the connection says.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(mut tls) = self.tls() else {
            return self.stream.try_write_vectored(slices);
        };
        self.push(&mut tls)?;
        // It takes what its buffer has room for.
        let taken = tls.writer().write_vectored(slices)?;
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.push(&mut tls)?;
        Ok(taken)
    }

    /// Whether nothing that was written waits here: under TLS something may.
    pub fn is_flushed(&self) -> bool {
        self.tls().is_none_or(|tls| !tls.wants_write())
    }

    /// Sends what TLS holds, as far as it goes.
    ///
    /// # Errors
    /// What the connection says.
    pub fn try_flush(&self) -> io::Result<()> {
        self.tls().map_or(Ok(()), |mut tls| self.push(&mut tls))
    }

    /// Reads what is here into the room that `buffer` has; zero bytes mean the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is, and what the connection says.
    pub fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let Some(mut tls) = self.tls() else {
            return self.read_plain(buffer);
        };
        let mut read = 0;
        loop {
            let taken = take(&mut tls, buffer);
            read += taken;
            if read >= READ_BYTES || !buffer.has_remaining_mut() {
                return Ok(read);
            }
            if taken > 0 {
                continue;
            }
            let error = match tls.read_tls(&mut Raw(&self.stream)) {
                Ok(0) => return Ok(read),
                Ok(_) => match tls.process_new_packets() {
                    Ok(_) => continue,
                    Err(error) => {
                        // The other side should hear why, if it still listens.
                        let _ = self.push(&mut tls);
                        let error = io::Error::new(io::ErrorKind::InvalidData, error);
                        io::Error::other(crate::tls::explain(&error))
                    }
                },
                Err(error) => error,
            };
            // An error comes again, when what came before it has been taken.
            return if read > 0 { Ok(read) } else { Err(error) };
        }
    }

    /// A read that leaves room has emptied the socket. To say so spares the one that would find
    /// nothing: the next bytes are told of anew, for tokio asks for edges.
    fn read_plain(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let room = buffer.chunk_mut().len();
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        let _ = self.stream.try_io(Interest::READABLE, || {
            read = self.stream.try_read_buf(buffer);
            match read {
                Ok(n) if n > 0 && n < room => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        read
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn readable(&self) -> io::Result<()> {
        if self.tls().is_some_and(|mut tls| holds_plaintext(&mut tls)) {
            return Ok(());
        }
        self.stream.readable().await
    }

    /// Waits until there may be room to write.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// What the connection says; its end.
    pub async fn read_exact(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(e) => return Err(e),
            }
        }
        while !self.is_flushed() {
            self.writable().await?;
            self.try_flush()?;
        }
        Ok(())
    }

    /// Ends the connection at once, whoever else holds it.
    pub fn shut(&self) {
        // One that is already gone cannot be ended again, and need not be.
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
    }

    fn tls(&self) -> Option<MutexGuard<'_, Connection>> {
        // A panic under this lock is one of our own assertions, and ends the node anyway.
        let tls = self.tls.as_ref()?;
        Some(tls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what TLS holds, until all is gone or the kernel takes no more.
    fn push(&self, tls: &mut Connection) -> io::Result<()> {
        while tls.wants_write() {
            match tls.write_tls(&mut Raw(&self.stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Whether TLS has unwrapped something that was not taken yet.
fn holds_plaintext(tls: &mut Connection) -> bool {
    tls.reader().fill_buf().is_ok_and(|chunk| !chunk.is_empty())
}

/// Moves what TLS has unwrapped into `buffer`; says how much.
fn take(tls: &mut Connection, buffer: &mut impl BufMut) -> usize {
    let mut reader = tls.reader();
    // That there is nothing, or never again, the next look at the connection says.
    let chunk = reader.fill_buf().unwrap_or_default();
    let taken = chunk.len().min(buffer.remaining_mut());
    buffer.put_slice(&chunk[..taken]);
    reader.consume(taken);
    taken
}

/// The socket as TLS wants it: without waiting.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
