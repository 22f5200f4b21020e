//! Who is here? A question to the port for peers, from one that has no place in the cluster yet and
//! so cannot shake hands.
//! Never looks into the answer: what stands on a node's card is between embedders.
//!
//! # Source
//! docs/wire.md, "Who is here?"; etcd's members, which a new server asks of those that run.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use headwater_replica::checksum::crc32c;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pipe::Pipe;
use crate::tls::{self, TlsSource};

/// The question: the first bytes on a connection, in the place of a handshake's.
pub const QUESTION: [u8; 8] = *b"HWWHO?\r\n";

/// The largest card.
pub const CARD_BYTES_MAX: usize = 8 << 20;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// The answer's bytes: the question again, the length and the checksum of the card, the card.
///
/// # Panics
/// If the card is larger than [`CARD_BYTES_MAX`].
pub(crate) fn encode_card(card: &Bytes) -> Vec<u8> {
    assert!(card.len() <= CARD_BYTES_MAX, "a card is too large");
    let mut bytes = QUESTION.to_vec();
    bytes.extend_from_slice(&u32::try_from(card.len()).expect("checked").to_le_bytes());
    bytes.extend_from_slice(&crc32c(card).to_le_bytes());
    bytes.extend_from_slice(card);
    bytes
}

/// Asks the node that listens for peers at `address`; see [`crate::Stage::set_card`]. Empty if it
/// has said nothing yet. `tls` is needed where the address says that TLS is spoken there.
///
/// # Errors
/// Nobody answers there, or no node that understands the question.
pub async fn ask(address: &str, tls: Option<&TlsSource>) -> io::Result<Bytes> {
    let late = io::Error::new(io::ErrorKind::TimedOut, "no answer");
    timeout(ANSWER_TIME, ask_patiently(address, tls))
        .await
        .unwrap_or(Err(late))
}

async fn ask_patiently(address: &str, tls: Option<&TlsSource>) -> io::Result<Bytes> {
    let (authority, is_tls) = tls::parts(address);
    let stream = TcpStream::connect(authority).await?;
    let pipe = match is_tls {
        true => tls::connect(tls, authority, stream).await?,
        false => Pipe::plain(stream),
    };
    pipe.write_all(&QUESTION).await?;
    let mut head = [0; 16];
    pipe.read_exact(&mut head).await?;
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (length, crc) = (number(8) as usize, number(12));
    if head[..8] != QUESTION || length > CARD_BYTES_MAX {
        return Err(io::Error::other("not a Headwater peer"));
    }
    let mut card = vec![0; length];
    pipe.read_exact(&mut card).await?;
    if crc32c(&card) != crc {
        return Err(io::Error::other("damaged on the way"));
    }
    Ok(card.into())
}
