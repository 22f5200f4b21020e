//! Peers over TCP: one connection per pair, dialled by the lower id, made again when it breaks.
//! Never looks into frames and never queues any: `link` carries them.
//!
//! A node that was away while members changed does not know whom to dial, and perhaps the leader is
//! new. So the higher id dials too where nobody has come for a while, and strangers of the cluster
//! are let in; but not those who were removed.
//!
//! # Source
//! docs/wire.md, "Connections"; ARCHITECTURE.md, "The driver and its three doors" (a killed peer's
//! connections reset at once).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_raft::{Incarnation, NodeId};
use headwater_replica::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::card::{QUESTION, encode_card};
use crate::counters::Counters;
use crate::dice;
use crate::handle::PeerAddress;
use crate::handshake::{
    ANSWER_BYTES, Answer, HELLO_BYTES, Hello, Refusal, WIRE_VERSION_MAX, WIRE_VERSION_MIN,
};
use crate::link::{Link, Peer, PeerEvent, Sink};
use crate::name::{Names, hex};
use crate::pipe::Pipe;
use crate::seldom::{Seldom, Told};
use crate::stranger;
use crate::tls::{self, TlsSource};

/// How long a connection may take to stand, handshake included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The first pause between two attempts to connect; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The pause after a refusal that only an operator can end.
const PAUSE_REFUSED: Duration = Duration::from_secs(5);

/// A connection that lasted this long is taken for a good one: when it breaks, the next attempt
/// comes at once.
const GOOD_LINK: Duration = Duration::from_secs(1);

/// Connections that may be in their handshake at one time; others wait in the kernel. Strangers who say
/// nothing hold a place until [`HANDSHAKE_TIMEOUT`], and must not keep members out with a handful.
const HANDSHAKES_MAX: usize = 256;

/// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// Silence after which the kernel asks whether the other end is still there, and how often then.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// How long the higher id waits for the lower to dial before it does so itself, and after each
/// attempt.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the higher id is turned away in a row before it takes that for a fault.
const TURNED_AWAY_MAX: u32 = 3;

/// Who this node is to its peers, and who they are to it.
#[derive(Clone, Debug)]
pub struct Membership {
    /// This node.
    pub identity: Identity,
    /// This life of its process.
    pub life: u64,
    /// The other members and where they listen.
    pub peers: BTreeMap<NodeId, PeerAddress>,
    /// What people call them all.
    pub names: Names,
    /// What connections are wrapped in, to peers whose address says so and through listeners that do.
    pub tls: Option<TlsSource>,
}

/// The connections to all peers, being made and kept while this lives.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// Each peer's address, and who dials it.
    dialling: BTreeMap<NodeId, (PeerAddress, AbortHandle)>,
}

struct Shared {
    identity: Identity,
    life: u64,
    names: Names,
    known: Mutex<Known>,
    stopping: AtomicBool,
    handshakes: Arc<Semaphore>,
    counters: Arc<Counters>,
    sink: Sink,
    tls: Option<TlsSource>,
    complaints: Seldom,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What is known of other nodes. A lock held for a look or a copy.
#[derive(Default)]
struct Known {
    /// Whom this node looks for itself, and where.
    peers: BTreeMap<NodeId, PeerAddress>,
    /// Who may not connect.
    removed: BTreeSet<NodeId>,
    /// How many connections there are to whom.
    linked: BTreeMap<NodeId, usize>,
    /// What is told to whoever asks who is here.
    card: Bytes,
}

impl Network {
    /// Will accept on `listeners`, each with whether TLS is spoken there, and dial every peer, once
    /// it is [opened](Network::open). What happens goes to `sink`.
    pub fn start(
        membership: Membership,
        listeners: Vec<(TcpListener, bool)>,
        counters: Arc<Counters>,
        sink: Sink,
    ) -> Self {
        let shared = Arc::new(Shared {
            identity: membership.identity,
            life: membership.life,
            names: membership.names,
            known: Mutex::default(),
            stopping: AtomicBool::new(false),
            handshakes: Arc::new(Semaphore::new(0)),
            counters,
            sink,
            tls: membership.tls,
            complaints: Seldom::default(),
        });
        let mut tasks = JoinSet::new();
        for (listener, is_tls) in listeners {
            tasks.spawn(accept_all(shared.clone(), listener, is_tls));
        }
        let mut network = Self {
            shared,
            tasks,
            dialling: BTreeMap::new(),
        };
        for (peer, address) in membership.peers {
            network.add(peer, address);
        }
        network
    }

    /// Lets connections be made.
    pub fn open(&self) {
        self.shared.handshakes.add_permits(HANDSHAKES_MAX);
    }

