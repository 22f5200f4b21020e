//! What stands beside a machine, in the loop: it sees every command, proposes, and speaks with peers.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, Journal, PATIENCE, until};
use headwater_raft::NodeId;
use headwater_runtime::handshake::{ANSWER_BYTES, Answer, Hello, Refusal};
use headwater_runtime::{Company, Handle, Instant, NodeConfig, ReadLevel, Stage, StateMachine};

/// What a guest tells of.
#[derive(PartialEq, Eq, Debug)]
enum Seen {
    /// So many commands are applied.
    Commands(usize),
    /// This node leads from now on in a term; or no longer.
    Reign(Option<u64>),
    /// A note.
    Note(NodeId, u64, Bytes),
}

/// Tells all it sees. As soon as its node leads, it has a command proposed and says so to node 2.
struct Guest {
    tells: Sender<Seen>,
    reign: Option<u64>,
    due: Option<Instant>,
}

impl Company<Journal> for Guest {
    fn after_command(&mut self, machine: &Journal) {
        let _ = self.tells.send(Seen::Commands(machine.query(()).len()));
    }

    fn after_turn(&mut self, stage: &Stage<'_, Journal>) {
        let reign = stage.reign().map(|term| term.0);
        if reign != self.reign {
            self.reign = reign;
            let _ = self.tells.send(Seen::Reign(reign));
            if reign.is_some() {
                stage.propose(Bytes::from_static(b"long live the leader"));
                stage.note(NodeId(2), 7, Bytes::from_static(b"it is I"));
            }
        }
        if self.due.is_some_and(|due| due <= stage.now()) {
            self.due = None;
            stage.propose(Bytes::from_static(b"in time"));
        }
    }

