//! The ports for clients, and all connections through them: with TLS where the URL says so.
//! Never answers, unless to say which protocol is spoken: that is for `front`.
//!
//! # Source
//! RFC 9112, RFC 9113 and RFC 8446; etcd's ports for clients and for metrics.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use headwater_runtime::seldom::Seldom;
use headwater_runtime::tls::{explain, has_hung_up, is_tls};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::auth::door::CommonName;
use crate::authority::Mended;
use crate::client_threads::ClientThreads;
use crate::front::Front;
use crate::http2::{self, ConnectionInfo};
use crate::request_body::RequestBody;
use crate::tls::{ClientTls, common_name};

/// Connections that wait to be let in, if the system allows so many: who finds no place is silently told
/// nothing, and tries again a second later, then two.
const BACKLOG: u32 = 4096;

/// How long calls under way may go on once the server is to stop.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long to leave off accepting when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to begin a TLS handshake, to say hello, and for the rest of it.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// How long a TLS handshake may keep its place.
const PLACE_TIME: Duration = Duration::from_millis(500);

/// TLS handshakes under way at one time; others wait. Their arithmetic is the loop's, unless clients
/// have threads of their own, and it has a cluster to keep together while a thousand clients come back at once.
const HANDSHAKES_MAX: usize = 128;

/// How often a silent client is asked in vain, before its connection is ended.
const PROBES: u32 = 4;

/// The longest time between such questions that systems take, in seconds.
const KEEPALIVE_SECONDS_MAX: u64 = 32_767;

/// How long a client may take to say enough to tell what it speaks.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// Files and sockets that are not for clients but for the log, snapshots and peers; where there are few,
/// half of them.
const FILES_RESERVED: u64 = 256;

/// Connections to ports for metrics and health, at most: whoever watches over this server gets in however
/// many clients there are.
const WATCHERS_MAX: usize = 64;

/// What a client hears that speaks TLS where HTTP is spoken. Most take it for what it is.
const SPEAK_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nTLS is not spoken here: use http://\n";

/// What a client hears that speaks HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nTLS is spoken here: use https://\n";

/// Where clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Door {
    /// The flag that says so.
    pub flag: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// What is served there.
    pub served: Served,
}

/// What is served at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// gRPC, JSON over HTTP, and the pages.
    Everything,
    /// gRPC alone.
    Grpc,
    /// JSON over HTTP, and the pages.
    Http,
    /// Nothing but the pages: metrics and health.
    Pages,
}

impl Served {
    /// Whether gRPC is.
    pub fn has_grpc(self) -> bool {
        matches!(self, Self::Everything | Self::Grpc)
    }
}

/// What one client's connection may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Calls under way, at most.
    pub streams_max: u32,
    /// How long it may be silent before it is asked whether somebody is there, and how long an answer
    /// may take; none: it is not asked.
    pub keepalive: Option<(Duration, Duration)>,
}

/// Opens the ports; nobody is let in yet.
///
/// # Errors
/// One is taken, or not ours.
pub async fn listen(doors: &[Door], bounds: Bounds) -> Result<Vec<(TcpListener, Door)>> {
    let mut listeners = Vec::new();
    for door in doors {
        let Door { flag, address, .. } = door;
        let listener = bind(*address).map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => {
                    "another server (etcd?) runs there; stop it or choose another port with"
                }
                ErrorKind::AddrNotAvailable => "it is not an address of this machine; see",
                ErrorKind::PermissionDenied => "ports below 1024 need a privilege; see",
                _ => "see",
            };
            anyhow!("cannot listen for clients on {address}: {error}: {advice} --{flag}")
        })?;
        if let Some(times) = bounds.keepalive
            && let Err(error) = keep_alive(&listener, times)
        {
            warn!("clients that are gone hold their connections: {error}");
        }
        listeners.push((listener, door.clone()));
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has the system ask silent clients whether they are there. The connections have it from the
/// listener; HTTP/2 asks by itself, and HTTP/1.1 cannot.
fn keep_alive(listener: &TcpListener, (interval, timeout): (Duration, Duration)) -> io::Result<()> {
    let seconds = |time: Duration| {
        let seconds = time.as_secs().clamp(1, KEEPALIVE_SECONDS_MAX);
        Duration::from_secs(seconds)
    };
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, seconds(interval))?;
    sockopt::set_tcp_keepintvl(listener, seconds(timeout / PROBES))?;
    sockopt::set_tcp_keepcnt(listener, PROBES)?;
    Ok(())
}

