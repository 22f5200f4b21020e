//! One connection to one member: TCP, TLS if the place wants it, HTTP/2; and why there is none.
//! Never chooses among members; `session` does.
//!
//! # Source
//! RFC 9113 (HTTP/2), RFC 8446 (TLS); etcdctl's `--dial-timeout`, `--keepalive-time`.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::flags::Options;
use crate::place::Place;

/// What a connection carries bytes by.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// That the other side left without a word.
const CLOSED: &str = "it closed the connection";

/// How a server's words begin at its port for peers.
const PEER_PORT: &str = "this port is for the members";

/// The same, for people.
const NOT_FOR_CLIENTS: &str =
    "this port is for the members among themselves: clients use that of --listen-client-urls";

/// Whether a member is there though no request gets through: it turned this client away, or this client it.
pub fn is_there(reason: &str) -> bool {
    let words = [PEER_PORT, NEEDS_CERT, ITS_CERT, NO_TLS, SPEAKS_TLS, ALERT];
    words.iter().any(|words| reason.contains(words))
}

/// What a place is told that speaks TLS and was not called so.
pub const SPEAKS_TLS: &str = "speaks TLS: say https://, and --cacert FILE";

/// How every reason begins not to trust a member.
const ITS_CERT: &str = "its certificate";

/// How TLS tells what the other side does not like.
const ALERT: &str = "received fatal alert";

const NO_TLS: &str = "it speaks no TLS: http:// may be right";

/// How TLS tells that a certificate is missing, where HTTP/2 passes on no more than its words.
const CERT_REQUIRED: &str = "received fatal alert: CertificateRequired";

/// The same, for people.
pub const NEEDS_CERT: &str =
    "it lets in only who shows a certificate of a CA that it trusts: --cert FILE --key FILE";

type Cause = Box<dyn Error + Send + Sync>;

/// Connects to a place.
///
/// # Errors
/// Why it cannot, without naming the place.
pub async fn connect(
    place: &Place,
    options: &Options,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Channel, String> {
    let plain = |uri: &str| -> Result<Uri, String> {
        uri.parse()
            .map_err(|error| format!("it is no place: {error}"))
    };
    let uri = plain(&format!("http://{}", place.authority()))?;
    let scheme = if place.is_tls { "https" } else { "http" };
    let origin = plain(&format!("{scheme}://{}", place.authority()))?;
    let mut endpoint = Endpoint::from(uri)
        .origin(origin)
        .tcp_nodelay(true)
        .connect_timeout(options.dial_timeout);
    if !options.keepalive_time.is_zero() {
        endpoint = endpoint
            .http2_keep_alive_interval(options.keepalive_time)
            .keep_alive_timeout(options.keepalive_timeout);
    }
    let to = place.clone();
    let dial = tower::service_fn(move |_: Uri| {
        let (to, tls) = (to.clone(), tls.clone());
        async move { Ok::<_, Cause>(TokioIo::new(open(&to, tls).await?)) }
    });
    match timeout(options.dial_timeout, endpoint.connect_with_connector(dial)).await {
        Err(_) => Err(format!(
            "it does not answer within {:?}",
            options.dial_timeout
        )),
        Ok(Err(error)) => Err(match explain(&error) {
            reason if place.is_tls && reason == CLOSED => {
                format!("{reason} when TLS was spoken: http:// may be right")
            }
            reason => reason,
        }),
        Ok(Ok(channel)) => Ok(channel),
    }
}

/// Opens what carries bytes to a place: a socket, or TLS on one.
///
/// # Errors
/// It cannot be reached, or TLS cannot be spoken with it.
pub async fn open(place: &Place, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Stream>, Cause> {
    let socket = TcpStream::connect((place.host.as_str(), place.port)).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = tls.filter(|_| place.is_tls) else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(place.host.clone())?;
    let stream = TlsConnector::from(tls).connect(name, socket).await?;
    Ok(Box::new(stream))
}

/// Whether somebody there ends TLS because no certificate was shown that it wants. HTTP/2 often sees no
/// more of that than the end: its first bytes cross the alert. Who only listens gets it.
pub async fn wants_cert(place: &Place, tls: Arc<ClientConfig>) -> bool {
    let listen = async {
        let mut stream = match open(place, Some(tls)).await {
            Ok(stream) => stream,
            Err(error) => return explain(&*error) == NEEDS_CERT,
        };
        match stream.read_u8().await {
            Ok(_) => false,
            Err(error) => explain(&error) == NEEDS_CERT,
        }
    };
    timeout(Duration::from_secs(1), listen).await == Ok(true)
}

/// Whether somebody there answers when TLS is spoken.
pub async fn speaks_tls(place: &Place) -> bool {
    let place = Place {
        is_tls: true,
        ..place.clone()
    };
    let attempt = timeout(
        Duration::from_secs(1),
        open(&place, Some(crate::tls::any())),
    );
    match attempt.await {
        Ok(Ok(_)) => true,
        // An alert is TLS as well.
        Ok(Err(error)) => matches!(rustls_error(&*error), Some(rustls::Error::AlertReceived(_))),
        Err(_) => false,
    }
}

fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An I/O error holds what it is about, and skips it as its source.
        let inside = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        if let Some(found) = inside.and_then(|inside| inside.downcast_ref()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Why a connection failed, from the error that is at the bottom of it.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = rustls_error(error) {
        return explain_tls(error);
    }
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                ErrorKind::ConnectionRefused => {
                    "connection refused: nobody listens there".to_owned()
                }
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                    CLOSED.to_owned()
                }
                _ if error.to_string().contains(CERT_REQUIRED) => NEEDS_CERT.to_owned(),
                _ => error.to_string(),
            };
        }
        next = error.source();
    }
    match bottom.to_string() {
        said if said.contains(CERT_REQUIRED) => NEEDS_CERT.to_owned(),
        said if said.contains(PEER_PORT) => NOT_FOR_CLIENTS.to_owned(),
        said => said,
    }
}

fn explain_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => NO_TLS.to_owned(),
        rustls::Error::InvalidCertificate(why) => match why {
            // A CA of the same name, as all are that servers make for themselves.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                format!(
                    "{ITS_CERT} is of a CA that is not trusted here: --cacert FILE names the right one"
                )
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{ITS_CERT} is not for this name: {why}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("{ITS_CERT} has expired: {why}")
            }
            why => format!("{ITS_CERT} is no good: {why}"),
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied,
        ) => NEEDS_CERT.to_owned(),
        error => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_certificate_is_told_however_it_comes() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let as_tls = std::io::Error::new(ErrorKind::InvalidData, alert.clone());
        let as_words = std::io::Error::new(ErrorKind::InvalidData, alert.to_string());
        for error in [as_tls, as_words] {
            assert_eq!(explain(&error), NEEDS_CERT);
        }
        let status = tonic::Status::unknown(alert.to_string());
        assert!(explain(&status).contains("--cert FILE"));
    }
}
