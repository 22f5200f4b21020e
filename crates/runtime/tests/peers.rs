//! Connections between peers: who may connect, what gets through, what ends them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod common;

use bytes::Bytes;
use common::{Port, address, free_port};
use headwater_raft::NodeId;
use headwater_replica::Identity;
use headwater_replica::checksum::crc32c;
use headwater_replica::framing::{FRAME_BYTES_MAX, head_of};
use headwater_runtime::card;
use headwater_runtime::counters::Counters;
use headwater_runtime::handshake::{ANSWER_BYTES, Answer, Hello, Refusal};
use headwater_runtime::link::{Link, PeerEvent};
use headwater_runtime::name::Names;
use headwater_runtime::peer_counters::PeerCounts;
use headwater_runtime::tcp::{Membership, Network};
use headwater_runtime::tls::{self, PeerTls, TlsSource};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

const CLUSTER: u64 = 0xc1;

/// Far more than any step here takes, so that a failure is a failure and not a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end: a network and what it reports.
struct End {
    address: SocketAddr,
    network: Network,
    events: UnboundedReceiver<PeerEvent>,
    counters: Arc<Counters>,
}

impl End {
    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("the network lives")
    }

    async fn up(&mut self) -> Arc<Link> {
        match self.event().await {
            PeerEvent::Up(link) => link,
            other => panic!("expected a link, got {other:?}"),
        }
    }

    async fn down(&mut self) -> Arc<Link> {
        match self.event().await {
            PeerEvent::Down(link) => link,
            other => panic!("expected a link's end, got {other:?}"),
        }
    }

    /// The next `count` frames.
    async fn frames(&mut self, count: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.event().await {
                PeerEvent::Frames(link, frames) => {
                    link.taken(&frames);
                    all.extend(frames);
                }
                other => panic!("expected frames, got {other:?}"),
            }
        }
        all
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    // Until this program ends, for peers are also dialled where nobody listens any more.
    let port: &Port = Box::leak(Box::new(free_port()));
    let address = address(port);
    let listener = TcpListener::bind(address).await.expect("it is free");
    (listener, address)
}

fn identity(node: u64, cluster: u64) -> Identity {
    Identity {
        cluster,
        node: NodeId(node),
        incarnation: u128::from(node),
    }
}

fn start(node: u64, cluster: u64, listener: TcpListener, peers: &[(u64, SocketAddr)]) -> End {
    let end = closed(node, cluster, listener, peers);
    end.network.open();
    end
}

/// One that makes no connections yet.
fn closed(node: u64, cluster: u64, listener: TcpListener, peers: &[(u64, SocketAddr)]) -> End {
    let peers: Vec<_> = peers.iter().map(|(id, at)| (*id, at.to_string())).collect();
    over(None, identity(node, cluster), listener, &peers)
}

/// The same, with TLS if there is any.
fn over(
    tls: Option<TlsSource>,
    identity: Identity,
    listener: TcpListener,
    peers: &[(u64, String)],
) -> End {
    let address = listener.local_addr().expect("bound");
    let (sender, events) = unbounded_channel();
    let counters = Arc::new(Counters::default());
    let peers: BTreeMap<_, _> = peers
        .iter()
        .map(|(id, address)| (NodeId(*id), address.clone()))
        .collect();
    let network = Network::start(
        Membership {
            life: identity.node.0,
            identity,
            peers,
            names: Names::default(),
            tls: tls.clone(),
        },
        vec![(listener, tls.is_some())],
        counters.clone(),
        Arc::new(move |event| drop(sender.send(event))),
    );
    End {
        address,
        network,
        events,
        counters,
    }
}

/// Nodes 1 and 2, not yet connected.
async fn pair() -> (End, End) {
    let (first, first_address) = listen().await;
    let (second, second_address) = listen().await;
    (
        start(1, CLUSTER, first, &[(2, second_address)]),
        start(2, CLUSTER, second, &[(1, first_address)]),
    )
}

fn hello(from: u64, to: u64) -> Hello {
    Hello {
        versions: (1, 1),
        cluster: CLUSTER,
        from: NodeId(from),
        to: NodeId(to),
        incarnation: 9,
        life: 1,
    }
}

/// Connects by hand and says `hello`; the answer comes back with the connection.
async fn greet(address: SocketAddr, hello: Hello) -> (TcpStream, Answer) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(&hello.encode()).await.expect("sent");
    let mut head = [0; ANSWER_BYTES];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await;
    read.expect("in time").expect("an answer");
    let (answer, text_bytes) = Answer::decode(&head).expect("well formed");
    let mut text = vec![0; text_bytes];
    stream.read_exact(&mut text).await.expect("the text");
    let text = String::from_utf8(text).expect("text");
    (stream, Answer { text, ..answer })
}