/// The listening ports and all connections through them.
pub struct Doors {
    accepting: JoinSet<()>,
    _threads: ClientThreads,
    /// Says that it is time to end; each connection that is served listens.
    stop: Arc<watch::Sender<bool>>,
}

/// How many connections clients may have, where the process may have so many files open.
fn connections_max(open_files_max: Option<u64>) -> usize {
    let for_clients = |files: u64| files.saturating_sub(FILES_RESERVED).max(files / 2);
    let connections = open_files_max.map(for_clients);
    let connections = connections.and_then(|count| usize::try_from(count).ok());
    connections.map_or(Semaphore::MAX_PERMITS, |count| {
        count.min(Semaphore::MAX_PERMITS)
    })
}

/// What one port lets in, and where to.
struct Porter {
    door: Door,
    front: Arc<Front>,
    /// There where TLS is spoken.
    tls: Option<ClientTls>,
    /// Whether a client's certificate says which user it is.
    names_are_users: bool,
    bounds: Bounds,
    handshakes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// Who has not said anything when the ports are closed does not listen, and is not waited for.
    stop: Arc<watch::Sender<bool>>,
    complaints: Seldom,
}

impl Doors {
    /// Lets clients in.
    ///
    /// # Errors
    /// The system has no place for what it takes.
    pub fn open(
        listeners: Vec<(TcpListener, Door)>,
        threads: ClientThreads,
        front: &Arc<Front>,
        tls: Option<&ClientTls>,
        names_are_users: bool,
        bounds: Bounds,
        open_files_max: Option<u64>,
    ) -> io::Result<Self> {
        let stop = Arc::new(watch::Sender::new(false));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let for_clients = Arc::new(Semaphore::new(connections_max(open_files_max)));
        let for_watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        let mut accepting = JoinSet::new();
        for (listener, door) in listeners {
            let places = match door.served {
                Served::Pages => &for_watchers,
                _ => &for_clients,
            };
            let porter = Porter {
                places: Arc::clone(places),
                tls: tls.filter(|_| door.is_tls).cloned(),
                names_are_users,
                door,
                front: Arc::clone(front),
                bounds,
                handshakes: Arc::clone(&handshakes),
                stop: Arc::clone(&stop),
                complaints: Seldom::default(),
            };
            let listener = threads.take(listener)?;
            threads.spawn(&mut accepting, accept(listener, Arc::new(porter)));
        }
        Ok(Self {
            accepting,
            _threads: threads,
            stop,
        })
    }

    /// Lets calls under way end, but not for long.
    pub async fn close(mut self) {
        self.accepting.shutdown().await;
        self.stop.send_replace(true);
        if timeout(DRAIN_TIME, self.stop.closed()).await.is_err() {
            info!("some calls did not end in time and were cut off");
        }
    }
}