    /// From now on `peer` is dialled at `address`, which replaces any other.
    pub fn add(&mut self, peer: NodeId, address: PeerAddress) {
        let me = self.shared.identity.node;
        if peer == me {
            return;
        }
        // It is told of from now on, with zeros until there is more.
        self.shared.counters.peers.of(peer);
        let mut known = self.shared.known();
        known.removed.remove(&peer);
        known.peers.insert(peer, address.clone());
        drop(known);
        if self
            .dialling
            .get(&peer)
            .is_some_and(|(at, _)| *at == address)
        {
            return;
        }
        let dialling = keep_dialling(self.shared.clone(), peer, address.clone());
        let dialling = self.tasks.spawn(dialling);
        if let Some((_, before)) = self.dialling.insert(peer, (address, dialling)) {
            before.abort();
        }
    }

    /// From now on `peer` may not connect. A connection that stands is the caller's to close.
    pub fn refuse(&mut self, peer: NodeId) {
        let mut known = self.shared.known();
        known.peers.remove(&peer);
        known.removed.insert(peer);
        let is_linked = known.linked.contains_key(&peer);
        drop(known);
        if !is_linked && let Some((_, dialling)) = self.dialling.remove(&peer) {
            dialling.abort();
        }
    }

    /// The same, and a connection that this node has dialled ends; any other is the caller's to close.
    pub fn forget(&mut self, peer: NodeId) {
        self.refuse(peer);
        if let Some((_, dialling)) = self.dialling.remove(&peer) {
            dialling.abort();
        }
    }

    /// From now on this is told to whoever asks who is here; see [`crate::card`].
    pub fn set_card(&self, card: Bytes) {
        self.shared.known().card = card;
    }