/// Reads until the other end closes.
async fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A close with unread bytes arrives as a reset; either is an end.
    let _ = end.expect("closed in time");
}

fn sum(end: &End, of: impl Fn(&PeerCounts) -> u64) -> u64 {
    end.counters.peers.now().values().map(of).sum()
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_whole_and_in_order_both_ways() {
    let (mut one, mut two) = pair().await;
    carry_frames(&mut one, &mut two).await;
    assert_eq!(
        sum(&one, |peer| peer.sent_bytes),
        sum(&two, |peer| peer.received_bytes)
    );
}

/// What connections between peers are wrapped in: certificates of one CA, for this address alone.
fn tls_of_a_ca() -> TlsSource {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("a CA");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let (chain, key) = (
        vec![certificate.der().clone()],
        PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
    );
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a CA");
    let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let judge = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let server = server
        .with_client_cert_verifier(judge.build().expect("a judge"))
        .with_single_cert(chain.clone(), key.clone_key())
        .expect("a pair");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a pair");
    let (client, server) = (Arc::new(client), Arc::new(server));
    watch::channel(PeerTls { client, server }).1
}

/// Nodes 1 and 2, each with its own certificates, not yet connected.
async fn tls_pair(of_one: &TlsSource, of_two: &TlsSource) -> (End, End) {
    let (first, at_first) = listen().await;
    let (second, at_second) = listen().await;
    let pair = [(1, of_one, first, at_second), (2, of_two, second, at_first)];
    let [one, two] = pair.map(|(id, tls, listener, at_other)| {
        let peers = [(3 - id, tls::secured(&at_other.to_string()))];
        let end = over(Some(tls.clone()), identity(id, CLUSTER), listener, &peers);
        end.network.open();
        end
    });
    (one, two)
}

#[tokio::test]
async fn the_same_holds_over_tls() {
    let tls = tls_of_a_ca();
    let (mut one, mut two) = tls_pair(&tls, &tls).await;
    carry_frames(&mut one, &mut two).await;
}

#[tokio::test]
async fn nobody_connects_without_a_certificate_of_the_same_ca() {
    let (mut one, mut two) = tls_pair(&tls_of_a_ca(), &tls_of_a_ca()).await;
    // Nor one that speaks no TLS at all.
    let mut stream = TcpStream::connect(two.address).await.expect("connected");
    stream.write_all(&hello(1, 2).encode()).await.expect("sent");
    assert_closed(stream).await;
    let plain = card::ask(&two.address.to_string(), None).await;
    plain.expect_err("the card is for those with a certificate");
    let is_silent = |end: &mut End| end.events.try_recv().is_err();
    assert!(is_silent(&mut one) && is_silent(&mut two), "no link");
}

#[tokio::test]
async fn a_certificate_that_replaces_another_counts_from_the_next_connection_on() {
    let (one_ca, another) = (tls_of_a_ca(), tls_of_a_ca());
    let (replace, replaced) = watch::channel(another.borrow().clone());
    let (mut one, mut two) = tls_pair(&one_ca, &replaced).await;
    let address = tls::secured(&two.address.to_string());
    let refused = card::ask(&address, Some(&one_ca)).await;
    let text = refused.expect_err("of another CA").to_string();
    assert!(text.contains("not trusted here"), "{text}");
    replace.send_replace(one_ca.borrow().clone());
    assert_eq!(one.up().await.peer(), NodeId(2));
    assert_eq!(two.up().await.peer(), NodeId(1));
    let card = card::ask(&address, Some(&one_ca)).await;
    assert_eq!(card.expect("an answer"), &b""[..]);
}

async fn carry_frames(one: &mut End, two: &mut End) {
    let (to_two, to_one) = (one.up().await, two.up().await);
    assert_eq!((to_two.peer(), to_one.peer()), (NodeId(2), NodeId(1)));
    let sizes = [1, 100, 5000, FRAME_BYTES_MAX, 7, 1 << 20, 3];
    for (link, end) in [(&to_two, &mut *two), (&to_one, &mut *one)] {
        for (i, &size) in sizes.iter().enumerate() {
            assert!(link.send(vec![i as u8; size].into()), "there is room");
        }
        link.flush();
        let frames = end.frames(sizes.len()).await;
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.len(), sizes[i]);
            assert!(frame.iter().all(|&byte| byte == i as u8), "frame {i}");
        }
    }
    assert_eq!(two.counters.frames_received.value(), sizes.len() as u64);
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_with_a_reason() {
    let (listener, address) = listen().await;
    let two = start(2, CLUSTER, listener, &[(1, address)]);
    let stranger = Hello {
        cluster: 0xbad,
        ..hello(1, 2)
    };
    let (stream, answer) = greet(two.address, stranger).await;
    assert_eq!(answer.refusal, Some(Refusal::Cluster));
    assert!(answer.text.contains("cluster bad"), "{}", answer.text);
    assert!(answer.text.contains("cluster c1"), "{}", answer.text);
    assert_closed(stream).await;
}

