//! A client that has come to the port for peers: told so in its own language, as far as there is one.
//! Never serves anybody.
//!
//! # Source
//! RFC 9110, §15.5.20 (421); RFC 9113, §3.4 (the preface), §6.5 (SETTINGS), §6.8 (GOAWAY).

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::pipe::Pipe;

/// What a client is told; `headwater ctl` knows it by its beginning.
const TEXT: &str =
    "this port is for the members of the cluster among themselves; clients have another\n";

/// How HTTP/1.1 begins: with a method and a blank.
const METHODS: [&[u8]; 8] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
];

/// How HTTP/2 begins, and gRPC in it.
const PREFACE: &[u8] = b"PRI * HT";

/// Frames of HTTP/2, and why a connection ends: what was said was no part of the protocol.
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const PROTOCOL_ERROR: u32 = 1;

/// How long the client may take to read it and to go. What it sends until then is read: to close with
/// bytes unread would take back what was said.
const LINGER: Duration = Duration::from_secs(1);

/// Turns a client away; nothing is done to one that `first`, what it said first, does not show to be
/// one.
///
/// # Errors
/// It was one.
pub(crate) async fn turn_away(pipe: &Pipe, first: &[u8]) -> io::Result<()> {
    let Some(answer) = answer(first) else {
        return Ok(());
    };
    pipe.write_all(&answer).await?;
    // Whether it stays or goes, nothing more is said.
    let _ = timeout(LINGER, until_gone(pipe)).await;
    let text = "it speaks HTTP like a client, and this port is for peers";
    Err(io::Error::other(text))
}

fn answer(first: &[u8]) -> Option<Vec<u8>> {
    if first.starts_with(PREFACE) {
        let mut bytes = frame(SETTINGS, &[]);
        let no_stream_was_heard = 0_u32.to_be_bytes();
        let why = PROTOCOL_ERROR.to_be_bytes();
        let all = [&no_stream_was_heard[..], &why, TEXT.trim_end().as_bytes()];
        bytes.extend(frame(GOAWAY, &all.concat()));
        return Some(bytes);
    }
    let is_http = METHODS.iter().any(|method| first.starts_with(method));
    is_http.then(|| {
        let head =
            "HTTP/1.1 421 Misdirected Request\r\ncontent-type: text/plain\r\nconnection: close";
        let length = TEXT.len();
        format!("{head}\r\ncontent-length: {length}\r\n\r\n{TEXT}").into_bytes()
    })
}

/// A frame of HTTP/2 that concerns the whole connection.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

async fn until_gone(pipe: &Pipe) -> io::Result<()> {
    let mut bytes = [0; 1024];
    loop {
        match pipe.try_read(&mut &mut bytes[..]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pipe.readable().await?,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::QUESTION;
    use crate::handshake::MAGIC;

    #[test]
    fn peers_are_no_strangers() {
        for first in [MAGIC, QUESTION, *b"\x16\x03\x01\0\0\0\0\0"] {
            assert_eq!(answer(&first), None);
        }
    }

    #[test]
    fn http_is_answered_in_its_version() {
        for first in [b"GET / HT", b"POST /v3", b"OPTIONS "] {
            let said = String::from_utf8(answer(first).unwrap()).unwrap();
            assert!(said.starts_with("HTTP/1.1 421 "), "{said}");
            let body = said.split_once("\r\n\r\n").unwrap().1;
            assert!(said.contains(&format!("content-length: {}\r\n", body.len())));
        }
        let frames = answer(PREFACE).unwrap();
        assert_eq!(frames[..9], [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
        let length = usize::from(frames[11]);
        assert_eq!(frames[12..18], [GOAWAY, 0, 0, 0, 0, 0]);
        assert_eq!(frames.len(), 9 + 9 + length);
    }
}