    /// Takes no new connections from now on.
    pub fn stop_accepting(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// This node, for log lines.
    fn name(&self) -> String {
        self.name_of(self.identity.node)
    }

    /// A node, for log lines.
    fn name_of(&self, node: NodeId) -> String {
        self.names.of(node)
    }

    /// Waits until connections may be made. While others shake hands this may wait for them, too.
    async fn opened(&self) {
        let permit = self.handshakes.acquire().await;
        drop(permit.expect("the semaphore is never closed"));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the link, carries its frames, reports its end.
    async fn run_link(&self, peer: Peer, pipe: Pipe) {
        let link = Arc::new(Link::new(peer, pipe, self.counters.clone()));
        *self.known().linked.entry(peer.node).or_default() += 1;
        let running = Running {
            link: link.clone(),
            shared: self,
        };
        (self.sink)(PeerEvent::Up(link.clone()));
        let why = link.run(&self.sink).await;
        tracing::info!(node = %self.name(), peer = %self.name_of(peer.node), why, "link down");
        drop(running);
    }
}

/// A link that is being run. However that ends, also when its task is aborted because the peer is
/// forgotten or listens elsewhere, the peer and the loop hear of it.
struct Running<'a> {
    link: Arc<Link>,
    shared: &'a Shared,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.link.shut();
        let peer = self.link.peer();
        let mut known = self.shared.known();
        match known.linked.get_mut(&peer) {
            Some(links) if *links > 1 => *links -= 1,
            _ => drop(known.linked.remove(&peer)),
        }
        drop(known);
        (self.shared.sink)(PeerEvent::Down(self.link.clone()));
    }
}

/// Why an attempt to connect came to nothing.
#[derive(Debug)]
enum DialError {
    /// The network's fault, or a peer that is not up: try again soon.
    Io(io::Error),
    /// The peer does not want us.
    Refused(Refusal, String),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

async fn keep_dialling(shared: Arc<Shared>, peer: NodeId, address: PeerAddress) {
    let mut pause = PAUSE_MIN;
    let (mut told, mut turned_away) = (Told::default(), 0);
    shared.opened().await;
    let waits = shared.identity.node > peer;
    loop {
        if waits {
            sleep(PATIENCE).await;
            if shared.known().linked.contains_key(&peer) {
                turned_away = 0;
                continue;
            }
        }
        let attempt = timeout(HANDSHAKE_TIMEOUT, dial(&shared, peer, &address)).await;
        let error = match attempt {
            Ok(Ok((met, pipe))) => {
                told = Told::default();
                let up = Instant::now();
                shared.run_link(met, pipe).await;
                if up.elapsed() >= GOOD_LINK {
                    pause = PAUSE_MIN;
                    continue;
                }
                "the connection broke at once".to_string()
            }
            // It knows this node, and dials: mostly it has by the next look.
            Ok(Err(DialError::Refused(Refusal::Direction, text))) => {
                turned_away += 1;
                if turned_away >= TURNED_AWAY_MAX && told.is_due(&text) {
                    let (node, peer) = (shared.name(), shared.name_of(peer));
                    tracing::warn!(%node, %peer, text, "a peer that answers does not reach this node");
                }
                continue;
            }
            Ok(Err(DialError::Refused(refusal, text))) => {
                if refusal != Refusal::Stopping {
                    pause = PAUSE_REFUSED;
                }
                text
            }
            Ok(Err(DialError::Io(error))) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("{error}: it does not run, or does not listen for peers at that address")
            }
            Ok(Err(DialError::Io(error))) => error.to_string(),
            Err(_) => format!("no answer within {HANDSHAKE_TIMEOUT:?}"),
        };
        shared.counters.peers.of(peer).failures.add(1);
        if told.is_due(&error) {
            let (node, peer) = (shared.name(), shared.name_of(peer));
            tracing::warn!(%node, %peer, address, error, "cannot connect");
        }
        sleep(dice::between(pause / 2, pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn dial(shared: &Shared, peer: NodeId, address: &str) -> Result<(Peer, Pipe), DialError> {
    let (authority, is_tls) = tls::parts(address);
    let stream = TcpStream::connect(authority).await?;
    configure(&stream)?;
    let pipe = match is_tls {
        true => tls::connect(shared.tls.as_ref(), authority, stream).await?,
        false => Pipe::plain(stream),
    };
    let identity = shared.identity;
    let hello = Hello {
        versions: (WIRE_VERSION_MIN, WIRE_VERSION_MAX),
        cluster: identity.cluster,
        from: identity.node,
        to: peer,
        incarnation: identity.incarnation,
        life: shared.life,
    };
    pipe.write_all(&hello.encode()).await?;
    let mut head = [0; ANSWER_BYTES];
    pipe.read_exact(&mut head[..1]).await?;
    if tls::is_tls(head[0]) {
        let text = "TLS is spoken there, and the address that is known does not say so";
        return Err(io::Error::other(text).into());
    }
    pipe.read_exact(&mut head[1..]).await?;
    let (answer, text_bytes) = Answer::decode(&head).map_err(io::Error::other)?;
    let mut text = vec![0; text_bytes];
    pipe.read_exact(&mut text).await?;
    if let Some(refusal) = answer.refusal {
        let text = String::from_utf8_lossy(&text).escape_debug().to_string();
        return Err(DialError::Refused(refusal, text));
    }
    if answer.node != peer || answer.cluster != identity.cluster {
        let text = format!(
            "node {:x} of cluster {:x} answered at {address}, node {:x} of cluster {:x} was called",
            answer.node.0, answer.cluster, peer.0, identity.cluster
        );
        return Err(DialError::Refused(Refusal::WrongNode, text));
    }
    if !(WIRE_VERSION_MIN..=WIRE_VERSION_MAX).contains(&answer.version) {
        let text = format!("the peer chose wire version {}", answer.version);
        return Err(DialError::Refused(Refusal::Version, text));
    }
    let disk = Incarnation(answer.incarnation);
    tracing::info!(
        node = %shared.name(), peer = %shared.name_of(peer), address,
        incarnation = %hex(answer.incarnation),
        "link up, dialled"
    );
    let (node, life) = (peer, answer.life);
    Ok((Peer { node, disk, life }, pipe))
}

async fn accept_all(shared: Arc<Shared>, listener: TcpListener, is_tls: bool) {
    let mut links = JoinSet::new();
    loop {
        let permit = shared.handshakes.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        // Ended links leave a result behind that nobody waits for.
        while links.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                links.spawn(serve(shared.clone(), (stream, is_tls), from, permit));
            }
            Err(error) => {
                // Out of file descriptors, most likely: that passes, and must not spin until then.
                tracing::warn!(node = %shared.name(), %error, "cannot accept a peer's connection");
                sleep(PAUSE_MAX).await;
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    (stream, is_tls): (TcpStream, bool),
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let greeting = async {
        let pipe = open(&shared, stream, is_tls).await?;
        greet(&shared, pipe, from).await
    };
    let greeted = timeout(HANDSHAKE_TIMEOUT, greeting).await;
    drop(permit);
    let error = match greeted {
        Ok(Ok(Some((hello, pipe)))) => {
            let peer = Peer {
                node: hello.from,
                disk: Incarnation(hello.incarnation),
                life: hello.life,
            };
            return shared.run_link(peer, pipe).await;
        }
        Ok(Ok(None)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("nothing more for {HANDSHAKE_TIMEOUT:?}"),
    };
    if shared.complaints.is_due(&format!("{} {error}", from.ip())) {
        tracing::warn!(node = %shared.name(), %from, error, "peer handshake failed");
    }
}

/// A connection that was accepted, ready for the handshake.
async fn open(shared: &Shared, stream: TcpStream, is_tls: bool) -> io::Result<Pipe> {
    configure(&stream)?;
    let Some(tls) = shared.tls.as_ref().filter(|_| is_tls) else {
        return Ok(Pipe::plain(stream));
    };
    tls::accept(tls, stream).await
}

/// The accepting side of a handshake: the peer, or none if it was refused.
async fn greet(
    shared: &Shared,
    pipe: Pipe,
    address: SocketAddr,
) -> io::Result<Option<(Hello, Pipe)>> {
    let mut bytes = [0; HELLO_BYTES];
    pipe.read_exact(&mut bytes[..QUESTION.len()]).await?;
    if tls::is_tls(bytes[0]) {
        let text = "it speaks TLS, and this port does not";
        return Err(io::Error::other(text));
    }
    if bytes[..QUESTION.len()] == QUESTION {
        let card = shared.known().card.clone();
        pipe.write_all(&encode_card(&card)).await?;
        return Ok(None);
    }
    stranger::turn_away(&pipe, &bytes[..QUESTION.len()]).await?;
    pipe.read_exact(&mut bytes[QUESTION.len()..]).await?;
    let hello = Hello::decode(&bytes).map_err(io::Error::other)?;
    let stopping = shared.stopping.load(Ordering::Relaxed);
    let verdict = judge(shared, &hello, stopping);
    let identity = shared.identity;
    let mut answer = Answer {
        refusal: None,
        version: 0,
        cluster: identity.cluster,
        node: identity.node,
        incarnation: identity.incarnation,
        life: shared.life,
        text: String::new(),
    };
    match verdict {
        Ok(version) => {
            answer.version = version;
            pipe.write_all(&answer.encode()).await?;
            tracing::info!(
                node = %shared.name(), peer = %shared.name_of(hello.from), %address,
                incarnation = %hex(hello.incarnation),
                "link up, accepted"
            );
            Ok(Some((hello, pipe)))
        }
        Err((refusal, text)) => {
            let peer = shared.name_of(hello.from);
            if shared
                .complaints
                .is_due(&format!("{} {text}", address.ip()))
            {
                tracing::warn!(node = %shared.name(), %peer, %address, text, "peer refused");
            }
            answer.refusal = Some(refusal);
            answer.text = text;
            pipe.write_all(&answer.encode()).await?;
            Ok(None)
        }
    }
}

/// Whether the caller may connect: the wire version to speak, or why not.
fn judge(shared: &Shared, hello: &Hello, stopping: bool) -> Result<u16, (Refusal, String)> {
    let me = shared.identity;
    let (from, to, here) = (hex(hello.from.0), hex(hello.to.0), hex(me.node.0));
    if hello.cluster != me.cluster {
        let text = format!(
            "node {from} belongs to cluster {:x}, node {here} to cluster {:x}",
            hello.cluster, me.cluster
        );
        return Err((Refusal::Cluster, text));
    }
    let version = hello.versions.1.min(WIRE_VERSION_MAX);
    if version < hello.versions.0.max(WIRE_VERSION_MIN) {
        let text = format!(
            "node {from} speaks wire versions {} to {}, node {here} speaks {WIRE_VERSION_MIN} to {WIRE_VERSION_MAX}",
            hello.versions.0, hello.versions.1
        );
        return Err((Refusal::Version, text));
    }
    if hello.to != me.node {
        let text = format!(
            "node {from} called node {to}, but this is node {here}: check the peer addresses"
        );
        return Err((Refusal::WrongNode, text));
    }
    if hello.from == me.node {
        let text = format!("node {here} called itself: check the peer addresses");
        return Err((Refusal::WrongNode, text));
    }
    let known = shared.known();
    if known.removed.contains(&hello.from) {
        let text = format!("node {from} is no member any more, says node {here}");
        return Err((Refusal::Removed, text));
    }
    if let Some(address) = known
        .peers
        .get(&hello.from)
        .filter(|_| hello.from > me.node)
    {
        let (peer, node) = (shared.name_of(hello.from), shared.name());
        let text = format!(
            "{peer} reaches {node}, but {node} makes their connection, and has not reached {peer} at \
             {address} yet: it must listen for peers there"
        );
        return Err((Refusal::Direction, text));
    }
    if stopping {
        return Err((Refusal::Stopping, format!("node {here} is stopping")));
    }
    Ok(version)
}

/// Small frames at once, and a dead other end found even when nothing is sent.
fn configure(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    let unacknowledged_ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).expect("seconds");
    sockopt::set_tcp_user_timeout(stream, unacknowledged_ms)?;
    Ok(())
}