#[tokio::test]
async fn only_members_that_should_dial_and_mean_us_may_connect() {
    let (listener, address) = listen().await;
    let mut two = start(2, CLUSTER, listener, &[(1, address), (3, address)]);
    two.network.forget(NodeId(4));
    let wrong_version = Hello {
        versions: (7, 9),
        ..hello(1, 2)
    };
    let cases = [
        (hello(4, 2), Refusal::Removed),
        (hello(2, 2), Refusal::WrongNode),
        (hello(3, 2), Refusal::Direction),
        (hello(1, 3), Refusal::WrongNode),
        (wrong_version, Refusal::Version),
    ];
    for (hello, refusal) in cases {
        let (stream, answer) = greet(two.address, hello).await;
        assert_eq!(answer.refusal, Some(refusal), "{hello:?}");
        assert!(!answer.text.is_empty());
        let says_which_way = answer.text.starts_with("3 reaches 2, but 2 makes");
        assert_eq!(
            says_which_way,
            refusal == Refusal::Direction,
            "{}",
            answer.text
        );
        assert_closed(stream).await;
    }
    let (_stream, answer) = greet(two.address, hello(1, 2)).await;
    assert_eq!((answer.refusal, answer.version), (None, 1));
    assert_eq!((answer.node, answer.incarnation), (NodeId(2), 2));
    assert_eq!(two.up().await.peer(), NodeId(1));
    two.network.stop_accepting();
    let (_stream, answer) = greet(two.address, hello(1, 2)).await;
    assert_eq!(answer.refusal, Some(Refusal::Stopping));
}

#[tokio::test]
async fn before_it_is_opened_a_network_makes_no_connection() {
    let (listener, address) = listen().await;
    let (higher, at_higher) = listen().await;
    let mut two = closed(2, CLUSTER, listener, &[(1, address), (3, at_higher)]);
    let early = tokio::spawn(greet(two.address, hello(1, 2)));
    let dialled = timeout(Duration::from_millis(100), higher.accept()).await;
    assert!(dialled.is_err() && !early.is_finished());
    // So who is refused by then has never been let in.
    two.network.refuse(NodeId(1));
    two.network.open();
    let (_stream, answer) = early.await.expect("an answer");
    assert_eq!(answer.refusal, Some(Refusal::Removed));
    higher.accept().await.expect("dialled");
}

#[tokio::test]
async fn a_node_that_does_not_know_a_new_one_is_found_by_it() {
    let (listener, at_one) = listen().await;
    let mut one = start(1, CLUSTER, listener, &[]);
    let (listener, _) = listen().await;
    // The lower id should dial, and does not know whom.
    let mut two = start(2, CLUSTER, listener, &[(1, at_one)]);
    assert_eq!(one.up().await.peer(), NodeId(2));
    assert_eq!(two.up().await.peer(), NodeId(1));
    // Once it knows, it dials itself; the other leaves it at that.
    one.network.add(NodeId(2), two.address.to_string());
    assert_eq!(one.up().await.peer(), NodeId(2));
    assert_eq!(two.up().await.peer(), NodeId(1));
}

#[tokio::test]
async fn who_asks_is_told_what_stands_on_the_card() {
    let (listener, _) = listen().await;
    let one = start(1, CLUSTER, listener, &[]);
    let address = one.address.to_string();
    assert_eq!(
        card::ask(&address, None).await.expect("an answer"),
        &b""[..]
    );
    let card = Bytes::from(vec![7; 100_000]);
    one.network.set_card(card.clone());
    assert_eq!(card::ask(&address, None).await.expect("an answer"), card);
    let (nobody, address) = listen().await;
    drop(nobody);
    card::ask(&address.to_string(), None)
        .await
        .expect_err("nobody is there");
}

