//! What a member tells over HTTP/1.1.
//! Never follows it elsewhere.
//!
//! # Source
//! RFC 9112 (HTTP/1.1): an etcd without TLS has its pages under this version alone.

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::connect::{explain, open};
use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::session::Session;

/// The page at a path, as text.
///
/// # Errors
/// The member cannot be reached, or has no such page.
pub async fn of(session: &Session, place: &Place, path: &str) -> Result<String> {
    let said = |why: String| Failure::error(format!("{}{path}: {why}", place.said));
    let options = session.options();
    let patience = options.dial_timeout + options.command_timeout;
    match timeout(patience, get(session, place, path)).await {
        Err(_) => Err(said(format!("it has not answered in {patience:?}"))),
        Ok(page) => page.map_err(said),
    }
}

async fn get(session: &Session, place: &Place, path: &str) -> std::result::Result<String, String> {
    let tls = session.tls().map(|tls| {
        let mut tls = (**tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.into()
    });
    let stream = open(place, tls).await.map_err(|error| explain(&*error))?;
    let broken = |error: hyper::Error| explain(&error);
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let ask = async move {
        let request = Request::get(path).header(HOST, place.authority());
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(broken)?
            .into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        match head.status {
            StatusCode::OK => Ok(String::from_utf8_lossy(&body).into_owned()),
            status => Err(format!("it answers {status}")),
        }
    };
    // Whether the connection ends well is of no interest once the page is there.
    let (page, _) = tokio::join!(ask, connection);
    page
}