async fn accept(listener: TcpListener, porter: Arc<Porter>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match Arc::clone(&porter.places).try_acquire_owned() {
                Ok(place) => {
                    let porter = Arc::clone(&porter);
                    tokio::spawn(async move {
                        porter.let_in(stream, from.ip()).await;
                        drop(place);
                    });
                }
                Err(_) => porter.complain(
                    from.ip(),
                    "there are as many connections as the bound on open files allows (ulimit -n)",
                ),
            },
            Err(error) => {
                // A connection that died while waiting, or no descriptors left: neither may end
                // the server, and the second must not make it spin.
                warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Porter {
    async fn let_in(&self, stream: TcpStream, from: IpAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            warn!("a connection answers late: {error}");
        }
        let limit = match &self.tls {
            None => GREETING_TIME,
            Some(_) => HANDSHAKE_TIME,
        };
        let by = Instant::now() + limit;
        let Ok(Some(first)) = timeout_at(by, first_byte(&stream)).await else {
            // Somebody who only looks whether the port is open, or takes a place for nothing.
            return;
        };
        match (&self.tls, is_tls(first)) {
            (None, false) => self.serve(stream, CommonName(None), by).await,
            (None, true) => {
                self.complain(
                    from,
                    "it speaks TLS, and this port does not: https:// in the flag would make it so",
                );
                say_last(stream, SPEAK_HTTP).await;
            }
            (Some(_), false) => {
                self.complain(from, "it speaks no TLS: it must use https://");
                say_last(stream, SPEAK_TLS).await;
            }
            (Some(tls), true) => {
                match self.shake_hands(stream, tls).await {
                    Ok(stream) => {
                        let chain = stream.get_ref().1.peer_certificates();
                        let name = chain.and_then(|chain| common_name(chain.first()?));
                        let name = name.filter(|name| self.names_are_users && !name.is_empty());
                        let name = CommonName(name.map(Into::into));
                        self.serve(stream, name, Instant::now() + GREETING_TIME)
                            .await;
                    }
                    // Clients that are done before they have begun, and those who only look.
                    Err(error) if has_hung_up(&error) => {}
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        self.complain(from, "its TLS handshake takes too long");
                    }
                    Err(error) => self.complain(from, &explain(&error)),
                }
            }
        }
    }

    /// A connection with TLS. One that has not said hello takes no place from those that have, and one that
    /// then falls silent not for long: a place is for arithmetic.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        tls: &ClientTls,
    ) -> io::Result<TlsStream<TcpStream>> {
        let too_long = |_| io::Error::from(ErrorKind::TimedOut);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = timeout(HANDSHAKE_TIME, hello).await.map_err(too_long)??;
        let place = self.handshakes.acquire().await;
        let config = Arc::clone(&tls.borrow());
        let mut shaking = pin!(hello.into_stream(config));
        if let Ok(shaken) = timeout(PLACE_TIME, &mut shaking).await {
            return shaken;
        }
        drop(place);
        timeout(HANDSHAKE_TIME, shaking).await.map_err(too_long)?
    }

    fn complain(&self, from: IpAddr, what: &str) {
        let (flag, address) = (self.door.flag, self.door.address);
        if self.complaints.is_due(&format!("{from} {what}")) {
            warn!(%from, %address, flag, "a client was turned away: {what}");
        } else {
            debug!(%from, %address, flag, "a client was turned away: {what}");
        }
    }

    /// Serves a connection that has said by then what it speaks.
    async fn serve<S>(&self, stream: S, name: CommonName, by: Instant)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut io = Mended::new(stream);
        let Ok(Ok(is_http2)) = timeout_at(by, io.is_http2()).await else {
            return;
        };
        let mut stop = self.stop.subscribe();
        if *stop.borrow() {
            return;
        }
        // Who has this is waited for, to the end of the connection.
        let _served = stop.clone();
        let stop = async move {
            // An error would mean that the ports are gone.
            let _ = stop.wait_for(|is_time| *is_time).await;
        };
        let info = ConnectionInfo {
            front: Arc::clone(&self.front),
            served: self.door.served,
            name,
        };
        match is_http2 {
            true => http2::serve(io, info, self.bounds, stop).await,
            false => serve_http1(io, info, stop).await,
        }
    }
}

/// Serves a connection over which HTTP/1.1 is spoken until it ends: by its client, or in good order once
/// `stop` says so.
async fn serve_http1<S>(io: S, info: ConnectionInfo, stop: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let ConnectionInfo {
            front,
            served,
            name,
        } = &info;
        let answer = front.answer_at(*served, request.map(RequestBody::Http1), name);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING_TIME);
    let mut connection = pin!(server.serve_connection(TokioIo::new(io), answer));
    tokio::select! {
        // How a client's connection ends is the client's business.
        _ = connection.as_mut() => return,
        () = stop => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// The first byte that a client says; `None` if it is gone.
async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    let length = stream.peek(&mut first).await.ok()?;
    first.get(..length)?.first().copied()
}

/// Says something to a client that is not listened to any more. What it has said is read first: the system
/// would take back an answer that is followed by the end of a connection with unread bytes.
async fn say_last(mut stream: TcpStream, text: &[u8]) {
    let _ = stream.try_read(&mut [0; 1 << 14]);
    // It may not care to hear.
    let _ = stream.write_all(text).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_silent_clients() {
        let door = Door {
            flag: "listen-client-urls",
            address: "127.0.0.1:0".parse().unwrap(),
            is_tls: false,
            served: Served::Everything,
        };
        let times = |interval, timeout| Bounds {
            streams_max: 1,
            keepalive: Some((Duration::from_secs(interval), Duration::from_secs(timeout))),
        };
        for (bounds, seconds) in [(times(90, 20), (90, 5)), (times(1 << 40, 1), (32_767, 1))] {
            let mut listeners = listen(std::slice::from_ref(&door), bounds).await.unwrap();
            let (listener, _) = listeners.pop().unwrap();
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            let idle = sockopt::tcp_keepidle(&stream).unwrap().as_secs();
            let between = sockopt::tcp_keepintvl(&stream).unwrap().as_secs();
            assert_eq!((idle, between), seconds);
        }
    }
}