#[tokio::test]
async fn bytes_of_another_protocol_end_the_connection() {
    let (listener, address) = listen().await;
    let two = start(2, CLUSTER, listener, &[(1, address)]);
    let mut stream = TcpStream::connect(two.address).await.expect("connected");
    let request =
        b"GET / HTTP/1.1\r\nHost: somewhere\r\nUser-Agent: a browser that lost its way\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    assert_closed(stream).await;
}

/// A frame as it stands on the wire.
fn framed(frame: &[u8]) -> Vec<u8> {
    [&head_of(frame), frame].concat()
}

/// Sends a good frame and then these bytes, which must end the connection by themselves: nothing
/// follows them.
async fn assert_ends_the_connection(two: &mut End, bad: &[u8]) {
    let (mut stream, answer) = greet(two.address, hello(1, 2)).await;
    assert_eq!(answer.refusal, None);
    let up = two.up().await;
    stream.write_all(&framed(b"good")).await.expect("sent");
    assert_eq!(two.frames(1).await, ["good"]);
    stream.write_all(bad).await.expect("sent");
    assert!(Arc::ptr_eq(&two.down().await, &up), "{bad:x?}");
    assert_closed(stream).await;
}

#[tokio::test]
async fn a_flipped_bit_in_any_byte_of_a_frame_ends_the_connection_at_once() {
    let (listener, address) = listen().await;
    let mut two = start(2, CLUSTER, listener, &[(1, address)]);
    let whole = framed(b"word");
    for at in 0..whole.len() {
        for bit in [0, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            assert_ends_the_connection(&mut two, &damaged).await;
        }
    }
}

#[tokio::test]
async fn a_length_that_no_frame_has_ends_the_connection() {
    let (listener, address) = listen().await;
    let mut two = start(2, CLUSTER, listener, &[(1, address)]);
    for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut head = length.to_le_bytes().to_vec();
        head.extend(crc32c(b"").to_le_bytes());
        let seal = crc32c(&head);
        head.extend(seal.to_le_bytes());
        assert_ends_the_connection(&mut two, &head).await;
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_is_connected_again() {
    let (mut one, mut two) = pair().await;
    one.up().await;
    two.up().await;
    let (address, of_one) = (two.address, one.address);
    drop(two);
    one.down().await;
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let mut two = start(2, CLUSTER, listener, &[(1, of_one)]);
    let (to_two, _) = (one.up().await, two.up().await);
    assert!(to_two.send(Bytes::from_static(b"again")));
    to_two.flush();
    assert_eq!(two.frames(1).await, ["again"]);
}

#[tokio::test]
async fn a_closed_link_is_reported_at_both_ends_and_replaced() {
    let (mut one, mut two) = pair().await;
    let (old, to_one) = (one.up().await, two.up().await);
    old.close();
    assert!(Arc::ptr_eq(&one.down().await, &old));
    assert!(Arc::ptr_eq(&two.down().await, &to_one));
    // Who holds on to the link must not hold the connection open.
    one.up().await;
    two.up().await;
}

#[tokio::test]
async fn a_link_that_is_not_read_takes_no_more_than_its_bound() {
    let (listener, address) = listen().await;
    let mut two = start(2, CLUSTER, listener, &[(1, address)]);
    let (stream, _) = greet(two.address, hello(1, 2)).await;
    let link = two.up().await;
    let frame = Bytes::from(vec![0; 1 << 20]);
    let mut taken = 0;
    while link.send(frame.clone()) {
        link.flush();
        taken += 1;
        assert!(taken < 1000, "nobody reads, and yet it takes on and on");
    }
    assert!(taken >= 8, "less than a replica's window: {taken} MiB");
    link.close();
    two.down().await;
    assert_closed(stream).await;
}

#[tokio::test]
async fn a_peer_that_is_forgotten_or_dialled_elsewhere_is_told_as_gone_on_both_sides() {
    let (mut one, mut two) = pair().await;
    let (to_two, to_one) = (one.up().await, two.up().await);
    // Node 1 has dialled; its task ends with the peer.
    one.network.forget(NodeId(2));
    assert!(std::sync::Arc::ptr_eq(&one.down().await, &to_two));
    assert!(std::sync::Arc::ptr_eq(&two.down().await, &to_one));
    one.network.add(NodeId(2), two.address.to_string());
    one.up().await;
    two.up().await;
    let (nowhere, address) = listen().await;
    drop(nowhere);
    one.network.add(NodeId(2), address.to_string());
    one.down().await;
    two.down().await;
}
