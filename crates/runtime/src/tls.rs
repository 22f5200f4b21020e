//! TLS between peers, for who wants it: what wraps a connection before its handshake.
//! Never reads files and chooses no cryptography: the embedder brings finished settings, and may
//! replace them at any time; connections that stand go on as they are.
//!
//! # Source
//! RFC 8446; docs/wire.md, "TLS".

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pipe::Pipe;

/// How the address of a peer begins that speaks TLS.
const SCHEME: &str = "tls://";

/// The first byte of every TLS connection: a handshake.
const HANDSHAKE: u8 = 22;

/// The first byte of what a side of TLS says that has not understood.
const ALERT: u8 = 21;

/// What connections between peers are wrapped in.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Those that this node dials.
    pub client: Arc<ClientConfig>,
    /// Those that it accepts.
    pub server: Arc<ServerConfig>,
}

/// What new connections are wrapped in: whoever holds the sender may replace it.
pub type TlsSource = watch::Receiver<PeerTls>;

/// Where to connect for `address`, and whether TLS is spoken there.
pub(crate) fn parts(address: &str) -> (&str, bool) {
    let secured = address.strip_prefix(SCHEME);
    (secured.unwrap_or(address), secured.is_some())
}

/// The address of a peer that speaks TLS at `host:port`.
pub fn secured(authority: &str) -> String {
    format!("{SCHEME}{authority}")
}

/// Speaks TLS first, as the side that has dialled `authority`.
pub(crate) async fn connect(
    tls: Option<&TlsSource>,
    authority: &str,
    stream: TcpStream,
) -> io::Result<Pipe> {
    let Some(tls) = tls else {
        let text = "TLS is spoken there, and this node has no certificate for peers";
        return Err(io::Error::other(text));
    };
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&tls.borrow().client));
    let stream = connector.connect(name, stream).await.map_err(explained)?;
    let (stream, connection) = stream.into_inner();
    Ok(Pipe::secure(stream, connection.into()))
}

/// Speaks TLS first, as the side that was dialled.
pub(crate) async fn accept(tls: &TlsSource, stream: TcpStream) -> io::Result<Pipe> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow().server));
    let stream = acceptor.accept(stream).await.map_err(explained)?;
    let (stream, connection) = stream.into_inner();
    Ok(Pipe::secure(stream, connection.into()))
}

/// Whether one who begins so speaks TLS.
pub fn is_tls(first: u8) -> bool {
    first == HANDSHAKE || first == ALERT
}

fn explained(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), explain(&error))
}

/// Whether the other side has gone without a word.
pub fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | UnexpectedEof)
}

/// What went wrong with TLS, in words for an operator.
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let what = match inner {
        Some(Error::InvalidMessage(_)) => "the other side speaks no TLS",
        Some(Error::NoCertificatesPresented) => "the other side shows no certificate",
        // Of another CA of the same name, in the second case.
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "the other side's certificate is of a CA that is not trusted here",
        Some(Error::InvalidCertificate(CertificateError::Revoked)) => {
            "the other side's certificate has been revoked"
        }
        Some(Error::InvalidCertificate(CertificateError::Other(why))) => return why.to_string(),
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the other side does not trust the CA of the certificate shown to it"
            }
            AlertDescription::CertificateRequired => "the other side asks for a certificate",
            AlertDescription::CertificateExpired => {
                "the certificate shown to the other side has expired"
            }
            AlertDescription::CertificateRevoked => {
                "the certificate shown to the other side has been revoked"
            }
            AlertDescription::BadCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => {
                "the other side refuses the certificate shown to it"
            }
            _ => return error.to_string(),
        },
        None if has_hung_up(error) => "the other side hung up in the middle of the TLS handshake",
        _ => return error.to_string(),
    };
    match inner {
        Some(inner) => format!("{what} ({inner})"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whether_tls_is_spoken_there() {
        assert_eq!(parts("a:1"), ("a:1", false));
        assert_eq!(parts(&secured("[::1]:1")), ("[::1]:1", true));
    }

    #[test]
    fn what_went_wrong_is_said_for_people() {
        let text = |error| explain(&io::Error::other(error));
        let unknown = text(Error::AlertReceived(AlertDescription::UnknownCA));
        assert!(unknown.contains("does not trust the CA"), "{unknown}");
        let own = text(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(own.contains("not trusted here"), "{own}");
        assert_eq!(explain(&io::Error::other("else")), "else");
    }
}