    fn on_note(&mut self, from: NodeId, number: u64, bytes: Bytes) {
        let _ = self.tells.send(Seen::Note(from, number, bytes));
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// Refuses node 9, in its first turn or when it has heard so; that turn takes its time.
struct Doorkeeper {
    refuses: bool,
    heard: Receiver<()>,
}

impl Company<Journal> for Doorkeeper {
    fn after_turn(&mut self, stage: &Stage<'_, Journal>) {
        if std::mem::take(&mut self.refuses) {
            std::thread::sleep(Duration::from_millis(200));
            stage.refuse_peer(NodeId(9));
        }
        self.refuses = self.heard.try_recv().is_ok();
    }
}

/// Node 1, alone, with a keeper who refuses at once or when told so.
async fn kept(cluster: &mut Cluster, refuses: bool) -> Sender<()> {
    let (tells, heard) = channel();
    let keeper = Doorkeeper { refuses, heard };
    let node = Handle::start_with(cluster.config(1), Box::new(keeper)).await;
    cluster.nodes.insert(NodeId(1), node.expect("started"));
    tells
}

/// Connects to node 1 as node 9, of which it knows nothing.
fn knock(address: SocketAddr) -> (TcpStream, Option<Refusal>) {
    let hello = Hello {
        versions: (1, 1),
        cluster: 0xc1,
        from: NodeId(9),
        to: NodeId(1),
        incarnation: 9,
        life: 9,
    };
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(&hello.encode()).expect("sent");
    let mut head = [0; ANSWER_BYTES];
    stream.read_exact(&mut head).expect("an answer");
    let (answer, _) = Answer::decode(&head).expect("well formed");
    (stream, answer.refusal)
}

#[tokio::test]
async fn whom_the_company_refuses_at_first_is_never_let_in() {
    let mut cluster = Cluster::new(1, |_| {});
    let address = cluster.members[&NodeId(1)];
    let _tells = kept(&mut cluster, true).await;
    let knocked = tokio::task::spawn_blocking(move || knock(address));
    let (_, refusal) = knocked.await.expect("an answer");
    assert_eq!(refusal, Some(Refusal::Removed));
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_connection_of_a_stranger_ends_once_it_is_refused() {
    let mut cluster = Cluster::new(1, |_| {});
    let address = cluster.members[&NodeId(1)];
    let tells = kept(&mut cluster, false).await;
    let knocked = tokio::task::spawn_blocking(move || knock(address));
    let (mut stream, refusal) = knocked.await.expect("an answer");
    assert_eq!(refusal, None, "it is not known yet");
    tells.send(()).expect("it listens");
    let closed = tokio::task::spawn_blocking(move || {
        // What node 1 has to say to it comes before the end; a reset is an end as well.
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        !end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    assert!(closed.await.expect("read"), "it stands");
    cluster.stop_all().await;
}

/// Takes its time over one command.
struct Sluggard;

impl Company<Journal> for Sluggard {
    fn after_command(&mut self, machine: &Journal) {
        if machine.query(()).last().is_some_and(|last| last == "slow") {
            std::thread::sleep(Duration::from_millis(600));
        }
    }

    fn after_turn(&mut self, _: &Stage<'_, Journal>) {}
}

#[tokio::test]
async fn a_slow_apply_is_counted_and_the_heartbeat_that_it_held_up() {
    let mut cluster = Cluster::new(1, |_| {});
    let node = Handle::start_with(cluster.config(1), Box::new(Sluggard)).await;
    cluster.nodes.insert(NodeId(1), node.expect("started"));
    let node = cluster.node(1).clone();
    let counted = || {
        let counters = node.status().counters;
        ["slow_applies", "late_heartbeats"].map(|name| counters[name])
    };
    node.propose(Bytes::from_static(b"quick"))
        .await
        .expect("applied");
    let [slow, late] = counted();
    node.propose(Bytes::from_static(b"slow"))
        .await
        .expect("applied");
    until("both are counted", || {
        let [slow_after, late_after] = counted();
        slow_after > slow && late_after > late
    })
    .await;
    cluster.stop_all().await;
}

async fn start(cluster: &mut Cluster, id: u64, due_ns: Option<u64>) -> Receiver<Seen> {
    let (tells, told) = channel();
    let guest = Guest {
        tells,
        reign: None,
        due: due_ns.map(Instant),
    };
    let node = Handle::start_with(cluster.config(id), Box::new(guest)).await;
    cluster.nodes.insert(NodeId(id), node.expect("started"));
    told
}

fn first_leads(config: &mut NodeConfig) {
    config.priority = if config.node == NodeId(1) { 255 } else { 0 };
}

#[tokio::test]
async fn company_sees_every_command_once_and_proposes_in_time() {
    let mut cluster = Cluster::new(1, |_| {});
    let told = start(&mut cluster, 1, Some(300_000_000)).await;
    let settled = |journal: &[Bytes]| journal.iter().any(|command| command == "in time");
    let asked = std::time::Instant::now();
    while !settled(&cluster.journal(1, ReadLevel::Linearizable).await) {
        assert!(asked.elapsed() < PATIENCE, "its deadline was not kept");
    }
    for n in 0..20 {
        let command = Bytes::from(format!("command {n}"));
        cluster.node(1).propose(command).await.expect("applied");
    }
    let all = cluster.journal(1, ReadLevel::Linearizable).await.len();
    cluster.stop(1).await;
    let seen: Vec<Seen> = told.iter().collect();
    let counts = seen.iter().filter_map(|seen| match seen {
        Seen::Commands(count) => Some(*count),
        _ => None,
    });
    assert!(counts.eq(1..=all), "{seen:?}");
    assert_eq!(all, 22, "two of them its own");
    // On a slow machine its time may come before there is a leader; what it proposes then waits for
    // one, and is applied with what makes it one.
    let reign = seen.iter().position(|seen| *seen == Seen::Reign(Some(1)));
    assert!(reign.is_some_and(|at| at <= 1), "{seen:?}");
}

#[tokio::test]
async fn company_of_one_node_hears_that_of_another() {
    let mut cluster = Cluster::new(2, first_leads);
    let first = start(&mut cluster, 1, None).await;
    let second = start(&mut cluster, 2, None).await;
    cluster.leader().await;
    let to_second = Bytes::from_static(b"to the second");
    cluster.node(1).note(NodeId(2), 1, to_second.clone());
    let mut heard = Vec::new();
    until("the second hears the note", || {
        heard.extend(second.try_iter());
        heard.contains(&Seen::Note(NodeId(1), 1, to_second.clone()))
    })
    .await;
    // Whoever leads has told the second node, be it itself, which nobody hears.
    let reigns = |seen: &Seen| matches!(seen, Seen::Reign(Some(_)));
    let mut is_first = false;
    until("somebody's reign", || {
        is_first |= first.try_iter().any(|seen| reigns(&seen));
        heard.extend(second.try_iter());
        is_first || heard.iter().any(reigns)
    })
    .await;
    if is_first {
        until("the leader's word", || {
            heard.extend(second.try_iter());
            let word = Bytes::from_static(b"it is I");
            heard.contains(&Seen::Note(NodeId(1), 7, word))
        })
        .await;
    }
    // To nobody, and to one that there is not: both come to nothing.
    cluster.node(1).note(NodeId(9), 1, Bytes::new());
    cluster.stop_all().await;
}
